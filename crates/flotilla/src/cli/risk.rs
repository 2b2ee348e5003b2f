//! `risk`: how much of each limit is used, what is open, what was earned, and the switches that stop and resume trading.

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use kernel::Fault;
use market::risk::LimitsChange;
use serde_json::{Map, Value, json};

use super::shown::{Call, Show, moment, percent, rows, word};
use super::{Global, output};

/// Look at limits, exposure and profit; stop and resume trading.
#[derive(Debug, clap::Args)]
pub struct Risk {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the states, how much of each limit is used, drawdown and value at risk
    Status,
    /// List what is open, and how much of each limit it uses
    Exposure,
    /// Show the limits in force, who set them, when and why
    Limits,
    /// Change limits; looser ones need an administrator
    Set {
        /// As `daily_loss_max=100`; what is not named stays
        #[arg(required = true, value_name = "LIMIT=VALUE")]
        limits: Vec<String>,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
    /// Show what was earned or lost, fees, gas and tips apart
    Pnl {
        /// A row for each
        #[arg(long, value_name = "WHAT")]
        by: Vec<By>,
        /// The first day, as 2026-11-29
        #[arg(long)]
        from: Option<String>,
        /// The last day
        #[arg(long)]
        to: Option<String>,
    },
    /// Stop all trading at once; it stays stopped until somebody resumes it
    Halt {
        /// Why: others will read it
        #[arg(long)]
        reason: String,
    },
    /// Let trades be made again
    Resume {
        /// Why, for the record
        #[arg(long)]
        reason: String,
        /// Count profit from here on: the drawdown so far is accepted
        #[arg(long)]
        accept_drawdown: bool,
    },
    /// Set whether trades are made; a looser state needs an administrator
    State {
        /// The state
        state: State,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Day,
    Strategy,
    Pair,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    /// Trades are made
    Active,
    /// Only those that reduce exposure
    Reducing,
    /// None
    Halted,
}

impl Risk {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        self.action.call()?.run(global).await
    }
}

impl Action {
    fn call(self) -> Result<Call, Fault> {
        let (tool, arguments, show): (_, _, Show) = match self {
            Self::Status => ("risk-management__risk_report", json!({}), report),
            Self::Exposure => ("risk-management__exposure", json!({}), exposure),
            Self::Limits => ("risk-management__get_limits", json!({}), limits),
            Self::Set { limits: wanted, reason } => {
                ("risk-management__set_limits", json!({ "limits": change(&wanted)?, "reason": reason }), limits)
            }
            Self::Pnl { by, from, to } => {
                let by: Vec<String> = by.into_iter().map(word).collect();
                ("production__pnl", json!({ "by": by, "from": from, "to": to }), pnl)
            }
            Self::Halt { reason } => ("production__kill_switch", json!({ "reason": reason }), killed),
            Self::Resume { reason, accept_drawdown } => {
                let arguments = json!({ "reason": reason, "accept_drawdown": accept_drawdown });
                ("production__resume", arguments, trading)
            }
            Self::State { state, reason } => {
                let arguments = json!({ "state": word(state).to_uppercase(), "reason": reason });
                ("risk-management__set_trading_state", arguments, trading)
            }
        };
        Ok(Call { tool, arguments, show })
    }
}

/// `LIMIT=VALUE` words as a change of limits: text where the limit is an amount, JSON where it is a number or a list.
fn change(words: &[String]) -> Result<Value, Fault> {
    let mut change = Map::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| {
            Fault::invalid(format!("`{word}` has no `=`")).hint("write LIMIT=VALUE, as daily_loss_max=100")
        })?;
        let fits = |value: &Value| serde_json::from_value::<LimitsChange>(json!({ name: value.clone() })).map(drop);
        let text = Value::from(value);
        let as_json = || serde_json::from_str::<Value>(value).ok().map(|read| fits(&read).map(|()| read));
        let fitting = match fits(&text) {
            Ok(()) => Ok(text),
            Err(error) => match as_json() {
                // What is wrong with text where a number is wanted is that it is text, which was our guess.
                Some(Err(better)) if error.to_string().starts_with("invalid type") => Err(better),
                Some(Ok(read)) => Ok(read),
                _ => Err(error),
            },
        };
        let fitting = fitting.map_err(|error| {
            Fault::invalid(format!("`{word}`: {error}")).hint("`flotilla risk limits` shows them all")
        })?;
        change.insert(name.to_owned(), fitting);
    }
    Ok(Value::Object(change))
}

