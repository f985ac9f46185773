//! `/metrics`: how long Sōzu may take, and the answer, piece by piece.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    rt::{spawn, task::JoinHandle, time::sleep},
    web::{self, Bytes},
};
use futures_util::stream;

use super::{accept, certificates, gauges, process::Process, routes::Site};
use crate::{
    messages::{ScrapeNow, SourceName},
    metrics::{
        self,
        text::{Format, Text},
    },
    metrics_scraper::{Cursor, Snapshot},
    state_keeper::report::Report,
};

/// How long a scraper waits, by its own word.
pub(super) const SCRAPE_TIMEOUT: &str = "X-Prometheus-Scrape-Timeout-Seconds";
/// For one that does not say.
const USUAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Nobody waits longer, whatever they say.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);
/// What is left for writing the answer and its way back.
const MARGIN: Duration = Duration::from_millis(500);
/// Whoever has not read the answer by then gets no more of it, so that slow readers hold no memory.
const READ_WITHIN: Duration = Duration::from_mins(1);

/// What is being sent: what is left of it, until it took too long.
type Sending = Rc<RefCell<Option<Pieces>>>;

pub(super) async fn metrics(site: web::Data<Site>, request: HttpRequest) -> HttpResponse {
    let begun = Instant::now();
    let timeout = request.headers().get(SCRAPE_TIMEOUT);
    let deadline = deadline(timeout.and_then(|value| value.to_str().ok()));
    let accept = request.headers().get(header::ACCEPT);
    let format = accept::format(accept.and_then(|value| value.to_str().ok()));
    let process = tokio::task::spawn_blocking(Process::read);
    // Whatever keeps the answer away, for this scrape Sōzu is not up.
    let question = ScrapeNow { within: deadline };
    let scrape = site.scraper.ask(question, deadline + MARGIN / 2).await;
    let scrape = scrape.unwrap_or_default();
    let process = process.await.ok().flatten();

    let truth = &site.truth;
    let report = truth.report();
    let mut text = Text::new(format);
    site.metrics
        .write(&mut text, |source| lives(&report, source));
    gauges::of_this_program(&mut text, &truth.components(), &truth.conditions());
    gauges::of_the_configuration(&mut text, *site.reloaded.borrow());
    gauges::of_the_keeper(&mut text, &report);
    certificates::write(&mut text, &site.certificates.all(), SystemTime::now());
    gauges::of_sozu(&mut text, &scrape);
    if let Some(process) = process {
        process.write(&mut text);
    }
    metrics::scrape(begun.elapsed());
    let pieces = Pieces {
        own: Some(text.finish()),
        sozus: scrape.metrics,
        cursor: Cursor::default(),
        format,
        ended: false,
    };
    HttpResponse::Ok()
        .content_type(format.content_type())
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(stream::iter(Body::new(pieces)))
}

/// The text: our own metrics, Sōzu's, the end.
struct Pieces {
    own: Option<String>,
    sozus: Arc<Snapshot>,
    cursor: Cursor,
    format: Format,
    ended: bool,
}

impl Pieces {
    fn next(&mut self) -> Option<String> {
        let piece = self
            .own
            .take()
            .or_else(|| self.sozus.next_piece(&mut self.cursor, self.format));
        if piece.is_some() || self.ended {
            return piece;
        }
        self.ended = true;
        let mut end = Text::new(self.format);
        end.end();
        Some(end.finish()).filter(|end| !end.is_empty())
    }
}

struct Body {
    sending: Sending,
    limit: JoinHandle<()>,
}

impl Body {
    fn new(pieces: Pieces) -> Self {
        let sending = Rc::new(RefCell::new(Some(pieces)));
        let held = sending.clone();
        let limit = spawn(async move {
            sleep(READ_WITHIN).await;
            held.take();
        });
        Self { sending, limit }
    }
}

/// A piece is made when the one before it is on its way. One that is missing makes an error, which the client sees as an
/// end without the last chunk.
impl Iterator for Body {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut *self.sending.borrow_mut() {
            Some(pieces) => Some(Ok(pieces.next()?.into())),
            None => Some(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.limit.abort();
    }
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
