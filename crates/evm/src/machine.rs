//! Transactions run in this process: a lazy fork of the chain's state, made of what runs on it have asked for.
//!
//! Invariants:
//! - A run that meets an account, a code or a slot that is not in memory stops, what is missing is read from the node, and it is run again.
//!   No thread waits, and a run on warm state makes no request.
//! - What is kept is of a block, by its hash, so nothing has to be dropped when the chain moves or is reorganised; a code is named by its own.
//! - What runs have lately asked for is read again at every new block, all of it in one exchange: state is read from the node, never carried
//!   over. A chain on which nothing is run is asked for nothing.
//! - Ethereum's rules at the Osaka fork. A chain that changes its state without a block (a developer's `anvil_setBalance`) is seen as it was
//!   when first read, until its next block.

mod cache;
mod fork;
mod read;
mod state;
mod tell;
mod view;

pub(crate) use cache::Cache;
pub(crate) use fork::open;
pub(crate) use read::keep_renewed;
