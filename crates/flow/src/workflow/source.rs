//! A definition's text, YAML 1.2 or JSON, as a JSON value that knows on which line each of its parts stands.
//!
//! Anchors, aliases and tags are not taken: they make a small text endless. Keys are texts and stand once.

use std::borrow::Cow;
use std::collections::HashMap;

use kernel::{Fault, Result};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// Longest text of a definition, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Deepest nesting of a definition.
const DOCUMENT_DEPTH_MAX: usize = 64;
/// Most values in a definition.
const NODES_MAX: usize = 50_000;

/// Where something stands in the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

/// A text that was read.
#[derive(Debug)]
pub(super) struct Source {
    /// What it says.
    pub(super) value: Value,
    places: HashMap<String, Place>,
}

impl Source {
    /// Reads a text.
    ///
    /// # Errors
    /// Where it is not YAML, or what of YAML is not taken; the data has `line` and `column`.
    pub(super) fn read(text: &str) -> Result<Self> {
        crate::bounded::check_size("the definition", text, DOCUMENT_BYTES_MAX)?;
        let mut builder = Builder { places: HashMap::new(), nodes: 0 };
        let mut events = Parser::new_from_str(text).peekable();
        let mut value = None;
        while let Some(event) = events.next() {
            let (event, span) = event.map_err(|error| bad(error.marker(), error.info(), "YAML 1.2 or JSON"))?;
            match event {
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(_) if value.is_some() => {
                    return Err(bad(&span.start, "a second document begins", "one definition in a text"));
                }
                Event::DocumentStart(_) => {}
                first => value = Some(builder.node(first, span, &mut events, String::new(), 0)?),
            }
        }
        let value = value
            .ok_or_else(|| Fault::invalid("the definition is empty").hint("a workflow with `document` and `do`"))?;
        Ok(Self { value, places: builder.places })
    }

    /// Where the part at this JSON Pointer stands, or else the nearest part around it.
    pub(super) fn place(&self, pointer: &str) -> Place {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.places.get(pointer) {
                return *place;
            }
            match pointer.rfind('/') {
                Some(at) => pointer = &pointer[..at],
                None => return Place { line: 1, column: 1 },
            }
        }
    }
}

/// One segment of a JSON Pointer.
pub(crate) fn segment(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) { name.replace('~', "~0").replace('/', "~1").into() } else { name.into() }
}

struct Builder {
    places: HashMap<String, Place>,
    nodes: usize,
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

fn bad(marker: &Marker, what: &str, hint: &str) -> Fault {
    let Place { line, column } = place(marker);
    Fault::invalid(format!("line {line}, column {column}: {}", kernel::fault::lower(what)))
        .hint(hint)
        .data(serde_json::json!({ "line": line, "column": column }))
}

type Events<'t, 'p> = std::iter::Peekable<Parser<'t, saphyr_parser::StrInput<'p>>>;

impl Builder {
    fn node(
        &mut self,
        event: Event<'_>,
        span: Span,
        events: &mut Events<'_, '_>,
        at: String,
        depth: usize,
    ) -> Result<Value> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DOCUMENT_DEPTH_MAX {
            let hint = format!("at most {NODES_MAX} values, {DOCUMENT_DEPTH_MAX} deep");
            return Err(bad(&span.start, "the definition is too large or nested too deep", &hint));
        }
        // A field's place is that of its name, which was noted before.
        self.places.entry(at.clone()).or_insert_with(|| place(&span.start));
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain(anchor, tag.is_some(), &span)?;
                scalar(&text, style, &span)
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.is_some(), &span)?;
                let mut items = Vec::new();
                loop {
                    let (event, span) = next(events)?;
                    if event == Event::SequenceEnd {
                        return Ok(Value::Array(items));
                    }
                    let at = format!("{at}/{}", items.len());
                    items.push(self.node(event, span, events, at, depth + 1)?);
                }
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.is_some(), &span)?;
                self.fields(events, &at, depth)
            }
            Event::Alias(_) => {
                Err(bad(&span.start, "an alias", "write the value itself: anchors and aliases are not taken"))
            }
            _ => Err(bad(&span.start, "the text ends in the middle of a value", "YAML 1.2 or JSON")),
        }
    }

    fn fields(&mut self, events: &mut Events<'_, '_>, at: &str, depth: usize) -> Result<Value> {
        let mut fields = Map::new();
        loop {
            let (event, span) = next(events)?;
            let name = match event {
                Event::MappingEnd => return Ok(Value::Object(fields)),
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(bad(&span.start, "a key that is not text", "name: value")),
            };
            if fields.contains_key(&name) {
                return Err(bad(&span.start, &format!("`{name}` stands here twice"), "name each field once"));
            }
            let at = format!("{at}/{}", segment(&name));
            self.places.insert(at.clone(), place(&span.start));
            let (event, span) = next(events)?;
            let value = self.node(event, span, events, at, depth + 1)?;
            fields.insert(name, value);
        }
    }
}

