//! Reads the fleet's events for an agent, from where it stopped the last time. What was read is read again when the process ended before
//! the agent was done with it: at least once.

use std::sync::Arc;

use kernel::bus::{Bus, Event, FLEET_TOPIC, READ_MAX};
use kernel::store::{Store, Write};
use kernel::{Fault, Result};

/// Where an agent's place on the topic is kept in the store.
const SPACE: &str = "agent_places";

/// An agent's place among the events.
pub(crate) struct Follow {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    agent: &'static str,
    after: u64,
}

impl Follow {
    /// From where the agent stopped; an agent that never ran begins with what comes.
    pub(crate) async fn open(store: Arc<dyn Store>, bus: Arc<dyn Bus>, agent: &'static str) -> Result<Self> {
        let after = match store.get(SPACE, agent).await? {
            Some(entry) => entry.value.parse().map_err(|_| {
                Fault::internal(format!("the place of agent {agent} among the events is damaged: {}", entry.value))
            })?,
            None => {
                let topics = bus.topics().await?;
                topics.iter().find(|topic| topic.name == FLEET_TOPIC).map_or(0, |topic| topic.last_seq)
            }
        };
        Ok(Self { store, bus, agent, after })
    }

    /// The next events whose kind begins with one of `kinds`; those before them are passed over.
    pub(crate) async fn read(&mut self, kinds: &[&str]) -> Result<Vec<Event>> {
        loop {
            let events = self.bus.read(FLEET_TOPIC, self.after, READ_MAX).await?;
            let Some(last) = events.last().map(|event| event.seq) else { return Ok(Vec::new()) };
            self.after = last;
            let wanted: Vec<Event> = events.into_iter().filter(|event| begins(&event.kind, kinds)).collect();
            if !wanted.is_empty() {
                return Ok(wanted);
            }
        }
    }

    /// Says that the agent is done with what was read.
    pub(crate) async fn done(&self) -> Result<()> {
        self.store.commit(vec![Write::put(SPACE, self.agent, self.after.to_string())]).await.map(|_| ())
    }
}

/// Whether `kind` begins with one of `kinds`.
pub(crate) fn begins(kind: &str, kinds: &[&str]) -> bool {
    kinds.iter().any(|start| kind.starts_with(start))
}
