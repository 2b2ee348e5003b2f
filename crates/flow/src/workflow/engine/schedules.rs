//! Workflows that are started by themselves: each firing once, whichever process sees it first.
//!
//! A schedule's entry says when it fires next. Who fires it moves that on and puts the run down in one commit that expects the entry as it
//! was read. What was missed while nobody was there is fired once, and then it goes on from now.

use std::collections::BTreeSet;

use kernel::Result;
use kernel::bus::READ_MAX;
use kernel::store::{Expect, LIST_MAX, Write};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::book::{SCHEDULES, Stored, parsed, text};
use super::{Engine, NewRun, cloud_event, lost};
use crate::workflow::Definition;
use crate::workflow::error::Error;
use crate::workflow::expression::{Evaluator, RunFacts, Scope};
use crate::workflow::history::Cursors;
use crate::workflow::model::{Consume, Expr, Schedule};
use crate::workflow::walk::{matched, topics};

/// When a workflow is started next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Next {
    /// Which version.
    version: String,
    /// When; none while it waits for its last run's end, or for events.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    at_ms: Option<i64>,
    /// The run that it started last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    last: Option<String>,
    /// How far topics have been read.
    #[serde(default)]
    cursors: Cursors,
    /// Events that came so far: by which filter, and what.
    #[serde(default)]
    events: Vec<(usize, Value)>,
    /// What ties further events to them.
    #[serde(default)]
    correlated: Map<String, Value>,
}

impl Engine {
    /// What has to be written for a definition's schedule: it replaces the one of the version before.
    pub(super) fn scheduled(&self, definition: &Definition, stored: &Stored) -> Result<Write> {
        let key = format!("{}/{}", stored.namespace, stored.name);
        let Some(schedule) = &definition.schedule else { return Ok(Write::delete(SCHEDULES, &key)) };
        let now_ms = self.now_ms();
        let at_ms = match schedule {
            Schedule::Every(ms) => Some(now_ms.saturating_add(*ms)),
            Schedule::Cron(cron) => cron.after(now_ms),
            Schedule::After(_) => Some(now_ms),
            Schedule::On(_) => None,
        };
        let next = Next { version: stored.version.clone(), at_ms, ..Next::default() };
        Ok(Write::put(SCHEDULES, &key, text(&next)?))
    }

    /// Starts what is due. Gives the topics that schedules wait for.
    pub(super) async fn look_at_schedules(&self, now_ms: i64) -> Result<BTreeSet<String>> {
        let mut topics = BTreeSet::new();
        for entry in self.store().list(SCHEDULES, "", None, LIST_MAX).await? {
            let next: Next = parsed(&entry.value, "a schedule")?;
            topics.extend(next.cursors.keys().cloned());
            if next.at_ms.is_some_and(|at_ms| at_ms > now_ms) {
                continue;
            }
            let outcome = self.look_at_schedule(&entry.key, entry.revision, next, now_ms).await;
            match outcome {
                Err(fault) if !lost(&fault) => {
                    tracing::warn!(%fault, workflow = entry.key, "a schedule could not be looked at")
                }
                // Lost to another process: it has fired.
                _ => {}
            }
        }
        Ok(topics)
    }

    async fn look_at_schedule(&self, key: &str, revision: u64, next: Next, now_ms: i64) -> Result<()> {
        let Some((namespace, name)) = key.split_once('/') else { return Ok(()) };
        let definition = self.definition(namespace, name, &next.version).await?;
        match &definition.schedule {
            Some(Schedule::Every(ms)) => {
                let at_ms = next.at_ms.unwrap_or(now_ms);
                // The one after now, in step with those before.
                let missed = (now_ms - at_ms).max(0) / ms;
                let after = Next { at_ms: Some(at_ms + (missed + 1) * ms), ..next.clone() };
                self.fire(key, revision, after, at_ms + missed * ms, Value::Object(Map::new())).await
            }
            Some(Schedule::Cron(cron)) => {
                let at_ms = next.at_ms.unwrap_or(now_ms);
                let after = Next { at_ms: cron.after(now_ms.max(at_ms)), ..next.clone() };
                self.fire(key, revision, after, at_ms, Value::Object(Map::new())).await
            }
            Some(Schedule::After(ms)) => match (&next.last, next.at_ms) {
                (_, Some(at_ms)) => {
                    let after = Next { at_ms: None, ..next.clone() };
                    self.fire(key, revision, after, at_ms, Value::Object(Map::new())).await
                }
                (Some(last), None) => {
                    let ended_ms = match self.book.head(last).await? {
                        Some((head, _)) => head.ended_ms,
                        None => Some(now_ms),
                    };
                    let Some(ended_ms) = ended_ms else { return Ok(()) };
                    let after = Next { at_ms: Some(ended_ms.saturating_add(*ms)), ..next.clone() };
                    self.keep(key, revision, &after).await
                }
                (None, None) => Ok(()),
            },
            Some(Schedule::On(consume)) => self.look_for_start(key, revision, next, consume, &definition).await,
            None => Ok(()),
        }
    }

