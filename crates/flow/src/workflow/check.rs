//! What reading alone does not see: that every expression can be read and names only what there is where it stands; which tools are called.

use kernel::{Code, Result};
use serde_json::Value;

use super::Problem;
use super::expression::{Programs, mentioned};
use super::model::{
    Call, Catch, Consume, Definition, EventFilter, Expr, Filter, Kind, Retry, Span, Task, Template, Until,
};
use super::read::inner;
use super::source::{Source, segment};
use super::tools::ToolUse;

/// Most expressions of a definition.
const EXPRESSIONS_MAX: usize = 2_000;
/// Most tasks of a definition, functions counted where they are called.
const ALL_TASKS_MAX: usize = 2_000;

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) tools: Vec<ToolUse>,
}

struct Checker<'a> {
    source: &'a Source,
    programs: Programs,
    found: Found,
    /// Variables of the loops and handlers around.
    locals: Vec<String>,
    expressions: usize,
    tasks: usize,
}

/// Where an expression stands decides which of the runtime's variables there are.
#[derive(Clone, Copy)]
enum Stage {
    /// The workflow's `input.from`.
    Start,
    /// The workflow's `output.as`.
    End,
    /// `if` and `input.from`.
    Before,
    /// The task itself, and its `output.as`.
    During,
    /// `export.as`.
    After,
}

impl Stage {
    fn given(self) -> &'static [&'static str] {
        match self {
            Self::Start => &["secrets", "workflow", "runtime"],
            Self::End => &["context", "secrets", "workflow", "runtime"],
            Self::Before => &["context", "secrets", "task", "workflow", "runtime"],
            Self::During => &["context", "input", "secrets", "authorization", "task", "workflow", "runtime"],
            Self::After => &["context", "input", "output", "secrets", "authorization", "task", "workflow", "runtime"],
        }
    }
}

/// Checks a definition.
///
/// # Errors
/// When the limits of the computation are reached.
pub(super) fn check(definition: &Definition, source: &Source) -> Result<Found> {
    let mut checker = Checker {
        source,
        programs: Programs::default(),
        found: Found::default(),
        locals: Vec::new(),
        expressions: 0,
        tasks: 0,
    };
    checker.filter(&definition.input, Stage::Start, "/input", "from")?;
    checker.filter(&definition.output, Stage::End, "/output", "as")?;
    checker.span(definition.timeout.as_ref(), Stage::Start, "/timeout")?;
    if let Some(super::model::Schedule::On(consume)) = &definition.schedule {
        checker.consume(consume, Stage::Start, "/schedule/on")?;
    }
    checker.list(&definition.tasks)?;
    checker.found.tools.sort_by(|a, b| (&a.server, &a.tool, &a.path).cmp(&(&b.server, &b.tool, &b.path)));
    Ok(checker.found)
}

