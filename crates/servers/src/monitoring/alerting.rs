//! The tools of rules, alerts and silences.

use std::collections::BTreeMap;

use kernel::{Code, Fault, UnixMs};
use mcp::{Ctx, ToolError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Monitoring;
use super::alerts::{Acknowledgement, Alert, State};
use super::evaluate::Open;
use super::figure::Figure;
use super::rules::{self, Condition, NOTICE, RULES_MAX, Rule, Severity, TEST};
use super::silences::{self, Silence};

/// Most alerts of one answer.
const ALERTS_MAX: u32 = 1_000;
/// How long an announcement stands among the alerts, in seconds: sinks that are away are told of it all the same, once they are back.
const NOTICE_SECONDS: u32 = 60;
/// Longest comment, in bytes.
const COMMENT_BYTES_MAX: usize = 1_024;

/// What [`LIST_RULES`](super::LIST_RULES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListRulesRequest {
    /// Only rules whose name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A rule and how it fared.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RuleRow {
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// The PromQL it is evaluated as.
    pub promql: String,
    /// How many of its alerts are pending.
    pub pending: u64,
    /// How many fire, acknowledged ones included.
    pub firing: u64,
    /// When this process last evaluated it, in milliseconds since the Unix epoch; absent when it has not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evaluated_ms: Option<UnixMs>,
    /// Why that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// What [`LIST_RULES`](super::LIST_RULES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListRulesResponse {
    /// By name.
    pub rules: Vec<RuleRow>,
}

/// What [`SET_RULE`](super::SET_RULE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRuleRequest {
    /// Its name: lower-case letters, digits and -, at most 64. A rule of this name is replaced.
    pub name: String,
    /// What is watched: PromQL that gives a vector, like mcp_server_health.
    pub expr: String,
    /// When that is a reason to alert: {"kind":"threshold","op":">","value":5}, {"kind":"absence"},
    /// {"kind":"rate","window_seconds":300,"op":">","value":1}, or {"kind":"any"} (unless given): whenever the expression has series.
    #[serde(default)]
    pub condition: Condition,
    /// How long the reason must last before the alert fires, in seconds.
    #[serde(default)]
    pub for_seconds: u32,
    /// How long the alert goes on firing after the reason is gone, in seconds: against flapping.
    #[serde(default)]
    pub keep_firing_seconds: u32,
    /// info, warning (unless given) or critical.
    #[serde(default)]
    pub severity: Severity,
    /// What to tell people; {label} and {value} are filled in.
    #[serde(default)]
    pub summary: String,
    /// What to do about it: a text or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Labels added to its alerts.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether it is evaluated; true unless given.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether only to say what it would do now, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

fn yes() -> bool {
    true
}

/// A series that would be an alert.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WouldAlert {
    /// The alert's labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: Figure,
    /// What would be told.
    pub summary: String,
}

/// What [`SET_RULE`](super::SET_RULE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SetRuleResponse {
    /// The rule.
    pub rule: Rule,
    /// The PromQL it is evaluated as.
    pub promql: String,
    /// Whether it was kept.
    pub kept: bool,
    /// Whether there was one of this name.
    pub replaced: bool,
    /// The series that give it its reason now, at most 20.
    pub now: Vec<WouldAlert>,
}

/// What [`DELETE_RULE`](super::DELETE_RULE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRuleRequest {
    /// Its name.
    pub name: String,
}

/// What [`LIST_ALERTS`](super::LIST_ALERTS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListAlertsRequest {
    /// Only these states: pending, firing, acknowledged, resolved. Firing and acknowledged unless given.
    pub states: Vec<State>,
    /// Only alerts of this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// This severity or worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Whether to leave out silenced ones.
    pub hide_silenced: bool,
    /// At most this many: 1 to 1,000, 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// An alert and whether it is silent.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AlertRow {
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// The silences under which it is.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub silenced_by: Vec<String>,
}

