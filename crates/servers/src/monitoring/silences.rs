//! Silences: alerts that nobody wants to be told of for a while, by whom, why and until when.

use std::collections::BTreeMap;

use kernel::store::{Expect, LIST_MAX, Store, Write};
use kernel::{Fault, UnixMs};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where silences are kept in the store, by id.
const SPACE: &str = "silences";
/// How long a silence that is over can still be listed.
const KEPT_MS: i64 = 7 * 86_400_000;
/// Longest silence, in milliseconds.
pub(super) const LENGTH_MAX_MS: i64 = 30 * 86_400_000;
/// Most matchers of one silence.
const MATCHERS_MAX: usize = 16;
/// Longest label, value and reason, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// Most silences at a time.
const SILENCES_MAX: usize = 500;

/// How a label's value is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Comparison {
    /// Is the value.
    #[default]
    #[serde(rename = "=")]
    Is,
    /// Is not the value.
    #[serde(rename = "!=")]
    IsNot,
    /// Matches the regular expression as a whole.
    #[serde(rename = "=~")]
    Matches,
    /// Does not match it.
    #[serde(rename = "!~")]
    MatchesNot,
}

/// What must be true of an alert's label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// The label: `alertname`, `severity`, `server`, …
    pub label: String,
    /// How its value is compared; = unless given.
    #[serde(default)]
    pub op: Comparison,
    /// With what. A label that is not there has an empty value.
    pub value: String,
}

impl Matcher {
    /// That a label is this.
    pub(super) fn is(label: &str, value: &str) -> Self {
        Self { label: label.to_owned(), op: Comparison::Is, value: value.to_owned() }
    }

    /// Refuses what would not be understood.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.label.is_empty() || self.label.len().max(self.value.len()) > TEXT_BYTES_MAX {
            return Err(Fault::invalid("a matcher's label or value is empty or too long")
                .hint(format!("1 to {TEXT_BYTES_MAX} bytes")));
        }
        match self.op {
            Comparison::Matches | Comparison::MatchesNot => self.regex().map(drop),
            Comparison::Is | Comparison::IsNot => Ok(()),
        }
    }

    fn regex(&self) -> Result<Regex, Fault> {
        Regex::new(&format!("^(?:{})$", self.value)).map_err(|error| {
            Fault::invalid(format!("matcher of `{}`: {error}", self.label)).hint("a regular expression")
        })
    }

    /// Whether it is true of an alert with these labels.
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        match self.op {
            Comparison::Is => value == self.value,
            Comparison::IsNot => value != self.value,
            Comparison::Matches => self.regex().is_ok_and(|regex| regex.is_match(value)),
            Comparison::MatchesNot => self.regex().is_ok_and(|regex| !regex.is_match(value)),
        }
    }
}

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// Alerts for which all of this is true are silent.
    pub matchers: Vec<Matcher>,
    /// Who made it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub from_ms: UnixMs,
    /// Until when.
    pub until_ms: UnixMs,
    /// Who ended it before that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_by: Option<String>,
}

impl Silence {
    /// Whether it holds now.
    pub fn active(&self, now_ms: UnixMs) -> bool {
        (self.from_ms..self.until_ms).contains(&now_ms)
    }

    /// Whether an alert with these labels is silent under it.
    pub fn covers(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// Refuses what would silence everything, or nothing, or not be understood.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.matchers.is_empty() || self.matchers.len() > MATCHERS_MAX {
            return Err(Fault::invalid(format!("a silence with {} matchers", self.matchers.len()))
                .hint(format!("1 to {MATCHERS_MAX}: a silence of everything would hide everything")));
        }
        self.matchers.iter().try_for_each(Matcher::check)?;
        if self.covers(&BTreeMap::new()) {
            return Err(Fault::invalid(
                "the matchers fit alerts without labels too, so they silence nearly everything",
            )
            .hint("name at least one value that must be there"));
        }
        if self.reason.trim().is_empty() || self.reason.len() > TEXT_BYTES_MAX {
            return Err(Fault::invalid("a silence needs a reason")
                .hint(format!("1 to {TEXT_BYTES_MAX} bytes: others will read it")));
        }
        let length_ms = self.until_ms.saturating_sub(self.from_ms);
        if length_ms <= 0 || length_ms > LENGTH_MAX_MS {
            return Err(Fault::invalid("a silence must end after now and within 30 days").hint("like minutes: 60"));
        }
        Ok(())
    }
}

fn write(silence: &Silence) -> Result<Write, Fault> {
    let value = serde_json::to_string(silence).map_err(|error| Fault::internal(format!("silence: {error}")))?;
    Ok(Write::put(SPACE, &silence.id, value).expiring_at(silence.until_ms + KEPT_MS))
}

/// Keeps a new silence.
pub(super) async fn add(store: &dyn Store, silence: &Silence) -> Result<(), Fault> {
    let held = list(store).await?.iter().filter(|held| held.active(silence.from_ms)).count();
    if held >= SILENCES_MAX {
        return Err(Fault::too_large(format!("{held} silences hold already")).hint("expire_silence those not needed"));
    }
    store.commit(vec![write(silence)?]).await.map(|_| ())
}

/// All that hold or held lately, the last to end first.
pub(super) async fn list(store: &dyn Store) -> Result<Vec<Silence>, Fault> {
    let mut silences = Vec::new();
    for entry in store.list(SPACE, "", None, LIST_MAX).await? {
        match serde_json::from_str::<Silence>(&entry.value) {
            Ok(silence) => silences.push(silence),
            // Another version's words; the alert is told rather than hidden.
            Err(error) => tracing::warn!(%error, id = entry.key, "stored silence cannot be read"),
        }
    }
    silences.sort_by(|a, b| b.until_ms.cmp(&a.until_ms).then_with(|| a.id.cmp(&b.id)));
    Ok(silences)
}

/// Ends a silence now.
///
/// # Errors
/// [`Code::NotFound`](kernel::Code::NotFound) when there is none that holds.
pub(super) async fn expire(store: &dyn Store, id: &str, by: &str, now_ms: UnixMs) -> Result<Silence, Fault> {
    let none = || Fault::not_found(format!("no silence `{id}` holds")).hint("list_silences names them");
    let entry = store.get(SPACE, id).await?.ok_or_else(none)?;
    let silence: Silence =
        serde_json::from_str(&entry.value).map_err(|error| Fault::internal(format!("stored silence: {error}")))?;
    if !silence.active(now_ms) {
        return Err(none());
    }
    let ended = Silence { until_ms: now_ms, ended_by: Some(by.into()), ..silence };
    store.commit(vec![write(&ended)?.expecting(Expect::Revision(entry.revision))]).await?;
    Ok(ended)
}
