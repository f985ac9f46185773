//! Each kind of problem with its place, and what the layers make of a value.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, time::Duration};

use super::{
    Config, Environment, Origin, Problem, Size, parse,
    tables::{Level, Mode, Routes},
};

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

fn config(text: &str, variables: &[(&str, &str)]) -> Config {
    match parse("f.toml", text.as_bytes(), &environment(variables)) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems:#?}"),
    }
}

fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match parse("f.toml", text.as_bytes(), &environment(variables)) {
        Ok(loaded) => panic!("{:#?}", loaded.config),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(config("", &[]), Config::default());
}

#[test]
fn every_kind_of_value_is_read_from_the_file() {
    let config = config(
        r#"
        instance = "edge-1"
        log.level = "debug"
        [sozu]
        worker_timeout = "2s"
        max_request_bytes = 1_000_000
        [guard]
        removal_share = 1
        [reconcile]
        mode = "observe"
        upgrade_workers = true
        [dead_letters]
        max_bytes = "2MB"
        [routes.local]
        directory = "/a"
        [routes.other-1]
        directory = "/b"
        "#,
        &[],
    );
    assert_eq!(config.instance, "edge-1");
    assert_eq!(config.log.level, Level::Debug);
    assert_eq!(config.sozu.worker_timeout, Duration::from_secs(2));
    assert_eq!(config.sozu.max_request_bytes, 1_000_000);
    assert!((config.guard.removal_share - 1.0).abs() < f64::EPSILON);
    assert_eq!(config.reconcile.mode, Mode::Observe);
    assert!(config.reconcile.upgrade_workers);
    assert_eq!(config.dead_letters.max_bytes, Size(2_000_000));
    let names: Vec<&str> = config.routes.keys().map(String::as_str).collect();
    assert_eq!(names, ["local", "other-1"]);
}

#[test]
fn a_variable_overrides_the_file_whatever_its_type() {
    let config = config(
        "instance = \"file\"\n[sozu]\nconnections = 2\n[routes.local]\ndirectory = \"/file\"\n",
        &[
            ("SOZU_MANAGER__INSTANCE", "0123"),
            ("SOZU_MANAGER__SOZU__CONNECTIONS", "3"),
            ("SOZU_MANAGER__SOZU__WORKER_TIMEOUT", "3s"),
            ("SOZU_MANAGER__GUARD__REMOVAL_SHARE", "0.5"),
            ("SOZU_MANAGER__RECONCILE__UPGRADE_WORKERS", "true"),
            ("SOZU_MANAGER__RECONCILE__MODE", "observe"),
            ("SOZU_MANAGER__DEAD_LETTERS__MAX_BYTES", "5MB"),
            ("SOZU_MANAGER__HTTP__ADDRESS", "[::1]:80"),
            ("SOZU_MANAGER__ROUTES__LOCAL__DIRECTORY", "/variable"),
            ("SOZU_MANAGER__ROUTES__SECOND__DIRECTORY", "/second"),
        ],
    );
    assert_eq!(config.instance, "0123");
    assert_eq!(config.sozu.connections, 3);
    assert_eq!(config.sozu.worker_timeout, Duration::from_secs(3));
    assert!((config.guard.removal_share - 0.5).abs() < f64::EPSILON);
    assert!(config.reconcile.upgrade_workers);
    assert_eq!(config.reconcile.mode, Mode::Observe);
    assert_eq!(config.dead_letters.max_bytes, Size(5_000_000));
    assert_eq!(config.http.address.to_string(), "[::1]:80");
    let of = |directory: &str| Routes {
        directory: directory.into(),
    };
    assert_eq!(config.routes["local"], of("/variable"));
    assert_eq!(config.routes["second"], of("/second"));
}

#[test]
fn no_other_variable_is_a_setting() {
    let others = [
        ("SOZU_MANAGER_PORT", "tcp://10.0.0.1:7380"),
        ("SOZU_MANAGER_PORT_7380_TCP", "tcp://10.0.0.1:7380"),
        ("SOZU_MANAGER_SERVICE_HOST", "10.0.0.1"),
        ("SOZU_MANAGER_CONFIG", "/x.toml"),
        ("SOZU_MANAGER", "x"),
        ("HTTP__ADDRESS", "x"),
    ];
    assert_eq!(config("", &others), Config::default());
}

