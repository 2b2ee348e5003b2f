//! Alert rules: what must hold for how long before somebody is told.

use std::collections::BTreeMap;

use kernel::store::{Expect, LIST_MAX, Store, Write};
use kernel::{Code, Fault, UnixMs};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{Expr, parse as parse_unchecked};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::promql;

/// Where rules are kept in the store, by name.
const SPACE: &str = "alert_rules";
/// Where is noted which default rules were laid down.
const NOTES: &str = "monitoring";
/// Most rules.
pub(super) const RULES_MAX: usize = 500;
/// Longest name, in characters.
const NAME_MAX: usize = 64;
/// Longest summary and runbook, in bytes.
const TEXT_BYTES_MAX: usize = 2_048;
/// Longest `for` and rate window, in seconds.
const SECONDS_MAX: u32 = 7 * 86_400;
/// Most labels of a rule's own.
const LABELS_MAX: usize = 16;
/// The name that test alerts have.
pub(super) const TEST: &str = "test";
/// The name that announcements have: what people are to be told once, and nothing that fires.
pub(super) const NOTICE: &str = "notice";

/// How bad it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look at it today.
    #[default]
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// In lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// Greater or equal.
    #[serde(rename = ">=")]
    GreaterOrEqual,
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Less or equal.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Equal.
    #[serde(rename = "==")]
    Equal,
    /// Different.
    #[serde(rename = "!=")]
    Different,
}

impl Operator {
    fn as_str(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::Different => "!=",
        }
    }
}

/// When the expression's value is a reason to alert.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Condition {
    /// Whenever it has series: the expression says it all, like `up == 0`.
    #[default]
    Any,
    /// For each series whose value compares so.
    Threshold {
        /// How.
        op: Operator,
        /// To what.
        value: f64,
    },
    /// When it has no series.
    Absence,
    /// For each series whose growth per second compares so.
    Rate {
        /// Over how many seconds the growth is measured.
        window_seconds: u32,
        /// How.
        op: Operator,
        /// To what, per second.
        value: f64,
    },
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Its name: lower-case letters, digits and `-`.
    pub name: String,
    /// What is watched: PromQL that gives a vector.
    pub expr: String,
    /// When that is a reason to alert.
    #[serde(default)]
    pub condition: Condition,
    /// How long the reason must last before the alert fires, in seconds.
    #[serde(default)]
    pub for_seconds: u32,
    /// How long the alert goes on firing after the reason is gone, in seconds: against flapping.
    #[serde(default)]
    pub keep_firing_seconds: u32,
    /// How bad it is.
    #[serde(default)]
    pub severity: Severity,
    /// What to tell people; `{label}` and `{value}` are filled in.
    #[serde(default)]
    pub summary: String,
    /// What to do about it: a text or an address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runbook: Option<String>,
    /// Labels added to its alerts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub labels: BTreeMap<String, String>,
    /// Whether it is evaluated.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// Who wrote it; `built in` for those that came with the system.
    #[serde(default)]
    pub by: String,
    /// When, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub updated_ms: UnixMs,
}

fn enabled() -> bool {
    true
}

impl Rule {
    /// The PromQL whose series are the reasons.
    pub fn promql(&self) -> String {
        let expr = &self.expr;
        match &self.condition {
            Condition::Any => expr.clone(),
            Condition::Threshold { op, value } => format!("({expr}) {} {}", op.as_str(), number(*value)),
            Condition::Absence => format!("absent({expr})"),
            Condition::Rate { window_seconds, op, value } => {
                // A plain selector's own samples are better than steps through it.
                let plain = matches!(parse_unchecked(expr), Ok(Expr::VectorSelector(selector)) if selector.at.is_none() && selector.offset.is_none());
                let range = if plain {
                    format!("{expr}[{window_seconds}s]")
                } else {
                    format!("({expr})[{window_seconds}s:15s]")
                };
                format!("rate({range}) {} {}", op.as_str(), number(*value))
            }
        }
    }