impl Checker<'_> {
    fn wrong(&mut self, at: &str, message: String, hint: String) {
        let place = self.source.place(at);
        self.found.problems.push(Problem {
            path: at.to_owned(),
            line: place.line,
            column: place.column,
            message,
            hint,
        });
    }

    fn expr(&mut self, Expr(program): &Expr, stage: Stage, at: &str) -> Result<()> {
        self.expressions += 1;
        if self.expressions > EXPRESSIONS_MAX {
            let text = format!("more than {EXPRESSIONS_MAX} expressions");
            return Err(kernel::Fault::too_large(text).hint("split the workflow: run.workflow"));
        }
        let locals = self.locals.clone();
        let names: Vec<&str> = mentioned(program)
            .into_iter()
            .filter(|name| stage.given().contains(name) || locals.iter().any(|local| local == name))
            .collect();
        match self.programs.get(program, &names) {
            Ok(_) => Ok(()),
            Err(fault) if fault.code == Code::InvalidArgument => {
                let hint = if fault.message.contains("there is no variable") {
                    let given = stage.given().iter().copied().chain(locals.iter().map(String::as_str));
                    format!("here there are {}", given.map(|name| format!("${name}")).collect::<Vec<_>>().join(", "))
                } else {
                    fault.hint.unwrap_or_default()
                };
                let message = fault
                    .message
                    .strip_prefix("program")
                    .map_or(fault.message.clone(), |rest| format!("expression{rest}"));
                self.wrong(at, message, hint);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    fn maybe(&mut self, expr: Option<&Expr>, stage: Stage, at: &str, name: &str) -> Result<()> {
        expr.map_or(Ok(()), |expr| self.expr(expr, stage, &format!("{at}/{name}")))
    }

    fn value(&mut self, value: &Value, stage: Stage, at: &str) -> Result<()> {
        match value {
            Value::String(text) => {
                inner(text).map_or(Ok(()), |program| self.expr(&Expr(program.to_owned()), stage, at))
            }
            Value::Array(items) => {
                items.iter().enumerate().try_for_each(|(place, item)| self.value(item, stage, &format!("{at}/{place}")))
            }
            Value::Object(fields) => {
                fields.iter().try_for_each(|(name, value)| self.value(value, stage, &format!("{at}/{}", segment(name))))
            }
            _ => Ok(()),
        }
    }

    fn template(&mut self, template: Option<&Template>, stage: Stage, at: &str) -> Result<()> {
        match template {
            Some(Template::Expr(expr)) => self.expr(expr, stage, at),
            Some(Template::Value(value)) => self.value(value, stage, at),
            None => Ok(()),
        }
    }

    fn filter(&mut self, filter: &Filter, stage: Stage, at: &str, map: &str) -> Result<()> {
        self.template(filter.map.as_ref(), stage, &format!("{at}/{map}"))
    }

    fn span(&mut self, span: Option<&Span>, stage: Stage, at: &str) -> Result<()> {
        match span {
            Some(Span::Expr(expr)) => self.expr(expr, stage, at),
            _ => Ok(()),
        }
    }

    /// With more variables than around.
    fn within<T>(&mut self, names: &[&str], work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = self.locals.len();
        self.locals.extend(names.iter().map(|name| (*name).to_owned()));
        let outcome = work(self);
        self.locals.truncate(before);
        outcome
    }

    fn list(&mut self, tasks: &[Task]) -> Result<()> {
        tasks.iter().try_for_each(|task| self.task(task))
    }

    fn task(&mut self, task: &Task) -> Result<()> {
        self.tasks += 1;
        if self.tasks > ALL_TASKS_MAX {
            let text = format!("more than {ALL_TASKS_MAX} tasks");
            return Err(kernel::Fault::too_large(text).hint("split the workflow: run.workflow"));
        }
        let at = &task.at;
        self.maybe(task.condition.as_ref(), Stage::Before, at, "if")?;
        self.filter(&task.input, Stage::Before, &format!("{at}/input"), "from")?;
        self.filter(&task.output, Stage::During, &format!("{at}/output"), "as")?;
        self.filter(&task.export, Stage::After, &format!("{at}/export"), "as")?;
        self.span(task.timeout.as_ref(), Stage::During, &format!("{at}/timeout"))?;
        self.list(&task.undo)?;
        self.kind(&task.kind, at)
    }

    fn kind(&mut self, kind: &Kind, at: &str) -> Result<()> {
        match kind {
            Kind::Call(call) => self.call(call, at),
            Kind::Function { with, task } => {
                self.value(with, Stage::During, &format!("{at}/with"))?;
                // A function sees nothing of where it is called.
                let around = std::mem::take(&mut self.locals);
                let outcome = self.task(task);
                self.locals = around;
                outcome
            }
            Kind::Do(tasks) => self.list(tasks),
            Kind::Emit(event) => self.value(event, Stage::During, &format!("{at}/emit/event/with")),
            Kind::For(each) => {
                self.expr(&each.items, Stage::During, &format!("{at}/for/in"))?;
                self.within(&[&each.each, &each.at], |checker| {
                    checker.maybe(each.condition.as_ref(), Stage::During, at, "while")?;
                    checker.list(&each.tasks)
                })
            }
            Kind::Fork { branches, .. } => self.list(branches),
            Kind::Listen(listen) => {
                self.consume(&listen.to, Stage::During, &format!("{at}/listen/to"))?;
                let Some(each) = &listen.each else { return Ok(()) };
                self.within(&[&each.item, &each.at], |checker| {
                    checker.list(&each.tasks)?;
                    checker.filter(&each.output, Stage::During, &format!("{at}/foreach/output"), "as")?;
                    checker.filter(&each.export, Stage::After, &format!("{at}/foreach/export"), "as")
                })
            }
            Kind::Raise(error) => {
                let parts = [Some(&error.kind), error.title.as_ref(), error.detail.as_ref(), error.instance.as_ref()];
                parts
                    .into_iter()
                    .flatten()
                    .try_for_each(|part| self.value(part, Stage::During, &format!("{at}/raise/error")))
            }
            Kind::Workflow(sub) => sub
                .input
                .as_ref()
                .map_or(Ok(()), |input| self.value(input, Stage::During, &format!("{at}/run/workflow/input"))),
            Kind::Set(template) => self.template(Some(template), Stage::During, &format!("{at}/set")),
            Kind::Switch(cases) => cases.iter().enumerate().try_for_each(|(place, case)| {
                self.maybe(
                    case.when.as_ref(),
                    Stage::During,
                    &format!("{at}/switch/{place}/{}", segment(&case.name)),
                    "when",
                )
            }),
            Kind::Try { tasks, catch } => {
                self.list(tasks)?;
                self.within(&[&catch.variable], |checker| checker.catch(catch, &format!("{at}/catch")))
            }
            Kind::Wait(span) => self.span(Some(span), Stage::During, &format!("{at}/wait")),
            Kind::Approve(approve) => {
                self.value(&approve.title, Stage::During, &format!("{at}/approve/title"))?;
                self.template(approve.arguments.as_ref(), Stage::During, &format!("{at}/approve/arguments"))
            }
        }
    }

    fn catch(&mut self, catch: &Catch, at: &str) -> Result<()> {
        self.maybe(catch.when.as_ref(), Stage::During, at, "when")?;
        self.maybe(catch.except.as_ref(), Stage::During, at, "exceptWhen")?;
        if let Some(retry) = &catch.retry {
            self.retry(retry, &format!("{at}/retry"))?;
        }
        self.list(&catch.tasks)
    }

    fn retry(&mut self, retry: &Retry, at: &str) -> Result<()> {
        self.maybe(retry.when.as_ref(), Stage::During, at, "when")?;
        self.maybe(retry.except.as_ref(), Stage::During, at, "exceptWhen")?;
        let jitter = retry.jitter.iter().flat_map(|(from, to)| [from, to]);
        let spans = [&retry.delay, &retry.attempt, &retry.duration].into_iter().flatten().chain(jitter);
        spans.into_iter().try_for_each(|span| self.span(Some(span), Stage::During, at))
    }

    fn call(&mut self, call: &Call, at: &str) -> Result<()> {
        let with = format!("{at}/with");
        match call {
            Call::Mcp { server, parameters, timeout } => {
                self.template(Some(parameters), Stage::During, &format!("{with}/parameters"))?;
                self.span(timeout.as_ref(), Stage::During, &format!("{with}/timeout"))?;
                self.tool(server.as_deref(), parameters, at);
                Ok(())
            }
            Call::A2a(value) | Call::Http(value) | Call::OpenApi(value) => self.value(value, Stage::During, &with),
            Call::Script { script, .. } => {
                // The code is a program of its own, whatever it looks like.
                ["stdin", "arguments", "environment"]
                    .into_iter()
                    .try_for_each(|part| self.value(&script[part], Stage::During, &format!("{at}/run/script/{part}")))
            }
        }
    }

    /// Notes which tool is called, as far as it can be seen.
    fn tool(&mut self, server: Option<&str>, parameters: &Template, at: &str) {
        let Template::Value(parameters) = parameters else { return };
        let Some(name) = parameters["name"].as_str().filter(|name| inner(name).is_none()) else { return };
        let found = match server {
            Some(server) => Some((server, name)),
            None => name.split_once("__"),
        };
        match found {
            Some((server, tool)) => {
                self.found.tools.push(ToolUse::new(server, tool, at, parameters, self.source));
            }
            None => self.wrong(
                &format!("{at}/with/parameters/name"),
                format!("`{name}` does not say which server"),
                "transport: { http: { endpoint: 'fleet://SERVER' } }, or server__tool".into(),
            ),
        }
    }

    fn consume(&mut self, consume: &Consume, stage: Stage, at: &str) -> Result<()> {
        consume.filters().iter().try_for_each(|filter| self.event(filter, stage, at))?;
        match consume {
            Consume::Any { until: Some(Until::Expr(expr)), .. } => self.expr(expr, stage, &format!("{at}/until")),
            Consume::Any { until: Some(Until::Events(until)), .. } => {
                self.consume(until, stage, &format!("{at}/until"))
            }
            _ => Ok(()),
        }
    }

    fn event(&mut self, filter: &EventFilter, stage: Stage, at: &str) -> Result<()> {
        filter
            .with
            .iter()
            .try_for_each(|(name, value)| self.value(value, stage, &format!("{at}/with/{}", segment(name))))?;
        filter.correlate.iter().try_for_each(|correlation| {
            let at = format!("{at}/correlate/{}", segment(&correlation.name));
            self.expr(&correlation.from, stage, &at)?;
            correlation.expect.as_ref().map_or(Ok(()), |expect| self.value(expect, stage, &at))
        })
    }
}
