//! What was realised, by day, strategy and pair: the journal's values, summed where they are asked for most.

use std::collections::BTreeMap;

use kernel::store::LIST_MAX;
use kernel::{Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Gate, Mode, parse, place};
use crate::risk::Money;

/// Most rows one question reads.
const ROWS_MAX: usize = 20_000;

/// Sums over trades. Values are in the reference currency, each at its trade's time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerRow {
    /// How many trades, those that failed included.
    pub trades: u64,
    /// How many of them were made.
    pub filled: u64,
    /// How many left a gain after all costs.
    pub won: u64,
    /// Output − input before all costs.
    pub gross: Money,
    /// Lenders' fees.
    pub fees: Money,
    /// Gas.
    pub gas: Money,
    /// Tips to block builders.
    pub tips: Money,
    /// Gross less fees, gas and tips.
    pub net: Money,
}

impl LedgerRow {
    /// Adds another's sums.
    pub fn add(&mut self, other: &Self) {
        self.trades += other.trades;
        self.filled += other.filled;
        self.won += other.won;
        self.gross = self.gross.plus(other.gross);
        self.fees = self.fees.plus(other.fees);
        self.gas = self.gas.plus(other.gas);
        self.tips = self.tips.plus(other.tips);
        self.net = self.net.plus(other.net);
    }
}

/// The sums of one day, strategy and pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRow {
    /// The day, counted from the Unix epoch, UTC.
    pub day: i64,
    /// The strategy.
    pub strategy: String,
    /// The pair.
    pub pair: String,
    /// The sums.
    pub sums: LedgerRow,
}

impl DayRow {
    pub(super) fn key(realm: &str, mode: Mode, day: i64, strategy: &str, pair: &str) -> String {
        // A pair may hold a slash; a strategy's name does not, and both come last.
        place(realm, &format!("{}{day:07}/{strategy}/{pair}", prefix(mode)))
    }

    fn read(prefix: &str, key: &str, value: &str) -> Result<Self> {
        let mut parts = key.strip_prefix(prefix).unwrap_or_default().splitn(3, '/');
        let (Some(day), Some(strategy), Some(pair)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Fault::internal(format!("`{key}` of the risk gate is no row of a day")));
        };
        let day = day.parse().map_err(|_| Fault::internal(format!("`{key}` of the risk gate names no day")))?;
        Ok(Self { day, strategy: strategy.into(), pair: pair.into(), sums: parse(key, value)? })
    }
}

fn prefix(mode: Mode) -> String {
    format!("pnl/{}/", mode.as_str())
}

impl Gate {
    /// The sums of the days from `first` to `last`, counted from the Unix epoch, both included; the oldest first.
    ///
    /// # Errors
    /// [`Code::TooLarge`](kernel::Code::TooLarge) when there are too many rows.
    pub async fn days(&self, mode: Mode, first: i64, last: i64) -> Result<Vec<DayRow>> {
        let prefix = place(&self.realm().await?, &prefix(mode));
        let mut after = format!("{prefix}{:07}", first.max(0));
        let mut rows = Vec::new();
        loop {
            let page = self.store.list(self.space, &prefix, Some(&after), LIST_MAX).await?;
            let full = page.len() == LIST_MAX;
            for entry in page {
                let row = DayRow::read(&prefix, &entry.key, &entry.value)?;
                if row.day > last {
                    return Ok(rows);
                }
                rows.push(row);
                after = entry.key;
            }
            if rows.len() > ROWS_MAX {
                return Err(Fault::too_large(format!("more than {ROWS_MAX} rows")).hint("ask for fewer days"));
            }
            if !full {
                return Ok(rows);
            }
        }
    }

    /// What was realised on each day from `first` to `last`, from the first of them with a trade on: days without one count as nothing.
    pub async fn daily_net(&self, mode: Mode, first: i64, last: i64) -> Result<Vec<(i64, Money)>> {
        let mut by_day: BTreeMap<i64, Money> = BTreeMap::new();
        for row in self.days(mode, first, last).await? {
            let net = by_day.entry(row.day).or_default();
            *net = net.plus(row.sums.net);
        }
        let Some(begin) = by_day.keys().next().copied() else { return Ok(Vec::new()) };
        Ok((begin..=last).map(|day| (day, by_day.get(&day).copied().unwrap_or_default())).collect())
    }
}
