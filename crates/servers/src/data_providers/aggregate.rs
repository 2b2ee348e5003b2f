//! The rules by which several answers become one price. Pure.
//!
//! 1. An answer older than its source allows, from the future, or with a problem of its own does not count.
//! 2. Of the rest the weighted median is taken. With three or more, those further from it than the bound are outliers and do not count
//!    either; two that disagree are both kept, because nothing says which is wrong.
//! 3. The price is the weighted median of what counts. What counts lies within the bound of it, or the price is disputed; it also is when
//!    the outliers weigh as much as what counts.
//!
//! The weighted median is the price at which half of the weight lies on either side; when a boundary between two prices halves it
//! exactly, the number half way between them (Edgeworth's definition, with the usual convention for ties).

use kernel::{Decimal, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far in the future an answer's time may lie: clocks differ.
const AHEAD_MAX_MS: i64 = 60_000;
/// A lone source is trusted half as much.
const LONE: f64 = 0.5;

/// What became of a source's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It counts.
    Used,
    /// It is too old, or its time lies in the future.
    Stale,
    /// It is too far from what the others say.
    Outlier,
    /// The source itself gives reason not to trust it.
    Unsound,
    /// The source gave none.
    Failed,
    /// The source does not know the pair, or is not there: no chain is configured, say.
    Unknown,
    /// The source was not asked.
    NotAsked,
}

/// An answer to be judged.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) price: Decimal,
    pub(super) at_ms: UnixMs,
    pub(super) weight: u32,
    pub(super) stale_after_ms: i64,
    pub(super) sound: bool,
}

/// What the answers come to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged {
    /// One for each answer.
    pub(super) verdicts: Vec<Verdict>,
    /// `None` when nothing counts.
    pub(super) price: Option<Decimal>,
    /// When the oldest answer that counts was true.
    pub(super) at_ms: UnixMs,
    /// How far what counts lies from the price at most, in basis points.
    pub(super) spread_bps: u64,
    pub(super) lone: bool,
    pub(super) disputed: bool,
    /// 0 to 1: (weight that counts / weight of all that were asked and know the pair) × (1 − spread / (2 × bound), not below 0) × (a half
    /// when lone).
    pub(super) confidence: f64,
}

/// Judges the answers. `failed_weight` is that of the sources that know the pair and gave none.
pub(super) fn judge(given: &[Given], now_ms: UnixMs, bound_bps: u64, failed_weight: u32) -> Judged {
    let mut verdicts: Vec<Verdict> = given.iter().map(|one| first_look(one, now_ms)).collect();
    let counted =
        |verdicts: &[Verdict]| -> Vec<usize> { (0..given.len()).filter(|at| verdicts[*at] == Verdict::Used).collect() };
    let fresh = counted(&verdicts);
    if let Some(middle) = median(given, &fresh).filter(|_| fresh.len() >= 3) {
        for at in &fresh {
            if given[*at].price.deviation_bps(middle) > bound_bps {
                verdicts[*at] = Verdict::Outlier;
            }
        }
        // The middle may lie between two camps: then each is as far from it as the other, and no answer is more wrong than another.
        if counted(&verdicts).is_empty() {
            fresh.iter().for_each(|at| verdicts[*at] = Verdict::Used);
        }
    }
    let used = counted(&verdicts);
    let weigh = |of: Verdict| -> u64 {
        given.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == of).map(|(one, _)| u64::from(one.weight)).sum()
    };
    let (used_weight, outlier_weight) = (weigh(Verdict::Used), weigh(Verdict::Outlier));
    let asked_weight: u64 = given.iter().map(|one| u64::from(one.weight)).sum::<u64>() + u64::from(failed_weight);
    let price = median(given, &used);
    let spread = |price: Decimal| used.iter().map(|at| given[*at].price.deviation_bps(price)).max().unwrap_or(0);
    let spread_bps = price.map_or(0, spread);
    let lone = used.len() == 1;
    let closeness = (1.0 - spread_bps as f64 / (2 * bound_bps.max(1)) as f64).max(0.0);
    let support = if asked_weight == 0 { 0.0 } else { used_weight as f64 / asked_weight as f64 };
    Judged {
        at_ms: used.iter().map(|at| given[*at].at_ms).min().unwrap_or(now_ms),
        disputed: price.is_some() && (spread_bps > bound_bps || outlier_weight >= used_weight),
        confidence: if price.is_none() { 0.0 } else { support * closeness * if lone { LONE } else { 1.0 } },
        verdicts,
        price,
        spread_bps,
        lone,
    }
}

fn first_look(one: &Given, now_ms: UnixMs) -> Verdict {
    if !one.sound || one.price.is_zero() || one.weight == 0 {
        return Verdict::Unsound;
    }
    let age_ms = now_ms - one.at_ms;
    if (-AHEAD_MAX_MS..=one.stale_after_ms).contains(&age_ms) { Verdict::Used } else { Verdict::Stale }
}

/// The weighted median of the answers at these places.
fn median(given: &[Given], places: &[usize]) -> Option<Decimal> {
    let mut sorted: Vec<(Decimal, u64)> =
        places.iter().map(|at| (given[*at].price, u64::from(given[*at].weight))).collect();
    sorted.sort();
    let whole: u64 = sorted.iter().map(|(_, weight)| weight).sum();
    let mut below = 0;
    for (at, (price, weight)) in sorted.iter().enumerate() {
        below += weight;
        if 2 * below == whole {
            let next = sorted.get(at + 1).map_or(*price, |(next, _)| *next);
            return price.midway(next);
        }
        if 2 * below > whole {
            return Some(*price);
        }
    }
    None
}

#[cfg(test)]
mod tests;
