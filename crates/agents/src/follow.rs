//! Reads events for an agent, topic by topic, from where it stopped the last time. What was read is read again when the process ended
//! before the agent was done with it: at least once.

use std::sync::Arc;

use kernel::bus::{Bus, Event, FLEET_TOPIC, READ_MAX};
use kernel::store::{Store, Write};
use kernel::{Fault, Result};

/// Where an agent's places on its topics are kept in the store.
const SPACE: &str = "agent_places";

/// An agent's places among the events.
pub(crate) struct Follow {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    agent: &'static str,
    places: Vec<Place>,
}

struct Place {
    topic: &'static str,
    after: u64,
}

impl Follow {
    /// From where the agent stopped on each of `topics`; an agent that never ran begins with what comes.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        agent: &'static str,
        topics: Vec<&'static str>,
    ) -> Result<Self> {
        let known = bus.topics().await?;
        let mut places = Vec::new();
        for topic in topics {
            let after = match store.get(SPACE, &key(agent, topic)).await? {
                Some(entry) => entry.value.parse().map_err(|_| {
                    Fault::internal(format!("the place of agent {agent} on {topic} is damaged: {}", entry.value))
                })?,
                None => known.iter().find(|known| known.name == topic).map_or(0, |known| known.last_seq),
            };
            places.push(Place { topic, after });
        }
        Ok(Self { store, bus, agent, places })
    }

    /// The next events that are wanted; those before them are passed over.
    pub(crate) async fn read(&mut self, wanted: impl Fn(&Event) -> bool) -> Result<Vec<Event>> {
        let mut all = Vec::new();
        for place in &mut self.places {
            loop {
                let events = self.bus.read(place.topic, place.after, READ_MAX).await?;
                let Some(last) = events.last().map(|event| event.seq) else { break };
                place.after = last;
                let before = all.len();
                all.extend(events.into_iter().filter(|event| wanted(event)));
                if all.len() > before {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// Says that the agent is done with what was read.
    pub(crate) async fn done(&self) -> Result<()> {
        let put = |place: &Place| Write::put(SPACE, &key(self.agent, place.topic), place.after.to_string());
        self.store.commit(self.places.iter().map(put).collect()).await.map(|_| ())
    }
}

fn key(agent: &str, topic: &str) -> String {
    if topic == FLEET_TOPIC { agent.to_owned() } else { format!("{agent}/{topic}") }
}
