//! What a sink has not been told yet.

use std::collections::BTreeMap;

use kernel::UnixMs;

use super::Told;
use crate::monitoring::alerts::{Alert, State};
use crate::monitoring::rules::NOTICE;
use crate::monitoring::silences::Silence;
use crate::monitoring::sinks::{Inhibition, Sink, SinkKind, inhibited};

/// Most alerts of one message; the rest comes with the next.
const ALERTS_MAX: usize = 50;
/// How old the last evaluation may be for a heartbeat, in milliseconds.
const EVALUATED_MS: i64 = 60_000;

/// How the alerts are.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Those that are not over.
    pub(super) open: Vec<Alert>,
    /// Those that are, and when by the store's revisions, oldest first.
    pub(super) over: Vec<(u64, Alert)>,
    /// What nobody wants to hear of.
    pub(super) silences: Vec<Silence>,
    /// Which alerts others make superfluous.
    pub(super) inhibitions: Vec<Inhibition>,
    /// When the rules were last evaluated.
    pub(super) evaluated_ms: Option<UnixMs>,
}

/// What is due.
#[derive(Debug, PartialEq)]
pub(super) struct Due {
    /// What to tell of, worst first.
    pub(super) alerts: Vec<Alert>,
    /// Whether it was told before and nobody took it up.
    pub(super) repeated: bool,
    /// What the sink was told, once it has taken this.
    pub(super) after: Told,
}

impl Seen {
    /// Alerts that somebody may want to hear of.
    fn firing(&self) -> Vec<&Alert> {
        self.open.iter().filter(|alert| matches!(alert.state, State::Firing | State::Acknowledged)).collect()
    }

    fn worth_telling(&self, sink: &Sink, alert: &Alert, firing: &[&Alert], now_ms: UnixMs) -> bool {
        let silent = |silence: &Silence| silence.active(now_ms) && silence.covers(&alert.labels);
        sink.wants(alert) && !self.silences.iter().any(silent) && !inhibited(alert, firing, &self.inhibitions)
    }
}

/// How many alerts a sink has not been told of as they stand now.
pub(super) fn waiting(sink: &Sink, told: &Told, seen: &Seen, now_ms: UnixMs) -> usize {
    let (news, over, _) = news(sink, told, seen, now_ms);
    news.len() + over.len()
}

/// What a sink is to be told now, if anything.
pub(super) fn due(sink: &Sink, told: &Told, seen: &Seen, now_ms: UnixMs) -> Option<Due> {
    let quiet_ms = told.told_ms.map_or(i64::MAX, |told_ms| now_ms.saturating_sub(told_ms));
    let again = sink.repeat_ms().is_some_and(|repeat_ms| quiet_ms >= repeat_ms);
    if now_ms < told.next_ms || quiet_ms < i64::from(sink.every_seconds) * 1_000 {
        return None;
    }
    if sink.kind == SinkKind::Heartbeat {
        let evaluated = seen.evaluated_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < EVALUATED_MS);
        return (evaluated && again).then(|| Due { alerts: Vec::new(), repeated: false, after: taken(told, now_ms) });
    }
    let (news, over, known) = news(sink, told, seen, now_ms);
    let mut after = taken(told, now_ms);
    let newest = seen.over.last().map_or(0, |(revision, _)| *revision).max(told.over_revision.unwrap_or_default());
    if news.is_empty() && over.is_empty() {
        // Alertmanager forgets what it is not told again; people are only asked again for what nobody took up.
        let reminds = |alert: &&&Alert| sink.kind == SinkKind::Alertmanager || alert.state == State::Firing;
        let alerts: Vec<Alert> = known.iter().filter(reminds).map(|alert| (*alert).clone()).collect();
        return (again && !alerts.is_empty()).then(|| Due { alerts: worst_first(alerts), repeated: true, after });
    }
    // What is over goes first: it is in order, so what does not fit is what comes after the last that does.
    let told_over: Vec<&(u64, Alert)> = over.iter().take(ALERTS_MAX).copied().collect();
    let left_over: Vec<&(u64, Alert)> = over.iter().skip(ALERTS_MAX).copied().collect();
    let told_news: Vec<&Alert> = news.iter().take(ALERTS_MAX - told_over.len()).copied().collect();
    after.over_revision = Some(match (left_over.is_empty(), told_over.last()) {
        (true, _) | (_, None) => newest,
        (false, Some((revision, _))) => (*revision).max(told.over_revision.unwrap_or_default()),
    });
    let stands = |alert: &&Alert| (alert.id.clone(), alert.state);
    after.alerts = known.iter().chain(&told_news).map(stands).collect();
    // What was told of as firing and is over, but did not fit, is still known as firing there.
    let left = left_over.iter().filter_map(|(_, alert)| Some((alert.id.clone(), *told.alerts.get(&alert.id)?)));
    after.alerts.extend(left);
    // What changed and did not fit is known there as it was.
    let unfit = news.iter().skip(told_news.len());
    after.alerts.extend(unfit.filter_map(|alert| Some((alert.id.clone(), *told.alerts.get(&alert.id)?))));
    let alerts = told_over.into_iter().map(|(_, alert)| alert).chain(told_news).cloned().collect();
    Some(Due { alerts: worst_first(alerts), repeated: false, after })
}

/// What is new to a sink of what fires, what of what is over, and what it knows already.
type News<'a> = (Vec<&'a Alert>, Vec<&'a (u64, Alert)>, Vec<&'a Alert>);

fn news<'a>(sink: &Sink, told: &Told, seen: &'a Seen, now_ms: UnixMs) -> News<'a> {
    let firing = seen.firing();
    let wanted = |alert: &Alert| seen.worth_telling(sink, alert, &firing, now_ms);
    let (known, news) = firing
        .iter()
        .copied()
        .filter(|alert| wanted(alert))
        .partition(|alert| told.alerts.get(&alert.id) == Some(&alert.state));
    let unknown = |revision: u64| told.over_revision.is_some_and(|known| revision > known);
    // That an announcement is over is no news to who heard it; who was away meanwhile hears it then.
    let heard = |alert: &Alert| told.alerts.contains_key(&alert.id);
    let is_news = |(revision, alert): &&(u64, Alert)| match alert.rule == NOTICE {
        true => unknown(*revision) && !heard(alert),
        false => heard(alert) || unknown(*revision),
    };
    let over = seen.over.iter().filter(is_news).filter(|(_, alert)| wanted(alert)).collect();
    (news, over, known)
}

/// The sink after it took a message.
fn taken(told: &Told, now_ms: UnixMs) -> Told {
    let messages = told.messages.saturating_add(1);
    Told { told_ms: Some(now_ms), messages, failures: 0, next_ms: 0, error: None, ..told.clone() }
}

fn worst_first(mut alerts: Vec<Alert>) -> Vec<Alert> {
    let over = |alert: &Alert| alert.state == State::Resolved;
    alerts.sort_by(|a, b| {
        over(a).cmp(&over(b)).then_with(|| b.severity.cmp(&a.severity)).then_with(|| a.since_ms.cmp(&b.since_ms))
    });
    alerts
}

/// Where a sink that is new begins: with what fires, and with nothing that is over.
pub(super) fn beginning(seen: &Seen) -> Told {
    let over_revision = Some(seen.over.last().map_or(0, |(revision, _)| *revision));
    Told { alerts: BTreeMap::new(), over_revision, ..Told::default() }
}

#[cfg(test)]
pub(super) mod tests;
