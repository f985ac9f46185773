//! Requests as the records of a file that Sōzu loads.

use memchr::memmem;
use serde::Serialize;
use sozu_command_lib::proto::command::Request;

/// `WorkerRequest` of sozu-command-lib, without owning the request.
#[derive(Serialize)]
struct Record<'a> {
    id: String,
    content: &'a Request,
}

/// Writes one record after the other, in the same room.
#[derive(Default)]
pub(crate) struct Records {
    json: Vec<u8>,
    record: Vec<u8>,
}

impl Records {
    /// One record as Sōzu reads it (`sozu-command-lib` 2.3.3, `state.rs`, `write_requests_to_file`), but for what is
    /// null: its reader takes what is missing for that, and a route has twenty fields of which most are.
    pub(crate) fn of(&mut self, number: usize, request: &Request) -> serde_json::Result<&[u8]> {
        self.json.clear();
        let id = format!("LOAD-{number}");
        let content = request;
        serde_json::to_writer(&mut self.json, &Record { id, content })?;
        self.record.clear();
        without_nulls(&self.json, &mut self.record);
        self.record.extend_from_slice(b"\n\0");
        Ok(&self.record)
    }
}

/// How a field that is null ends. Within a text there is a backslash before the quotation mark.
const NULL: &[u8] = b"\":null";

/// Copies JSON as serde writes it, without the fields that are null. (They are fields of structures: no key of a map is
/// null in Sōzu's types.)
fn without_nulls(json: &[u8], to: &mut Vec<u8>) {
    let mut copied = 0;
    for at in memmem::find_iter(json, NULL) {
        let before = &json[copied..at];
        let name = before.iter().rposition(|byte| *byte == b'"');
        let (Some(name), false) = (name, before.ends_with(b"\\")) else {
            continue;
        };
        to.extend_from_slice(&before[..name]);
        copied = at + NULL.len();
        if json.get(copied) == Some(&b',') {
            copied += 1;
        } else if to.last() == Some(&b',') {
            to.pop();
        }
    }
    to.extend_from_slice(&json[copied..]);
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::{
        parser::parse_several_requests,
        proto::command::{
            AddBackend, AddCertificate, Cluster, PathRule, RequestHttpFrontend, RequestTcpFrontend,
            RequestUdpFrontend, WorkerRequest, request::RequestType,
        },
    };

    use super::*;

    /// Names that look like the end of a field, or of a text.
    const NAMES: [&str; 6] = ["", "a", "b\0\n", "\":null,\"", "\\\":null", "x\\"];

    fn named(name: &str) -> Vec<RequestType> {
        let text = || name.to_owned();
        let tags = || [(text(), text())].into();
        vec![
            RequestType::AddCluster(Cluster {
                cluster_id: text(),
                answers: [(text(), text())].into(),
                www_authenticate: Some(text()),
                ..Cluster::default()
            }),
            RequestType::AddBackend(AddBackend {
                backend_id: text(),
                sticky_id: Some(text()),
                ..AddBackend::default()
            }),
            RequestType::AddHttpFrontend(RequestHttpFrontend {
                path: PathRule::prefix(text()),
                tags: tags(),
                rewrite_host: Some(text()),
                ..RequestHttpFrontend::default()
            }),
            RequestType::AddHttpsFrontend(RequestHttpFrontend::default()),
            RequestType::AddTcpFrontend(RequestTcpFrontend {
                tags: tags(),
                ..RequestTcpFrontend::default()
            }),
            RequestType::AddUdpFrontend(RequestUdpFrontend {
                cluster_id: text(),
                ..RequestUdpFrontend::default()
            }),
            RequestType::AddCertificate(AddCertificate::default()),
            RequestType::RemoveCluster(text()),
        ]
    }

    #[test]
    fn sozus_own_parser_reads_what_was_written() {
        let requests = NAMES.into_iter().flat_map(named).map(Request::from);
        let requests: Vec<Request> = requests.chain([Request::default()]).collect();
        let mut records = Records::default();
        let mut file = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            file.extend_from_slice(records.of(number, request).unwrap());
        }
        let (rest, read) = parse_several_requests::<WorkerRequest>(&file).unwrap();
        assert!(rest.is_empty() || rest == b"\n", "{rest:?}");
        let read: Vec<Request> = read.into_iter().map(|record| record.content).collect();
        assert_eq!(read, requests);
    }

    #[test]
    fn no_field_of_them_is_null() {
        let mut records = Records::default();
        for request in named("a") {
            let record = records.of(0, &request.into()).unwrap();
            let text = String::from_utf8_lossy(record);
            assert!(!text.contains("null") && !text.contains(",}"), "{text}");
        }
    }
}
