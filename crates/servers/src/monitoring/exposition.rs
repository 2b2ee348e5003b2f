//! The Prometheus and OpenMetrics text formats, as far as samples, types and help texts go.

use kernel::Fault;

use super::promql::Labels;

/// Most labels of one sample.
const LABELS_MAX: usize = 64;
/// Longest line.
const LINE_BYTES_MAX: usize = 16 << 10;

/// One line of a scrape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Line<'a> {
    /// A sample: its series as it is written, and its value.
    Sample {
        /// The series, labels and all.
        series: &'a str,
        /// The value.
        value: f64,
    },
    /// `# TYPE`: the family and its type.
    Type {
        /// The family.
        family: &'a str,
        /// counter, gauge, …
        kind: &'a str,
    },
    /// `# HELP`: the family and its text.
    Help {
        /// The family.
        family: &'a str,
        /// What it means.
        text: &'a str,
    },
}

/// The lines of a scrape. Timestamps and exemplars are passed over: a sample is of the moment it is scraped.
pub fn lines(text: &str) -> impl Iterator<Item = Result<Line<'_>, Fault>> {
    text.lines()
        .map(str::trim)
        .filter_map(|line| if line.starts_with('#') { comment(line).map(Ok) } else { sample(line) })
}

fn comment(line: &str) -> Option<Line<'_>> {
    let mut words = line.trim_start_matches('#').trim_start().splitn(3, ' ');
    match (words.next()?, words.next(), words.next()) {
        ("TYPE", Some(family), Some(kind)) => Some(Line::Type { family, kind: kind.trim() }),
        ("HELP", Some(family), text) => Some(Line::Help { family, text: text.unwrap_or_default() }),
        _ => None,
    }
}

fn malformed(line: &str) -> Fault {
    let head = &line[..line.floor_char_boundary(120)];
    Fault::upstream(format!("not a sample: `{head}`"))
}

fn sample(line: &str) -> Option<Result<Line<'_>, Fault>> {
    if line.is_empty() {
        return None;
    }
    let read = || {
        let end = series_end(line).filter(|_| line.len() <= LINE_BYTES_MAX)?;
        let value = line[end..].split_whitespace().next()?.parse().ok()?;
        Some(Line::Sample { series: &line[..end], value })
    };
    Some(read().ok_or_else(|| malformed(line)))
}

/// Where a sample's series ends: after its closing brace, or at the first blank.
fn series_end(line: &str) -> Option<usize> {
    let name_end = line.find(['{', ' ', '\t'])?;
    if line.as_bytes()[name_end] != b'{' {
        return Some(name_end);
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate().skip(name_end) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The labels of a series as it is written, and `more` where it does not have them itself.
pub fn labels(series: &str, more: &[(&str, &str)]) -> Result<Labels, Fault> {
    let bad = || malformed(series);
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let mut pairs: Vec<(String, String)> = more.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    pairs.push(("__name__".into(), name.to_owned()));
    let mut rest = rest.trim_start();
    while !rest.starts_with('}') {
        let (key, after) = rest.split_once('=').ok_or_else(bad)?;
        let quoted = after.trim_start().strip_prefix('"').ok_or_else(bad)?;
        let (value, after) = unquoted(quoted).ok_or_else(bad)?;
        pairs.push((key.trim().to_owned(), value));
        if pairs.len() > LABELS_MAX {
            return Err(bad());
        }
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
        if rest.is_empty() {
            return Err(bad());
        }
    }
    Ok(pairs.into_iter().collect())
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use kernel::metrics::Metrics;
    use proptest::prelude::*;

    use super::*;

    fn show(text: &str) -> String {
        let show = |line: Result<Line<'_>, Fault>| match line {
            Ok(Line::Sample { series, value }) => {
                let labels = labels(series, &[("job", "j")]).map(|labels| format!("{:?}", labels.to_map()));
                format!("{} = {value}\n", labels.unwrap_or_else(|fault| fault.to_string()))
            }
            Ok(other) => format!("{other:?}\n"),
            Err(fault) => format!("{fault}\n"),
        };
        lines(text).map(show).collect()
    }

    #[test]
    fn reads_both_formats() {
        let text = r#"
            # HELP a Some help.
            # TYPE a counter
            a_total 5
            a_total{x="1", y="with \"quotes\", \\ and \n"} 1.5e3 1794729600000
            b{le="+Inf",} +Inf # {trace="x"} 1
            c{job="own"} NaN
            # UNIT c seconds
            # EOF
        "#;
        expect![[r#"
            Help { family: "a", text: "Some help." }
            Type { family: "a", kind: "counter" }
            {"__name__": "a_total", "job": "j"} = 5
            {"__name__": "a_total", "job": "j", "x": "1", "y": "with \"quotes\", \\ and \n"} = 1500
            {"__name__": "b", "job": "j", "le": "+Inf"} = inf
            {"__name__": "c", "job": "own"} = NaN
        "#]]
        .assert_eq(&show(text));
    }

    #[test]
    fn refuses_what_is_no_sample() {
        expect![[r#"
            upstream: not a sample: `a`
            upstream: not a sample: `a b`
            upstream: not a sample: `a{x="1" 5`
            upstream: not a sample: `a{x}` = 5
            upstream: not a sample: `a{=}` = 1
            upstream: not a sample: `{`
            {"__name__": "}", "job": "j"} = 1
        "#]]
        .assert_eq(&show("a\na b\na{x=\"1\" 5\na{x} 5\na{=} 1\n{\n} 1"));
        assert!(lines(&format!("a{{x=\"{}\"}} 1", "y".repeat(LINE_BYTES_MAX))).next().unwrap().is_err());
    }

    #[test]
    fn reads_what_we_write() {
        let metrics = Metrics::default();
        metrics.call_ended("a", "t \"x\"", "ok", std::time::Duration::from_millis(3));
        let text = metrics.render();
        assert!(lines(&text).all(|line| line.is_ok()));
        let buckets = lines(&text).flatten().filter(|line| {
            matches!(line, Line::Sample { series, .. } if series.starts_with("mcp_response_time_seconds_bucket"))
        });
        assert_eq!(buckets.count(), 17);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in r#"([a-z_]{1,3}|\{|\}|"|=|,|\\|#|TYPE|HELP| |é|[0-9.]+|NaN|\n){0,40}"#) {
            for line in lines(&text).flatten() {
                if let Line::Sample { series, .. } = line {
                    let _ = labels(series, &[]);
                }
            }
        }
    }
}
