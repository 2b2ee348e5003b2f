//! What is open, what the ledger holds, the trades that ended and the journal.

use kernel::Fault;
use kernel::chain::{Amount, BlockId};
use market::Signed;
use market::gate::{Gate, Mode, Outcome, Reservation, Trade};
use market::ledger::{Account, Entry, Posting, Unit};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Production;
use crate::when::When;

/// Decimals of the native coin.
const NATIVE_DECIMALS: u8 = 18;
/// Most trades, or entries of the journal, of one answer.
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

/// By how much the wallet's balance of a unit has changed, by the ledger: it is what the chain must say.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// A token's address, or `native`: what was spent on gas and tips is a change below nothing.
    pub asset: Unit,
    /// Its symbol, by the asset's own word; absent when it has none or the chain cannot be asked now.
    pub symbol: Option<String>,
    /// The change, in smallest units.
    pub units: Signed,
    /// The same in whole units; absent when the chain cannot be asked now.
    pub amount: Option<String>,
}

/// What [`POSITIONS`](super::POSITIONS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PositionsResponse {
    /// Of which mode.
    pub mode: Mode,
    /// Trades that are reserved and not settled.
    pub open: Vec<Reservation>,
    /// What trades that ended changed of the wallet's balances.
    pub assets: Vec<Position>,
    /// The ledger's balances, account by account; of each unit they sum to nothing. A debit is positive, a credit negative.
    pub accounts: Vec<Posting>,
}

/// What [`TRADES`](super::TRADES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TradesRequest {
    /// Only this mode; both unless given, of trades.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Only this strategy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Only those whose prediction, simulation and outcome are not one number.
    pub differing: bool,
    /// Instead of trades the double-entry journal of one mode, the fleet's own unless given: its entries, those too that reverse what a
    /// reorganisation took back.
    pub journal: bool,
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
    /// The oldest first; none when the journal was asked for.
    pub trades: Vec<TradeRow>,
    /// The entries of the journal, the oldest first, when it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub journal: Vec<Entry>,
    /// Where to go on, when there may be more.
    pub next: Option<String>,
}

impl Production {
    pub(super) async fn positions(&self, request: PositionsRequest) -> Result<PositionsResponse, ToolError> {
        let mode = self.mode(request.mode).await?;
        let open = self.gate.all_open().await?.into_iter().filter(|one| one.mode == mode).collect();
        let accounts = self.gate.balances(mode).await?.list();
        let mut assets = Vec::new();
        for posting in accounts.iter().filter(|posting| posting.account == Account::Wallet) {
            // The ledger's figures stand without the chain; it only dresses them.
            let (symbol, decimals) = match posting.unit {
                Unit::Native => (None, Some(NATIVE_DECIMALS)),
                Unit::Token(token) => match self.chain.token(token, BlockId::Latest).await {
                    Ok(token) => (token.symbol, token.decimals),
                    Err(_) => (None, None),
                },
            };
            let amount = decimals.map(|decimals| in_units(posting.amount, decimals));
            assets.push(Position { asset: posting.unit, symbol, units: posting.amount, amount });
        }
        Ok(PositionsResponse { mode, open, assets, accounts })
    }

    pub(super) async fn trades(&self, request: TradesRequest) -> Result<TradesResponse, ToolError> {
        let limit = request.limit.unwrap_or(100);
        if !(1..=TRADES_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {TRADES_MAX}")).into());
        }
        let since = request.since.unwrap_or(When::Ago(86_400_000)).resolve(self.clock.now_ms());
        if request.journal {
            return self.journal(request, since, limit as usize).await;
        }
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
                    return Ok(TradesResponse { trades, journal: Vec::new(), next: Some(after) });
                }
            }
            if !full {
                return Ok(TradesResponse { trades, journal: Vec::new(), next: None });
            }
        }
    }

    async fn journal(&self, request: TradesRequest, since_ms: i64, limit: usize) -> Result<TradesResponse, ToolError> {
        if request.differing || request.strategy.is_some() {
            return Err(Fault::invalid("the journal is not asked for by strategy or difference")
                .hint("journal goes with mode, since, cursor and limit")
                .into());
        }
        let mode = self.mode(request.mode).await?;
        let begin = Gate::journal_since(mode, since_ms);
        let after = request.cursor.unwrap_or_else(|| begin.clone()).max(begin);
        let page = self.gate.journal(mode, Some(&after), limit).await?;
        let next = page.last().filter(|_| page.len() == limit).map(|(key, _)| key.clone());
        let journal = page.into_iter().map(|(_, entry)| entry).collect();
        Ok(TradesResponse { trades: Vec::new(), journal, next })
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
