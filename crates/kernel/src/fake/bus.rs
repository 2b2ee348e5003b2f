//! The bus made of memory.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::bus::{self, Bus, Event, NewEvent, Topic};
use crate::signal::{Nudge, Signal};
use crate::{Clock, Result, UnixMs};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryBus {
    clock: Clock,
    topics: Mutex<BTreeMap<String, Held>>,
    published: Signal,
}

#[derive(Debug, Default)]
struct Held {
    last_seq: u64,
    last_at_ms: UnixMs,
    events: VecDeque<Event>,
}

impl MemoryBus {
    /// An empty bus.
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, event: NewEvent) -> Result<u64> {
        bus::check_event(&event)?;
        let at_ms = self.clock.now_ms();
        let NewEvent { topic, kind, source, trace_id, data } = event;
        let seq = {
            let mut topics = self.topics.lock();
            let held = topics.entry(topic.clone()).or_default();
            held.last_seq += 1;
            held.last_at_ms = at_ms;
            let seq = held.last_seq;
            held.events.push_back(Event { seq, topic: topic.clone(), kind, source, at_ms, trace_id, data });
            seq
        };
        self.published.wake_for([topic.as_str(), bus::ANY_TOPIC]);
        Ok(seq)
    }

    async fn read(&self, topic: &str, after: u64, limit: usize) -> Result<Vec<Event>> {
        bus::check_limit(limit)?;
        let topics = self.topics.lock();
        let Some(held) = topics.get(topic) else { return Ok(Vec::new()) };
        Ok(held.events.iter().filter(|event| event.seq > after).take(limit).cloned().collect())
    }

    async fn topics(&self) -> Result<Vec<Topic>> {
        let topics = self.topics.lock();
        Ok(topics
            .iter()
            .map(|(name, held)| Topic {
                name: name.clone(),
                events: held.events.len() as u64,
                first_seq: held.events.front().map_or(held.last_seq + 1, |event| event.seq),
                last_seq: held.last_seq,
                last_at_ms: held.last_at_ms,
            })
            .collect())
    }

    async fn ends(&self) -> Result<Vec<(String, u64)>> {
        Ok(self.topics.lock().iter().map(|(name, held)| (name.clone(), held.last_seq)).collect())
    }

    async fn forget(&self, before_ms: UnixMs) -> Result<u64> {
        let mut topics = self.topics.lock();
        let mut gone = 0;
        for held in topics.values_mut() {
            let had = held.events.len();
            held.events.retain(|event| event.at_ms >= before_ms);
            gone += (had - held.events.len()) as u64;
        }
        Ok(gone)
    }

    fn published<'a>(&'a self, topics: &[&str]) -> Nudge<'a> {
        // Nobody else can publish here, so there is nothing to look for.
        self.published.wait_for(topics, std::future::pending)
    }
}
