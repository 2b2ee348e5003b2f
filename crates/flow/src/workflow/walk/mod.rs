//! From where a run stands to where it can come without the outside: a walk through its definition that decides and does nothing.
//!
//! Every decision is a [`Transition`], added to the run's state as it is made. What must be done outside, and when to look again, is said
//! at the end ([`Decided`]); whoever drives the walk writes the transitions down before anything of it is done. The same state and the same
//! news give the same transitions, so a walk that was lost is simply walked again.

mod events;
mod kinds;
mod tries;

pub(crate) use events::{attribute_fits, matched, topics};
pub(crate) use kinds::EVENTS_TOPIC;

use std::collections::{BTreeMap, HashMap};

use kernel::{Fault, UnixMs};
use serde_json::{Value, json};

use super::error::Error;
use super::expression::{Evaluator, Programs, RunFacts, Scope, TaskFacts};
use super::history::{Cursors, Effect, Ending, Entry, Next, Transition, UndoNote};
use super::model::{Definition, Filter, Span, Task, Then};
use super::state::{Cursor, Outcome, State};

/// Most transitions of one walk: they are written down together.
const TRANSITIONS_MAX: usize = 64;
/// From how many bytes of transitions on a walk goes no further: with the last one they are less than one value of the store.
const WALK_BYTES_MAX: usize = 400 << 10;
/// Most tasks of one run.
pub const STEPS_MAX: u64 = 10_000;
/// Most bytes of one task's data.
pub const DATA_BYTES_MAX: usize = 128 << 10;

/// Variables of the loops and handlers around a task.
pub(super) type Locals = Vec<(String, Value)>;

/// What is new outside since the last walk.
#[derive(Debug, Default)]
pub struct News {
    /// How what was done outside ended, by the task's path and what it is known by.
    pub results: HashMap<(String, String), Result<Value, Error>>,
    /// Events, by topic and place there, oldest first.
    pub events: Vec<(String, u64, Value)>,
    /// How far each topic reaches now.
    pub topics: Cursors,
}

/// What a walk came to.
#[derive(Debug, Default)]
pub struct Decided {
    /// What is to be written down.
    pub entries: Vec<Entry>,
    /// What is to be done outside: by path, what it is known by, and what.
    pub effects: BTreeMap<String, (String, Effect)>,
    /// When to look again at the latest.
    pub wake_ms: Option<UnixMs>,
    /// Which topics are listened to, and from where on.
    pub listening: Vec<(String, Cursors)>,
    /// Which kinds of events end a wait: none for any.
    pub kinds: Vec<Option<String>>,
    /// Tasks that wait for people.
    pub questions: Vec<String>,
    /// Whether it could go on at once: there was too much for one walk.
    pub more: bool,
}

/// What the run is and what the walk stands on.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The definition.
    pub definition: &'a Definition,
    /// The run's id.
    pub run: &'a str,
    /// Its input, as it came.
    pub input: &'a Value,
    /// The programs that were read.
    pub programs: &'a Programs,
    /// The version of this program.
    pub version: &'a str,
    /// What time it is.
    pub now_ms: UnixMs,
}

/// How far a task or list has come.
pub(super) enum Flow {
    Done(Value, Next),
    /// With the failure, and the path of the task it comes from.
    Failed(Error, String),
    Pending,
}

pub(super) struct Walk<'a> {
    ground: Ground<'a>,
    state: &'a mut State,
    news: &'a News,
    decided: Decided,
    /// Of the transitions so far.
    bytes: usize,
}

/// Walks on from `state`, which is changed as transitions are decided. Evaluates expressions, so it belongs inside
/// [`Gate::run`](crate::bounded::Gate::run) with a stack of [`STACK`](crate::jq::STACK).
pub fn walk(ground: Ground<'_>, state: &mut State, news: &News) -> Decided {
    let mut walk = Walk { ground, state, news, decided: Decided::default(), bytes: 0 };
    walk.whole();
    walk.decided
}

