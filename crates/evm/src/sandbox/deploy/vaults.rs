//! The two that keep all their tokens in one contract: Uniswap V4's pool manager and Balancer V2's vault.

use alloy_primitives::U256;
use kernel::Result;
use kernel::chain::{Address, Hash};
use serde_json::json;

use super::super::artefact;
use super::super::plan::Plan;
use super::coins::{Coin, Coins, number};
use super::pools::{self, Pool};

/// The lenders' deployments.
pub(super) const UNISWAP_V4: &str = "uniswap-v4-pool-manager";
pub(super) const BALANCER: &str = "balancer-v2-vault";

/// The pools of V4, without hooks.
const POOLS: [Pool; 2] =
    [pools::pool(Coin::Usdc, Coin::Weth, 500, 1_250_000, 5), pools::pool(Coin::Dai, Coin::Usdc, 100, 2_000_000, 0)];
/// How far around the price their one position reaches, in steps of ticks.
const REACH: i32 = 2_000;
/// What Balancer's vault holds of every token, in dollars.
const BALANCER_DOLLARS: u64 = 1_000_000;

/// Uniswap V4's manager with a few pools, filled through the helper of its own package.
pub(super) fn uniswap_v4(plan: &mut Plan<'_>, coins: &Coins) -> Result<()> {
    let what = "Uniswap V4 pool manager, from @uniswap/v4-core";
    let manager = plan.deploy(UNISWAP_V4, what, artefact::V4_MANAGER, &[("address", json!(plan.from()))])?;
    let what = "puts liquidity into Uniswap V4's pools, for tests, from @uniswap/v4-core";
    let filler = plan.deploy("uniswap-v4-liquidity", what, artefact::V4_LIQUIDITY, &[("address", json!(manager))])?;
    coins.approve(plan, filler)?;
    for pool in &POOLS {
        let (first, second) = coins.sorted(pool.a, pool.b);
        let (sides, spacing) = (pool.sides(coins), pools::spacing(pool.fee));
        let key = json!([coins.at(first), coins.at(second), pool.fee, spacing, Address::default()]);
        let initialize = "initialize((address,address,uint24,int24,address),uint160)";
        plan.call(manager, initialize, &[key.clone(), number(pools::root_price(sides))])?;
        let middle = pools::centre(sides, spacing);
        let position =
            json!([middle - REACH * spacing, middle + REACH * spacing, number(liquidity(sides)), Hash::default()]);
        let modify = "modifyLiquidity((address,address,uint24,int24,address),(int24,int24,int256,bytes32),bytes)";
        plan.call(filler, modify, &[key, position, json!("0x")])?;
    }
    Ok(())
}

/// The liquidity that both sides make when they are spread over all prices: √(first · second).
fn liquidity((first, second): (U256, U256)) -> U256 {
    let product: U256 = first * second;
    product.root(2)
}

/// Balancer's vault, which holds what was paid into accounts within it.
pub(super) fn balancer(plan: &mut Plan<'_>, coins: &Coins) -> Result<()> {
    let admin = [("address", json!(plan.from()))];
    let authorizer = plan.place(artefact::BALANCER_AUTHORIZER, &admin)?;
    let windows = [("uint256", json!(0)), ("uint256", json!(0))];
    let args = [("address", json!(authorizer)), ("address", json!(coins.at(Coin::Weth)))];
    let what = "Balancer V2 vault, from @balancer-labs/v2-deployments";
    let vault = plan.deploy(BALANCER, what, artefact::BALANCER_VAULT, &[args, windows].concat())?;
    coins.approve(plan, vault)?;
    // Operations of kind 0 deposit.
    let deposit = |coin: Coin| {
        let amount = number(coin.worth(U256::from(BALANCER_DOLLARS * 100)));
        json!([0, coins.at(coin), amount, plan.from(), plan.from()])
    };
    let deposits = json!(Coin::ALL.map(deposit));
    plan.call(vault, "manageUserBalance((uint8,address,uint256,address,address)[])", &[deposits])
}
