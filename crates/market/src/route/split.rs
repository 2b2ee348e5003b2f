//! One leg divided over the pools between two tokens.

use std::cmp::Reverse;

use alloy_primitives::U256;

use super::{Part, Spread};
use crate::math::swap::Remaining;
use crate::math::tick::{MAX_SQRT_PRICE, MIN_SQRT_PRICE};
use crate::pool::{AnyPool, Pool, Way};
use crate::search::Hop;

/// Halvings of the price's range: to 2^-44 of it.
const HALVINGS: usize = 44;

/// Divides an input; `None` where the pools do not take it whole.
pub(super) fn leg(mut pools: Vec<(Hop, &AnyPool)>, amount: U256, spread: &Spread) -> Option<Vec<Part>> {
    let best =
        |(hop, pool): &(Hop, &AnyPool)| pool.spot_price(hop.way).map_or(0.0, |price| price.approximate()) * kept(pool);
    pools.retain(|pool| best(pool) > 0.0);
    if pools.len() > spread.parts_max.max(1) {
        // Those that give most for all of it, or at least the best price.
        let whole = |(hop, pool): &(Hop, &AnyPool)| {
            pool.quote_exact_in(hop.way, amount).ok().filter(|quote| quote.filled).map(|quote| quote.amount_out)
        };
        pools.sort_by_cached_key(|pool| (Reverse(whole(pool)), pool.0));
        pools.truncate(spread.parts_max.max(1));
    }
    loop {
        let shares = shares(&pools, amount);
        let least = amount / U256::from(10_000) * U256::from(spread.part_min_bps);
        let small =
            (0..pools.len()).filter(|at| shares[*at] < least || shares[*at].is_zero()).min_by_key(|at| shares[*at]);
        match small {
            // One at a time: what it had goes to others, which may become large enough by it.
            Some(at) if pools.len() > 1 => drop(pools.remove(at)),
            _ => return parts(&pools, &shares),
        }
    }
}

fn parts(pools: &[(Hop, &AnyPool)], shares: &[U256]) -> Option<Vec<Part>> {
    let part = |((hop, pool), share): (&(Hop, &AnyPool), &U256)| {
        let quote = pool.quote_exact_in(hop.way, *share).ok().filter(|quote| quote.filled)?;
        Some(Part { hop: *hop, quote })
    };
    let mut parts: Vec<Part> = pools.iter().zip(shares).map(part).collect::<Option<_>>()?;
    parts.sort_by_key(|part| Reverse(part.quote.amount_in));
    (!parts.is_empty()).then_some(parts)
}

fn kept(pool: &AnyPool) -> f64 {
    1.0 - f64::from(pool.fee_millionths()) / 1e6
}

/// What each pool gets: all of them stop at one marginal price, found by halving the range of its logarithm.
fn shares(pools: &[(Hop, &AnyPool)], amount: U256) -> Vec<U256> {
    if pools.len() < 2 {
        return vec![amount; pools.len()];
    }
    let taken = |price: f64| -> Vec<U256> {
        pools.iter().map(|(hop, pool)| takes(pool, hop.way, price, amount).unwrap_or_default()).collect()
    };
    let tops = pools.iter().filter_map(|(hop, pool)| Some(pool.spot_price(hop.way).ok()?.approximate() * kept(pool)));
    let mut high = tops.fold(0.0, f64::max).ln();
    // Far below any price at which something is worth trading.
    let mut low = high - 60.0;
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        let sum = taken(middle.exp()).into_iter().fold(U256::ZERO, U256::saturating_add);
        if sum > amount { low = middle } else { high = middle }
    }
    let mut shares = taken(high.exp());
    // What is over by rounding goes where most went.
    let sum = shares.iter().copied().fold(U256::ZERO, U256::saturating_add);
    if let Some(most) = shares.iter_mut().max() {
        *most = most.saturating_add(amount.saturating_sub(sum));
    }
    shares
}

/// What a pool takes until the last unit of input brings no more than `price`; at most `amount`.
fn takes(pool: &AnyPool, way: Way, price: f64, amount: U256) -> Option<U256> {
    let kept = kept(pool);
    match pool {
        AnyPool::ConstantProduct(pair) => {
            // The output's derivative after x, kept·in·out / (in + kept·x)², is the price.
            let [held_in, held_out] = [way.input(), way.output()].map(|side| pair.reserves()[side] as f64);
            let input = ((kept * held_in * held_out / price).sqrt() - held_in) / kept;
            Some(whole(input).min(amount))
        }
        AnyPool::ConcentratedLiquidity(pool) => {
            let root = if way.zero_for_one() { (price / kept).sqrt() } else { (kept / price).sqrt() };
            let limit = whole(root * f64::from(U256::ONE << 96));
            let limit = limit.clamp(MIN_SQRT_PRICE + U256::ONE, MAX_SQRT_PRICE - U256::ONE);
            Some(pool.trade(way, Remaining::In(amount), Some(limit)).ok()?.amount_in)
        }
    }
}

/// The whole part; nothing for what is not a number above zero.
fn whole(number: f64) -> U256 {
    if !number.is_finite() || number < 1.0 {
        return U256::ZERO;
    }
    let exponent = number.log2() as i32 - 52;
    let scaled = if exponent > 0 { number / f64::powi(2.0, exponent) } else { number };
    let digits = U256::from(scaled as u64);
    if exponent > 0 { digits.checked_shl(exponent as usize).unwrap_or(U256::MAX) } else { digits }
}
