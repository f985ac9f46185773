//! What is answered at which path. The judgement is elsewhere; here it becomes HTTP.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorInternalServerError,
    guard,
    http::{StatusCode, header},
    middleware::Next,
    web,
};
use futures_util::FutureExt;
use supervisors::Ref;

use super::{accept, gauges, health::Status, process::Process, ready, truth::Truth};
use crate::{
    messages::{ScrapeNow, SourceName},
    metrics::{self, Registry, text::Text},
    metrics_scraper::MetricsScraper,
    state_keeper::report::Report,
};

const PLAIN: &str = "text/plain; charset=utf-8";
/// How long a scraper waits, by its own word.
pub(super) const SCRAPE_TIMEOUT: &str = "X-Prometheus-Scrape-Timeout-Seconds";
/// For one that does not say.
const USUAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Nobody waits longer, whatever they say.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);
/// What is left for writing the answer and its way back.
const MARGIN: Duration = Duration::from_millis(500);

/// What all answers are made from.
pub(super) struct Site {
    pub(super) truth: Truth,
    pub(super) scraper: Ref<MetricsScraper>,
    pub(super) metrics: Registry,
}

/// The paths.
pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(get("/metrics").route(web::to(metrics)))
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

async fn metrics(site: web::Data<Site>, request: HttpRequest) -> HttpResponse {
    let begun = Instant::now();
    let timeout = request.headers().get(SCRAPE_TIMEOUT);
    let deadline = deadline(timeout.and_then(|value| value.to_str().ok()));
    let accept = request.headers().get(header::ACCEPT);
    let format = accept::format(accept.and_then(|value| value.to_str().ok()));
    let process = tokio::task::spawn_blocking(Process::read);
    // Whatever keeps the answer away, for this scrape Sōzu is not up.
    let scrape = site.scraper.ask(ScrapeNow, deadline).await;
    let process = process.await.ok().flatten();

    let truth = &site.truth;
    let report = truth.report();
    let mut text = Text::new(format);
    site.metrics
        .write(&mut text, |source| lives(&report, source));
    gauges::of_this_program(&mut text, &truth.components(), &truth.conditions());
    gauges::of_the_keeper(&mut text, &report);
    gauges::of_sozu(&mut text, &scrape.unwrap_or_default());
    if let Some(process) = process {
        process.write(&mut text);
    }
    text.end();
    metrics::scrape(begun.elapsed());
    answer(StatusCode::OK, format.content_type(), text.finish())
}

/// Whether what was counted of a source is still shown. Until the keeper has started, nobody knows
/// better.
fn lives(report: &Report, source: &str) -> bool {
    let known = report.sources.get(&SourceName::new(source));
    report.conditions.is_empty() || known.is_some_and(|source| source.configured)
}

/// When Sōzu must have answered: the scraper's own timeout less a margin, half of a short one.
fn deadline(header: Option<&str>) -> Duration {
    let timeout = header
        .and_then(|seconds| seconds.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero())
        .map_or(USUAL_TIMEOUT, |timeout| timeout.min(LONGEST_TIMEOUT));
    timeout.saturating_sub(MARGIN).max(timeout / 2)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_the_scrapers_less_a_margin() {
        for (header, expected_ms) in [
            (None, 4_500),
            (Some("10"), 9_500),
            (Some("2.5"), 2_000),
            (Some("0.4"), 200),
            (Some("0"), 4_500),
            (Some("-1"), 4_500),
            (Some("soon"), 4_500),
            (Some("NaN"), 4_500),
            (Some("inf"), 4_500),
            (Some("1e300"), 4_500),
            (Some("86400"), 59_500),
        ] {
            let expected = Duration::from_millis(expected_ms);
            assert_eq!(deadline(header), expected, "{header:?}");
        }
    }
}
