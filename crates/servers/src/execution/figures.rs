//! What is counted of intents and trades.

use std::time::Duration;

use kernel::intents::Intent;
use kernel::metrics::trading::{ModeLabel, StateLabel, TradeLabels, Trading};
use market::gate::{Desk, Mode, Outcome, Trade};
use market::risk::Money;
use serde_json::Value;

#[derive(Clone)]
pub(super) struct Figures(pub(super) Trading);

impl Figures {
    /// Counts the state that an intent came to.
    pub(super) fn count(&self, was: Option<&Intent>, now: &Intent) {
        if was.is_none_or(|was| was.state != now.state) {
            let state = serde_json::to_value(now.state).ok();
            let state = state.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
            self.0.intents.get_or_create(&StateLabel { state }).inc();
        }
    }

    /// Counts how long after its block was seen a trade was asked for.
    pub(super) fn decided(&self, after: Option<Duration>) {
        after.into_iter().for_each(|after| self.0.decided.observe(after.as_secs_f64()));
    }

    /// Counts how long after its block was seen a trade was taken by the pool.
    pub(super) fn submitted(&self, after: Option<Duration>) {
        after.into_iter().for_each(|after| self.0.submitted.observe(after.as_secs_f64()));
    }

    pub(super) fn taken_back(&self) {
        self.0.taken_back.inc();
    }

    pub(super) fn differs(&self) {
        self.0.differences.inc();
    }

    /// Counts a trade that ended.
    pub(super) fn ended(&self, trade: &Trade) {
        let outcome = match trade.outcome {
            Outcome::Filled(_) => "filled",
            Outcome::Failed(_) => "failed",
            Outcome::Released { .. } => "released",
        };
        let labels =
            TradeLabels { strategy: trade.strategy.clone(), mode: trade.mode.as_str().into(), outcome: outcome.into() };
        self.0.trades.get_or_create(&labels).inc();
    }

    /// Shows how the books stand.
    pub(super) fn show(&self, desk: &Desk) {
        self.0.kill_switch.set(i64::from(desk.kill.is_some()));
        for mode in [Mode::Paper, Mode::Live] {
            let (book, label) = (desk.book(mode), ModeLabel { mode: mode.as_str().into() });
            self.0.profit.get_or_create(&label).set(whole(book.marks.total_net));
            self.0.drawdown.get_or_create(&label).set(whole(book.marks.drawdown()));
            self.0.open_notional.get_or_create(&label).set(whole(book.open.notional));
        }
    }
}

/// A figure to look at; money is counted elsewhere.
fn whole(value: Money) -> f64 {
    value.in_millionths() as f64 / 1e6
}
