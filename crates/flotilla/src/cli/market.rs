//! `market`: what gains now, what pools hold and ask, what something is worth.

use std::process::ExitCode;

use clap::Subcommand;
use kernel::Fault;
use serde_json::{Value, json};

use super::shown::{Call, Show, moment, percent, rows, sum, token};
use super::{Global, output};

/// Look at opportunities, pools, prices and gas.
#[derive(Debug, clap::Args)]
pub struct Market {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what gains now after all costs, the best first
    Opportunities {
        /// Only cycles from this asset: address or symbol
        #[arg(long)]
        funding: Option<String>,
        /// Those that cost more than they gain, too
        #[arg(long)]
        all: bool,
        /// How many, at most 100
        #[arg(default_value_t = 20)]
        limit: usize,
    },
    /// List what was seen to gain, block by block, the newest first
    History {
        /// Only this opportunity
        id: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Compare the prices of pools that trade the same two tokens
    Spreads {
        /// Only with this token: address or symbol
        #[arg(value_name = "TOKEN")]
        with: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// List the deepest pools and what was traded in them
    Pools {
        /// Only with this token: address or symbol
        #[arg(value_name = "TOKEN")]
        with: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Find the best way to swap so much of a token, divided where that gains
    Route {
        /// What goes in: address or symbol
        token_in: String,
        /// What comes out: address or symbol
        token_out: String,
        /// How much goes in, in the token's smallest unit
        amount_in: String,
    },
    /// Tell a pair's price, what each source says of it, and which are believed
    Price {
        /// `BASE/QUOTE`, as ETH/USD
        pair: String,
    },
    /// Tell what gas costs now
    Gas,
}

impl Market {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        self.action.call().run(global).await
    }
}

impl Action {
    fn call(self) -> Call {
        let (tool, arguments, show): (_, _, Show) = match self {
            Self::Opportunities { funding, all, limit } => {
                let least = if all { "0" } else { "1" };
                let arguments = json!({ "funding": funding, "min_net": least, "limit": limit });
                ("market-analysis__scan_opportunities", arguments, opportunities)
            }
            Self::History { id, limit } => {
                ("market-analysis__opportunity_history", json!({ "id": id, "limit": limit }), history)
            }
            Self::Spreads { with, limit } => {
                ("market-analysis__spreads", json!({ "token": with, "limit": limit }), spreads)
            }
            Self::Pools { with, limit } => {
                ("market-analysis__top_pools", json!({ "token": with, "limit": limit }), pools)
            }
            Self::Route { token_in, token_out, amount_in } => {
                let arguments = json!({ "token_in": token_in, "token_out": token_out, "amount_in": amount_in });
                ("dex-services__best_route", arguments, route)
            }
            Self::Price { pair } => ("data-providers__price", json!({ "pair": pair }), price),
            Self::Gas => ("data-providers__gas_price", json!({}), gas),
        };
        Call { tool, arguments, show }
    }
}

/// An opportunity's cells: the cycle by the exchanges it goes through, and what it brings.
fn opportunity(one: &Value) -> Vec<String> {
    let way: Vec<String> = one["hops"].as_array().into_iter().flatten().map(|hop| output::cell(&hop["dex"])).collect();
    let coin = token(&one["funding"]);
    vec![
        output::cell(&one["id"]),
        format!("{} {coin}", sum(&one["amount_in"])),
        way.join(" > "),
        output::cell(&one["lender"]),
        format!("{} {coin}", sum(&one["net"])),
        output::cell(&one["net_in_reference"]),
    ]
}

fn opportunities(answer: &Value) -> Result<(), Fault> {
    let rows = rows(&answer["opportunities"], opportunity);
    output::say(&format!(
        "block {}: {} candidates, {} sized and priced, {} shown, {} more",
        answer["block"],
        answer["candidates"],
        answer["evaluated"],
        rows.len(),
        answer["omitted"]
    ));
    output::table(&["opportunity", "borrow", "through", "from", "net", "net worth"], &rows)
}

fn history(answer: &Value) -> Result<(), Fault> {
    let row = |seen: &Value| {
        let when = vec![output::cell(&seen["block"]), moment(&seen["seen_ms"])];
        [when, opportunity(&seen["opportunity"])].concat()
    };
    let head = ["block", "seen", "opportunity", "borrow", "through", "from", "net", "net worth"];
    output::table(&head, &rows(&answer["seen"], row))
}

/// Two tokens as a pair.
fn pair(tokens: &Value) -> String {
    format!("{}/{}", token(&tokens[0]), token(&tokens[1]))
}

fn spreads(answer: &Value) -> Result<(), Fault> {
    let row = |one: &Value| {
        let cell = |name: &str| output::cell(&one[name]);
        let (apart, after) = (percent(&one["spread_bps"]), percent(&one["after_fees_bps"]));
        vec![
            pair(&one["tokens"]),
            cell("pools"),
            cell("low"),
            cell("high"),
            apart,
            after,
            cell("buy_at"),
            cell("sell_at"),
        ]
    };
    let head = ["pair", "pools", "lowest", "highest", "apart", "after fees", "buy at", "sell at"];
    output::table(&head, &rows(&answer["spreads"], row))
}

fn pools(answer: &Value) -> Result<(), Fault> {
    let row = |one: &Value| {
        let cell = |name: &str| output::cell(&one[name]);
        let holds = |place: usize| format!("{} {}", sum(&one["holds"][place]), token(&one["tokens"][place]));
        let fee = one["fee_millionths"].as_f64().map_or(Value::Null, |fee| json!(fee / 100.0));
        vec![cell("pool"), cell("dex"), percent(&fee), holds(0), holds(1), cell("swaps")]
    };
    output::table(&["pool", "exchange", "fee", "holds", "and", "swaps"], &rows(&answer["pools"], row))
}

fn route(answer: &Value) -> Result<(), Fault> {
    output::line(&format!(
        "{} {} for {} {}",
        sum(&answer["amount_out"]),
        token(&answer["token_out"]),
        sum(&answer["amount_in"]),
        token(&answer["token_in"])
    ))?;
    let row = |one: &Value| {
        let leg = |leg: &Value| {
            let parts = leg["parts"].as_array().into_iter().flatten();
            parts.map(|part| output::cell(&part["pool"])).collect::<Vec<_>>().join(" + ")
        };
        let legs: Vec<String> = one["legs"].as_array().into_iter().flatten().map(leg).collect();
        vec![percent(&one["share_bps"]), sum(&one["amount_in"]), sum(&one["amount_out"]), legs.join(" > ")]
    };
    output::table(&["share", "in", "out", "pools"], &rows(&answer["branches"], row))
}

fn price(answer: &Value) -> Result<(), Fault> {
    output::line(&format!("{} {}", output::cell(&answer["pair"]), output::cell(&answer["price"])))?;
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        output::say(&output::cell(warning));
    }
    let row = |one: &Value| {
        let cell = |name: &str| output::cell(&one[name]);
        let age = one["age_ms"].as_i64().map_or_else(|| "-".to_owned(), |age| format!("{} s", age / 1_000));
        let why = if one["error"].is_string() { cell("error") } else { cell("note") };
        vec![cell("source"), cell("verdict"), cell("price"), age, percent(&one["deviation_bps"]), why]
    };
    output::table(&["source", "verdict", "price", "age", "off by", "why"], &rows(&answer["sources"], row))
}

fn gas(answer: &Value) -> Result<(), Fault> {
    output::line(&format!(
        "after block {}: {} gwei, blocks {} full",
        output::cell(&answer["block_number"]),
        output::cell(&answer["next_base_fee_gwei"]),
        percent(&answer["gas_used_bps"])
    ))?;
    let row = |tip: &Value| vec![output::cell(&tip["percentile"]), output::cell(&tip["tip_gwei"])];
    output::table(&["percentile", "tip, gwei"], &rows(&answer["tips"], row))
}
