//! All pools that are followed, and the way back.
//!
//! Every change is remembered with its block and with what undoes it. A reorganisation is rolled back from memory alone: the changes of the
//! blocks that left are undone, newest first, whether a pool traded, joined or left. How far back that goes is for whoever calls
//! [`forget`](Book::forget_before) to say; deeper than that a snapshot must be loaded anew, and [`roll_back`](Book::roll_back) says so.

use std::collections::{BTreeSet, HashMap, VecDeque};

use kernel::chain::Address;
use serde::{Deserialize, Serialize};

use crate::pool::{AnyPool, Event, Pool};
use crate::{Error, Result};

/// A pool's place in its [`Book`]. Places are not used again, so an old id never means a new pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PoolId(pub u32);

/// The pools.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Shape", into = "Shape")]
pub struct Book {
    pools: Vec<Option<AnyPool>>,
    places: HashMap<Address, PoolId>,
    journal: VecDeque<Change>,
    /// The newest block changed.
    newest: u64,
    /// The oldest block whose changes can still be undone.
    oldest: u64,
    changed: BTreeSet<PoolId>,
}

#[derive(Serialize, Deserialize)]
struct Shape {
    pools: Vec<Option<AnyPool>>,
    journal: VecDeque<Change>,
    newest: u64,
    oldest: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Change {
    block: u64,
    pool: PoolId,
    undo: Undo,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Undo {
    /// It traded or its liquidity changed: apply this.
    Apply(Event),
    /// It joined: take it out.
    Leave,
    /// It left: put it back.
    Join(Box<AnyPool>),
}

impl From<Shape> for Book {
    fn from(shape: Shape) -> Self {
        let Shape { pools, journal, newest, oldest } = shape;
        let mut book = Self { pools, journal, newest, oldest, ..Self::default() };
        book.places = book.iter().map(|(id, pool)| (pool.address(), id)).collect();
        book.changed = book.places.values().copied().collect();
        book
    }
}

impl From<Book> for Shape {
    fn from(book: Book) -> Self {
        Self { pools: book.pools, journal: book.journal, newest: book.newest, oldest: book.oldest }
    }
}

impl Book {
    /// How many pools there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Every pool, in the order they joined.
    pub fn iter(&self) -> impl Iterator<Item = (PoolId, &AnyPool)> {
        self.pools.iter().enumerate().filter_map(|(place, pool)| Some((PoolId(place as u32), pool.as_ref()?)))
    }

    /// A pool, unless it left.
    pub fn get(&self, id: PoolId) -> Option<&AnyPool> {
        self.pools.get(id.0 as usize)?.as_ref()
    }

    /// Where a pool of this address is.
    pub fn find(&self, address: Address) -> Option<PoolId> {
        self.places.get(&address).copied()
    }

    /// The newest block changed.
    pub fn newest_block(&self) -> u64 {
        self.newest
    }

    /// The oldest block whose changes can still be undone.
    pub fn oldest_block(&self) -> u64 {
        self.oldest
    }

    /// A pool joins as it stands after this block (and after the changes of the block given so far).
    pub fn join(&mut self, block: u64, pool: AnyPool) -> Result<PoolId> {
        let address = pool.address();
        if self.places.contains_key(&address) {
            return Err(Error::KnownPool(address));
        }
        let id = PoolId(u32::try_from(self.pools.len()).map_err(|_| Error::Overflow)?);
        self.note(block, id, Undo::Leave)?;
        self.pools.push(Some(pool));
        self.places.insert(address, id);
        Ok(id)
    }

    /// A pool leaves: it is no longer followed, or no longer trusted.
    pub fn leave(&mut self, block: u64, address: Address) -> Result<PoolId> {
        let id = self.find(address).ok_or(Error::UnknownPool(address))?;
        let pool = self.get(id).ok_or(Error::UnknownPool(address))?.clone();
        self.note(block, id, Undo::Join(Box::new(pool)))?;
        self.take_out(id);
        Ok(id)
    }

    /// What the chain says happened to a pool in this block. Blocks come in order, and a block's events in theirs. A refused event changes
    /// nothing.
    pub fn apply(&mut self, block: u64, address: Address, event: &Event) -> Result<PoolId> {
        self.check_order(block)?;
        let id = self.find(address).ok_or(Error::UnknownPool(address))?;
        let pool = self.pools[id.0 as usize].as_mut().ok_or(Error::UnknownPool(address))?;
        let undo = pool.apply(event)?;
        self.note(block, id, Undo::Apply(undo))?;
        Ok(id)
    }

    /// Undoes all changes of this block and of those after it. Refuses, and changes nothing, where that goes deeper than is remembered.
    pub fn roll_back(&mut self, first_removed: u64) -> Result<()> {
        if first_removed < self.oldest {
            return Err(Error::TooDeep { oldest: self.oldest });
        }
        while let Some(change) = self.journal.pop_back_if(|change| change.block >= first_removed) {
            let place = change.pool.0 as usize;
            match change.undo {
                Undo::Apply(event) => {
                    let pool = self.pools.get_mut(place).and_then(Option::as_mut);
                    pool.ok_or(Error::BadState("the journal names a pool that is not there"))?.apply(&event)?;
                }
                Undo::Leave => self.take_out(change.pool),
                Undo::Join(pool) => {
                    self.places.insert(pool.address(), change.pool);
                    self.pools[place] = Some(*pool);
                }
            }
            self.changed.insert(change.pool);
        }
        self.newest = self.newest.min(first_removed.saturating_sub(1));
        Ok(())
    }

    /// Forgets how to undo the changes of older blocks: they are final, or a snapshot will serve.
    pub fn forget_before(&mut self, block: u64) {
        while self.journal.pop_front_if(|change| change.block < block).is_some() {}
        self.oldest = self.oldest.max(block);
    }

    /// The pools that changed, joined or left since this was asked last, each once, in order.
    pub fn take_changed(&mut self) -> Vec<PoolId> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    fn take_out(&mut self, id: PoolId) {
        if let Some(pool) = self.pools.get_mut(id.0 as usize).and_then(Option::take) {
            self.places.remove(&pool.address());
        }
    }

    fn check_order(&self, block: u64) -> Result<()> {
        if block < self.newest {
            return Err(Error::OutOfOrder { block, newest: self.newest });
        }
        Ok(())
    }

    fn note(&mut self, block: u64, pool: PoolId, undo: Undo) -> Result<()> {
        self.check_order(block)?;
        if self.journal.is_empty() && self.pools.is_empty() {
            self.oldest = block;
        }
        self.newest = block;
        self.journal.push_back(Change { block, pool, undo });
        self.changed.insert(pool);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
