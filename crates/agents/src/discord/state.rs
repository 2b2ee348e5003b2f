//! How the bot stands, for its health and for whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

use kernel::health::Check;
use parking_lot::Mutex;

/// The connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// There is no token.
    Off,
    /// Not begun, or another copy has it.
    Idle,
    /// It stands, for the bot of this name.
    Connected(String),
    /// It is being made again; why.
    Away(String),
    /// Discord does not want this bot; why.
    Refused(String),
}

/// How the bot stands.
#[derive(Debug)]
pub(super) struct State {
    link: Mutex<(Link, String)>,
    /// What is missing besides: permissions, intents.
    missing: Mutex<Vec<(&'static str, String)>>,
    malformed: AtomicU64,
    dropped: AtomicU64,
}

impl State {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link: Mutex::new((link, String::new())),
            missing: Mutex::default(),
            malformed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn link(&self, link: Link) {
        let mut now = self.link.lock();
        if let Link::Connected(name) = &link {
            now.1.clone_from(name);
        }
        now.0 = link;
    }

    /// The session goes on, for the bot that it was.
    pub(super) fn resumed(&self) {
        let mut now = self.link.lock();
        now.0 = Link::Connected(now.1.clone());
    }

    pub(super) fn without_texts(&self) {
        self.misses("texts", "Discord does not give the bot the texts of messages: only slash commands work");
    }

    /// Says that something is missing, in place of what was said of it before.
    pub(super) fn misses(&self, what: &'static str, why: impl Into<String>) {
        let mut missing = self.missing.lock();
        missing.retain(|(known, _)| *known != what);
        missing.push((what, why.into()));
    }

    /// Says that it is missing no more.
    pub(super) fn has(&self, what: &'static str) {
        self.missing.lock().retain(|(known, _)| *known != what);
    }

    /// An event came that is none.
    pub(super) fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// An event was dropped because too many wait.
    pub(super) fn dropped(&self) {
        if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("discord: more is asked for than can be done; what comes now is dropped");
        }
    }

    /// What health says of it.
    pub(super) fn checks(&self) -> Vec<Check> {
        let (malformed, dropped) = (self.malformed.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed));
        let counted = [(malformed, "events that were none"), (dropped, "dropped")];
        let counted: String =
            counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("; {count} {what}")).collect();
        let link = match &self.link.lock().0 {
            Link::Off => Check::healthy("discord", "off: there is no DISCORD_BOT_TOKEN"),
            Link::Idle => Check::healthy("discord", "not connected: another copy is, or none yet"),
            Link::Connected(name) => Check::healthy("discord", format!("connected as {name}{counted}")),
            Link::Away(why) => {
                Check::degraded("discord", format!("not connected, next try in a moment: {why}{counted}"))
            }
            Link::Refused(why) => Check::degraded("discord", why.clone()),
        };
        let missing = self.missing.lock();
        std::iter::once(link).chain(missing.iter().map(|(what, why)| Check::degraded(*what, why.clone()))).collect()
    }
}
