//! The arithmetic of trading: pools as their contracts compute them, and what is decided from them.
//!
//! Invariants:
//! - Pure functions on plain data: no clock, no network, no database, no task. The one exception is [`gate`]: the risk rules over the
//!   kernel's store, here because the servers and the adapters that send must both reach it and may not name each other.
//! - Integers throughout where money is priced, rounded as the contracts round. Floating point ranks candidates, nothing else.
//! - What money depends on is tested against the contracts' own bytecode, not against a second copy of the formula.

mod book;
pub mod conflict;
mod error;
pub mod executor;
pub mod feed;
#[cfg(test)]
mod fixtures;
pub mod gate;
mod graph;
pub mod ledger;
pub mod lender;
pub mod math;
pub mod pool;
pub mod risk;
pub mod route;
pub mod search;
mod signed;
pub mod sizing;
mod text;
pub mod twap;

pub use book::{Book, PoolId};
pub use error::{Error, Result};
pub use graph::{Graph, TokenId};
pub use signed::{Rate, Signed};
