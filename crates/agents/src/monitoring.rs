//! `monitoring`: sees to it that the alert rules take effect, and keeps the status summary.
//!
//! Reads through the monitoring server's tools and changes nothing but alerts: what the rules say is due (`evaluate_rules`) it has carried
//! out (`settle_alerts`). It keeps nothing of its own, so a restart or another copy goes on where it stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kernel::{Access, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use servers::monitoring::{
    AlertStep, DELIVER_ALERTS, DeliverAlertsRequest, Delivery, EVALUATE_RULES, EvaluateRulesRequest, HEALTH,
    HealthRequest, HealthResponse, LIST_SINKS, ListSinksRequest, SETTLE_ALERTS, SettleAlertsRequest, Step, TARGETS,
    TargetsRequest, TargetsResponse,
};

use crate::agent::{Agent, Duties, When};
use crate::hands::Hands;
use crate::jobs::{Job, Jobs};

/// Most names in an outcome.
const NAMES_MAX: usize = 10;

/// `[agents.monitoring]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often the alert rules are evaluated, in seconds: 1 to 300.
    pub evaluate_seconds: u32,
    /// How often is looked whether people are to be told of alerts, in seconds: 1 to 300. It is looked at once when an alert changes.
    pub deliver_seconds: u32,
    /// How often the status summary is made, in seconds: 5 to 3,600. It is made anew at once when a service or an alert changes.
    pub summary_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { evaluate_seconds: 5, deliver_seconds: 5, summary_seconds: 30 }
    }
}

/// The agent.
pub struct Monitoring {
    config: Config,
    /// When this copy last had the rules evaluated, in milliseconds since the Unix epoch; 0 for never.
    evaluated_ms: AtomicI64,
}

impl Agent for Monitoring {
    const NAME: &'static str = "monitoring";
    type Config = Config;

    fn new(config: Config) -> Result<Self, Fault> {
        let bounds = [
            ("evaluate_seconds", config.evaluate_seconds, 1, 300),
            ("deliver_seconds", config.deliver_seconds, 1, 300),
            ("summary_seconds", config.summary_seconds, 5, 3_600),
        ];
        match bounds.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value)) {
            None => Ok(Self { config, evaluated_ms: AtomicI64::new(0) }),
            Some((name, value, min, max)) => {
                Err(Fault::invalid(format!("agents.monitoring.{name} is {value}")).hint(format!("{min} to {max}")))
            }
        }
    }

    fn duties(&self, set: &mut Duties<Self>) {
        let seconds = |seconds: u32| When::every(Duration::from_secs(seconds.into()));
        set.add(
            "rules",
            "Evaluates the alert rules, and has alerts fire and be resolved as they say.",
            seconds(self.config.evaluate_seconds),
            Self::rules,
        );
        set.add(
            "deliver",
            "Has people told of alerts at the sinks that the configuration names, and heartbeats sent while the rules are evaluated.",
            seconds(self.config.deliver_seconds).or_on(&["alert."]),
            Self::deliver,
        );
        set.add(
            "summary",
            "Looks at every service and at what figures come from, and says in a line how the fleet stands.",
            seconds(self.config.summary_seconds).or_on(&["alert.", "service.", "agent."]),
            Self::summary,
        );
    }

    fn jobs(&self, set: &mut Jobs<Self>) {
        let summary = Job::new("summary", "Says in a line how the fleet stands now.", Access::Operate);
        set.add(summary, Self::summarise);
    }
}

/// What `summary` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summarise {}

/// What `summary` gives.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// How the fleet stands.
    pub summary: String,
}

impl Monitoring {
    async fn rules(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        let seen = hands.call(EVALUATE_RULES, &EvaluateRulesRequest {}).await?;
        // Mostly nothing is due, and then nothing is done: what is done is recorded like anybody's call.
        let settled = match seen.steps.is_empty() {
            true => seen,
            false => hands.call(SETTLE_ALERTS, &SettleAlertsRequest {}).await?,
        };
        self.evaluated_ms.store(hands.now_ms(), Ordering::Release);
        let mut outcome = format!("{} rules evaluated", settled.rules);
        for (step, verb) in [(Step::Fire, "fired"), (Step::Resolve, "resolved")] {
            let of_it = settled.steps.iter().filter(|one| one.step == step);
            append(&mut outcome, verb, of_it.map(|one: &AlertStep| one.summary.clone()).collect());
        }
        append(&mut outcome, "not evaluated", settled.failures.iter().map(|one| one.rule.clone()).collect());
        Ok(outcome)
    }

    async fn deliver(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        let evaluated_ms = Some(self.evaluated_ms.load(Ordering::Acquire)).filter(|at_ms| *at_ms > 0);
        let sinks = hands.call(LIST_SINKS, &ListSinksRequest { evaluated_ms }).await?.sinks;
        let mut outcome = format!("{} sinks", sinks.len());
        if sinks.iter().any(|sink| sink.due) {
            let told = hands.call(DELIVER_ALERTS, &DeliverAlertsRequest { evaluated_ms }).await?.deliveries;
            let (took, failed): (Vec<_>, Vec<_>) = told.into_iter().partition(|one: &Delivery| one.error.is_none());
            append(&mut outcome, "told", took.iter().map(|one| format!("{} of {}", one.sink, one.alerts)).collect());
            let why = failed.iter().map(|one| format!("{} ({})", one.sink, one.error.as_deref().unwrap_or_default()));
            append(&mut outcome, "take nothing", why.collect());
        }
        Ok(outcome)
    }

    async fn summarise(self: Arc<Self>, _: Summarise, hands: Hands) -> Result<Summary, Fault> {
        Ok(Summary { summary: self.summary(hands).await? })
    }

    async fn summary(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        let health = hands.call(HEALTH, &HealthRequest::default()).await?;
        let targets = hands.call(TARGETS, &TargetsRequest {}).await?;
        Ok(summary_of(&health, &targets))
    }
}

/// How the fleet stands, in a line.
fn summary_of(health: &HealthResponse, targets: &TargetsResponse) -> String {
    let mut by_status: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for service in &health.services {
        let status = format!("{:?}", service.status).to_lowercase();
        by_status.entry(status).or_default().push(kernel::catalog::role(service.kind, &service.service));
    }
    by_status.remove("healthy");
    let mut line = format!("{} of {} services serve", health.serving, health.total);
    for (status, names) in by_status {
        append(&mut line, &status, names);
    }
    append(&mut line, "alerts", health.alerts.clone());
    let silent = targets.targets.iter().filter(|target| target.up == Some(false));
    append(&mut line, "no figures from", silent.map(|target| target.instance.clone()).collect());
    line
}

/// Adds `; what: a, b` unless there are none.
fn append(line: &mut String, what: &str, mut names: Vec<String>) {
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    if !names.is_empty() {
        line.push_str(&format!("; {what}: {}", names.join(", ")));
    }
    if more > 0 {
        line.push_str(&format!(" and {more} more"));
    }
}

#[cfg(test)]
mod tests;
