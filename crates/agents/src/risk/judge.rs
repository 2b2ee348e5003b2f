//! What figures mean: pure functions from what was read to what is to be done, each with the figure and the bound in its words.

use kernel::Fault;
use market::risk::{Limits, Money, Rule, TradingState};
use servers::data_providers::{GasPrice, PriceRow, SourceName, Verdict};
use servers::risk_management::{DrawdownResponse, ExposureResponse, LimitsResponse, Usage};

/// What is to be done, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Measure {
    /// It is said.
    Tell,
    /// Only trades that reduce exposure.
    Reduce,
    /// None.
    Halt,
    /// The kill switch.
    Kill,
}

/// A figure that is close to its bound, or past it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// The limit or the price that it is about.
    pub(super) about: String,
    pub(super) measure: Measure,
    /// The figure and the bound, in words.
    pub(super) why: String,
}

/// A price or gas that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In words that stay the same while it lasts.
    pub(super) words: &'static str,
    /// The figure and the bound.
    pub(super) why: String,
}

/// How little a state lets through.
pub(super) fn strictness(state: TradingState) -> u8 {
    match state {
        TradingState::Active => 0,
        TradingState::Reducing => 1,
        TradingState::Halted => 2,
    }
}

/// What was realised against the limits of losses, by the shares of them at which trading is reduced and halted; and failures in a row. What
/// is open is not counted here: the rules count it as lost with every trade, and it comes back when the trade ends.
pub(super) fn losses(marks: &DrawdownResponse, limits: &LimitsResponse, shares_bps: [u32; 2]) -> Vec<Finding> {
    let (bounds, currency) = (&limits.record.limits, &limits.currency);
    let mut found = Vec::new();
    for (limit, figure, bound, what) in [
        ("daily_loss_max", marks.lost_today, bounds.daily_loss_max, "lost today"),
        ("drawdown_max", marks.drawdown, bounds.drawdown_max, "below the peak of realised profit"),
    ] {
        if let Some(measure) = of_share(figure, bound, shares_bps) {
            let why = format!("{limit}: {figure} {currency} {what}, bound {bound} {currency}");
            found.push(Finding { about: limit.into(), measure, why });
        }
    }
    let (failures, most) = (marks.failures, bounds.consecutive_failures_max);
    if failures > 0 && failures >= most {
        let limit = "consecutive_failures_max";
        let why = format!("{limit}: {failures} failures in a row, bound {most}");
        found.push(Finding { about: limit.into(), measure: Measure::Kill, why });
    }
    found
}

fn of_share(figure: Money, bound: Money, [reducing, halted]: [u32; 2]) -> Option<Measure> {
    if figure <= Money::ZERO {
        return None;
    }
    if figure >= bound {
        return Some(Measure::Kill);
    }
    let used = figure.share_bps(bound)?;
    match used {
        _ if used >= u64::from(halted) => Some(Measure::Halt),
        _ if used >= u64::from(reducing) => Some(Measure::Reduce),
        _ => None,
    }
}

/// What is held open against its limits. The rules let nothing past them; past them it is when limits were tightened or a reorganisation
/// brought trades back.
pub(super) fn exposure(exposure: &ExposureResponse, told_bps: u32) -> Vec<Finding> {
    let judge = |usage: &Usage| {
        let measure = match usage.used_bps {
            _ if usage.figure > usage.bound => Measure::Reduce,
            Some(used) if used >= u64::from(told_bps) => Measure::Tell,
            _ => return None,
        };
        let about = usage.about.as_ref().map(|about| format!(" of {about}")).unwrap_or_default();
        let (figure, bound, currency) = (usage.figure, usage.bound, &exposure.currency);
        let why = format!("{}: {figure} {currency}{about} open, bound {bound} {currency}", usage.limit);
        Some(Finding { about: usage.limit.clone(), measure, why })
    };
    exposure.limits.iter().filter_map(judge).collect()
}

/// A reference price: there, from a sound feed, young enough, and agreed upon by its sources.
pub(super) fn price(row: &PriceRow, limits: &Limits) -> Option<Trouble> {
    let pair = &row.pair;
    let Some(answer) = &row.price else {
        let why = format!("{pair}: no price ({})", row.error.as_deref().unwrap_or("unknown"));
        return Some(Trouble { words: "without a price", why });
    };
    let feed = answer.sources.iter().find(|source| source.source == SourceName::Chainlink);
    if let Some(feed) = feed.filter(|feed| matches!(feed.verdict, Verdict::Unsound | Verdict::Stale)) {
        let (age, error) = (feed.age_ms.unwrap_or_default() / 1_000, feed.error.as_deref().unwrap_or("stale"));
        let why = format!("{pair}: its feed is not to be relied on ({error}, {age} s old)");
        return Some(Trouble { words: "with an unsound feed", why });
    }
    let bound_seconds = i64::try_from(limits.oracle_age_max_seconds).unwrap_or(i64::MAX);
    if answer.reference.age_ms > bound_seconds.saturating_mul(1_000) {
        let why = format!(
            "{pair}: oracle_age_max_seconds: {} s old, bound {bound_seconds} s",
            answer.reference.age_ms / 1_000
        );
        return Some(Trouble { words: "stale", why });
    }
    // What the feed says may be an outlier to the others, and does not count then: that it is one is what matters here.
    let deviation_bps = feed.and_then(|feed| feed.deviation_bps).unwrap_or(0).max(answer.reference.spread_bps);
    let bound = limits.oracle_deviation_max_bps;
    (deviation_bps > bound).then(|| Trouble {
        words: "in dispute",
        why: format!(
            "{pair}: oracle_deviation_max_bps: sources lie {deviation_bps} bps from the price, bound {bound} bps"
        ),
    })
}

/// What a unit of gas costs in the next block at least.
pub(super) fn gas(answer: &Result<GasPrice, Fault>, limits: &Limits) -> Option<Trouble> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(fault) => {
            return Some(Trouble { words: "the price of gas is not known", why: format!("gas: no price ({fault})") });
        }
    };
    let fee = answer.next_base_fee_per_gas_wei.or(answer.base_fee_per_gas_wei)?;
    let bound = limits.gas_price_max_wei;
    (fee > bound).then(|| Trouble {
        words: "the price of gas is above its limit",
        why: format!("gas_price_max_wei: the next block asks for {fee} wei, bound {bound} wei"),
    })
}

/// The assessment of a trade: the rules that it would not pass, and for how long it has been under way, if that is too long. The same for a
/// trade that is proposed (`check_trade` has its reasons) and for one that is open (`exposure` has them).
pub(super) fn trade(reasons: &[Rule], open_past_seconds: Option<u32>) -> Option<String> {
    let mut why = Vec::new();
    if !reasons.is_empty() {
        let name = |rule: &Rule| serde_json::to_value(rule).ok()?.as_str().map(ToOwned::to_owned);
        why.push(format!("would be refused now by {}", reasons.iter().filter_map(name).collect::<Vec<_>>().join(", ")));
    }
    if let Some(seconds) = open_past_seconds {
        why.push(format!("under way for more than {seconds} s"));
    }
    (!why.is_empty()).then(|| why.join(", "))
}
