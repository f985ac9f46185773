//! Makes `docs/metrics.md` from the table and from our own constants, and holds it to them.
//! `SOZU_MANAGER_WRITE_DOCS=1 cargo test -p actors --lib docs` writes it.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use super::table::{COARSE, FINE, Kind, Over, Scope};

const OWN: &str = include_str!("../metrics/families.rs");

/// Our own metrics, read off the constants: name, kind, labels, help.
fn own() -> Vec<[String; 4]> {
    let text = |from: &str| -> Vec<String> {
        from.split('"')
            .skip(1)
            .step_by(2)
            .map(ToOwned::to_owned)
            .collect()
    };
    let mut own = Vec::new();
    let mut labels = String::new();
    for part in OWN.split("\n/// ").skip(1) {
        let Some((_, constant)) = part.split_once(": Metric =") else {
            continue;
        };
        let comment = part.lines().next().unwrap();
        if let Some(end) = comment.strip_prefix("`{").and_then(|rest| rest.find("}`")) {
            comment[2..=end + 1].clone_into(&mut labels);
        } else {
            labels.clear();
        }
        let constant = constant.trim_start().split(");").next().unwrap();
        let kind = ["counter", "gauge", "histogram"]
            .into_iter()
            .find(|kind| constant.starts_with(&format!("Metric::{kind}")))
            .unwrap();
        let texts = text(constant);
        own.push([
            texts[0].clone(),
            kind.to_owned(),
            labels.clone(),
            texts[1].clone(),
        ]);
    }
    own
}

fn bounds(bounds: &[f64]) -> String {
    let bounds: Vec<String> = bounds.iter().map(|bound| format!("{bound:?}")).collect();
    bounds.join(", ")
}

fn page() -> String {
    let mut page = format!(
        "# Metrics

Made from `actors/src/metrics_scraper/table.rs` and `actors/src/metrics/families.rs` by a test; do not edit it.

`/metrics` answers in the Prometheus text format 0.0.4, or in OpenMetrics 1.0 if `Accept` prefers it, and packs the answer
with gzip or zstd if `Accept-Encoding` lets it. Sōzu is asked when somebody scrapes; what it tells is shared by all who
scrape within `[metrics] share_for`.

- **Totals** are summed over the workers. What a worker had counted stays when it ends; what it had counted since the last
  scrape before its end is lost with it, and nothing else. After a start of this daemon they begin with what the living
  workers tell.
- **Gauges** of a worker have the label `worker`, Sōzu's number of it, which is never used again. A cluster's gauge is one value
  for all workers; the table says which.
- **Histograms** are Sōzu's own, which counts in whole milliseconds, rounded down, and in powers of two: so a sum is up to 1 ms
  for each observation too small. Buckets in seconds: {}; of clusters: {}.
- **Percentiles** of Sōzu are left out: they are over a worker's whole life, and those of several workers cannot be added. Take
  `histogram_quantile` of the histogram's rate.
- **`cluster`** is the cluster's id, **`backend`** the backend's, with `[metrics] detail = \"backend\"` and `metrics.detail = \"backend\"`
  in Sōzu's own configuration. Sōzu 2.3.3 has no metric of a single listener.
- **`other`** is the cluster of all clusters that `[metrics] max_series` leaves no room for; those with the most traffic are shown by
  name. A cluster that moves between both loses nothing and nothing is counted twice: its earlier counts stay where they were
  shown, so that rates and their sums are right.
- What is gone (a source, a cluster, a worker) leaves at once. While Sōzu is away there is `sozu_up 0` and nothing of it.
- What this version does not know of Sōzu comes out by a general rule, says so in its help, and is counted in
  `sozu_manager_unknown_metrics`.
",
        bounds(FINE),
        bounds(COARSE)
    );
    for (scope, title) in [
        (Scope::Proxy, "Sōzu's workers"),
        (Scope::Cluster, "Sōzu's clusters"),
        (Scope::Main, "Sōzu's main process"),
    ] {
        let _ = write!(
            page,
            "\n## {title}\n\n| metric | kind | labels | what it tells | Sōzu's name |\n|---|---|---|---|---|\n"
        );
        let mut families: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for row in scope.rows() {
            families.entry(row.family).or_default().push(row);
        }
        for (family, rows) in families {
            let row = rows[0];
            let kind = match row.kind {
                Kind::Counter => "counter".to_owned(),
                Kind::Time => "histogram".to_owned(),
                Kind::Percent => "gauge".to_owned(),
                Kind::Gauge(over) => match over {
                    Over::PerWorker => "gauge".to_owned(),
                    Over::Least => "gauge, the least".to_owned(),
                    Over::Most => "gauge, the most".to_owned(),
                    Over::Sum if scope == Scope::Main => "gauge".to_owned(),
                    Over::Sum => "gauge, the sum".to_owned(),
                },
            };
            let mut labels: Vec<&str> = match (scope, row.kind) {
                (Scope::Cluster, _) => vec!["cluster", "backend"],
                (Scope::Proxy, Kind::Gauge(Over::PerWorker) | Kind::Percent) => vec!["worker"],
                _ => Vec::new(),
            };
            labels.extend(row.fixed.map(|(label, _)| label));
            labels.extend(row.named);
            let sources: Vec<String> = rows.iter().map(|row| format!("`{}`", row.source)).collect();
            let _ = writeln!(
                page,
                "| `{family}` | {kind} | {} | {} | {} |",
                labels.join(", "),
                row.help,
                sources.join(", ")
            );
        }
    }
    page.push_str(
        "\n## Of this daemon\n\n| metric | kind | labels | what it tells |\n|---|---|---|---|\n",
    );
    for [name, kind, labels, help] in own() {
        let labels = labels.replace(',', ", ");
        let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {help} |");
    }
    page
}

#[test]
fn the_document_of_the_metrics_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = page();
    if std::env::var_os("SOZU_MANAGER_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/metrics.md is not what the table says; write it with SOZU_MANAGER_WRITE_DOCS=1 cargo test -p actors --lib docs"
    );
}

#[test]
fn every_constant_of_ours_is_found() {
    let constants = OWN.matches(": Metric =").count();
    assert_eq!(own().len(), constants);
    assert!(
        own()
            .iter()
            .any(|[name, _, labels, _]| name == "sozu_manager_objects" && labels == "source,kind")
    );
}
