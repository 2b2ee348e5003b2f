//! Keeping up with the pools: only what a block changed is searched again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use kernel::bus::READ_MAX;
use kernel::chain::{Address, CHAIN_TOPIC};
use kernel::{Code, Fault, Result};
use market::feed::{APPLIED_EVENT, Applied, At, POOLS_TOPIC};
use market::pool::Pool;
use market::search::{Candidate, Search};
use market::{Book, PoolId};
use tokio_util::sync::CancellationToken;

use super::MarketAnalysis;
use crate::trading::path;

/// How long a failure is slept over.
const PAUSE: Duration = Duration::from_secs(1);

/// The search as of the newest block looked at.
#[derive(Default)]
pub(super) struct Follower {
    search: Option<Search>,
    /// Up to which event of the topic it knows.
    cursor: u64,
    ids: HashMap<Address, PoolId>,
    at: Option<At>,
}

/// A small book with the pools of some cycles only, so that nobody waits while they are evaluated.
pub(super) struct Excerpt {
    pub(super) at: At,
    pub(super) book: Book,
    pub(super) candidates: Vec<Cycle>,
    /// How many candidates there are in all.
    pub(super) total: usize,
}

/// A cycle in an excerpt.
pub(super) struct Cycle {
    pub(super) hops: Vec<market::search::Hop>,
    pub(super) start: Address,
    /// Near the best input.
    pub(super) guess: f64,
}

impl Follower {
    /// Follows the book: everything the first time, then what changed.
    fn follow(&mut self, at: At, book: &Book, funding: &[Address], max_hops: usize, changed: &HashSet<Address>) {
        let moved = |address: &Address| {
            book.find(*address).is_some_and(|id| self.ids.get(address).is_some_and(|old| *old != id))
        };
        // The book was read anew, and its places mean other pools.
        let anew = changed.iter().any(moved) || self.at.is_some_and(|old| old.block > at.block && changed.is_empty());
        let search = match &mut self.search {
            Some(search) if !anew => {
                let ids: Vec<PoolId> =
                    changed.iter().filter_map(|one| book.find(*one).or_else(|| self.ids.get(one).copied())).collect();
                search.follow(book, &ids);
                self.ids.extend(changed.iter().filter_map(|address| Some((*address, book.find(*address)?))));
                self.at = Some(at);
                return;
            }
            slot => slot.insert(Search::new(&worths(book, funding), max_hops)),
        };
        self.ids = book.iter().map(|(id, pool)| (pool.address(), id)).collect();
        let all: Vec<PoolId> = book.iter().map(|(id, _)| id).collect();
        search.follow(book, &all);
        self.at = Some(at);
    }
}

/// What a smallest unit of each is worth beside one of the first, for ranking.
fn worths(book: &Book, funding: &[Address]) -> Vec<(Address, f64)> {
    let first = funding.first().copied().unwrap_or_default();
    let worth = |asset: Address| {
        let price = |leg: &path::Leg| leg.pool.spot_price(leg.way).ok().map(|price| price.approximate());
        let legs = path::direct(book, asset, first);
        legs.iter().max_by_key(|leg| path::depth(leg)).and_then(price).filter(|worth| worth.is_finite() && *worth > 0.0)
    };
    funding.iter().map(|asset| (*asset, if *asset == first { 1.0 } else { worth(*asset).unwrap_or(1.0) })).collect()
}

/// The pools of some candidates, taken out of the book.
pub(super) fn excerpt(
    at: At,
    book: &Book,
    search: &Search,
    wanted: impl Fn(Address) -> bool,
    most: usize,
) -> Result<Excerpt> {
    let mut small = Book::default();
    let start = |candidate: &Candidate| search.graph().address(candidate.cycle.start());
    let all: Vec<&Candidate> = search.candidates().iter().filter(|candidate| wanted(start(candidate))).collect();
    let mut candidates = Vec::new();
    for candidate in all.iter().take(most) {
        let mut hops = candidate.cycle.hops().to_vec();
        for hop in &mut hops {
            let pool =
                book.get(hop.pool).ok_or_else(|| Fault::internal("the search names a pool that is not there"))?;
            hop.pool = match small.find(pool.address()) {
                Some(id) => id,
                None => small.join(at.block, pool.clone())?,
            };
        }
        candidates.push(Cycle { hops, start: start(candidate), guess: candidate.input });
    }
    Ok(Excerpt { at, book: small, candidates, total: all.len() })
}

impl MarketAnalysis {
    /// The funding assets that are known here, in the order of preference; at least one.
    pub(super) fn funding(&self) -> Result<Vec<Address>> {
        let found: Vec<Address> = self.config.funding.iter().filter_map(|word| self.coins.find(word).ok()).collect();
        if found.is_empty() {
            return Err(Fault::not_configured(format!(
                "none of the funding assets is known here: {}",
                self.config.funding.join(", ")
            ))
            .hint("give addresses, or the symbols' addresses, under [servers.market-analysis]"));
        }
        Ok(found)
    }

    /// Catches up with the pools, and takes the pools of the best candidates out.
    pub(super) async fn candidates(&self, wanted: impl Fn(Address) -> bool, most: usize) -> Result<Excerpt> {
        let funding = self.funding()?;
        let mut follower = self.follower.lock().await;
        let changed = self.changed(&mut follower).await?;
        let max_hops = self.config.max_hops;
        self.pools.read(|at, book| {
            follower.follow(at, book, &funding, max_hops, &changed);
            let search = follower.search.as_ref().ok_or_else(|| Fault::internal("no search"))?;
            excerpt(at, book, search, wanted, most)
        })?
    }

    /// The pools that changed since the last look.
    async fn changed(&self, follower: &mut Follower) -> Result<HashSet<Address>> {
        let mut changed = HashSet::new();
        if follower.search.is_none() {
            // All pools are looked at anyway: what was told before does not matter.
            let topics = self.bus.topics().await?;
            follower.cursor = topics.iter().find(|topic| topic.name == POOLS_TOPIC).map_or(0, |topic| topic.last_seq);
            return Ok(changed);
        }
        loop {
            let events = self.bus.read(POOLS_TOPIC, follower.cursor, READ_MAX).await?;
            let Some(last) = events.last() else { return Ok(changed) };
            let all = events.len() < READ_MAX;
            if events[0].seq > follower.cursor + 1 {
                // Some were forgotten before they were read.
                follower.search = None;
            }
            follower.cursor = last.seq;
            for event in events.into_iter().filter(|event| event.kind == APPLIED_EVENT) {
                let applied: Applied = serde_json::from_value(event.data)
                    .map_err(|error| Fault::internal(format!("an event of `{POOLS_TOPIC}`: {error}")))?;
                changed.extend(applied.changed);
            }
            if all {
                return Ok(changed);
            }
        }
    }

    /// Follows block by block and keeps what was seen, until the service stops.
    pub(super) async fn keep_following(&self, stopping: CancellationToken) {
        let mut last: Option<At> = None;
        loop {
            // Before the look, so that nothing falls between it and the wait.
            let published = self.bus.published(&[POOLS_TOPIC, CHAIN_TOPIC]);
            let at = self.pools.status().at;
            if at.is_some() && at != last {
                match self.keep().await {
                    Ok(seen) => last = Some(seen),
                    Err(fault) if fault.code == Code::NotConfigured => last = at,
                    Err(fault) => {
                        tracing::warn!(%fault, "opportunities of a block not kept, next try in a moment");
                        tokio::select! {
                            () = stopping.cancelled() => return,
                            () = tokio::time::sleep(PAUSE) => continue,
                        }
                    }
                }
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = published => {}
            }
        }
    }
}
