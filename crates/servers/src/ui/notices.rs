//! Notifications: what people are told, kept until they have read it, or for a month.
//!
//! What is to be listed is one entry each, its whole text another; who has read what is one entry for each caller. Invariants:
//! - There are at most [`KEPT_MAX`]: the oldest give way.
//! - Whoever asks is given what is to everybody, to them by name, or to their role; an administrator may ask for all.

use std::collections::BTreeSet;

use kernel::store::{Entry, Expect, LIST_MAX, Store, VALUE_BYTES_MAX, Write};
use kernel::{Caller, Clock, Result, Role, UnixMs};
use mcp::prelude::*;

use crate::monitoring::Severity;

/// Where they are kept in the store, by id: newest first.
const HEADS: &str = "notifications";
/// Where their whole texts are.
const TEXTS: &str = "notification_texts";
/// Who has read what.
const READ: &str = "notifications_read";
/// Most that are kept.
const KEPT_MAX: usize = 500;
/// How long one is kept, in milliseconds.
const KEPT_MS: i64 = 30 * 86_400_000;
/// Longest title, in characters, and longest text, in bytes.
const TITLE_CHARS_MAX: usize = 200;
const TEXT_BYTES_MAX: usize = 64 << 10;
/// How much of a text lists show, in characters.
const SHOWN_CHARS: usize = 280;
/// Longest kind and name, in bytes.
const WORD_BYTES_MAX: usize = 64;
/// Most of one list.
const LISTED_MAX: usize = 200;
/// How often a commit that lost to another is tried again.
const TRIES_MAX: u32 = 8;

/// What [`NOTIFY`](super::NOTIFY) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifyRequest {
    /// What it is about, in a line of at most 200 characters.
    pub title: String,
    /// What is to be said, in Markdown, at most 64 KiB.
    #[serde(default)]
    pub text: String,
    /// What kind of news it is, like report, deployment or note (unless given).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// info (unless given), warning or critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Severity>,
    /// To whom, by the name of their key; everybody when neither this nor `role` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// To everybody of this role: viewer, operator, trader or admin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether the sinks of alerts are told as well: everybody who reads there then sees its title and the beginning of its text.
    #[serde(default)]
    pub sinks: bool,
    /// What it is known by: the same key from the same caller is the same notification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// Its id.
    pub id: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// Who says so: the name of their key.
    pub by: String,
    /// What kind of news it is.
    pub kind: String,
    /// How much it matters.
    pub level: Severity,
    /// What it is about.
    pub title: String,
    /// What is said, in Markdown; in lists its beginning.
    pub text: String,
    /// To whom, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// To which role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether the sinks of alerts are told as well.
    pub sinks: bool,
    /// Whether whoever asks has marked it as read.
    #[serde(default)]
    pub read: bool,
}

/// What [`NOTIFICATIONS`](super::NOTIFICATIONS) takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// Only this one, with its whole text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only those that you have not read.
    pub unread: bool,
    /// Only of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// This level or worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Severity>,
    /// Also those that are to others: for administrators, and for the agent that delivers.
    pub all: bool,
    /// Only those that the sinks of alerts are to be told.
    pub sinks: bool,
    /// At most this many: 1 to 200, 50 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<usize>,
}

/// What [`MARK_READ`](super::MARK_READ) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MarkReadRequest {
    /// Which, by id; all that are to you when empty.
    pub ids: Vec<String>,
}

/// The notifications of a fleet.
pub(super) struct Notices {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
}

fn head(entry: &Entry) -> Result<Notification> {
    serde_json::from_str(&entry.value)
        .map_err(|error| Fault::internal(format!("notification {} is damaged: {error}", entry.key)))
}

fn word(what: &str, text: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    if (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(());
    }
    Err(Fault::invalid(format!("{what} is no word")).hint(format!("1 to {WORD_BYTES_MAX} of a-z A-Z 0-9 - _ . : @")))
}

impl NotifyRequest {
    fn check(&self) -> Result<()> {
        let chars = self.title.chars().count();
        if self.title.trim().is_empty() || chars > TITLE_CHARS_MAX || self.title.contains('\n') {
            return Err(Fault::invalid(format!("the title has {chars} characters, or is not one line"))
                .hint(format!("one line of 1 to {TITLE_CHARS_MAX} characters")));
        }
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(Fault::too_large(format!("the text has {} bytes", self.text.len()))
                .hint(format!("at most {TEXT_BYTES_MAX}")));
        }
        if self.user.is_some() && self.role.is_some() {
            return Err(Fault::invalid("both user and role").hint("to one of them, or to everybody with neither"));
        }
        let words = [("kind", &self.kind), ("user", &self.user), ("key", &self.key)];
        words
            .into_iter()
            .filter_map(|(name, text)| Some((name, text.as_ref()?)))
            .try_for_each(|(name, text)| word(name, text))
    }
}

impl Notification {
    fn is_to(&self, caller: &Caller) -> bool {
        match (&self.user, &self.role) {
            (Some(user), _) => *user == caller.name,
            (None, Some(role)) => *role == caller.role,
            (None, None) => true,
        }
    }
}

