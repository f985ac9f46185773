//! Certificates that a bus sends: served, and their keys are nowhere to be seen.

use prost::Message;
use sozu_command_lib::{
    certificate::split_certificate_chain,
    proto::command::{
        AddCertificate, CertificateAndKey, Request, RequestHttpFrontend, SocketAddress,
        request::RequestType,
    },
};
use testkit::{
    Backend, Daemon, SOON, Sozu,
    pki::{Authority, Issued},
    tls::get_verified,
    wait_until,
};

use crate::{
    LONG,
    pulsar::{broker, new_topic, no_backlog, payload, payloads, producer, source, subscription},
    support::{at_rest, requests, verdicts},
};

const HOST: &str = "tls.example";

fn add(address: std::net::SocketAddr, issued: &Issued) -> AddCertificate {
    AddCertificate {
        address: SocketAddress::from(address),
        certificate: CertificateAndKey {
            certificate: issued.leaf.clone(),
            certificate_chain: split_certificate_chain(issued.chain.clone()),
            key: issued.key.clone(),
            names: vec![HOST.to_owned()],
            ..CertificateAndKey::default()
        },
        expired_at: None,
    }
}

/// All that a daemon says of itself.
fn said(daemon: &Daemon) -> String {
    let mut said = daemon.log();
    for path in ["/health", "/readyz", "/metrics"] {
        said += &daemon.fetch(path).unwrap().body;
    }
    for command in [
        &["journal", "-o", "json"][..],
        &["journal"],
        &["status", "-o", "json"],
        &["diff", "-o", "json"],
        &["holds", "list", "-o", "json"],
        &["orphans", "list", "-o", "json"],
        &["dead-letters", "list", "-o", "json"],
        &["dead-letters", "export"],
        &["doctor", "-o", "json"],
    ] {
        let output = daemon.command(command).output().unwrap();
        said += &String::from_utf8_lossy(&output.stdout);
        said += &String::from_utf8_lossy(&output.stderr);
    }
    said
}

/// The forms in which a key may show itself: a line of it, and its bytes as numbers.
fn traces(issued: &Issued) -> Vec<String> {
    let line = issued.key.lines().nth(1).unwrap();
    let part = &line[8..40];
    let bytes: Vec<String> = part.bytes().map(|byte| byte.to_string()).collect();
    vec![part.to_owned(), bytes.join(", "), bytes.join(",")]
}

#[test]
fn a_certificate_of_a_bus_is_served_and_its_key_is_nowhere_to_be_seen() {
    let mut sozu = Sozu::builder().https_listeners(1).start().unwrap();
    let (broker, topic) = (broker(), new_topic());
    let https = sozu.https_addresses()[0];
    let authority = Authority::new().unwrap();
    let [good, refused, nowhere, cut] = [(); 4].map(|()| authority.issue(&[HOST]).unwrap());
    let letters = testkit::pulsar::topic(&new_topic());
    let more =
        format!("verbs = [\"routing\", \"certificates\"]\ndead_letter_topic = \"{letters}\"");
    let mut daemon = Daemon::builder(env!("CARGO_BIN_EXE_sozu-manager"), &sozu)
        .routes(&[])
        .env("SOZU_MANAGER__INSTANCE", "certificates")
        .env("SOZU_MANAGER__LOG__LEVEL", "debug")
        .extra_toml(&source(&broker.url(), &topic, &more))
        .start()
        .unwrap();
    daemon.wait_ready(LONG).unwrap();
    let backend = Backend::start("A").unwrap();
    let [cluster, address, front] = requests(&sozu, "tls", HOST, backend.address());
    let RequestType::AddHttpFrontend(front) = front else {
        panic!("{front:?}")
    };
    let front = RequestType::AddHttpsFrontend(RequestHttpFrontend {
        address: SocketAddress::from(https),
        ..front
    });
    let valid = RequestType::AddCertificate(add(https, &good));
    let mut producer = producer(&broker.url(), &topic, 10);
    producer
        .publish(payloads([cluster, address, front, valid]))
        .unwrap();
    let is_served = |when: &str| {
        wait_until(
            &format!("the certificate {when}"),
            LONG,
            || match get_verified(https, HOST, &authority) {
                Ok((200, leaf)) if leaf == good.der => Ok(()),
                Ok((status, _)) => Err(format!("{status}, or another certificate")),
                Err(error) => Err(error.to_string()),
            },
        );
    };
    is_served("is served");
    sozu.kill().unwrap();
    sozu.start_again().unwrap();
    is_served("is served again by a Sōzu that knew nothing");

    // One that cannot be read, one for a listener that is not there, one that is cut off behind its key.
    let mut unreadable = add(https, &refused);
    unreadable.certificate.certificate =
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let elsewhere = add("127.0.0.1:9".parse().unwrap(), &nowhere);
    let mut cut_off = Request::from(RequestType::AddCertificate(add(https, &cut))).encode_to_vec();
    cut_off.truncate(cut_off.len() - 3);
    producer
        .publish([
            payload(RequestType::AddCertificate(unreadable)),
            payload(RequestType::AddCertificate(elsewhere)),
            cut_off,
        ])
        .unwrap();
    let rows = at_rest(&daemon.state_directory(), 7, LONG);
    assert_eq!(verdicts(&rows), [("applied", 4), ("refused", 3)].into());
    no_backlog(broker, &topic, &subscription("certificates"), SOON);
    is_served("is served still");

    // A new life reads all of it from its database.
    daemon.terminate().unwrap();
    daemon.start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    let mut said = said(&daemon);
    assert!(said.contains(HOST), "it says something");
    let sent_on = testkit::pulsar::read(&broker.url(), &letters, 3).unwrap();
    assert_eq!(sent_on.len(), 3);
    for letter in sent_on {
        said += &String::from_utf8_lossy(&letter.payload);
        said += &letter.key.unwrap_or_default();
        said.extend(letter.properties.into_values());
    }
    for (which, issued) in [
        ("served", &good),
        ("unreadable", &refused),
        ("refused", &nowhere),
        ("undecodable", &cut),
    ] {
        for trace in traces(issued) {
            assert!(!said.contains(&trace), "the key of the {which} one is told");
        }
    }
}
