//! What the rules hold figures to, and which changes of that are looser.

use std::collections::BTreeSet;

use kernel::Fault;
use kernel::chain::{Address, Amount};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Money;

/// Which way a bound is loosened.
macro_rules! looser {
    (more, $old:expr, $new:expr) => {
        $new > $old
    };
    (less, $old:expr, $new:expr) => {
        $new < $old
    };
    (allowed, $old:expr, $new:expr) => {
        // An empty list allows everything.
        if $new.is_empty() { !$old.is_empty() } else { !$old.is_empty() && !$new.is_subset($old) }
    };
    (denied, $old:expr, $new:expr) => {
        !$old.is_subset($new)
    };
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $way:ident;)+) => {
        /// The limits. Values are in the reference currency.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        /// A change of some limits; what is absent stays as it is.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct LimitsChange {
            $($(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Limits {
            /// With this change.
            #[must_use]
            pub fn with(mut self, change: LimitsChange) -> Self {
                $(if let Some(value) = change.$field {
                    self.$field = value;
                })+
                self
            }

            /// The limits that are looser in `new`, by name.
            pub fn loosened(&self, new: &Self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if looser!($way, &self.$field, &new.$field) {
                    names.push(stringify!($field));
                })+
                names
            }
        }
    };
}

limits! {
    /// Most notional of one trade.
    trade_notional_max: Money = Money::whole(10_000), more;
    /// Most open notional of any one token.
    token_notional_max: Money = Money::whole(25_000), more;
    /// Most open notional of any one protocol.
    protocol_notional_max: Money = Money::whole(25_000), more;
    /// Most open notional of all trades together.
    open_notional_max: Money = Money::whole(50_000), more;
    /// Most that may be lost in a day (UTC), what is open counted as lost.
    daily_loss_max: Money = Money::whole(200), more;
    /// Furthest that realised profit may fall below its peak, what is open counted as lost.
    drawdown_max: Money = Money::whole(500), more;
    /// Least expected gain after gas, fees and tip.
    net_profit_min: Money = Money::millionths(1), less;
    /// Most paid for a unit of gas, in wei.
    gas_price_max_wei: Amount = Amount::from(200_000_000_000), more;
    /// Most of the gain before gas that gas and tip may take, in basis points.
    gas_share_max_bps: u64 = 8_000, more;
    /// Most slippage accepted, in basis points.
    slippage_max_bps: u64 = 100, more;
    /// Furthest that the pools' price may be from the reference price, in basis points.
    oracle_deviation_max_bps: u64 = 500, more;
    /// Oldest reference price used, in seconds.
    oracle_age_max_seconds: u64 = 3_600, more;
    /// Most failures in a row before trading waits for a person.
    consecutive_failures_max: u32 = 5, more;
    /// Least age of a pool, in seconds; 0 asks for none.
    pool_age_min_seconds: u64 = 0, less;
    /// Least value in a pool; 0 asks for none.
    pool_liquidity_min: Money = Money::ZERO, less;
    /// The only tokens traded; empty for all that are not denied.
    tokens_allowed: BTreeSet<Address> = BTreeSet::new(), allowed;
    /// Tokens never traded.
    tokens_denied: BTreeSet<Address> = BTreeSet::new(), denied;
}

/// Most tokens on a list.
const TOKENS_MAX: usize = 1_000;

impl Limits {
    /// Refuses limits that cannot be meant.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](kernel::Code::InvalidArgument) for a negative bound or a list that is too long.
    pub fn validate(&self) -> Result<(), Fault> {
        let bounds = [
            ("trade_notional_max", self.trade_notional_max),
            ("token_notional_max", self.token_notional_max),
            ("protocol_notional_max", self.protocol_notional_max),
            ("open_notional_max", self.open_notional_max),
            ("daily_loss_max", self.daily_loss_max),
            ("drawdown_max", self.drawdown_max),
            ("net_profit_min", self.net_profit_min),
            ("pool_liquidity_min", self.pool_liquidity_min),
        ];
        if let Some((name, value)) = bounds.into_iter().find(|(_, value)| value.is_loss()) {
            return Err(Fault::invalid(format!("{name} is {value}")).hint("0 or more"));
        }
        for (name, list) in [("tokens_allowed", &self.tokens_allowed), ("tokens_denied", &self.tokens_denied)] {
            if list.len() > TOKENS_MAX {
                return Err(Fault::too_large(format!("{name} has {} tokens", list.len())).hint("at most 1,000"));
            }
        }
        Ok(())
    }
}
