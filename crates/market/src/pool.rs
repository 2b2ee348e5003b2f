//! Pools: one trait, and one type for each way of pricing.
//!
//! A pool is what its contract's storage says, as far as quotes need it. It is loaded from a snapshot, follows the chain by [`Event`]s, and
//! goes back by them too: applying an event returns the event that undoes it, so a reorganisation is undone by applying what was
//! returned, newest first ([`Book`](crate::Book) keeps them by block). What does not price a trade is not kept: fee growth, positions, oracle
//! observations, collected fees.
//!
//! Tokens that take a fee on transfer or change balances by themselves trade otherwise than quoted here; whoever chooses pools leaves them out.

mod any;
mod event;
#[cfg(test)]
pub(crate) mod fixtures;
mod log;
mod price;
mod v2;
mod v3;

use alloy_primitives::U256;
use kernel::chain::Address;
use serde::{Deserialize, Serialize};

pub use any::AnyPool;
pub use event::Event;
pub use log::{EVENT_TOPICS, VOLUME_TOPICS, volume_in};
pub use price::Price;
pub use v2::{RESERVE_MAX, V2, V2Reserves};
pub use v3::{Limit, Tick, V3, V3State, V3Swap};

use crate::Result;

/// What every kind of pool can do.
pub trait Pool {
    /// What does not change: where it is, what it trades, at which fee.
    fn identity(&self) -> &Identity;

    /// How it prices.
    fn kind(&self) -> Kind;

    /// What comes out for `amount`. Where liquidity ends before all of it is taken, [`Quote::amount_in`] is what was taken.
    fn quote_exact_in(&self, way: Way, amount: U256) -> Result<Quote>;

    /// What must go in for `amount`. Where liquidity ends before, [`Quote::amount_out`] is what was got.
    fn quote_exact_out(&self, way: Way, amount: U256) -> Result<Quote>;

    /// Trades: the state becomes what the contract's storage would be. Returns the quote, and the event that undoes it.
    fn swap_exact_in(&mut self, way: Way, amount: U256) -> Result<(Quote, Event)>;

    /// The same by what comes out.
    fn swap_exact_out(&mut self, way: Way, amount: U256) -> Result<(Quote, Event)>;

    /// Follows what the chain says happened. Returns the event that undoes it. A refused event changes nothing.
    fn apply(&mut self, event: &Event) -> Result<Event>;

    /// The exact price at the margin, before the fee: smallest units of the output for one of the input.
    fn spot_price(&self, way: Way) -> Result<Price>;

    /// An estimate of the gas a swap of usual size burns inside the pool, token transfers included. Simulation tells the truth.
    fn gas(&self) -> u64;

    /// Where the pool is.
    fn address(&self) -> Address {
        self.identity().address
    }

    /// What it trades, in the contract's order.
    fn tokens(&self) -> [Address; 2] {
        self.identity().tokens
    }

    /// The fee on what goes in, in millionths.
    fn fee_millionths(&self) -> u32 {
        self.identity().fee_millionths
    }
}

/// What of a pool never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Where it is.
    pub address: Address,
    /// What it trades, in the contract's order.
    pub tokens: [Address; 2],
    /// Whose it is.
    pub protocol: Protocol,
    /// The fee on what goes in, in millionths: 3000 is 0.3 %. Under a million.
    pub fee_millionths: u32,
}

impl Identity {
    /// The way from one of the tokens to the other, by addresses.
    pub fn way_from(&self, token: Address) -> Option<Way> {
        match self.tokens {
            [first, _] if first == token => Some(Way::ZeroForOne),
            [_, second] if second == token => Some(Way::OneForZero),
            _ => None,
        }
    }

    /// What goes in that way, and what comes out.
    pub fn ends(&self, way: Way) -> (Address, Address) {
        (self.tokens[way.input()], self.tokens[way.output()])
    }
}

/// Which token goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The first in, the second out.
    ZeroForOne,
    /// The second in, the first out.
    OneForZero,
}

impl Way {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::ZeroForOne, Self::OneForZero];

    /// Whether the first token goes in.
    pub fn zero_for_one(self) -> bool {
        self == Self::ZeroForOne
    }

    /// The place of what goes in among the pool's tokens.
    pub fn input(self) -> usize {
        usize::from(!self.zero_for_one())
    }

    /// The place of what comes out.
    pub fn output(self) -> usize {
        usize::from(self.zero_for_one())
    }

    /// The other way.
    pub fn back(self) -> Self {
        if self.zero_for_one() { Self::OneForZero } else { Self::ZeroForOne }
    }
}

/// How a pool prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// x·y = k.
    ConstantProduct,
    /// Liquidity in ranges of ticks.
    ConcentratedLiquidity,
}

/// Whose contract a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Uniswap V2.
    UniswapV2,
    /// SushiSwap's pairs.
    SushiswapV2,
    /// Any other fork of Uniswap V2's pair.
    OtherV2,
    /// Uniswap V3.
    UniswapV3,
    /// Any other fork of Uniswap V3's pool.
    OtherV3,
}

impl Protocol {
    /// The name that requests, limits and answers use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UniswapV2 => "uniswap-v2",
            Self::SushiswapV2 => "sushiswap-v2",
            Self::OtherV2 => "other-v2",
            Self::UniswapV3 => "uniswap-v3",
            Self::OtherV3 => "other-v3",
        }
    }
}

/// What a trade takes and gives, in smallest units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// What goes in, fee included.
    pub amount_in: U256,
    /// What comes out.
    pub amount_out: U256,
    /// Initialised ticks crossed: each costs gas.
    pub ticks_crossed: u32,
    /// Whether all that was asked was traded: false where liquidity ended first.
    pub filled: bool,
    /// An estimate of the gas burnt inside the pool.
    pub gas: u64,
}
