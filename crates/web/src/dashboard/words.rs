//! The small pieces that pages are made of. A sign and a word stand beside every colour.

use kernel::clock::timestamp;
use kernel::{Fault, UnixMs};
use maud::{Markup, html};
use serde_json::Value;

use super::look::Look;
use super::query::encoded;

/// How something stands.
pub fn state(word: &str) -> Markup {
    let (sign, tone) = match word {
        "healthy" | "done" | "completed" | "ok" | "closed" | "ACTIVE" => ("●", "good"),
        "degraded" | "starting" | "stopping" | "warning" | "delayed" | "REDUCING" | "acknowledged" | "held" => {
            ("◐", "fair")
        }
        "down" | "failed" | "critical" | "dead" | "open" | "firing" | "error" | "HALTED" | "faulted" => ("■", "bad"),
        _ => ("○", "dim"),
    };
    html! { span.state.(tone) { span aria-hidden="true" { (sign) " " } (word) } }
}

/// How a call ended: well, or by a code.
pub fn outcome(code: &str) -> Markup {
    if code == "ok" {
        return state(code);
    }
    html! { span.state.bad { span aria-hidden="true" { "■ " } (code) } }
}

/// Text of a value; nothing for what is not there.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A list's items, none for what is no list.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The time of the day, UTC.
pub fn clock(at_ms: UnixMs) -> String {
    timestamp(at_ms).get(11..19).unwrap_or_default().to_owned() + " UTC"
}

/// A moment: written as a time, which the page's script turns into "3 s ago" and keeps true.
pub fn moment(at_ms: UnixMs) -> Markup {
    let stamp = timestamp(at_ms);
    let short = format!("{} {}", stamp.get(..10).unwrap_or_default(), clock(at_ms));
    html! { time datetime=(stamp) data-at=(at_ms) title=(short) { (short) } }
}

/// A moment out of an answer, in milliseconds; a dash where there is none.
pub fn when(value: &Value) -> Markup {
    value.as_i64().map_or_else(|| html! { "–" }, moment)
}

/// A span of time.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Seconds as people read latencies.
pub fn latency(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "–".into(),
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// A figure with its name, leading to where more of it is.
pub fn figure(name: &str, value: &str, note: &str, to: Option<&str>, tone: &str) -> Markup {
    let inner = html! { span.name { (name) } b.(tone) { (value) } @if !note.is_empty() { span.dim { (note) } } };
    html! { li.figure { @if let Some(to) = to { a href=(to) { (inner) } } @else { div { (inner) } } } }
}

/// A table. On a phone every row is a card, and each cell says what it is.
pub fn table(heads: &[&str], rows: Vec<Vec<Markup>>) -> Markup {
    html! {
        table {
            thead { tr { @for head in heads { th scope="col" { (head) } } } }
            tbody { @for row in rows { tr {
                @for (at, cell) in row.into_iter().enumerate() { td data-head=(heads.get(at).copied().unwrap_or_default()) { (cell) } }
            } } }
        }
    }
}

/// A list of facts.
pub fn facts(rows: Vec<(&str, Markup)>) -> Markup {
    html! { dl.facts { @for (name, value) in rows { div { dt { (name) } dd { (value) } } } } }
}

/// There is nothing, and that is what it means or what to do next.
pub fn empty(text: &str) -> Markup {
    html! { p.empty { (text) } }
}

/// What could not be looked at, and why.
pub fn trouble(fault: &Fault) -> Markup {
    html! {
        p.trouble { "▲ " (fault.message) " " code { (fault.code.as_str()) } @if let Some(hint) = &fault.hint { br; span.dim { (hint) } } }
    }
}

/// What `show` makes of an answer, or why there is none.
pub fn shown(answer: &Result<Value, Fault>, show: impl FnOnce(&Value) -> Markup) -> Markup {
    match answer {
        Ok(answer) => show(answer),
        Err(fault) => trouble(fault),
    }
}

/// The page of a service; of an agent with `agent` as its kind.
pub fn service_path(kind: &str, name: &str) -> String {
    format!("/ui/services/{}", encoded(&if kind == "agent" { format!("agent:{name}") } else { name.to_owned() }))
}

/// What proves that a form is ours.
pub fn token(look: &Look) -> Markup {
    html! { input type="hidden" name="token" value=(look.token); }
}

/// A button that calls a tool.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// Whose tool.
    pub server: &'a str,
    /// Which.
    pub tool: &'a str,
    /// What the button says.
    pub label: &'a str,
    /// What is said when it is done.
    pub done: &'a str,
    /// Whether it should look as grave as it is.
    pub grave: bool,
}

/// The form of an act around its fields, which are named `arg.NAME`. Who may not do it sees why instead.
pub fn act(look: &Look, act: Act<'_>, fields: &Markup) -> Markup {
    act_back(look, act, &look.here, fields)
}

/// The same, which goes on at another page.
pub fn act_back(look: &Look, act: Act<'_>, back: &str, fields: &Markup) -> Markup {
    if let Err(why) = look.may(act.server, act.tool) {
        return html! { p.barred { "⊘ " (act.label) ": " (why) } };
    }
    html! {
        form.act method="post" action="/ui/act" {
            (token(look))
            @for (name, value) in [("server", act.server), ("tool", act.tool), ("done", act.done), ("back", back)] {
                input type="hidden" name=(name) value=(value);
            }
            (fields)
            button.grave[act.grave] { (act.label) }
        }
    }
}

/// An argument that is settled.
pub fn settled(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name={ "arg." (name) } value=(value); }
}

/// A line of text that somebody must give.
pub fn asked(name: &str, label: &str, hint: &str) -> Markup {
    html! { label { (label) input type="text" name={ "arg." (name) } required maxlength="500" placeholder=(hint) autocomplete="off"; } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(
            [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(duration).join(", "),
            "0 s, 119 s, 2 min, 119 min, 2 h, 47 h, 2 days"
        );
        assert_eq!([f64::NAN, 0.000_4, 0.012_34, 2.5].map(latency).join(", "), "–, 400 µs, 12.3 ms, 2.50 s");
    }

    #[test]
    fn hostile_words_stay_text() {
        let hostile = "\"><script>alert(1)</script>";
        for markup in [
            state(hostile),
            figure(hostile, hostile, hostile, Some(hostile), hostile),
            table(&[hostile], vec![vec![html! { (hostile) }]]),
            trouble(&Fault::invalid(hostile).hint(hostile)),
            settled(hostile, hostile),
        ] {
            let text = markup.into_string();
            assert!(!text.contains("<script") && !text.contains("\"\">"), "{text}");
        }
        assert_eq!(service_path("agent", "a/../b?x"), "/ui/services/agent%3Aa%2F..%2Fb%3Fx");
    }
}
