//! The language, held to expectations written from its specification; and what the engine promises.

mod features;
mod policies;
pub(super) mod replay;
mod validation;

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::error::Error;
use super::expression::Programs;
use super::history::{Effect, Ending, Entry, Transition};
use super::state::State;
use super::walk::{Ground, News, walk};
use super::{Definition, validate};
use crate::bounded::Gate;

/// What the outside of a run does in a test.
#[derive(Default)]
pub(super) struct Script {
    /// Results of calls, by the name of the tool, in order.
    pub(super) results: Vec<(&'static str, Value)>,
    /// Events, as they come.
    pub(super) events: Vec<Value>,
    /// Moments at which the run is cancelled: when so many effects were asked for.
    pub(super) cancel_after: Option<usize>,
    /// Whether nothing is remembered from walk to walk but what was written down.
    pub(super) forgetful: bool,
}

/// A run to its end, or to where it waits.
pub(super) struct Ran {
    pub(super) entries: Vec<Entry>,
    pub(super) effects: Vec<String>,
    pub(super) ending: Option<Ending>,
    pub(super) now_ms: i64,
}

pub(super) const BEGAN_MS: i64 = 1_794_729_600_000;

/// The head of a definition, with these tasks under `do`.
pub(super) fn head(rest: &str) -> String {
    format!("document: {{ dsl: '1.0.3', namespace: test, name: tried, version: '0.1.0' }}\n{rest}")
}

pub(super) fn defined(rest: &str) -> Definition {
    validate(&head(rest)).unwrap().into_definition().unwrap_or_else(|fault| panic!("{fault}"))
}

/// Runs a definition on `input`. Time passes as the run waits for it; a wait for nothing ends the run here.
pub(super) fn run_with(definition: &Definition, input: &Value, script: Script) -> Ran {
    let programs = Programs::default();
    let (mut state, mut entries, mut effects) = (State::default(), Vec::new(), Vec::new());
    let mut now_ms = BEGAN_MS;
    let mut results: VecDeque<_> = script.results.into();
    let mut events: Vec<(String, u64, Value)> = Vec::new();
    let mut to_come: VecDeque<Value> = script.events.into();
    let mut news = News::default();
    for _ in 0..10_000 {
        news.topics = [("workflows".to_owned(), events.len() as u64), ("fleet".to_owned(), 0)].into();
        news.events.clone_from(&events);
        if script.forgetful {
            state = State::of(&entries);
        }
        let ground = Ground { definition, run: "run_1", input, programs: &programs, version: "0.0.0-test", now_ms };
        let decided = walk(ground, &mut state, &news);
        entries.extend(decided.entries);
        news.results.clear();
        if state.ending.is_some() {
            break;
        }
        if script.cancel_after.is_some_and(|count| effects.len() >= count) && state.cancel.is_none() {
            let entry = Entry { at_ms: now_ms, what: Transition::CancelAsked { by: "ann".into(), reason: None } };
            state.apply(&entry);
            entries.push(entry);
            continue;
        }
        if let Some((path, (key, effect))) = decided.effects.into_iter().next() {
            effects.push(shown(&effect));
            let result = outcome(&effect, &mut results);
            news.results.insert((path, key), result);
        } else if let Some(event) = to_come.pop_front().filter(|_| !decided.listening.is_empty()) {
            events.push(("workflows".into(), events.len() as u64 + 1, event));
        } else if let Some(due_ms) = decided.wake_ms {
            now_ms = now_ms.max(due_ms);
        } else if !decided.more {
            break;
        }
    }
    Ran { entries, effects, ending: state.ending, now_ms }
}

fn outcome(effect: &Effect, results: &mut VecDeque<(&'static str, Value)>) -> Result<Value, Error> {
    let tool = match effect {
        Effect::Tool { tool, .. } => tool,
        Effect::Emit { event, .. } => return Ok(event.clone()),
        _ => return Ok(json!(null)),
    };
    let place = results.iter().position(|(name, _)| name == tool);
    match place.and_then(|place| results.remove(place)) {
        Some((_, Value::Object(fields))) if fields.contains_key("fails") => {
            let status = fields["fails"].as_u64().unwrap() as u16;
            Err(Error::standard("runtime", status, "failed", format!("{tool} failed")))
        }
        Some((_, value)) => Ok(value),
        None => Ok(json!({ "called": tool })),
    }
}

/// An effect in a few words.
pub(super) fn shown(effect: &Effect) -> String {
    match effect {
        Effect::Tool { tool, arguments, .. } => format!("{tool}{arguments}"),
        Effect::Emit { event, topic } => format!("emit {} {} on {topic}", event["type"], event["data"]),
        other => serde_json::to_string(other).unwrap(),
    }
}

impl Ran {
    /// The end in a line: the output, the error, or what it waits for.
    pub(super) fn line(&self) -> String {
        match &self.ending {
            Some(Ending::Completed { output }) => output.to_string(),
            Some(Ending::Faulted { error, not_undone, .. }) if not_undone.is_empty() => format!("faulted: {error}"),
            Some(Ending::Faulted { error, not_undone, .. }) => {
                format!("faulted: {error}; not undone: {}", not_undone.len())
            }
            Some(Ending::Cancelled { by, .. }) => format!("cancelled by {by}"),
            None => "waits".into(),
        }
    }
}

/// Computes on a stack that jq can use.
pub(super) async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let gate = Gate::new(kernel::Tasks::new(), 1, std::time::Duration::from_secs(60));
    gate.run("test", crate::jq::STACK, move || Ok(work())).await.unwrap()
}

/// The end of a run, and what it did outside.
pub(super) async fn ran(rest: &'static str, input: Value, script: Script) -> String {
    computed(move || {
        let ran = run_with(&defined(rest), &input, script);
        let effects = if ran.effects.is_empty() { String::new() } else { format!("[{}] ", ran.effects.join(", ")) };
        format!("{effects}{}", ran.line())
    })
    .await
}
