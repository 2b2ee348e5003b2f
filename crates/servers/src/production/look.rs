//! What is open, what was earned, and the trades that ended.

use kernel::Fault;
use kernel::chain::{Address, Amount, BlockId};
use market::Signed;
use market::gate::{Gate, Mode, Outcome, Reservation, Trade};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Production;
use crate::when::When;

/// Most trades of one answer.
const TRADES_MAX: u32 = 500;
/// Most trades looked through for one answer.
const LOOKED_MAX: usize = 5_000;

/// What [`POSITIONS`](super::POSITIONS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PositionsRequest {
    /// `paper` or `live`; the fleet's own unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// What trades changed of one asset's balance.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// The asset.
    pub asset: Address,
    /// Its symbol, by the asset's own word; absent when it has none or the chain cannot be asked now.
    pub symbol: Option<String>,
    /// The change of its balance after lenders' fees, in smallest units.
    pub units: Signed,
    /// The same in whole units; absent when the chain cannot be asked now.
    pub amount: Option<String>,
    /// Paid for gas and tips by the trades of this asset, in wei of the native coin.
    pub spent_wei: Signed,
}

/// What [`POSITIONS`](super::POSITIONS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PositionsResponse {
    /// Of which mode.
    pub mode: Mode,
    /// Trades that are reserved and not settled.
    pub open: Vec<Reservation>,
    /// What settled trades changed of each asset's balance.
    pub assets: Vec<Position>,
}

/// What [`TRADES`](super::TRADES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TradesRequest {
    /// Only this mode; both unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Only this strategy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Only those whose prediction, simulation and outcome are not one number.
    pub differing: bool,
    /// From when on: 2026-11-15T08:00:00Z, -15m, or milliseconds since the Unix epoch; a day ago unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<When>,
    /// The `next` of the answer before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most this many: 1 to 500, 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<u32>,
}

/// A trade that ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TradeRow {
    /// The trade.
    #[serde(flatten)]
    pub trade: Trade,
    /// Whether what was predicted, simulated and realised is one number, as far as it is known; absent for what was never tried.
    pub agrees: Option<bool>,
}

/// What [`TRADES`](super::TRADES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TradesResponse {
    /// The oldest first.
    pub trades: Vec<TradeRow>,
    /// Where to go on, when there may be more.
    pub next: Option<String>,
}

impl Production {
    pub(super) async fn positions(&self, request: PositionsRequest) -> Result<PositionsResponse, ToolError> {
        let mode = self.mode(request.mode).await?;
        let open = self.gate.all_open().await?.into_iter().filter(|one| one.mode == mode).collect();
        let mut assets = Vec::new();
        for (asset, holding) in self.gate.holdings(mode).await? {
            // The ledger's figures stand without the chain; it only dresses them.
            let token = self.chain.token(asset, BlockId::Latest).await.ok();
            assets.push(Position {
                asset,
                units: holding.units,
                amount: token.as_ref().and_then(|token| Some(in_units(holding.units, token.decimals?))),
                symbol: token.and_then(|token| token.symbol),
                spent_wei: holding.spent_wei,
            });
        }
        Ok(PositionsResponse { mode, open, assets })
    }

    pub(super) async fn trades(&self, request: TradesRequest) -> Result<TradesResponse, ToolError> {
        let limit = request.limit.unwrap_or(100);
        if !(1..=TRADES_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {TRADES_MAX}")).into());
        }
        let since = request.since.unwrap_or(When::Ago(86_400_000)).resolve(self.clock.now_ms());
        let begin = Gate::trades_since(since);
        let mut after = request.cursor.unwrap_or_else(|| begin.clone()).max(begin);
        let (mut trades, mut looked) = (Vec::new(), 0);
        loop {
            let page = self.gate.trades(Some(&after), TRADES_MAX as usize).await?;
            let full = page.len() == TRADES_MAX as usize;
            for (key, trade) in page {
                (after, looked) = (key, looked + 1);
                let row = TradeRow { agrees: agrees(&trade), trade };
                let wanted = request.mode.is_none_or(|mode| row.trade.mode == mode)
                    && request.strategy.as_ref().is_none_or(|strategy| row.trade.strategy == *strategy)
                    && (!request.differing || row.agrees == Some(false));
                if wanted {
                    trades.push(row);
                }
                if trades.len() == limit as usize || looked == LOOKED_MAX {
                    return Ok(TradesResponse { trades, next: Some(after) });
                }
            }
            if !full {
                return Ok(TradesResponse { trades, next: None });
            }
        }
    }
}

fn agrees(trade: &Trade) -> Option<bool> {
    match &trade.outcome {
        Outcome::Filled(fill) | Outcome::Failed(fill) => Some(fill.agrees()),
        Outcome::Released { .. } => None,
    }
}

fn in_units(units: Signed, decimals: u8) -> String {
    let sign = if units.is_loss() { "-" } else { "" };
    format!("{sign}{}", Amount(units.size()).in_units(decimals))
}
