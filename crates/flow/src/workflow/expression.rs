//! Runtime expressions: jq programs over a task's data, with the variables that the language gives them.
//!
//! Programs are read once and kept. A variable is made only when the program names it: the definition alone may be large.

use std::borrow::Cow;
use std::collections::HashMap;

use kernel::{Fault, Result, UnixMs};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::model::{Expr, Template};
use super::read::inner;
use crate::jq::Program;

/// Most programs that are kept.
const PROGRAMS_MAX: usize = 4_096;
/// What the runtime calls itself.
const RUNTIME: &str = "flotilla";

/// The programs that were read.
#[derive(Default)]
pub struct Programs {
    kept: Mutex<HashMap<String, Program>>,
}

impl Programs {
    /// The program, which may use `names` (without `$`).
    ///
    /// # Errors
    /// When it cannot be read, or names what is not there.
    pub fn get(&self, program: &str, names: &[&str]) -> Result<Program> {
        let key = format!("{}\0{program}", names.join(" "));
        if let Some(found) = self.kept.lock().get(&key) {
            return Ok(found.clone());
        }
        let variables: Vec<String> = names.iter().map(|name| format!("${name}")).collect();
        let read = Program::compile(program, &variables)?;
        let mut kept = self.kept.lock();
        if kept.len() >= PROGRAMS_MAX {
            kept.clear();
        }
        kept.insert(key, read.clone());
        Ok(read)
    }
}

/// The variables that a program names, without `$`, each once.
pub(crate) fn mentioned(program: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, _) in program.match_indices('$') {
        let rest = &program[at + 1..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What expressions of a run see of it.
#[derive(Debug, Clone, Copy)]
pub struct RunFacts<'a> {
    /// The run's id.
    pub id: &'a str,
    /// The definition, as it was written.
    pub definition: &'a Value,
    /// The run's input, as it came.
    pub input: &'a Value,
    /// When the run began.
    pub began_ms: UnixMs,
    /// The version of this program.
    pub version: &'a str,
}

/// What expressions see of the task they belong to.
#[derive(Debug, Clone, Copy)]
pub struct TaskFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it stands in the definition.
    pub reference: &'a str,
    /// Its input as it came.
    pub input: &'a Value,
    /// Its output as it came.
    pub output: Option<&'a Value>,
    /// When it began.
    pub began_ms: UnixMs,
    /// What its effect is known by, however often it is tried.
    pub key: &'a str,
}

/// What one expression sees.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// `$context`.
    pub context: Option<&'a Value>,
    /// `$input`.
    pub input: Option<&'a Value>,
    /// `$output`.
    pub output: Option<&'a Value>,
    /// `$task`.
    pub task: Option<TaskFacts<'a>>,
    /// `$workflow`.
    pub run: RunFacts<'a>,
    /// Variables of loops and handlers.
    pub locals: &'a [(String, Value)],
}

/// `{ iso8601, epoch: { seconds, milliseconds } }`.
fn moment(at_ms: UnixMs) -> Value {
    json!({ "iso8601": kernel::clock::timestamp(at_ms), "epoch": { "seconds": at_ms.div_euclid(1_000), "milliseconds": at_ms } })
}

