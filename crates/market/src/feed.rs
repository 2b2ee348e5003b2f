//! Port: the pools of a chain as they are at its head.
//!
//! Who follows the chain fills the book; who quotes and searches looks at it. A look sees one block, never half of one. Each block that
//! was applied is told on the bus, so that nobody has to ask again and again.

use kernel::chain::{Address, Hash};
use kernel::{Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Book;

/// The topic on which blocks that were applied to the pools are told.
pub const POOLS_TOPIC: &str = "pools";
/// The kind of event that an applied block is: its data is an [`Applied`].
pub const APPLIED_EVENT: &str = "pools.applied";
/// The kind of event that a pool taken out of use is, because what it holds is not what the chain says: its data is a [`Quarantined`].
pub const QUARANTINED_EVENT: &str = "pools.quarantined";

/// A block up to which the pools are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct At {
    /// Its number.
    pub block: u64,
    /// Its hash.
    pub hash: Hash,
}

/// A block was applied, or a reorganisation rolled back and its new blocks applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// Up to where the pools are known now.
    #[serde(flatten)]
    pub at: At,
    /// The pools that are not as they were: traded, joined, left, rolled back.
    pub changed: Vec<Address>,
    /// How many blocks were taken back first.
    pub rolled_back: u64,
}

/// A pool that is not used any more until it has been read anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quarantined {
    /// The pool.
    pub pool: Address,
    /// The block at which the difference was seen.
    pub block: u64,
    /// What differs.
    pub why: String,
}

/// How the pools stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedStatus {
    /// Up to where the pools are known; absent until they were first read.
    pub at: Option<At>,
    /// How many are followed.
    pub pools: u64,
    /// Those that are taken out of use.
    pub quarantined: Vec<Quarantined>,
    /// Why the last attempt to follow the chain failed, when it did.
    pub last_failure: Option<String>,
}

/// The port.
pub trait Pools: Send + Sync {
    /// How the pools stand; cheap.
    fn status(&self) -> FeedStatus;

    /// Shows the book as of one block. Nothing is applied while `look` runs, so it must be short.
    ///
    /// # Errors
    /// [`Code::NotConfigured`](kernel::Code::NotConfigured) where no pools are followed,
    /// [`Code::Unavailable`](kernel::Code::Unavailable) until they have been read for the first time.
    fn look(&self, look: &mut dyn FnMut(At, &Book)) -> Result<()>;

    /// The block in which a followed pool's factory told of it; `None` where that was not seen. No request is made.
    fn made_in(&self, pool: Address) -> Option<At>;
}

impl dyn Pools {
    /// What `look` makes of the book.
    ///
    /// # Errors
    /// As [`Pools::look`].
    pub fn read<T>(&self, look: impl FnOnce(At, &Book) -> T) -> Result<T> {
        let (mut look, mut seen) = (Some(look), None);
        self.look(&mut |at, book| seen = look.take().map(|look| look(at, book)))?;
        seen.ok_or_else(|| Fault::internal("the pools were not shown"))
    }
}

/// The pools of a process that follows none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unfollowed;

impl Pools for Unfollowed {
    fn status(&self) -> FeedStatus {
        FeedStatus::default()
    }

    fn look(&self, _: &mut dyn FnMut(At, &Book)) -> Result<()> {
        Err(Fault::not_configured("no pools are followed here").hint("set ETHEREUM_RPC_URL, or start with the sandbox"))
    }

    fn made_in(&self, _: Address) -> Option<At> {
        None
    }
}