#[test]
fn systemd_directories_are_defaults_only() {
    let systemd = [
        ("STATE_DIRECTORY", "/s/one:/s/two"),
        ("RUNTIME_DIRECTORY", "/r"),
    ];
    let read = config("", &systemd);
    assert_eq!(read.state_directory.to_str(), Some("/s/one"));
    assert_eq!(read.sozu.exchange_directory.to_str(), Some("/r/exchange"));
    assert_eq!(read.admin.socket.to_str(), Some("/r/admin.sock"));
    assert_eq!(read.sozu.connections, 8);

    let read = config("state_directory = \"/file\"", &systemd);
    assert_eq!(read.state_directory.to_str(), Some("/file"));
    let read = config("", &[systemd[0], ("SOZU_MANAGER__STATE_DIRECTORY", "/v")]);
    assert_eq!(read.state_directory.to_str(), Some("/v"));
}

/// A file, and the one line that is told of it.
type Case = (&'static str, &'static str);

const KEYS: &[Case] = &[
    (
        "[http]\nadress = \"127.0.0.1:1\"\n",
        "f.toml:2:1: there is no `adress` in [http]; did you mean `address`?",
    ),
    (
        "[htpp]\n",
        "f.toml:1:2: there is no `htpp` at the top; did you mean `http`?",
    ),
    (
        "[pulser.a]\n",
        "f.toml:1:2: there is no `pulser` at the top; did you mean `pulsar`?",
    ),
    (
        "[log]\n  zzz = 1\n",
        "f.toml:2:3: there is no `zzz` in [log]; the keys are format, level",
    ),
    (
        "[routes.a]\ndirectory = \"/a\"\nextra = 1\n",
        "f.toml:3:1: there is no `extra` in [routes.a]; the keys are directory",
    ),
    (
        "[pulsar.platform]\ntopik = \"x\"\n",
        "f.toml:2:1: there is no `topik` in [pulsar.platform]; did you mean `topic`?",
    ),
    (
        "\n[amqp.a]\n",
        "f.toml:2:2: this version does not know [amqp.*] yet; remove the table, or install a version that has it",
    ),
];

const VALUES: &[Case] = &[
    (
        "[http]\naddress = \"localhost\"\n",
        "f.toml:2:11: [http] address: invalid socket address syntax; write it like \"127.0.0.1:7380\"",
    ),
    (
        "[sozu]\nconnections = \"8\"\n",
        "f.toml:2:15: [sozu] connections: invalid type: string \"8\", expected a number; write it like 8",
    ),
    (
        "[sozu]\nconnections = 0\n",
        "f.toml:2:15: [sozu] connections: 0 is too little; write 1 or more",
    ),
    (
        "[sozu]\nworker_timeout = 10\n",
        "f.toml:2:18: [sozu] worker_timeout: invalid type: integer `10`, expected a duration; write it like \"10s\"",
    ),
    (
        "[sozu]\nworker_timeout = \"0s\"\n",
        "f.toml:2:18: [sozu] worker_timeout: 0s is too short; write 100ms or more",
    ),
    (
        "[guard]\nremoval_share = 1.5\n",
        "f.toml:2:17: [guard] removal_share: 1.5 is no share; write a number from 0 to 1",
    ),
    (
        "[guard]\nremoval_share = nan\n",
        "f.toml:2:17: [guard] removal_share: NaN is no share; write a number from 0 to 1",
    ),
    (
        "[reconcile]\nmode = \"aply\"\n",
        "f.toml:2:8: [reconcile] mode: unknown variant `aply`, expected `apply` or `observe`; write it like \"apply\"",
    ),
    (
        "[dead_letters]\nmax_bytes = \"1 parsec\"\n",
        "f.toml:2:13: [dead_letters] max_bytes: \"1 parsec\" is no size: a whole number with a unit of kB, MB, GB, TB, KiB, MiB, GiB or TiB; write it like \"1GB\"",
    ),
    (
        "state_directory = \"lib\"\n",
        "f.toml:1:19: state_directory: lib is relative; write the whole path, from /",
    ),
    (
        "[routes.a]\n",
        "f.toml:1:9: [routes.a] directory: it is not set; give an absolute path",
    ),
    (
        "[routes.A]\ndirectory = \"/a\"\n",
        "f.toml:1:9: \"A\" is no name of a source; take 1 to 32 of a-z, 0-9, _ and -, without `__`",
    ),
    (
        "http = 5\n",
        "f.toml:1:8: `http` is a single value (integer), and should be a table; write [http] on a line of its own and its keys below it",
    ),
    (
        "[[routes.a]]\n",
        "f.toml:1:1: `routes.a` is a single value (array), and should be a table; give the source a name: [routes.NAME], and its keys below it",
    ),
    (
        "[routes]\ndirectory = \"/a\"\n",
        "f.toml:2:13: `routes.directory` is a single value (string), and should be a table; give the source a name: [routes.NAME], and its keys below it",
    ),
    (
        "[routes.a]\ndirectory = \"/a\"\n[routes.a]\n",
        "f.toml:3:9: the key `a` is there twice; remove one of the two",
    ),
    (
        "[log]\nlevel = \n",
        "f.toml:2:9: string values must be quoted, expected literal string; mend the TOML at this place",
    ),
    (
        "instance = \"Grüße\" \"\n",
        "f.toml:1:20: unexpected key or value, expected newline, `#`; mend the TOML at this place",
    ),
    (
        "[sozu]\nmax_request_bytes = 99999999999999999999\n",
        "f.toml:2:21: [sozu] max_request_bytes: the number is too large; write it like 1900000",
    ),
];

