//! The tools by which the rules take effect: one says what is due, one does it. Who calls them, and when, is the monitoring agent's duty.

use std::collections::BTreeMap;

use kernel::{Fault, UnixMs};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Monitoring;
use super::alerts::Change;
use super::evaluate::Due;
use super::rules::Severity;

/// What [`EVALUATE_RULES`](super::EVALUATE_RULES) takes: nothing.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateRulesRequest {}

/// What [`SETTLE_ALERTS`](super::SETTLE_ALERTS) takes: nothing.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleAlertsRequest {}

/// What should become of an alert, or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It fires.
    Fire,
    /// It is over.
    Resolve,
    /// It is written down without anybody being told: it is pending, or its value moved.
    Keep,
    /// It was pending, and its reason is gone.
    Drop,
}

/// A step of one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertStep {
    /// Which.
    pub step: Step,
    /// The alert's rule.
    pub rule: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How bad it is.
    pub severity: Severity,
    /// What it tells people.
    pub summary: String,
}

/// A rule that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleFailure {
    /// The rule.
    pub rule: String,
    /// Why.
    pub error: String,
}

/// What [`EVALUATE_RULES`](super::EVALUATE_RULES) and [`SETTLE_ALERTS`](super::SETTLE_ALERTS) answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    /// When, in milliseconds since the Unix epoch.
    pub evaluated_ms: UnixMs,
    /// How many rules were.
    pub rules: u64,
    /// Those that could not be, by name.
    pub failures: Vec<RuleFailure>,
    /// What is due, or was done: by rule.
    pub steps: Vec<AlertStep>,
}

impl Monitoring {
    pub(super) async fn evaluate_rules(&self) -> Result<Evaluation, ToolError> {
        let due = self.evaluator.due().await?;
        Ok(self.evaluation(due))
    }

    pub(super) async fn settle_alerts(&self) -> Result<Evaluation, ToolError> {
        let done = self.evaluator.settle().await?;
        Ok(self.evaluation(done))
    }

    fn evaluation(&self, due: Vec<Due>) -> Evaluation {
        let status = self.evaluator.status();
        let failures = status
            .iter()
            .filter_map(|(rule, status)| Some(RuleFailure { rule: rule.clone(), error: status.error.clone()? }));
        Evaluation {
            evaluated_ms: self.clock.now_ms(),
            rules: status.len() as u64,
            failures: failures.collect(),
            steps: due.into_iter().filter_map(step).collect(),
        }
    }

    /// Whether somebody sees to it that the rules are evaluated.
    pub(super) async fn attended(&self) -> Result<bool, Fault> {
        let elections = kernel::locks::Elections::new(self.leases.clone(), self.clock.clone());
        Ok(elections.leader(&kernel::duties::election(AGENT)).await?.is_some())
    }
}

/// The agent whose duty it is.
const AGENT: &str = "monitoring";

fn step(due: Due) -> Option<AlertStep> {
    let (step, alert) = match due.change {
        Change::Keep(alert) => (Step::Keep, alert),
        Change::Fire(alert) => (Step::Fire, alert),
        Change::Resolve(alert) => (Step::Resolve, alert),
        Change::Drop => (Step::Drop, due.known?.alert),
    };
    Some(AlertStep { step, rule: alert.rule, labels: alert.labels, severity: alert.severity, summary: alert.summary })
}