impl<'a> Walk<'a> {
    /// Notes a decision.
    fn note(&mut self, what: Transition) {
        let entry = Entry { at_ms: self.ground.now_ms, what };
        self.bytes += super::size_of(&entry);
        self.state.apply(&entry);
        self.decided.entries.push(entry);
    }

    fn wake(&mut self, at_ms: UnixMs) {
        self.decided.wake_ms = Some(self.decided.wake_ms.map_or(at_ms, |before| before.min(at_ms)));
    }

    /// What must not go on in this walk goes on in the next.
    fn full(&mut self) -> bool {
        let full = self.decided.entries.len() >= TRANSITIONS_MAX || self.bytes >= WALK_BYTES_MAX;
        self.decided.more |= full;
        full
    }

    fn whole(&mut self) {
        if self.state.ending.is_some() {
            return;
        }
        if self.state.input.is_none() && !self.begin() {
            return;
        }
        if self.state.undoing.is_none() && self.state.cancel.is_some() {
            self.note(Transition::Undoing { error: None });
        }
        if self.state.undoing.is_none() {
            self.forward();
        }
        if self.state.undoing.is_some() && self.state.ending.is_none() {
            self.undo();
        }
    }

    /// Takes the input in. False when that fails, which ends the run.
    fn begin(&mut self) -> bool {
        let definition = self.ground.definition;
        let began = schema(definition.input.schema.as_ref(), self.ground.input, "input")
            .and_then(|()| self.mapped(&definition.input, self.ground.input, None, &Vec::new()));
        match began {
            Ok(input) => {
                self.note(Transition::Began { input });
                true
            }
            Err(error) => {
                let ending = Ending::Faulted { error: error.at("/input"), path: None, not_undone: Vec::new() };
                self.note(Transition::Ended { ending });
                false
            }
        }
    }

    fn forward(&mut self) {
        let definition = self.ground.definition;
        let input = self.state.input.clone().unwrap_or_default();
        let error = match self.list(&definition.tasks, "/do", &input, &Vec::new()) {
            Flow::Done(output, _) => match self.finished(&output) {
                Ok(output) => return self.note(Transition::Ended { ending: Ending::Completed { output } }),
                Err(error) => (error.at("/output"), None),
            },
            Flow::Failed(error, path) => (error, Some(path)),
            Flow::Pending => match self.overdue() {
                Some(error) => (error, None),
                None => return,
            },
        };
        let (error, path) = error;
        // What is to be done outside for a run that failed is not done any more.
        self.decided.effects.clear();
        if self.state.done.is_empty() {
            let ending = Ending::Faulted { error, path, not_undone: Vec::new() };
            self.note(Transition::Ended { ending });
        } else {
            self.note(Transition::Undoing { error: Some(error) });
        }
    }

    fn finished(&self, output: &Value) -> Result<Value, Error> {
        let definition = self.ground.definition;
        let output = self.mapped(&definition.output, output, None, &Vec::new())?;
        schema(definition.output.schema.as_ref(), &output, "output")?;
        fits(&output)?;
        Ok(output)
    }

    /// The error of a run whose time is over.
    fn overdue(&mut self) -> Option<Error> {
        let span = self.ground.definition.timeout.clone()?;
        let input = self.ground.input;
        match self.span_ms(&span, input, &self.scope(None, None, None, &[])) {
            Ok(ms) => {
                let due_ms = self.state.began_ms.saturating_add(ms);
                if self.ground.now_ms >= due_ms {
                    return Some(Error::timeout(format!("the run has taken longer than {ms} ms")).at("/timeout"));
                }
                self.wake(due_ms);
                None
            }
            Err(error) => Some(error.at("/timeout")),
        }
    }

