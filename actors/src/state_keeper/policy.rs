//! What a bus may do: a stolen token must not re-point what the source has no business with, stop
//! a proxy or read a file.

use ipnet::IpNet;
use sozu_command_lib::proto::command::request::RequestType;

use super::effects::http_frontend;

/// What one source may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The verbs: `routing`, `certificates`, or a verb's own name (`add_cluster`).
    pub verbs: Vec<String>,
    /// Host names that it may route: `a.example`, or `*.example` for all below. Empty: any.
    pub allow_hostnames: Vec<String>,
    /// Where backends may be. Empty: anywhere.
    pub allow_backends: Vec<IpNet>,
    /// At most so many objects; 0: no limit.
    pub max_objects: usize,
}

impl Policy {
    /// Judges one change of a source that stands for `objects` objects.
    ///
    /// # Errors
    /// With the reason.
    pub fn judge(&self, request: &RequestType, objects: usize) -> Result<(), String> {
        let Some((verb, class)) = verb(request) else {
            return Err("this verb is never taken from a source".to_owned());
        };
        if !self
            .verbs
            .iter()
            .any(|allowed| allowed == class || allowed == verb)
        {
            return Err(format!(
                "the verb {verb} is not among this source's `verbs`"
            ));
        }
        if let Some(front) = http_frontend(request) {
            self.judge_hostname(&front.hostname)?;
        }
        match request {
            RequestType::AddTcpFrontend(front) | RequestType::RemoveTcpFrontend(front) => {
                self.judge_hostname(front.sni.as_deref().unwrap_or("*"))?;
            }
            RequestType::AddCertificate(add) => self.judge_names(&add.certificate.names)?,
            RequestType::ReplaceCertificate(replace) => {
                self.judge_names(&replace.new_certificate.names)?;
            }
            RequestType::AddBackend(backend) => {
                if backend.unix_path.is_some() {
                    return Err(
                        "a path of the file system (unix_path) is never taken from a source"
                            .to_owned(),
                    );
                }
                let address: std::net::SocketAddr = backend.address.into();
                let allowed = self
                    .allow_backends
                    .iter()
                    .any(|net| net.contains(&address.ip()));
                if !allowed && !self.allow_backends.is_empty() {
                    return Err(format!(
                        "the backend {address} is not within this source's `allow_backends`"
                    ));
                }
            }
            _ => {}
        }
        let adds = verb.starts_with("add");
        if adds && self.max_objects > 0 && objects >= self.max_objects {
            return Err(format!(
                "the source has its {} objects (`max_objects`) already",
                self.max_objects
            ));
        }
        Ok(())
    }

    fn judge_names(&self, names: &[String]) -> Result<(), String> {
        if names.is_empty() && !self.allow_hostnames.is_empty() {
            return Err(
                "a certificate of a source with `allow_hostnames` must say its names".to_owned(),
            );
        }
        names.iter().try_for_each(|name| self.judge_hostname(name))
    }

    fn judge_hostname(&self, hostname: &str) -> Result<(), String> {
        let hostname = hostname.to_ascii_lowercase();
        let allowed = self
            .allow_hostnames
            .iter()
            .any(|pattern| covers(pattern, &hostname));
        if allowed || self.allow_hostnames.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "the host name {hostname} is not within this source's `allow_hostnames`"
            ))
        }
    }
}

/// Whether `pattern` covers the host name, which may itself be a wildcard. What Sōzu would read as
/// a regular expression (it holds a `/`) is covered only by itself.
fn covers(pattern: &str, hostname: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    if pattern == hostname {
        return true;
    }
    let Some(parent) = pattern.strip_prefix('*') else {
        return false;
    };
    !hostname.contains('/') && parent.starts_with('.') && hostname.ends_with(parent)
}

/// Whether `name` may stand in [`Policy::verbs`].
pub fn is_verb(name: &str) -> bool {
    ROUTING_VERBS.contains(&name)
        || CERTIFICATE_VERBS.contains(&name)
        || [ROUTING, CERTIFICATES].contains(&name)
}

const ROUTING: &str = "routing";
const CERTIFICATES: &str = "certificates";
const ROUTING_VERBS: [&str; 14] = [
    "add_cluster",
    "remove_cluster",
    "add_backend",
    "remove_backend",
    "add_http_frontend",
    "remove_http_frontend",
    "add_https_frontend",
    "remove_https_frontend",
    "add_tcp_frontend",
    "remove_tcp_frontend",
    "add_udp_frontend",
    "remove_udp_frontend",
    "set_health_check",
    "remove_health_check",
];
const CERTIFICATE_VERBS: [&str; 3] = [
    "add_certificate",
    "replace_certificate",
    "remove_certificate",
];

