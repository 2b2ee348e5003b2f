//! From a JSON value to a [`Definition`]: every field is known or refused, every reference leads somewhere.

mod calls;
mod events;
mod fields;
mod parts;
mod tasks;

use std::collections::BTreeMap;

use kernel::{Fault, Result};
use serde_json::{Map, Value};

pub(crate) use fields::inner;
use fields::{Fields, Reader, what};

use super::Problem;
use super::model::{Definition, List, Retry, Schedule, Span};
use super::source::Source;
use crate::schedules::Spec;

/// The versions of the language that are spoken.
const DSL: &str = "1.0.";
const TOP: &str = "a workflow: document, do, and optionally input, use, timeout, output, schedule, evaluate";

/// What `use` defines, by name.
#[derive(Default)]
struct Components<'a> {
    errors: BTreeMap<String, (String, &'a Value)>,
    retries: BTreeMap<String, Retry>,
    timeouts: BTreeMap<String, Span>,
    functions: BTreeMap<String, (String, &'a Value)>,
    authentications: Map<String, Value>,
    /// Functions that are being read: a function may not call itself.
    open: Vec<String>,
}

/// What was read, and what is wrong with it and what should be looked at.
pub(super) fn definition(source: &Source) -> (Option<Definition>, Vec<Problem>, Vec<Problem>) {
    let mut reader = Reader { source, problems: Vec::new(), warnings: Vec::new() };
    let read = top(&mut reader);
    let whole = read.filter(|_| reader.problems.is_empty());
    (whole, reader.problems, reader.warnings)
}

fn top(reader: &mut Reader<'_>) -> Option<Definition> {
    let source = reader.source;
    let mut fields = Fields::of(reader, &source.value, "", TOP)?;
    let document = fields.need(reader, "document", TOP).and_then(|value| document(reader, value));
    let mut components = fields.get("use").map(|value| components(reader, value)).unwrap_or_default();
    let input = parts::filter(reader, &mut fields, "input", "from");
    let output = parts::filter(reader, &mut fields, "output", "as");
    let timeout = parts::timeout(reader, &mut fields, &components);
    let schedule = fields.get("schedule").and_then(|value| schedule(reader, value));
    let loose = fields.get("evaluate").is_some_and(|value| evaluate(reader, value));
    let tasks: List = match fields.need(reader, "do", TOP) {
        Some(value) => tasks::list(reader, &mut components, value, "/do"),
        None => Vec::new(),
    };
    fields.done(reader);
    let (namespace, name, version, title, summary) = document?;
    let value = source.value.clone();
    Some(Definition { namespace, name, version, title, summary, input, output, timeout, schedule, loose, tasks, value })
}

type Document = (String, String, String, Option<String>, Option<String>);

fn document(reader: &mut Reader<'_>, value: &Value) -> Option<Document> {
    const HINT: &str = "document: { dsl: '1.0.3', namespace, name, version }";
    let mut fields = Fields::of(reader, value, "/document", HINT)?;
    if fields.need(reader, "dsl", HINT).is_some()
        && let Some(dsl) = fields.text(reader, "dsl")
        && !(is_semantic(&dsl) && dsl.starts_with(DSL))
    {
        reader.wrong("/document/dsl", format!("version `{dsl}` of the language"), "1.0.0 to 1.0.3");
    }
    let mut named = |reader: &mut Reader<'_>, field: &'static str| {
        fields.need(reader, field, HINT)?;
        let text = fields.text(reader, field)?;
        if is_name(&text) {
            return Some(text);
        }
        reader.wrong(
            &format!("/document/{field}"),
            format!("`{text}` is not a {field}"),
            "1 to 63 letters, digits and -, not at an end",
        );
        None
    };
    let (namespace, name) = (named(reader, "namespace"), named(reader, "name"));
    fields.need(reader, "version", HINT);
    let version = fields.text(reader, "version").filter(|version| {
        let fits = is_semantic(version) && version.len() <= 64;
        if !fits {
            reader.wrong("/document/version", format!("`{version}` is not a version"), "a semantic version: 1.0.0");
        }
        fits
    });
    let (title, summary) = (fields.text(reader, "title"), fields.text(reader, "summary"));
    for free in ["tags", "metadata"] {
        if let Some(value) = fields.get(free)
            && !value.is_object()
        {
            reader.wrong(
                &format!("/document/{free}"),
                format!("{} where an object should be", what(value)),
                "names and values",
            );
        }
    }
    fields.done(reader);
    Some((namespace?, name?, version?, title, summary))
}

/// Whether a text names a workflow or its namespace.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a text is a semantic version.
pub(super) fn is_semantic(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(core, before)| (core, Some(before)));
    let number = |part: &str| {
        !part.is_empty()
            && part.len() <= 9
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let label = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let mut numbers = core.split('.');
    let three = numbers.by_ref().take(3).filter(|part| number(part)).count() == 3 && numbers.next().is_none();
    three && [before, build].into_iter().flatten().all(|labels| labels.split('.').all(label))
}

fn components<'a>(reader: &mut Reader<'_>, value: &'a Value) -> Components<'a> {
    let mut all = Components::default();
    let Some(mut fields) = Fields::of(reader, value, "/use", "reusable components by name") else { return all };
    let named =
        |reader: &mut Reader<'_>, fields: &mut Fields<'a>, field: &'static str| -> Vec<(String, String, &'a Value)> {
            match fields.get(field) {
                None => Vec::new(),
                Some(Value::Object(map)) => {
                    let at = fields.path(field);
                    map.iter()
                        .map(|(name, value)| (name.clone(), format!("{at}/{}", super::source::segment(name)), value))
                        .collect()
                }
                Some(other) => {
                    reader.wrong(
                        &fields.path(field),
                        format!("{} where an object should be", what(other)),
                        "components by name",
                    );
                    Vec::new()
                }
            }
        };
    for (name, at, value) in named(reader, &mut fields, "timeouts") {
        if let Some(span) = parts::after(reader, value, &at) {
            all.timeouts.insert(name, span);
        }
    }
    for (name, at, value) in named(reader, &mut fields, "retries") {
        if let Some(retry) = parts::retry(reader, value, &at) {
            all.retries.insert(name, retry);
        }
    }
    for (name, at, value) in named(reader, &mut fields, "errors") {
        parts::error(reader, value, &at);
        all.errors.insert(name, (at, value));
    }
    for (name, at, value) in named(reader, &mut fields, "authentications") {
        parts::authentication(reader, value, &at, None);
        all.authentications.insert(name, value.clone());
    }
    for (name, at, value) in named(reader, &mut fields, "functions") {
        all.functions.insert(name, (at, value));
    }
    if let Some(secrets) = fields.get("secrets") {
        reader.warn("/use/secrets", format!("{} secrets are asked for, and runs are given none", secrets.as_array().map_or(0, Vec::len)),
            "the services that need a secret hold it; an expression that uses $secrets fails with an authorization error");
    }
    for (field, why) in [
        ("catalogs", "definitions are whole: put the function into `use.functions`"),
        ("extensions", "write the tasks where they are done"),
    ] {
        if fields.get(field).is_some() {
            reader.wrong(&format!("/use/{field}"), format!("`{field}` are not supported"), why);
        }
    }
    fields.done(reader);
    all
}

