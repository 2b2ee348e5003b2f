//! Words and ports: the vocabulary every crate speaks, and the traits through which the outside is reached.
//!
//! Invariants:
//! - No I/O of its own (the embedded parts that do I/O live in `backends` and `evm`), no SQL, HTTP, MCP or EVM type in a signature.
//! - One error type, [`Fault`], with a stable [`Code`]; one clock, [`Clock`]; one owner of spawned work, [`Tasks`].
//! - A fake lives in [`fake`], calls itself `fake`, and cannot be chosen by configuration.

pub mod aliases;
pub mod audit;
pub mod backoff;
pub mod breaker;
pub mod bus;
pub mod caller;
pub mod catalog;
pub mod chain;
pub mod clock;
pub mod decimal;
pub mod deprecations;
pub mod duties;
pub mod fake;
pub mod fanout;
pub mod fault;
pub mod fleet;
pub mod foundry;
pub mod health;
pub mod ids;
pub mod intents;
pub mod jail;
pub mod keys;
pub mod lead;
pub mod limits;
pub mod locks;
pub mod logs;
pub mod mask;
pub mod meters;
pub mod metrics;
pub mod models;
pub mod offers;
pub mod outbox;
pub mod pattern;
pub mod ports;
pub mod prices;
mod progress;
pub mod queue;
pub mod reach;
pub mod registry;
pub mod secret;
pub mod signal;
pub mod store;
pub mod tasks;
pub mod trace;
pub mod vault;

pub use caller::{Access, Caller, Role};
pub use clock::{Clock, UnixMs};
pub use decimal::Decimal;
pub use fault::{Code, Fault, Result};
pub use ports::Ports;
pub use secret::Secret;
pub use tasks::{OnEnd, Tasks};
pub use trace::Trace;
