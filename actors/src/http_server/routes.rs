//! What is answered at which path. The judgement is elsewhere; here it becomes HTTP.

use std::panic::AssertUnwindSafe;

use actix_web::{
    Error, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorInternalServerError,
    guard,
    http::{StatusCode, header},
    middleware::{Compress, Next},
    web,
};
use futures_util::FutureExt;
use supervisors::Ref;
use tokio::sync::watch;

use super::{health::Status, ready, scrape, truth::Truth};
use crate::{
    fs_watcher::pki::Board,
    metrics::{LastReload, Registry},
    metrics_scraper::MetricsScraper,
};

const PLAIN: &str = "text/plain; charset=utf-8";
/// What all answers are made from.
pub(super) struct Site {
    pub(super) truth: Truth,
    pub(super) scraper: Ref<MetricsScraper>,
    pub(super) metrics: Registry,
    pub(super) certificates: Board,
    pub(super) reloaded: watch::Receiver<LastReload>,
}

/// The paths.
pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(
        get("/metrics")
            .wrap(Compress::default())
            .route(web::to(scrape::metrics)),
    )
    .service(get("/livez").route(web::to(live)))
    .service(get("/readyz").route(web::to(is_ready)));
    for path in ["/health", "/healthz", "/status"] {
        app.service(get(path).route(web::to(health)));
    }
    app.default_service(web::to(no_such_path));
}

/// A resource that is read and nothing else.
fn get(path: &str) -> actix_web::Resource {
    let other = guard::Not(guard::Any(guard::Get()).or(guard::Head()));
    web::resource(path).route(web::route().guard(other).to(only_read))
}

async fn live(site: web::Data<Site>) -> HttpResponse {
    match site.truth.live() {
        Ok(()) => answer(StatusCode::OK, PLAIN, "ok\n"),
        Err(why) => answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
    }
}

async fn is_ready(site: web::Data<Site>) -> HttpResponse {
    let lines = site.truth.conditions();
    let code = if ready::holds(&lines) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    answer(code, PLAIN, ready::show(&lines))
}

async fn health(site: web::Data<Site>) -> Result<HttpResponse, Error> {
    let (status, body) = site.truth.page()?;
    let code = match status {
        Status::Failed => StatusCode::SERVICE_UNAVAILABLE,
        Status::Ok | Status::Degraded => StatusCode::OK,
    };
    Ok(answer(code, "application/json", body))
}

async fn only_read() -> HttpResponse {
    let mut answer = answer(
        StatusCode::METHOD_NOT_ALLOWED,
        PLAIN,
        "only GET and HEAD are answered here\n",
    );
    let allowed = header::HeaderValue::from_static("GET, HEAD");
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}

async fn no_such_path() -> HttpResponse {
    answer(
        StatusCode::NOT_FOUND,
        PLAIN,
        "not found; there are /metrics, /health, /livez and /readyz\n",
    )
}

fn answer(code: StatusCode, content_type: &'static str, body: impl Into<String>) -> HttpResponse {
    HttpResponse::build(code)
        .content_type(content_type)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body.into())
}

/// A handler that panics answers 500, and its connection lives on.
pub(crate) async fn panic_is_500(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let path = request.path().to_owned();
    let answer = async move { next.call(request).await };
    let Ok(answer) = AssertUnwindSafe(answer).catch_unwind().await else {
        tracing::error!(path, "The handler of an HTTP request panicked.");
        return Err(ErrorInternalServerError("internal error; see the log\n"));
    };
    answer
}
