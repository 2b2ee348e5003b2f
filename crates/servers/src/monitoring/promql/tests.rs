//! A table of expressions over small series, and properties over random ones.

use expect_test::{ExpectFile, expect_file};
use kernel::Code;
use promql_parser::parser::VectorSelector;
use proptest::prelude::*;

use super::*;

/// One minute, the step of the series below.
const STEP: i64 = 60_000;

/// Series written as `name{label="value"} 0 1 _ 3 s`, one value a minute from 0: `_` is a gap, `s` ends the series, `a+bxn` counts.
struct Table(Vec<Series>);

impl Table {
    fn read(text: &str) -> Self {
        Self(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(series).collect())
    }
}

impl Source for Table {
    fn select(
        &self,
        selector: &VectorSelector,
        after_ms: i64,
        until_ms: i64,
        samples_max: usize,
    ) -> Option<Vec<Series>> {
        let inside = |(time, _): &Sample| *time > after_ms && *time <= until_ms;
        let cut = |one: &Series| Series {
            labels: one.labels.clone(),
            samples: one.samples.iter().copied().filter(inside).collect(),
        };
        let found: Vec<Series> = self.0.iter().filter(|one| matches(selector, &one.labels)).map(cut).collect();
        let held: usize = found.iter().map(|one| one.samples.len()).sum();
        (held <= samples_max).then_some(found)
    }
}

fn series(line: &str) -> Series {
    let (head, values) = match line.find('}') {
        Some(end) => line.split_at(end + 1),
        None => line.split_once(' ').expect("a name and values"),
    };
    let (name, labels) = head.split_once('{').unwrap_or((head, ""));
    let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    let labels = pairs.map(|(key, value)| (key.trim(), value.trim_matches('"'))).chain([("__name__", name)]).collect();
    let mut samples = Vec::new();
    let mut at_ms = 0;
    for word in values.split_whitespace() {
        let numbers: Vec<f64> = match word.split_once('+') {
            Some((start, rest)) if !start.is_empty() => {
                let (by, times) = rest.split_once('x').expect("a+bxn");
                let (start, by): (f64, f64) = (start.parse().unwrap(), by.parse().unwrap());
                (0..=times.parse::<u32>().unwrap()).map(|n| start + by * f64::from(n)).collect()
            }
            _ => vec![if word == "s" { STALE } else { word.parse().unwrap_or(f64::NAN) }],
        };
        for value in numbers {
            if word != "_" {
                samples.push((at_ms, value));
            }
            at_ms += STEP;
        }
    }
    Series { labels, samples }
}

fn shown(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(key, _)| key.as_ref() != "__name__")
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    format!("{}{{{}}}", labels.name(), pairs.join(","))
}

fn show(value: &Value) -> String {
    match value {
        Value::Scalar(value) => format!("{value}\n"),
        Value::Text(text) => format!("{text:?}\n"),
        Value::Vector(points) => {
            points.iter().map(|point| format!("{} {}\n", shown(&point.labels), point.value)).collect()
        }
        Value::Matrix(series) => {
            series.iter().map(|one| format!("{} {:?}\n", shown(&one.labels), one.samples)).collect()
        }
    }
}

const WORLD: &str = r#"
    calls{server="a",tool="x"} 0+60x20
    calls{server="a",tool="y"} 0+30x10 0+30x9
    calls{server="b",tool="x"} 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5
    up{server="a"} 1 1 1 1 1 1 1 1 1 1 1
    up{server="b"} 1 1 1 1 1 1 1 1 0 0 0
    up{server="c"} 1 1 1 1 1 s
    gone 1 2 3
    temp{room="n"} 20 21 NaN 23 24 25 24 23 22 21 20
    temp{room="s"} 30 _ _ _ _ 31 _ _ _ _ 32
    size_bucket{le="1"} 0+1x10
    size_bucket{le="2"} 0+3x10
    size_bucket{le="4"} 0+4x10
    size_bucket{le="+Inf"} 0+4x10
    owner{server="a",team="red"} 1 1 1 1 1 1 1 1 1 1 1
    owner{server="b",team="blue"} 1 1 1 1 1 1 1 1 1 1 1
"#;

/// Each expression of `golden/NAME.txt` (what starts at the margin) and what it is worth at minute 10 (indented below it).
fn golden(file: ExpectFile) {
    let text = file.data();
    let table = Table::read(WORLD);
    let mut answers = String::new();
    for expression in text.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()) {
        let answer = Query::parse(expression).and_then(|query| query.instant(&table, 10 * STEP));
        let answer = answer.map_or_else(|fault| fault.to_string(), |value| show(&value));
        let indented: String = answer.lines().map(|line| format!("    {line}\n")).collect();
        answers.push_str(&format!("{expression}\n{indented}"));
    }
    file.assert_eq(&answers);
}

