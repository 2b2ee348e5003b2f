//! A publisher made of memory: what it took can be looked at, it can be taken away, and its answers can be lost.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::bus::Event;
use crate::outbox::Publisher;
use crate::{Fault, Result};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryPublisher {
    taken: Mutex<Vec<Event>>,
    away: AtomicBool,
    mute: AtomicBool,
}

impl MemoryPublisher {
    /// What it took, in the order it came.
    pub fn taken(&self) -> Vec<Event> {
        self.taken.lock().clone()
    }

    /// Takes it away, or brings it back.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
    }

    /// The next answer is lost, while what was published is taken.
    pub fn lose_an_answer(&self) {
        self.mute.store(true, Ordering::Release);
    }
}

#[async_trait]
impl Publisher for MemoryPublisher {
    async fn look(&self) -> Result<()> {
        if self.away.load(Ordering::Acquire) { Err(Fault::unavailable("the publisher is away")) } else { Ok(()) }
    }

    async fn publish(&self, events: &[Event]) -> Result<()> {
        self.look().await?;
        self.taken.lock().extend_from_slice(events);
        if self.mute.swap(false, Ordering::AcqRel) { Err(Fault::unavailable("the answer was lost")) } else { Ok(()) }
    }
}
