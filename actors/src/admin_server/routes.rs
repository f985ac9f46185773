//! What is answered at which path.

use std::{path::PathBuf, time::Duration};

use actix::{Handler, Message};
use actix_web::{HttpResponse, ResponseError, http::StatusCode, http::header, web};
use serde::{Deserialize, Serialize};
use supervisors::{AskError, Ref};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    access::{Access, Reader, Writer},
    config::Topics,
    letters,
};
use crate::{
    http_server::Truth,
    messages::{
        Compare, DiffError, Letters, ListHolds, ListOrphans, Order, OrderError, Ordered, Pause,
        ReloadNow, SourceName, What,
    },
    state_keeper::{
        StateKeeper,
        store::{Filter, read_journal},
    },
};

/// The keeper answers within 10 s, whatever Sōzu does; this is for a keeper that does not.
const KEEPER_WITHIN: Duration = Duration::from_secs(30);
/// Lines of the journal, unless somebody asks for another number of them.
const LINES: u32 = 100;
/// Nobody gets more at once.
const MOST_LINES: u32 = 100_000;

/// A pause lasts so long unless somebody says otherwise.
const PAUSE: Duration = Duration::from_hours(1);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// A pause that is forgotten is over by then.
const LONGEST_PAUSE: Duration = Duration::from_hours(7 * 24);

/// What all answers are made from.
pub(super) struct Site {
    pub(super) access: Access,
    pub(super) truth: Truth,
    pub(super) keeper: watch::Receiver<Option<(Ref<StateKeeper>, PathBuf)>>,
    pub(super) topics: watch::Receiver<Topics>,
    pub(super) reload: mpsc::Sender<ReloadNow>,
}

/// What is wrong, as an answer.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Problem {
    code: StatusCode,
    why: String,
}

impl Problem {
    pub(super) fn new(code: StatusCode, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { code, why }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code
    }

