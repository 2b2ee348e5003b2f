//! What could happen: losses that days of the past suggest, and what a shock would cost what is open now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Limits, Money, Proposal, Standing};

/// The loss of one day that, by the days given, is not exceeded with this confidence: the historical value at risk, the empirical
/// quantile without interpolation (Jorion, *Value at Risk*, "historical simulation"). Nothing where that day is a gain; `None` without days.
pub fn value_at_risk(days: &[Money], confidence_bps: u32) -> Option<Money> {
    let mut days = days.to_vec();
    days.sort_unstable();
    let tail_bps = u64::from(10_000u32.saturating_sub(confidence_bps));
    let rank = usize::try_from(days.len() as u64 * tail_bps / 10_000).ok()?;
    Some(days.get(rank.min(days.len().checked_sub(1)?))?.loss())
}

/// The Herfindahl–Hirschman index of shares of a whole, in basis points: 10,000 when all is one, 10,000 ÷ n when n are equal. `None` of nothing.
pub fn share_bps(values: impl Iterator<Item = Money> + Clone) -> Option<u64> {
    let whole = values.clone().fold(Money::ZERO, Money::plus);
    let mut index: u128 = 0;
    for value in values {
        index += u128::from(value.share_bps(whole)?).pow(2);
    }
    u64::try_from(index / 10_000).ok().filter(|index| *index > 0).map(|index| index.min(10_000))
}

/// A shock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stress {
    /// All prices move against every open trade by so many basis points: those that revert as a whole fail, others lose the move and their gas.
    Price(u32),
    /// Gas costs so many basis points of what it did (30,000 is three times), and every open trade fails.
    Gas(u32),
    /// Reference prices are gone: nothing new is let through, and every open trade fails.
    OracleFailure,
}

/// What a shock would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StressOutcome {
    /// The shock.
    pub stress: Stress,
    /// What open trades would lose.
    pub loss: Money,
    /// The day's loss after it.
    pub lost_today: Money,
    /// The distance from the peak of realised profit after it.
    pub drawdown: Money,
    /// Whether the limit of the daily loss would be broken.
    pub breaks_daily_loss: bool,
    /// Whether the limit of the drawdown would be broken.
    pub breaks_drawdown: bool,
    /// How many of the open trades would not be let through again.
    pub refused: u64,
}

/// What `stress` would do to the trades that are open.
pub fn stress(stress: Stress, open: &[Proposal], limits: &Limits, standing: &Standing) -> StressOutcome {
    let loss_of = |trade: &Proposal| match stress {
        Stress::Price(bps) if !trade.atomic => {
            trade.notional.bps_up(u64::from(bps)).plus(trade.gas_cost).min(trade.at_risk)
        }
        Stress::Gas(bps) if trade.atomic => trade.at_risk.bps_up(u64::from(bps)).max(trade.at_risk),
        _ => trade.at_risk,
    };
    let refused = |trade: &&Proposal| match stress {
        Stress::Price(bps) => bps > trade.slippage_bps,
        Stress::Gas(bps) => trade.gross.minus(trade.gas_cost.bps_up(u64::from(bps))) < limits.net_profit_min,
        Stress::OracleFailure => true,
    };
    let loss = open.iter().map(loss_of).fold(Money::ZERO, Money::plus);
    let (lost_today, drawdown) = (standing.lost_today.plus(loss), standing.drawdown.plus(loss));
    StressOutcome {
        stress,
        loss,
        lost_today,
        drawdown,
        breaks_daily_loss: lost_today > limits.daily_loss_max,
        breaks_drawdown: drawdown > limits.drawdown_max,
        refused: open.iter().filter(refused).count() as u64,
    }
}
