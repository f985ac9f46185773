//! Reading one value out of Prometheus text.

/// The value of the first series with this name that has all these labels (and perhaps more).
pub(crate) fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (series, number) = match rest.strip_prefix('{') {
            Some(inside) => inside.rsplit_once('}')?,
            None if rest.starts_with(' ') => ("", rest),
            None => return None,
        };
        let all = labels
            .iter()
            .all(|(label, value)| has(series, &format!("{label}=\"{value}\"")));
        if all {
            number.split_whitespace().next()?.parse().ok()
        } else {
            None
        }
    })
}

/// Whether a label stands in a list of them, at its beginning or after a comma.
fn has(series: &str, label: &str) -> bool {
    series
        .match_indices(label)
        .any(|(at, _)| at == 0 || series[..at].ends_with(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE up gauge\nup 1\nobjects{source=\"a\",kind=\"cluster\"} 3\n\
                        objects{source=\"b\",kind=\"cluster\"} 4\nobjects_total 9\nodd{subsource=\"a\"} 1\n";

    #[test]
    fn found_by_name_and_labels() {
        assert_eq!(value(TEXT, "up", &[]), Some(1.0));
        assert_eq!(value(TEXT, "objects", &[("source", "b")]), Some(4.0));
        assert_eq!(
            value(TEXT, "objects", &[("kind", "cluster"), ("source", "a")]),
            Some(3.0)
        );
    }

    #[test]
    fn what_is_not_there_is_none() {
        assert_eq!(value(TEXT, "objects", &[("source", "c")]), None);
        assert_eq!(value(TEXT, "object", &[]), None);
        assert_eq!(value(TEXT, "odd", &[("source", "a")]), None);
    }
}
