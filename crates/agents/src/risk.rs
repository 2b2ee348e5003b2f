//! `risk`: watches what trading risks and does, the prices that it stands on and what gas costs, and stops it where a bound is reached.
//!
//! It reads through the tools of risk-management, production and data-providers, and acts by two of them: `set_trading_state`, always to a
//! stricter state, and `kill_switch`. What it does it says why with the figure and the bound, so that the run, the event and whoever resumes
//! have the same words. Invariants:
//! - It stops and tightens, and never loosens or resumes: people do. A resume holds only where the figure is below its bound again.
//! - It judges by what it reads in the same run. All it remembers is since when a price or gas has been in trouble, so a restart or another
//!   copy stops at worst `trouble_seconds` later.
//! - Prices and gas are looked at while a strategy is started. What cannot be known then is trouble like what is out of bounds.

mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::intents::INTENTS_TOPIC;
use kernel::{Access, Fault, UnixMs};
use market::feed::{POOLS_TOPIC, QUARANTINED_EVENT};
use market::gate::RISK_TOPIC;
use market::risk::TradingState;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use servers::data_providers::{GAS_PRICE, GasPriceRequest, PRICES, PricesRequest};
use servers::production::{
    KILL_SWITCH, KillSwitchRequest, LIST_STRATEGIES, ListStrategiesRequest, TRADES, TradesRequest,
};
use servers::risk_management::{
    CHECK_TRADE, CheckTradeRequest, DRAWDOWN, DrawdownRequest, EXPOSURE, GET_LIMITS, GetLimitsRequest,
    KILL_SWITCH_STATE, KillSwitchStateRequest, LimitsResponse, ModeRequest, OpenTrade, SET_TRADING_STATE,
    SetTradingStateRequest,
};
use servers::when::When as Moment;

use crate::agent::{Agent, Duties, When};
use crate::hands::Hands;
use crate::jobs::{Job, Jobs};
use judge::{Finding, Measure, Trouble};

/// Most assets watched: as many as `prices` takes.
const ASSETS_MAX: usize = 20;
/// Longest reason given for a stop, in bytes: the tools take a thousand.
const REASON_BYTES_MAX: usize = 900;
/// What trouble with gas is remembered under; all else is a pair, and has a slash.
const GAS: &str = "gas";
/// How long a trade that came out otherwise than predicted is told of, in milliseconds.
const DIFFERING_MS: i64 = 60_000;
/// Most trades named in an outcome.
const NAMED_MAX: usize = 10;

/// `[agents.risk]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often limits, losses, failures and trades under way are looked at, in seconds: 1 to 60. They are at once when one of them changes.
    pub watch_seconds: u32,
    /// How often reference prices are, in seconds: 5 to 600.
    pub oracle_seconds: u32,
    /// How often the price of gas is, in seconds: 1 to 600.
    pub gas_seconds: u32,
    /// The share of the limits of daily loss and drawdown at which trading becomes REDUCING, in basis points: 1 to 10,000.
    pub reducing_bps: u32,
    /// The share at which it becomes HALTED, in basis points: `reducing_bps` to 10,000. At the whole the kill switch is pulled.
    pub halted_bps: u32,
    /// How long prices or gas may be out of bounds before the kill switch is pulled, in seconds: 0 to 3,600. The rules refuse trades from the
    /// first moment on.
    pub trouble_seconds: u32,
    /// How long a trade may be under way before it is told of, in seconds: 10 to 86,400.
    pub open_seconds: u32,
    /// The assets whose prices must be sound, by symbol, in the currency of the limits: 1 to 20.
    pub assets: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            watch_seconds: 2,
            oracle_seconds: 15,
            gas_seconds: 5,
            reducing_bps: 7_500,
            halted_bps: 9_000,
            trouble_seconds: 60,
            open_seconds: 600,
            assets: vec!["ETH".into()],
        }
    }
}

/// The agent.
pub struct Risk {
    config: Config,
    /// Since when something has been in trouble, by what it is.
    since: Mutex<BTreeMap<String, UnixMs>>,
}

impl Agent for Risk {
    const NAME: &'static str = "risk";
    // A trade tells of itself three times within a few blocks, and needs the time that looking takes: no trade passes a limit meanwhile, because
    // the gate judges each by itself.
    const GATHERED_FOR: Duration = Duration::from_millis(200);
    type Config = Config;