    /// The summary for an alert with these labels and this value.
    pub(super) fn summary_of(&self, labels: &BTreeMap<String, String>, value: f64) -> String {
        let mut text = self.summary.replace("{value}", &short(value));
        for (name, value) in labels {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    /// Refuses what cannot be evaluated or would not be understood.
    pub(super) fn check(&self) -> Result<(), Fault> {
        check_name(&self.name)?;
        let bad = |what: String, hint: &str| Err(Fault::invalid(what).hint(hint));
        for (what, seconds) in [("for_seconds", self.for_seconds), ("keep_firing_seconds", self.keep_firing_seconds)] {
            if seconds > SECONDS_MAX {
                return bad(format!("{what} is {seconds}"), "0 to 604,800 (a week)");
            }
        }
        if let Condition::Rate { window_seconds, .. } = self.condition
            && !(10..=SECONDS_MAX).contains(&window_seconds)
        {
            return bad(format!("window_seconds is {window_seconds}"), "10 to 604,800 (a week)");
        }
        if let Condition::Threshold { value, .. } | Condition::Rate { value, .. } = self.condition
            && !value.is_finite()
        {
            return bad(format!("the bound is {value}"), "a finite number");
        }
        let texts = [Some(&self.summary), self.runbook.as_ref()];
        if texts.into_iter().flatten().any(|text| text.len() > TEXT_BYTES_MAX) {
            return bad("summary or runbook is too long".into(), "at most 2,048 bytes each");
        }
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if self.labels.len() > LABELS_MAX
            || !self.labels.iter().all(|(name, value)| is_name(name) && value.len() <= TEXT_BYTES_MAX)
            || ["alertname", "severity", "__name__"].iter().any(|name| self.labels.contains_key(*name))
        {
            return bad(
                "the labels are not fit".into(),
                "at most 16, names of letters, digits and _; alertname and severity are given",
            );
        }
        if promql::parse(&self.expr)?.value_type() != ValueType::Vector {
            return bad(format!("`{}` is no vector", self.expr), "an expression with series, like mcp_server_health");
        }
        Ok(())
    }
}

/// A number that PromQL reads.
fn number(value: f64) -> String {
    format!("{value:?}")
}

/// A value for people.
fn short(value: f64) -> String {
    if value == 0.0 || value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value}")
    } else {
        format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Refuses what cannot name a rule.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name == TEST || name == NOTICE {
        return Err(Fault::invalid(format!("`{name}` is the name of alerts by hand")).hint("another name"));
    }
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(fits) {
        return Err(Fault::invalid(format!("`{name}` cannot name a rule"))
            .hint(format!("lower-case letters, digits and `-`, at most {NAME_MAX} characters")));
    }
    Ok(())
}

/// All rules, by name.
pub(super) async fn list(store: &dyn Store) -> Result<Vec<Rule>, Fault> {
    let mut rules = Vec::new();
    for entry in store.list(SPACE, "", None, LIST_MAX).await? {
        match serde_json::from_str::<Rule>(&entry.value) {
            Ok(rule) => rules.push(rule),
            // Another version's words must not stop the other rules.
            Err(error) => tracing::warn!(%error, rule = entry.key, "stored alert rule cannot be read"),
        }
    }
    Ok(rules)
}

pub(super) async fn get(store: &dyn Store, name: &str) -> Result<Option<Rule>, Fault> {
    let entry = store.get(SPACE, name).await?;
    let read =
        |value: &str| serde_json::from_str(value).map_err(|error| Fault::internal(format!("stored rule: {error}")));
    entry.map(|entry| read(&entry.value)).transpose()
}

fn put_write(rule: &Rule) -> Result<Write, Fault> {
    let value = serde_json::to_string(rule).map_err(|error| Fault::internal(format!("rule: {error}")))?;
    Ok(Write::put(SPACE, &rule.name, value))
}

pub(super) async fn put(store: &dyn Store, rule: &Rule) -> Result<(), Fault> {
    store.commit(vec![put_write(rule)?]).await.map(|_| ())
}

pub(super) async fn remove(store: &dyn Store, name: &str) -> Result<(), Fault> {
    store.commit(vec![Write::delete(SPACE, name)]).await.map(|_| ())
}

/// Lays down the default rules that never were: what a user changed or deleted stays so.
pub(super) async fn lay_down(store: &dyn Store, defaults: Vec<Rule>) -> Result<(), Fault> {
    const PREFIX: &str = "laid-down/";
    let known = store.list(NOTES, PREFIX, None, LIST_MAX).await?;
    let is_known = |rule: &Rule| known.iter().any(|note| note.key.strip_prefix(PREFIX) == Some(rule.name.as_str()));
    for rule in defaults.into_iter().filter(|rule| !is_known(rule)) {
        let note = Write::put(NOTES, &format!("{PREFIX}{}", rule.name), "").expecting(Expect::Absent);
        match store.commit(vec![note, put_write(&rule)?.expecting(Expect::Absent)]).await {
            // Another replica lays them down too, or a user has a rule of this name already.
            Err(fault) if fault.code == Code::Conflict => {}
            other => other.map(|_| ())?,
        }
    }
    Ok(())
}
