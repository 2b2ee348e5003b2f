//! Shared buckets made of memory.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::limits::Bucket;
use crate::meters::{Buckets, Drawn, Rate};
use crate::{Clock, Result};

/// See the module.
#[derive(Debug)]
pub struct MemoryBuckets {
    clock: Clock,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl MemoryBuckets {
    /// No bucket yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, buckets: Mutex::default() }
    }
}

#[async_trait]
impl Buckets for MemoryBuckets {
    async fn draw(&self, name: &str, rate: Rate, most: u32) -> Result<Drawn> {
        let now_ms = self.clock.now_ms();
        let full = || Bucket::new(rate.per_second, f64::from(rate.burst), now_ms);
        let drawn = self.buckets.lock().entry(name.into()).or_insert_with(full).take_up_to(most, now_ms);
        Ok(drawn.map_or_else(Drawn::WaitMs, Drawn::Tokens))
    }

    async fn look(&self) -> Result<()> {
        Ok(())
    }
}
