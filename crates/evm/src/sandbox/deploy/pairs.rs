//! Exchanges of constant-product pairs.

use alloy_primitives::{B256, U256, keccak256};
use kernel::Result;
use kernel::chain::Address;
use serde_json::json;

use super::super::artefact;
use super::super::plan::Plan;
use super::NEVER;
use super::coins::{Coin, Coins, number};

/// A pair: its tokens, what each side is worth in dollars, and by how many basis points the second token is dearer here than it begins.
type Pair = (Coin, Coin, u64, i64);

const UNISWAP: [Pair; 6] = [
    (Coin::Usdc, Coin::Weth, 2_500_000, 0),
    (Coin::Dai, Coin::Weth, 1_250_000, 0),
    (Coin::Dai, Coin::Usdc, 5_000_000, 0),
    (Coin::Usdt, Coin::Weth, 1_000_000, 35),
    (Coin::Wbtc, Coin::Weth, 1_000_000, -20),
    (Coin::Link, Coin::Weth, 250_000, 60),
];

/// Uniswap V2 and its pairs.
pub(super) fn uniswap(plan: &mut Plan<'_>, coins: &Coins) -> Result<()> {
    let what = "Uniswap V2 factory, from @uniswap/v2-core";
    let factory = plan.deploy(super::V2_FACTORY, what, artefact::V2_FACTORY, &[("address", json!(plan.from()))])?;
    let args = [("address", json!(factory)), ("address", json!(coins.at(Coin::Weth)))];
    let what = "Uniswap V2 router 02, from @uniswap/v2-periphery";
    let router = plan.deploy("uniswap-v2-router", what, artefact::V2_ROUTER, &args)?;
    let code = keccak256(plan.code(artefact::V2_PAIR)?);
    fill(plan, coins, router, &UNISWAP)?;
    for (a, b, ..) in UNISWAP {
        let name = format!("{}-{}", a.name(), b.name());
        let what = format!("Uniswap V2 pair {name}, from @uniswap/v2-core");
        plan.list(format!("uniswap-v2-pair-{name}"), pair(coins, factory, code, a, b), what);
    }
    Ok(())
}

/// Where a factory puts a pair.
fn pair(coins: &Coins, factory: Address, code: B256, a: Coin, b: Coin) -> Address {
    let (first, second) = coins.sorted(a, b);
    let salt = keccak256([coins.at(first).as_slice(), coins.at(second).as_slice()].concat());
    Address(factory.create2(salt, code))
}

fn fill(plan: &mut Plan<'_>, coins: &Coins, router: Address, pairs: &[Pair]) -> Result<()> {
    coins.approve(plan, router)?;
    for (a, b, dollars, dearer_bps) in pairs {
        let cents = U256::from(dollars * 100);
        let more = cents * U256::from(10_000_i64.saturating_add(*dearer_bps).unsigned_abs()) / U256::from(10_000);
        let (of_a, of_b) = (number(a.worth(more)), number(b.worth(cents)));
        let args = [
            json!(coins.at(*a)),
            json!(coins.at(*b)),
            of_a,
            of_b,
            json!(0),
            json!(0),
            json!(plan.from()),
            number(NEVER),
        ];
        plan.call(router, "addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)", &args)?;
    }
    Ok(())
}
