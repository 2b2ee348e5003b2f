//! What tasks and workflows share: filters, timeouts, retries, errors, authentications.

use serde_json::{Map, Value};

use super::Components;
use super::fields::{Fields, Reader, is_uri, span, what};
use crate::workflow::model::{Backoff, Filter, Retry, Span};

/// Most attempts that a policy may ask for.
const ATTEMPTS_MAX: u64 = 1_000;

/// `input`, `output` or `export`, whose transformation is called `map`.
pub(super) fn filter(reader: &mut Reader<'_>, of: &mut Fields<'_>, name: &'static str, map: &'static str) -> Filter {
    let Some(value) = of.get(name) else { return Filter::default() };
    let at = of.path(name);
    let Some(mut fields) = Fields::of(reader, value, &at, "{ schema, from } or { schema, as }") else {
        return Filter::default();
    };
    let schema = fields.get("schema").and_then(|value| schema(reader, value, &format!("{at}/schema")));
    let map = fields.template(reader, map);
    fields.done(reader);
    Filter { schema, map }
}

fn schema(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Value> {
    const HINT: &str = "schema: { document: a JSON Schema }";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    fields.word(reader, "format", &["json"]);
    if fields.get("resource").is_some() {
        reader.wrong(&fields.path("resource"), "a schema from elsewhere", "put the schema itself into `document`");
    }
    let document = fields.need(reader, "document", HINT).cloned();
    if let Some(document) = &document
        && let Err(fault) = crate::schema::check(document)
    {
        reader.wrong(&fields.path("document"), fault.message, fault.hint.unwrap_or_default());
    }
    fields.done(reader);
    document
}

/// `timeout`: a name in `use.timeouts`, or `{ after }`.
pub(super) fn timeout(reader: &mut Reader<'_>, of: &mut Fields<'_>, components: &Components<'_>) -> Option<Span> {
    let value = of.get("timeout")?;
    let at = of.path("timeout");
    let Value::String(name) = value else { return after(reader, value, &at) };
    let found = components.timeouts.get(name).cloned();
    if found.is_none() {
        missing(reader, &at, "timeout", "timeouts", name, components.timeouts.keys());
    }
    found
}

/// Tells of a name that leads nowhere.
pub(super) fn missing<'k>(
    reader: &mut Reader<'_>,
    at: &str,
    what: &str,
    table: &str,
    name: &str,
    known: impl Iterator<Item = &'k String>,
) {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let hint = match kernel::limits::nearest(name, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("define it under `use.{table}`"),
        None => format!("`use.{table}` has {}", known.join(", ")),
    };
    reader.wrong(at, format!("there is no {what} `{name}`"), hint);
}

