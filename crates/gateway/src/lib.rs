//! The gateway: every server of the fleet and every upstream behind one endpoint, one server alone, or a chosen few.
//!
//! - A [`Part`](part::Part) is one server as the gateway sees it: here, in another process, or a third party's.
//! - The [`Gateway`] holds the parts, names their tools ([`names`]) and addresses ([`uris`]), and hands out a
//!   [`Handler`](mcp::Handler) for what a client asked to see ([`Selector`]).
//!
//! Invariants:
//! - Of a client's parameters only the name (or address) is rewritten; every other byte goes through untouched ([`mcp::splice`]).
//! - A call to a server of this process touches no network. A call is tried again elsewhere only when that cannot do its work twice.
//! - One part that is slow, dead or hostile does not hurt the others.
//! - Nothing here decides what a caller may do by headers, or widens a role: the part's phases decide by the caller it is given.

mod alerts;
pub mod command;
pub mod coordinator;
pub mod events;
mod fleet;
#[cfg(test)]
mod foreign_tests;
pub mod gateway;
mod gather;
mod long;
pub mod names;
pub mod part;
mod readdress;
pub mod remote;
mod route;
pub mod search;
pub mod selector;
pub mod status;
pub mod table;
#[cfg(test)]
mod testing;
pub mod upstream;
pub mod uris;
mod view;

pub use coordinator::Coordinator;
pub use gateway::{Config, Gateway, SERVE, Setup};
pub use selector::Selector;
pub use upstream::{UpstreamSpec, Upstreams};
