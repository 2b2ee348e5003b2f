//! Durable workflows in the CNCF Serverless Workflow DSL 1.0, YAML or JSON, with jq expressions.
//!
//! A definition is a value that was read and checked once ([`Definition`]). Beside the language, two extensions of ours: `approve`, a
//! question to people bound to the hash of what is approved, and `undo` on a task, done in reverse order when a run fails or is cancelled.

mod check;
pub mod diagram;
mod duration;
pub mod engine;
pub mod error;
pub mod expression;
pub mod history;
pub mod model;
pub mod playbooks;
mod read;
mod source;
pub mod state;
mod tools;
pub mod walk;

use kernel::{Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use engine::{Engine, EngineConfig};
pub use model::Definition;
pub use source::{DOCUMENT_BYTES_MAX, Place};
pub use tools::ToolUse;

/// Most tasks of one list.
pub const TASKS_MAX: usize = 256;
/// Most branches of one fork.
pub const BRANCHES_MAX: usize = 32;
/// Shortest period of a schedule, in milliseconds.
pub const EVERY_MS_MIN: i64 = 1_000;
/// What an address of the fleet's own begins with.
pub const FLEET_SCHEME: &str = "fleet://";

/// What is wrong with a definition, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Which part: a JSON Pointer into the definition.
    pub path: String,
    /// On which line of the text, from 1.
    pub line: usize,
    /// In which column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: String,
}

/// What validation found.
#[derive(Debug)]
pub struct Validated {
    /// The definition, if nothing is wrong with it.
    pub definition: Option<Definition>,
    /// What is wrong, by line.
    pub problems: Vec<Problem>,
    /// What should be looked at.
    pub warnings: Vec<Problem>,
    /// The tools it calls, as far as their names stand in it.
    pub tools: Vec<ToolUse>,
}

/// Reads a definition and checks all of it. Compiles every expression, so it belongs inside
/// [`Gate::run`](crate::bounded::Gate::run) with a stack of [`STACK`](crate::jq::STACK).
///
/// # Errors
/// When the text is neither YAML nor JSON, or the limits of the computation are reached. What is wrong with a definition is no error.
pub fn validate(text: &str) -> Result<Validated> {
    let source = source::Source::read(text)?;
    let (definition, mut problems, mut warnings) = read::definition(&source);
    let mut tools = Vec::new();
    if let Some(definition) = &definition {
        let found = check::check(definition, &source)?;
        problems.extend(found.problems);
        warnings.extend(found.warnings);
        tools = found.tools;
    }
    for list in [&mut problems, &mut warnings] {
        list.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
    }
    let definition = definition.filter(|_| problems.is_empty());
    Ok(Validated { definition, problems, warnings, tools })
}

impl Validated {
    /// The definition, or the first things that are wrong with it as a refusal.
    ///
    /// # Errors
    /// `invalid_argument`; the data has all problems.
    pub fn into_definition(self) -> Result<Definition> {
        /// Problems that the message tells; the data has all.
        const TOLD: usize = 3;
        if let Some(definition) = self.definition {
            return Ok(definition);
        }
        let told: Vec<String> = self.problems.iter().take(TOLD).map(ToString::to_string).collect();
        let more = self.problems.len().saturating_sub(TOLD);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        Err(Fault::invalid(format!("the definition is not valid: {}{more}", told.join("; ")))
            .hint("validate_workflow tells every problem with its line")
            .data(serde_json::json!({ "problems": self.problems })))
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "line {}, column {} ({path}): {}", self.line, self.column, self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

/// How many bytes a value has as JSON.
pub(crate) fn size_of(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What cannot be written has no size; nothing of ours cannot.
    serde_json::to_writer(&mut count, value).ok();
    count.0
}

/// What an effect is known by outside, from its key in the run: the run and a hash, of no more than letters, digits, `_` and `-`, because
/// whoever takes such keys takes these.
pub fn idempotency_key(key: &str) -> String {
    const DIGITS: usize = 16;
    let (run, _) = key.split_once('/').unwrap_or((key, ""));
    format!("{run}-{}", &hash_of(&serde_json::Value::String(key.to_owned()))[..DIGITS])
}

/// SHA-256 of a value as canonical JSON (names in order, no white space), in hexadecimal.
pub fn hash_of(value: &serde_json::Value) -> String {
    use serde_json::Value;
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(name, _)| *name);
                Value::Object(fields.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, sorted(value).to_string().as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
