//! The beginning, and one step along the chain.

use std::collections::{HashMap, HashSet, VecDeque};

use kernel::chain::{Address, BlockId, Chain, Hash, Head, Log, LogFilter};
use kernel::{Code, Fault, Result};
use market::Book;
use market::feed::{At, QUARANTINED_EVENT, Quarantined};
use market::pool::Pool;

use super::read::{self, Known};
use super::words::{self, Said};
use super::{Exchange, Followed, Follower, REMEMBERED};

/// What one step changed.
struct Step {
    at: At,
    changed: Vec<Address>,
    rolled_back: u64,
    quarantined: Vec<Quarantined>,
}

impl Follower {
    /// One step towards the head. Returns whether there is more to do.
    pub(super) async fn advance(&self) -> Result<bool> {
        let mut exchanges = self.exchanges();
        if exchanges.is_empty() && self.last_failure.lock().is_none() {
            // A sandbox's are known once it answers: until then there is nothing wrong.
            self.node.height(BlockId::Latest).await?;
            exchanges = self.exchanges();
        }
        if exchanges.is_empty() {
            return Err(Fault::not_configured("no exchange is named whose pools could be followed")
                .hint("name factories under [chain.pools], or start with the sandbox"));
        }
        let at = self.state.read().as_ref().map(|followed| followed.at);
        let Some(at) = at else { return self.begin(&exchanges).await };
        if self.follow_next(at, &exchanges).await? {
            return Ok(true);
        }
        let head = self.node.wire_block(BlockId::Latest).await?.head;
        if head.hash == at.hash {
            return self.audit_if_due().await.map(|()| false);
        }
        let recent: Vec<At> = self.state.read().iter().flat_map(|followed| followed.recent.iter().copied()).collect();
        let Some(base) = self.still_there(at, &recent).await? else {
            tracing::warn!(block = at.block, "the pools are read anew: the chain changed deeper than is remembered");
            *self.state.write() = None;
            return Ok(true);
        };
        let target = head.number.min(base.block + self.node.log_blocks_max);
        if target <= base.block {
            // The chain was only rolled back.
            self.carry_out(base, base, &[], &exchanges).await?;
            return Ok(false);
        }
        let end = self.at(target).await?;
        let filter = LogFilter {
            from: BlockId::Number(base.block + 1),
            to: BlockId::Number(target),
            addresses: Vec::new(),
            topics: vec![words::all()],
        };
        let logs = self.all_logs(filter).await?;
        if self.at(target).await? != end {
            return Ok(true);
        }
        self.carry_out(base, end, &logs, &exchanges).await?;
        self.audit_if_due().await?;
        Ok(target < head.number)
    }

    /// The usual step: head tracking has just seen the next block. Its logs are asked for by its hash, so they are its own whatever the chain
    /// does meanwhile, and nothing else needs asking. Says whether that was it.
    async fn follow_next(&self, at: At, exchanges: &[Exchange]) -> Result<bool> {
        let Some(next) = self.node.heads.tip().filter(|next| next.parent_hash == at.hash) else { return Ok(false) };
        let block = BlockId::Hash(next.hash);
        let filter = LogFilter { from: block, to: block, addresses: Vec::new(), topics: vec![words::all()] };
        // A node that does not know the block, or not yet, is asked in the careful way.
        let Ok(logs) = self.node.logs(&filter).await else { return Ok(false) };
        let end = At { block: next.number, hash: next.hash };
        self.carry_out(at, end, &logs, exchanges).await?;
        self.audit_if_due().await.map(|()| true)
    }

    async fn at(&self, number: u64) -> Result<At> {
        let Head { hash, .. } = self.node.wire_block(BlockId::Number(number)).await?.head;
        Ok(At { block: number, hash })
    }

