//! Profit and loss as it was booked.

use std::collections::BTreeMap;

use kernel::Fault;
use kernel::clock::{date, day_of_date};
use market::gate::{Kill, LedgerRow, Mode};
use market::risk::{Exposure, TradingState};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Production;
use super::control::{Strategy, strategies};

/// Most days of one question.
const DAYS_MAX: i64 = 400;

/// What sums are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// By strategy.
    Strategy,
    /// By pair.
    Pair,
    /// By day, UTC.
    Day,
}

/// What [`PNL`](super::PNL) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PnlRequest {
    /// `paper` or `live`; the fleet's own unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The first day, like 2026-11-15 (UTC); 29 days before the last unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last day; today unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What sums are made by: any of strategy, pair, day, in any combination; only one sum when empty.
    pub by: Vec<Grouping>,
    /// Only this strategy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
}

/// One sum.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PnlRow {
    /// The day, if sums are made by it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub day: Option<String>,
    /// The strategy, if sums are made by it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub strategy: Option<String>,
    /// The pair, if sums are made by it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pair: Option<String>,
    /// The sums.
    #[serde(flatten)]
    pub sums: LedgerRow,
}

/// What [`PNL`](super::PNL) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PnlResponse {
    /// Of which mode.
    pub mode: Mode,
    /// The currency that values are in, each at its trade's time.
    pub currency: String,
    /// The first day.
    pub from: String,
    /// The last day.
    pub to: String,
    /// Everything.
    pub total: LedgerRow,
    /// The sums asked for, in the order of day, strategy, pair.
    pub rows: Vec<PnlRow>,
}

/// What [`REPORT`](super::REPORT) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReportRequest {
    /// `paper` or `live`; the fleet's own unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// What [`REPORT`](super::REPORT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReportResponse {
    /// Of which mode the figures are.
    pub mode: Mode,
    /// The mode that the fleet is in.
    pub fleet_mode: Mode,
    /// The currency that values are in.
    pub currency: String,
    /// The kill switch, if it is on.
    pub kill: Option<Kill>,
    /// The trading state.
    pub trading: TradingState,
    /// The strategies.
    pub strategies: Vec<Strategy>,
    /// What is held open.
    pub open: Exposure,
    /// Realised today, since midnight UTC.
    pub today: LedgerRow,
    /// Realised in seven days, today included.
    pub seven_days: LedgerRow,
    /// Realised in thirty days, today included.
    pub thirty_days: LedgerRow,
    /// The strategies' pairs of those thirty days, the most profitable first, at most ten.
    pub best: Vec<PnlRow>,
}

impl Production {
    pub(super) async fn pnl(&self, request: PnlRequest) -> Result<PnlResponse, ToolError> {
        let mode = self.mode(request.mode).await?;
        let day = |text: &Option<String>, default: i64| match text {
            None => Ok(default),
            Some(text) => {
                day_of_date(text).ok_or_else(|| Fault::invalid(format!("`{text}` is no day")).hint("2026-11-15"))
            }
        };
        let last = day(&request.to, self.today())?;
        let first = day(&request.from, last - 29)?;
        if first > last || last - first >= DAYS_MAX {
            return Err(Fault::invalid(format!("from {} to {}", date(first), date(last)))
                .hint(format!("1 to {DAYS_MAX} days, the first one first"))
                .into());
        }
        let (mut total, mut sums) = (LedgerRow::default(), BTreeMap::new());
        let by = |grouping| request.by.contains(&grouping);
        for row in self.gate.days(mode, first, last).await? {
            if request.strategy.as_ref().is_some_and(|strategy| row.strategy != *strategy) {
                continue;
            }
            total.add(&row.sums);
            let key = (
                by(Grouping::Day).then_some(row.day),
                by(Grouping::Strategy).then_some(row.strategy),
                by(Grouping::Pair).then_some(row.pair),
            );
            sums.entry(key).or_insert_with(LedgerRow::default).add(&row.sums);
        }
        let row = |((day, strategy, pair), sums): ((Option<i64>, _, _), _)| PnlRow {
            day: day.map(date),
            strategy,
            pair,
            sums,
        };
        let rows = if request.by.is_empty() { Vec::new() } else { sums.into_iter().map(row).collect() };
        let currency = self.currency.clone();
        Ok(PnlResponse { mode, currency, from: date(first), to: date(last), total, rows })
    }

    pub(super) async fn report(&self, request: ReportRequest) -> Result<ReportResponse, ToolError> {
        const BEST_MAX: usize = 10;
        let desk = self.gate.desk().await?;
        let (mode, today) = (request.mode.unwrap_or(desk.mode), self.today());
        let since = async |days: i64, by: Vec<Grouping>| {
            let from = Some(date(today + 1 - days));
            self.pnl(PnlRequest { mode: Some(mode), from, by, ..PnlRequest::default() }).await
        };
        let month = since(30, vec![Grouping::Strategy, Grouping::Pair]).await?;
        let mut best = month.rows;
        best.sort_by_key(|row| std::cmp::Reverse(row.sums.net));
        best.truncate(BEST_MAX);
        Ok(ReportResponse {
            mode,
            fleet_mode: desk.mode,
            currency: self.currency.clone(),
            strategies: strategies(&desk),
            open: desk.book(mode).open.clone(),
            today: since(1, Vec::new()).await?.total,
            seven_days: since(7, Vec::new()).await?.total,
            thirty_days: month.total,
            best,
            trading: desk.trading,
            kill: desk.kill,
        })
    }
}
