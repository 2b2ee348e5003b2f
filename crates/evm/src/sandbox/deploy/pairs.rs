//! Exchanges of constant-product pairs.

use alloy_primitives::{B256, U256, b256, keccak256};
use kernel::Result;
use kernel::chain::Address;
use serde_json::json;

use super::super::artefact;
use super::super::plan::Plan;
use super::NEVER;
use super::coins::{Coin, Coins, number};

/// A pair: its tokens, what each side is worth in dollars, and by how many basis points the second token is dearer here than it begins.
pub(super) type Pair = (Coin, Coin, u64, i64);

pub(super) const UNISWAP: [Pair; 6] = [
    (Coin::Usdc, Coin::Weth, 2_500_000, 0),
    (Coin::Dai, Coin::Weth, 1_250_000, 0),
    (Coin::Dai, Coin::Usdc, 5_000_000, 0),
    (Coin::Usdt, Coin::Weth, 1_000_000, 35),
    (Coin::Wbtc, Coin::Weth, 1_000_000, -20),
    (Coin::Link, Coin::Weth, 250_000, 60),
];

pub(super) const SUSHISWAP: [Pair; 5] = [
    (Coin::Usdc, Coin::Weth, 1_500_000, 60),
    (Coin::Dai, Coin::Weth, 750_000, -55),
    (Coin::Usdt, Coin::Usdc, 1_000_000, 25),
    (Coin::Wbtc, Coin::Weth, 500_000, 70),
    (Coin::Link, Coin::Weth, 125_000, -90),
];

/// An exchange: its names, its package, its artefacts, its pairs.
struct Exchange {
    name: &'static str,
    title: &'static str,
    packages: [&'static str; 2],
    factory: &'static str,
    pair: &'static str,
    router: &'static str,
    pairs: &'static [Pair],
}

/// Uniswap V2 and its pairs; its router.
pub(super) fn uniswap(plan: &mut Plan<'_>, coins: &Coins) -> Result<Address> {
    Exchange {
        name: "uniswap-v2",
        title: "Uniswap V2",
        packages: ["@uniswap/v2-core", "@uniswap/v2-periphery"],
        factory: artefact::V2_FACTORY,
        pair: artefact::V2_PAIR,
        router: artefact::V2_ROUTER,
        pairs: &UNISWAP,
    }
    .deploy(plan, coins)
}

/// SushiSwap's first exchange and its pairs; its router.
pub(super) fn sushiswap(plan: &mut Plan<'_>, coins: &Coins) -> Result<Address> {
    Exchange {
        name: "sushiswap-v2",
        title: "SushiSwap",
        packages: ["@sushiswap/core", "@sushiswap/core"],
        factory: artefact::SUSHI_FACTORY,
        pair: artefact::SUSHI_PAIR,
        router: artefact::SUSHI_ROUTER,
        pairs: &SUSHISWAP,
    }
    .deploy(plan, coins)
}

/// The hash of the pairs' creation code on the public chains, which SushiSwap's router computes their addresses with. Compiled here the
/// same source has another hash, for its metadata differ.
const SUSHI_HASH: B256 = b256!("e18a34eb0e04b04f7a0ac29a6e80748dca96319b42c54d679cb821dca90c6303");

impl Exchange {
    fn deploy(&self, plan: &mut Plan<'_>, coins: &Coins) -> Result<Address> {
        let (name, title, [core, periphery]) = (self.name, self.title, self.packages);
        let code = keccak256(plan.code(self.pair)?);
        let what = format!("{title} factory, from {core}");
        let factory =
            plan.deploy(&format!("{name}-factory"), &what, self.factory, &[("address", json!(plan.from()))])?;
        let args = [("address", json!(factory)), ("address", json!(coins.at(Coin::Weth)))];
        let router = plan.create(self.router, replaced(plan.code(self.router)?, SUSHI_HASH, code), &args)?;
        plan.list(format!("{name}-router"), router, format!("{title} router 02, from {periphery}"));
        fill(plan, coins, router, self.pairs)?;
        for (a, b, ..) in self.pairs {
            let pair = format!("{}-{}", a.name(), b.name());
            let what = format!("{title} pair {pair}, from {core}");
            plan.list(format!("{name}-pair-{pair}"), address(coins, factory, code, *a, *b), what);
        }
        Ok(router)
    }
}

/// The code with another word in place of this one.
fn replaced(mut code: Vec<u8>, word: B256, by: B256) -> Vec<u8> {
    let places: Vec<usize> = (0..code.len()).filter(|at| code[*at..].starts_with(word.as_slice())).collect();
    places.into_iter().for_each(|at| code[at..at + 32].copy_from_slice(by.as_slice()));
    code
}

/// Where a factory puts a pair.
fn address(coins: &Coins, factory: Address, code: B256, a: Coin, b: Coin) -> Address {
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
