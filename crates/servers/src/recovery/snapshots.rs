//! Snapshots of settings: what people set while the fleet runs, kept under a name and put back.
//!
//! A snapshot is a head and its entries in pieces beside it, written in one commit. What is read for one is read until it stands still, so that
//! it is as the settings were at one moment.

use std::collections::BTreeMap;

use kernel::UnixMs;
use kernel::queue::check_name;
use kernel::store::{Entry, Expect, LIST_MAX, Write};
use mcp::prelude::*;
use serde_json::Value;

use super::Recovery;
use super::incidents::text_of;

/// The parts of the settings, and the spaces of the store that each is kept in. Limits of risk, keys, pins, upstreams and what is under way are not among them.
const PARTS: [(&str, &[&str]); 6] = [
    ("alerts", &["alert_rules"]),
    ("aliases", &["aliases"]),
    ("logging", &["logging"]),
    ("prices", &["data-providers"]),
    ("scripts", &["scripts", "script-texts"]),
    ("workflows", &["workflows"]),
];
/// Where heads are kept.
const HEADS: &str = "snapshots";
/// Where pieces are: `NAME/NUMBER`.
const PIECES: &str = "snapshot-pieces";
/// Most snapshots.
const SNAPSHOTS_MAX: usize = 100;
/// Most that one holds, in bytes.
const BYTES_MAX: usize = 16 << 20;
/// Most entries that one holds.
const ENTRIES_MAX: usize = 20_000;
/// How much one piece holds, in bytes: with its quotes it fits a value of the store.
const PIECE_BYTES: usize = 256 << 10;
/// Writes of one commit that puts something back.
const WRITES_MAX: usize = 100;
/// How often settings are read that are being changed meanwhile.
const READS_MAX: u32 = 5;
/// What the names of those begin with that are made by themselves.
const BY_ITSELF: &str = "auto-";

/// What [`CREATE_SNAPSHOT`](super::CREATE_SNAPSHOT) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshotRequest {
    /// Its name: 1 to 64 characters of `A-Z a-z 0-9 . _ : -`; made of the time if nothing is said.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub about: String,
}

/// A snapshot, without what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// Who made it.
    pub made_by: String,
    /// When, in milliseconds since the Unix epoch.
    pub made_ms: UnixMs,
    /// The parts of the settings in it, with the SHA-256 of each: the same settings have the same.
    pub parts: BTreeMap<String, String>,
    /// How many entries it has.
    pub entries: u64,
    /// Their size, in bytes.
    pub bytes: u64,
}

/// What [`LIST_SNAPSHOTS`](super::LIST_SNAPSHOTS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSnapshotsRequest {}

/// What [`LIST_SNAPSHOTS`](super::LIST_SNAPSHOTS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListSnapshotsResponse {
    /// The snapshots, newest first.
    pub snapshots: Vec<Snapshot>,
    /// The parts of the settings that are now as they are in the newest.
    pub unchanged: Vec<String>,
}

/// What [`RESTORE_SNAPSHOT`](super::RESTORE_SNAPSHOT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreSnapshotRequest {
    /// Its name.
    pub name: String,
    /// Only these parts: of `alerts`, `aliases`, `logging`, `prices`, `scripts`, `workflows`. All, if nothing is said.
    #[serde(default)]
    pub parts: Vec<String>,
}

/// What [`ROLLBACK_CONFIG`](super::ROLLBACK_CONFIG) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackConfigRequest {
    /// Which part: `alerts`, `aliases`, `logging`, `prices`, `scripts` or `workflows`.
    pub part: String,
    /// To which snapshot; the newest in which the part is other than it is now, if nothing is said.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartChange {
    /// Which part.
    pub part: String,
    /// How many entries were put back.
    pub put: u64,
    /// How many were removed that the snapshot does not have.
    pub removed: u64,
}

/// What [`RESTORE_SNAPSHOT`](super::RESTORE_SNAPSHOT) and [`ROLLBACK_CONFIG`](super::ROLLBACK_CONFIG) answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreSnapshotResponse {
    /// The snapshot that was put back.
    pub snapshot: String,
    /// What changed.
    pub parts: Vec<PartChange>,
    /// The snapshot of how it was before; none when nothing changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    #[serde(flatten)]
    shown: Snapshot,
    pieces: u32,
    sha256: String,
}

/// An entry of the settings: part, space, key, value.
type Kept = (String, String, String, String);

/// Settings as they were at one moment.
struct Settings {
    kept: Vec<Kept>,
    revisions: BTreeMap<(String, String), u64>,
}

