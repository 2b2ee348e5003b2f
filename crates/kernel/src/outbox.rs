//! The fleet's events passed on to programs outside it, by a broker. The bus is the outbox.
//!
//! Invariants:
//! - An event is passed on from where it stands anyway, so however long the broker is away none is lost that the bus still keeps; one that it
//!   does not is told of in the log.
//! - How far a topic has been passed on stands in the store, and moves on after the broker has taken what comes before: each event is passed
//!   on at least once, in its topic's order, and again only where the broker's answer, or the process that waited for it, was lost.
//! - Of all processes the one that leads passes on. Two that think they do are parted by the store: a place moves on only from where it was
//!   when it was read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use crate::bus::{ANY_TOPIC, Bus, Event};
use crate::lead::Lead;
use crate::locks::Elections;
use crate::metrics::Metrics;
use crate::reach::Reach;
use crate::store::{Expect, LIST_MAX, Store, Write};
use crate::{Fault, OnEnd, Result, Tasks};

/// Where the places of topics are kept in the store.
const SPACE: &str = "outbox";
/// What the names of topics begin with that stay inside: the processes' talk among themselves.
const INSIDE: char = '_';
/// The election of the process that passes on.
const ELECTION: &str = "fleet.outbox";
/// Most events that are published before the broker's answer is waited for.
const BATCH_MAX: usize = 64;
/// How long publishing so many may take.
const PUBLISH_TIME: Duration = Duration::from_secs(10);
/// How long a look at the broker may take.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// How often a process looks whether the broker is there while it has nothing for it.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a process that does not lead waits before it tries again.
const CANDIDATE_WAIT: Duration = Duration::from_secs(3);
/// The pause after news: what comes close together is published together.
const PAUSE: Duration = Duration::from_millis(20);

/// Port: takes events to programs outside the fleet.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Looks whether it would take events.
    async fn look(&self) -> Result<()>;

    /// Publishes in this order. All were taken for good when this returns; after a fault any of them may have been.
    async fn publish(&self, events: &[Event]) -> Result<()>;
}

/// What the outbox is made of.
#[derive(Clone)]
pub struct Means {
    /// Where events stand.
    pub bus: Arc<dyn Bus>,
    /// Where places are kept.
    pub store: Arc<dyn Store>,
    /// Where processes find the one that passes on.
    pub elections: Elections,
}

/// See the module.
struct Outbox {
    publisher: Arc<dyn Publisher>,
    reach: Arc<Reach>,
    means: Means,
    metrics: Metrics,
}

/// How far a topic has been passed on.
#[derive(Default)]
struct Place {
    seq: u64,
    /// The entry's revision; `None` before there is one.
    revision: Option<u64>,
}

/// Starts passing events on, in the process that leads; `reach` says how it stands with the broker, in every one.
pub fn start(publisher: Arc<dyn Publisher>, reach: Arc<Reach>, means: Means, metrics: &Metrics, tasks: &Tasks) {
    let outbox = Outbox { publisher, reach, means, metrics: metrics.clone() };
    let stopping = tasks.stopping();
    tasks.spawn("outbox", OnEnd::StopOwner, async move {
        let mut lead = Lead::new(outbox.means.elections.clone(), ELECTION.into(), "outbox");
        tokio::select! {
            () = outbox.live(&mut lead) => {}
            () = stopping.cancelled() => {}
        }
        lead.give_up().await;
    });
}

impl Outbox {
    async fn live(&self, lead: &mut Lead) {
        loop {
            let leads = lead.gain().await.unwrap_or_else(|fault| {
                tracing::debug!(%fault, "events not passed on, next try in a moment");
                false
            });
            if leads {
                let ended = tokio::select! {
                    ended = self.pass_on() => ended,
                    () = lead.keep() => Ok(()),
                };
                // Whoever leads now counts them.
                self.metrics.events_waiting.set(0);
                if let Err(fault) = ended {
                    tracing::warn!(%fault, "passing events on was interrupted, next try in a moment");
                }
            }
            self.look().await;
            sleep(CANDIDATE_WAIT).await;
        }
    }

    /// Passes on whatever comes; ends with what the fleet's own parts do not do.
    async fn pass_on(&self) -> Result<()> {
        let mut places = self.places().await?;
        loop {
            let news = self.means.bus.published(&[ANY_TOPIC]);
            if !self.round(&mut places).await? {
                sleep(self.reach.next_try()).await;
                continue;
            }
            tokio::select! {
                () = news => sleep(PAUSE).await,
                () = sleep(LOOK_EVERY) => self.look().await,
            }
        }
    }

