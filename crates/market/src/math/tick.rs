//! Ticks and square roots of prices (Uniswap v3-core, `TickMath.sol`): price = 1.0001^tick, its root as a Q64.96 number.

use alloy_primitives::U256;

/// The least tick.
pub const MIN_TICK: i32 = -887_272;
/// The greatest tick.
pub const MAX_TICK: i32 = 887_272;
/// The root of the price at [`MIN_TICK`]: the least price.
pub const MIN_SQRT_PRICE: U256 = U256::from_limbs([4_295_128_739, 0, 0, 0]);
/// The root of the price at [`MAX_TICK`]: no price reaches it. 1461446703485210103287273052203988822378723970342.
pub const MAX_SQRT_PRICE: U256 = U256::from_limbs([0x5d951d5263988d26, 0xefd1fc6a50648849, 0xfffd8963, 0]);

/// 2^128 · 1.0001^(−2^i / 2), as the contract has them.
const RATIOS: [u128; 20] = [
    0xfffcb933bd6fad37aa2d162d1a594001,
    0xfff97272373d413259a46990580e213a,
    0xfff2e50f5f656932ef12357cf3c7fdcc,
    0xffe5caca7e10e4e61c3624eaa0941cd0,
    0xffcb9843d60f6159c9db58835c926644,
    0xff973b41fa98c081472e6896dfb254c0,
    0xff2ea16466c96a3843ec78b326b52861,
    0xfe5dee046a99a2a811c461f1969c3053,
    0xfcbe86c7900a88aedcffc83b479aa3a4,
    0xf987a7253ac413176f2b074cf7815e54,
    0xf3392b0822b70005940c7a398e4b70f3,
    0xe7159475a2c29b7443b29c7fa6e889d9,
    0xd097f3bdfd2022b8845ad8f792aa5825,
    0xa9f746462d870fdf8a65dc1f90e061e5,
    0x70d869a156d2a1b890bb3df62baf32f7,
    0x31be135f97d08fd981231505542fcfa6,
    0x9aa508b5b7a84e1c677de54f3e99bc9,
    0x5d6af8dedb81196699c329225ee604,
    0x2216e584f5fa1ea926041bedfe98,
    0x48a170391f7dc42444e8fa2,
];

/// The root of the price at a tick, rounded up to Q64.96; `None` for a tick out of range. `getSqrtRatioAtTick`.
pub fn sqrt_price_at(tick: i32) -> Option<U256> {
    let distance = tick.unsigned_abs();
    if distance > MAX_TICK.unsigned_abs() {
        return None;
    }
    let mut ratio: Option<u128> = None;
    for (bit, &step) in RATIOS.iter().enumerate() {
        if distance >> bit & 1 == 1 {
            ratio = Some(ratio.map_or(step, |ratio| mul_shr_128(ratio, step)));
        }
    }
    let Some(ratio) = ratio else { return Some(U256::ONE << 96) };
    if tick < 0 {
        // Q128.128 to Q64.96, rounded up.
        return Some(U256::from((ratio >> 32) + u128::from(ratio as u32 != 0)));
    }
    let inverse = U256::MAX / U256::from(ratio);
    let part = inverse.as_limbs()[0] as u32 != 0;
    Some((inverse >> 32) + U256::from(u64::from(part)))
}

/// The greatest tick whose price is not above this one; `None` for a price out of range. `getTickAtSqrtRatio`.
pub fn tick_at(sqrt_price: U256) -> Option<i32> {
    if sqrt_price < MIN_SQRT_PRICE || sqrt_price >= MAX_SQRT_PRICE {
        return None;
    }
    // The logarithm to 20 bits is right to 0.02 of a tick; the exact answer is that tick or a neighbour.
    let tick = (log_2(sqrt_price) * TICKS_PER_OCTAVE) >> 52;
    let tick = (tick as i32).clamp(MIN_TICK, MAX_TICK - 1);
    if sqrt_price_at(tick)? > sqrt_price {
        return Some(tick - 1);
    }
    Some(if sqrt_price_at(tick + 1)? <= sqrt_price { tick + 1 } else { tick })
}

/// 2 / log2(1.0001): ticks in a doubling of the root, with 32 binary places.
const TICKS_PER_OCTAVE: i128 = 59_543_866_431_248;

/// The base-2 logarithm of a Q64.96 number, with 20 binary places.
fn log_2(sqrt_price: U256) -> i128 {
    const PLACES: u32 = 20;
    let top = sqrt_price.bit_len() - 1;
    let mut mantissa = if top >= 63 { sqrt_price >> (top - 63) } else { sqrt_price << (63 - top) }.as_limbs()[0];
    let mut log = top as i128 - 96;
    for _ in 0..PLACES {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let bit = (square >> 127) as u32;
        mantissa = (square >> (63 + bit)) as u64;
        log = log << 1 | i128::from(bit);
    }
    log
}

/// ⌊a·b/2^128⌋.
fn mul_shr_128(a: u128, b: u128) -> u128 {
    let half = |x: u128| (x >> 64, x & u128::from(u64::MAX));
    let ((a1, a0), (b1, b0)) = (half(a), half(b));
    let (middle, low) = (a1 * b0, a0 * b0);
    let cross = a0 * b1 + (low >> 64);
    let (cross1, cross0) = half(cross);
    a1 * b1 + cross1 + ((middle + cross0) >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_own_edges() {
        assert_eq!(sqrt_price_at(MIN_TICK), Some(MIN_SQRT_PRICE));
        assert_eq!(sqrt_price_at(MAX_TICK), Some(MAX_SQRT_PRICE));
        assert_eq!(MAX_SQRT_PRICE.to_string(), "1461446703485210103287273052203988822378723970342");
        assert_eq!(sqrt_price_at(MIN_TICK + 1), Some(U256::from(4_295_343_490u64)));
        assert_eq!(
            sqrt_price_at(MAX_TICK - 1).unwrap().to_string(),
            "1461373636630004318706518188784493106690254656249"
        );
        assert_eq!(sqrt_price_at(0), Some(U256::ONE << 96));
        assert_eq!([sqrt_price_at(MAX_TICK + 1), sqrt_price_at(MIN_TICK - 1)], [None, None]);
        assert_eq!(tick_at(MIN_SQRT_PRICE), Some(MIN_TICK));
        assert_eq!(tick_at(MAX_SQRT_PRICE - U256::ONE), Some(MAX_TICK - 1));
        assert_eq!([tick_at(MIN_SQRT_PRICE - U256::ONE), tick_at(MAX_SQRT_PRICE)], [None, None]);
    }

    #[test]
    fn a_tick_begins_at_its_price() {
        for tick in (MIN_TICK + 1..MAX_TICK).step_by(997).chain(-300..300) {
            let price = sqrt_price_at(tick).unwrap();
            assert_eq!([tick_at(price), tick_at(price - U256::ONE)], [Some(tick), Some(tick - 1)], "{tick}");
        }
    }
}
