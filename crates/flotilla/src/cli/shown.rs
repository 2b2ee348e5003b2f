//! Commands that are one call of one tool, whose answer is shown as a table: `alert`, `market`, `risk`.

use std::process::ExitCode;

use clap::ValueEnum;
use kernel::Fault;
use kernel::clock::timestamp;
use serde_json::Value;

use super::{Global, api::Api, output};

/// Shows an answer to people.
pub type Show = fn(&Value) -> Result<(), Fault>;

/// A tool, what it is given, and how its answer is shown.
pub struct Call {
    /// As `server__tool`.
    pub tool: &'static str,
    /// What it takes.
    pub arguments: Value,
    /// How people see the answer.
    pub show: Show,
}

impl Call {
    /// Calls it, and prints the answer: as it is where JSON is asked for.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let answer = Api::connect(global)?.call(self.tool, self.arguments).await?;
        if global.json {
            output::json(&answer)?
        } else {
            (self.show)(&answer)?
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is written on the command line for a value.
pub fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A list as rows.
pub fn rows(list: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    list.as_array().into_iter().flatten().map(row).collect()
}

/// A moment in milliseconds since the Unix epoch, or nothing.
pub fn moment(value: &Value) -> String {
    value.as_i64().map_or_else(|| "-".into(), timestamp)
}

/// A token: its symbol, or its address where it has none.
pub fn token(coin: &Value) -> String {
    output::cell(if coin["symbol"].is_string() { &coin["symbol"] } else { &coin["address"] })
}

/// So much of a token: in whole tokens, or in its smallest unit where its decimals are not known.
pub fn sum(sum: &Value) -> String {
    match &sum["units"] {
        Value::String(units) => output::cell(&Value::from(units.as_str())),
        _ => format!("{} units", output::cell(&sum["amount"])),
    }
}

/// Basis points as a percentage.
pub fn percent(bps: &Value) -> String {
    bps.as_f64().map_or_else(|| "-".into(), |bps| format!("{:.2} %", bps / 100.0))
}
