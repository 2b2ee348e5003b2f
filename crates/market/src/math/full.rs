//! a·b/d with all 512 bits of the product (Uniswap v3-core, `FullMath.sol`, `UnsafeMath.sol`).

use alloy_primitives::{U256, U512};

/// ⌊a·b/d⌋; `None` when `d` is zero or the quotient does not fit 256 bits.
pub fn mul_div(a: U256, b: U256, d: U256) -> Option<U256> {
    if d.is_zero() {
        return None;
    }
    match small(a, b) {
        Some(product) => Some(product / d),
        None => narrow(wide(a, b) / U512::from(d)),
    }
}

/// ⌈a·b/d⌉; `None` when `d` is zero or the quotient does not fit 256 bits.
pub fn mul_div_up(a: U256, b: U256, d: U256) -> Option<U256> {
    if d.is_zero() {
        return None;
    }
    if let Some(product) = small(a, b) {
        return Some(div_up(product, d));
    }
    let (quotient, rest) = wide(a, b).div_rem(U512::from(d));
    let quotient = narrow(quotient)?;
    if rest.is_zero() { Some(quotient) } else { quotient.checked_add(U256::ONE) }
}

/// ⌊a·b/2^96⌋; `None` when it does not fit 256 bits.
pub fn mul_shr_96(a: U256, b: U256) -> Option<U256> {
    match small(a, b) {
        Some(product) => Some(product >> 96),
        None => narrow(wide(a, b) >> 96),
    }
}

/// ⌈a·b/2^96⌉; `None` when it does not fit 256 bits.
pub fn mul_shr_96_up(a: U256, b: U256) -> Option<U256> {
    let low: U256 = (U256::ONE << 96) - U256::ONE;
    let exact = (low & a.wrapping_mul(b)).is_zero();
    let quotient = mul_shr_96(a, b)?;
    if exact { Some(quotient) } else { quotient.checked_add(U256::ONE) }
}

/// ⌈a/d⌉, where `d` is not zero.
pub fn div_up(a: U256, d: U256) -> U256 {
    let (quotient, rest) = a.div_rem(d);
    if rest.is_zero() { quotient } else { quotient + U256::ONE }
}

/// The product, when its 256 bits are seen to be enough without computing it.
fn small(a: U256, b: U256) -> Option<U256> {
    (a.bit_len() + b.bit_len() <= 256).then(|| a.wrapping_mul(b))
}

fn wide(a: U256, b: U256) -> U512 {
    a.widening_mul(b)
}

fn narrow(a: U512) -> Option<U256> {
    U256::checked_from_limbs_slice(a.as_limbs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges() {
        let one = U256::ONE;
        assert_eq!(mul_div(one, one, U256::ZERO), None);
        assert_eq!(mul_div_up(one, one, U256::ZERO), None);
        assert_eq!(mul_div(U256::MAX, U256::MAX, U256::MAX), Some(U256::MAX));
        assert_eq!(mul_div_up(U256::MAX, U256::MAX, U256::MAX), Some(U256::MAX));
        assert_eq!(mul_div(U256::MAX, U256::MAX, U256::MAX - one), None);
        // 535006138814359 · 432862656469423142931042426214547535783388063929571229938474969 / 2 rounds over the edge (v3-core's own test).
        let a = U256::from(535006138814359u64);
        let b = "432862656469423142931042426214547535783388063929571229938474969".parse().unwrap();
        assert_eq!(mul_div_up(a, b, U256::from(2)), None);
        assert_eq!(mul_div(a, b, U256::from(2)), Some(U256::MAX));
        assert_eq!(mul_shr_96_up(one, one), Some(one));
        assert_eq!(mul_shr_96_up(one << 96, U256::from(7)), Some(U256::from(7)));
        assert_eq!(mul_shr_96(U256::MAX, one << 96), Some(U256::MAX));
        assert_eq!(mul_shr_96(U256::MAX, one << 97), None);
    }
}