/// `{ after }`.
pub(super) fn after(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Span> {
    const HINT: &str = "timeout: { after: PT30S }";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    fields.need(reader, "after", HINT);
    let after = fields.span(reader, "after");
    fields.done(reader);
    after
}

/// A retry policy.
pub(super) fn retry(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Retry> {
    let mut fields = Fields::of(reader, value, at, "retry: { delay, backoff, limit, jitter, when, exceptWhen }")?;
    let mut retry = Retry {
        when: fields.expr(reader, "when"),
        except: fields.expr(reader, "exceptWhen"),
        delay: fields.span(reader, "delay"),
        ..Retry::default()
    };
    if let Some(value) = fields.get("backoff")
        && let Some(mut backoff) = Fields::of(reader, value, &format!("{at}/backoff"), "backoff: { exponential: {} }")
    {
        let kinds =
            [("constant", Backoff::Constant), ("linear", Backoff::Linear), ("exponential", Backoff::Exponential)];
        let given: Vec<Backoff> =
            kinds.iter().filter(|(name, _)| backoff.get(name).is_some()).map(|(_, kind)| *kind).collect();
        match given.as_slice() {
            [kind] => retry.backoff = *kind,
            _ => reader.wrong(
                &format!("{at}/backoff"),
                format!("{} kinds of backoff", given.len()),
                "one of constant, linear, exponential",
            ),
        }
        backoff.done(reader);
    }
    if let Some(value) = fields.get("limit")
        && let Some(mut limit) =
            Fields::of(reader, value, &format!("{at}/limit"), "limit: { attempt: { count }, duration }")
    {
        retry.duration = limit.span(reader, "duration");
        if let Some(value) = limit.get("attempt")
            && let Some(mut attempt) =
                Fields::of(reader, value, &format!("{at}/limit/attempt"), "attempt: { count, duration }")
        {
            retry.count = attempt.whole(reader, "count", ATTEMPTS_MAX).and_then(|count| u32::try_from(count).ok());
            retry.attempt = attempt.span(reader, "duration");
            attempt.done(reader);
        }
        limit.done(reader);
    }
    if let Some(value) = fields.get("jitter")
        && let Some(mut jitter) = Fields::of(reader, value, &format!("{at}/jitter"), "jitter: { from, to }")
    {
        for end in ["from", "to"] {
            jitter.need(reader, end, "jitter: { from: PT0S, to: PT1S }");
        }
        retry.jitter = jitter.span(reader, "from").zip(jitter.span(reader, "to"));
        jitter.done(reader);
    }
    fields.done(reader);
    Some(retry)
}

/// Checks an error's definition, and gives its fields.
pub(super) fn error<'a>(reader: &mut Reader<'_>, value: &'a Value, at: &str) -> Option<&'a Map<String, Value>> {
    const HINT: &str = "error: { type: https://…, status: 400, title, detail }";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    fields.need(reader, "type", HINT);
    if let Some(kind) = fields.text(reader, "type")
        && !is_uri(&kind)
    {
        reader.wrong(
            &fields.path("type"),
            format!("`{kind}` is not a URI"),
            "like https://example.com/errors/too-late, or an expression",
        );
    }
    fields.need(reader, "status", HINT);
    fields.whole(reader, "status", 599);
    for text in ["title", "detail", "instance"] {
        fields.text(reader, text);
    }
    fields.done(reader);
    value.as_object()
}

/// Checks an authentication policy. With `known`, it may be a reference.
pub(super) fn authentication(reader: &mut Reader<'_>, value: &Value, at: &str, known: Option<&Components<'_>>) {
    const HINT: &str = "one of basic { username, password } and bearer { token }";
    let Some(mut fields) = Fields::of(reader, value, at, HINT) else { return };
    if let (Some(known), Some(name)) = (known, fields.text(reader, "use")) {
        if !known.authentications.contains_key(&name) {
            missing(
                reader,
                &fields.path("use"),
                "authentication",
                "authentications",
                &name,
                known.authentications.keys(),
            );
        }
        return fields.done(reader);
    }
    let mut given = 0;
    for (scheme, parts) in [("basic", &["username", "password"][..]), ("bearer", &["token"])] {
        let Some(value) = fields.get(scheme) else { continue };
        given += 1;
        let Some(mut policy) = Fields::of(reader, value, &format!("{at}/{scheme}"), HINT) else { continue };
        if policy.get("use").is_some() {
            reader.wrong(
                &policy.path("use"),
                "a secret of the runtime, and runs are given none",
                "an expression over the run's data",
            );
        }
        for part in parts {
            policy.need(reader, part, HINT);
            policy.text(reader, part);
        }
        policy.done(reader);
    }
    for scheme in ["digest", "oauth2", "oidc", "certificate"] {
        if fields.get(scheme).is_some() {
            given += 1;
            reader.wrong(&fields.path(scheme), format!("`{scheme}` is not supported"), HINT);
        }
    }
    if given != 1 {
        reader.wrong(at, format!("{given} ways to authenticate"), HINT);
    }
    fields.done(reader);
}

/// `endpoint`: a URI, an expression, or `{ uri, authentication }`. Gives it as an object.
pub(super) fn endpoint(reader: &mut Reader<'_>, components: &Components<'_>, value: &Value, at: &str) -> Option<Value> {
    const HINT: &str = "https://example.com/path/{id}, or { uri, authentication }";
    let check = |reader: &mut Reader<'_>, uri: &str, at: &str| {
        if !is_uri(uri) {
            reader.wrong(at, format!("`{uri}` is not a URI"), HINT);
        }
    };
    if let Value::String(uri) = value {
        check(reader, uri, at);
        return Some(serde_json::json!({ "uri": uri }));
    }
    let mut fields = Fields::of(reader, value, at, HINT)?;
    fields.need(reader, "uri", HINT);
    let uri = fields.text(reader, "uri");
    if let Some(uri) = &uri {
        check(reader, uri, &format!("{at}/uri"));
    }
    let mut whole = serde_json::json!({ "uri": uri });
    if let Some(policy) = fields.get("authentication") {
        authentication(reader, policy, &format!("{at}/authentication"), Some(components));
        let named = policy["use"].as_str().and_then(|name| components.authentications.get(name));
        whole["authentication"] = named.unwrap_or(policy).clone();
    }
    fields.done(reader);
    Some(whole)
}

/// Checks that a value is an object of data, or an expression.
pub(super) fn data(reader: &mut Reader<'_>, value: &Value, at: &str) {
    let fits = match value {
        Value::Object(_) => true,
        Value::String(text) => super::inner(text).is_some(),
        _ => false,
    };
    if !fits {
        reader.wrong(at, format!("{} where an object should be", what(value)), "names and values, or an expression");
    }
}

/// An optional duration somewhere in `with`.
pub(super) fn optional_span(reader: &mut Reader<'_>, value: Option<&Value>, at: &str) -> Option<Span> {
    span(reader, value?, at)
}