    /// The newest step's end that is still on the chain.
    async fn still_there(&self, at: At, recent: &[At]) -> Result<Option<At>> {
        for known in std::iter::once(at).chain(recent.iter().rev().copied().filter(|known| *known != at)) {
            match self.at(known.block).await {
                Ok(now) if now == known => return Ok(Some(known)),
                Ok(_) => {}
                Err(fault) if fault.code == Code::NotFound => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(None)
    }

    /// Logs over any range, in pieces that are answered.
    async fn all_logs(&self, filter: LogFilter) -> Result<Vec<Log>> {
        let (BlockId::Number(first), BlockId::Number(last)) = (filter.from, filter.to) else {
            return Err(Fault::internal("a range of blocks without numbers"));
        };
        let (mut from, mut width, mut logs) = (first, self.node.log_blocks_max.max(1), Vec::new());
        while from <= last {
            let to = last.min(from + (width - 1));
            let piece = LogFilter { from: BlockId::Number(from), to: BlockId::Number(to), ..filter.clone() };
            match self.node.logs(&piece).await {
                Ok(some) => {
                    logs.extend(some);
                    from = to + 1;
                }
                Err(fault) if fault.code == Code::TooLarge && width > 1 => width /= 2,
                Err(fault) => return Err(fault),
            }
        }
        Ok(logs)
    }

    /// From the file, else by reading every pool of every exchange.
    async fn begin(&self, exchanges: &[Exchange]) -> Result<bool> {
        let chain_id = self.node.rpc.chain_id().await?;
        if let Some(saved) = self.load(chain_id, exchanges) {
            let recent: Vec<At> = saved.recent.iter().copied().collect();
            // A file of blocks that are not on the chain says nothing of it: taken again and again, it would be read for ever.
            if self.still_there(saved.at, &recent).await?.is_some() {
                *self.state.write() = Some(saved);
                return Ok(true);
            }
        }
        let head = self.node.wire_block(BlockId::Latest).await?.head;
        let first = exchanges.iter().map(|exchange| exchange.from_block).min().unwrap_or(0).min(head.number);
        let filter = LogFilter {
            from: BlockId::Number(first),
            to: BlockId::Number(head.number),
            addresses: exchanges.iter().map(|exchange| exchange.factory).collect(),
            topics: vec![words::made()],
        };
        let (mut known, mut made) = (Vec::new(), HashMap::new());
        for log in self.all_logs(filter).await? {
            if let Some(Said::Made(identity, tick_spacing)) = words::said(&log, exchanges)
                && known.len() < self.config.pools_max
                && self.wanted(identity.tokens)
            {
                known.push(Known { identity, tick_spacing });
                made.extend(block_of(&log).map(|at| (identity.address, at)));
            }
        }
        let mut book = Book::default();
        for pool in read::pools(&self.node, head.hash, &known).await? {
            book.join(head.number, pool)?;
        }
        // Before this there is nothing to go back to.
        book.forget_before(head.number + 1);
        let at = At { block: head.number, hash: head.hash };
        let changed = book.take_changed();
        let changed = changed.into_iter().filter_map(|id| book.get(id).map(Pool::address)).collect();
        let (last_audit, last_save) = (at.block, at.block);
        let recent = VecDeque::from([at]);
        let followed = Followed { at, recent, book, made, quarantined: Vec::new(), last_audit, last_save, audited: 0 };
        *self.state.write() = Some(followed);
        self.save()?;
        self.tell_applied(at, changed, 0).await?;
        Ok(true)
    }

    fn wanted(&self, tokens: [Address; 2]) -> bool {
        self.config.tokens.is_empty() || tokens.iter().all(|token| self.config.tokens.contains(token))
    }

    /// Goes back to `base` if the chain did, applies the logs up to `end`, and tells.
    async fn carry_out(&self, base: At, end: At, logs: &[Log], exchanges: &[Exchange]) -> Result<()> {
        let step = {
            let mut state = self.state.write();
            let Some(followed) = state.as_mut() else { return Ok(()) };
            match self.apply(followed, base, end, logs, exchanges) {
                Ok(step) => step,
                Err(fault) => {
                    // Half a step is none: everything is read anew.
                    *state = None;
                    return Err(fault);
                }
            }
        };
        for quarantined in &step.quarantined {
            tracing::warn!(pool = %quarantined.pool, why = quarantined.why, "a pool is taken out of use");
            self.tell(QUARANTINED_EVENT, quarantined).await?;
        }
        self.tell_applied(step.at, step.changed, step.rolled_back).await?;
        self.save_if_due()
    }

    fn apply(&self, followed: &mut Followed, base: At, end: At, logs: &[Log], exchanges: &[Exchange]) -> Result<Step> {
        let rolled_back = followed.at.block - base.block;
        if rolled_back > 0 {
            followed.book.roll_back(base.block + 1)?;
            followed.recent.retain(|known| known.block <= base.block);
            followed.made.retain(|_, made| made.block <= base.block);
            let back: HashSet<Address> = followed.book.iter().map(|(_, pool)| pool.address()).collect();
            followed.quarantined.retain(|(why, _)| !back.contains(&why.pool));
        }
        let mut quarantined = Vec::new();
        for log in logs {
            let Some(block) = log.block_number else { continue };
            match words::said(log, exchanges) {
                Some(Said::Made(identity, tick_spacing)) => {
                    let room = followed.book.len() < self.config.pools_max && self.wanted(identity.tokens);
                    if room && followed.book.find(identity.address).is_none() {
                        followed.book.join(block, Known { identity, tick_spacing }.new_made()?)?;
                        followed.made.extend(block_of(log).map(|at| (identity.address, at)));
                    }
                }
                Some(Said::Happened(pool, event)) if followed.book.find(pool).is_some() => {
                    if let Err(error) = followed.book.apply(block, pool, &event) {
                        quarantined.extend(followed.take_out(block, pool, &error.to_string())?);
                    }
                }
                _ => {}
            }
        }
        followed.at = end;
        if followed.recent.back() != Some(&end) {
            followed.recent.push_back(end);
        }
        while followed.recent.len() > REMEMBERED {
            followed.recent.pop_front();
        }
        if let Some(oldest) = followed.recent.front() {
            followed.book.forget_before(oldest.block + 1);
        }
        let mut changed: Vec<_> = quarantined.iter().map(|quarantined: &Quarantined| quarantined.pool).collect();
        let ids = followed.book.take_changed();
        changed.extend(ids.into_iter().filter_map(|id| followed.book.get(id).map(Pool::address)));
        Ok(Step { at: end, changed, rolled_back, quarantined })
    }
}

/// The block that a log is in.
fn block_of(log: &Log) -> Option<At> {
    Some(At { block: log.block_number?, hash: log.block_hash? })
}

impl Followed {
    /// A pool leaves the book until it has been read anew.
    pub(super) fn take_out(&mut self, block: u64, pool: Address, why: &str) -> Result<Option<Quarantined>> {
        let Some(found) = self.book.find(pool).and_then(|id| self.book.get(id)).cloned() else { return Ok(None) };
        self.book.leave(block, pool)?;
        let quarantined = Quarantined { pool, block, why: why.to_owned() };
        self.quarantined.push((quarantined.clone(), found));
        Ok(Some(quarantined))
    }

    pub(super) fn hash(&self) -> Hash {
        self.at.hash
    }
}
