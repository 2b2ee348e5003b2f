//! Charts as SVG, made on the server.

use maud::{Markup, html};
use serde_json::Value;

/// The value of a sample: figures that are no numbers come as text.
pub fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(f64::NAN)
}

/// How a service stood, step by step, oldest first: 1 healthy, 0.5 degraded, 0 down; nothing where nobody looked.
pub fn strip(steps: &[Option<f64>]) -> Markup {
    let looked = steps.iter().flatten().count();
    let healthy = steps.iter().flatten().filter(|value| **value >= 1.0).count();
    let label = match looked {
        0 => "no history yet".to_owned(),
        _ => format!("healthy {healthy} of {looked} looks"),
    };
    let tone = |step: &Option<f64>| match step {
        None => "none",
        Some(value) if *value >= 1.0 => "good",
        Some(value) if *value > 0.0 => "fair",
        Some(_) => "bad",
    };
    html! {
        figure.strip {
            svg viewBox={ "0 0 " (steps.len() * 5) " 20" } preserveAspectRatio="none" role="img" aria-label=(label) {
                @for (at, step) in steps.iter().enumerate() {
                    // Height as well as colour: down is low.
                    @let height = match step { None => 2.0, Some(value) => 4.0 + value.clamp(0.0, 1.0) * 16.0 };
                    rect.(tone(step)) x=(at * 5) y=(20.0 - height) width="4" height=(height) {}
                }
            }
            figcaption.dim { (label) }
        }
    }
}

/// A line through values, with its ends in words.
pub fn line(values: &[f64], label: &str) -> Markup {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let (low, high) =
        finite.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    if finite.len() < 2 {
        return html! { p.empty { (label) ": not enough points yet" } };
    }
    let span = if high > low { high - low } else { 1.0 };
    let points = finite.iter().enumerate().map(|(at, value)| {
        let x = at as f64 * 300.0 / (finite.len() - 1) as f64;
        format!("{x:.1},{:.1}", 58.0 - 56.0 * (value - low) / span)
    });
    let points = points.collect::<Vec<_>>().join(" ");
    html! {
        figure.line {
            svg viewBox="0 0 300 60" preserveAspectRatio="none" role="img" aria-label=(label) { polyline points=(points) {} }
            figcaption.dim { (label) }
        }
    }
}

/// Where a span lies in a whole, both in the same unit.
pub fn span((from, until): (i64, i64), whole: i64, unit: &str, how: &str) -> Markup {
    let scaled = |at: i64| at.clamp(0, whole.max(1)) as f64 * 200.0 / whole.max(1) as f64;
    // What took no time is seen all the same.
    let (x, width) = (scaled(from), (scaled(until) - scaled(from)).max(1.5));
    let tone = match how {
        "done" => "good",
        "failed" => "bad",
        _ => "fair",
    };
    html! {
        svg.span viewBox="0 0 200 12" preserveAspectRatio="none" role="img" aria-label={ "from " (from) " to " (until) " " (unit) } {
            rect.(tone) x=(format!("{x:.1}")) y="2" width=(format!("{width:.1}")) height="8" {}
        }
    }
}

/// How many are left at each step (its name, how many, why the others are not), as bars of the first.
pub fn funnel(steps: &[(&str, u64, String)]) -> Markup {
    let most = steps.iter().map(|(_, count, _)| *count).max().unwrap_or(0).max(1);
    html! {
        ol.funnel {
            @for (name, count, why) in steps {
                // What is little is seen all the same.
                @let width = if *count == 0 { 0.0 } else { (*count as f64 * 200.0 / most as f64).max(1.5) };
                li {
                    b { (count) } " " (name)
                    svg.span viewBox="0 0 200 12" preserveAspectRatio="none" role="img" aria-label={ (count) " " (name) } { rect.good x="0" y="2" width=(format!("{width:.1}")) height="8" {} }
                    @if !why.is_empty() { span.dim { (why) } }
                }
            }
        }
    }
}

/// The tokens of a way, and the pools between them.
pub fn route(tokens: &[String], pools: &[String]) -> Markup {
    const STEP: usize = 150;
    let width = tokens.len().saturating_sub(1) * STEP + 110;
    let told = tokens.join(" → ");
    html! {
        svg.route viewBox={ "0 0 " (width) " 44" } role="img" aria-label=(told) {
            @for (at, pool) in pools.iter().enumerate() {
                line x1=(at * STEP + 100) y1="28" x2=(at * STEP + STEP + 4) y2="28" {}
                text.pool x=(at * STEP + 127) y="12" text-anchor="middle" { (cut(pool, 22)) }
                polygon points={ (at * STEP + STEP - 2) ",24 " (at * STEP + STEP + 5) ",28 " (at * STEP + STEP - 2) ",32" } {}
            }
            @for (at, token) in tokens.iter().enumerate() {
                rect.token x=(at * STEP + 5) y="16" width="95" height="24" rx="12" {}
                text x=(at * STEP + 52) y="32" text-anchor="middle" { (cut(token, 13)) }
            }
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most - 1).chain(['…']).collect() }
}

/// How much of a limit is used, in basis points of it.
pub fn used(bps: u64) -> Markup {
    let percent = bps as f64 / 100.0;
    html! { meter min="0" max="100" low="70" high="90" optimum="0" value=(percent.min(100.0)) { (format!("{percent:.0} %")) } " " (format!("{percent:.0} %")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_strip_says_in_words_what_it_shows() {
        let strip = strip(&[None, Some(1.0), Some(0.5), Some(0.0)]).into_string();
        for part in ["healthy 1 of 3 looks", "class=\"none\"", "class=\"good\"", "class=\"fair\"", "class=\"bad\""] {
            assert!(strip.contains(part), "{part} in {strip}");
        }
        assert!(super::strip(&[]).into_string().contains("no history yet"));
    }

    #[test]
    fn numbers_that_are_none_draw_nothing() {
        assert!(number(&json!("NaN")).is_nan() && number(&json!(null)).is_nan());
        assert_eq!((number(&json!("-3.5")), number(&json!(2))), (-3.5, 2.0));
        assert!(line(&[f64::NAN, 1.0], "x").into_string().contains("not enough points"));
        let flat = line(&[2.0, 2.0], "x").into_string();
        assert!(flat.contains("0.0,58.0 300.0,58.0"), "{flat}");
    }
}
