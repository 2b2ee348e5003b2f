//! Evaluates the rules and carries out what becomes of the alerts: in the store first, then told on the fleet's bus.
//!
//! It keeps nothing between evaluations but how each rule fared: alerts are read anew from the store, so a restart, another replica or
//! an acknowledgement in between changes nothing here. An alert that somebody else changed meanwhile is left for the next evaluation.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use kernel::bus::{Bus, NewEvent};
use kernel::store::{Entry, Expect, LIST_MAX, Store, Write};
use kernel::{Clock, Code, Fault, UnixMs};
use parking_lot::Mutex;
use serde_json::json;

use super::alerts::{Alert, Change, Reason, State, decide, fingerprint, labels_of, resolved};
use super::figures::Figures;
use super::promql::Value;
use super::rules::{self, Condition, Rule};
use super::silences::{self, Silence};

/// Where alerts that are not over are kept in the store, by fingerprint.
const OPEN: &str = "alerts";
/// Where those that are over are kept, newest first.
const HISTORY: &str = "alerts_resolved";
/// Most alerts of one rule at a time.
const REASONS_MAX: usize = 100;
/// Most alerts at a time.
const OPEN_MAX: usize = 2_000;
/// Most of those that are over which sinks are told of: what came before the last so many, nobody is.
const OVER_MAX: usize = 10 * LIST_MAX;
/// Rules asked at the same time.
const AT_ONCE: usize = 4;
/// Who the events say they are from.
const SOURCE: &str = "monitoring";

/// How a rule's last evaluation went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RuleStatus {
    pub(super) evaluated_ms: UnixMs,
    pub(super) error: Option<String>,
}

/// An alert that is not over, in its place in the store.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) key: String,
    pub(super) revision: u64,
    pub(super) alert: Alert,
}

/// What should become of an alert.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) key: String,
    pub(super) known: Option<Open>,
    pub(super) change: Change,
}

/// What a rule's expression says now.
struct Seen {
    reasons: Vec<Reason>,
    /// Whether what is not among the reasons is surely none.
    complete: bool,
    error: Option<String>,
}

/// The evaluator.
pub(super) struct Evaluator {
    clock: Clock,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    figures: Arc<Figures>,
    kept_ms: i64,
    status: Mutex<BTreeMap<String, RuleStatus>>,
}

impl Evaluator {
    /// `kept_ms` is how long alerts that are over can be listed.
    pub(super) fn new(
        clock: Clock,
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        figures: Arc<Figures>,
        kept_ms: i64,
    ) -> Self {
        Self { clock, store, bus, figures, kept_ms, status: Mutex::default() }
    }

    /// How the rules fared, by name.
    pub(super) fn status(&self) -> BTreeMap<String, RuleStatus> {
        self.status.lock().clone()
    }

    /// Evaluates all rules once and carries out what follows. Gives that.
    pub(super) async fn settle(&self) -> Result<Vec<Due>, Fault> {
        let due = self.due().await?;
        let silences = silences::list(&*self.store).await?;
        for Due { key, known, change } in due.clone() {
            self.carry_out(&key, known.as_ref(), change, &silences).await?;
        }
        Ok(due)
    }

    /// Evaluates all rules once: what should become of the alerts now. Changes nothing.
    pub(super) async fn due(&self) -> Result<Vec<Due>, Fault> {
        let now_ms = self.clock.now_ms();
        let rules: Vec<Rule> = rules::list(&*self.store).await?.into_iter().filter(|rule| rule.enabled).collect();
        let mut open: BTreeMap<String, Open> =
            self.open().await?.into_iter().map(|open| (open.key.clone(), open)).collect();
        let room = OPEN_MAX.saturating_sub(open.len());
        let look = |rule: Rule| async move {
            let seen = self.look(&rule, now_ms).await;
            (rule, seen)
        };
        let seen: Vec<(Rule, Seen)> = stream::iter(rules.clone()).map(look).buffered(AT_ONCE).collect().await;
        let (mut due, mut statuses, mut added) = (Vec::new(), BTreeMap::new(), 0);
        for (rule, seen) in seen {
            let mut error = seen.error.clone();
            for one in changes(&rule, &seen, &mut open, now_ms) {
                if one.known.is_none() {
                    added += 1;
                    if added > room {
                        error = Some(format!("more than {OPEN_MAX} alerts at a time"));
                        continue;
                    }
                }
                due.push(one);
            }
            statuses.insert(rule.name.clone(), RuleStatus { evaluated_ms: now_ms, error });
        }
        *self.status.lock() = statuses;
        // What no rule spoke for: alerts by hand, and alerts of rules that are gone or off.
        for open in open.into_values() {
            let change = match open.alert.until_ms {
                Some(until_ms) if now_ms < until_ms => continue,
                Some(_) => Change::Resolve(resolved(&open.alert, "its time is over", now_ms)),
                None if rules.iter().any(|rule| rule.name == open.alert.rule) => continue,
                None if open.alert.state == State::Pending => Change::Drop,
                None => Change::Resolve(resolved(&open.alert, "its rule was deleted or disabled", now_ms)),
            };
            due.push(Due { key: open.key.clone(), known: Some(open), change });
        }
        Ok(due)
    }