/// Who set something, when and why.
fn set(set: &Value) -> String {
    let reason = set["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
    output::cell(&Value::from(format!("by {}, {}{reason}", set["by"].as_str().unwrap_or("-"), moment(&set["at_ms"]))))
}

/// How much of each limit is used.
fn usage(limits: &Value) -> Result<(), Fault> {
    let row = |one: &Value| {
        let cell = |name: &str| output::cell(&one[name]);
        vec![cell("limit"), cell("figure"), cell("bound"), percent(&one["used_bps"]), cell("about")]
    };
    output::table(&["limit", "now", "at most", "used", "most of it"], &rows(limits, row))
}

fn report(answer: &Value) -> Result<(), Fault> {
    output::line(&output::cell(&answer["summary"]))?;
    usage(&answer["limits"])
}

fn exposure(answer: &Value) -> Result<(), Fault> {
    usage(&answer["limits"])?;
    let row = |one: &Value| {
        let trade = &one["trade"];
        let cells = ["strategy", "pair", "notional", "at_risk"].map(|name| output::cell(&trade[name]));
        [vec![output::cell(&one["id"]), moment(&one["reserved_ms"])], cells.to_vec()].concat()
    };
    let open = rows(&answer["open"], row);
    if open.is_empty() {
        output::say("nothing is open");
        return Ok(());
    }
    output::table(&["open trade", "since", "strategy", "pair", "notional", "at risk"], &open)
}

fn limits(answer: &Value) -> Result<(), Fault> {
    output::say(&format!("version {}, {}", answer["version"], set(answer)));
    let limits = answer["limits"].as_object().into_iter().flatten();
    let rows: Vec<Vec<String>> = limits.map(|(name, value)| vec![name.clone(), output::cell(value)]).collect();
    output::table(&["limit", "value"], &rows)
}

fn pnl(answer: &Value) -> Result<(), Fault> {
    output::say(&format!(
        "{} to {}, in {}",
        output::cell(&answer["from"]),
        output::cell(&answer["to"]),
        output::cell(&answer["currency"])
    ));
    const SUMS: [&str; 8] = ["trades", "filled", "won", "gross", "fees", "gas", "tips", "net"];
    let row = |of: String, sums: &Value| [vec![of], SUMS.map(|name| output::cell(&sums[name])).to_vec()].concat();
    let of = |one: &Value| {
        let parts = ["day", "strategy", "pair"].iter().filter_map(|name| one[*name].as_str());
        output::cell(&Value::from(parts.collect::<Vec<_>>().join(" ")))
    };
    let mut all = rows(&answer["rows"], |one| row(of(one), one));
    all.push(row("total".into(), &answer["total"]));
    output::table(&[&["of"][..], &SUMS].concat(), &all)
}

fn killed(answer: &Value) -> Result<(), Fault> {
    output::line(&format!("the kill switch is on, {}", set(&answer["kill"])))?;
    output::say(&format!("{} trades are open; `flotilla risk resume` lets trades be made again", answer["open"]));
    Ok(())
}

fn trading(answer: &Value) -> Result<(), Fault> {
    output::line(&format!("trading is {}, mode {}", output::cell(&answer["trading"]), output::cell(&answer["mode"])))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(words: &[&str], want: Expect) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        want.assert_eq(&change(&words).map_or_else(|fault| fault.to_string(), |change| change.to_string()));
    }

    #[test]
    fn a_change_of_limits_is_read_by_what_each_limit_is() {
        check(
            &["daily_loss_max=100", "slippage_max_bps=50"],
            expect![[r#"{"daily_loss_max":"100","slippage_max_bps":50}"#]],
        );
        check(&["gas_price_max_wei=5000000000"], expect![[r#"{"gas_price_max_wei":"5000000000"}"#]]);
        check(&["tokens_denied=[]"], expect![[r#"{"tokens_denied":[]}"#]]);
        check(
            &["daily_loss=100"],
            expect![
                "invalid_argument: `daily_loss=100`: unknown field `daily_loss`, expected one of `trade_notional_max`, `token_notional_max`, `protocol_notional_max`, `open_notional_max`, `daily_loss_max`, `drawdown_max`, `net_profit_min`, `gas_price_max_wei`, `gas_share_max_bps`, `slippage_max_bps`, `oracle_deviation_max_bps`, `oracle_age_max_seconds`, `consecutive_failures_max`, `pool_age_min_seconds`, `pool_liquidity_min`, `tokens_allowed`, `tokens_denied` (`flotilla risk limits` shows them all)"
            ],
        );
        check(
            &["daily_loss_max=much"],
            expect![[
                r#"invalid_argument: `daily_loss_max=much`: not a value: "much": a decimal number like 12 or -0.5, at most six decimal places, below 10^18 (`flotilla risk limits` shows them all)"#
            ]],
        );
        check(
            &["slippage_max_bps=-1"],
            expect![
                "invalid_argument: `slippage_max_bps=-1`: invalid value: integer `-1`, expected u64 (`flotilla risk limits` shows them all)"
            ],
        );
        check(
            &["daily_loss_max"],
            expect!["invalid_argument: `daily_loss_max` has no `=` (write LIMIT=VALUE, as daily_loss_max=100)"],
        );
    }
}
