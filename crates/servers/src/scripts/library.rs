//! The scripts that are kept: a head with the list of versions by name, and each version's text beside it. Both change in one commit.

use kernel::jail::TEXT_BYTES_MAX;
use kernel::queue::check_name;
use kernel::store::{Entry, Expect, LIST_MAX, Write};
use kernel::{Caller, UnixMs};
use mcp::prelude::*;

use super::{Language, Scripts};

/// Where heads are kept in the store.
const HEADS: &str = "scripts";
/// Where texts are: `NAME/VERSION`.
const TEXTS: &str = "script-texts";
/// Most scripts of a fleet.
const SCRIPTS_MAX: usize = 500;
/// Most versions of one: the oldest give way.
const VERSIONS_MAX: usize = 100;
/// Longest description, in bytes.
const ABOUT_BYTES_MAX: usize = 500;
/// How often a save that lost to another is tried again.
const TRIES_MAX: u32 = 8;

/// What [`LIST_SCRIPTS`](super::LIST_SCRIPTS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListScriptsRequest {
    /// Only those whose name begins so.
    #[serde(default)]
    pub prefix: String,
}

/// A script, without its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptRow {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// What it is written in.
    pub language: Language,
    /// Its latest version.
    pub version: u32,
    /// Who saved that.
    pub saved_by: String,
    /// When, in milliseconds since the Unix epoch.
    pub saved_ms: UnixMs,
    /// Whether that was granted the network.
    pub network: bool,
}

/// What [`LIST_SCRIPTS`](super::LIST_SCRIPTS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListScriptsResponse {
    /// The scripts, by name.
    pub scripts: Vec<ScriptRow>,
}

/// What [`GET_SCRIPT`](super::GET_SCRIPT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetScriptRequest {
    /// Its name.
    pub name: String,
    /// Which version; the latest if nothing is said.
    #[serde(default)]
    pub version: Option<u32>,
}

/// A version of a script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptVersion {
    /// Its number: 1 is the first.
    pub version: u32,
    /// What it is written in.
    pub language: Language,
    /// Who saved it.
    pub saved_by: String,
    /// When, in milliseconds since the Unix epoch.
    pub saved_ms: UnixMs,
    /// Whether an administrator granted it the network.
    pub network: bool,
}

/// A script with a version's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Script {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// The version that is shown.
    #[serde(flatten)]
    pub shown: ScriptVersion,
    /// Its text.
    pub code: String,
    /// The versions that are kept, the newest first.
    pub versions: Vec<ScriptVersion>,
}

/// What [`SAVE_SCRIPT`](super::SAVE_SCRIPT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveScriptRequest {
    /// Its name: 1 to 56 characters of `A-Z a-z 0-9 . _ : -`.
    pub name: String,
    /// What it is written in.
    pub language: Language,
    /// Its text, at most 64 KiB.
    pub code: String,
    /// What it is for, at most 500 bytes; as it was if nothing is said.
    #[serde(default)]
    pub about: Option<String>,
    /// Whether it may reach the network: only an administrator may grant that, with each version, and only where `servers.scripts.allow_network`
    /// is set does it hold. Not for jq.
    #[serde(default)]
    pub network: bool,
    /// Only if this is still its latest version; 0 only if there is no such script.
    #[serde(default)]
    pub if_version: Option<u32>,
}

/// What [`SAVE_SCRIPT`](super::SAVE_SCRIPT) answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SaveScriptResponse {
    /// Its name.
    pub name: String,
    /// Its latest version.
    pub version: u32,
    /// Whether that is new: the same text again makes none.
    pub created: bool,
}

/// What [`DELETE_SCRIPT`](super::DELETE_SCRIPT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteScriptRequest {
    /// Its name.
    pub name: String,
}

/// What [`DELETE_SCRIPT`](super::DELETE_SCRIPT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeleteScriptResponse {
    /// Its name.
    pub name: String,
    /// How many versions it had.
    pub versions: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    about: String,
    /// Oldest first; at least one.
    versions: Vec<ScriptVersion>,
}