impl Settings {
    fn parts(&self) -> Result<BTreeMap<String, String>, Fault> {
        let sum = |part: &str| {
            let of_it: Vec<&Kept> = self.kept.iter().filter(|kept| kept.0 == part).collect();
            Ok((part.to_owned(), hash(&text_of(&of_it)?)))
        };
        PARTS.iter().map(|(part, _)| sum(part)).collect()
    }
}

fn spaces(part: &str) -> Result<&'static [&'static str], Fault> {
    let found = PARTS.iter().find(|(name, _)| *name == part).map(|(_, spaces)| *spaces);
    found.ok_or_else(|| {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        let shown: String = part.chars().take(40).flat_map(char::escape_debug).collect();
        Fault::not_found(format!("no part `{shown}` of the settings")).hint(format!("one of {}", names.join(", ")))
    })
}

fn hash(text: &str) -> String {
    flow::workflow::hash_of(&Value::String(text.to_owned()))
}

fn read(entry: &Entry) -> Option<Head> {
    // Another version's words must not hide the others.
    let read = serde_json::from_str(&entry.value);
    read.inspect_err(|error| tracing::warn!(%error, key = entry.key, "stored snapshot cannot be read")).ok()
}

impl Recovery {
    async fn heads(&self) -> Result<Vec<Head>, Fault> {
        let entries = self.store.list(HEADS, "", None, LIST_MAX).await?;
        let mut heads: Vec<Head> = entries.iter().filter_map(read).collect();
        heads.sort_by(|a, b| (b.shown.made_ms, &b.shown.name).cmp(&(a.shown.made_ms, &a.shown.name)));
        Ok(heads)
    }

    /// Reads all settings once.
    async fn read_settings(&self) -> Result<Settings, Fault> {
        let mut settings = Settings { kept: Vec::new(), revisions: BTreeMap::new() };
        let mut bytes = 0;
        let spaces: Vec<(&str, &str)> =
            PARTS.iter().flat_map(|(part, spaces)| spaces.iter().map(move |space| (*part, *space))).collect();
        for (part, space) in spaces {
            let mut after: Option<String> = None;
            loop {
                let page = self.store.list(space, "", after.as_deref(), LIST_MAX).await?;
                let whole = page.len() < LIST_MAX;
                after = page.last().map(|last| last.key.clone());
                for entry in page {
                    bytes += entry.key.len() + entry.value.len();
                    settings.revisions.insert((space.to_owned(), entry.key.clone()), entry.revision);
                    // What ends by itself would not end any more.
                    if entry.expires_ms.is_none() {
                        settings.kept.push((part.to_owned(), space.to_owned(), entry.key, entry.value));
                    }
                }
                if bytes > BYTES_MAX || settings.revisions.len() > ENTRIES_MAX {
                    return Err(Fault::too_large(format!(
                        "the settings have more than {BYTES_MAX} bytes or {ENTRIES_MAX} entries"
                    ))
                    .hint("backup keeps all that there is"));
                }
                if whole {
                    break;
                }
            }
        }
        Ok(settings)
    }

    /// The settings as they are at one moment.
    async fn settings(&self) -> Result<Settings, Fault> {
        let mut before = self.read_settings().await?;
        for _ in 0..READS_MAX {
            let after = self.read_settings().await?;
            if after.revisions == before.revisions {
                return Ok(after);
            }
            before = after;
        }
        Err(Fault::conflict("the settings are being changed all the time").hint("try again"))
    }

    async fn keep(&self, name: &str, about: &str, by: &str, settings: &Settings) -> Result<Snapshot, Fault> {
        check_name("snapshot", name)?;
        flow::bounded::check_size("what it is for", about, 500)?;
        let (mut pieces, mut sum, mut bytes) = (Vec::new(), String::new(), 0);
        let (mut piece, mut size) = (Vec::new(), 0);
        for kept in &settings.kept {
            let more = kept.1.len() + kept.2.len() + kept.3.len();
            if size + more > PIECE_BYTES && !piece.is_empty() {
                pieces.push(text_of(&std::mem::take(&mut piece))?);
                size = 0;
            }
            (size, bytes) = (size + more, bytes + more as u64);
            piece.push(kept);
        }
        pieces.push(text_of(&piece)?);
        pieces.iter().for_each(|piece| sum = hash(&format!("{sum}{piece}")));
        let shown = Snapshot {
            name: name.into(),
            about: about.into(),
            made_by: by.into(),
            made_ms: self.clock.now_ms(),
            parts: settings.parts()?,
            entries: settings.kept.len() as u64,
            bytes,
        };
        let head = Head { shown: shown.clone(), pieces: pieces.len() as u32, sha256: sum };
        let mut writes = vec![Write::put(HEADS, name, text_of(&head)?).expecting(Expect::Absent)];
        writes.extend(
            pieces.into_iter().enumerate().map(|(n, piece)| Write::put(PIECES, &format!("{name}/{n:04}"), piece)),
        );
        match self.store.commit(writes).await {
            Err(fault) if fault.code == Code::Conflict => {
                Err(Fault::already_exists(format!("there is a snapshot `{name}`")).hint("another name"))
            }
            done => done.map(|_| shown),
        }
    }

