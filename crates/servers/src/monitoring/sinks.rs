//! Where people are told of alerts: who speaks what, which alerts they want, and which are not worth telling while another fires.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::{HeaderValue, Uri};
use kernel::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alerts::Alert;
use super::rules::Severity;
use super::silences::Matcher;
use crate::outbound::host_port;

/// Most sinks.
pub(super) const SINKS_MAX: usize = 16;
/// Longest name, in characters.
const NAME_MAX: usize = 32;
/// Longest pauses, in seconds.
const SECONDS_MAX: u32 = 7 * 86_400;
/// How often those are told again that forget what they are told: Alertmanager takes an alert for over after a while.
const REMIND_SECONDS: u32 = 60;
/// How often people are told again.
const REPEAT_SECONDS: u32 = 4 * 3_600;

/// What is spoken at a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// Our own JSON, by POST.
    Webhook,
    /// A topic of an ntfy server: the address is `https://SERVER/TOPIC`.
    Ntfy,
    /// A channel of Discord, by a webhook of it: the address is `https://discord.com/api/webhooks/ID/TOKEN`, which is a secret.
    Discord,
    /// An Alertmanager, by version 2 of its API; the address is what comes before `/api/v2`.
    Alertmanager,
    /// A dead man's switch: it is asked for by GET for as long as rules are evaluated, and raises the alarm by itself when that ends.
    Heartbeat,
}

/// `[servers.monitoring.sinks.NAME]` in `flotilla.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// What is spoken there.
    pub kind: SinkKind,
    /// Where it is, `http` or `https`.
    #[serde(default)]
    pub url: Option<String>,
    /// A file with the address, where that is a secret.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// A file with the token that it wants (`Authorization: Bearer`).
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// For a webhook, a file with the key by which bodies are signed (HMAC with SHA-256, in `x-flotilla-signature`).
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// How bad an alert must be: info, warning or critical.
    #[serde(default)]
    pub severity: Severity,
    /// Only alerts of which all of this is true.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
    /// How many seconds lie between two messages at least; what happens meanwhile is told together. 1 to 604,800.
    #[serde(default = "every_seconds")]
    pub every_seconds: u32,
    /// After how many seconds what fires and nobody acknowledged is told again: 10 to 604,800; 0 for never. Four hours when absent, a minute for
    /// Alertmanager and a heartbeat.
    #[serde(default)]
    pub repeat_seconds: Option<u32>,
}

fn every_seconds() -> u32 {
    10
}

impl Sink {
    /// Refuses what could not be told.
    pub(super) fn check(&self, name: &str) -> Result<(), Fault> {
        let place = format!("servers.monitoring.sinks.{name}");
        let bad = |what: &str, hint: &str| Err(Fault::invalid(format!("{place}{what}")).hint(hint));
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
            return bad(": no name for a sink", "1 to 32 characters of a-z 0-9 -");
        }
        match (&self.url, &self.url_file) {
            (Some(url), None) => drop(self.address(url).map_err(|fault| fault.context(format!("{place}.url")))?),
            (None, Some(_)) => {}
            _ => return bad(": give either url or url_file", "url_file where the address is a secret"),
        }
        if self.secret_file.is_some() && self.kind != SinkKind::Webhook {
            return bad(".secret_file: only a webhook's bodies are signed", "leave it out");
        }
        if self.kind == SinkKind::Heartbeat && !self.matchers.is_empty() {
            return bad(".matchers: a heartbeat tells of no alerts", "leave them out");
        }
        for matcher in &self.matchers {
            matcher.check().map_err(|fault| fault.context(format!("{place}.matchers")))?;
        }
        if !(1..=SECONDS_MAX).contains(&self.every_seconds) {
            return bad(&format!(".every_seconds is {}", self.every_seconds), "1 to 604,800");
        }
        match self.repeat_seconds {
            Some(0) if self.kind == SinkKind::Heartbeat => bad(".repeat_seconds is 0", "10 to 604,800 for a heartbeat"),
            None | Some(0) | Some(10..=SECONDS_MAX) => Ok(()),
            Some(other) => bad(&format!(".repeat_seconds is {other}"), "10 to 604,800, or 0 for never"),
        }
    }

    /// After how many milliseconds it is told again; `None` for never.
    pub(super) fn repeat_ms(&self) -> Option<i64> {
        let usual = match self.kind {
            SinkKind::Webhook | SinkKind::Ntfy | SinkKind::Discord => REPEAT_SECONDS,
            SinkKind::Alertmanager | SinkKind::Heartbeat => REMIND_SECONDS,
        };
        let seconds = self.repeat_seconds.unwrap_or(usual);
        (seconds > 0).then(|| i64::from(seconds) * 1_000)
    }

    /// Whether it wants to hear of an alert.
    pub(super) fn wants(&self, alert: &Alert) -> bool {
        self.kind != SinkKind::Heartbeat
            && alert.severity >= self.severity
            && self.matchers.iter().all(|matcher| matcher.matches(&alert.labels))
    }

    /// The host, which may be shown; what follows it may be a secret.
    pub(super) fn host(&self) -> Option<String> {
        self.url.as_ref().and_then(|url| url.parse().ok()).and_then(|url| host_port(&url).ok()).map(|(host, _)| host)
    }

    fn address(&self, text: &str) -> Result<Uri, Fault> {
        let hint = match self.kind {
            SinkKind::Webhook | SinkKind::Heartbeat => "like https://example.com/alerts",
            SinkKind::Ntfy => "like https://ntfy.sh/my-topic",
            SinkKind::Discord => "like https://discord.com/api/webhooks/ID/TOKEN, from a file: url_file",
            SinkKind::Alertmanager => "like http://alertmanager:9093",
        };
        // What was given is not repeated: it may hold a secret.
        let url = text.trim().parse::<Uri>().ok().filter(|url| host_port(url).is_ok());
        let url = url.ok_or_else(|| Fault::invalid("no http or https address").hint(hint))?;
        match self.kind {
            SinkKind::Ntfy if topic(&url).is_none() => Err(Fault::invalid("no topic after the server").hint(hint)),
            _ => Ok(url),
        }
    }

    /// Where it is told.
    pub(super) async fn target(&self) -> Result<Uri, Fault> {
        match (&self.url, &self.url_file) {
            (Some(url), _) => self.address(url),
            (None, Some(path)) => self.address(&secret("url_file", path).await?),
            (None, None) => Err(Fault::invalid("a sink without an address")),
        }
    }

    /// What `Authorization` says there.
    pub(super) async fn token(&self) -> Result<Option<HeaderValue>, Fault> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let token = secret("token_file", path).await?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| Fault::invalid(format!("what is in {} fits no header", path.display())))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The key that bodies are signed with.
    pub(super) async fn key(&self) -> Result<Option<String>, Fault> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        secret("secret_file", path).await.map(|key| Some(key.trim().to_owned()))
    }
}

