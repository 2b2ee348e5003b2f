//! Against a real anvil, each test with its own.

mod chain;
mod flash;
mod keys;
mod machine;
mod reorg;
mod sandbox;
mod simulation;
mod world;
