//! The market on the sandbox: what is deployed, in which order.

mod coins;
mod pairs;
mod pools;

use alloy_primitives::U256;
use kernel::Result;
use kernel::chain::Address;

use self::coins::Coins;
use super::plan::Plan;
use super::tools::Tools;

/// The factories whose pairs and pools lend, by their deployments' names.
pub(super) const V2_FACTORY: &str = "uniswap-v2-factory";
pub(super) const V3_FACTORY: &str = "uniswap-v3-factory";

/// A deadline that never comes.
const NEVER: U256 = U256::MAX;
/// What the first account mints of every token, in dollars, and wraps, in whole coins.
const MINTED_DOLLARS: u64 = 200_000_000;
const WRAPPED_ETHER: u64 = 9_000;

/// The names of the tokens' deployments.
pub(super) fn tokens() -> impl Iterator<Item = &'static str> {
    coins::Coin::ALL.into_iter().map(coins::Coin::name)
}

/// All that makes the market, to be sent from this account of a fresh chain.
pub(super) fn market(tools: &Tools, from: Address) -> Result<Plan<'_>> {
    let mut plan = Plan::new(tools, from);
    let coins = Coins::deploy(&mut plan)?;
    coins.fund(&mut plan, MINTED_DOLLARS, WRAPPED_ETHER)?;
    pairs::uniswap(&mut plan, &coins)?;
    pools::uniswap(&mut plan, &coins)?;
    Ok(plan)
}
