//! Figures from the ledger and from what is open: drawdown, value at risk, stress, and the report of all.

use kernel::Fault;
use kernel::clock::date;
use market::gate::{Desk, Mode};
use market::risk::{Money, Proposal, Stress, StressOutcome, stress, value_at_risk};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RiskManagement;
use super::look::{self, KillSwitchStateResponse, ModeRequest, Usage};

/// Most days looked back.
const DAYS_MAX: u32 = 400;
/// Fewer days than this make no figure that a decision should stand on.
const DAYS_FEW: u64 = 30;

/// What [`VALUE_AT_RISK`](super::VALUE_AT_RISK) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ValueAtRiskRequest {
    /// The confidence in basis points: 9,500 (95 %) unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5000, max = 9999))]
    pub confidence_bps: Option<u32>,
    /// How many whole days before today to look at: 1 to 400, 365 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 400))]
    pub days: Option<u32>,
    /// `paper` or `live`; the fleet's own unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// What [`VALUE_AT_RISK`](super::VALUE_AT_RISK) answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValueAtRiskResponse {
    /// Of which mode.
    pub mode: Mode,
    /// The loss of one day that is not exceeded with this confidence; absent when there is no day to learn from.
    pub value_at_risk: Option<Money>,
    /// The confidence, in basis points.
    pub confidence_bps: u32,
    /// On how many days it stands: from the first with a trade up to yesterday, those without one included.
    pub days: u64,
    /// The first of them.
    pub since: Option<String>,
    /// The worst of them.
    pub worst_day: Option<Money>,
    /// What to beware of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub caution: Option<String>,
}

/// What [`DRAWDOWN`](super::DRAWDOWN) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrawdownRequest {
    /// How many days to list, today included: 1 to 400, 30 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 400))]
    pub days: Option<u32>,
    /// `paper` or `live`; the fleet's own unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// A day in the ledger.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DayMark {
    /// The day, UTC.
    pub date: String,
    /// What it brought after all costs.
    pub net: Money,
    /// How far the sum since the first day listed is below its peak at the day's end.
    pub drawdown: Money,
}

/// What [`DRAWDOWN`](super::DRAWDOWN) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DrawdownResponse {
    /// Of which mode.
    pub mode: Mode,
    /// Realised in all.
    pub total_net: Money,
    /// The most that was ever.
    pub peak: Money,
    /// How far it is below that.
    pub drawdown: Money,
    /// What was lost since midnight UTC, gains counted against it.
    pub lost_today: Money,
    /// Failures since the last success.
    pub failures: u32,
    /// Use of the limits of losses, what is open counted as lost.
    pub limits: Vec<Usage>,
    /// Day by day, the oldest first, from the first with a trade.
    pub days: Vec<DayMark>,
}

/// What [`STRESS`](super::STRESS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StressRequest {
    /// How far prices move against every open trade, in basis points: 1,000 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub price_bps: Option<u32>,
    /// What gas costs, in basis points of what it did: 30,000 (three times) unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10_000, max = 10_000_000))]
    pub gas_bps: Option<u32>,
    /// `paper` or `live`; the fleet's own unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// What [`STRESS`](super::STRESS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StressResponse {
    /// Of which mode.
    pub mode: Mode,
    /// How many trades are open.
    pub open: u64,
    /// Each shock by itself.
    pub shocks: Vec<StressOutcome>,
}

/// What [`RISK_REPORT`](super::RISK_REPORT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RiskReport {
    /// In one line.
    pub summary: String,
    /// Of which mode the figures are.
    pub mode: Mode,
    /// The currency that values are in.
    pub currency: String,
    /// Kill switch, trading state and the fleet's mode.
    pub states: KillSwitchStateResponse,
    /// The version of the limits.
    pub limits_version: u64,
    /// Use of every limit that is of a sum.
    pub limits: Vec<Usage>,
    /// Realised in all.
    pub total_net: Money,
    /// Failures since the last success.
    pub failures: u32,
    /// At 95 %.
    pub value_at_risk: ValueAtRiskResponse,
    /// The shocks.
    pub stress: StressResponse,
}

fn within(what: &str, value: Option<u32>, default: u32, min: u32, max: u32) -> Result<u32, Fault> {
    let value = value.unwrap_or(default);
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(Fault::invalid(format!("{what} is {value}")).hint(format!("{min} to {max}")))
}

