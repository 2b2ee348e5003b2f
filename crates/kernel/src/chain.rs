//! Ports: an EVM chain, and contract encodings that need no node.

/// The chain.
pub trait Chain: Send + Sync {}

/// Encodings.
pub trait Abi: Send + Sync {}