    /// What is in a snapshot. One that is not as it was written is refused.
    async fn kept_in(&self, head: &Head) -> Result<Vec<Kept>, Fault> {
        let name = &head.shown.name;
        let broken = |why: &str| Fault::internal(format!("snapshot `{name}` is not whole: {why}")).hint("use another");
        let pieces = self.store.list(PIECES, &format!("{name}/"), None, LIST_MAX).await?;
        if pieces.len() != head.pieces as usize {
            return Err(broken(&format!("it has {} pieces, not {}", pieces.len(), head.pieces)));
        }
        let (mut sum, mut kept) = (String::new(), Vec::new());
        for piece in &pieces {
            sum = hash(&format!("{sum}{}", piece.value));
            let some: Vec<Kept> = serde_json::from_str(&piece.value).map_err(|error| broken(&error.to_string()))?;
            kept.extend(some);
        }
        if sum == head.sha256 { Ok(kept) } else { Err(broken("it was altered")) }
    }

    async fn forget(&self, head: &Head) -> Result<(), Fault> {
        let mut writes = vec![Write::delete(HEADS, &head.shown.name)];
        writes.extend((0..head.pieces).map(|n| Write::delete(PIECES, &format!("{}/{n:04}", head.shown.name))));
        self.store.commit(writes).await.map(drop)
    }

    /// A name made of the time, that no snapshot has.
    fn name_now(&self, begin: &str, heads: &[Head]) -> String {
        let time: String =
            kernel::clock::timestamp(self.clock.now_ms()).chars().filter(|c| !"-:.".contains(*c)).collect();
        let plain = format!("{begin}{time}");
        let taken = |name: &str| heads.iter().any(|head| head.shown.name == name);
        if !taken(&plain) {
            return plain;
        }
        // There are fewer than this.
        (2..=SNAPSHOTS_MAX + 2).map(|n| format!("{plain}.{n}")).find(|name| !taken(name)).unwrap_or(plain)
    }

    /// Keeps a snapshot when the settings are other than in the newest; old ones that were made so give way.
    pub(super) async fn snapshot_by_itself(&self) -> Result<Option<Snapshot>, Fault> {
        let (heads, settings) = (self.heads().await?, self.settings().await?);
        if heads.first().is_some_and(|head| settings.parts().is_ok_and(|parts| parts == head.shown.parts)) {
            return Ok(None);
        }
        let name = self.name_now(BY_ITSELF, &heads);
        let made = match self.keep(&name, "kept by itself", Self::BY, &settings).await {
            // Another copy was quicker.
            Err(fault) if fault.code == Code::AlreadyExists => return Ok(None),
            made => made?,
        };
        let own = heads.iter().filter(|head| head.shown.name.starts_with(BY_ITSELF));
        for old in own.skip(self.config.snapshots_kept.saturating_sub(1)) {
            self.forget(old).await?;
        }
        Ok(Some(made))
    }

    /// Who makes those that are made by themselves.
    const BY: &'static str = "recovery";

    pub(super) async fn create_snapshot(
        self: Arc<Self>,
        request: CreateSnapshotRequest,
        ctx: Ctx,
    ) -> Result<Snapshot, ToolError> {
        let heads = self.heads().await?;
        if heads.len() >= SNAPSHOTS_MAX {
            let oldest = heads.iter().rfind(|head| head.shown.name.starts_with(BY_ITSELF));
            let full = || Fault::too_large(format!("there are {SNAPSHOTS_MAX} snapshots")).hint("keep fewer");
            self.forget(oldest.ok_or_else(full)?).await?;
        }
        if request.name.as_deref().is_some_and(|name| name.starts_with(BY_ITSELF)) {
            return Err(Fault::invalid(format!("a name that begins with {BY_ITSELF}")).hint("another name").into());
        }
        let name = request.name.unwrap_or_else(|| self.name_now("snapshot-", &heads));
        Ok(self.keep(&name, &request.about, &ctx.caller.name, &self.settings().await?).await?)
    }

