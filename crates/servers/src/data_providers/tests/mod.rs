//! Every tool, called as a client calls it: against local exchanges, and on a sandbox chain.

mod exchanges;
mod online;
mod world;
