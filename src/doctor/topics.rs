//! Each topic: its broker answers and lets us in, it is there, and nobody else has our subscription.

use actors::{pulsar_consumer::examine::examine, state_keeper::store::subscription_of};

use super::{Doctor, Finding, admin::Daemon};
use crate::{config::tables, sources};

pub(super) async fn findings(doctor: &Doctor<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, table) in &doctor.config.pulsar {
        findings.extend(of_topic(doctor, name, table).await);
    }
    findings
}

async fn of_topic(doctor: &Doctor<'_>, name: &str, table: &tables::Pulsar) -> Vec<Finding> {
    let check = format!("pulsar.{name}");
    let mut findings = Vec::new();
    let says = doctor.daemon.component(&check);
    // A running daemon has the subscription itself. One that was never made is not made by us.
    let subscription = match &doctor.daemon {
        Daemon::Runs(_) | Daemon::Denied(_) | Daemon::Broken(_) => None,
        Daemon::Away => subscription_of(&doctor.config.state_directory, name)
            .ok()
            .flatten(),
    };
    let address = sources::broker(table);
    for found in examine(&address, &table.topic, subscription.as_deref()).await {
        findings.push(match found {
            Ok(says) => Finding::ok(&check, says),
            Err(error) => wrong(&check, &error.to_string()),
        });
    }
    match says {
        Some((state, says)) if state == "running" => {
            findings.push(Finding::ok(&check, format!("the daemon reads it: {says}")));
        }
        Some((state, says)) => {
            let says = format!("the daemon says: {state}, {says}");
            let remedy = "do as it says; `sozu-manager status` shows all components";
            findings.push(Finding::warning(&check, says, remedy));
        }
        None => {}
    }
    findings
}

/// What a broker's errors say is `what is wrong; what to do` already.
fn wrong(check: &str, error: &str) -> Finding {
    match error.split_once("; ") {
        Some((says, remedy)) => Finding::wrong(check, says, remedy),
        None => Finding::wrong(check, error, "look at the broker's own log"),
    }
}