    fn new(config: Config) -> Result<Self, Fault> {
        let bounds = [
            ("watch_seconds", config.watch_seconds, 1, 60),
            ("oracle_seconds", config.oracle_seconds, 5, 600),
            ("gas_seconds", config.gas_seconds, 1, 600),
            ("reducing_bps", config.reducing_bps, 1, 10_000),
            ("halted_bps", config.halted_bps, config.reducing_bps, 10_000),
            ("trouble_seconds", config.trouble_seconds, 0, 3_600),
            ("open_seconds", config.open_seconds, 10, 86_400),
        ];
        if let Some((name, value, min, max)) =
            bounds.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value))
        {
            return Err(Fault::invalid(format!("agents.risk.{name} is {value}")).hint(format!("{min} to {max}")));
        }
        if !(1..=ASSETS_MAX).contains(&config.assets.len()) {
            return Err(Fault::invalid(format!("agents.risk.assets has {}", config.assets.len()))
                .hint(format!("1 to {ASSETS_MAX}")));
        }
        Ok(Self { config, since: Mutex::default() })
    }

    fn duties(&self, set: &mut Duties<Self>) {
        let seconds = |seconds: u32| When::every(Duration::from_secs(seconds.into()));
        let watch = || seconds(self.config.watch_seconds).or_on_topic(INTENTS_TOPIC, &["intent."]);
        set.add(
            "limits",
            "Holds losses, exposure and failures against their limits, tightens the trading state as they are used up, and pulls the kill switch at a bound.",
            watch().or_on_topic(RISK_TOPIC, &["resumed", "risk.limits", "mode", "strategy."]),
            Self::limits,
        );
        set.add(
            "trades",
            "Assesses every trade under way by the rules as they are now, and names those that came out otherwise than predicted.",
            watch(),
            Self::trades,
        );
        set.add(
            "gas",
            "Holds the price of gas against its limit, and pulls the kill switch when it stays above.",
            seconds(self.config.gas_seconds),
            Self::gas,
        );
        set.add(
            "oracles",
            "Looks whether reference prices are there, fresh and agreed upon, and pulls the kill switch when they stay otherwise.",
            seconds(self.config.oracle_seconds).or_on_topic(POOLS_TOPIC, &[QUARANTINED_EVENT]),
            Self::oracles,
        );
    }

    fn jobs(&self, set: &mut Jobs<Self>) {
        let assess = Job::new(
            "assess",
            "Judges a proposed trade by every rule as it is now, with each one's figure and bound.",
            Access::Operate,
        );
        set.add(
            assess,
            |_, trade: CheckTradeRequest, hands: Hands| async move { hands.call(CHECK_TRADE, &trade).await },
        );
    }
}

impl Risk {
    async fn limits(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        let limits = limits(&hands).await?;
        let marks = hands.call(DRAWDOWN, &DrawdownRequest { days: Some(1), mode: None }).await?;
        let exposure = hands.call(EXPOSURE, &ModeRequest::default()).await?;
        let shares = [self.config.reducing_bps, self.config.halted_bps];
        let mut findings = judge::losses(&marks, &limits, shares);
        findings.extend(judge::exposure(&exposure, shares[0]));
        let names: Vec<&str> = findings.iter().map(|finding| finding.about.as_str()).collect();
        let found = match names.is_empty() {
            true => "within the limits".to_owned(),
            false => format!("close to their limits or past them: {}", names.join(", ")),
        };
        let done = act(&hands, &findings).await?;
        Ok(found + &done)
    }

    async fn trades(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        let exposure = hands.call(EXPOSURE, &ModeRequest::default()).await?;
        let (now_ms, open_ms) = (hands.now_ms(), i64::from(self.config.open_seconds) * 1_000);
        let assess = |open: &OpenTrade| {
            let age_ms = now_ms - open.reservation.reserved_ms;
            let why = judge::trade(&open.reasons, (age_ms > open_ms).then_some(self.config.open_seconds))?;
            Some(format!("{}: {why}", open.reservation.id))
        };
        let mut notes: Vec<String> = exposure.open.iter().filter_map(assess).collect();
        let asked =
            TradesRequest { differing: true, since: Some(Moment::Ago(DIFFERING_MS)), ..TradesRequest::default() };
        let differing = hands.call(TRADES, &asked).await?.trades;
        notes.extend(differing.iter().map(|row| format!("{}: came out otherwise than predicted", row.trade.id)));
        let more = notes.len().saturating_sub(NAMED_MAX);
        notes.truncate(NAMED_MAX);
        if more > 0 {
            notes.push(format!("and {more} more"));
        }
        Ok(if notes.is_empty() { "trades stand as they should".into() } else { notes.join("; ") })
    }

    async fn gas(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        if !trades(&hands).await? {
            return Ok(self.rest(|about| about == GAS));
        }
        let limits = limits(&hands).await?;
        let price = hands.call(GAS_PRICE, &GasPriceRequest { blocks: Some(1), ..GasPriceRequest::default() }).await;
        let trouble = judge::gas(&price, &limits.record.limits);
        let found = trouble.as_ref().map_or("the price of gas is within its limit", |trouble| trouble.words).to_owned();
        let lasting = self.lasting(GAS, trouble, hands.now_ms());
        let done = act(&hands, lasting.as_slice()).await?;
        Ok(found + &done)
    }