    fn error_response(&self) -> HttpResponse {
        json(self.code, &serde_json::json!({ "error": self.why }))
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let why = match error {
            AskError::Unknown => {
                "the state keeper crashed meanwhile: what became of it is not known; look, then try again"
            }
            AskError::NotRunning | AskError::Full => {
                "the state keeper is not running just now, nothing was changed; try again, and see `sozu-manager status`"
            }
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let code = match error {
            OrderError::NoSuchHold(_) | OrderError::NoOrphans(_) | OrderError::NoSuchLetter(_) => {
                StatusCode::NOT_FOUND
            }
            OrderError::Overtaken { .. }
            | OrderError::NoSource(_)
            | OrderError::NothingToAccept(_) => StatusCode::CONFLICT,
            OrderError::Disk(_) | OrderError::Starting => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(code, error.to_string())
    }
}

impl From<DiffError> for Problem {
    fn from(error: DiffError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// The paths.
pub(super) fn configure(app: &mut web::ServiceConfig) {
    let query = web::QueryConfig::default()
        .error_handler(|error, _| Problem::new(StatusCode::BAD_REQUEST, error.to_string()).into());
    app.app_data(query)
        .route("/v1/status", web::get().to(status))
        .route("/v1/diff", web::get().to(diff))
        .route("/v1/sources", web::get().to(sources))
        .route("/v1/holds", web::get().to(holds))
        .route("/v1/holds/{id}/release", web::post().to(release))
        .route("/v1/holds/{id}/discard", web::post().to(discard))
        .route("/v1/orphans", web::get().to(orphans))
        .route("/v1/orphans/{source}/remove", web::post().to(remove))
        .configure(letters::configure)
        .route("/v1/sources/{source}/accept", web::post().to(accept))
        .route("/v1/pause", web::post().to(pause))
        .route("/v1/resume", web::post().to(resume))
        .route("/v1/journal", web::get().to(journal))
        .route("/v1/reload", web::post().to(reload))
        .default_service(web::to(no_such_path));
}

async fn status(_: Reader, site: web::Data<Site>) -> Result<HttpResponse, Problem> {
    let (_, page) = site.truth.page().map_err(internal)?;
    Ok(with_type(StatusCode::OK).body(page))
}

async fn diff(_: Reader, site: web::Data<Site>) -> Result<HttpResponse, Problem> {
    let Some(differences) = ask(&site, Compare).await? else {
        return Ok(empty());
    };
    Ok(json(StatusCode::OK, &differences?))
}

/// How far a bus is.
#[derive(Serialize)]
struct Bus {
    source: String,
    topic: String,
    /// Everything up to there is settled: its verdict is final, or it waits for its cluster, on disk.
    settled: Option<String>,
    caught_up: bool,
    parked: usize,
}

async fn sources(_: Reader, site: web::Data<Site>) -> HttpResponse {
    let report = site.truth.report();
    let topics = site.topics.borrow().clone();
    let buses = topics.into_iter().map(|(source, topic)| {
        let known = report.sources.get(&source);
        Bus {
            topic,
            settled: known.and_then(|it| it.settled).map(|it| it.to_string()),
            caught_up: known.is_some_and(|it| it.caught_up == Some(true)),
            parked: known.map_or(0, |it| it.parked),
            source: source.to_string(),
        }
    });
    json(StatusCode::OK, &buses.collect::<Vec<_>>())
}

async fn holds(_: Reader, site: web::Data<Site>) -> Result<HttpResponse, Problem> {
    let Some(holds) = ask(&site, ListHolds).await? else {
        return Ok(empty());
    };
    Ok(json(StatusCode::OK, &holds?))
}

async fn orphans(_: Reader, site: web::Data<Site>) -> Result<HttpResponse, Problem> {
    let Some(orphans) = ask(&site, ListOrphans).await? else {
        return Ok(empty());
    };
    Ok(json(StatusCode::OK, &orphans?))
}

async fn release(
    writer: Writer,
    id: web::Path<String>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    order(&writer, What::Release(id.as_str().into()), &site).await
}

async fn discard(
    writer: Writer,
    id: web::Path<String>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    order(&writer, What::Discard(id.as_str().into()), &site).await
}

async fn accept(
    writer: Writer,
    source: web::Path<String>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    let source = SourceName::new(&source);
    order(&writer, What::Accept(source), &site).await
}

async fn remove(
    writer: Writer,
    source: web::Path<String>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    let source = SourceName::new(&source);
    order(&writer, What::RemoveOrphans(source), &site).await
}

pub(super) async fn order(
    writer: &Writer,
    what: What,
    site: &Site,
) -> Result<HttpResponse, Problem> {
    let uid = writer.uid;
    let nothing = match &what {
        What::Release(id) | What::Discard(id) => Err(OrderError::NoSuchHold(id.clone())),
        What::RemoveOrphans(source) => Err(OrderError::NoOrphans(source.clone())),
        What::Retry { letter, .. } => Err(OrderError::NoSuchLetter(letter.seq)),
        What::DiscardLetters(Letters::One(seq)) => Err(OrderError::NoSuchLetter(*seq)),
        What::DiscardLetters(_) => Ok(Ordered::default()),
        What::Accept(source) => Err(OrderError::NothingToAccept(source.clone())),
    };
    let asked = ask(site, Order { uid, what }).await?;
    let ordered = asked.unwrap_or(nothing)?;
    let code = match ordered.open {
        0 => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    Ok(json(code, &ordered))
}

/// How long a pause lasts.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PauseFor {
    r#for: Option<String>,
}

async fn pause(
    writer: Writer,
    query: web::Query<PauseFor>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    let lasts = match query.r#for.as_deref() {
        None => PAUSE,
        Some(text) => humantime::parse_duration(text)
            .ok()
            .filter(|lasts| (SHORTEST_PAUSE..=LONGEST_PAUSE).contains(lasts))
            .ok_or_else(|| {
                let why = "a pause lasts from 1s to 7d; write a duration such as 30m";
                Problem::new(StatusCode::BAD_REQUEST, why)
            })?,
    };
    set_pause(&writer, Some(lasts), &site).await
}

async fn resume(writer: Writer, site: web::Data<Site>) -> Result<HttpResponse, Problem> {
    set_pause(&writer, None, &site).await
}

async fn set_pause(
    writer: &Writer,
    lasts: Option<Duration>,
    site: &Site,
) -> Result<HttpResponse, Problem> {
    let uid = writer.uid;
    let Some(paused) = ask(site, Pause { uid, lasts }).await? else {
        let why = "there is no source in the configuration: nothing is ever sent to Sōzu";
        return Err(Problem::new(StatusCode::CONFLICT, why));
    };
    Ok(json(StatusCode::OK, &paused?))
}

/// Which lines of the journal.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Query {
    source: Option<String>,
    key: Option<String>,
    verdict: Option<String>,
    since: Option<String>,
    limit: Option<u32>,
}

async fn journal(
    _: Reader,
    query: web::Query<Query>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let since = query.since.as_deref().map(humantime::parse_rfc3339_weak);
    let since = since.transpose().map_err(|error| {
        let why = format!("since: {error}; write a time as 2026-11-24T12:00:00Z");
        Problem::new(StatusCode::BAD_REQUEST, why)
    })?;
    let Some((_, directory)) = site.keeper.borrow().clone() else {
        return Ok(empty());
    };
    let filter = Filter {
        source: query.source,
        key: query.key,
        verdict: query.verdict,
        since,
        limit: query.limit.unwrap_or(LINES).min(MOST_LINES),
    };
    let reading = tokio::task::spawn_blocking(move || read_journal(&directory, &filter));
    let lines = reading.await.map_err(internal)?;
    let lines =
        lines.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(json(StatusCode::OK, &lines))
}

async fn reload(writer: Writer, site: web::Data<Site>) -> Result<HttpResponse, Problem> {
    let (reply, answer) = oneshot::channel();
    let asked = site.reload.send(ReloadNow {
        uid: writer.uid,
        reply,
    });
    let lost = || {
        let why = "the daemon could not reload, perhaps since it ends; see its log";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
    };
    asked.await.map_err(|_| lost())?;
    match answer.await.map_err(|_| lost())? {
        Ok(reloaded) => Ok(json(StatusCode::OK, &reloaded)),
        Err(why) => Err(Problem::new(StatusCode::CONFLICT, why)),
    }
}

async fn no_such_path() -> HttpResponse {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such path or method; is this command of another version than the daemon?",
    )
    .error_response()
}

/// Asks the keeper; nothing, if there is no source and hence no keeper.
async fn ask<M>(site: &Site, message: M) -> Result<Option<M::Result>, Problem>
where
    M: Message + Send + 'static,
    M::Result: Send,
    StateKeeper: Handler<M>,
{
    let Some((keeper, _)) = site.keeper.borrow().clone() else {
        return Ok(None);
    };
    Ok(Some(keeper.ask(message, KEEPER_WITHIN).await?))
}

pub(super) fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

pub(super) fn empty() -> HttpResponse {
    json(StatusCode::OK, &[(); 0])
}

pub(super) fn json(code: StatusCode, value: &impl Serialize) -> HttpResponse {
    with_type(code).json(value)
}

fn with_type(code: StatusCode) -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::build(code);
    answer
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"));
    answer
}