/// What [`LIST_ALERTS`](super::LIST_ALERTS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListAlertsResponse {
    /// Worst first, then newest first; those that are over last.
    pub alerts: Vec<AlertRow>,
    /// How many more there are.
    pub omitted: u64,
}

/// What [`ACKNOWLEDGE_ALERT`](super::ACKNOWLEDGE_ALERT) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AcknowledgeAlertRequest {
    /// The alert's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Or: all that fire of this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What you know or do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether to take an acknowledgement back.
    pub undo: bool,
}

/// What [`ACKNOWLEDGE_ALERT`](super::ACKNOWLEDGE_ALERT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AcknowledgeAlertResponse {
    /// The alerts as they stand now.
    pub alerts: Vec<Alert>,
}

/// What [`TEST_ALERT`](super::TEST_ALERT) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestAlertRequest {
    /// info, warning (unless given) or critical.
    pub severity: Severity,
    /// What to tell people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// After how many seconds it resolves itself: 5 to 3,600, 60 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 3600))]
    pub seconds: Option<u32>,
}

/// What [`ANNOUNCE`](super::ANNOUNCE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnnounceRequest {
    /// What it is known by, at most 64 characters: the same again, while it stands, is the same announcement.
    pub key: String,
    /// info, warning (unless given) or critical.
    pub severity: Severity,
    /// What to tell people, at most 1,024 bytes.
    pub summary: String,
    /// Where there is more: a text or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
}

fn check_comment(comment: Option<&String>) -> Result<(), Fault> {
    if comment.is_some_and(|comment| comment.len() > COMMENT_BYTES_MAX) {
        return Err(Fault::too_large("the text is too long").hint(format!("at most {COMMENT_BYTES_MAX} bytes")));
    }
    Ok(())
}

impl Monitoring {
    pub(super) async fn list_rules(&self, request: ListRulesRequest) -> Result<ListRulesResponse, ToolError> {
        let mut rules = rules::list(&*self.store).await?;
        rules.retain(|rule| request.name.as_ref().is_none_or(|part| rule.name.contains(part)));
        let (open, status) = (self.evaluator.open().await?, self.evaluator.status());
        let row = |rule: Rule| {
            let of_rule = |pending: bool| {
                let counts =
                    |open: &&Open| open.alert.rule == rule.name && (open.alert.state == State::Pending) == pending;
                open.iter().filter(counts).count() as u64
            };
            let known = status.get(&rule.name);
            RuleRow {
                promql: rule.promql(),
                pending: of_rule(true),
                firing: of_rule(false),
                evaluated_ms: known.map(|status| status.evaluated_ms),
                error: known.and_then(|status| status.error.clone()),
                rule,
            }
        };
        Ok(ListRulesResponse { rules: rules.into_iter().map(row).collect() })
    }

    pub(super) async fn set_rule(&self, request: SetRuleRequest, ctx: &Ctx) -> Result<SetRuleResponse, ToolError> {
        /// Series shown of what it would do.
        const SHOWN: usize = 20;
        let now_ms = self.clock.now_ms();
        let dry_run = request.dry_run;
        let rule = Rule {
            name: request.name,
            expr: request.expr.trim().to_owned(),
            condition: request.condition,
            for_seconds: request.for_seconds,
            keep_firing_seconds: request.keep_firing_seconds,
            severity: request.severity,
            summary: request.summary,
            runbook: request.runbook.filter(|text| !text.trim().is_empty()),
            labels: request.labels,
            enabled: request.enabled,
            by: ctx.caller.name.clone(),
            updated_ms: now_ms,
        };
        rule.check()?;
        let promql = rule.promql();
        self.figures.check(&promql)?;
        let replaced = rules::get(&*self.store, &rule.name).await?.is_some();
        if !replaced && rules::list(&*self.store).await?.len() >= RULES_MAX {
            return Err(Fault::too_large(format!("{RULES_MAX} rules are kept already"))
                .hint("delete_rule those not needed")
                .into());
        }
        // Asked now, so that an expression that cannot be computed is refused rather than found out at night.
        let reasons = match self.evaluator.reasons(&rule, &promql, now_ms).await {
            Err(fault) if fault.code == Code::Unavailable => Vec::new(),
            other => other?,
        };
        let would = |reason: super::alerts::Reason| WouldAlert {
            summary: rule.summary_of(&reason.labels, reason.value),
            value: Figure(reason.value),
            labels: reason.labels,
        };
        let now = reasons.into_iter().take(SHOWN).map(would).collect();
        if !dry_run {
            rules::put(&*self.store, &rule).await?;
            tracing::info!(rule = rule.name, by = rule.by, replaced, "alert rule set");
        }
        Ok(SetRuleResponse { rule, promql, kept: !dry_run, replaced, now })
    }

