//! What the gate keeps: the desk, reservations, trades.

use std::collections::{BTreeMap, BTreeSet};

use kernel::UnixMs;
use kernel::chain::{Address, Amount, Ground, Hash};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Signed;
use crate::risk::{Exposure, Limits, Money, Proposal, Standing, TradingState, Verdict};

/// The strategies that there are, and what each does.
pub const STRATEGIES: [(&str, &str); 1] = [(
    "flash-arbitrage",
    "buys and sells round a cycle of pools in one transaction with borrowed funds; reverts as a whole when it does not gain",
)];

/// Whether real funds move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything but the send; fills are simulated.
    #[default]
    Paper,
    /// Transactions are sent.
    Live,
}

impl Mode {
    /// Its name, as keys and tools have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Live => "live",
        }
    }
}

/// Who did something, when, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Set {
    /// Who.
    pub by: String,
    /// When, in milliseconds since the Unix epoch; 0 for what came with the system.
    pub at_ms: UnixMs,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// The kill switch, while it is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kill {
    /// Who pulled it first, when and why. Pulling it again changes nothing: it is latched.
    #[serde(flatten)]
    pub set: Set,
}

/// A version of the limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsRecord {
    /// Grows by one with every change; 0 for the defaults that nobody has set.
    pub version: u64,
    /// Who set them, when and why.
    #[serde(flatten)]
    pub set: Set,
    /// The limits.
    pub limits: Limits,
}

/// Whether a strategy may trade.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrategyState {
    /// Whether it was started.
    pub running: bool,
    /// Who started or stopped it last, when and why.
    #[serde(flatten)]
    pub set: Set,
}

/// Running sums of what was realised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Marks {
    /// The day that `day_net` is of, counted from the Unix epoch, UTC.
    pub day: i64,
    /// Realised since that day began.
    pub day_net: Money,
    /// Realised in all.
    pub total_net: Money,
    /// The most that `total_net` ever was, at least nothing. A trade that a reorganisation took back does not lower it.
    pub peak: Money,
    /// Failures since the last success.
    pub failures: u32,
}

impl Marks {
    /// Counts what a trade realised.
    pub(super) fn book(&mut self, net: Money) {
        self.day_net = self.day_net.plus(net);
        self.total_net = self.total_net.plus(net);
        self.peak = self.peak.max(self.total_net);
    }

    /// How far all that was realised is below its peak.
    pub fn drawdown(&self) -> Money {
        self.peak.minus(self.total_net).above_zero()
    }
}

/// One mode's exposure and marks: paper never counts against live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Books {
    /// What is held open.
    pub open: Exposure,
    /// What was realised.
    pub marks: Marks,
    /// How many entries its journal has.
    #[serde(default)]
    pub entries: u64,
}

/// All that a verdict depends on beside the trade: one entry of the store, so that one revision stands for all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Desk {
    /// Whose books they are: the sandbox that they began with; empty where there is no such thing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// The limits in force.
    pub limits: LimitsRecord,
    /// Whether trades are made at all.
    pub trading: TradingState,
    /// Who set that.
    pub trading_set: Set,
    /// The kill switch, if it is on.
    pub kill: Option<Kill>,
    /// Whether real funds move.
    pub mode: Mode,
    /// Who set that.
    pub mode_set: Set,
    /// The strategies that were ever started.
    pub strategies: BTreeMap<String, StrategyState>,
    /// Exposure and marks of paper trades.
    pub paper: Books,
    /// Exposure and marks of live trades.
    pub live: Books,
}

