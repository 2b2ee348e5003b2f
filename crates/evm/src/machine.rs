//! Transactions run in this process: a lazy fork of the chain's state, made of what runs on it have asked for.
//!
//! Invariants:
//! - A run that meets an account, a code or a slot that is not in memory stops, what is missing is read from the node, and it is run again.
//!   No thread waits, and a run on warm state makes no request.
//! - What is kept is named by its content: a code by its hash, a storage by its root, an account by its block's hash. So nothing has to be
//!   dropped when the chain moves or is reorganised, and a contract whose storage did not change is warm in the next block.
//! - A node without `eth_getProof` tells no roots; there a storage is kept for its block only.
//! - Ethereum's rules at the Osaka fork. A chain that changes its state without a block (a developer's `anvil_setBalance`) is seen as it was
//!   when first read, until its next block.

mod cache;
mod fork;
mod read;
mod tell;
mod view;

pub(crate) use cache::Cache;
pub(crate) use fork::open;