    async fn oracles(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        if !trades(&hands).await? {
            return Ok(self.rest(|about| about != GAS));
        }
        let limits = limits(&hands).await?;
        let pairs = self.config.assets.iter().map(|asset| format!("{asset}/{}", limits.currency)).collect();
        let prices = hands.call(PRICES, &PricesRequest { pairs, sources: Vec::new() }).await?;
        let (mut words, mut lasting) = (Vec::new(), Vec::new());
        for row in &prices.prices {
            let trouble = judge::price(row, &limits.record.limits);
            words.push(format!("{} {}", row.pair, trouble.as_ref().map_or("sound", |trouble| trouble.words)));
            lasting.extend(self.lasting(&row.pair, trouble, hands.now_ms()));
        }
        let left = hands.events().iter().filter_map(|event| event.data["pool"].as_str());
        words.extend(left.map(|pool| format!("pool {pool} taken out of use")));
        let done = act(&hands, &lasting).await?;
        Ok(words.join(", ") + &done)
    }

    /// What comes of figures that nobody trades by: they are not looked at, and what was in trouble is forgotten.
    fn rest(&self, forget: impl Fn(&str) -> bool) -> String {
        self.since.lock().retain(|about, _| !forget(about));
        "no strategy is started".into()
    }

    /// The trouble as a reason to stop, once it has lasted.
    fn lasting(&self, about: &str, trouble: Option<Trouble>, now_ms: UnixMs) -> Option<Finding> {
        let mut since = self.since.lock();
        let Some(trouble) = trouble else {
            since.remove(about);
            return None;
        };
        let began_ms = *since.entry(about.to_owned()).or_insert(now_ms);
        let lasted_ms = now_ms - began_ms;
        (lasted_ms >= i64::from(self.config.trouble_seconds) * 1_000).then(|| Finding {
            about: about.to_owned(),
            measure: Measure::Kill,
            why: format!("{}, for {} s", trouble.why, lasted_ms / 1_000),
        })
    }
}

async fn limits(hands: &Hands) -> Result<LimitsResponse, Fault> {
    hands.call(GET_LIMITS, &GetLimitsRequest::default()).await
}

/// Whether any strategy is started.
async fn trades(hands: &Hands) -> Result<bool, Fault> {
    let listed = hands.call(LIST_STRATEGIES, &ListStrategiesRequest {}).await?;
    Ok(listed.strategies.iter().any(|strategy| strategy.state.running))
}

/// Does what the gravest of the findings asks for, unless as much or more holds already. Says what was done.
async fn act(hands: &Hands, findings: &[Finding]) -> Result<String, Fault> {
    let Some(measure) = findings.iter().map(|finding| finding.measure).max() else { return Ok(String::new()) };
    let states = hands.call(KILL_SWITCH_STATE, &KillSwitchStateRequest {}).await?;
    if states.on {
        return Ok("; the kill switch is on".into());
    }
    let gravest = findings.iter().filter(|finding| finding.measure == measure);
    let reason = reason(gravest.map(|finding| finding.why.as_str()));
    let state = match measure {
        Measure::Tell => return Ok(String::new()),
        Measure::Reduce => TradingState::Reducing,
        Measure::Halt => TradingState::Halted,
        Measure::Kill => match hands.call(KILL_SWITCH, &KillSwitchRequest { reason: reason.clone() }).await {
            Ok(_) => return Ok(format!("; kill switch pulled: {reason}")),
            // What it cannot do because its server is away, the trading state can: it is another server's.
            Err(fault) => {
                tighten(hands, states.trading, TradingState::Halted, &reason).await?;
                return Err(fault.context(format!("trading is HALTED, and the kill switch is not pulled: {reason}")));
            }
        },
    };
    tighten(hands, states.trading, state, &reason).await
}

/// Sets a stricter trading state; nothing where it is as strict.
async fn tighten(hands: &Hands, now: TradingState, state: TradingState, reason: &str) -> Result<String, Fault> {
    if judge::strictness(state) <= judge::strictness(now) {
        return Ok(String::new());
    }
    hands.call(SET_TRADING_STATE, &SetTradingStateRequest { state, reason: reason.into() }).await?;
    let word = if state == TradingState::Halted { "HALTED" } else { "REDUCING" };
    Ok(format!("; trading set to {word}: {reason}"))
}

/// All of them, as far as they fit, and of the first as much as does.
fn reason<'a>(whys: impl Iterator<Item = &'a str>) -> String {
    let mut reason = String::new();
    for why in whys {
        let (link, room) = (if reason.is_empty() { "" } else { "; " }, REASON_BYTES_MAX - reason.len());
        match why.len() + link.len() <= room {
            true => reason.extend([link, why]),
            false if reason.is_empty() => reason.push_str(&why[..why.floor_char_boundary(room)]),
            false => break,
        }
    }
    reason
}
