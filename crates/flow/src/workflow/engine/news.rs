//! What is new for a run: events that came, runs in it that ended.

use kernel::Result;
use kernel::bus::READ_MAX;

use super::drive::Drive;
use super::{child_id, cloud_event};
use crate::workflow::Definition;
use crate::workflow::error::Error;
use crate::workflow::history::{Cursors, Effect, Ending, Entry, Transition};
use crate::workflow::model::{Kind, Task};
use crate::workflow::walk::Decided;

/// Most events of one topic that are looked at in one walk.
const EVENTS_MAX: usize = 5 * READ_MAX;
/// From how many events without a match on it is written down that they were seen.
const SEEN_AFTER: u64 = 500;

impl Drive {
    /// Results of runs that this one waits for.
    pub(super) async fn read_children(&mut self) -> Result<()> {
        let frames = self.state.frames.iter().filter(|(_, frame)| frame.outcome.is_none());
        let waiting: Vec<(String, String)> = frames
            .filter_map(|(path, frame)| match &frame.asked {
                Some((key, Effect::Workflow { wait: true, .. })) => Some((path.clone(), key.clone())),
                _ => None,
            })
            .collect();
        for (path, key) in waiting {
            let child = self.engine.book.head(&child_id(&key)).await?;
            let result = match child.and_then(|(child, _)| child.ending) {
                Some(Ending::Completed { output }) => Ok(output),
                Some(Ending::Faulted { error, .. }) => Err(error),
                Some(Ending::Cancelled { by, .. }) => Err(Error::standard(
                    "runtime",
                    499,
                    "cancelled",
                    format!("{by} cancelled the workflow that was run"),
                )),
                None => continue,
            };
            self.news.results.insert((path, key), result);
        }
        Ok(())
    }

    /// Events since what the run has seen, and how far topics reach.
    pub(super) async fn read_events(&mut self) -> Result<()> {
        if !listens(&self.definition) {
            return Ok(());
        }
        let topics = self.engine.bus.topics().await?;
        self.news.topics = topics.into_iter().map(|topic| (topic.name, topic.last_seq)).collect();
        let mut from = Cursors::new();
        for frame in self.state.frames.values().filter(|frame| frame.outcome.is_none()) {
            for (topic, seq) in frame.cursors.iter().flatten().filter(|(topic, _)| !topic.is_empty()) {
                let least = from.entry(topic.clone()).or_insert(*seq);
                *least = (*least).min(*seq);
            }
        }
        self.news.events.clear();
        for (topic, mut after) in from {
            for _ in 0..EVENTS_MAX / READ_MAX {
                let page = self.engine.bus.read(&topic, after, READ_MAX).await?;
                let Some(last) = page.last() else { break };
                after = last.seq;
                let full = page.len() == READ_MAX;
                self.news.events.extend(page.iter().map(|event| (topic.clone(), event.seq, cloud_event(event))));
                if !full {
                    break;
                }
            }
        }
        Ok(())
    }

    /// That many events were seen which nobody waits for, so that they are not read again.
    pub(super) fn seen(&mut self, decided: &Decided) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (path, cursors) in decided.listening.iter().filter(|_| !decided.more) {
            let reach = cursors
                .iter()
                .map(|(topic, seq)| (topic.clone(), self.news.topics.get(topic).copied().unwrap_or(*seq).max(*seq)));
            let reach: Cursors = reach.collect();
            let behind = reach.iter().any(|(topic, seq)| seq - cursors.get(topic).copied().unwrap_or(0) > SEEN_AFTER);
            let all_read = cursors
                .iter()
                .all(|(topic, seq)| reach.get(topic).is_none_or(|reach| reach - seq <= EVENTS_MAX as u64));
            if behind && all_read {
                let entry = Entry {
                    at_ms: self.engine.now_ms(),
                    what: Transition::Listened { path: path.clone(), cursors: reach },
                };
                self.state.apply(&entry);
                entries.push(entry);
            }
        }
        entries
    }
}

/// Whether a definition listens anywhere.
fn listens(definition: &Definition) -> bool {
    fn any(tasks: &[Task]) -> bool {
        tasks.iter().any(|task| {
            any(&task.undo)
                || match &task.kind {
                    Kind::Listen(_) => true,
                    Kind::Do(tasks) => any(tasks),
                    Kind::For(each) => any(&each.tasks),
                    Kind::Fork { branches, .. } => any(branches),
                    Kind::Try { tasks, catch } => any(tasks) || any(&catch.tasks),
                    Kind::Function { task, .. } => any(std::slice::from_ref(&**task)),
                    _ => false,
                }
        })
    }
    any(&definition.tasks)
}
