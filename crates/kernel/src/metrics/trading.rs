//! The figures of trading.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::FloatGauge;

/// Labels of intents.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// The state come to.
    pub state: String,
}

/// Labels of trades.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TradeLabels {
    /// The strategy.
    pub strategy: String,
    /// `paper` or `live`.
    pub mode: String,
    /// `filled`, `failed` or `released`.
    pub outcome: String,
}

/// Labels of what is kept apart by mode.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModeLabel {
    /// `paper` or `live`.
    pub mode: String,
}

/// Bounds of what passes between a block and its trades, in seconds: finest where it matters, 0.5 ms to 1 s.
const AFTER_BLOCK: [f64; 20] = [
    0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003, 0.0035, 0.004, 0.005, 0.006, 0.007, 0.008, 0.01, 0.0125, 0.015, 0.02,
    0.05, 0.1, 0.25, 1.0,
];

/// The figures. Values are in the reference currency.
#[derive(Clone)]
pub struct Trading {
    /// `flotilla_intents_total{state}`.
    pub intents: Family<StateLabel, Counter>,
    /// `flotilla_trades_total{strategy,mode,outcome}`.
    pub trades: Family<TradeLabels, Counter>,
    /// `flotilla_trade_differences_total`: trades whose prediction, simulation and outcome are not one number.
    pub differences: Counter,
    /// `flotilla_trades_taken_back_total`: trades whose block left the chain.
    pub taken_back: Counter,
    /// `flotilla_profit_reference{mode}`: realised in all.
    pub profit: Family<ModeLabel, FloatGauge>,
    /// `flotilla_drawdown_reference{mode}`: below the peak of that.
    pub drawdown: Family<ModeLabel, FloatGauge>,
    /// `flotilla_open_notional_reference{mode}`: held open.
    pub open_notional: Family<ModeLabel, FloatGauge>,
    /// `flotilla_kill_switch`: 1 while it is on.
    pub kill_switch: Gauge,
    /// `flotilla_trade_decided_seconds`: from a block seen to the request to submit a trade found in it.
    pub decided: Histogram,
    /// `flotilla_trade_submitted_seconds`: from a block seen to its trade taken by the pool of transactions.
    pub submitted: Histogram,
}

impl Default for Trading {
    fn default() -> Self {
        Self {
            intents: Family::default(),
            trades: Family::default(),
            differences: Counter::default(),
            taken_back: Counter::default(),
            profit: Family::default(),
            drawdown: Family::default(),
            open_notional: Family::default(),
            kill_switch: Gauge::default(),
            decided: Histogram::new(AFTER_BLOCK),
            submitted: Histogram::new(AFTER_BLOCK),
        }
    }
}

impl Trading {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("flotilla_intents", "Transactions by the state they came to", self.intents.clone());
        r.register("flotilla_trades", "Trades that ended", self.trades.clone());
        r.register(
            "flotilla_trade_differences",
            "Trades that came out otherwise than predicted",
            self.differences.clone(),
        );
        r.register("flotilla_trades_taken_back", "Trades whose block left the chain", self.taken_back.clone());
        r.register("flotilla_profit_reference", "Realised profit in the reference currency", self.profit.clone());
        r.register("flotilla_drawdown_reference", "Realised profit below its peak", self.drawdown.clone());
        r.register("flotilla_open_notional_reference", "Notional held open", self.open_notional.clone());
        r.register("flotilla_kill_switch", "1 while the kill switch is on", self.kill_switch.clone());
        r.register("flotilla_trade_decided_seconds", "Block seen to trade chosen", self.decided.clone());
        r.register("flotilla_trade_submitted_seconds", "Block seen to trade in the pool", self.submitted.clone());
    }

    pub(super) fn touch(&self) {
        let text = String::new;
        drop(self.intents.get_or_create(&StateLabel { state: text() }));
        drop(self.trades.get_or_create(&TradeLabels { strategy: text(), mode: text(), outcome: text() }));
        for gauge in [&self.profit, &self.drawdown, &self.open_notional] {
            gauge.get_or_create(&ModeLabel { mode: text() }).set(0.0);
        }
    }
}