#[test]
fn answers() {
    golden(expect_file!["golden/selectors.txt"]);
    golden(expect_file!["golden/rates.txt"]);
    golden(expect_file!["golden/over_time.txt"]);
    golden(expect_file!["golden/aggregations.txt"]);
    golden(expect_file!["golden/operators.txt"]);
    golden(expect_file!["golden/functions.txt"]);
    golden(expect_file!["golden/histograms.txt"]);
    golden(expect_file!["golden/refusals.txt"]);
}

#[test]
fn bounds() {
    let code = |text: &str| Query::parse(text).expect_err("refused").code;
    assert_eq!(code(&"(".repeat(2_000)), Code::TooLarge);
    assert_eq!(code(&format!("1{}", "+1".repeat(2_000))), Code::TooLarge);
    assert_eq!(code(&format!("{}up", "-".repeat(4_000))), Code::TooLarge);
    assert_eq!(code(&" ".repeat(5_000)), Code::TooLarge);
    assert_eq!(
        code(&format!("up{{a=\"{}\"", "(".repeat(3_000))),
        Code::InvalidArgument,
        "brackets in text do not nest"
    );
    let endless =
        Query::parse("sum_over_time(sum_over_time(sum_over_time(vector(1)[30m:1s])[30m:1s])[30m:1s])").unwrap();
    assert_eq!(endless.instant(&Table(Vec::new()), 0).unwrap_err().code, Code::TooLarge);
}

#[tokio::test]
async fn a_range_is_its_instants() {
    let table = Table::read(WORLD);
    for text in ["sum by (server) (rate(calls[3m]))", "up", "time()", "up @ end()", "topk(1, calls)"] {
        let query = Query::parse(text).unwrap();
        let range = query.range(&table, 2 * STEP, 9 * STEP, STEP).await.unwrap();
        let samples: usize = range.iter().map(|one| one.samples.len()).sum();
        let mut found = 0;
        for minute in 2..=9 {
            let at = Query::parse(&text.replace("end()", "540")).unwrap().instant(&table, minute * STEP).unwrap();
            let points = match at {
                Value::Scalar(value) => vec![Point { labels: Labels::default(), value, at_ms: 0 }],
                Value::Vector(points) => points,
                other => panic!("{other:?}"),
            };
            for point in points {
                found += 1;
                let one = range.iter().find(|one| one.labels == point.labels).expect("the series");
                let value = one.samples.iter().find(|(time, _)| *time == minute * STEP).expect("the step").1;
                assert_eq!(value.to_bits(), point.value.to_bits(), "{text} at {minute}");
            }
        }
        assert_eq!(found, samples, "{text}");
    }
    let query = Query::parse("up[5m]").unwrap();
    assert_eq!(query.range(&table, 0, STEP, STEP).await.unwrap_err().code, Code::InvalidArgument);
    assert_eq!(query.range(&table, 0, i64::MAX, 1).await.unwrap_err().code, Code::TooLarge);
    assert_eq!(query.range(&table, 1, 0, 1).await.unwrap_err().code, Code::InvalidArgument);
    assert_eq!(query.range(&table, 0, 1, 0).await.unwrap_err().code, Code::InvalidArgument);
}

/// A source that gives no more than four minutes at a time.
struct Tight(Table);

impl Source for Tight {
    fn select(
        &self,
        selector: &VectorSelector,
        after_ms: i64,
        until_ms: i64,
        samples_max: usize,
    ) -> Option<Vec<Series>> {
        if until_ms - after_ms > 4 * STEP { None } else { self.0.select(selector, after_ms, until_ms, samples_max) }
    }
}

#[tokio::test]
async fn a_range_that_does_not_fit_is_computed_in_pieces() {
    let (table, tight) = (Table::read(WORLD), Tight(Table::read(WORLD)));
    let query = Query::parse("sum by (server) (rate(calls[3m]))").unwrap();
    let whole = query.range(&table, 2 * STEP, 9 * STEP, STEP / 2).await.unwrap();
    assert_eq!(query.range(&tight, 2 * STEP, 9 * STEP, STEP / 2).await.unwrap(), whole);
    let too_long = Query::parse("rate(calls[5m])").unwrap();
    assert_eq!(too_long.range(&tight, 2 * STEP, 9 * STEP, STEP).await.unwrap_err().code, Code::TooLarge);
}

