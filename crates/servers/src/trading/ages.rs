//! How long pools have existed: from the time of the block in which their factory told of them.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use kernel::chain::{Address, BlockId, Chain, Hash};
use kernel::{Fault, Result};
use market::feed::{At, Pools};
use market::risk::PoolFacts;
use parking_lot::Mutex;

/// Most blocks whose times are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// Tells ages; remembers the times of blocks, which a hash fixes for good.
pub(crate) struct Ages {
    chain: Arc<dyn Chain>,
    pools: Arc<dyn Pools>,
    times: Mutex<HashMap<Hash, u64>>,
}

impl Ages {
    pub(crate) fn new(chain: Arc<dyn Chain>, pools: Arc<dyn Pools>) -> Self {
        Self { chain, pools, times: Mutex::default() }
    }

    /// Adds to facts about pools how old they were at the end of this block, or why that is not known.
    pub(crate) async fn tell(&self, at: At, facts: &mut [PoolFacts]) {
        let mut ages = Vec::with_capacity(facts.len());
        for facts in facts.iter() {
            ages.push(self.age_seconds(at, facts.address));
        }
        for (facts, age) in facts.iter_mut().zip(join_all(ages).await) {
            match age {
                Ok(age) => facts.age_seconds = Some(age),
                Err(fault) => facts.age_unknown = Some(fault.message),
            }
        }
    }

    async fn age_seconds(&self, at: At, pool: Address) -> Result<u64> {
        let unseen = || Fault::not_found("no factory's event told of it to this process");
        let made = self.pools.made_in(pool).ok_or_else(unseen)?;
        let now = super::head_at(self.chain.as_ref(), at.block).await?.timestamp_seconds;
        Ok(now.saturating_sub(self.time(made.hash).await?))
    }

    async fn time(&self, block: Hash) -> Result<u64> {
        if let Some(time) = self.times.lock().get(&block) {
            return Ok(*time);
        }
        let time = self.chain.block(BlockId::Hash(block)).await?.head.timestamp_seconds;
        let mut times = self.times.lock();
        if times.len() >= REMEMBERED_MAX {
            times.clear();
        }
        times.insert(block, time);
        Ok(time)
    }
}
