//! Small pools for tests.

use super::{Identity, Pool, Protocol, Tick, V2, V3, V3State};
use alloy_primitives::U256;
use kernel::chain::Address;

use super::Event;

pub(crate) fn address(number: u8) -> Address {
    Address::from([number; 20])
}

/// Trades tokens 100 and 101.
pub(crate) fn identity(number: u8, protocol: Protocol) -> Identity {
    Identity { address: address(number), tokens: [address(100), address(101)], protocol, fee_millionths: 3_000 }
}

pub(crate) fn v2(number: u8, reserves: [u128; 2]) -> V2 {
    V2::new(identity(number, Protocol::UniswapV2), reserves).unwrap()
}

/// A pool of spacing 60 at price one, with these ranges.
pub(crate) fn v3(number: u8, ranges: &[(i32, i32, u128)]) -> V3 {
    let mut pool = V3::new(identity(number, Protocol::UniswapV3), 60, V3State::default()).unwrap();
    pool.apply(&Event::Initialize { sqrt_price: U256::ONE << 96, tick: 0 }).unwrap();
    for &(tick_lower, tick_upper, amount) in ranges {
        pool.apply(&Event::Mint { tick_lower, tick_upper, amount }).unwrap();
    }
    pool
}

/// A tick with one position beginning (positive) or ending there.
pub(crate) fn tick(index: i32, net: i128) -> Tick {
    Tick { index, liquidity_gross: net.unsigned_abs(), liquidity_net: net }
}
