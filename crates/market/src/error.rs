//! How arithmetic says no.

use kernel::Fault;
use kernel::chain::Address;

/// The result of everything here that can refuse.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a quote, a change of state or a figure cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was asked for.
    #[error("an amount of zero cannot be traded")]
    ZeroAmount,
    /// The pool has no price yet, or nothing on one side.
    #[error("the pool is empty or not initialised")]
    NoLiquidity,
    /// More was asked for than the pool has.
    #[error("the pool does not hold that much")]
    InsufficientLiquidity,
    /// So little was given that nothing comes out, which the contract refuses.
    #[error("so small an amount yields nothing")]
    NoOutput,
    /// A number does not fit the type the contract keeps it in.
    #[error("a number does not fit the contract's type")]
    Overflow,
    /// The price limit is on the wrong side of the price, or outside the range of prices.
    #[error("the price limit is on the wrong side of the price or out of range")]
    PriceLimit,
    /// The pool does not trade that pair.
    #[error("the pool does not trade that way")]
    UnknownWay,
    /// An event of another kind of pool, or one that cannot have happened in this state.
    #[error("the event does not fit the pool's state")]
    EventMismatch,
    /// A snapshot that no contract could be in.
    #[error("the state contradicts itself: {0}")]
    BadState(&'static str),
    /// No pool of that address, or one that left.
    #[error("no pool {0}")]
    UnknownPool(Address),
    /// No pool of that id, or one that left.
    #[error("no pool has the id {}", .0.0)]
    NotThere(crate::PoolId),
    /// A pool of that address is there already.
    #[error("pool {0} is there already")]
    KnownPool(Address),
    /// A change of an older block than the newest.
    #[error("block {block} comes after block {newest}")]
    OutOfOrder {
        /// The block of the change.
        block: u64,
        /// The newest block changed.
        newest: u64,
    },
    /// What undoing would need is forgotten.
    #[error("changes are remembered back to block {oldest} only")]
    TooDeep {
        /// The oldest block that can be undone.
        oldest: u64,
    },
}

impl Error {
    /// The reason's stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ZeroAmount => "zero_amount",
            Self::NoLiquidity => "no_liquidity",
            Self::InsufficientLiquidity => "insufficient_liquidity",
            Self::NoOutput => "no_output",
            Self::Overflow => "overflow",
            Self::PriceLimit => "price_limit",
            Self::UnknownWay => "unknown_way",
            Self::EventMismatch => "event_mismatch",
            Self::BadState(_) => "bad_state",
            Self::UnknownPool(_) | Self::NotThere(_) => "unknown_pool",
            Self::KnownPool(_) => "known_pool",
            Self::OutOfOrder { .. } => "out_of_order",
            Self::TooDeep { .. } => "too_deep",
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::UnknownPool(_) | Error::NotThere(_) => {
                Self::not_found(error.to_string()).hint("a pool that is followed now")
            }
            Error::KnownPool(_) => Self::already_exists(error.to_string()),
            Error::OutOfOrder { .. } | Error::TooDeep { .. } => Self::conflict(error.to_string()),
            _ => Self::invalid(error.to_string()).hint(format!("reason: {}", error.code())),
        }
    }
}
