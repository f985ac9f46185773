//! Dead letters: what is answered about them.

use std::path::PathBuf;

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Deserialize;

use super::{
    access::{Reader, Writer},
    routes::{Problem, Site, empty, internal, json, order},
};
use crate::{
    messages::{Letters, OrderError, SourceName, What},
    state_keeper::store::{LetterFilter, LetterLine, StoreError, letter_of, read_letters},
};

/// Letters, unless somebody asks for another number of them.
const LETTERS: u32 = 100;
/// Nobody gets more at once.
const MOST_LETTERS: u32 = 100_000;

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/v1/dead-letters", web::get().to(list))
        .route("/v1/dead-letters/discard", web::post().to(discard_many))
        .route("/v1/dead-letters/{id}", web::get().to(show))
        .route("/v1/dead-letters/{id}/retry", web::post().to(retry))
        .route("/v1/dead-letters/{id}/discard", web::post().to(discard));
}

/// Which letters.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Query {
    source: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
    payload: bool,
}

async fn list(
    _: Reader,
    query: web::Query<Query>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let filter = LetterFilter {
        source: query.source,
        after: query.after,
        limit: query.limit.unwrap_or(LETTERS).min(MOST_LETTERS),
        with_payload: query.payload,
        ..LetterFilter::default()
    };
    match letters(&site, filter).await? {
        Some(letters) => Ok(json(StatusCode::OK, &letters)),
        None => Ok(empty()),
    }
}

async fn show(
    _: Reader,
    id: web::Path<u64>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    let filter = LetterFilter {
        id: Some(*id),
        limit: 1,
        with_payload: true,
        ..LetterFilter::default()
    };
    let letters = letters(&site, filter).await?.unwrap_or_default();
    match letters.first() {
        Some(letter) => Ok(json(StatusCode::OK, letter)),
        None => Err(OrderError::NoSuchLetter(*id).into()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Retry {
    force: bool,
}

async fn retry(
    writer: Writer,
    id: web::Path<u64>,
    query: web::Query<Retry>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    let id = *id;
    let reading = move |directory: PathBuf| letter_of(&directory, id);
    let letter = read(&site, reading).await?.flatten();
    let letter = letter.ok_or(OrderError::NoSuchLetter(id))?;
    let force = query.force;
    order(&writer, What::Retry { letter, force }, &site).await
}

async fn discard(
    writer: Writer,
    id: web::Path<u64>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    let which = Letters::One(*id);
    order(&writer, What::DiscardLetters(which), &site).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Discard {
    source: Option<String>,
}

async fn discard_many(
    writer: Writer,
    query: web::Query<Discard>,
    site: web::Data<Site>,
) -> Result<HttpResponse, Problem> {
    let which = match &query.source {
        Some(source) => Letters::Of(SourceName::new(source)),
        None => Letters::All,
    };
    order(&writer, What::DiscardLetters(which), &site).await
}

/// Nothing, if there is no source and hence no database.
async fn letters(site: &Site, filter: LetterFilter) -> Result<Option<Vec<LetterLine>>, Problem> {
    read(site, move |directory| read_letters(&directory, &filter)).await
}

async fn read<T: Send + 'static>(
    site: &Site,
    reading: impl FnOnce(PathBuf) -> Result<T, StoreError> + Send + 'static,
) -> Result<Option<T>, Problem> {
    let Some((_, directory)) = site.keeper.borrow().clone() else {
        return Ok(None);
    };
    let read = tokio::task::spawn_blocking(move || reading(directory)).await;
    let read = read.map_err(internal)?;
    let failed =
        |error: StoreError| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    read.map(Some).map_err(failed)
}