/// A topic's name in the address of its sink.
pub(super) fn topic(url: &Uri) -> Option<&str> {
    url.path().trim_matches('/').rsplit('/').next().filter(|topic| !topic.is_empty())
}

async fn secret(what: &str, path: &Path) -> Result<String, Fault> {
    let read = tokio::fs::read_to_string(path).await;
    read.map_err(|error| Fault::unavailable(format!("{what} {}: {error}", path.display())))
}

/// Alerts that are not told while others fire, which say enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inhibition {
    /// While an alert fires of which all of this is true,
    pub source: Vec<Matcher>,
    /// alerts are not told of which all of this is true
    pub target: Vec<Matcher>,
    /// and which have the same value in each of these labels.
    pub equal: Vec<String>,
}

impl Inhibition {
    /// What a fresh fleet has: that a server is down says enough of it.
    pub(super) fn usual() -> Vec<Self> {
        let is = |label: &str, value: &str| Matcher::is(label, value);
        vec![Self {
            source: vec![is("alertname", "service-down")],
            target: vec![is("severity", "warning")],
            equal: vec!["server".into()],
        }]
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        let place = "servers.monitoring.inhibit";
        if self.source.is_empty() || self.target.is_empty() || self.equal.is_empty() {
            return Err(Fault::invalid(format!("{place}: source, target or equal is empty"))
                .hint("name at least one matcher on both sides and one label that must be equal"));
        }
        self.source
            .iter()
            .chain(&self.target)
            .try_for_each(|matcher| matcher.check().map_err(|fault| fault.context(place)))
    }

    fn covers(&self, alert: &Alert, firing: &Alert) -> bool {
        let all = |matchers: &[Matcher], labels| matchers.iter().all(|matcher| matcher.matches(labels));
        // A label that neither has makes no two alerts akin.
        let same =
            |label: &String| alert.labels.get(label).is_some_and(|value| firing.labels.get(label) == Some(value));
        alert.id != firing.id
            && all(&self.source, &firing.labels)
            && all(&self.target, &alert.labels)
            && self.equal.iter().all(same)
    }
}

/// Whether `alert` is kept back for one of those that fire.
pub(super) fn inhibited(alert: &Alert, firing: &[&Alert], inhibitions: &[Inhibition]) -> bool {
    inhibitions.iter().any(|inhibition| firing.iter().any(|firing| inhibition.covers(alert, firing)))
}

/// Refuses sinks and inhibitions that cannot be kept.
pub(super) fn check(sinks: &BTreeMap<String, Sink>, inhibitions: &[Inhibition]) -> Result<(), Fault> {
    if sinks.len() > SINKS_MAX {
        return Err(Fault::invalid(format!("{} sinks of alerts", sinks.len())).hint(format!("{SINKS_MAX} at most")));
    }
    sinks.iter().try_for_each(|(name, sink)| sink.check(name))?;
    inhibitions.iter().try_for_each(Inhibition::check)
}