/// A topic as a source, with one thing wrong; `[pulsar.a]` is line 1, `url` line 2, `topic` line 3.
const BUSES: &[Case] = &[
    (
        "max_objects = -1\n",
        "f.toml:4:15: [pulsar.a] max_objects: invalid value: integer `-1`, expected a number; write it like 0",
    ),
    (
        "verbs = [\"hard_stop\"]\n",
        "f.toml:4:9: [pulsar.a] verbs: \"hard_stop\" is no verb that a source may send; write \"routing\", \"certificates\", or a verb such as \"add_backend\"",
    ),
    (
        "token_file = \"x/token\"\n",
        "f.toml:4:14: [pulsar.a] token_file: x/token is relative; write the whole path, from /, or the bare name of a systemd credential",
    ),
    (
        "dead_letter_topic = \"persistent://t/n/x\"\n",
        "f.toml:4:21: [pulsar.a] dead_letter_topic: it is the topic that is read; name another one",
    ),
    (
        "allow_backends = [\"10.0.0.0/99\"]\n",
        "f.toml:4:18: [pulsar.a] allow_backends: invalid IP address syntax; write it like [\"10.0.0.0/8\"]",
    ),
    (
        "[routes.a]\ndirectory = \"/a\"\n",
        "f.toml:1:9: [routes.a] has this name already; give each source its own",
    ),
    (
        "[pki.a]\ndirectory = \"/a\"\n",
        "f.toml:1:9: [pki.a] has this name already; give each source its own",
    ),
];

#[test]
fn each_problem_of_a_bus_has_its_place_and_its_remedy() {
    let good = "[pulsar.a]\nurl = \"pulsar://a:1\"\ntopic = \"persistent://t/n/x\"\n";
    assert_eq!(
        config(good, &[]).pulsar["a"].subscription,
        "sozu-manager-{instance}"
    );
    for (more, expected) in BUSES {
        assert_eq!(
            problems(&format!("{good}{more}"), &[]),
            [*expected],
            "{more}"
        );
    }
    let told = problems("[pulsar.a]\nurl = \"https://user:secret@a\"\n", &[]);
    assert_eq!(
        told,
        [
            "f.toml:2:7: [pulsar.a] url: it is no broker's URL; write it like \"pulsar+ssl://pulsar.example:6651\"",
            "f.toml:1:9: [pulsar.a] topic: \"\" is no topic; write it like \"persistent://public/default/sozu\"",
        ]
    );
}