    pub(super) async fn list_snapshots(
        self: Arc<Self>,
        _request: ListSnapshotsRequest,
        _ctx: Ctx,
    ) -> Result<ListSnapshotsResponse, ToolError> {
        let snapshots: Vec<Snapshot> = self.heads().await?.into_iter().map(|head| head.shown).collect();
        let unchanged = match snapshots.first() {
            Some(newest) => {
                let now = self.settings().await?.parts()?;
                now.into_iter()
                    .filter(|(part, sum)| newest.parts.get(part) == Some(sum))
                    .map(|(part, _)| part)
                    .collect()
            }
            None => Vec::new(),
        };
        Ok(ListSnapshotsResponse { snapshots, unchanged })
    }

    async fn named(&self, name: &str) -> Result<Head, Fault> {
        let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
        let heads = self.heads().await?;
        heads
            .into_iter()
            .find(|head| head.shown.name == name)
            .ok_or_else(|| Fault::not_found(format!("no snapshot `{shown}`")).hint("list_snapshots has their names"))
    }

    pub(super) async fn restore_snapshot(
        self: Arc<Self>,
        request: RestoreSnapshotRequest,
        ctx: Ctx,
    ) -> Result<RestoreSnapshotResponse, ToolError> {
        ctx.caller.require_person("recovery.restore_snapshot")?;
        let head = self.named(&request.name).await?;
        let parts = match request.parts.is_empty() {
            true => PARTS.iter().map(|(part, _)| (*part).to_owned()).collect(),
            false => request.parts,
        };
        Ok(self.put_back(&head, &parts, &ctx.caller.name).await?)
    }

    pub(super) async fn rollback_config(
        self: Arc<Self>,
        request: RollbackConfigRequest,
        ctx: Ctx,
    ) -> Result<RestoreSnapshotResponse, ToolError> {
        ctx.caller.require_person("recovery.rollback_config")?;
        let RollbackConfigRequest { part, snapshot } = request;
        spaces(&part)?;
        let head = match snapshot {
            Some(name) => self.named(&name).await?,
            None => {
                let now = self.settings().await?.parts()?;
                let other = |head: &Head| head.shown.parts.get(&part).is_some_and(|sum| now.get(&part) != Some(sum));
                self.heads().await?.into_iter().find(other).ok_or_else(|| {
                    Fault::not_found(format!("no snapshot has the part `{part}` other than it is now"))
                        .hint("list_snapshots shows what each has")
                })?
            }
        };
        Ok(self.put_back(&head, &[part], &ctx.caller.name).await?)
    }

    async fn put_back(&self, head: &Head, parts: &[String], by: &str) -> Result<RestoreSnapshotResponse, Fault> {
        for part in parts {
            spaces(part)?;
        }
        let (kept, now) = (self.kept_in(head).await?, self.settings().await?);
        let (mut writes, mut changes) = (Vec::new(), Vec::new());
        for part in parts {
            let wanted: BTreeMap<(&str, &str), &str> = kept
                .iter()
                .filter(|of| of.0 == *part)
                .map(|(_, space, key, value)| ((&**space, &**key), &**value))
                .collect();
            let held: BTreeMap<(&str, &str), &str> = now
                .kept
                .iter()
                .filter(|of| of.0 == *part)
                .map(|(_, space, key, value)| ((&**space, &**key), &**value))
                .collect();
            let expect = |space: &str, key: &str| {
                let revision = now.revisions.get(&(space.to_owned(), key.to_owned()));
                revision.map_or(Expect::Absent, |revision| Expect::Revision(*revision))
            };
            let put = wanted.iter().filter(|(place, value)| held.get(*place) != Some(value));
            let put: Vec<Write> =
                put.map(|((space, key), value)| Write::put(space, key, *value).expecting(expect(space, key))).collect();
            let removed = held.keys().filter(|place| !wanted.contains_key(*place));
            let removed: Vec<Write> =
                removed.map(|(space, key)| Write::delete(space, key).expecting(expect(space, key))).collect();
            changes.push(PartChange { part: part.clone(), put: put.len() as u64, removed: removed.len() as u64 });
            // What is named stands before what names it, and goes after it: the text of a script and its head.
            writes.extend(put);
            writes.extend(removed.into_iter().rev());
        }
        let mut before = None;
        if !writes.is_empty() {
            let name = self.name_now("before-", &self.heads().await?);
            let about = format!("before {} was put back by {by}", head.shown.name);
            before = Some(self.keep(&name, &about, by, &now).await?.name);
            while !writes.is_empty() {
                let some = writes.drain(..writes.len().min(WRITES_MAX)).collect();
                self.store.commit(some).await.map_err(|fault| {
                    fault
                        .context("the settings were changed meanwhile, and are put back in part")
                        .hint(format!("do it again; {name} has how they were"))
                })?;
            }
        }
        Ok(RestoreSnapshotResponse { snapshot: head.shown.name.clone(), parts: changes, before })
    }
}