/// A verb's own name and its class. Nothing for what is never taken: stops, upgrades, paths.
fn verb(request: &RequestType) -> Option<(&'static str, &'static str)> {
    Some(match request {
        RequestType::AddCluster(_) => ("add_cluster", ROUTING),
        RequestType::RemoveCluster(_) => ("remove_cluster", ROUTING),
        RequestType::AddBackend(_) => ("add_backend", ROUTING),
        RequestType::RemoveBackend(_) => ("remove_backend", ROUTING),
        RequestType::AddHttpFrontend(_)
        | RequestType::AddHttpFrontendWithHeaderPredicates(_)
        | RequestType::AddHttpFrontendWithSilentClose(_) => ("add_http_frontend", ROUTING),
        RequestType::AddHttpsFrontend(_)
        | RequestType::AddHttpsFrontendWithHeaderPredicates(_)
        | RequestType::AddHttpsFrontendWithSilentClose(_) => ("add_https_frontend", ROUTING),
        RequestType::RemoveHttpFrontend(_)
        | RequestType::RemoveHttpFrontendWithHeaderPredicates(_) => {
            ("remove_http_frontend", ROUTING)
        }
        RequestType::RemoveHttpsFrontend(_)
        | RequestType::RemoveHttpsFrontendWithHeaderPredicates(_) => {
            ("remove_https_frontend", ROUTING)
        }
        RequestType::AddTcpFrontend(_) => ("add_tcp_frontend", ROUTING),
        RequestType::RemoveTcpFrontend(_) => ("remove_tcp_frontend", ROUTING),
        RequestType::AddUdpFrontend(_) => ("add_udp_frontend", ROUTING),
        RequestType::RemoveUdpFrontend(_) => ("remove_udp_frontend", ROUTING),
        RequestType::SetHealthCheck(_) => ("set_health_check", ROUTING),
        RequestType::RemoveHealthCheck(_) => ("remove_health_check", ROUTING),
        RequestType::AddCertificate(_) => ("add_certificate", CERTIFICATES),
        RequestType::ReplaceCertificate(_) => ("replace_certificate", CERTIFICATES),
        RequestType::RemoveCertificate(_) => ("remove_certificate", CERTIFICATES),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::{HardStop, Request};

    use super::*;
    use crate::state_keeper::examples::{backend, cluster, http, tcp};

    fn judged(policy: &Policy, request: &Request) -> Result<(), String> {
        policy.judge(request.request_type.as_ref().unwrap(), 3)
    }

    fn routing() -> Policy {
        Policy {
            verbs: vec!["routing".to_owned()],
            ..Policy::default()
        }
    }

    #[test]
    fn only_the_allowed_verbs_pass_and_dangerous_ones_never() {
        assert_eq!(judged(&routing(), &cluster("a").add()), Ok(()));
        let one = Policy {
            verbs: vec!["add_backend".to_owned()],
            ..Policy::default()
        };
        assert!(judged(&one, &cluster("a").add()).is_err());
        assert_eq!(judged(&one, &backend("a", "a-1", 1).add()), Ok(()));
        let all = Policy {
            verbs: vec!["routing".to_owned(), "hard_stop".to_owned()],
            ..Policy::default()
        };
        for never in [
            RequestType::HardStop(HardStop {}),
            RequestType::LoadState("/etc/shadow".to_owned()),
            RequestType::SaveState("/etc/passwd".to_owned()),
        ] {
            assert!(judged(&all, &never.into()).is_err());
        }
    }

    #[test]
    fn the_names_are_those_of_the_verbs() {
        for object in [
            cluster("a"),
            backend("a", "a-1", 1),
            http("a", "a.example"),
            tcp("a", "x"),
        ] {
            for request in [object.add(), object.remove().unwrap()] {
                let (name, class) = verb(request.request_type.as_ref().unwrap()).unwrap();
                assert!(is_verb(name) && is_verb(class), "{name}");
            }
        }
        assert!(!is_verb("hard_stop"));
    }

    #[test]
    fn host_names_outside_the_list_are_refused_for_removals_too() {
        let policy = Policy {
            allow_hostnames: vec!["*.shop.example".to_owned(), "one.example".to_owned()],
            ..routing()
        };
        let table = [
            ("a.shop.example", true),
            ("A.b.SHOP.example", true),
            ("*.shop.example", true),
            ("shop.example", false),
            ("evilshop.example", false),
            ("one.example", true),
            ("two.example", false),
            ("/.*/.shop.example", false),
        ];
        for (hostname, allowed) in table {
            let front = http("a", hostname);
            assert_eq!(judged(&policy, &front.add()).is_ok(), allowed, "{hostname}");
            assert_eq!(
                judged(&policy, &front.remove().unwrap()).is_ok(),
                allowed,
                "{hostname}"
            );
        }
        assert_eq!(judged(&policy, &tcp("a", "a.shop.example").add()), Ok(()));
    }

    #[test]
    fn backends_are_bound_to_their_networks_and_objects_to_their_number() {
        let net = |text: &str| text.parse().unwrap();
        let inside = Policy {
            allow_backends: vec![net("127.0.0.0/8")],
            ..routing()
        };
        let outside = Policy {
            allow_backends: vec![net("10.0.0.0/8")],
            ..routing()
        };
        let request = backend("a", "a-1", 1).add();
        assert_eq!(judged(&inside, &request), Ok(()));
        assert!(
            judged(&outside, &request)
                .unwrap_err()
                .contains("allow_backends")
        );
        let full = Policy {
            max_objects: 3,
            ..routing()
        };
        assert!(judged(&full, &request).unwrap_err().contains("max_objects"));
        assert_eq!(
            judged(&full, &backend("a", "a-1", 1).remove().unwrap()),
            Ok(())
        );
    }

    #[test]
    fn a_path_of_the_file_system_is_never_taken() {
        let mut object = backend("a", "a-1", 1);
        if let super::super::key::Object::Backend(backend) = &mut object {
            backend.unix_path = Some("/run/a.sock".to_owned());
        }
        assert!(judged(&routing(), &object.add()).is_err());
    }
}
