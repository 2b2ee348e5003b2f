//! One suite per port, run on memory and on SQLite: what holds for one must hold for the other.

mod audit;
mod bus;
mod kit;
mod store;
