//! How much moves a pool's price by so much, exactly.

use kernel::chain::Amount;
use market::math::swap::Remaining;
use market::pool::{AnyPool, Pool, RESERVE_MAX, V2, V3, Way};
use num_bigint::BigInt;
use num_rational::BigRational;

use super::path::Leg;
use super::ratio;

/// The whole of a price.
pub(crate) const ALL_BPS: u32 = 10_000;

/// The most that can go in until the price has fallen by so much, and what comes out for it; nothing where there is no liquidity.
pub(crate) fn within(leg: &Leg, bps: u32) -> (Amount, Amount) {
    let amounts = match &leg.pool {
        AnyPool::ConstantProduct(pair) => within_pair(pair, leg.way, bps),
        AnyPool::ConcentratedLiquidity(pool) => within_pool(pool, leg.way, bps),
    };
    amounts.unwrap_or_default()
}

/// The greatest input after which reserves stand at no less than the lowest price. Reserves fit 112 bits, and so does the search.
fn within_pair(pair: &V2, way: Way, bps: u32) -> Option<(Amount, Amount)> {
    let lowest = ratio::of(&pair.spot_price(way).ok()?) * remaining(bps);
    let after = |input: u128| -> Option<(Amount, bool)> {
        let mut pair = *pair;
        let (quote, _) = pair.swap_exact_in(way, ratio::amount(input).0).ok()?;
        Some((Amount(quote.amount_out), ratio::of(&pair.spot_price(way).ok()?) >= lowest))
    };
    let room = RESERVE_MAX - pair.reserves()[way.input()];
    let (mut low, mut high) = (0u128, room);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        // So little that nothing comes out moves no price downwards that a trade could meet.
        if after(middle).is_none_or(|(_, holds)| holds) { low = middle } else { high = middle - 1 }
    }
    let (amount_out, _) = after(low)?;
    Some((ratio::amount(low), amount_out))
}

/// The contract itself stops at a price limit.
fn within_pool(pool: &V3, way: Way, bps: u32) -> Option<(Amount, Amount)> {
    let root = BigRational::from(ratio::whole(Amount(pool.sqrt_price())));
    let square = &root * &root;
    let lowest = if way.zero_for_one() { square * remaining(bps) } else { square / remaining(bps) };
    let limit: Amount = lowest.to_integer().sqrt().to_string().parse().ok()?;
    let all: BigInt = (BigInt::from(1) << 255u32) - BigInt::from(1);
    let all: Amount = all.to_string().parse().ok()?;
    let swap = pool.trade(way, Remaining::In(all.0), Some(limit.0)).ok()?;
    Some((Amount(swap.amount_in), Amount(swap.amount_out)))
}

/// What is left of a price that fell by so much.
fn remaining(bps: u32) -> BigRational {
    ratio::ratio(BigInt::from(ALL_BPS - bps), BigInt::from(ALL_BPS))
}
