//! Every layout is found, served, and its renewal followed as its tool writes it.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use testkit::pki::{Issued, write};

use crate::{
    stand::{Setup, put, stand},
    support::{self, all_well},
    tools::{self, Tool},
};

const TOOLS: [(&str, Tool); 10] = [
    ("connector", tools::connector),
    ("certbot", tools::certbot),
    ("dehydrated", tools::dehydrated),
    ("caddy", tools::caddy),
    ("acme.sh", tools::acme_sh),
    ("acme.sh ecc", tools::acme_sh_ecc),
    ("kubernetes", tools::kubernetes),
    ("haproxy", tools::haproxy),
    ("lego", tools::lego),
    ("pem", tools::pem),
];

#[test]
fn every_layout_is_served_and_its_renewal_followed() {
    let stand = stand();
    let names = TOOLS.map(|(tool, _)| format!("{}.example", tool.replace(['.', ' '], "-")));
    let write_all = || -> Vec<Issued> {
        let tools = TOOLS.iter().zip(&names);
        tools
            .map(|((_, write), name)| {
                let issued = stand.issue(name);
                write(&stand.directory, name, &issued);
                issued
            })
            .collect()
    };
    let all_served = |all: &[Issued]| {
        for (name, issued) in names.iter().zip(all) {
            stand.served(name, issued);
        }
    };
    let first = write_all();
    all_served(&first);
    all_well(&stand.daemon);
    for layout in [
        "connector",
        "certbot",
        "dehydrated",
        "caddy",
        "acme.sh",
        "kubernetes",
        "haproxy",
        "flat",
    ] {
        stand.says(layout);
    }

    let clients = stand.clients(&names.each_ref().map(String::as_str));
    let second = write_all();
    all_served(&second);
    let pairs: Vec<[&Issued; 2]> = first.iter().zip(&second).map(Into::into).collect();
    let renewed: Vec<(&str, &[&Issued])> = names
        .iter()
        .zip(&pairs)
        .map(|(name, pair)| (name.as_str(), &pair[..]))
        .collect();
    clients.end(&renewed);
    assert_eq!(support::certificates_held(&stand.sozu), TOOLS.len() + 1);
    all_well(&stand.daemon);
}

#[test]
fn certbots_live_leads_into_its_archive_and_nowhere_else() {
    let setup = Setup {
        directory: "letsencrypt/live",
        tool: tools::certbot_live,
        ..Setup::default()
    };
    let stand = setup.start();
    let renew = || {
        let issued = stand.issue("a.example");
        tools::certbot_live(&stand.directory, "a.example", &issued);
        stand.served("a.example", &issued);
        issued
    };
    let first = renew();
    let clients = stand.clients(&["a.example"]);
    let all = [first, renew(), renew()];
    all_well(&stand.daemon);
    stand.says("certbot");

    // Beside the archive is within `root`, above it is not.
    let strange = stand.issue("a.example");
    let chain = stand.at("a.example/fullchain.pem");
    let good = fs::read_link(&chain).unwrap();
    fs::write(stand.base.path().join("outside.pem"), strange.fullchain()).unwrap();
    put(&chain, |path| {
        symlink("../../../outside.pem", path).unwrap();
    });
    stand.told(&["a.example/fullchain.pem", "leads out of"]);
    assert!(stand.shows("a.example", &all[2]));
    put(&chain, |path| symlink(good, path).unwrap());
    all_well(&stand.daemon);
    clients.end(&[("a.example", &all.each_ref())]);
}

#[test]
fn a_kubernetes_secret_may_be_mounted_as_the_directory_itself() {
    let stand = stand();
    let swap = || {
        let issued = stand.issue("a.example");
        tools::mounted(&stand.directory, &issued);
        stand.served("a.example", &issued);
        issued
    };
    let first = swap();
    let clients = stand.clients(&["a.example"]);
    let all = [first, swap(), swap()];
    stand.says("kubernetes");
    all_well(&stand.daemon);
    clients.end(&[("a.example", &all.each_ref())]);
}

#[test]
fn a_fixed_layout_finds_no_other() {
    let setup = Setup {
        settings: "layout = \"kubernetes\"\n",
        tool: tools::kubernetes,
        ..Setup::default()
    };
    let stand = setup.start();
    let other = stand.issue("other.example");
    tools::certbot(&stand.directory, "other.example", &other);
    let meant = stand.issue("meant.example");
    tools::kubernetes(&stand.directory, "meant.example", &meant);
    stand.served("meant.example", &meant);
    stand.says("2 certificates (kubernetes), 5 ignored");
    assert_eq!(support::certificates_held(&stand.sozu), 2);
    all_well(&stand.daemon);
}

#[test]
fn options_are_kept_and_bad_ones_loosen_nothing() {
    let stand = stand();
    let options: PathBuf = stand.at("a.example/options.json");
    let first = stand.issue("a.example");
    tools::connector(&stand.directory, "a.example", &first);
    stand.served("a.example", &first);
    assert_eq!(stand.held_for("a.example").versions, [4, 5]);
    let clients = stand.clients(&["a.example"]);

    // The same leaf with other versions.
    write(&options, "[\"TLS_V13\"]").unwrap();
    testkit::wait_until("its versions are others", testkit::SOON, || {
        stand.held_for("a.example").versions == [5]
    });
    // Versions that nobody serves, with a renewal.
    write(&options, "[\"TLS_V13\", \"SSL_V3\"]").unwrap();
    let second = stand.issue("a.example");
    second
        .write(options.parent().unwrap(), "a.example.crt", "a.example.key")
        .unwrap();
    stand.told(&[
        "options.json: entry 2 is no TLS version",
        "its last good content stays",
    ]);
    assert!(stand.shows("a.example", &first));
    assert_eq!(stand.held_for("a.example").versions, [5]);
    write(&options, "[5]").unwrap();
    stand.served("a.example", &second);
    all_well(&stand.daemon);
    clients.end(&[("a.example", &[&first, &second])]);
}