impl Desk {
    /// The desk that nobody has touched. On the sandbox, whose money is worth nothing, everything is set to trade from the start.
    pub(super) fn initial(ground: Ground) -> Self {
        if ground != (Ground::Sandbox { trades: true }) {
            return Self::default();
        }
        let set = Set { by: "sandbox".into(), at_ms: 0, reason: Some("its money is worth nothing".into()) };
        let started = StrategyState { running: true, set: set.clone() };
        Self {
            limits: LimitsRecord { version: 1, set: set.clone(), limits: Limits::default() },
            mode: Mode::Live,
            mode_set: set,
            strategies: STRATEGIES.iter().map(|(name, _)| ((*name).to_owned(), started.clone())).collect(),
            ..Self::default()
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits.limits
    }

    /// The books of a mode.
    pub fn book(&self, mode: Mode) -> &Books {
        match mode {
            Mode::Paper => &self.paper,
            Mode::Live => &self.live,
        }
    }

    pub(super) fn book_mut(&mut self, mode: Mode) -> &mut Books {
        match mode {
            Mode::Paper => &mut self.paper,
            Mode::Live => &mut self.live,
        }
    }

    /// What the rules look at for a trade of `strategy`, in the fleet's mode.
    pub fn standing(&self, strategy: &str) -> Standing {
        let Books { open, marks, .. } = self.book(self.mode);
        Standing {
            trading: self.trading,
            killed: self.kill.is_some(),
            live: self.mode == Mode::Live,
            limits_set: self.limits.version > 0,
            strategy_runs: self.strategies.get(strategy).is_some_and(|state| state.running),
            open: open.clone(),
            lost_today: marks.day_net.loss(),
            drawdown: marks.drawdown(),
            failures: marks.failures,
        }
    }

    /// Begins a new day, if it is one. A clock that went back does not bring yesterday again.
    pub(super) fn turn_to(&mut self, day: i64) {
        for marks in [&mut self.paper.marks, &mut self.live.marks] {
            if day > marks.day {
                (marks.day, marks.day_net) = (day, Money::ZERO);
            }
        }
    }
}

/// Exposure held for a trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reservation {
    /// The trade's id: its idempotency key.
    pub id: String,
    /// The trade.
    pub trade: Proposal,
    /// Whether it may be sent: the fleet's mode when it was reserved.
    pub mode: Mode,
    /// Since when, in milliseconds since the Unix epoch.
    pub reserved_ms: UnixMs,
    /// The version of the limits by which it was judged.
    pub limits_version: u64,
}

/// What came of asking for a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// What was reserved; none when the verdict refuses.
    pub reservation: Option<Reservation>,
    /// What the rules say. Of a reservation that stood already it says only that it was allowed.
    pub verdict: Verdict,
}

/// What a trade brought and cost. Values are in the reference currency at the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fill {
    /// The funding asset.
    pub asset: Address,
    /// Change of the funding asset's balance after the lender's fee, in its smallest units.
    pub units: Signed,
    /// The same as it was predicted from the pools' state.
    #[serde(default)]
    pub predicted: Option<Signed>,
    /// The same as it was simulated on the head before the send.
    #[serde(default)]
    pub simulated: Option<Signed>,
    /// What the lender took of the funding asset, in its smallest units.
    #[serde(default)]
    pub fee_units: Amount,
    /// Paid for gas, in wei.
    pub gas_wei: Amount,
    /// Paid to the block's builder besides, in wei.
    pub tip_wei: Amount,
    /// Output − input before all costs.
    pub gross: Money,
    /// The lender's fee.
    pub fee: Money,
    /// The gas.
    pub gas: Money,
    /// The tip.
    pub tip: Money,
    /// The transaction; absent in paper mode.
    #[serde(default)]
    pub transaction: Option<Hash>,
    /// The block that it is in, or was simulated on.
    #[serde(default)]
    pub block: Option<u64>,
}

impl Fill {
    /// What remains after all costs.
    pub fn net(&self) -> Money {
        self.gross.minus(self.fee).minus(self.gas).minus(self.tip)
    }

    /// Whether what was predicted, simulated and realised, as far as known, is one number.
    pub fn agrees(&self) -> bool {
        [self.predicted, self.simulated].into_iter().flatten().all(|other| other == self.units)
    }
}

/// What became of a reserved trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// It was made.
    Filled(Fill),
    /// It was tried and failed; what that cost is in the fill.
    Failed(Fill),
    /// Nothing left for the chain, and nothing will.
    Released {
        /// Why not.
        why: String,
    },
}

/// A trade that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trade {
    /// Its id.
    pub id: String,
    /// The strategy.
    pub strategy: String,
    /// What was traded.
    pub pair: String,
    /// Whether real funds moved.
    pub mode: Mode,
    /// What it put through the market.
    pub notional: Money,
    /// The tokens that it went through.
    pub tokens: BTreeSet<Address>,
    /// The protocols that it went through.
    pub protocols: BTreeSet<String>,
    /// When it was reserved, in milliseconds since the Unix epoch.
    pub reserved_ms: UnixMs,
    /// When it ended.
    pub ended_ms: UnixMs,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What remains after all costs.
    pub net: Money,
}