#[test]
fn each_problem_has_its_place_and_its_remedy() {
    let mut wrong = Vec::new();
    for (text, expected) in KEYS.iter().chain(VALUES) {
        let told = problems(text, &[]);
        if told != [*expected] {
            wrong.push(format!("{text:?}\n  told {told:?}\n  not  {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_variable_that_is_wrong_is_named() {
    for (name, value, expected) in [
        (
            "SOZU_MANAGER__HTTP__ADRESS",
            "127.0.0.1:1",
            "there is no `adress` in [http]; did you mean `address`?",
        ),
        (
            "SOZU_MANAGER__HTTP__ADDRESS",
            "x",
            "[http] address: invalid socket address syntax; write it like \"127.0.0.1:7380\"",
        ),
        (
            "SOZU_MANAGER__SOZU__CONNECTIONS",
            "many",
            "[sozu] connections: invalid type: string \"many\", expected a number; write it like 8",
        ),
        (
            "SOZU_MANAGER__SOZU__CONNECTIONS",
            "0",
            "[sozu] connections: 0 is too little; write 1 or more",
        ),
        (
            "SOZU_MANAGER__SOZU__CONNECTIONS",
            "true",
            "[sozu] connections: invalid type: string \"true\", expected a number; write it like 8",
        ),
        (
            "SOZU_MANAGER__SOZU__WORKER_TIMEOUT",
            "10",
            "[sozu] worker_timeout: invalid value: string \"10\", expected a duration; write it like \"10s\"",
        ),
        (
            "SOZU_MANAGER__RECONCILE__UPGRADE_WORKERS",
            "maybe",
            "[reconcile] upgrade_workers: invalid type: string \"maybe\", expected a boolean; write it like false",
        ),
        (
            "SOZU_MANAGER__RECONCILE__MODE",
            "Observe",
            "[reconcile] mode: unknown variant `Observe`, expected `apply` or `observe`; write it like \"apply\"",
        ),
        (
            "SOZU_MANAGER__ROUTES__A__B__DIRECTORY",
            "/x",
            "there is no `b` in [routes.a]; the keys are directory",
        ),
        (
            "SOZU_MANAGER__HTTP",
            "x",
            "[http] is a table; name one of its keys: SOZU_MANAGER__HTTP__KEY",
        ),
        (
            "SOZU_MANAGER__HTTP__ADDRESS__PORT",
            "1",
            "[http] address is a value, not a table; write it like \"127.0.0.1:7380\"",
        ),
        (
            "SOZU_MANAGER__AMQP__A__URL",
            "x",
            "this version does not know [amqp.*] yet; remove the table, or install a version that has it",
        ),
        (
            "SOZU_MANAGER__HTTP__address",
            "127.0.0.1:1",
            "settings are written in upper case; write SOZU_MANAGER__HTTP__ADDRESS",
        ),
    ] {
        let expected = format!("${name}: {expected}");
        assert_eq!(problems("", &[(name, value)]), [expected]);
    }
}

#[test]
fn a_variable_that_is_not_utf_8_is_named() {
    let name = OsString::from("SOZU_MANAGER__INSTANCE");
    let environment = [(name, OsString::from_vec(vec![0xff]))]
        .into_iter()
        .collect();
    let problems = parse("f.toml", b"", &environment).unwrap_err();
    let expected = "$SOZU_MANAGER__INSTANCE: its value is not UTF-8; set it to text";
    assert_eq!(problems[0].to_string(), expected);
}

#[test]
fn all_problems_are_told_in_the_order_of_the_file() {
    let told = problems(
        "[reconcile]\nmode = 1\n[http]\nadress = 1\n[log]\nlevel = \"loud\"\n",
        &[("SOZU_MANAGER__LOG__FORM", "x")],
    );
    let places: Vec<&str> = told
        .iter()
        .filter_map(|line| line.split(": ").next())
        .collect();
    assert_eq!(
        places,
        [
            "f.toml:2:8",
            "f.toml:4:1",
            "f.toml:6:9",
            "$SOZU_MANAGER__LOG__FORM"
        ]
    );
}

#[test]
fn a_file_that_is_not_utf_8_has_a_place() {
    let problems = parse("f.toml", b"[log]\n# \xff\n", &Environment::default()).unwrap_err();
    let origin = Origin::Place {
        file: "f.toml".into(),
        line: 2,
        column: 3,
    };
    assert_eq!(problems[0].origin, origin);
}