    /// What a rule's expression says now.
    async fn look(&self, rule: &Rule, now_ms: UnixMs) -> Seen {
        let expression = rule.promql();
        let complete = self.figures.knows(&expression, now_ms);
        match self.reasons(rule, &expression, now_ms).await {
            // What is absent from a recorder that has just begun may be there.
            Ok(_) if !complete && rule.condition == Condition::Absence => {
                Seen { reasons: Vec::new(), complete: false, error: None }
            }
            Ok(mut reasons) => {
                let found = reasons.len();
                reasons.truncate(REASONS_MAX);
                let error = (found > REASONS_MAX).then(|| format!("{found} series, only {REASONS_MAX} become alerts"));
                Seen { complete: complete && error.is_none(), reasons, error }
            }
            Err(fault) => {
                tracing::debug!(rule = rule.name, %fault, "alert rule not evaluated");
                Seen { reasons: Vec::new(), complete: false, error: Some(fault.to_string()) }
            }
        }
    }

    /// The series that give `rule` its reason at `now_ms`.
    pub(super) async fn reasons(&self, rule: &Rule, expression: &str, now_ms: UnixMs) -> Result<Vec<Reason>, Fault> {
        let Value::Vector(points) = self.figures.instant(expression, now_ms).await? else {
            return Err(Fault::invalid(format!("`{expression}` is no vector")));
        };
        let reason = |labels: BTreeMap<String, String>, value| Reason { labels: labels_of(rule, &labels), value };
        Ok(points.into_iter().map(|point| reason(point.labels.to_map(), point.value)).collect())
    }

    /// Alerts that are not over.
    pub(super) async fn open(&self) -> Result<Vec<Open>, Fault> {
        self.all(OPEN, usize::MAX).await
    }

    /// The newest alerts that are over, at most `limit`.
    pub(super) async fn history(&self, limit: usize) -> Result<Vec<Alert>, Fault> {
        Ok(self.all(HISTORY, limit.min(LIST_MAX)).await?.into_iter().map(|open| open.alert).collect())
    }

    /// Alerts that were over lately, by the revisions at which that was written down: the first to be over first.
    pub(super) async fn over(&self) -> Result<Vec<(u64, Alert)>, Fault> {
        let mut over: Vec<_> =
            self.all(HISTORY, OVER_MAX).await?.into_iter().map(|one| (one.revision, one.alert)).collect();
        over.sort_unstable_by_key(|(revision, _)| *revision);
        Ok(over)
    }

    /// What is kept in `space`, in the order of its keys, at most `max`.
    async fn all(&self, space: &str, max: usize) -> Result<Vec<Open>, Fault> {
        let (mut all, mut after): (Vec<Open>, Option<String>) = (Vec::new(), None);
        loop {
            let limit = LIST_MAX.min(max.saturating_sub(all.len()));
            let page = self.store.list(space, "", after.as_deref(), limit).await?;
            let full = page.len() == LIST_MAX && limit > 0;
            after = page.last().map(|entry| entry.key.clone());
            all.extend(page.into_iter().filter_map(read));
            if !full {
                return Ok(all);
            }
        }
    }

    /// Writes a change down, then tells of it. One whose alert somebody else changed meanwhile is left for the next evaluation.
    async fn carry_out(
        &self,
        key: &str,
        known: Option<&Open>,
        change: Change,
        silences: &[Silence],
    ) -> Result<(), Fault> {
        let expect = known.map_or(Expect::Absent, |open| Expect::Revision(open.revision));
        let (writes, told) = match change {
            Change::Keep(alert) => (vec![put(key, &alert)?.expecting(expect)], None),
            Change::Drop => (vec![Write::delete(OPEN, key).expecting(expect)], None),
            Change::Fire(alert) => (vec![put(key, &alert)?.expecting(expect)], Some(("alert.firing", alert))),
            Change::Resolve(alert) => {
                let writes = vec![Write::delete(OPEN, key).expecting(expect), self.past(&alert)?];
                (writes, Some(("alert.resolved", alert)))
            }
        };
        match self.store.commit(writes).await {
            Err(fault) if fault.code == Code::Conflict => return Ok(()),
            other => other?,
        };
        if let Some((kind, alert)) = told {
            self.tell(kind, &alert, silences).await;
        }
        Ok(())
    }

