//! What a quote costs, on one core, next to the crates that quote concentrated liquidity too: `uniswap_v3_math` has the steps of a swap,
//! `uniswap-v3-sdk` the whole of it. What each of them says is checked to be what we say.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use alloy_primitives::aliases::{U24, U160};
use alloy_primitives::{I256, U256};
use futures_util::FutureExt;
use market::math::tick::{MIN_SQRT_PRICE, sqrt_price_at};
use market::pool::{AnyPool, Event, Identity, Pool, Protocol, V3, V3State, Way};
use uniswap_v3_sdk::entities::{Tick, TickListDataProvider};
use uniswap_v3_sdk::utils::v3_swap;

use crate::Fallible;
use crate::market::{WETH, fastest};

/// Quotes in a round.
const QUOTES: u32 = 500;

/// Adds the figures to a table.
pub(crate) fn measure(pools: &[AnyPool], row: &mut impl FnMut(&str, String, &str)) -> Fallible<()> {
    let pair = pools.iter().find(|pool| matches!(pool, AnyPool::ConstantProduct(_))).ok_or("no pair")?;
    let pair_unit = 10u64.pow(9);
    let took = fastest(|| each(|n| pair.quote_exact_in(Way::ZeroForOne, U256::from(pair_unit + n)).is_ok()));
    row("constant-product quotes", per_second(took), "");
    let pool = ladder()?;
    let (steps, sdk) = (Steps::of(&pool), Sdk::of(&pool));
    for (what, amount, ticks) in [("inside a range", 1u64 << 30, 0), ("crossing 16 ticks", 5_000_000_000_000_000, 16)] {
        let ours = |amount: u64| pool.quote_exact_in(Way::ZeroForOne, U256::from(amount));
        let crossed = ours(amount)?.ticks_crossed;
        if crossed != ticks {
            return Err(format!("{crossed} ticks are crossed").into());
        }
        for amount in amount..amount + u64::from(QUOTES) {
            let out = ours(amount)?.amount_out;
            if steps.quote(U256::from(amount))? != out || sdk.quote(U256::from(amount))? != out {
                return Err(format!("another crate quotes another amount for {amount}").into());
            }
        }
        let took = fastest(|| each(|n| ours(amount + n).is_ok()));
        row(&format!("concentrated quotes {what}"), per_second(took), "");
        let took = fastest(|| each(|n| steps.quote(U256::from(amount + n)).is_ok()));
        row(&format!("the same with uniswap_v3_math {what}"), per_second(took), "");
        let took = fastest(|| each(|n| sdk.quote(U256::from(amount + n)).is_ok()));
        row(&format!("the same with uniswap-v3-sdk {what}"), per_second(took), "");
    }
    Ok(())
}

fn each(quote: impl Fn(u64) -> bool) {
    for n in 0..u64::from(QUOTES) {
        black_box(quote(black_box(n)));
    }
}

/// A pool with a position on each of many neighbouring ranges.
fn ladder() -> Fallible<V3> {
    let identity = Identity {
        address: WETH.parse()?,
        tokens: [WETH.parse()?, "0x00000000000000000000000000000000000000ff".parse()?],
        protocol: Protocol::UniswapV3,
        fee_millionths: 3_000,
    };
    let mut pool = V3::new(identity, 60, V3State::default())?;
    pool.apply(&Event::Initialize { sqrt_price: sqrt_price_at(30).ok_or("no price")?, tick: 30 })?;
    for step in -40i32..40 {
        let amount = 10u128.pow(17) + u128::from(step.unsigned_abs());
        pool.apply(&Event::Mint { tick_lower: step * 60, tick_upper: (step + 1) * 60, amount })?;
    }
    Ok(pool)
}

/// A pool as that crate's functions want it; it has the steps of a swap, and the loop is the contract's.
struct Steps {
    sqrt_price: U256,
    tick: i32,
    liquidity: u128,
    fee: u32,
    spacing: i32,
    bitmap: HashMap<i16, U256>,
    net: HashMap<i32, i128>,
}

impl Steps {
    fn of(pool: &V3) -> Self {
        let spacing = pool.tick_spacing();
        let words = pool.ticks().iter().map(|tick| ((tick.index / spacing) >> 8) as i16);
        Self {
            sqrt_price: pool.sqrt_price(),
            tick: pool.tick(),
            liquidity: pool.liquidity(),
            fee: pool.fee_millionths(),
            spacing,
            bitmap: words.map(|place| (place, pool.bitmap_word(place))).collect(),
            net: pool.ticks().iter().map(|tick| (tick.index, tick.liquidity_net)).collect(),
        }
    }

    /// What comes out for an input of the first token.
    fn quote(&self, amount: U256) -> Fallible<U256> {
        let (mut price, mut tick, mut liquidity) = (self.sqrt_price, self.tick, self.liquidity);
        let (mut left, mut out) = (I256::try_from(amount)?, U256::ZERO);
        let limit = MIN_SQRT_PRICE + U256::ONE;
        while !left.is_zero() && price != limit {
            let (next, initialized) = uniswap_v3_math::tick_bitmap::next_initialized_tick_within_one_word(
                &self.bitmap,
                tick,
                self.spacing,
                true,
            )?;
            let end = uniswap_v3_math::tick_math::get_sqrt_ratio_at_tick(next)?;
            let (to, taken, given, fee) =
                uniswap_v3_math::swap_math::compute_swap_step(price, end.max(limit), liquidity, left, self.fee)?;
            left -= I256::try_from(taken + fee)?;
            out += given;
            price = to;
            if to == end {
                if initialized {
                    let net = self.net.get(&next).copied().unwrap_or_default();
                    liquidity = liquidity.checked_add_signed(-net).ok_or("no liquidity")?;
                }
                tick = next - 1;
            }
        }
        Ok(out)
    }
}

/// A pool as `uniswap-v3-sdk` has it in memory.
struct Sdk {
    sqrt_price: U160,
    tick: i32,
    liquidity: u128,
    fee: U24,
    spacing: i32,
    ticks: TickListDataProvider,
}

impl Sdk {
    fn of(pool: &V3) -> Self {
        let tick = |tick: &market::pool::Tick| Tick::new(tick.index, tick.liquidity_gross, tick.liquidity_net);
        Self {
            sqrt_price: U160::from(pool.sqrt_price()),
            tick: pool.tick(),
            liquidity: pool.liquidity(),
            fee: U24::from(pool.fee_millionths()),
            spacing: pool.tick_spacing(),
            ticks: TickListDataProvider::new(pool.ticks().iter().map(tick).collect(), pool.tick_spacing()),
        }
    }

    /// What comes out for an input of the first token. Its functions are made for a provider that may wait; one in memory never does.
    fn quote(&self, amount: U256) -> Fallible<U256> {
        let Self { sqrt_price, tick, liquidity, fee, spacing, ticks } = self;
        let amount = I256::try_from(amount)?;
        let swap = v3_swap(*fee, *sqrt_price, *tick, *liquidity, *spacing, ticks, true, amount, None);
        let swap = swap.now_or_never().ok_or("uniswap-v3-sdk waits")??;
        Ok((-swap.amount_calculated).into_raw())
    }
}

fn per_second(time: Duration) -> String {
    format!("{:.2} M/s", f64::from(QUOTES) / time.as_secs_f64() / 1e6)
}