impl RiskManagement {
    pub(super) async fn value_at_risk(&self, request: ValueAtRiskRequest) -> Result<ValueAtRiskResponse, ToolError> {
        let confidence_bps = within("confidence_bps", request.confidence_bps, 9_500, 5_000, 9_999)?;
        let days = within("days", request.days, 365, 1, DAYS_MAX)?;
        let mode = self.desk(request.mode).await?.mode;
        // Today is not over, so it says nothing of what a day brings.
        let yesterday = self.today() - 1;
        let daily = self.gate.daily_net(mode, yesterday + 1 - i64::from(days), yesterday).await?;
        let nets: Vec<Money> = daily.iter().map(|(_, net)| *net).collect();
        let count = nets.len() as u64;
        Ok(ValueAtRiskResponse {
            mode,
            value_at_risk: value_at_risk(&nets, confidence_bps),
            confidence_bps,
            days: count,
            since: daily.first().map(|(day, _)| date(*day)),
            worst_day: nets.iter().min().copied(),
            caution: (count < DAYS_FEW).then(|| format!("stands on {count} days only: {DAYS_FEW} are few")),
        })
    }

    pub(super) async fn drawdown(&self, request: DrawdownRequest) -> Result<DrawdownResponse, ToolError> {
        let days = within("days", request.days, 30, 1, DAYS_MAX)?;
        let desk = self.desk(request.mode).await?;
        let (today, marks) = (self.today(), &desk.book(desk.mode).marks);
        let (mut total, mut peak) = (Money::ZERO, Money::ZERO);
        let daily = self.gate.daily_net(desk.mode, today + 1 - i64::from(days), today).await?;
        let days = daily.into_iter().map(|(day, net)| {
            total = total.plus(net);
            peak = peak.max(total);
            DayMark { date: date(day), net, drawdown: peak.minus(total) }
        });
        Ok(DrawdownResponse {
            mode: desk.mode,
            total_net: marks.total_net,
            peak: marks.peak,
            drawdown: marks.drawdown(),
            lost_today: marks.day_net.loss(),
            failures: marks.failures,
            limits: lost(&desk),
            days: days.collect(),
        })
    }

    pub(super) async fn stress(&self, request: StressRequest) -> Result<StressResponse, ToolError> {
        let price = within("price_bps", request.price_bps, 1_000, 1, 10_000)?;
        let gas = within("gas_bps", request.gas_bps, 30_000, 10_000, 10_000_000)?;
        let desk = self.desk(request.mode).await?;
        let open = self.gate.all_open().await?.into_iter().filter(|one| one.mode == desk.mode);
        let open: Vec<Proposal> = open.map(|one| one.trade).collect();
        let standing = desk.standing("");
        let shocks = [Stress::Price(price), Stress::Gas(gas), Stress::OracleFailure];
        let shocks = shocks.map(|shock| stress(shock, &open, desk.limits(), &standing)).into();
        Ok(StressResponse { mode: desk.mode, open: open.len() as u64, shocks })
    }

    pub(super) async fn risk_report(&self, request: ModeRequest) -> Result<RiskReport, ToolError> {
        let states = self.kill_switch_state().await?;
        let summary = super::summary(&self.gate.desk().await?);
        let desk = self.desk(request.mode).await?;
        let mode = desk.mode;
        let (open, marks) = (&desk.book(mode).open, &desk.book(mode).marks);
        let mut limits = look::held(open, desk.limits());
        limits.extend(lost(&desk));
        Ok(RiskReport {
            summary,
            mode,
            currency: self.currency.clone(),
            states,
            limits_version: desk.limits.version,
            limits,
            total_net: marks.total_net,
            failures: marks.failures,
            value_at_risk: self.value_at_risk(ValueAtRiskRequest { mode: Some(mode), ..Default::default() }).await?,
            stress: self.stress(StressRequest { mode: Some(mode), ..Default::default() }).await?,
        })
    }
}

/// Use of the limits of losses, what is open counted as lost, as the rules do.
fn lost(desk: &Desk) -> Vec<Usage> {
    let (standing, limits) = (desk.standing(""), desk.limits());
    let at_risk = standing.open.at_risk;
    vec![
        look::used("daily_loss_max", standing.lost_today.plus(at_risk), limits.daily_loss_max, None),
        look::used("drawdown_max", standing.drawdown.plus(at_risk), limits.drawdown_max, None),
    ]
}
