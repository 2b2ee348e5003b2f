//! What meters calls: a bucket by name in this process, and, through the port [`Buckets`], one that all processes of the fleet draw from.
//!
//! Invariants:
//! - A process never admits more than its own bucket lets through, so one that cannot reach the others keeps to the limits alone.
//! - All processes together never admit more than the shared bucket gives. They draw a little at once, and what they hold of it and do not
//!   use lapses: at most a 128th of what comes back in that time for each process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::limits::Bucket;
use crate::reach::Reach;
use crate::{Clock, Fault, OnEnd, Result, Tasks, UnixMs};

/// Meters kept before those that are full are forgotten.
const METERS_MAX: usize = 10_000;
/// How long drawn tokens may be used, in milliseconds.
const HELD_MS: i64 = 1_000;
/// What part of a second's tokens is drawn at once.
const DRAWS_PER_SECOND: f64 = 128.0;
/// How long a call waits for the shared bucket before it is let through without it.
const DRAW_TIME: Duration = Duration::from_millis(250);
/// How often a shared place is asked whether it is there.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long that may take.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens that come back each second.
    pub per_second: f64,
    /// Tokens of a full bucket.
    pub burst: u32,
}

impl Rate {
    /// How many tokens are drawn at once.
    fn slice(self) -> u32 {
        (self.per_second.min(f64::from(self.burst)) / DRAWS_PER_SECOND).max(1.0) as u32
    }

    fn full(self, now_ms: UnixMs) -> Bucket {
        Bucket::new(self.per_second, f64::from(self.burst), now_ms)
    }
}

/// What came out of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// So many tokens: at least one, at most as many as were asked for.
    Tokens(u32),
    /// None; in so many milliseconds there is one.
    WaitMs(u64),
}

/// Port: buckets that the processes of a fleet share.
#[async_trait]
pub trait Buckets: Send + Sync {
    /// Takes as many whole tokens out of the bucket `name` as it has, at most `most`, which is at least 1. A bucket that nobody drew from is full.
    async fn draw(&self, name: &str, rate: Rate, most: u32) -> Result<Drawn>;

    /// Whether they are there.
    async fn look(&self) -> Result<()>;
}

/// The meters of a process.
pub struct Meters {
    clock: Clock,
    shared: Option<Shared>,
    meters: Mutex<HashMap<String, Meter>>,
}

/// Buckets that others draw from too, and whether they are there.
#[derive(Clone)]
pub struct Shared {
    /// The buckets.
    pub buckets: Arc<dyn Buckets>,
    /// Whether they are there.
    pub reach: Arc<Reach>,
}

