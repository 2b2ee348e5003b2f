//! What happens to a pool: the contracts' events that change what it quotes, decoded.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

/// A change of a pool's state, as its log says it; what the logs say besides is left out.
///
/// A constant-product pair says all there is to know in `Sync`. A concentrated-liquidity pool says `Initialize`, `Swap`, `Mint`, `Burn`,
/// `SetFeeProtocol`; its `Collect` and `Flash` change no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// `Sync(uint112 reserve0, uint112 reserve1)`.
    Sync {
        /// Of the first token.
        #[serde(with = "crate::text")]
        reserve0: u128,
        /// Of the second.
        #[serde(with = "crate::text")]
        reserve1: u128,
    },
    /// `Initialize(uint160 sqrtPriceX96, int24 tick)`. A price of zero takes the initialisation back.
    Initialize {
        /// The root of the price, Q64.96.
        sqrt_price: U256,
        /// Its tick.
        tick: i32,
    },
    /// `Swap(…, uint160 sqrtPriceX96, uint128 liquidity, int24 tick)`: how things stand after it.
    Swap {
        /// The root of the price, Q64.96.
        sqrt_price: U256,
        /// The liquidity in range.
        #[serde(with = "crate::text")]
        liquidity: u128,
        /// The tick.
        tick: i32,
    },
    /// `Mint(…, int24 tickLower, int24 tickUpper, uint128 amount, …)`.
    Mint {
        /// The range's lower end.
        tick_lower: i32,
        /// The range's upper end.
        tick_upper: i32,
        /// The liquidity added.
        #[serde(with = "crate::text")]
        amount: u128,
    },
    /// `Burn(…, int24 tickLower, int24 tickUpper, uint128 amount, …)`.
    Burn {
        /// The range's lower end.
        tick_lower: i32,
        /// The range's upper end.
        tick_upper: i32,
        /// The liquidity removed; zero when only fees were counted.
        #[serde(with = "crate::text")]
        amount: u128,
    },
    /// `SetFeeProtocol(…, uint8 feeProtocol0New, uint8 feeProtocol1New)`: the protocol's share of the fee, as 1/n.
    SetFeeProtocol {
        /// n for the first token; zero is no share.
        fee_protocol0: u8,
        /// n for the second token.
        fee_protocol1: u8,
    },
}
