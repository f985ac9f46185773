//! The binary as a person or a script meets it: commands, exit statuses, messages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// The binary in an empty environment: nobody's settings count but a test's own.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sozu-manager"));
    command.env_clear();
    command
}

struct Ended {
    status: i32,
    out: String,
    err: String,
}

fn ended(command: &mut Command) -> Ended {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Ended {
        status: status.code().expect("it ended by itself"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// A configuration in a directory of its own.
fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

fn check(path: &Path) -> Ended {
    ended(binary().arg("-c").arg(path).arg("check"))
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["check", "--frobnicate"],
        &["check", "-c"],
        &["holds"],
        &["orphans", "remove"],
        &["journal", "--since", "yesterday"],
        &["check", "--socket", "/nonexistent"],
    ] {
        let ended = ended(binary().args(arguments));
        assert_eq!((ended.status, ended.out.as_str()), (2, ""), "{arguments:?}");
        assert!(
            ended.err.contains("--help") || ended.err.contains("Usage:"),
            "{}",
            ended.err
        );
    }
}

#[test]
fn help_and_version_end_with_0() {
    let help = ended(binary().arg("--help"));
    assert_eq!(help.status, 0);
    for command in [
        "run",
        "check",
        "default-config",
        "status",
        "diff",
        "journal",
        "holds",
        "orphans",
        "publish",
        "unsubscribe",
    ] {
        assert!(help.out.contains(command), "{}", help.out);
    }
    let version = ended(binary().arg("--version"));
    let expected = format!("sozu-manager {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.status, version.out), (0, expected));
}

#[test]
fn the_default_configuration_is_a_right_one() {
    let printed = ended(binary().arg("default-config"));
    assert_eq!(printed.status, 0);
    assert_eq!(printed.out, include_str!("../configs/default.toml"));
    let (_directory, path) = file(&printed.out);
    let checked = check(&path);
    assert_eq!((checked.status, checked.out.as_str()), (0, "ok\n"));
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let ended = binary()
        .arg("default-config")
        .stdout(write)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn no_file_is_an_error_that_names_default_config() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.toml");
    for command in ["check", "run"] {
        let ended = ended(binary().arg("-c").arg(&path).arg(command));
        assert_eq!(ended.status, 78, "{command}");
        let told = ended.out + &ended.err;
        assert!(told.starts_with(path.to_str().unwrap()), "{told}");
        assert!(told.contains("sozu-manager default-config"), "{told}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_the_environments_to_mend() {
    let directory = tempfile::tempdir().unwrap();
    let ended = check(directory.path());
    assert_eq!(ended.status, 1);
    assert!(ended.out.contains("it cannot be read"), "{}", ended.out);
}

#[test]
fn the_file_is_the_argument_or_else_the_variables() {
    let (_right, right) = file("");
    let (_wrong, wrong) = file("[htp]\n");
    let status = |argument: Option<&Path>, variable: &Path| {
        let mut command = binary();
        if let Some(path) = argument {
            command.arg("--config").arg(path);
        }
        ended(command.env("SOZU_MANAGER_CONFIG", variable).arg("check")).status
    };
    assert_eq!(status(None, &right), 0);
    assert_eq!(status(None, &wrong), 78);
    assert_eq!(status(Some(&right), &wrong), 0);
    let after = ended(binary().arg("check").arg("--config").arg(&wrong));
    assert_eq!(after.status, 78, "the option may stand after the command");
}

#[test]
fn every_problem_is_a_line_with_its_place() {
    let (_directory, path) = file(concat!(
        "instance = \"a b\"\n",
        "[http]\n",
        "adress = \"127.0.0.1:7380\"\n",
        "[sozu]\n",
        "worker_timeout = \"10 parsecs\"\n",
        "connections = true\n",
        "[amqp.platform]\n",
        "url = \"amqp://a\"\n",
    ));
    for command in ["check", "run"] {
        let ended = ended(
            binary()
                .env("SOZU_MANAGER__LOG__LEVEL", "loud")
                .arg("-c")
                .arg(&path)
                .arg(command),
        );
        assert_eq!(ended.status, 78);
        let (told, silent) = match command {
            "check" => (ended.out, ended.err),
            _ => (ended.err, ended.out),
        };
        assert_eq!(silent, "");
        let lines: Vec<&str> = told.lines().collect();
        for (line, place) in lines.iter().zip([":3:1: ", ":5:18: ", ":6:15: ", ":7:2: "]) {
            let start = format!("{}{place}", path.display());
            assert!(line.starts_with(&start), "{line} does not start {start}");
            assert!(line.contains("; "), "{line} does not say what to do");
        }
        assert!(
            lines[0].ends_with("did you mean `address`?"),
            "{}",
            lines[0]
        );
        assert!(lines[3].contains("this version does not know [amqp.*] yet"));
        assert!(
            lines[4].starts_with("$SOZU_MANAGER__LOG__LEVEL: "),
            "{}",
            lines[4]
        );
        assert_eq!(lines.len(), 5, "{told}");
    }
}

#[test]
fn a_value_out_of_range_is_told_at_its_place() {
    let (_directory, path) = file("[reconcile]\ninterval = \"0s\"\n");
    let ended = check(&path);
    let expected = format!(
        "{}:2:12: [reconcile] interval: 0s is too short; write 1s or more\n",
        path.display()
    );
    assert_eq!((ended.status, ended.out), (78, expected));
}

#[test]
fn a_setting_in_the_environment_counts_and_kubernetes_variables_do_not() {
    let (_directory, path) = file("[http]\naddress = \"127.0.0.1:1\"\n");
    let with = |name: &str, value: &str| {
        ended(binary().env(name, value).arg("-c").arg(&path).arg("check"))
    };
    for (name, value) in [
        ("SOZU_MANAGER_PORT", "tcp://10.96.0.7:7380"),
        ("SOZU_MANAGER_SERVICE_HOST", "10.96.0.7"),
    ] {
        let ended = with(name, value);
        assert_eq!((ended.status, ended.out.as_str()), (0, "ok\n"), "{name}");
    }
    let ended = with("SOZU_MANAGER__HTTP__ADDRESS", "here");
    assert_eq!(ended.status, 78);
    assert!(
        ended
            .out
            .starts_with("$SOZU_MANAGER__HTTP__ADDRESS: [http] address: ")
    );
}

#[test]
fn what_the_environment_may_mend_ends_with_1() {
    let (directory, path) = file("");
    let missing = directory.path().join("routes.d");
    let text = format!(
        "[routes.local]\ndirectory = {:?}\n",
        missing.to_str().unwrap()
    );
    fs::write(&path, text).unwrap();
    let before = check(&path);
    let start = format!(
        "{}:2:13: the directory {} is not there;",
        path.display(),
        missing.display()
    );
    assert_eq!(before.status, 1);
    assert!(before.out.starts_with(&start), "{}", before.out);

    fs::create_dir(&missing).unwrap();
    let after = check(&path);
    assert_eq!((after.status, after.out.as_str()), (0, "ok\n"));
    let kept: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(kept.len(), 2, "check changes nothing: {kept:?}");
}

#[test]
fn check_reads_the_routes_files_that_are_named() {
    let (directory, path) = file("");
    let routes = directory.path().join("routes.d");
    fs::create_dir(&routes).unwrap();
    let text = format!(
        "[routes.local]\ndirectory = {:?}\n",
        routes.to_str().unwrap()
    );
    fs::write(&path, text).unwrap();
    // Neither Sōzu's listeners nor the backend's name can be known here.
    let good = concat!(
        "[clusters.web]\n",
        "protocol = \"http\"\n",
        "frontends = [{ address = \"0.0.0.0:80\", hostname = \"www.example.com\" }]\n",
        "backends = [{ address = \"app.invalid:8080\" }]\n",
    );
    fs::write(routes.join("good.toml"), good).unwrap();
    let checked = check(&path);
    assert_eq!((checked.status, checked.out.as_str()), (0, "ok\n"));

    let bad = routes.join("bad.toml");
    fs::write(&bad, good.replace("clusters", "cluster")).unwrap();
    let checked = check(&path);
    let expected = format!(
        "{}:1:2: unknown table `cluster`; did you mean `clusters`?\n",
        bad.display()
    );
    assert_eq!((checked.status, checked.out), (1, expected));
}

#[test]
fn a_port_that_is_taken_ends_with_1_and_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (_directory, path) = file(&format!("[http]\naddress = \"{address}\"\n"));
    let ended = ended(binary().arg("-c").arg(&path).arg("run"));
    assert_eq!((ended.status, ended.out.as_str()), (1, ""));
    let expected = [
        address.to_string(),
        "ss -ltnp".into(),
        "another [http] address".into(),
    ];
    for part in expected {
        assert!(ended.err.contains(&part), "{}", ended.err);
    }
}