    /// Undoes what was done, the last first.
    fn undo(&mut self) {
        let mut not_undone = Vec::new();
        let definition = self.ground.definition;
        for place in (0..self.state.done.len()).rev() {
            let done = self.state.done[place].clone();
            let Some(task) = super::model::find(definition, &done.reference) else { continue };
            let input = json!({ "input": done.input, "output": done.output });
            match self.list(&task.undo, &format!("/undo/{place}"), &input, &Vec::new()) {
                Flow::Pending => return,
                Flow::Failed(error, _) => not_undone.push(error),
                Flow::Done(..) => {}
            }
        }
        let ending = match (self.state.undoing.clone().flatten(), self.state.cancel.clone()) {
            (Some(error), _) => Ending::Faulted { error, path: None, not_undone },
            (None, Some((by, reason))) => Ending::Cancelled { by, reason, not_undone },
            (None, None) => Ending::Cancelled { by: String::new(), reason: None, not_undone },
        };
        self.note(Transition::Ended { ending });
    }

    /// Tasks one after the other, from where the list stands.
    fn list(&mut self, tasks: &[Task], path: &str, input: &Value, locals: &Locals) -> Flow {
        let start = || Cursor { place: 0, data: input.clone(), visits: HashMap::new() };
        let mut cursor = self.state.cursors.remove(path).unwrap_or_else(start);
        while let Some(task) = tasks.get(cursor.place) {
            let visit = cursor.visits.get(&cursor.place).copied().unwrap_or(0);
            let again = if visit > 0 { format!("#{visit}") } else { String::new() };
            let own = format!("{path}/{}/{}{again}", cursor.place, super::source::segment(&task.name));
            match self.task(task, &own, &cursor.data, locals) {
                Flow::Pending => {
                    self.state.cursors.insert(path.to_owned(), cursor);
                    return Flow::Pending;
                }
                failed @ Flow::Failed(..) => return failed,
                Flow::Done(output, next) => {
                    cursor.visits.insert(cursor.place, visit + 1);
                    cursor.data = output;
                    cursor.place = match next {
                        Next::Continue => cursor.place + 1,
                        Next::Exit => tasks.len(),
                        Next::End => return Flow::Done(cursor.data, Next::End),
                        // Validation saw that there is one.
                        Next::To(name) => tasks.iter().position(|task| task.name == name).unwrap_or(tasks.len()),
                    };
                }
            }
        }
        Flow::Done(cursor.data, Next::Continue)
    }

    /// One task.
    fn task(&mut self, task: &Task, path: &str, raw: &Value, locals: &Locals) -> Flow {
        match self.state.frames.get(path).and_then(|frame| frame.outcome.clone()) {
            Some(Outcome::Done(output, next)) => return Flow::Done(output, next),
            Some(Outcome::Failed(error)) => return Flow::Failed(error, path.to_owned()),
            None => {}
        }
        if self.full() {
            return Flow::Pending;
        }
        if self.state.steps >= STEPS_MAX {
            let error =
                Error::standard("runtime", 500, "too many steps", format!("a run has at most {STEPS_MAX} tasks"));
            return Flow::Failed(error.at(&task.at), path.to_owned());
        }
        let input = match self.entered(task, path, raw, locals) {
            Ok(Some(input)) => input,
            Ok(None) => {
                self.note(Transition::Skipped { path: path.to_owned(), output: raw.clone() });
                return Flow::Done(raw.clone(), Next::Continue);
            }
            Err(error) => return self.failed(task, path, error),
        };
        match self.kind(task, path, &input, locals) {
            Flow::Done(output, next) => match self.left(task, path, (raw, input), (output, next), locals) {
                Ok(flow) => flow,
                Err(error) => self.failed(task, path, error),
            },
            Flow::Pending => self.late(task, path),
            failed => failed,
        }
    }

    fn failed(&mut self, task: &Task, path: &str, error: Error) -> Flow {
        let error = error.at(&task.at);
        self.note(Transition::Failed { path: path.to_owned(), error: error.clone() });
        Flow::Failed(error, path.to_owned())
    }

