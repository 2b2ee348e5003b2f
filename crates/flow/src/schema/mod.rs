//! Documents held to a JSON Schema. Runs inside [`Gate::run`](crate::bounded::Gate::run) with a stack of [`STACK`].

mod metered;

use jsonschema::{Keyword, PatternOptions, ValidationError, Validator};
use kernel::Fault;
use kernel::fault::lower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::metered::{Item, Metered, Stop, look, within};

/// Most errors one answer has.
const ERRORS_MAX: usize = 100;
/// How often the gathering of errors may look at the document.
const GATHERING_LOOKS_MAX: u64 = 300_000;
/// Longest message of one error, in characters.
const MESSAGE_MAX: usize = 500;
/// References make validation deep.
pub const STACK: usize = 64 << 20;
/// A keyword of ours that looks at the time; a name that no schema has.
const TICK: &str = "flotilla:tick";

/// How a document fits its schema.
#[derive(Debug)]
pub struct Verdict {
    /// Whether it fits.
    pub valid: bool,
    /// What does not fit, at most 100 places.
    pub errors: Vec<SchemaError>,
    /// Whether there are more.
    pub more: bool,
}

/// One place where the document does not fit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SchemaError {
    /// Where in the document: a JSON Pointer, empty for the whole.
    pub instance_path: String,
    /// Which part of the schema says so: a JSON Pointer.
    pub schema_path: String,
    /// What is wrong.
    pub message: String,
}

/// Fits everything or nothing, and looks at the limits. It is in every schema, because some schemas decide without a look at the
/// document.
struct Tick {
    fits: bool,
}

impl<'i> Keyword<'i, Metered> for Tick {
    fn validate(&self, instance: Item<'i>) -> Result<(), ValidationError<'i>> {
        if Keyword::<Metered>::is_valid(self, instance) {
            return Ok(());
        }
        Err(ValidationError::custom(format!("False schema does not allow {}", cut(&instance.0.to_string()))))
    }

    fn is_valid(&self, _: Item<'i>) -> bool {
        look();
        self.fits
    }
}

/// Refuses a schema that is none.
///
/// # Errors
/// What is wrong with it; or the limits of the computation.
pub fn check(schema: &Value) -> Result<(), Fault> {
    built(schema.clone(), false).map(|_| ())
}

/// Holds `document` to `schema`: draft 2020-12 unless its `$schema` says otherwise, references only inside it, `format` only where `formats`.
///
/// # Errors
/// When the schema is none, or the limits of the computation are reached.
pub fn validate(schema: Value, document: &Value, formats: bool) -> Result<Verdict, Fault> {
    let validator = built(schema, formats)?;
    let valid = within(u64::MAX, || validator.is_valid(Item(document))).map_err(stopped)?;
    if valid {
        return Ok(Verdict { valid, errors: Vec::new(), more: false });
    }
    let (errors, more) = errors(&validator, document)?;
    Ok(Verdict { valid, errors, more })
}

/// The validator of a schema.
fn built(mut schema: Value, formats: bool) -> Result<Validator<Metered>, Fault> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(Fault::invalid("schema must be an object or a boolean").hint("a JSON Schema, draft 2020-12"));
    }
    let referable = refers_to_a_child(&schema);
    tick_everywhere(&mut schema, referable);
    let options = jsonschema::options_for::<Metered>()
        .offline()
        .should_validate_formats(formats)
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20).dfa_size_limit(1 << 20))
        .with_keyword(TICK, |_, fits, _| {
            look();
            Ok(Box::new(Tick { fits: *fits == Value::Bool(true) }))
        });
    match within(u64::MAX, || options.build(&schema)) {
        Ok(built) => built.map_err(|error| bad_schema(&error)),
        Err(stop) => Err(stopped(stop)),
    }
}

fn stopped(stop: Stop) -> Fault {
    match stop {
        Stop::Limit(fault) => fault,
        Stop::Looks => Fault::too_large("the schema is too large for the document").hint("validate a part of it"),
    }
}

