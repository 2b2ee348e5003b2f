//! Against a real anvil, each test with its own.

mod chain;
mod contracts;
mod executor;
mod flash;
mod intents;
mod keys;
mod machine;
mod mainnet;
mod pools;
mod proxy;
mod reorg;
mod sandbox;
mod simulation;
mod world;