impl Notices {
    /// Keeps a notification; the one that is known by its key already, if there is one.
    pub(super) async fn put(&self, request: NotifyRequest, by: &str) -> Result<Notification> {
        request.check()?;
        let all = self.store.list(HEADS, "", None, LIST_MAX).await?;
        let now_ms = self.clock.now_ms();
        let tail = match &request.key {
            Some(key) => kernel::ids::digest(format!("{by}\n{key}").as_bytes()).chars().take(16).collect(),
            None => kernel::ids::random_token(8),
        };
        if let Some(known) = all.iter().find(|entry| request.key.is_some() && entry.key.ends_with(&format!("-{tail}")))
        {
            return self.whole(head(known)?).await;
        }
        // Counted down, so that the store's order is newest first.
        let id = format!("{:013}-{tail}", 9_999_999_999_999 - now_ms.max(0));
        let one = Notification {
            id: id.clone(),
            at_ms: now_ms,
            by: by.to_owned(),
            kind: request.kind.unwrap_or_else(|| "note".into()),
            level: request.level.unwrap_or(Severity::Info),
            title: request.title,
            text: request.text.chars().take(SHOWN_CHARS).collect(),
            user: request.user,
            role: request.role,
            sinks: request.sinks,
            read: false,
        };
        let text = serde_json::to_string(&one).map_err(|error| Fault::internal(format!("notification: {error}")))?;
        let until_ms = now_ms + KEPT_MS;
        let mut writes = vec![
            Write::put(HEADS, &id, text).expecting(Expect::Absent).expiring_at(until_ms),
            Write::put(TEXTS, &id, request.text.as_str()).expiring_at(until_ms),
        ];
        for old in all.iter().skip(KEPT_MAX - 1).take(16) {
            writes.extend([Write::delete(HEADS, &old.key), Write::delete(TEXTS, &old.key)]);
        }
        self.store.commit(writes).await?;
        Ok(Notification { text: request.text, ..one })
    }

    async fn whole(&self, one: Notification) -> Result<Notification> {
        let text = self.store.get(TEXTS, &one.id).await?.map(|entry| entry.value);
        Ok(Notification { text: text.unwrap_or_default(), ..one })
    }

    /// Those that are wanted, newest first.
    pub(super) async fn list(&self, caller: &Caller, wanted: &Wanted) -> Result<Vec<Notification>> {
        let limit = wanted.limit.unwrap_or(50);
        if !(1..=LISTED_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {LISTED_MAX}")));
        }
        if wanted.all && caller.role != Role::Agent("ui".into()) {
            caller.require(Access::Admin, "notifications with all")?;
        }
        let (heads, (_, read)) = (self.store.list(HEADS, "", None, LIST_MAX).await?, self.read_by(&caller.name).await?);
        let mut found = Vec::new();
        for entry in &heads {
            let one = head(entry)?;
            let one = Notification { read: read.contains(&one.id), ..one };
            let fits = (wanted.all || one.is_to(caller))
                && wanted.id.as_ref().is_none_or(|id| *id == one.id)
                && !(wanted.unread && one.read)
                && wanted.kind.as_ref().is_none_or(|kind| *kind == one.kind)
                && wanted.level.is_none_or(|level| one.level >= level)
                && (one.sinks || !wanted.sinks);
            if fits && found.len() < limit {
                found.push(one);
            }
        }
        match &wanted.id {
            None => Ok(found),
            Some(id) => match found.pop() {
                Some(one) => Ok(vec![self.whole(one).await?]),
                None => Err(Fault::not_found(format!("no notification `{}`", super::page::cell(id)))
                    .hint("notifications lists those that are to you")),
            },
        }
    }

    async fn read_by(&self, caller: &str) -> Result<(Option<u64>, BTreeSet<String>)> {
        let Some(entry) = self.store.get(READ, caller).await? else { return Ok((None, BTreeSet::new())) };
        Ok((Some(entry.revision), serde_json::from_str(&entry.value).unwrap_or_default()))
    }

    /// Marks some, or all, as read by the caller. How many there were.
    pub(super) async fn mark(&self, caller: &Caller, ids: &[String]) -> Result<usize> {
        for _ in 0..TRIES_MAX {
            let heads = self.store.list(HEADS, "", None, LIST_MAX).await?;
            let theirs: BTreeSet<String> = heads
                .iter()
                .filter_map(|entry| head(entry).ok())
                .filter(|one| one.is_to(caller))
                .map(|one| one.id)
                .collect();
            if let Some(unknown) = ids.iter().find(|id| !theirs.contains(*id)) {
                return Err(Fault::not_found(format!("no notification `{}`", super::page::cell(unknown)))
                    .hint("notifications lists those that are to you"));
            }
            let (revision, before) = self.read_by(&caller.name).await?;
            let marked: BTreeSet<String> = if ids.is_empty() { theirs.clone() } else { ids.iter().cloned().collect() };
            let new = marked.difference(&before).count();
            // What is forgotten needs no mark any more.
            let read: BTreeSet<&String> = before.union(&marked).filter(|id| theirs.contains(*id)).collect();
            let text = serde_json::to_string(&read).map_err(|error| Fault::internal(format!("marks: {error}")))?;
            debug_assert!(text.len() < VALUE_BYTES_MAX, "{KEPT_MAX} ids are far less");
            let expect = revision.map_or(Expect::Absent, Expect::Revision);
            let write = Write::put(READ, &caller.name, text).expecting(expect);
            match self.store.commit(vec![write.expiring_at(self.clock.now_ms() + KEPT_MS)]).await {
                Err(fault) if fault.code == Code::Conflict => {}
                other => return other.map(|_| new),
            }
        }
        Err(Fault::conflict("the marks changed all the while").hint("try again"))
    }
}