    async fn keep(&self, key: &str, revision: u64, next: &Next) -> Result<()> {
        let write = Write::put(SCHEDULES, key, text(next)?).expecting(Expect::Revision(revision));
        self.store().commit(vec![write]).await.map(|_| ())
    }

    /// Starts a run and moves the schedule on, together.
    async fn fire(&self, key: &str, revision: u64, mut after: Next, at_ms: i64, input: Value) -> Result<()> {
        let Some((namespace, name)) = key.split_once('/') else { return Ok(()) };
        let Some(stored) = self.book.definition(namespace, name, &after.version).await? else { return Ok(()) };
        let id = super::child_id(&format!("{key}\0{}\0{at_ms}\0{revision}", after.version));
        after.last = Some(id.clone());
        let run = NewRun {
            id: Some(id),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: Some(after.version.clone()),
            input,
            parent: None,
            depth: 0,
        };
        let moved = Write::put(SCHEDULES, key, text(&after)?).expecting(Expect::Revision(revision));
        // Under the role of who defined it.
        self.start_with(run, &stored.by, vec![moved]).await.map(|_| ())
    }

    /// Reads events until there are those that start a run.
    async fn look_for_start(
        &self,
        key: &str,
        revision: u64,
        before: Next,
        consume: &Consume,
        definition: &Definition,
    ) -> Result<()> {
        let reach: Cursors = self.bus.topics().await?.into_iter().map(|topic| (topic.name, topic.last_seq)).collect();
        let mut next = before.clone();
        for topic in topics(consume) {
            let known = next.cursors.contains_key(&topic);
            let reach = reach.get(&topic).copied().unwrap_or(0);
            let after = *next.cursors.entry(topic.clone()).or_insert(reach);
            if !known || reach <= after {
                continue;
            }
            for event in self.bus.read(&topic, after, READ_MAX).await? {
                next.cursors.insert(topic.clone(), event.seq);
                let event = cloud_event(&event);
                let taken = self.takes(consume, &next, event.clone(), definition).await?;
                let Some((filter, correlated)) = taken else { continue };
                next.correlated.extend(correlated);
                next.events.push((filter, event));
                let enough = match consume {
                    Consume::All(filters) => next.events.len() >= filters.len(),
                    _ => true,
                };
                if enough {
                    let input =
                        Value::Array(std::mem::take(&mut next.events).into_iter().map(|(_, event)| event).collect());
                    next.correlated.clear();
                    let at_ms = self.now_ms();
                    // The next events are looked at from where this firing left off.
                    return self.fire(key, revision, next, at_ms, input).await;
                }
            }
        }
        if next == before { Ok(()) } else { self.keep(key, revision, &next).await }
    }

    /// Which filter takes an event that may start a run.
    async fn takes(
        &self,
        consume: &Consume,
        next: &Next,
        event: Value,
        definition: &Definition,
    ) -> Result<Option<(usize, Map<String, Value>)>> {
        let filters = consume.filters().to_vec();
        if filters.is_empty() {
            return Ok(Some((0, Map::new())));
        }
        let used: Vec<usize> = match consume {
            Consume::All(_) => next.events.iter().map(|(filter, _)| *filter).collect(),
            _ => Vec::new(),
        };
        let (known, value, programs) =
            (next.correlated.clone(), definition.value.clone(), std::sync::Arc::clone(&self.programs));
        let (now_ms, version) = (self.now_ms(), self.version);
        let work = move || {
            let run = RunFacts { id: "", definition: &value, input: &Value::Null, began_ms: now_ms, version };
            let scope = Scope { context: None, input: None, output: None, task: None, run, locals: &[] };
            let evaluator = Evaluator { programs: &programs, now_ms, loose: false };
            let evaluate = |program: &str, on: &Value| {
                evaluator.expr(&Expr(program.to_owned()), on, &scope).map_err(|fault| Error::of_expression(&fault))
            };
            for (place, filter) in filters.iter().enumerate().filter(|(place, _)| !used.contains(place)) {
                // A filter that fails on an event does not take it.
                if let Ok(Some(correlated)) = matched(filter, &event, &known, &evaluate) {
                    return Ok(Some((place, correlated)));
                }
            }
            Ok(None)
        };
        self.gate.run("schedule", crate::jq::STACK, work).await
    }
}
