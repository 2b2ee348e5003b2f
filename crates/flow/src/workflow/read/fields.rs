//! An object of a definition, read field by field: what is missing, wrong or unknown becomes a [`Problem`], and reading goes on.

use serde_json::{Map, Value};

use crate::workflow::model::{Expr, Span, Template};
use crate::workflow::source::{Source, segment};
use crate::workflow::{Problem, duration};

/// Most problems that are told at once.
const PROBLEMS_MAX: usize = 100;

/// What reads a definition: its text's places, and what is wrong with it so far.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Reader<'_> {
    fn note(&self, at: &str, message: String, hint: &str) -> Problem {
        let place = self.source.place(at);
        Problem { path: at.to_owned(), line: place.line, column: place.column, message, hint: hint.to_owned() }
    }

    pub(super) fn wrong(&mut self, at: &str, message: impl Into<String>, hint: impl AsRef<str>) {
        if self.problems.len() < PROBLEMS_MAX {
            let problem = self.note(at, message.into(), hint.as_ref());
            self.problems.push(problem);
        }
    }

    pub(super) fn warn(&mut self, at: &str, message: impl Into<String>, hint: impl AsRef<str>) {
        if self.warnings.len() < PROBLEMS_MAX {
            let problem = self.note(at, message.into(), hint.as_ref());
            self.warnings.push(problem);
        }
    }
}

/// What a value is, for messages.
pub(super) fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// An object, and which of its fields were asked for.
pub(super) struct Fields<'a> {
    pub(super) at: String,
    map: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The object at `at`; none, and a problem, when it is something else.
    pub(super) fn of(reader: &mut Reader<'_>, value: &'a Value, at: &str, hint: &str) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self { at: at.to_owned(), map, known: Vec::new() }),
            other => {
                reader.wrong(at, format!("{} where an object should be", what(other)), hint);
                None
            }
        }
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{}", self.at, segment(name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// A field, if it is there.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.map.get(name)
    }

    /// A field that must be there.
    pub(super) fn need(&mut self, reader: &mut Reader<'_>, name: &'static str, hint: &str) -> Option<&'a Value> {
        let found = self.get(name);
        if found.is_none() {
            reader.wrong(&self.at, format!("`{name}` is missing"), hint);
        }
        found
    }

    /// A text, if it is there.
    pub(super) fn text(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            other => {
                reader.wrong(&self.path(name), format!("{} where text should be", what(other)), "put quotes around it");
                None
            }
        }
    }

    /// A boolean, or the default.
    pub(super) fn flag(&mut self, reader: &mut Reader<'_>, name: &'static str, default: bool) -> bool {
        match self.get(name) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                reader.wrong(&self.path(name), format!("{} where a boolean should be", what(other)), "true or false");
                default
            }
        }
    }

    /// A whole number, if it is there.
    pub(super) fn whole(&mut self, reader: &mut Reader<'_>, name: &'static str, max: u64) -> Option<u64> {
        let value = self.get(name)?;
        let number = value.as_u64().filter(|number| *number <= max);
        if number.is_none() {
            reader.wrong(
                &self.path(name),
                format!("{} where a whole number should be", what(value)),
                format!("0 to {max}"),
            );
        }
        number
    }

    /// One of `words`, or the first.
    pub(super) fn word(&mut self, reader: &mut Reader<'_>, name: &'static str, words: &[&'static str]) -> &'static str {
        let first = words.first().copied().unwrap_or_default();
        let Some(value) = self.get(name) else { return first };
        let found = value.as_str().and_then(|text| words.iter().find(|word| **word == text));
        match found {
            Some(word) => word,
            None => {
                let said = value.as_str().map_or_else(|| what(value).to_owned(), |text| format!("`{text}`"));
                reader.wrong(
                    &self.path(name),
                    format!("{said} is not a `{name}`"),
                    format!("one of {}", words.join(", ")),
                );
                first
            }
        }
    }

    /// An expression, with or without `${ }`, if it is there.
    pub(super) fn expr(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<Expr> {
        let text = self.text(reader, name)?;
        Some(Expr(inner(&text).unwrap_or(&text).to_owned()))
    }

    /// A text that is one expression, or an object with expressions in it.
    pub(super) fn template(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<Template> {
        match self.get(name)? {
            Value::String(text) => Some(Template::Expr(Expr(inner(text).unwrap_or(text).to_owned()))),
            value @ Value::Object(_) => Some(Template::Value(value.clone())),
            other => {
                let hint = "an expression, or an object with expressions in it";
                reader.wrong(&self.path(name), format!("{} where an expression should be", what(other)), hint);
                None
            }
        }
    }

    /// A duration, if it is there.
    pub(super) fn span(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<Span> {
        let value = self.get(name)?;
        span(reader, value, &self.path(name))
    }

    /// Refuses every field that was not asked for.
    pub(super) fn done(self, reader: &mut Reader<'_>) {
        for name in self.map.keys() {
            if self.known.contains(&name.as_str()) {
                continue;
            }
            let hint = match kernel::limits::nearest(name, &self.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            reader.wrong(&self.path(name), format!("unknown field `{name}`"), hint);
        }
    }
}

/// What stands in `${ }`, when the whole text is one expression.
pub(crate) fn inner(text: &str) -> Option<&str> {
    Some(text.trim().strip_prefix("${")?.strip_suffix('}')?.trim())
}

/// A duration.
pub(super) fn span(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Span> {
    const HINT: &str = "an ISO 8601 duration such as PT1H30M, or { days, hours, minutes, seconds, milliseconds }";
    match value {
        Value::String(text) => match (inner(text), duration::iso_8601(text)) {
            (Some(expression), _) => Some(Span::Expr(Expr(expression.to_owned()))),
            (None, Some(ms)) => Some(Span::Ms(ms)),
            (None, None) => {
                reader.wrong(at, format!("`{text}` is not a duration"), HINT);
                None
            }
        },
        Value::Object(_) => {
            let mut fields = Fields::of(reader, value, at, HINT)?;
            let units = [
                ("days", 86_400_000),
                ("hours", 3_600_000),
                ("minutes", 60_000),
                ("seconds", 1_000),
                ("milliseconds", 1),
            ];
            let mut total: i64 = 0;
            let mut some = false;
            for (unit, each) in units {
                if let Some(count) = fields.whole(reader, unit, 1 << 40) {
                    some = true;
                    total = total.saturating_add(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(each));
                }
            }
            fields.done(reader);
            if !some || total > duration::DURATION_MS_MAX {
                reader.wrong(at, "a duration without a unit, or of more than ten years", HINT);
                return None;
            }
            Some(Span::Ms(total))
        }
        other => {
            reader.wrong(at, format!("{} where a duration should be", what(other)), HINT);
            None
        }
    }
}

/// Text that is one of the URIs the DSL takes: with a scheme, or an expression.
pub(super) fn is_uri(text: &str) -> bool {
    let scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    inner(text).is_some() || text.split_once("://").is_some_and(|(before, rest)| scheme(before) && !rest.is_empty())
}
