//! Alerts and their states: pending → firing → acknowledged → resolved. Deciding only; what is decided is carried out elsewhere.

use std::collections::BTreeMap;

use kernel::UnixMs;
use kernel::audit::hex;
use ring::digest::{Context, SHA256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::rules::{Rule, Severity};

/// How an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its reason is there, but not yet for as long as the rule asks.
    Pending,
    /// Somebody should know.
    Firing,
    /// Somebody does.
    Acknowledged,
    /// Its reason is gone.
    Resolved,
}

impl State {
    /// In lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

/// Who knows of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledgement {
    /// The name of the caller's key.
    pub by: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// What they said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
}

/// One episode of one rule on one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Its id; another episode has another.
    pub id: String,
    /// The rule.
    pub rule: String,
    /// The series' labels, the rule's own, `alertname` and `severity`.
    pub labels: BTreeMap<String, String>,
    /// How bad it is.
    pub severity: Severity,
    /// What to tell people.
    pub summary: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runbook: Option<String>,
    /// How it stands.
    pub state: State,
    /// The expression's value when last written down.
    pub value: Figure,
    /// Since when its reason is there, in milliseconds since the Unix epoch.
    pub since_ms: UnixMs,
    /// When it began to fire.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fired_ms: Option<UnixMs>,
    /// Who knows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acknowledged: Option<Acknowledgement>,
    /// Since when its reason is gone, while the rule lets it go on firing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quiet_since_ms: Option<UnixMs>,
    /// When it resolves by itself: only test alerts do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until_ms: Option<UnixMs>,
    /// When it was resolved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_ms: Option<UnixMs>,
    /// How it came to be resolved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolution: Option<String>,
    /// When it was last written down, in milliseconds since the Unix epoch.
    pub updated_ms: UnixMs,
}

/// What becomes of an alert.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// It is written down, without anybody being told: it is pending, or its value moved.
    Keep(Alert),
    /// It is pending no more, and never fired.
    Drop,
    /// It fires from now on.
    Fire(Alert),
    /// It is over.
    Resolve(Alert),
}

/// A series that gives a rule its reason.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reason {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// How old a written value may be before a new one is written: alerts that last should not write at every evaluation.
const VALUE_AGE_MS: i64 = 60_000;

