//! `alert`: what is wrong, who knows of it, what is kept quiet, and where people are told.

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use kernel::Fault;
use serde_json::{Value, json};

use super::shown::{Call, Show, moment, rows, word};
use super::{Global, output};

/// Look at alerts, say that somebody knows, keep them quiet.
#[derive(Debug, clap::Args)]
pub struct Alert {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List alerts that fire, worst first
    List {
        /// Those in these states instead
        #[arg(long = "state", value_name = "STATE")]
        states: Vec<State>,
        /// Only of this rule
        #[arg(long)]
        rule: Option<String>,
        /// How many, at most 1,000
        #[arg(default_value_t = 100)]
        limit: u32,
    },
    /// Say that somebody knows of an alert
    Ack {
        /// The alert's id; or name a rule
        #[arg(required_unless_present = "rule")]
        id: Option<String>,
        /// All that fire of this rule
        #[arg(long, conflicts_with = "id")]
        rule: Option<String>,
        /// What you know or do about it
        #[arg(long)]
        comment: Option<String>,
        /// Take it back
        #[arg(long)]
        undo: bool,
    },
    /// Keep alerts quiet for a while
    Silence {
        /// Of which all of this is true: `alertname=latency`, `server!=legacy`, `server=~a.*`, `severity!~info`
        #[arg(required = true, value_name = "LABEL=VALUE")]
        matchers: Vec<String>,
        /// Why: others will read it
        #[arg(long)]
        reason: String,
        /// For how long
        #[arg(long, default_value_t = 60)]
        minutes: u32,
    },
    /// List what is kept quiet, by whom, why and until when
    Silences,
    /// End a silence now
    Unsilence {
        /// Its id
        id: String,
    },
    /// List the rules, and how they fare
    Rules,
    /// List where people are told, what waits there, and why a sink takes nothing
    Sinks,
    /// Fire an alert that resolves itself, to see that it arrives
    Test {
        /// How bad it claims to be
        #[arg(long, default_value = "warning")]
        severity: Severity,
        /// After how many seconds it is over, 5 to 3,600
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Pending,
    Firing,
    Acknowledged,
    Resolved,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Severity {
    Info,
    Warning,
    Critical,
}

impl Alert {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        self.action.call()?.run(global).await
    }
}

impl Action {
    fn call(self) -> Result<Call, Fault> {
        let (tool, arguments, show): (_, _, Show) = match self {
            Self::List { states, rule, limit } => {
                let states: Vec<String> = states.into_iter().map(word).collect();
                ("monitoring__list_alerts", json!({ "states": states, "rule": rule, "limit": limit }), alerts)
            }
            Self::Ack { id, rule, comment, undo } => (
                "monitoring__acknowledge_alert",
                json!({ "id": id, "rule": rule, "comment": comment, "undo": undo }),
                alerts,
            ),
            Self::Silence { matchers, reason, minutes } => {
                let matchers = matchers.iter().map(|text| matcher(text)).collect::<Result<Vec<_>, _>>()?;
                ("monitoring__silence", json!({ "matchers": matchers, "reason": reason, "minutes": minutes }), id)
            }
            Self::Silences => ("monitoring__list_silences", json!({}), silences),
            Self::Unsilence { id: silence } => ("monitoring__expire_silence", json!({ "id": silence }), id),
            Self::Rules => ("monitoring__list_rules", json!({}), rules),
            Self::Sinks => ("monitoring__list_sinks", json!({}), sinks),
            Self::Test { severity, seconds } => {
                ("monitoring__test_alert", json!({ "severity": word(severity), "seconds": seconds }), id)
            }
        };
        Ok(Call { tool, arguments, show })
    }
}

/// `LABEL=VALUE`, and the same with `!=`, `=~`, `!~`.
fn matcher(text: &str) -> Result<Value, Fault> {
    let bad =
        || Fault::invalid(format!("`{text}` is no matcher")).hint("LABEL=VALUE, or with !=, =~ or !~ between them");
    let at = text.find(['=', '!']).filter(|at| *at > 0).ok_or_else(bad)?;
    let (label, rest) = text.split_at(at);
    let op = ["!=", "=~", "!~", "="].into_iter().find(|op| rest.starts_with(op)).ok_or_else(bad)?;
    Ok(json!({ "label": label, "op": op, "value": &rest[op.len()..] }))
}

fn id(answer: &Value) -> Result<(), Fault> {
    output::line(&output::cell(&answer["id"]))
}

fn alerts(answer: &Value) -> Result<(), Fault> {
    let row = |alert: &Value| {
        let silent = alert["silenced_by"].as_array().is_some_and(|by| !by.is_empty());
        let state = format!("{}{}", output::cell(&alert["state"]), if silent { ", silent" } else { "" });
        let since = moment(&alert["since_ms"]);
        vec![
            output::cell(&alert["id"]),
            output::cell(&alert["severity"]),
            state,
            since,
            output::cell(&alert["summary"]),
        ]
    };
    output::table(&["alert", "severity", "state", "since", "summary"], &rows(&answer["alerts"], row))
}

fn silences(answer: &Value) -> Result<(), Fault> {
    let row = |silence: &Value| {
        let matcher = |one: &Value| {
            let part = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            format!("{}{}{}", part("label"), part("op"), part("value"))
        };
        let matchers: Vec<String> = silence["matchers"].as_array().into_iter().flatten().map(matcher).collect();
        let cell = |name: &str| output::cell(&silence[name]);
        vec![cell("id"), matchers.join(" "), moment(&silence["until_ms"]), cell("alerts"), cell("by"), cell("reason")]
    };
    output::table(&["silence", "of", "until", "alerts", "by", "reason"], &rows(&answer["silences"], row))
}

fn rules(answer: &Value) -> Result<(), Fault> {
    let row = |rule: &Value| {
        let cell = |name: &str| output::cell(&rule[name]);
        let stands = rule["error"].as_str().map_or_else(
            || {
                if rule["enabled"] == false {
                    "off".to_owned()
                } else {
                    format!("{} firing, {} pending", rule["firing"], rule["pending"])
                }
            },
            |error| format!("not evaluated: {error}"),
        );
        vec![cell("name"), cell("severity"), stands, cell("promql")]
    };
    output::table(&["rule", "severity", "stands", "fires when"], &rows(&answer["rules"], row))
}

fn sinks(answer: &Value) -> Result<(), Fault> {
    let row = |sink: &Value| {
        let cell = |name: &str| output::cell(&sink[name]);
        let stands = sink["error"].as_str().map_or_else(
            || "takes what it is told".to_owned(),
            |error| format!("{} failures, again at {}: {error}", sink["failures"], moment(&sink["next_ms"])),
        );
        vec![cell("name"), cell("kind"), cell("waiting"), cell("messages"), moment(&sink["told_ms"]), stands]
    };
    let rows = rows(&answer["sinks"], row);
    if rows.is_empty() {
        output::say("nobody is told: docs/alerts.md says how");
    }
    output::table(&["sink", "kind", "waiting", "messages", "last", "stands"], &rows)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, want: Expect) {
        want.assert_eq(&matcher(text).map_or_else(|fault| fault.to_string(), |matcher| matcher.to_string()));
    }

    #[test]
    fn matchers() {
        check("server=a", expect![[r#"{"label":"server","op":"=","value":"a"}"#]]);
        check("server!=a=b", expect![[r#"{"label":"server","op":"!=","value":"a=b"}"#]]);
        check("server=~a.*", expect![[r#"{"label":"server","op":"=~","value":"a.*"}"#]]);
        check("server!~!", expect![[r#"{"label":"server","op":"!~","value":"!"}"#]]);
        check("server=", expect![[r#"{"label":"server","op":"=","value":""}"#]]);
        for bad in ["server", "=a", "server!a", ""] {
            assert!(matcher(bad).is_err(), "{bad}");
        }
    }
}