    async fn places(&self) -> Result<BTreeMap<String, Place>> {
        let (mut places, mut after) = (BTreeMap::new(), None::<String>);
        loop {
            let page = self.means.store.list(SPACE, "", after.as_deref(), LIST_MAX).await?;
            let full = page.len() == LIST_MAX;
            after = page.last().map(|entry| entry.key.clone());
            for entry in page {
                let seq = entry.value.parse().map_err(|_| {
                    Fault::internal(format!("the place of `{}` in the outbox is damaged: {}", entry.key, entry.value))
                })?;
                places.insert(entry.key, Place { seq, revision: Some(entry.revision) });
            }
            if !full {
                return Ok(places);
            }
        }
    }

    /// Passes on what there is now; says whether the broker took it.
    async fn round(&self, places: &mut BTreeMap<String, Place>) -> Result<bool> {
        let mut ends = self.means.bus.ends().await?;
        ends.retain(|(topic, _)| !topic.starts_with(INSIDE));
        let had = |topic: &str| places.get(topic).map_or(0, |place| place.seq);
        let waiting: u64 = ends.iter().map(|(topic, last)| last.saturating_sub(had(topic))).sum();
        self.metrics.events_waiting.set(gauge(waiting));
        for (topic, last) in ends {
            let place = places.entry(topic.clone()).or_default();
            while place.seq < last {
                let events = self.means.bus.read(&topic, place.seq, BATCH_MAX).await?;
                // Retention may have taken all of them.
                let (first, next) = match (events.first(), events.last()) {
                    (Some(first), Some(next)) => (first.seq, next.seq),
                    _ => (last + 1, last),
                };
                if place.revision.is_some() && first > place.seq + 1 {
                    let lost = first - place.seq - 1;
                    tracing::warn!(topic, lost, "events were forgotten before the broker could take them");
                }
                if !events.is_empty() && !self.publish(&events).await {
                    return Ok(false);
                }
                let expected = place.revision.map_or(Expect::Absent, Expect::Revision);
                let moved = Write::put(SPACE, &topic, next.to_string()).expecting(expected);
                let revision = self.means.store.commit(vec![moved]).await?;
                self.metrics.events_waiting.dec_by(gauge(next.min(last) - place.seq));
                *place = Place { seq: next, revision: Some(revision) };
            }
        }
        Ok(true)
    }

    async fn publish(&self, events: &[Event]) -> bool {
        let taken = self.heard(timeout(PUBLISH_TIME, self.publisher.publish(events)).await, PUBLISH_TIME);
        if taken {
            self.metrics.events_passed_on.inc_by(events.len() as u64);
        }
        taken
    }

    async fn look(&self) {
        self.heard(timeout(LOOK_TIME, self.publisher.look()).await, LOOK_TIME);
    }