fn next<'t>(events: &mut Events<'t, '_>) -> Result<(Event<'t>, Span)> {
    match events.next() {
        Some(event) => event.map_err(|error| bad(error.marker(), error.info(), "YAML 1.2 or JSON")),
        None => Err(Fault::invalid("the text ends in the middle of a value").hint("YAML 1.2 or JSON")),
    }
}

fn plain(anchor: usize, tagged: bool, span: &Span) -> Result<()> {
    if anchor == 0 && !tagged {
        return Ok(());
    }
    Err(bad(&span.start, "an anchor or a tag", "write the value itself: anchors, aliases and tags are not taken"))
}

/// What YAML's core schema makes of a scalar, as far as JSON has it.
fn scalar(text: &str, style: ScalarStyle, span: &Span) -> Result<Value> {
    if style != ScalarStyle::Plain {
        return Ok(text.into());
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        ".inf" | "-.inf" | "+.inf" | ".nan" | ".Inf" | ".NaN" | ".NAN" | ".INF" => {
            return Err(bad(
                &span.start,
                &format!("`{text}` is no number of JSON"),
                "a finite number, or text in quotes",
            ));
        }
        _ => number(text).map_or_else(|| text.into(), Value::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    let whole = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = whole.parse::<i64>() {
        return Some(number.into());
    }
    if let Ok(number) = whole.parse::<u64>() {
        return Some(number.into());
    }
    let float_like = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    // A whole number that JSON would round stays text, so that no digit is lost.
    let fits = float_like && digits.contains(['.', 'e', 'E']);
    whole.parse::<f64>().ok().filter(|number| fits && number.is_finite()).and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        expected.assert_eq(&Source::read(text).map_or_else(|fault| fault.to_string(), |read| read.value.to_string()));
    }

    #[test]
    fn yaml_and_json_are_read_as_json() {
        check("a: 1\nb: [x, 'y', 2.5, 0x10, true, ~, 007]", expect![[r#"{"a":1,"b":["x","y",2.5,16,true,null,7]}"#]]);
        check(r#"{"a": {"b": [1, "1"]}}"#, expect![[r#"{"a":{"b":[1,"1"]}}"#]]);
        check(
            "v: 1.0.3\nw: '1.0'\nx: 115792089237316195423570985008687907853",
            expect![[r#"{"v":"1.0.3","w":"1.0","x":"115792089237316195423570985008687907853"}"#]],
        );
        check("a: |\n  x\n  y\n", expect![[r#"{"a":"x\ny\n"}"#]]);
    }

    #[test]
    fn what_is_wrong_says_where() {
        check(
            "a: 1\na: 2",
            expect!["invalid_argument: line 2, column 1: `a` stands here twice (name each field once)"],
        );
        check(
            "a: &x 1\nb: *x",
            expect![
                "invalid_argument: line 1, column 4: an anchor or a tag (write the value itself: anchors, aliases and tags are not taken)"
            ],
        );
        check(
            "a: [1",
            expect![
                "invalid_argument: line 2, column 1: while parsing a flow sequence, expected ',' or ']' (YAML 1.2 or JSON)"
            ],
        );
        check("", expect!["invalid_argument: the definition is empty (a workflow with `document` and `do`)"]);
        check(
            "a: 1\n---\nb: 2",
            expect!["invalid_argument: line 2, column 1: a second document begins (one definition in a text)"],
        );
        check("[[1]: 2]", expect!["invalid_argument: line 1, column 2: a key that is not text (name: value)"]);
        check(
            &format!("{}1{}", "[".repeat(70), "]".repeat(70)),
            expect![
                "invalid_argument: line 1, column 66: the definition is too large or nested too deep (at most 50000 values, 64 deep)"
            ],
        );
    }

    #[test]
    fn every_part_knows_its_line() {
        let source = Source::read("a:\n  - b: 1\n    c/d: 2\n").unwrap();
        for (pointer, line, column) in
            [("/a", 1, 1), ("/a/0", 2, 5), ("/a/0/b", 2, 5), ("/a/0/c~1d", 3, 5), ("/a/0/x/y", 2, 5)]
        {
            assert_eq!(source.place(pointer), Place { line, column }, "{pointer}");
        }
    }
}