    fn past(&self, alert: &Alert) -> Result<Write, Fault> {
        let at_ms = alert.resolved_ms.unwrap_or(alert.updated_ms);
        // Counted down, so that the store's order is newest first.
        let key = format!("{:019}-{}", i64::MAX - at_ms.max(0), alert.id);
        Ok(Write::put(HISTORY, &key, text(alert)?).expiring_at(at_ms + self.kept_ms))
    }

    /// Tells of an alert on the fleet's bus. What is written down stands even if nobody can be told.
    pub(super) async fn tell(&self, kind: &str, alert: &Alert, silences: &[Silence]) {
        let now_ms = self.clock.now_ms();
        let silenced_by: Vec<&str> = silences
            .iter()
            .filter(|silence| silence.active(now_ms) && silence.covers(&alert.labels))
            .map(|silence| silence.id.as_str())
            .collect();
        tracing::info!(
            kind,
            rule = alert.rule,
            id = alert.id,
            silenced = !silenced_by.is_empty(),
            summary = alert.summary
        );
        let event = NewEvent::fleet(kind, SOURCE, json!({ "alert": alert, "silenced_by": silenced_by }));
        if let Err(fault) = self.bus.publish(event).await {
            tracing::warn!(%fault, kind, id = alert.id, "alert event not published");
        }
    }

    /// Starts an alert that no rule stands behind. One of this key that stands already stays as it is.
    pub(super) async fn start_by_hand(&self, key: &str, alert: Alert) -> Result<Alert, Fault> {
        let key = fingerprint(&alert.rule, &BTreeMap::from([("id".into(), key.to_owned())]));
        let silences = silences::list(&*self.store).await?;
        self.carry_out(&key, None, Change::Fire(alert.clone()), &silences).await?;
        Ok(alert)
    }

    /// Replaces an open alert as `change` says, and tells of it as `kind`.
    ///
    /// # Errors
    /// [`Code::Conflict`] when somebody else changed it meanwhile.
    pub(super) async fn replace(&self, open: &Open, alert: Alert, kind: &str) -> Result<Alert, Fault> {
        let write = put(&open.key, &alert)?.expecting(Expect::Revision(open.revision));
        self.store.commit(vec![write]).await?;
        self.tell(kind, &alert, &silences::list(&*self.store).await?).await;
        Ok(alert)
    }
}

/// What becomes of the alerts of `rule`; they are taken out of `open`.
fn changes(rule: &Rule, seen: &Seen, open: &mut BTreeMap<String, Open>, now_ms: UnixMs) -> Vec<Due> {
    let mut due = Vec::new();
    let mut reasons: BTreeMap<String, &Reason> =
        seen.reasons.iter().map(|reason| (fingerprint(&rule.name, &reason.labels), reason)).collect();
    let keys: Vec<String> =
        open.iter().filter(|(_, open)| open.alert.rule == rule.name).map(|(key, _)| key.clone()).collect();
    for key in keys {
        let Some(known) = open.remove(&key) else { continue };
        let reason = reasons.remove(&key);
        // Without a full view, what is not seen is not known to be gone.
        let decided =
            if reason.is_some() || seen.complete { decide(rule, Some(&known.alert), reason, now_ms) } else { None };
        due.extend(decided.map(|change| Due { key, known: Some(known), change }));
    }
    let new = reasons
        .into_iter()
        .filter_map(|(key, reason)| Some(Due { key, known: None, change: decide(rule, None, Some(reason), now_ms)? }));
    due.extend(new);
    due
}

fn text(alert: &Alert) -> Result<String, Fault> {
    serde_json::to_string(alert).map_err(|error| Fault::internal(format!("alert: {error}")))
}

fn put(key: &str, alert: &Alert) -> Result<Write, Fault> {
    Ok(Write::put(OPEN, key, text(alert)?))
}

fn read(entry: Entry) -> Option<Open> {
    match serde_json::from_str(&entry.value) {
        Ok(alert) => Some(Open { key: entry.key, revision: entry.revision, alert }),
        // Another version's words; the other alerts still count.
        Err(error) => {
            tracing::warn!(%error, key = entry.key, "stored alert cannot be read");
            None
        }
    }
}