/// The key of an alert: its rule and its labels.
pub(super) fn fingerprint(rule: &str, labels: &BTreeMap<String, String>) -> String {
    let mut context = Context::new(&SHA256);
    let mut part = |text: &str| {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    part(rule);
    labels.iter().for_each(|(name, value)| {
        part(name);
        part(value);
    });
    hex(&context.finish().as_ref()[..16])
}

/// The labels of an alert of `rule` on a series.
pub(super) fn labels_of(rule: &Rule, series: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = series
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    labels.extend(rule.labels.clone());
    labels.insert("alertname".into(), rule.name.clone());
    labels.insert("severity".into(), rule.severity.as_str().into());
    labels
}

/// What becomes of the alert `known` (if there is one) of `rule`, when there is a `reason` for it now, or none. `labels` are those of
/// [`labels_of`].
pub(super) fn decide(rule: &Rule, known: Option<&Alert>, reason: Option<&Reason>, now_ms: UnixMs) -> Option<Change> {
    match (known, reason) {
        (None, None) => None,
        (None, Some(reason)) => Some(started(rule, reason, now_ms)),
        (Some(known), Some(reason)) => goes_on(rule, known, reason, now_ms),
        (Some(known), None) => goes_quiet(rule, known, now_ms),
    }
}

fn started(rule: &Rule, reason: &Reason, now_ms: UnixMs) -> Change {
    let alert = Alert {
        id: kernel::ids::new_id("alert"),
        rule: rule.name.clone(),
        labels: reason.labels.clone(),
        severity: rule.severity,
        summary: rule.summary_of(&reason.labels, reason.value),
        runbook: rule.runbook.clone(),
        state: State::Pending,
        value: Figure(reason.value),
        since_ms: now_ms,
        fired_ms: None,
        acknowledged: None,
        quiet_since_ms: None,
        until_ms: None,
        resolved_ms: None,
        resolution: None,
        updated_ms: now_ms,
    };
    if rule.for_seconds == 0 { Change::Fire(fired(alert, now_ms)) } else { Change::Keep(alert) }
}

fn fired(alert: Alert, now_ms: UnixMs) -> Alert {
    Alert { state: State::Firing, fired_ms: Some(now_ms), updated_ms: now_ms, ..alert }
}

fn goes_on(rule: &Rule, known: &Alert, reason: &Reason, now_ms: UnixMs) -> Option<Change> {
    let alert = Alert {
        value: Figure(reason.value),
        severity: rule.severity,
        summary: rule.summary_of(&reason.labels, reason.value),
        runbook: rule.runbook.clone(),
        quiet_since_ms: None,
        updated_ms: now_ms,
        ..known.clone()
    };
    if known.state == State::Pending {
        let lasted = now_ms.saturating_sub(known.since_ms) >= i64::from(rule.for_seconds) * 1_000;
        return lasted.then(|| Change::Fire(fired(alert, now_ms)));
    }
    let moved = !alert.value.same(known.value) && now_ms.saturating_sub(known.updated_ms) >= VALUE_AGE_MS;
    (known.quiet_since_ms.is_some() || moved).then_some(Change::Keep(alert))
}

fn goes_quiet(rule: &Rule, known: &Alert, now_ms: UnixMs) -> Option<Change> {
    if known.state == State::Pending {
        return Some(Change::Drop);
    }
    let keep_ms = i64::from(rule.keep_firing_seconds) * 1_000;
    let since_ms = known.quiet_since_ms.unwrap_or(now_ms);
    if now_ms.saturating_sub(since_ms) >= keep_ms {
        return Some(Change::Resolve(resolved(known, "its reason is gone", now_ms)));
    }
    let quiet = Alert { quiet_since_ms: Some(since_ms), updated_ms: now_ms, ..known.clone() };
    known.quiet_since_ms.is_none().then_some(Change::Keep(quiet))
}

/// The alert, over.
pub(super) fn resolved(known: &Alert, why: &str, now_ms: UnixMs) -> Alert {
    Alert {
        state: State::Resolved,
        quiet_since_ms: None,
        resolved_ms: Some(now_ms),
        resolution: Some(why.into()),
        updated_ms: now_ms,
        ..known.clone()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::monitoring::defaults;

    /// Runs a rule over a string of moments ten seconds apart: `x` reason, `.` none, `a` reason and acknowledged before it.
    fn check(for_seconds: u32, keep_firing_seconds: u32, moments: &str, want: Expect) {
        let rule = Rule { for_seconds, keep_firing_seconds, ..defaults::rules(0).remove(0) };
        let labels = labels_of(&rule, &BTreeMap::from([("server".into(), "a".into())]));
        let (mut known, mut story): (Option<Alert>, String) = (None, String::new());
        for (n, moment) in moments.chars().enumerate() {
            let now_ms = n as i64 * 10_000;
            if moment == 'a'
                && let Some(alert) = &mut known
            {
                alert.state = State::Acknowledged;
            }
            let reason = (moment != '.').then(|| Reason { labels: labels.clone(), value: 0.0 });
            let change = decide(&rule, known.as_ref(), reason.as_ref(), now_ms);
            match &change {
                Some(Change::Fire(_)) => story.push_str(&format!("{}s fires, ", n * 10)),
                Some(Change::Resolve(alert)) => {
                    assert!(alert.resolved_ms == Some(now_ms) && alert.state == State::Resolved);
                    story.push_str(&format!("{}s resolved, ", n * 10));
                }
                Some(Change::Drop) => story.push_str(&format!("{}s dropped, ", n * 10)),
                _ => {}
            }
            known = match change {
                Some(Change::Keep(alert) | Change::Fire(alert)) => Some(alert),
                Some(Change::Drop | Change::Resolve(_)) => None,
                None => known,
            };
        }
        story.push_str(&known.map_or("none".into(), |alert| format!("{:?}", alert.state)));
        want.assert_eq(&story);
    }

    #[test]
    fn states() {
        check(0, 0, "..x", expect!["20s fires, Firing"]);
        check(30, 0, "xxx", expect!["Pending"]);
        check(30, 0, "xxxx", expect!["30s fires, Firing"]);
        check(30, 0, "xx.xxxx", expect!["20s dropped, 60s fires, Firing"]);
        check(0, 0, "xx.", expect!["0s fires, 20s resolved, none"]);
        check(0, 0, "xa.", expect!["0s fires, 20s resolved, none"]);
        check(0, 0, "xaa", expect!["0s fires, Acknowledged"]);
        check(0, 0, "x.x.", expect!["0s fires, 10s resolved, 20s fires, 30s resolved, none"]);
    }

    #[test]
    fn flapping_is_one_episode_while_the_rule_keeps_it() {
        check(0, 30, "x.x.x.x", expect!["0s fires, Firing"]);
        check(0, 30, "x...x", expect!["0s fires, Firing"]);
        check(0, 30, "x....", expect!["0s fires, 40s resolved, none"]);
        check(0, 30, "xa..a", expect!["0s fires, Acknowledged"]);
        check(20, 30, "x.x.xxx..x", expect!["10s dropped, 30s dropped, 60s fires, Firing"]);
    }

    #[test]
    fn a_value_that_moves_is_written_now_and_then() {
        let rule = Rule { for_seconds: 0, ..defaults::rules(0).remove(0) };
        let reason = |value| Reason { labels: BTreeMap::new(), value };
        let Some(Change::Fire(alert)) = decide(&rule, None, Some(&reason(1.0)), 0) else { panic!("fires") };
        assert_eq!(decide(&rule, Some(&alert), Some(&reason(2.0)), VALUE_AGE_MS - 1), None);
        assert_eq!(decide(&rule, Some(&alert), Some(&reason(1.0)), VALUE_AGE_MS), None);
        let Some(Change::Keep(moved)) = decide(&rule, Some(&alert), Some(&reason(2.0)), VALUE_AGE_MS) else {
            panic!("kept")
        };
        assert_eq!((moved.value.0, moved.since_ms, moved.id == alert.id), (2.0, 0, true));
    }

    #[test]
    fn a_clock_that_steps_back_neither_fires_nor_resolves_early() {
        let rule = Rule { for_seconds: 60, keep_firing_seconds: 60, ..defaults::rules(0).remove(0) };
        let reason = Reason { labels: BTreeMap::new(), value: 1.0 };
        let Some(Change::Keep(pending)) = decide(&rule, None, Some(&reason), 100_000) else { panic!("pending") };
        assert_eq!(decide(&rule, Some(&pending), Some(&reason), 0), None);
        let Some(Change::Fire(firing)) = decide(&rule, Some(&pending), Some(&reason), 160_000) else { panic!("fires") };
        let Some(Change::Keep(quiet)) = decide(&rule, Some(&firing), None, 170_000) else { panic!("quiet") };
        assert_eq!(decide(&rule, Some(&quiet), None, 10_000), None);
    }

    #[test]
    fn fingerprints_tell_rules_and_labels_apart() {
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let all = [
            fingerprint("a", &labels(&[])),
            fingerprint("a", &labels(&[("x", "y")])),
            fingerprint("a", &labels(&[("xy", "")])),
            fingerprint("ax", &labels(&[("y", "")])),
            fingerprint("b", &labels(&[])),
        ];
        assert_eq!(std::collections::BTreeSet::from(all.clone()).len(), all.len());
    }
}
