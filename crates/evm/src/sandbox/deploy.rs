//! The market on the sandbox: what is deployed, in which order.

mod aave;
mod coins;
mod feeds;
mod pairs;
mod pools;
mod vaults;

use alloy_primitives::U256;
use kernel::chain::{Address, Deployment};
use kernel::{Fault, Result};

use self::coins::Coins;
pub(super) use self::coins::{Coin, number};
use super::artefact;
use super::plan::Plan;
use super::tools::Tools;
use market::executor;

use crate::Encodings;
use crate::known::{Lender, Lenders};

/// A deadline that never comes.
const NEVER: U256 = U256::MAX;
/// What the first account mints of every token, in dollars, and wraps, in whole coins.
const MINTED_DOLLARS: u64 = 200_000_000;
const WRAPPED_ETHER: u64 = 9_000;

/// Which of the accounts trades at random, and what it has for that: of every token so much in dollars, and so many wrapped coins.
const TRADER: usize = 8;
const TRADERS_DOLLARS: u64 = 100_000_000;
const TRADERS_ETHER: u64 = 9_000;
/// What the executor's owner is sent for gas, in whole coins, where it is none of the funded accounts.
const OWNERS_ETHER: u64 = 100;

/// Which of the accounts tells the feeds their prices.
const REPORTER: usize = 7;

/// The account that tells the feeds their prices.
pub(super) fn reporter(accounts: &[Address]) -> Option<Address> {
    accounts.get(REPORTER).copied()
}

/// The account that swaps at random.
pub(super) fn trader(accounts: &[Address]) -> Option<Address> {
    accounts.get(TRADER).copied()
}

/// All that makes the market, to be sent from the first account of a fresh chain, which has the flash executor when no other owner is named.
pub(super) fn market<'a>(tools: &'a Tools, accounts: &[Address], executor_owner: Option<Address>) -> Result<Plan<'a>> {
    let (Some(from), Some(trader)) = (accounts.first().copied(), trader(accounts)) else {
        return Err(Fault::upstream("the development node has too few unlocked accounts"));
    };
    let executor_owner = executor_owner.unwrap_or(from);
    let mut plan = Plan::new(tools, from);
    let coins = Coins::deploy(&mut plan)?;
    coins.fund(&mut plan, MINTED_DOLLARS, WRAPPED_ETHER)?;
    let routers =
        [pairs::uniswap(&mut plan, &coins)?, pools::uniswap(&mut plan, &coins)?, pairs::sushiswap(&mut plan, &coins)?];
    vaults::uniswap_v4(&mut plan, &coins)?;
    vaults::balancer(&mut plan, &coins)?;
    let feeds = feeds::chainlink(&mut plan)?;
    aave::deploy(&mut plan, &coins, &feeds)?;
    plan.deploy("multicall3", "Multicall3, from viem", artefact::MULTICALL, &[])?;
    let executor = plan.create("flash-executor", executor::creation_code(&Encodings, executor_owner)?.to_vec(), &[])?;
    plan.list("flash-executor", executor, format!("the flash executor of contracts/, whose owner is {executor_owner}"));
    if !accounts.contains(&executor_owner) {
        plan.send(executor_owner, OWNERS_ETHER);
    }
    plan.as_account(trader, |plan| {
        coins.fund(plan, TRADERS_DOLLARS, TRADERS_ETHER)?;
        routers.iter().try_for_each(|router| coins.approve(plan, *router))
    })?;
    Ok(plan)
}

/// Where the trader swaps: a router, the pool's tokens and its fee where the router must be told, and what a side of it is worth in dollars.
pub(super) struct Venue {
    pub(super) router: Address,
    pub(super) fee: Option<u32>,
    pub(super) sides: [(Coin, Address); 2],
    pub(super) dollars: u64,
}

/// The venues among what was deployed, always in the same order.
pub(super) fn venues(deployments: &[Deployment]) -> Vec<Venue> {
    let named = |name: &str| deployments.iter().find(|deployment| deployment.name == name).map(|found| found.address);
    let venue = |router: &str, fee, [a, b]: [Coin; 2], dollars| {
        let sides = [(a, named(a.name())?), (b, named(b.name())?)];
        Some(Venue { router: named(router)?, fee, sides, dollars })
    };
    let uniswap = pairs::UNISWAP.iter().map(|(a, b, dollars, _)| venue("uniswap-v2-router", None, [*a, *b], *dollars));
    let sushi =
        pairs::SUSHISWAP.iter().map(|(a, b, dollars, _)| venue("sushiswap-v2-router", None, [*a, *b], *dollars));
    let pools =
        pools::POOLS.iter().map(|pool| venue("uniswap-v3-router", Some(pool.fee), [pool.a, pool.b], pool.dollars));
    uniswap.chain(sushi).chain(pools).flatten().collect()
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