impl Shared {
    /// Starts looking now and then whether they are there.
    pub fn start(&self, tasks: &Tasks) {
        let (shared, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("shared limits, watching", OnEnd::StopOwner, async move {
            tokio::select! {
                () = shared.watch() => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    async fn watch(&self) {
        loop {
            match tokio::time::timeout(LOOK_TIME, self.buckets.look()).await {
                Ok(Ok(())) => self.reach.answered(),
                Ok(Err(fault)) => self.reach.lost(&fault),
                Err(_) => self.reach.lost(&self.silent(LOOK_TIME)),
            }
            let pause = if self.reach.standing().is_ok() { LOOK_EVERY } else { self.reach.next_try() };
            tokio::time::sleep(pause).await;
        }
    }

    async fn draw(&self, name: &str, rate: Rate) -> Option<Drawn> {
        if !self.reach.may_try() {
            return None;
        }
        match tokio::time::timeout(DRAW_TIME, self.buckets.draw(name, rate, rate.slice())).await {
            Ok(Ok(drawn)) => {
                self.reach.answered();
                return Some(drawn);
            }
            Ok(Err(fault)) => self.reach.lost(&fault),
            Err(_) => self.reach.lost(&self.silent(DRAW_TIME)),
        }
        None
    }

    fn silent(&self, time: Duration) -> Fault {
        Fault::unavailable(format!("{} gave no answer within {} ms", self.reach.place(), time.as_millis()))
    }
}

struct Meter {
    bucket: Bucket,
    /// Tokens of the shared bucket that this process holds, and until when.
    held: u32,
    held_until_ms: UnixMs,
    /// Until then the shared bucket has none.
    empty_until_ms: UnixMs,
    /// One of those who wait for tokens draws for all.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Meter {
    fn new(rate: Rate, now_ms: UnixMs) -> Self {
        Self { bucket: rate.full(now_ms), held: 0, held_until_ms: now_ms, empty_until_ms: now_ms, turn: Arc::default() }
    }

    /// Refuses while the shared bucket is known to be empty.
    fn check_shared(&self, now_ms: UnixMs) -> Result<(), u64> {
        let left_ms = self.empty_until_ms - now_ms;
        if left_ms > 0 { Err(left_ms as u64) } else { Ok(()) }
    }

    fn take_held(&mut self, now_ms: UnixMs) -> bool {
        let has = self.held > 0 && now_ms < self.held_until_ms;
        if has {
            self.held -= 1;
        }
        has
    }

    /// Notes what came out of the shared bucket; one token of it is taken at once.
    fn note(&mut self, drawn: Drawn, now_ms: UnixMs) -> Result<(), u64> {
        match drawn {
            Drawn::Tokens(tokens) => {
                self.held = tokens.saturating_sub(1);
                self.held_until_ms = now_ms + HELD_MS;
                Ok(())
            }
            Drawn::WaitMs(wait_ms) => {
                self.empty_until_ms = now_ms + i64::try_from(wait_ms).unwrap_or(HELD_MS).min(HELD_MS);
                Err(wait_ms)
            }
        }
    }
}

impl Meters {
    /// Meters of this process alone, or of all that share those buckets.
    pub fn new(clock: Clock, shared: Option<Shared>) -> Self {
        Self { clock, shared, meters: Mutex::default() }
    }

    /// Takes a token of the meter `name`, or says how many milliseconds until there is one.
    pub async fn take(&self, name: String, rate: Rate) -> Result<(), u64> {
        let Some(turn) = self.take_here(&name, rate)? else { return Ok(()) };
        let Some(shared) = &self.shared else { return Ok(()) };
        let _turn = turn.lock().await;
        // Whoever had the turn before may have drawn for this one too, or found nothing.
        if let Some(meter) = self.meters.lock().get_mut(&name) {
            let now_ms = self.clock.now_ms();
            meter.check_shared(now_ms)?;
            if meter.take_held(now_ms) {
                return Ok(());
            }
        }
        let Some(drawn) = shared.draw(&name, rate).await else { return Ok(()) };
        let now_ms = self.clock.now_ms();
        let mut meters = self.meters.lock();
        meters.entry(name).or_insert_with(|| Meter::new(rate, now_ms)).note(drawn, now_ms)
    }

    /// Takes a token here. `Some` when the shared bucket is to be asked as well.
    fn take_here(&self, name: &str, rate: Rate) -> Result<Option<Arc<tokio::sync::Mutex<()>>>, u64> {
        let now_ms = self.clock.now_ms();
        let mut meters = self.meters.lock();
        let meter = match meters.get_mut(name) {
            Some(meter) => meter,
            None => {
                if meters.len() >= METERS_MAX {
                    meters.retain(|_, meter| !meter.bucket.is_full(now_ms));
                }
                meters.entry(name.to_owned()).or_insert_with(|| Meter::new(rate, now_ms))
            }
        };
        if self.shared.is_some() {
            // Before the process's own bucket: what is refused anyway must not drain it.
            meter.check_shared(now_ms)?;
        }
        meter.bucket.take(now_ms)?;
        if self.shared.is_none() || meter.take_held(now_ms) {
            return Ok(None);
        }
        Ok(Some(Arc::clone(&meter.turn)))
    }
}

#[cfg(test)]
mod tests;
