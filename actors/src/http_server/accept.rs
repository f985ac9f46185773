//! Which format a scraper would rather have.

use crate::metrics::text::Format;

/// OpenMetrics if `Accept` gives it at least the weight of the text format; else text, which every
/// scraper and every person can read.
pub(super) fn format(accept: Option<&str>) -> Format {
    let mut open = 0.0_f64;
    let mut text = 0.0_f64;
    for range in accept.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut weight = 1.0_f64;
        let mut version = "";
        for part in parts {
            match part.split_once('=') {
                Some((name, value)) if name.trim().eq_ignore_ascii_case("q") => {
                    weight = value.trim().parse().unwrap_or(0.0);
                }
                Some((name, value)) if name.trim().eq_ignore_ascii_case("version") => {
                    version = value.trim().trim_matches('"');
                }
                _ => {}
            }
        }
        match media.as_str() {
            "application/openmetrics-text" if ["", "0.0.1", "1.0.0"].contains(&version) => {
                open = weight.max(open);
            }
            "text/plain" | "text/*" => text = weight.max(text),
            _ => {}
        }
    }
    if open > 0.0 && open >= text {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_real_scrapers_and_people_send() {
        // Prometheus 2.42 and 3.0, curl, a browser, and some that are odd.
        for (accept, expected) in [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format::Prometheus),
            ("*/*", Format::Prometheus),
            (
                "text/html,application/xhtml+xml,*/*;q=0.8",
                Format::Prometheus,
            ),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text;q=0.1,text/plain",
                Format::Prometheus,
            ),
            (
                "application/openmetrics-text; version=2.0.0",
                Format::Prometheus,
            ),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=soon", Format::Prometheus),
            ("", Format::Prometheus),
            (";;,=;q,,", Format::Prometheus),
        ] {
            assert_eq!(format(Some(accept)), expected, "{accept}");
        }
        assert_eq!(format(None), Format::Prometheus);
    }
}
