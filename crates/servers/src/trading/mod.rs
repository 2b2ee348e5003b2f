//! What the servers that look at pools share: tokens and their amounts, exact ratios and how they are shown, the exchanges of a chain,
//! paths through pools, and what trades cost and are worth.

pub(crate) mod ages;
pub(crate) mod coins;
pub(crate) mod depth;
pub(crate) mod exchanges;
pub(crate) mod path;
pub(crate) mod pricing;
pub(crate) mod ratio;

use kernel::Result;
use kernel::chain::{BlockId, Chain, Head};
use kernel::health::Check;
use market::feed::Pools;

/// The head of the block that pools or a simulation are of: head tracking may be a moment behind it, or ahead.
pub(crate) async fn head_at(chain: &dyn Chain, block: u64) -> Result<Head> {
    match chain.head().filter(|head| head.number == block) {
        Some(head) => Ok(head),
        None => Ok(chain.block(BlockId::Number(block)).await?.head),
    }
}

/// How the pools stand, as a service that needs them says it.
pub(crate) fn health(pools: &dyn Pools) -> Check {
    let status = pools.status();
    if let Some(failure) = status.last_failure {
        return Check::degraded("pools", failure);
    }
    let taken_out = status.quarantined.len();
    match status.at {
        None => Check::healthy("pools", "none followed yet"),
        Some(at) if taken_out > 0 => {
            Check::degraded("pools", format!("block {}, {taken_out} pools taken out of use", at.block))
        }
        Some(at) => Check::healthy("pools", format!("block {}, {} pools", at.block, status.pools)),
    }
}