    pub(super) async fn delete_rule(&self, request: DeleteRuleRequest) -> Result<Rule, ToolError> {
        let rule = rules::get(&*self.store, &request.name)
            .await?
            .ok_or_else(|| Fault::not_found(format!("no rule `{}`", request.name)).hint("list_rules names them"))?;
        rules::remove(&*self.store, &request.name).await?;
        tracing::info!(rule = rule.name, "alert rule deleted");
        Ok(rule)
    }

    pub(super) async fn list_alerts(&self, request: ListAlertsRequest) -> Result<ListAlertsResponse, ToolError> {
        let limit = request.limit.unwrap_or(100);
        if !(1..=ALERTS_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint("1 to 1,000").into());
        }
        let wanted = |state: State| match &request.states[..] {
            [] => matches!(state, State::Firing | State::Acknowledged),
            states => states.contains(&state),
        };
        let mut alerts: Vec<Alert> = self.evaluator.open().await?.into_iter().map(|open| open.alert).collect();
        alerts.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then_with(|| b.since_ms.cmp(&a.since_ms)).then_with(|| a.id.cmp(&b.id))
        });
        if wanted(State::Resolved) {
            alerts.extend(self.evaluator.history(ALERTS_MAX as usize).await?);
        }
        let (silences, now_ms) = (silences::list(&*self.store).await?, self.clock.now_ms());
        let row = |alert: Alert| {
            let over = |silence: &&Silence| silence.active(now_ms) && silence.covers(&alert.labels);
            let silenced_by = silences.iter().filter(over).map(|silence| silence.id.clone()).collect();
            AlertRow { alert, silenced_by }
        };
        let fits = |row: &AlertRow| {
            wanted(row.alert.state)
                && request.rule.as_ref().is_none_or(|rule| *rule == row.alert.rule)
                && request.severity.is_none_or(|severity| row.alert.severity >= severity)
                && (!request.hide_silenced || row.silenced_by.is_empty())
        };
        let mut rows: Vec<AlertRow> = alerts.into_iter().map(row).filter(fits).collect();
        let omitted = rows.len().saturating_sub(limit as usize) as u64;
        rows.truncate(limit as usize);
        Ok(ListAlertsResponse { alerts: rows, omitted })
    }

    pub(super) async fn acknowledge_alert(
        &self,
        request: AcknowledgeAlertRequest,
        ctx: &Ctx,
    ) -> Result<AcknowledgeAlertResponse, ToolError> {
        check_comment(request.comment.as_ref())?;
        if request.id.is_some() == request.rule.is_some() {
            return Err(Fault::invalid("which alert").hint("give either id or rule").into());
        }
        let chosen = |open: &Open| match (&request.id, &request.rule) {
            (Some(id), _) => open.alert.id == *id,
            (_, Some(rule)) => open.alert.rule == *rule && open.alert.state != State::Pending,
            _ => false,
        };
        let (from, to) =
            if request.undo { (State::Acknowledged, State::Firing) } else { (State::Firing, State::Acknowledged) };
        let open: Vec<Open> = self.evaluator.open().await?.into_iter().filter(chosen).collect();
        if let (Some(id), [only]) = (&request.id, &open[..])
            && only.alert.state == State::Pending
        {
            return Err(Fault::conflict(format!("alert `{id}` does not fire yet"))
                .hint("only firing alerts are acknowledged")
                .into());
        }
        if open.is_empty() {
            let what = request.id.or(request.rule).unwrap_or_default();
            return Err(Fault::not_found(format!("no alert that fires: `{what}`"))
                .hint("list_alerts names them")
                .into());
        }
        let now_ms = self.clock.now_ms();
        let acknowledged = (!request.undo).then(|| Acknowledgement {
            by: ctx.caller.name.clone(),
            at_ms: now_ms,
            comment: request.comment.clone().filter(|comment| !comment.trim().is_empty()),
        });
        let mut alerts = Vec::with_capacity(open.len());
        for open in open {
            // What stands as wanted already stays as it is: who was first is kept.
            if open.alert.state != from {
                alerts.push(open.alert);
                continue;
            }
            let alert =
                Alert { state: to, acknowledged: acknowledged.clone(), updated_ms: now_ms, ..open.alert.clone() };
            let kind = if request.undo { "alert.firing" } else { "alert.acknowledged" };
            alerts.push(self.evaluator.replace(&open, alert, kind).await?);
        }
        Ok(AcknowledgeAlertResponse { alerts })
    }

    pub(super) async fn test_alert(&self, request: TestAlertRequest, ctx: &Ctx) -> Result<Alert, ToolError> {
        let seconds = request.seconds.unwrap_or(60);
        if !(5..=3_600).contains(&seconds) {
            return Err(Fault::invalid(format!("seconds is {seconds}")).hint("5 to 3,600").into());
        }
        check_comment(request.summary.as_ref())?;
        let labels = [("alertname", TEST), ("severity", request.severity.as_str()), ("by", ctx.caller.name.as_str())];
        let alert = Alert {
            labels: labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            severity: request.severity,
            summary: request.summary.unwrap_or_else(|| format!("a test by {}: nothing is wrong", ctx.caller.name)),
            runbook: Some("nothing to do: it resolves itself".into()),
            ..self.by_hand(TEST, seconds)
        };
        let key = alert.id.clone();
        Ok(self.evaluator.start_by_hand(&key, alert).await?)
    }

    /// An alert that no rule stands behind and that is over after so many seconds, by itself.
    fn by_hand(&self, rule: &str, seconds: u32) -> Alert {
        let now_ms = self.clock.now_ms();
        Alert {
            id: kernel::ids::new_id("alert"),
            rule: rule.into(),
            labels: BTreeMap::new(),
            severity: Severity::Info,
            summary: String::new(),
            runbook: None,
            state: State::Firing,
            value: Figure(1.0),
            since_ms: now_ms,
            fired_ms: Some(now_ms),
            acknowledged: None,
            quiet_since_ms: None,
            until_ms: Some(now_ms + i64::from(seconds) * 1_000),
            resolved_ms: None,
            resolution: None,
            updated_ms: now_ms,
        }
    }

    pub(super) async fn announce(&self, request: AnnounceRequest, ctx: &Ctx) -> Result<Alert, ToolError> {
        check_comment(Some(&request.summary))?;
        check_comment(request.runbook.as_ref())?;
        let key = request.key;
        if request.summary.trim().is_empty() || !(1..=64).contains(&key.chars().count()) {
            return Err(Fault::invalid("no key or no summary")
                .hint("what it is known by, and what to tell people")
                .into());
        }
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in
            [("alertname", NOTICE), ("severity", request.severity.as_str()), ("by", &ctx.caller.name), ("key", &key)]
        {
            labels.insert(name.into(), value.into());
        }
        let (severity, summary, runbook) = (request.severity, request.summary, request.runbook);
        let alert = Alert { labels, severity, summary, runbook, ..self.by_hand(NOTICE, NOTICE_SECONDS) };
        Ok(self.evaluator.start_by_hand(&key, alert).await?)
    }
}
