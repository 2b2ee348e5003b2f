//! News told to all processes of a fleet at once: that the store changed, that an event was published, that a task may be claimed.
//!
//! Invariants:
//! - News are hints to look. What they tell of stands in the database before they are told, so one that is lost costs time and nothing else:
//!   whoever waits looks by itself too, only less often while it is told ([`LOOK_WHEN_TOLD`](crate::signal::LOOK_WHEN_TOLD)).
//! - Nobody who has news waits for it to be told, and there is no queue of them: what is due is a flag for each part. After news of a part comes
//!   a pause, both in telling and in waking, so that a fleet with much to tell does not wake itself all the time.
//! - The way is open when a process hears itself; it says something now and then for that alone. A way that is broken is looked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use crate::reach::Reach;
use crate::signal::{Outlet, Signal};
use crate::{Fault, OnEnd, Result, Tasks};

/// How often a process says something, to hear it.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// How long a process that does not hear itself thinks that the way is open.
const SILENCE: Duration = Duration::from_secs(15);
/// How long telling may take.
const TELL_TIME: Duration = Duration::from_secs(2);
/// How long beginning to listen may take.
const LISTEN_TIME: Duration = Duration::from_secs(5);
/// The pause after news: how often a part's waiters are woken by others at most.
const PAUSE: Duration = Duration::from_millis(50);
/// What a process says to hear it.
const BEAT: &str = "beat";

/// Port: tells all who listen.
#[async_trait]
pub trait Fanout: Send + Sync {
    /// Tells everybody who listens, this process too. It was passed on when this returns.
    async fn tell(&self, news: &str) -> Result<()>;

    /// Listens: what is told after this has returned comes out, each teller's in its order, until the way breaks, which ends it.
    async fn listen(&self) -> Result<BoxStream<'static, String>>;
}

/// The signals of a process's ports, by what they are of.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// The store's: a commit.
    pub store: Arc<Signal>,
    /// The bus's: an event.
    pub bus: Arc<Signal>,
    /// The queue's: a task that may be claimed.
    pub queue: Arc<Signal>,
}

impl Signals {
    fn by_name(&self) -> [(&'static str, &Arc<Signal>); 3] {
        [("store", &self.store), ("bus", &self.bus), ("queue", &self.queue)]
    }
}

/// What the teller and those who have news share.
#[derive(Debug, Default)]
struct Desk {
    due: Notify,
    hears: AtomicBool,
}

/// One part's news.
#[derive(Debug)]
struct Part {
    desk: Arc<Desk>,
    news: AtomicBool,
}

impl Outlet for Part {
    fn tell(&self) {
        if !self.news.swap(true, Ordering::AcqRel) {
            self.desk.due.notify_one();
        }
    }