    /// A task that is not done: unless its time is over.
    fn late(&mut self, task: &Task, path: &str) -> Flow {
        let Some(deadline_ms) = self.state.frames.get(path).and_then(|frame| frame.deadline_ms) else {
            return Flow::Pending;
        };
        if self.ground.now_ms < deadline_ms || self.decided.more {
            self.wake(deadline_ms);
            return Flow::Pending;
        }
        // What it has under way outside is given up with it.
        let inside = |other: &String| {
            other.starts_with(path) && (other.len() == path.len() || other[path.len()..].starts_with(['/', '[', '~']))
        };
        self.decided.effects.retain(|other, _| !inside(other));
        self.failed(task, path, Error::timeout(format!("task `{}` has taken too long", task.name)))
    }

    /// The task's input, transformed; `None` when it is left out.
    fn entered(&mut self, task: &Task, path: &str, raw: &Value, locals: &Locals) -> Result<Option<Value>, Error> {
        if let Some(frame) = self.state.frames.get(path).filter(|frame| frame.began_ms > 0) {
            return Ok(Some(frame.input.clone()));
        }
        let key = self.key(path);
        let facts = TaskFacts {
            name: &task.name,
            reference: &task.at,
            input: raw,
            output: None,
            began_ms: self.ground.now_ms,
            key: &key,
        };
        let scope = self.scope(Some(facts), None, None, locals);
        if let Some(condition) = &task.condition
            && !self.evaluator().truth(condition, raw, &scope).map_err(|fault| Error::of_expression(&fault))?
        {
            return Ok(None);
        }
        schema(task.input.schema.as_ref(), raw, "input")?;
        let input = match &task.input.map {
            Some(map) => self.evaluator().template(map, raw, &scope).map_err(|fault| Error::of_expression(&fault))?,
            None => raw.clone(),
        };
        let deadline_ms = match &task.timeout {
            Some(span) => {
                let scope = self.scope(Some(facts), Some(&input), None, locals);
                Some(self.ground.now_ms.saturating_add(self.span_ms(span, &input, &scope)?))
            }
            None => None,
        };
        if !kinds::is_momentary(&task.kind) {
            let (path, raw, input) = (path.to_owned(), raw.clone(), input.clone());
            self.note(Transition::Entered { path, raw, input, deadline_ms });
        }
        Ok(Some(input))
    }

    /// Takes a task's output out.
    fn left(
        &mut self,
        task: &Task,
        path: &str,
        (raw, input): (&Value, Value),
        (output, next): (Value, Next),
        locals: &Locals,
    ) -> Result<Flow, Error> {
        let began_ms = self.state.frames.get(path).map_or(self.ground.now_ms, |frame| frame.began_ms);
        let key = self.key(path);
        let facts =
            TaskFacts { name: &task.name, reference: &task.at, input: raw, output: Some(&output), began_ms, key: &key };
        let transformed = match &task.output.map {
            Some(map) => {
                let scope = self.scope(Some(facts), Some(&input), None, locals);
                self.evaluator().template(map, &output, &scope).map_err(|fault| Error::of_expression(&fault))?
            }
            None => output.clone(),
        };
        schema(task.output.schema.as_ref(), &transformed, "output")?;
        fits(&transformed)?;
        let context = self.exported(&task.export, facts, &input, &transformed, locals)?;
        let undoable = !task.undo.is_empty() && self.state.undoing.is_none();
        let undo = undoable.then(|| UndoNote { reference: task.at.clone(), input });
        let output = transformed;
        self.note(Transition::Done {
            path: path.to_owned(),
            output: output.clone(),
            next: next.clone(),
            context,
            undo,
        });
        Ok(Flow::Done(output, next))
    }

