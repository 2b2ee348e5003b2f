//! What a run is: its transitions, added up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kernel::UnixMs;
use serde_json::{Map, Value};

use super::error::Error;
use super::history::{Cursors, Effect, Ending, Entry, Next, Question, Transition, UndoNote};

/// Where events sent to one run alone are read from: not a topic of the bus.
pub const SIGNALS: &str = "";

/// A run, as far as it has come.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Its input, transformed; none before it began.
    pub input: Option<Value>,
    /// When it began.
    pub began_ms: UnixMs,
    /// `$context`.
    pub context: Value,
    /// Tasks that began or ended, by the path of their instance.
    pub frames: BTreeMap<String, Frame>,
    /// What can be undone, in the order it was done.
    pub done: Vec<Undoable>,
    /// Who wants it to end, and why.
    pub cancel: Option<(String, Option<String>)>,
    /// Whether it undoes what it did, and after which failure.
    pub undoing: Option<Option<Error>>,
    /// Events sent to it alone.
    pub signals: Vec<Value>,
    /// Which of them were consumed: the first is 1.
    pub signals_used: BTreeSet<u64>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// How many tasks were done, left out or failed.
    pub steps: u64,
    /// How many transitions there were.
    pub transitions: u64,
    /// Where lists and loops stand: known from the frames, and kept so that they are not looked for again.
    pub(super) cursors: HashMap<String, Cursor>,
}

/// Where a list or a loop stands.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    pub(super) place: usize,
    pub(super) data: Value,
    pub(super) visits: HashMap<usize, u32>,
}

/// A task that can be undone.
#[derive(Debug, Clone, PartialEq)]
pub struct Undoable {
    /// Where the task stands in the definition.
    pub reference: String,
    /// What it took.
    pub input: Value,
    /// What it gave.
    pub output: Value,
}

/// An instance of a task.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// Its input as it came.
    pub raw: Value,
    /// Its input, transformed.
    pub input: Value,
    /// When it began.
    pub began_ms: UnixMs,
    /// When its time is over.
    pub deadline_ms: Option<UnixMs>,
    /// How often it was tried anew at somebody's wish.
    pub retried: u32,
    /// What it does outside, and what that is known by.
    pub asked: Option<(String, Effect)>,
    /// Until when it waits.
    pub due_ms: Option<UnixMs>,
    /// From where on it reads topics.
    pub cursors: Option<Cursors>,
    /// What it consumed: by which filter, and what.
    pub consumed: Vec<(Option<usize>, Value)>,
    /// What further events must have.
    pub correlated: Map<String, Value>,
    /// What people are asked.
    pub question: Option<Question>,
    /// Who answered, how and why.
    pub answer: Option<(String, bool, Option<String>)>,
    /// Failures that it caught, and when each is tried again.
    pub caught: Vec<(Error, Option<UnixMs>)>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With an output.
    Done(Value, Next),
    /// With a failure.
    Failed(Error),
}

impl State {
    /// What the transitions add up to.
    pub fn of(entries: &[Entry]) -> Self {
        let mut state = Self::default();
        entries.iter().for_each(|entry| state.apply(entry));
        state
    }

    /// Adds one.
    pub fn apply(&mut self, Entry { at_ms, what }: &Entry) {
        self.transitions += 1;
        match what {
            Transition::Began { input } => {
                self.began_ms = *at_ms;
                self.context = input.clone();
                self.input = Some(input.clone());
            }
            Transition::Entered { path, raw, input, deadline_ms } => {
                let frame = self.frames.entry(path.clone()).or_default();
                (frame.raw, frame.input) = (raw.clone(), input.clone());
                (frame.began_ms, frame.deadline_ms) = (*at_ms, *deadline_ms);
            }
            Transition::Asked { path, key, effect } => self.frame(path).asked = Some((key.clone(), effect.clone())),
            Transition::Timed { path, due_ms } => self.frame(path).due_ms = Some(*due_ms),
            Transition::Listened { path, cursors } => self.frame(path).cursors = Some(cursors.clone()),
            Transition::Consumed { path, filter, topic, seq, event, correlated } => {
                if topic == SIGNALS {
                    self.signals_used.insert(*seq);
                }
                let frame = self.frame(path);
                frame.cursors.get_or_insert_default().insert(topic.clone(), *seq);
                frame.consumed.push((*filter, event.clone()));
                frame.correlated.extend(correlated.clone());
            }
            Transition::Questioned { path, question } => self.frame(path).question = Some(question.clone()),
            Transition::Answered { path, by, approved, comment } => {
                self.frame(path).answer = Some((by.clone(), *approved, comment.clone()));
            }
            Transition::Done { path, output, next, context, undo } => {
                self.steps += 1;
                if let Some(context) = context {
                    self.context.clone_from(context);
                }
                if let Some(note) = undo {
                    let UndoNote { reference, input } = note.clone();
                    self.done.push(Undoable { reference, input, output: output.clone() });
                }
                self.end(path, Outcome::Done(output.clone(), next.clone()));
            }
            Transition::Skipped { path, output } => {
                self.steps += 1;
                self.end(path, Outcome::Done(output.clone(), Next::Continue));
            }
            Transition::Failed { path, error } => {
                self.steps += 1;
                self.frame(path).outcome = Some(Outcome::Failed(error.clone()));
            }
            Transition::Caught { path, error, retry_ms } => self.frame(path).caught.push((error.clone(), *retry_ms)),
            Transition::CancelAsked { by, reason } => {
                self.cancel.get_or_insert((by.clone(), reason.clone()));
            }
            Transition::Retried { path, .. } => self.retry(path),
            Transition::Signalled { event } => self.signals.push(event.clone()),
            Transition::Undoing { error } => {
                self.undoing = Some(error.clone());
                self.cursors.clear();
            }
            Transition::Ended { ending } => self.ending = Some(ending.clone()),
        }
    }

    fn frame(&mut self, path: &str) -> &mut Frame {
        self.frames.entry(path.to_owned()).or_default()
    }

    /// Ends a task: nobody looks at what happened inside it any more.
    fn end(&mut self, path: &str, outcome: Outcome) {
        let inside: Vec<String> = self
            .frames
            .range(path.to_owned()..)
            .take_while(|(key, _)| key.starts_with(path))
            .filter(|(key, _)| key[path.len()..].starts_with(['/', '[', '~']))
            .map(|(key, _)| key.clone())
            .collect();
        for key in inside {
            self.frames.remove(&key);
            self.cursors.remove(&key);
        }
        self.frames.insert(path.to_owned(), Frame { outcome: Some(outcome), ..Frame::default() });
    }

    /// Forgets how a task failed, so that it is done again; or wakes one that waits to be.
    fn retry(&mut self, path: &str) {
        self.cursors.clear();
        self.ending = None;
        let frame = self.frame(path);
        if let Some((_, due)) = frame.caught.last_mut()
            && due.is_some()
            && frame.outcome.is_none()
        {
            *due = Some(0);
            return;
        }
        let retried = frame.retried + 1;
        *frame = Frame { retried, ..Frame::default() };
    }
}
