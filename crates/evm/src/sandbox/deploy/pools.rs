//! Uniswap V3: pools of several fees, with positions of several widths, so that swaps cross ticks.

use alloy_primitives::{U256, keccak256};
use kernel::Result;
use kernel::chain::{Abi, Address};
use serde_json::json;

use super::super::artefact;
use super::super::plan::Plan;
use super::NEVER;
use super::coins::{Coin, Coins, number};
use crate::Encodings;

/// A pool: its tokens, its fee in millionths, what each side is worth in dollars, and by how many basis points the second token is dearer
/// here than it begins.
pub(super) struct Pool {
    pub(super) a: Coin,
    pub(super) b: Coin,
    pub(super) fee: u32,
    pub(super) dollars: u64,
    dearer_bps: i64,
}

pub(super) const fn pool(a: Coin, b: Coin, fee: u32, dollars: u64, dearer_bps: i64) -> Pool {
    Pool { a, b, fee, dollars, dearer_bps }
}

pub(super) const POOLS: [Pool; 10] = [
    pool(Coin::Usdc, Coin::Weth, 500, 2_000_000, -10),
    pool(Coin::Usdc, Coin::Weth, 3_000, 1_500_000, 25),
    pool(Coin::Usdc, Coin::Weth, 10_000, 250_000, -45),
    pool(Coin::Dai, Coin::Weth, 3_000, 750_000, -30),
    pool(Coin::Usdt, Coin::Weth, 500, 500_000, 15),
    pool(Coin::Wbtc, Coin::Weth, 500, 500_000, 10),
    pool(Coin::Wbtc, Coin::Weth, 3_000, 1_000_000, -15),
    pool(Coin::Link, Coin::Weth, 3_000, 250_000, -50),
    pool(Coin::Dai, Coin::Usdc, 100, 3_000_000, 2),
    pool(Coin::Usdt, Coin::Usdc, 100, 3_000_000, -3),
];

/// A position: from and to so many ticks of the beginning's, and its share of the pool in hundredths. A tick is a basis point of price.
const POSITIONS: [(i32, i32, u64); 5] =
    [(-TICK_MAX, TICK_MAX, 40), (-1_800, 1_800, 25), (-420, 480, 20), (540, 3_000, 10), (-2_400, -360, 5)];

/// The largest tick: ⌊log₁.₀₀₀₁ 2¹²⁸⌋.
const TICK_MAX: i32 = 887_272;

/// Uniswap V3, its periphery and its pools; its router.
pub(super) fn uniswap(plan: &mut Plan<'_>, coins: &Coins) -> Result<Address> {
    let what = "Uniswap V3 factory, from @uniswap/v3-core";
    let factory = plan.deploy("uniswap-v3-factory", what, artefact::V3_FACTORY, &[])?;
    let both = [("address", json!(factory)), ("address", json!(coins.at(Coin::Weth)))];
    let described = [both.clone().as_slice(), &[("address", json!(Address::default()))]].concat();
    let what = "Uniswap V3 positions, from @uniswap/v3-periphery";
    let positions = plan.deploy("uniswap-v3-positions", what, artefact::V3_POSITIONS, &described)?;
    let what = "Uniswap V3 swap router, from @uniswap/v3-periphery";
    let router = plan.deploy("uniswap-v3-router", what, artefact::V3_ROUTER, &both)?;
    let what = "Uniswap V3 quoter 2, from @uniswap/v3-periphery";
    plan.deploy("uniswap-v3-quoter", what, artefact::V3_QUOTER, &both)?;
    let what = "Uniswap V3 tick lens, from @uniswap/v3-periphery";
    plan.deploy("uniswap-v3-tick-lens", what, artefact::V3_TICK_LENS, &[])?;
    let code = keccak256(plan.code(artefact::V3_POOL)?);
    // The factory begins without the fee of 0.01 %, which its owner added later.
    plan.call(factory, "enableFeeAmount(uint24,int24)", &[json!(100), json!(spacing(100))])?;
    coins.approve(plan, positions)?;
    for pool in &POOLS {
        fill(plan, coins, positions, pool)?;
        let (first, second) = coins.sorted(pool.a, pool.b);
        let types = ["address", "address", "uint24"].map(str::to_owned);
        let salt = Encodings.encode(&types, &[json!(coins.at(first)), json!(coins.at(second)), json!(pool.fee)])?;
        let name = format!("{}-{}-{}", pool.a.name(), pool.b.name(), pool.fee);
        let what = format!("Uniswap V3 pool {name}, its fee in millionths, from @uniswap/v3-core");
        plan.list(format!("uniswap-v3-pool-{name}"), Address(factory.create2(keccak256(&*salt), code)), what);
    }
    Ok(router)
}

impl Pool {
    /// What it holds where it begins: of its first token and of its second, sorted.
    pub(super) fn sides(&self, coins: &Coins) -> (U256, U256) {
        let cents = U256::from(self.dollars * 100);
        let more = cents * U256::from(10_000_i64.saturating_add(self.dearer_bps).unsigned_abs()) / U256::from(10_000);
        let (of_a, of_b) = (self.a.worth(more), self.b.worth(cents));
        if coins.sorted(self.a, self.b).0 == self.a { (of_a, of_b) } else { (of_b, of_a) }
    }
}

/// The square root of the price of the first token in the second, as 96-bit fixed point: √(second / first) · 2⁹⁶.
pub(super) fn root_price((first, second): (U256, U256)) -> U256 {
    let squared: U256 = (second << 128) / first;
    squared.root(2) << 32
}

/// Ticks between those that a fee's pools may use; `getPool` of the factory knows no other fees.
pub(super) fn spacing(fee: u32) -> i32 {
    match fee {
        100 => 1,
        500 => 10,
        3_000 => 60,
        _ => 200,
    }
}

/// The tick that the pool begins at, to the nearest that it may use: where positions lie is no matter of a unit.
pub(super) fn centre((first, second): (U256, U256), spacing: i32) -> i32 {
    let price = f64::from(second) / f64::from(first);
    let tick = price.ln() / 1.0001_f64.ln();
    (tick / f64::from(spacing)).round() as i32 * spacing
}

fn fill(plan: &mut Plan<'_>, coins: &Coins, positions: Address, pool: &Pool) -> Result<()> {
    let (first, second) = coins.sorted(pool.a, pool.b);
    let (first, second) = (json!(coins.at(first)), json!(coins.at(second)));
    let sides = pool.sides(coins);
    let create = "createAndInitializePoolIfNecessary(address,address,uint24,uint160)";
    plan.call(positions, create, &[first.clone(), second.clone(), json!(pool.fee), number(root_price(sides))])?;
    let spacing = spacing(pool.fee);
    let (middle, last) = (centre(sides, spacing), TICK_MAX / spacing * spacing);
    for (from, to, share) in POSITIONS {
        let tick = |offset: i32| (middle + offset / spacing * spacing).clamp(-last, last);
        let part = |side: U256| number(side * U256::from(share) / U256::from(100));
        let position = json!([
            first,
            second,
            pool.fee,
            tick(from),
            tick(to),
            part(sides.0),
            part(sides.1),
            0,
            0,
            plan.from(),
            number(NEVER)
        ]);
        let mint = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))";
        plan.call(positions, mint, &[position])?;
    }
    Ok(())
}