    /// Notes what the broker said.
    fn heard<E>(&self, said: Result<Result<()>, E>, time: Duration) -> bool {
        let fault = match said {
            Ok(Ok(())) => {
                self.reach.answered();
                return true;
            }
            Ok(Err(fault)) => fault,
            Err(_) => Fault::unavailable(format!("{} gave no answer within {} s", self.reach.place(), time.as_secs())),
        };
        self.reach.lost(&fault);
        false
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bus::NewEvent;
    use crate::fake::{MemoryPublisher, World};
    use crate::metrics::Metrics;

    /// A fleet's ports, its broker, and processes on them.
    struct Kit {
        world: World,
        broker: Arc<MemoryPublisher>,
    }

    /// A process that passes on while it lives.
    struct Process {
        reach: Arc<Reach>,
        metrics: Metrics,
        tasks: Tasks,
    }

    impl Kit {
        fn new() -> Self {
            Self { world: World::default(), broker: Arc::default() }
        }

        fn process(&self) -> Process {
            let (metrics, tasks) = (Metrics::default(), Tasks::new());
            let reach = Reach::new("events", "a broker", "events wait", &metrics);
            let ports = self.world.ports();
            let elections = Elections::new(ports.leases, ports.clock);
            let means = Means { bus: ports.bus, store: ports.store, elections };
            start(self.broker.clone(), Arc::clone(&reach), means, &metrics, &tasks);
            Process { reach, metrics, tasks }
        }

        async fn happens(&self, topic: &str, count: u64) {
            for n in 0..count {
                let event = NewEvent { topic: topic.into(), ..NewEvent::fleet("a.b", "test", json!({ "n": n })) };
                self.world.ports().bus.publish(event).await.unwrap();
            }
        }

        /// What the broker took of a topic.
        fn taken(&self, topic: &str) -> Vec<u64> {
            let taken = self.broker.taken();
            taken.iter().filter(|event| event.topic == topic).map(|event| event.seq).collect()
        }

        async fn until_taken(&self, topic: &str, wanted: impl IntoIterator<Item = u64>) {
            let wanted: Vec<u64> = wanted.into_iter().collect();
            until(&format!("{wanted:?} of {topic}"), || self.taken(topic) == wanted).await;
        }
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let looks = async {
            while !holds() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(600), looks).await.unwrap_or_else(|_| panic!("{what}"));
    }

    #[tokio::test(start_paused = true)]
    async fn every_event_is_passed_on_once_in_order_and_from_where_the_last_process_stopped() {
        let kit = Kit::new();
        kit.happens("a", 150).await;
        kit.happens("b", 1).await;
        let first = kit.process();
        kit.until_taken("a", 1..=150).await;
        kit.until_taken("b", 1..=1).await;
        kit.happens("b", 2).await;
        kit.until_taken("b", 1..=3).await;
        let figures = first.metrics.render();
        assert!(
            figures.contains("flotilla_events_passed_on_total 153") && figures.contains("flotilla_events_waiting 0")
        );
        assert_eq!(first.tasks.drain(Duration::from_secs(1)).await, 0);
        kit.happens("a", 1).await;
        kit.happens(crate::fleet::CONTROL_TOPIC, 1).await;
        kit.happens("new", 1).await;
        let _second = kit.process();
        kit.until_taken("new", 1..=1).await;
        assert_eq!((kit.taken("a"), kit.taken("b")), ((1..=151).collect(), (1..=3).collect()));
        assert!(kit.taken(crate::fleet::CONTROL_TOPIC).is_empty(), "what processes say to each other stays inside");
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_broker_is_away_events_wait_and_a_lost_answer_has_the_same_events_come_again() {
        let kit = Kit::new();
        kit.broker.set_away(true);
        kit.happens("a", 3).await;
        let process = kit.process();
        until("it is said to be away", || process.reach.standing().is_err()).await;
        kit.happens("a", 2).await;
        until("five wait", || process.metrics.render().contains("flotilla_events_waiting 5")).await;
        assert!(kit.taken("a").is_empty());
        kit.broker.set_away(false);
        kit.until_taken("a", 1..=5).await;
        until("it is said to be back", || process.reach.standing().is_ok()).await;
        kit.broker.lose_an_answer();
        kit.happens("a", 1).await;
        kit.until_taken("a", [1, 2, 3, 4, 5, 6, 6]).await;
        // Without anything to pass on it is missed too.
        kit.broker.set_away(true);
        until("it is missed", || process.reach.standing().is_err()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_process_passes_on_and_another_takes_over_and_both_see_the_broker() {
        let kit = Kit::new();
        let processes = [kit.process(), kit.process(), kit.process()];
        let total = |process: &Process| process.metrics.events_passed_on.get();
        kit.happens("a", 40).await;
        kit.until_taken("a", 1..=40).await;
        until("it is counted", || processes.iter().any(|process| total(process) == 40)).await;
        let (leaders, others): (Vec<_>, Vec<_>) = processes.into_iter().partition(|process| total(process) == 40);
        assert_eq!((leaders.len(), others.iter().map(total).sum::<u64>()), (1, 0), "one passes on");
        kit.broker.set_away(true);
        until("all miss it", || leaders.iter().chain(&others).all(|process| process.reach.standing().is_err())).await;
        kit.broker.set_away(false);
        until("all see it", || leaders.iter().chain(&others).all(|process| process.reach.standing().is_ok())).await;
        assert_eq!(leaders[0].tasks.drain(Duration::from_secs(1)).await, 0);
        kit.happens("a", 10).await;
        kit.until_taken("a", 1..=50).await;
        assert_eq!(others.iter().map(total).sum::<u64>(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_moves_on_only_from_where_it_was_read_and_what_retention_took_is_passed_over() {
        let kit = Kit::new();
        let process = kit.process();
        kit.happens("a", 2).await;
        kit.until_taken("a", 1..=2).await;
        until("the place is kept", || process.metrics.render().contains("flotilla_events_waiting 0")).await;
        // Somebody else who thinks that it leads has passed the third on.
        let store = kit.world.store.clone();
        store.commit(vec![Write::put(SPACE, "a", "3")]).await.unwrap();
        kit.happens("a", 4).await;
        // Refused to move on, it reads the places anew.
        kit.until_taken("a", [1, 2, 3, 4, 5, 6, 4, 5, 6]).await;
        kit.broker.set_away(true);
        kit.happens("a", 2).await;
        kit.happens("gone", 2).await;
        until("they wait", || process.metrics.render().contains("flotilla_events_waiting 4")).await;
        kit.world.clock.advance_ms(1_000);
        kit.world.ports().bus.forget(kit.world.clock.now_ms()).await.unwrap();
        kit.happens("a", 1).await;
        kit.broker.set_away(false);
        kit.until_taken("a", [1, 2, 3, 4, 5, 6, 4, 5, 6, 9]).await;
        until("none waits", || process.metrics.render().contains("flotilla_events_waiting 0")).await;
        assert!(kit.taken("gone").is_empty());
    }
}
