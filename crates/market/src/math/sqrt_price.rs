//! Amounts between two prices, and the price after an amount (Uniswap v3-core, `SqrtPriceMath.sol`; whitepaper, 6.2.3).
//!
//! Roots of prices are Q64.96. `None` is where the contract reverts.

use alloy_primitives::U256;

use super::{div_up, mul_div, mul_div_up, mul_shr_96, mul_shr_96_up};

/// How a result is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Towards zero: what the pool gives.
    Down,
    /// Away from zero: what the pool takes.
    Up,
}

/// How much of token 0 lies between two prices: L·(√b − √a)/(√a·√b). `getAmount0Delta`.
pub fn amount0_between(a: U256, b: U256, liquidity: u128, round: Round) -> Option<U256> {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low.is_zero() {
        return None;
    }
    let scaled: U256 = U256::from(liquidity) << 96;
    match round {
        Round::Down => Some(mul_div(scaled, high - low, high)? / low),
        Round::Up => Some(div_up(mul_div_up(scaled, high - low, high)?, low)),
    }
}

/// How much of token 1 lies between two prices: L·(√b − √a). `getAmount1Delta`.
pub fn amount1_between(a: U256, b: U256, liquidity: u128, round: Round) -> Option<U256> {
    let gap = if a < b { b - a } else { a - b };
    match round {
        Round::Down => mul_shr_96(U256::from(liquidity), gap),
        Round::Up => mul_shr_96_up(U256::from(liquidity), gap),
    }
}

/// The price after `amount` came in. `getNextSqrtPriceFromInput`.
pub fn after_input(price: U256, liquidity: u128, amount: U256, zero_for_one: bool) -> Option<U256> {
    if price.is_zero() || liquidity == 0 {
        return None;
    }
    if zero_for_one { after_amount0_in(price, liquidity, amount) } else { after_amount1_in(price, liquidity, amount) }
}

/// The price after `amount` went out. `getNextSqrtPriceFromOutput`.
pub fn after_output(price: U256, liquidity: u128, amount: U256, zero_for_one: bool) -> Option<U256> {
    if price.is_zero() || liquidity == 0 {
        return None;
    }
    if zero_for_one { after_amount1_out(price, liquidity, amount) } else { after_amount0_out(price, liquidity, amount) }
}

/// ⌈L·√P / (L + amount·√P)⌉, or the coarser form where the product does not fit 256 bits.
fn after_amount0_in(price: U256, liquidity: u128, amount: U256) -> Option<U256> {
    if amount.is_zero() {
        return Some(price);
    }
    let scaled: U256 = U256::from(liquidity) << 96;
    if let Some(divisor) = amount.checked_mul(price).and_then(|product| scaled.checked_add(product)) {
        return mul_div_up(scaled, price, divisor);
    }
    Some(div_up(scaled, (scaled / price).checked_add(amount)?))
}

/// ⌈L·√P / (L − amount·√P)⌉.
fn after_amount0_out(price: U256, liquidity: u128, amount: U256) -> Option<U256> {
    if amount.is_zero() {
        return Some(price);
    }
    let scaled: U256 = U256::from(liquidity) << 96;
    let product = amount.checked_mul(price).filter(|product| scaled > *product)?;
    fit_160(mul_div_up(scaled, price, scaled - product)?)
}

/// √P + ⌊amount/L⌋.
fn after_amount1_in(price: U256, liquidity: u128, amount: U256) -> Option<U256> {
    let rise = mul_div(amount, U256::ONE << 96, U256::from(liquidity))?;
    fit_160(price.checked_add(rise)?)
}

/// √P − ⌈amount/L⌉.
fn after_amount1_out(price: U256, liquidity: u128, amount: U256) -> Option<U256> {
    let fall = mul_div_up(amount, U256::ONE << 96, U256::from(liquidity))?;
    (price > fall).then(|| price - fall)
}

fn fit_160(price: U256) -> Option<U256> {
    (price.bit_len() <= 160).then_some(price)
}
