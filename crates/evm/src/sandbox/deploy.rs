//! The market on the sandbox: what is deployed, in which order.

mod aave;
mod coins;
mod feeds;
mod pairs;
mod pools;
mod vaults;

use alloy_primitives::U256;
use kernel::Result;
use kernel::chain::{Address, Deployment};

use self::coins::{Coin, Coins};
use super::artefact;
use super::plan::Plan;
use super::tools::Tools;
use crate::known::{Lender, Lenders};

/// A deadline that never comes.
const NEVER: U256 = U256::MAX;
/// What the first account mints of every token, in dollars, and wraps, in whole coins.
const MINTED_DOLLARS: u64 = 200_000_000;
const WRAPPED_ETHER: u64 = 9_000;

/// All that makes the market, to be sent from this account of a fresh chain.
pub(super) fn market(tools: &Tools, from: Address) -> Result<Plan<'_>> {
    let mut plan = Plan::new(tools, from);
    let coins = Coins::deploy(&mut plan)?;
    coins.fund(&mut plan, MINTED_DOLLARS, WRAPPED_ETHER)?;
    pairs::uniswap(&mut plan, &coins)?;
    pools::uniswap(&mut plan, &coins)?;
    pairs::sushiswap(&mut plan, &coins)?;
    vaults::uniswap_v4(&mut plan, &coins)?;
    vaults::balancer(&mut plan, &coins)?;
    let feeds = feeds::chainlink(&mut plan)?;
    aave::deploy(&mut plan, &coins, &feeds)?;
    plan.deploy("multicall3", "Multicall3, from viem", artefact::MULTICALL, &[])?;
    Ok(plan)
}

/// The lenders among what was deployed.
pub(super) fn lenders(deployments: &[Deployment]) -> Lenders {
    let named = |name: &str| deployments.iter().find(|deployment| deployment.name == name).map(|found| found.address);
    let lenders = [
        named(vaults::BALANCER).map(|vault| Lender::BalancerV2 { vault }),
        named(vaults::UNISWAP_V4).map(|manager| Lender::UniswapV4 { manager }),
        named(aave::POOL).map(|pool| Lender::AaveV3 { pool }),
        named("uniswap-v3-factory").map(|factory| Lender::UniswapV3 { factory }),
        named("uniswap-v2-factory").map(|factory| Lender::Pairs { name: "uniswap-v2".into(), factory, per_mille: 3 }),
        named("sushiswap-v2-factory").map(|factory| Lender::Pairs {
            name: "sushiswap-v2".into(),
            factory,
            per_mille: 3,
        }),
    ];
    let counters = Coin::ALL.into_iter().filter_map(|coin| named(coin.name())).collect();
    Lenders { lenders: lenders.into_iter().flatten().collect(), counters }
}