fn ask(table: &Table, text: &str, at_ms: i64) -> Vec<Point> {
    match Query::parse(text).unwrap().instant(table, at_ms).unwrap() {
        Value::Vector(points) => points,
        other => panic!("{other:?}"),
    }
}

proptest! {
    /// A counter that is reset now and then still grows by what was added to it.
    #[test]
    fn increase_sees_through_resets(added in prop::collection::vec((0u32..1_000, prop::bool::weighted(0.1)), 2..40)) {
        let (mut counter, mut total, mut samples) = (0.0, 0.0, vec![(0, 0.0)]);
        for (n, (by, reset)) in added.iter().enumerate() {
            counter = if *reset { 0.0 } else { counter } + f64::from(*by);
            total += f64::from(*by);
            samples.push(((n as i64 + 1) * STEP, counter));
        }
        // A reset that lands at or above the old value cannot be seen by anyone.
        let hidden = samples.windows(2).zip(&added).any(|(pair, (_, reset))| *reset && pair[1].1 >= pair[0].1 && pair[0].1 > 0.0);
        prop_assume!(!hidden);
        let end = added.len() as i64 * STEP;
        let table = Table(vec![Series { labels: [("__name__", "c")].into_iter().collect(), samples }]);
        // The window starts just before the first sample and ends on the last: nothing to stretch but the counter's start at zero.
        let got = ask(&table, &format!("increase(c[{}ms])", end + 1), end)[0].value;
        prop_assert!((got - total).abs() <= 1e-6 * total.max(1.0), "{got} is not {total}");
        let rate = ask(&table, &format!("rate(c[{}ms])", end + 1), end)[0].value;
        prop_assert!((rate * (end + 1) as f64 / 1_000.0 - got).abs() <= 1e-6 * total.max(1.0));
    }

    /// Aggregations by a label are what adding up by hand gives.
    #[test]
    fn aggregates_equal_manual(values in prop::collection::vec((0u8..4, 0u8..4, -1e6f64..1e6), 1..40)) {
        let mut held = BTreeMap::new();
        for (a, b, value) in values {
            held.insert((a, b), value);
        }
        let table = Table(held.iter().map(|((a, b), value)| Series {
            labels: [("__name__", "m".to_owned()), ("a", a.to_string()), ("b", b.to_string())].into_iter().collect(),
            samples: vec![(0, *value)],
        }).collect());
        let group = |key: u8| held.iter().filter(move |((a, _), _)| *a == key).map(|(_, value)| *value);
        let near = |got: f64, want: f64| (got - want).abs() <= 1e-6 * want.abs().max(1.0);
        for (name, want) in [
            ("sum", (|values: Vec<f64>| values.iter().sum()) as fn(Vec<f64>) -> f64),
            ("avg", |values| values.iter().sum::<f64>() / values.len() as f64),
            ("count", |values| values.len() as f64),
            ("max", |values| values.into_iter().fold(f64::NEG_INFINITY, f64::max)),
            ("min", |values| values.into_iter().fold(f64::INFINITY, f64::min)),
        ] {
            let by = ask(&table, &format!("{name} by (a) (m)"), 0);
            let without = ask(&table, &format!("{name} without (b) (m)"), 0);
            prop_assert_eq!(&by, &without);
            for point in by {
                let key: u8 = point.labels.get("a").parse().unwrap();
                prop_assert!(near(point.value, want(group(key).collect())), "{name}");
            }
        }
        let top = ask(&table, "topk by (a) (1, m)", 0);
        let max = ask(&table, "max by (a) (m)", 0);
        prop_assert_eq!(top.iter().map(|p| p.value).collect::<Vec<_>>(), max.iter().map(|p| p.value).collect::<Vec<_>>());
        let median = ask(&table, "quantile(0.5, m)", 0)[0].value;
        let below = held.values().filter(|value| **value < median).count();
        let above = held.values().filter(|value| **value > median).count();
        prop_assert!(below <= held.len() / 2 && above <= held.len() / 2);
    }

    /// Whatever is typed is answered or refused; nothing panics.
    #[test]
    fn no_text_breaks_it(text in r#"(rate|sum|by|up|calls|topk|[0-9]+|[a-z]|\(|\)|\[5m\]|\[1m:\]|\{|\}|"|=|=~|\+|-|/| |,|offset|@|é){0,24}"#) {
        if let Ok(query) = Query::parse(&text) {
            let _ = query.instant(&Table::read(WORLD), 10 * STEP);
        }
    }
}
