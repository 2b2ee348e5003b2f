//! Which events are waited for, and what is done with each.

use serde_json::Value;

use super::Components;
use super::fields::{Fields, Reader, what};
use super::{parts, tasks};
use crate::workflow::model::{Consume, Correlation, EventFilter, Iterator, Listen, ReadAs, Until};

const HINT: &str = "one of one, all, any";
/// Most filters of one listening.
const FILTERS_MAX: usize = 32;

/// A `listen` task.
pub(super) fn listen(
    reader: &mut Reader<'_>,
    components: &mut Components<'_>,
    of: &mut Fields<'_>,
    value: &Value,
) -> Option<Listen> {
    let at = of.path("listen");
    let mut fields = Fields::of(reader, value, &at, "listen: { to: { one: { with: { type } } } }")?;
    let to = fields.need(reader, "to", HINT).and_then(|value| consume(reader, value, &format!("{at}/to")));
    let read = match fields.word(reader, "read", &["data", "envelope", "raw"]) {
        "envelope" => ReadAs::Envelope,
        "raw" => ReadAs::Raw,
        _ => ReadAs::Data,
    };
    fields.done(reader);
    let each = of.get("foreach").and_then(|value| iterator(reader, components, value, &of.path("foreach")));
    Some(Listen { to: to?, read, each })
}

fn iterator(reader: &mut Reader<'_>, components: &mut Components<'_>, value: &Value, at: &str) -> Option<Iterator> {
    let mut fields = Fields::of(reader, value, at, "foreach: { item, at, do, output, export }")?;
    let item = fields.text(reader, "item").unwrap_or_else(|| "item".into());
    let index = fields.text(reader, "at").unwrap_or_else(|| "index".into());
    for (field, name) in [("item", &item), ("at", &index)] {
        tasks::variable(reader, &fields.path(field), name);
    }
    let tasks =
        fields.get("do").map(|value| tasks::list(reader, components, value, &format!("{at}/do"))).unwrap_or_default();
    let output = parts::filter(reader, &mut fields, "output", "as");
    let export = parts::filter(reader, &mut fields, "export", "as");
    fields.done(reader);
    Some(Iterator { item, at: index, tasks, output, export })
}

/// An event consumption strategy.
pub(super) fn consume(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Consume> {
    let mut fields = Fields::of(reader, value, at, HINT)?;
    let given: Vec<&str> = ["one", "all", "any"].into_iter().filter(|field| fields.has(field)).collect();
    if given.len() != 1 {
        reader.wrong(at, format!("{} strategies", given.len()), HINT);
    }
    let one = fields.get("one").and_then(|value| filter(reader, value, &format!("{at}/one"))).map(Consume::One);
    let all = fields.get("all").map(|value| Consume::All(filters(reader, value, &format!("{at}/all"))));
    let any = fields.get("any").map(|value| filters(reader, value, &format!("{at}/any")));
    let until = fields.get("until").and_then(|value| match value {
        Value::String(_) => fields.expr(reader, "until").map(Until::Expr),
        other => consume(reader, other, &format!("{at}/until")).and_then(|inner| match inner {
            Consume::Any { until: Some(_), .. } => {
                reader.wrong(
                    &format!("{at}/until"),
                    "an `until` inside an `until`",
                    "events that end the listening, without an end of their own",
                );
                None
            }
            inner => Some(Until::Events(Box::new(inner))),
        }),
    });
    if any.is_none() && until.is_some() {
        reader.wrong(
            &format!("{at}/until"),
            "`until` without `any`",
            "until says when listening to any of several events ends",
        );
    }
    if let Some(Consume::All(filters)) = &all
        && filters.is_empty()
    {
        reader.wrong(&format!("{at}/all"), "no event", "at least one filter");
    }
    fields.done(reader);
    one.or(all).or(any.map(|filters| Consume::Any { filters, until }))
}

fn filters(reader: &mut Reader<'_>, value: &Value, at: &str) -> Vec<EventFilter> {
    let Value::Array(items) = value else {
        reader.wrong(at, format!("{} where a list should be", what(value)), "a list of event filters");
        return Vec::new();
    };
    if items.len() > FILTERS_MAX {
        reader.wrong(at, format!("{} filters", items.len()), format!("at most {FILTERS_MAX}"));
    }
    items.iter().enumerate().filter_map(|(place, item)| filter(reader, item, &format!("{at}/{place}"))).collect()
}

fn filter(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<EventFilter> {
    const HINT: &str = "with: { type: com.example.happened }";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    let with = match fields.need(reader, "with", HINT) {
        Some(Value::Object(with)) if !with.is_empty() => Some(with.clone()),
        Some(_) => {
            reader.wrong(&fields.path("with"), "a filter without an attribute", HINT);
            None
        }
        None => None,
    };
    let mut correlate = Vec::new();
    if let Some(Value::Object(all)) = fields.get("correlate") {
        for (name, value) in all {
            let at = format!("{at}/correlate/{}", crate::workflow::source::segment(name));
            let Some(mut fields) = Fields::of(reader, value, &at, "{ from, expect }") else { continue };
            fields.need(reader, "from", "from: .data.orderId");
            let from = fields.expr(reader, "from");
            let expect = fields.get("expect").cloned();
            fields.done(reader);
            correlate.extend(from.map(|from| Correlation { name: name.clone(), from, expect }));
        }
    }
    fields.done(reader);
    Some(EventFilter { with: with?, correlate })
}