/// The validator gathers all errors before it gives the first, so gathering is bounded: a document that breaks very many rules gets one
/// error, or none but the verdict.
fn errors(validator: &Validator<Metered>, document: &Value) -> Result<(Vec<SchemaError>, bool), Fault> {
    let all = within(GATHERING_LOOKS_MAX, || {
        let mut found = validator.iter_errors(Item(document));
        let errors: Vec<SchemaError> = found.by_ref().take(ERRORS_MAX).map(|error| shape(&error)).collect();
        (errors, found.next().is_some())
    });
    let first = || within(GATHERING_LOOKS_MAX, || validator.validate(Item(document)).map_err(|error| shape(&error)));
    match all {
        Ok(errors) => Ok(errors),
        Err(Stop::Limit(fault)) => Err(fault),
        Err(Stop::Looks) => match first() {
            Ok(outcome) => Ok((outcome.err().into_iter().collect(), true)),
            Err(Stop::Limit(fault)) => Err(fault),
            Err(Stop::Looks) => Ok((Vec::new(), true)),
        },
    }
}

fn shape(error: &ValidationError<'_>) -> SchemaError {
    let schema_path = error.schema_path().to_string();
    SchemaError {
        instance_path: error.instance_path().to_string(),
        schema_path: schema_path.strip_suffix(&format!("/{TICK}")).unwrap_or(&schema_path).to_owned(),
        message: cut(&unticked(&error.to_string())),
    }
}

/// Some messages quote the schema: they show it as it was given.
fn unticked(message: &str) -> String {
    let tick = format!("\"{TICK}\":true");
    message.replace(&format!(",{tick}"), "").replace(&tick, "")
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_MAX) {
        Some((at, _)) => format!("{}…", &message[..at]),
        None => message.to_owned(),
    }
}

fn bad_schema(error: &ValidationError<'_>) -> Fault {
    let place = error.instance_path().to_string();
    let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
    Fault::invalid(format!("schema{place}: {}", cut(&lower(&error.to_string()))))
        .hint("a JSON Schema, draft 2020-12; references reach only inside it")
}

/// Keywords whose value is data, not a schema.
const DATA: [&str; 6] = ["const", "enum", "default", "examples", "dependentRequired", "$vocabulary"];
/// Keywords whose value holds schemas by name.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"];
/// Keywords that the validator words a better message for when they are plainly false. What they judge is a child, which takes a look.
const CHILDREN: [&str; 5] =
    ["additionalProperties", "unevaluatedProperties", "additionalItems", "unevaluatedItems", "items"];

/// Whether a reference may lead to one of [`CHILDREN`], by its name or by an escaped form of it.
fn refers_to_a_child(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().any(refers_to_a_child),
        Value::Object(fields) => fields.iter().any(|(keyword, value)| match value {
            Value::String(target) if keyword.ends_with("ef") => {
                target.contains('%') || CHILDREN.iter().any(|child| target.ends_with(child))
            }
            value => refers_to_a_child(value),
        }),
        _ => false,
    }
}

/// Puts [`TICK`] into everything that may be a schema, and leaves alone what is data.
fn tick_everywhere(schema: &mut Value, referable: bool) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| tick_everywhere(item, referable)),
        Value::Bool(fits) => *schema = Value::Object(Map::from_iter([(TICK.to_owned(), (*fits).into())])),
        Value::Object(fields) => {
            for (keyword, value) in fields.iter_mut() {
                match value {
                    _ if DATA.contains(&keyword.as_str()) => {}
                    Value::Bool(_) if !is_schema(keyword, referable) => {}
                    Value::Object(named) if NAMED.contains(&keyword.as_str()) => {
                        named.values_mut().for_each(|value| tick_everywhere(value, referable));
                    }
                    value => tick_everywhere(value, referable),
                }
            }
            fields.insert(TICK.into(), true.into());
        }
        _ => {}
    }
}

/// Whether a boolean under `keyword` is a schema to be replaced, not a flag.
fn is_schema(keyword: &str, referable: bool) -> bool {
    let flag = matches!(
        keyword,
        "uniqueItems"
            | "deprecated"
            | "readOnly"
            | "writeOnly"
            | "exclusiveMinimum"
            | "exclusiveMaximum"
            | "$recursiveAnchor"
            | "required"
    );
    !flag && (referable || !CHILDREN.contains(&keyword))
}
