//! One step of a swap, inside one range of constant liquidity (Uniswap v3-core, `SwapMath.sol`; whitepaper, 6.2.3).

use alloy_primitives::U256;

use super::sqrt_price::{Round, after_input, after_output, amount0_between, amount1_between};
use super::{mul_div, mul_div_up};

/// Fees are in millionths.
pub const FEE_UNIT: U256 = U256::from_limbs([1_000_000, 0, 0, 0]);

/// What is left to trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// So much of the input, fee included.
    In(U256),
    /// So much of the output.
    Out(U256),
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The root of the price after it.
    pub sqrt_price: U256,
    /// The input, without the fee.
    pub amount_in: U256,
    /// The output.
    pub amount_out: U256,
    /// The fee, in the input token.
    pub fee: U256,
}

/// Trades towards `target` as far as `remaining` reaches; the direction follows from the two prices. `computeSwapStep`.
///
/// `None` is where the contract reverts. `fee_millionths` is under a million.
pub fn step(price: U256, target: U256, liquidity: u128, remaining: Remaining, fee_millionths: u32) -> Option<Step> {
    let zero_for_one = price >= target;
    let fee_rate = U256::from(fee_millionths);
    let input_to = |to: U256| {
        if zero_for_one {
            amount0_between(to, price, liquidity, Round::Up)
        } else {
            amount1_between(price, to, liquidity, Round::Up)
        }
    };
    let output_to = |to: U256| {
        if zero_for_one {
            amount1_between(to, price, liquidity, Round::Down)
        } else {
            amount0_between(price, to, liquidity, Round::Down)
        }
    };
    match remaining {
        Remaining::In(amount) => {
            let net = mul_div(amount, FEE_UNIT - fee_rate, FEE_UNIT)?;
            let whole = input_to(target)?;
            let sqrt_price = if net >= whole { target } else { after_input(price, liquidity, net, zero_for_one)? };
            let amount_in = if sqrt_price == target { whole } else { input_to(sqrt_price)? };
            // Where the price stops short, all that was not needed is fee.
            let fee =
                if sqrt_price == target { fee_on(amount_in, fee_rate)? } else { amount.checked_sub(amount_in)? };
            Some(Step { sqrt_price, amount_in, amount_out: output_to(sqrt_price)?, fee })
        }
        Remaining::Out(amount) => {
            let whole = output_to(target)?;
            let sqrt_price =
                if amount >= whole { target } else { after_output(price, liquidity, amount, zero_for_one)? };
            let amount_in = input_to(sqrt_price)?;
            let amount_out = if sqrt_price == target { whole } else { output_to(sqrt_price)? }.min(amount);
            Some(Step { sqrt_price, amount_in, amount_out, fee: fee_on(amount_in, fee_rate)? })
        }
    }
}

fn fee_on(amount_in: U256, fee_rate: U256) -> Option<U256> {
    mul_div_up(amount_in, fee_rate, FEE_UNIT - fee_rate)
}