impl<'a> Scope<'a> {
    /// A variable's value; `None` when there is no such here.
    fn lookup(&self, name: &str) -> Result<Option<Cow<'a, Value>>> {
        // The innermost loop's variable hides those around it.
        if let Some((_, value)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return Ok(Some(Cow::Borrowed(value)));
        }
        Ok(match name {
            "context" => self.context.map(Cow::Borrowed),
            "input" => self.input.map(Cow::Borrowed),
            "output" => self.output.map(Cow::Borrowed),
            "secrets" => {
                return Err(Fault::denied("an expression asks for $secrets, and runs are given none")
                    .hint("the services that need a secret hold it"));
            }
            "authorization" => Some(Cow::Owned(Value::Null)),
            "runtime" => Some(Cow::Owned(json!({ "name": RUNTIME, "version": self.run.version, "metadata": {} }))),
            "workflow" => Some(Cow::Owned(json!({
                "id": self.run.id,
                "definition": self.run.definition,
                "input": self.run.input,
                "startedAt": moment(self.run.began_ms),
            }))),
            "task" => self.task.map(|task| {
                Cow::Owned(json!({
                    "name": task.name,
                    "reference": task.reference,
                    "definition": self.run.definition.pointer(task.reference),
                    "input": task.input,
                    "output": task.output,
                    "startedAt": moment(task.began_ms),
                    "idempotencyKey": super::idempotency_key(task.key),
                }))
            }),
            _ => None,
        })
    }
}

/// Evaluates. Belongs inside [`Gate::run`](crate::bounded::Gate::run) with a stack of [`STACK`](crate::jq::STACK).
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    /// The programs that were read.
    pub programs: &'a Programs,
    /// What `now` is.
    pub now_ms: UnixMs,
    /// Whether any text may be an expression.
    pub loose: bool,
}

impl Evaluator<'_> {
    /// What an expression makes of `input`: null for nothing.
    ///
    /// # Errors
    /// When it fails, or gives several values.
    pub fn expr(&self, Expr(program): &Expr, input: &Value, scope: &Scope<'_>) -> Result<Value> {
        if program == "." {
            return Ok(input.clone());
        }
        let mut names = Vec::new();
        let mut values = Vec::new();
        for name in mentioned(program) {
            if let Some(value) = scope.lookup(name)? {
                names.push(name);
                values.push(value);
            }
        }
        let values: Vec<&Value> = values.iter().map(AsRef::as_ref).collect();
        let about = |fault: Fault| fault.context(format!("expression {}", crate::bounded::shown(program)));
        let outputs =
            self.programs.get(program, &names).and_then(|read| read.run_values(input, &values, self.now_ms, 1));
        let outputs = outputs.map_err(about)?;
        if outputs.limited {
            return Err(about(Fault::invalid("it gives several values").hint("one value: put [ ] around it")));
        }
        let Some(value) = outputs.values.first() else { return Ok(Value::Null) };
        serde_json::from_str(value.get())
            .map_err(|error| about(Fault::invalid(kernel::fault::lower(&error.to_string()))))
    }

    /// Whether an expression holds: neither null nor false.
    ///
    /// # Errors
    /// As [`Evaluator::expr`].
    pub fn truth(&self, expr: &Expr, input: &Value, scope: &Scope<'_>) -> Result<bool> {
        Ok(!matches!(self.expr(expr, input, scope)?, Value::Null | Value::Bool(false)))
    }

    /// Data with its expressions evaluated.
    ///
    /// # Errors
    /// As [`Evaluator::expr`].
    pub fn value(&self, value: &Value, input: &Value, scope: &Scope<'_>) -> Result<Value> {
        crate::bounded::check()?;
        Ok(match value {
            Value::String(text) => match inner(text) {
                Some(program) => self.expr(&Expr(program.to_owned()), input, scope)?,
                None if self.loose => self.expr(&Expr(text.clone()), input, scope).unwrap_or_else(|_| value.clone()),
                None => value.clone(),
            },
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.value(item, input, scope)).collect::<Result<_>>()?)
            }
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| Ok((name.clone(), self.value(value, input, scope)?)));
                Value::Object(fields.collect::<Result<Map<_, _>>>()?)
            }
            other => other.clone(),
        })
    }

    /// What a template makes of `input`.
    ///
    /// # Errors
    /// As [`Evaluator::expr`].
    pub fn template(&self, template: &Template, input: &Value, scope: &Scope<'_>) -> Result<Value> {
        match template {
            Template::Expr(expr) => self.expr(expr, input, scope),
            Template::Value(value) => self.value(value, input, scope),
        }
    }
}
