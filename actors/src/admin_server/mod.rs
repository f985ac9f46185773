//! The admin API: HTTP with JSON on a UNIX socket, for the commands on this host.
//!
//! Who may connect is the socket file's mode ([`socket`]); who may change things is told by the
//! user id that the kernel gives of the other side ([`access`]), which the journal keeps with each
//! order.
//!
//! | path | answers |
//! |---|---|
//! | `GET /v1/status` | what `/health` answers |
//! | `GET /v1/diff` | an array: how Sōzu differs from what is wanted, read for the answer |
//! | `GET /v1/sources` | an array of the topics that are read: the source, and how far it has settled |
//! | `GET /v1/holds` | an array of holds |
//! | `POST /v1/holds/{id}/release`, `…/discard` | what became of it: 200, or 202 while some of it is open |
//! | `GET /v1/orphans` | an array of sources with what they left behind |
//! | `POST /v1/orphans/{source}/remove` | as for a hold |
//! | `GET /v1/dead-letters?source=&after=&limit=&payload=true` | an array of dead letters, eldest first: the latest, or the first ones after an id |
//! | `GET /v1/dead-letters/{id}` | one, with what it holds but for its secrets |
//! | `POST /v1/dead-letters/{id}/retry?force=true`, `…/discard` | what became of it, as for a hold; 409 for what was overtaken |
//! | `POST /v1/dead-letters/discard?source=` | how many; without a source all go |
//! | `POST /v1/sources/{source}/accept` | once it is on disk that the source goes on as it is |
//! | `POST /v1/pause?for=1h`, `/v1/resume` | how it stands: until when nothing is sent, and what waits |
//! | `POST /v1/reload` | what was changed, once the configuration was read again and runs; 409 if it is wrong |
//! | `GET /v1/journal?source=&key=&verdict=&since=&limit=` | an array: the latest changes, eldest first |
//!
//! An error is `{"error": "what is wrong; what to do"}`.

mod access;
mod actor;
mod config;
mod letters;
mod routes;
pub mod socket;

#[cfg(test)]
mod tests;

pub use actor::AdminServer;
pub use config::{Config, Deps, Topics};