/// Whether `evaluate` asks for loose expressions.
fn evaluate(reader: &mut Reader<'_>, value: &Value) -> bool {
    let Some(mut fields) = Fields::of(reader, value, "/evaluate", "evaluate: { language: jq, mode: strict }") else {
        return false;
    };
    fields.word(reader, "language", &["jq"]);
    let mode = fields.word(reader, "mode", &["strict", "loose"]);
    fields.done(reader);
    mode == "loose"
}

fn schedule(reader: &mut Reader<'_>, value: &Value) -> Option<Schedule> {
    const HINT: &str = "one of every, cron, after, on";
    let mut fields = Fields::of(reader, value, "/schedule", HINT)?;
    let given: Vec<&str> = ["every", "cron", "after", "on"].into_iter().filter(|field| fields.has(field)).collect();
    if given.len() != 1 {
        reader.wrong("/schedule", format!("{} ways to be started", given.len()), HINT);
    }
    let mut fixed = |reader: &mut Reader<'_>, field: &'static str, least_ms: i64| match fields.span(reader, field)? {
        Span::Ms(ms) if ms >= least_ms => Some(ms),
        Span::Ms(ms) => {
            reader.wrong(&format!("/schedule/{field}"), format!("every {ms} ms"), format!("at least {least_ms} ms"));
            None
        }
        Span::Expr(_) => {
            reader.wrong(&format!("/schedule/{field}"), "an expression, where there is no run yet", "a fixed duration");
            None
        }
    };
    let every = fixed(reader, "every", super::EVERY_MS_MIN).map(Schedule::Every);
    let after = fixed(reader, "after", super::EVERY_MS_MIN).map(Schedule::After);
    let cron = fields.text(reader, "cron").and_then(|text| match cron(&text) {
        Ok(spec) => Some(Schedule::Cron(spec)),
        Err(fault) => {
            reader.wrong("/schedule/cron", fault.message, fault.hint.unwrap_or_default());
            None
        }
    });
    let on = fields.get("on").and_then(|value| events::consume(reader, value, "/schedule/on")).map(Schedule::On);
    fields.done(reader);
    every.or(cron).or(after).or(on)
}

/// A cron expression, in UTC. The language has no place for a time zone: it stands before the fields, as crontabs have it.
fn cron(text: &str) -> Result<Spec> {
    let zoned = text.strip_prefix("CRON_TZ=").and_then(|rest| rest.split_once(' '));
    let (zone, expression) = zoned.unwrap_or(("UTC", text));
    let spec = Spec::cron(expression.trim(), zone)?;
    if spec.after(0).is_none() {
        return Err(Fault::invalid(format!("{} is never", crate::bounded::shown(text))).hint("days that there are"));
    }
    Ok(spec)
}
