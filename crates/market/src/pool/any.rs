//! Any kind of pool, chosen by what it is and not by a pointer: a search touches thousands.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

use super::{Event, Identity, Kind, Pool, Price, Quote, V2, V3, Way};
use crate::Result;

/// A pool of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum AnyPool {
    /// x·y = k.
    ConstantProduct(V2),
    /// Liquidity in ranges of ticks.
    ConcentratedLiquidity(V3),
}

macro_rules! each {
    ($any:expr, $pool:ident => $what:expr) => {
        match $any {
            AnyPool::ConstantProduct($pool) => $what,
            AnyPool::ConcentratedLiquidity($pool) => $what,
        }
    };
}

impl Pool for AnyPool {
    fn identity(&self) -> &Identity {
        each!(self, pool => pool.identity())
    }

    fn kind(&self) -> Kind {
        each!(self, pool => pool.kind())
    }

    fn quote_exact_in(&self, way: Way, amount: U256) -> Result<Quote> {
        each!(self, pool => pool.quote_exact_in(way, amount))
    }

    fn quote_exact_out(&self, way: Way, amount: U256) -> Result<Quote> {
        each!(self, pool => pool.quote_exact_out(way, amount))
    }

    fn swap_exact_in(&mut self, way: Way, amount: U256) -> Result<(Quote, Event)> {
        each!(self, pool => pool.swap_exact_in(way, amount))
    }

    fn swap_exact_out(&mut self, way: Way, amount: U256) -> Result<(Quote, Event)> {
        each!(self, pool => pool.swap_exact_out(way, amount))
    }

    fn apply(&mut self, event: &Event) -> Result<Event> {
        each!(self, pool => pool.apply(event))
    }

    fn spot_price(&self, way: Way) -> Result<Price> {
        each!(self, pool => pool.spot_price(way))
    }

    fn gas(&self) -> u64 {
        each!(self, pool => pool.gas())
    }
}

impl From<V2> for AnyPool {
    fn from(pool: V2) -> Self {
        Self::ConstantProduct(pool)
    }
}

impl From<V3> for AnyPool {
    fn from(pool: V3) -> Self {
        Self::ConcentratedLiquidity(pool)
    }
}