/// A version's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub(super) version: ScriptVersion,
    pub(super) code: String,
}

fn text_key(name: &str, version: u32) -> String {
    format!("{name}/{version:08}")
}

fn read(entry: &Entry) -> Result<Head, Fault> {
    serde_json::from_str(&entry.value).map_err(|error| Fault::internal(format!("script {}: {error}", entry.key)))
}

fn unknown(name: &str) -> Fault {
    let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    Fault::not_found(format!("no script `{shown}`")).hint("list_scripts has their names")
}

impl Scripts {
    async fn head(&self, name: &str) -> Result<Option<(Entry, Head)>, Fault> {
        let entry = if name.is_empty() { None } else { self.store.get(HEADS, name).await? };
        entry.map(|entry| read(&entry).map(|head| (entry, head))).transpose()
    }

    /// A version of a script, with its text.
    pub(super) async fn text(&self, name: &str, version: Option<u32>) -> Result<Text, Fault> {
        let (_, head) = self.head(name).await?.ok_or_else(|| unknown(name))?;
        self.text_of(name, &head, version).await
    }

    async fn text_of(&self, name: &str, head: &Head, version: Option<u32>) -> Result<Text, Fault> {
        let found = match version {
            None => head.versions.last(),
            Some(version) => head.versions.iter().find(|of| of.version == version),
        };
        let gone = || {
            let wanted = version.unwrap_or_default();
            let (first, last) = (head.versions.first(), head.versions.last());
            let kept =
                first.zip(last).map_or(String::new(), |(first, last)| format!("{} to {}", first.version, last.version));
            Fault::not_found(format!("no version {wanted} of script `{name}`")).hint(format!("kept are {kept}"))
        };
        let found = found.ok_or_else(gone)?;
        let entry = self.store.get(TEXTS, &text_key(name, found.version)).await?.ok_or_else(gone)?;
        Ok(Text { version: found.clone(), code: entry.value })
    }

    pub(super) async fn list_scripts(
        self: Arc<Self>,
        request: ListScriptsRequest,
        _ctx: Ctx,
    ) -> Result<ListScriptsResponse, ToolError> {
        let entries = self.store.list(HEADS, &request.prefix, None, LIST_MAX).await?;
        let row = |entry: &Entry| {
            let head = read(entry).ok()?;
            let ScriptVersion { version, language, saved_by, saved_ms, network } = head.versions.last()?.clone();
            Some(ScriptRow {
                name: entry.key.clone(),
                about: head.about,
                language,
                version,
                saved_by,
                saved_ms,
                network,
            })
        };
        Ok(ListScriptsResponse { scripts: entries.iter().filter_map(row).collect() })
    }

    pub(super) async fn get_script(self: Arc<Self>, request: GetScriptRequest, _ctx: Ctx) -> Result<Script, ToolError> {
        let name = request.name;
        let (_, head) = self.head(&name).await?.ok_or_else(|| unknown(&name))?;
        let Text { version: shown, code } = self.text_of(&name, &head, request.version).await?;
        let versions = head.versions.into_iter().rev().collect();
        Ok(Script { name, about: head.about, shown, code, versions })
    }

