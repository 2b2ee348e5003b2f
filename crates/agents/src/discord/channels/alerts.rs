//! The alerts channel: one message for each rule whose alerts fire, edited as they fire, are acknowledged and end.
//!
//! What is due is the difference between what was told, which is noted, and how the alerts are: nothing is lost while Discord is away, and nothing is
//! told twice after a restart. What is to be told is noted before it is told. Of what is silenced nothing new is told.

use std::collections::{BTreeMap, VecDeque};

use kernel::clock::timestamp;
use kernel::{Fault, UnixMs};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servers::monitoring::{Alert, AlertRow, LIST_ALERTS, ListAlertsRequest, Severity, State};

use super::super::answer::{Answer, Tone, cut};
use super::super::rest::Rest;
use super::show;
use crate::hands::Hands;

/// Most alerts that are looked at.
const LOOK_MAX: u32 = 1_000;
/// Most alerts that are noted. Of more, the message that is oldest stays as it is, and what comes of its alerts is told in a new one.
const NOTED_MAX: usize = 150;
/// Most alerts of one message.
const SHOWN_MAX: usize = 30;
/// Longest text of an alert, in UTF-16 units.
const TEXT_UNITS: usize = 110;
/// How much earlier than the last one an alert may have ended that is seen later, in milliseconds: clocks differ.
const OVERLAP_MS: i64 = 60_000;
/// Most alerts that are remembered as told of when they were over.
const OVER_MAX: usize = 200;
/// Most messages of one go.
const MESSAGES_MAX: usize = 10;

/// What was told, and what is to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Told {
    channel: String,
    /// What was over before this is not told.
    begun_ms: UnixMs,
    /// Up to when what is over was told.
    over_ms: UnixMs,
    over: VecDeque<String>,
    /// By rule.
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Group {
    message: Option<String>,
    /// Whether the message is to be made or edited.
    due: bool,
    alerts: BTreeMap<String, Known>,
}

/// An alert, as it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Known {
    state: State,
    severity: Severity,
    summary: String,
    /// When it began to fire, or ended.
    at_ms: UnixMs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runbook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

impl Known {
    fn of(alert: &Alert) -> Self {
        Self {
            state: alert.state,
            severity: alert.severity,
            summary: cut(&alert.summary, TEXT_UNITS),
            at_ms: alert.resolved_ms.or(alert.fired_ms).unwrap_or(alert.since_ms),
            runbook: alert.runbook.as_ref().map(|runbook| cut(runbook, TEXT_UNITS)),
            by: alert.acknowledged.as_ref().map(|by| cut(&by.by, TEXT_UNITS)),
        }
    }
}

impl Told {
    /// Takes in how the alerts are.
    fn take(&mut self, rows: &[AlertRow], channel: &str, now_ms: UnixMs) {
        if self.channel != channel {
            // What fires is told there too; what is over is not.
            *self = Self { channel: channel.to_owned(), begun_ms: now_ms, over_ms: now_ms, ..Self::default() };
        }
        let mut newest_ms = self.over_ms;
        for AlertRow { alert, silenced_by } in rows {
            let known = self.groups.get(&alert.rule).and_then(|group| group.alerts.get(&alert.id));
            let new = match (alert.state, alert.resolved_ms) {
                (State::Pending, _) => false,
                (State::Firing | State::Acknowledged, _) => match known {
                    Some(known) => known.state != alert.state,
                    None => silenced_by.is_empty(),
                },
                (State::Resolved, ended_ms) => {
                    let ended_ms = ended_ms.unwrap_or(alert.updated_ms);
                    newest_ms = newest_ms.max(ended_ms);
                    let unheard =
                        ended_ms > self.begun_ms.max(self.over_ms - OVERLAP_MS) && !self.over.contains(&alert.id);
                    match known {
                        Some(known) => known.state != State::Resolved,
                        None => unheard && silenced_by.is_empty(),
                    }
                }
            };
            if new {
                let group = self.groups.entry(alert.rule.clone()).or_default();
                group.due = true;
                group.alerts.insert(alert.id.clone(), Known::of(alert));
            }
        }
        self.over_ms = newest_ms;
        self.bound();
    }