    fn hears(&self) -> bool {
        self.desk.hears.load(Ordering::Acquire)
    }
}

/// Tells others what happens here, and wakes who waits here for what happens elsewhere.
struct Relay {
    port: Arc<dyn Fanout>,
    reach: Arc<Reach>,
    process: String,
    signals: Signals,
    desk: Arc<Desk>,
    parts: Vec<(&'static str, Arc<Part>)>,
}

/// Starts telling what happens in `process`, and hearing what happens in others. `reach` says how it stands.
pub fn start(port: Arc<dyn Fanout>, reach: Arc<Reach>, process: &str, signals: &Signals, tasks: &Tasks) {
    let desk = Arc::new(Desk::default());
    let part = |(name, signal): (&'static str, &Arc<Signal>)| {
        let part = Arc::new(Part { desk: Arc::clone(&desk), news: AtomicBool::new(false) });
        signal.tell_to(Arc::clone(&part) as Arc<dyn Outlet>);
        (name, part)
    };
    let parts = signals.by_name().map(part).into();
    let relay = Arc::new(Relay { port, reach, process: process.into(), signals: signals.clone(), desk, parts });
    for (name, telling) in [("fan-out, telling", true), ("fan-out, hearing", false)] {
        let (relay, stopping) = (Arc::clone(&relay), tasks.stopping());
        tasks.spawn(name, OnEnd::StopOwner, async move {
            let work = async { if telling { relay.tell().await } else { relay.hear().await } };
            tokio::select! {
                () = work => {}
                () = stopping.cancelled() => {}
            }
        });
    }
}

impl Relay {
    async fn tell(&self) {
        let mut beat = Instant::now() + BEAT_EVERY;
        loop {
            tokio::select! {
                () = self.desk.due.notified() => {}
                () = tokio::time::sleep_until(beat) => {
                    beat = Instant::now() + BEAT_EVERY;
                    self.say(BEAT).await;
                }
            }
            let mut told = false;
            for (name, part) in &self.parts {
                // Taken back before it is told: what happens meanwhile is told again.
                if part.news.swap(false, Ordering::AcqRel) && self.desk.hears.load(Ordering::Acquire) {
                    self.say(name).await;
                    told = true;
                }
            }
            if told {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn say(&self, what: &str) {
        let told = timeout(TELL_TIME, self.port.tell(&format!("{} {what}", self.process))).await;
        match told {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => self.lost(&fault),
            Err(_) => self.lost(&self.silent("took no news", TELL_TIME)),
        }
    }

    async fn hear(&self) {
        loop {
            match timeout(LISTEN_TIME, self.port.listen()).await {
                Ok(Ok(heard)) => {
                    // Said at once, so that it is known soon whether the way is open.
                    let (ended, ()) = tokio::join!(self.follow(heard), self.say(BEAT));
                    self.lost(&ended);
                }
                Ok(Err(fault)) => self.lost(&fault),
                Err(_) => self.lost(&self.silent("gave no answer", LISTEN_TIME)),
            }
            tokio::time::sleep(self.reach.next_try()).await;
        }
    }

    /// Follows what is told until the way breaks; answers why.
    async fn follow(&self, mut heard: BoxStream<'static, String>) -> Fault {
        let mut until = Instant::now() + SILENCE;
        let mut wakes = self.signals.by_name().map(|(name, signal)| Wake { name, signal, due: false, last: None });
        loop {
            let next = wakes.iter().filter_map(Wake::next).min().map_or(until, |next| next.min(until));
            match timeout_at(next, heard.next()).await {
                Ok(Some(news)) => {
                    let (process, part) = news.split_once(' ').unwrap_or_default();
                    if process == self.process {
                        until = Instant::now() + SILENCE;
                        self.open();
                    } else if let Some(wake) = wakes.iter_mut().find(|wake| wake.name == part) {
                        wake.due = true;
                    }
                }
                Ok(None) => {
                    let place = self.reach.place();
                    return Fault::unavailable(format!("{place} cannot be reached: the connection ended"));
                }
                Err(_) if Instant::now() >= until => return self.silent("passed nothing on", SILENCE),
                Err(_) => {}
            }
            wakes.iter_mut().for_each(Wake::run);
        }
    }

    /// This process has heard itself.
    fn open(&self) {
        self.reach.answered();
        if !self.desk.hears.swap(true, Ordering::AcqRel) {
            // What happened while nobody told.
            self.signals.by_name().iter().for_each(|(_, signal)| signal.wake());
        }
    }

    fn lost(&self, fault: &Fault) {
        self.desk.hears.store(false, Ordering::Release);
        self.reach.lost(fault);
    }

    fn silent(&self, what: &str, time: Duration) -> Fault {
        Fault::unavailable(format!("{} {what} within {} s", self.reach.place(), time.as_secs()))
    }
}

/// A part whose waiters others wake.
struct Wake<'a> {
    name: &'static str,
    signal: &'a Signal,
    due: bool,
    last: Option<Instant>,
}

impl Wake<'_> {
    /// When it is to be done, if it is due and was not done at once.
    fn next(&self) -> Option<Instant> {
        self.last.filter(|_| self.due).map(|last| last + PAUSE)
    }

    /// Does it when it is time.
    fn run(&mut self) {
        let now = Instant::now();
        if self.due && self.last.is_none_or(|last| last + PAUSE <= now) {
            self.signal.wake();
            self.due = false;
            self.last = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::MemoryFanout;
    use crate::metrics::Metrics;
    use crate::signal::LOOK_WHEN_TOLD;

    /// A process's signals, and how its way to the others stands.
    fn process(name: &str, port: &Arc<MemoryFanout>, tasks: &Tasks) -> (Signals, Arc<Reach>) {
        let (signals, reach) =
            (Signals::default(), Reach::new("fanout", "fake", "others look by themselves", &Metrics::default()));
        start(port.clone(), Arc::clone(&reach), name, &signals, tasks);
        (signals, reach)
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let looks = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), looks).await.unwrap_or_else(|_| panic!("{what}"));
    }

    /// Whether this waiter, who finds nothing by looking, is woken within so long.
    async fn woken(signal: &Signal, within: Duration, news: impl FnOnce()) -> bool {
        let waits = signal.wait(|| async { Ok(0) });
        news();
        timeout(within, waits).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_in_one_process_wakes_the_other_at_once_and_each_part_alone() {
        const AT_ONCE: Duration = Duration::from_millis(5);
        let (port, tasks) = (Arc::new(MemoryFanout::default()), Tasks::new());
        let (one, _) = process("one", &port, &tasks);
        let (two, _) = process("two", &port, &tasks);
        // News that come close upon others wait for their turn.
        let rest = || tokio::time::sleep(4 * PAUSE);
        until("both hear", || [&one, &two].iter().all(|of| of.bus.hears_others())).await;
        rest().await;
        assert!(woken(&two.bus, AT_ONCE, || one.bus.raise(7)).await);
        rest().await;
        assert!(woken(&two.queue, AT_ONCE, || one.queue.announce()).await);
        rest().await;
        assert!(woken(&one.store, AT_ONCE, || two.store.raise(1)).await);
        rest().await;
        assert!(!woken(&two.store, AT_ONCE, || one.bus.raise(8)).await);
        rest().await;
        assert!(!woken(&two.bus, AT_ONCE, || one.bus.raise(8)).await, "old news");
        // A hundred at once wake a few times, and the last is not forgotten.
        (9..109).for_each(|number| one.bus.raise(number));
        assert!(woken(&two.bus, AT_ONCE, || ()).await);
        (109..209).for_each(|number| one.bus.raise(number));
        assert!(!woken(&two.bus, AT_ONCE, || ()).await);
        assert!(woken(&two.bus, 3 * PAUSE, || ()).await);
        tasks.drain(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_breaks_is_said_to_be_broken_and_found_again() {
        let (port, tasks) = (Arc::new(MemoryFanout::default()), Tasks::new());
        let (one, reach) = process("one", &port, &tasks);
        let (two, _) = process("two", &port, &tasks);
        let both = |hear: bool| [&one, &two].iter().all(|of| of.bus.hears_others() == hear);
        let mut round = 0;
        for _ in 0..2 {
            until("both hear", || both(true)).await;
            assert!(reach.standing().is_ok());
            port.set_away(true);
            until("both notice", || both(false)).await;
            assert!(reach.standing().is_err());
            // Nothing is lost: whoever waits looks by itself.
            round += 100;
            let found = two.bus.wait(move || async move { Ok(round) });
            timeout(LOOK_WHEN_TOLD, found).await.unwrap();
            port.set_away(false);
        }
        until("both hear", || both(true)).await;
        let waits = two.bus.wait(|| async { Ok(0) });
        one.bus.raise(round + 1);
        timeout(3 * PAUSE, waits).await.unwrap();
        tasks.drain(Duration::from_secs(1)).await;
    }
}