    fn exported(
        &self,
        export: &Filter,
        facts: TaskFacts<'_>,
        input: &Value,
        output: &Value,
        locals: &Locals,
    ) -> Result<Option<Value>, Error> {
        let Some(map) = &export.map else { return Ok(None) };
        let scope = self.scope(Some(facts), Some(input), Some(output), locals);
        let context = self.evaluator().template(map, output, &scope).map_err(|fault| Error::of_expression(&fault))?;
        schema(export.schema.as_ref(), &context, "exported context")?;
        fits(&context)?;
        Ok(Some(context))
    }

    /// What a filter makes of data.
    fn mapped(
        &self,
        filter: &Filter,
        data: &Value,
        task: Option<TaskFacts<'_>>,
        locals: &Locals,
    ) -> Result<Value, Error> {
        let Some(map) = &filter.map else { return Ok(data.clone()) };
        let scope = self.scope(task, None, None, locals);
        self.evaluator().template(map, data, &scope).map_err(|fault| Error::of_expression(&fault))
    }

    fn evaluator(&self) -> Evaluator<'a> {
        Evaluator { programs: self.ground.programs, now_ms: self.ground.now_ms, loose: self.ground.definition.loose }
    }

    /// What an expression of this run sees.
    fn scope<'s>(
        &'s self,
        task: Option<TaskFacts<'s>>,
        input: Option<&'s Value>,
        output: Option<&'s Value>,
        locals: &'s [(String, Value)],
    ) -> Scope<'s> {
        let Ground { definition, run, input: came, version, .. } = self.ground;
        let run =
            RunFacts { id: run, definition: &definition.value, input: came, began_ms: self.state.began_ms, version };
        let context = self.state.input.is_some().then_some(&self.state.context);
        Scope { context, input, output, task, run, locals }
    }

    fn span_ms(&self, span: &Span, input: &Value, scope: &Scope<'_>) -> Result<i64, Error> {
        match span {
            Span::Ms(ms) => Ok(*ms),
            Span::Expr(expr) => {
                let value = self.evaluator().expr(expr, input, scope).map_err(|fault| Error::of_expression(&fault))?;
                value.as_str().and_then(super::duration::iso_8601).ok_or_else(|| {
                    let fault =
                        Fault::invalid(format!("{value} is not a duration")).hint("an ISO 8601 duration: PT30S");
                    Error::of_expression(&fault)
                })
            }
        }
    }

    /// What a task's effect is known by, however often it is done: the run, the task's instance, and how often it was tried anew.
    fn key(&self, path: &str) -> String {
        let retried = self.state.frames.get(path).map_or(0, |frame| frame.retried);
        format!("{}{path}!{retried}", self.ground.run)
    }
}

/// Holds data to a schema.
fn schema(schema: Option<&Value>, data: &Value, what: &str) -> Result<(), Error> {
    let Some(schema) = schema else { return Ok(()) };
    let invalid =
        |detail: String| Error::standard("validation", 400, format!("the {what} does not fit its schema"), detail);
    let verdict = crate::schema::validate(schema.clone(), data, false).map_err(|fault| invalid(fault.to_string()))?;
    if verdict.valid {
        return Ok(());
    }
    let places = verdict.errors.iter().take(3).map(|error| format!("{}: {}", error.instance_path, error.message));
    Err(invalid(places.collect::<Vec<_>>().join("; ")))
}

/// Refuses data that is too much to be kept.
fn fits(data: &Value) -> Result<(), Error> {
    let size = super::size_of(data);
    if size <= DATA_BYTES_MAX {
        return Ok(());
    }
    let detail =
        format!("the data has {size} bytes, at most {DATA_BYTES_MAX} are kept: pass on less of it (output.as)");
    Err(Error::standard("runtime", 413, "too large", detail))
}

/// A directive as a run keeps it.
fn next(then: &Then) -> Next {
    match then {
        Then::Continue => Next::Continue,
        Then::Exit => Next::Exit,
        Then::End => Next::End,
        Then::To(name) => Next::To(name.clone()),
    }
}