    /// Keeps what is noted within its bound.
    fn bound(&mut self) {
        while self.groups.values().map(|group| group.alerts.len()).sum::<usize>() > NOTED_MAX {
            let age = |group: &Group| group.alerts.values().map(|known| known.at_ms).max();
            let largest = self.groups.iter().max_by_key(|(_, group)| group.alerts.len());
            let oldest = self.groups.iter().filter(|(_, group)| !group.due).min_by_key(|(_, group)| age(group));
            let Some(name) = oldest.or(largest).map(|(name, _)| name.clone()) else { return };
            let Some(group) = self.groups.get_mut(&name) else { return };
            if !group.due || group.alerts.len() <= SHOWN_MAX {
                self.groups.remove(&name);
                continue;
            }
            // Of one rule's many the first ones to go are over, then the oldest.
            let first = group.alerts.iter().min_by_key(|(_, known)| (known.state != State::Resolved, known.at_ms));
            if let Some(id) = first.map(|(id, _)| id.clone()) {
                group.alerts.remove(&id);
            }
        }
    }

    /// The message of a rule is shown: a rule of which nothing fires any more begins another the next time.
    fn shown(&mut self, rule: &str, message: String) {
        let Some(group) = self.groups.get_mut(rule) else { return };
        (group.message, group.due) = (Some(message), false);
        let over = group.alerts.iter().filter(|(_, known)| known.state == State::Resolved);
        for id in over.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            if !self.over.contains(&id) {
                self.over.push_back(id);
            }
        }
        let surplus = self.over.len().saturating_sub(OVER_MAX);
        self.over.drain(..surplus);
        if group.alerts.values().all(|known| known.state == State::Resolved) {
            self.groups.remove(rule);
        }
    }
}

/// Tells what is due.
pub(in super::super) async fn update(rest: &Rest, channel: &str, hands: &Hands) -> Result<String, Fault> {
    let states = vec![State::Firing, State::Acknowledged, State::Resolved];
    let asked = ListAlertsRequest { states, limit: Some(LOOK_MAX), ..ListAlertsRequest::default() };
    let rows = hands.call(LIST_ALERTS, &asked).await?.alerts;
    let mut note = hands.notes().read::<Told>("alerts").await?;
    let before = note.value.clone();
    note.value.take(&rows, channel, hands.now_ms());
    if note.value != before {
        hands.notes().write("alerts", &mut note).await?;
    }
    let due: Vec<(String, Group)> = note
        .value
        .groups
        .iter()
        .filter(|(_, group)| group.due)
        .map(|(rule, group)| (rule.clone(), group.clone()))
        .collect();
    for (rule, group) in due.into_iter().take(MESSAGES_MAX) {
        // What the message is about, from its first alert on.
        let first = group.alerts.iter().min_by_key(|(id, known)| (known.at_ms, (*id).clone()));
        let nonce = format!("alerts {channel} {rule} {}", first.map_or("", |(id, _)| id));
        let message = show(rest, channel, group.message.as_deref(), &nonce, message_of(&rule, &group)).await?;
        note.value.shown(&rule, message);
        hands.notes().write("alerts", &mut note).await?;
    }
    let open = note.value.groups.len();
    Ok(if open == 0 { "nothing fires".into() } else { format!("{open} rules with alerts are shown") })
}

fn message_of(rule: &str, group: &Group) -> Value {
    let mut all: Vec<&Known> = group.alerts.values().collect();
    all.sort_by_key(|known| (known.state == State::Resolved, std::cmp::Reverse(known.severity), known.at_ms));
    let count = |state: State| all.iter().filter(|known| known.state == state).count();
    let counts = [State::Firing, State::Acknowledged, State::Resolved].map(|state| (count(state), state.as_str()));
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!("{count} {state}"));
    let worst = all.iter().filter(|known| known.state != State::Resolved).map(|known| known.severity).max();
    let tone = match worst {
        Some(Severity::Critical) => Tone::Bad,
        Some(Severity::Warning) => Tone::Warning,
        Some(Severity::Info) => Tone::Plain,
        None => Tone::Good,
    };
    let mut lines: Vec<String> = all.iter().take(SHOWN_MAX).map(|known| line(known)).collect();
    if all.len() > SHOWN_MAX {
        lines.push(format!("and {} more", all.len() - SHOWN_MAX));
    }
    let runbook = all.iter().find_map(|known| known.runbook.clone()).unwrap_or_default();
    let title = format!("{rule}: {}", counts.collect::<Vec<_>>().join(", "));
    let answer = Answer::new(tone, title, lines.join("\n")).note(runbook);
    answer.page(&answer.pages(), 0, &[])
}

fn line(known: &Known) -> String {
    let by = known.by.as_ref().filter(|_| known.state == State::Acknowledged);
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    let (state, severity) = (known.state.as_str(), known.severity.as_str());
    format!("{state}{by} {severity}: {} ({})", known.summary, timestamp(known.at_ms))
}

#[cfg(test)]
mod tests;