    pub(super) async fn save_script(
        self: Arc<Self>,
        request: SaveScriptRequest,
        ctx: Ctx,
    ) -> Result<SaveScriptResponse, ToolError> {
        check(&request, &ctx.caller)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.save(&request, &ctx.caller.name).await {
                // Another was quicker: looked at again, unless the caller said what it must be.
                Err(fault) if fault.code == Code::Conflict && request.if_version.is_none() && tries < TRIES_MAX => {}
                saved => return Ok(saved?),
            }
        }
    }

    async fn save(&self, request: &SaveScriptRequest, by: &str) -> Result<SaveScriptResponse, Fault> {
        let SaveScriptRequest { name, language, code, about, network, if_version } = request;
        let known = self.head(name).await?;
        let latest = known.as_ref().and_then(|(_, head)| head.versions.last());
        let number = latest.map_or(0, |latest| latest.version);
        if if_version.is_some_and(|wanted| wanted != number) {
            return Err(Fault::conflict(format!("script `{name}` is at version {number}"))
                .hint("look at it with get_script, and save your change of that"));
        }
        if known.is_none() && self.store.list(HEADS, "", None, LIST_MAX).await?.len() >= SCRIPTS_MAX {
            return Err(
                Fault::too_large(format!("there are {SCRIPTS_MAX} scripts")).hint("delete one that is not needed")
            );
        }
        let about_now = known.as_ref().map_or("", |(_, head)| head.about.as_str());
        let about = about.as_deref().unwrap_or(about_now).to_owned();
        if let Some((_, head)) = &known {
            let Text { version, code: before } = self.text_of(name, head, None).await?;
            let same = before == *code && version.language == *language && version.network == *network;
            if same && head.about == about {
                return Ok(SaveScriptResponse { name: name.clone(), version: number, created: false });
            }
        }
        let version = ScriptVersion {
            version: number + 1,
            language: *language,
            saved_by: by.into(),
            saved_ms: self.clock.now_ms(),
            network: *network,
        };
        let (expect, mut versions) = match known {
            None => (Expect::Absent, Vec::new()),
            Some((entry, head)) => (Expect::Revision(entry.revision), head.versions),
        };
        let mut writes = vec![Write::put(TEXTS, &text_key(name, version.version), code.as_str())];
        versions.push(version);
        while versions.len() > VERSIONS_MAX {
            writes.push(Write::delete(TEXTS, &text_key(name, versions.remove(0).version)));
        }
        let head =
            serde_json::to_string(&Head { about, versions }).map_err(|error| Fault::internal(error.to_string()))?;
        writes.push(Write::put(HEADS, name, head).expecting(expect));
        self.store.commit(writes).await?;
        Ok(SaveScriptResponse { name: name.clone(), version: number + 1, created: true })
    }

    pub(super) async fn delete_script(
        self: Arc<Self>,
        request: DeleteScriptRequest,
        _ctx: Ctx,
    ) -> Result<DeleteScriptResponse, ToolError> {
        let name = request.name;
        let (entry, head) = self.head(&name).await?.ok_or_else(|| unknown(&name))?;
        let mut writes = vec![Write::delete(HEADS, &name).expecting(Expect::Revision(entry.revision))];
        writes.extend(head.versions.iter().map(|version| Write::delete(TEXTS, &text_key(&name, version.version))));
        self.store.commit(writes).await?;
        Ok(DeleteScriptResponse { name, versions: head.versions.len() })
    }
}

/// Refuses what cannot be kept, and a network that the caller may not grant.
fn check(request: &SaveScriptRequest, caller: &Caller) -> Result<(), Fault> {
    // Shorter than a name may be, so that its schedule's has room.
    check_name("script", &request.name)?;
    if request.name.len() > 56 {
        return Err(Fault::invalid(format!("the name of a script has {} bytes", request.name.len())).hint("at most 56"));
    }
    flow::bounded::check_size("the text of a script", &request.code, TEXT_BYTES_MAX)?;
    flow::bounded::check_size("its description", request.about.as_deref().unwrap_or_default(), ABOUT_BYTES_MAX)?;
    if request.code.trim().is_empty() || request.code.contains('\0') {
        return Err(Fault::invalid("an empty text, or one with a NUL character").hint("the text of a script"));
    }
    if !request.network {
        return Ok(());
    }
    if request.language == Language::Jq {
        return Err(Fault::invalid("a network for a jq script").hint("jq has no way to one; sh and python do"));
    }
    caller.require(Access::Admin, "save_script with network")
}
