//! Recordings: the pools before a block and what changed them in the blocks after it, in one file that can be replayed for ever.
//!
//! The file is gzip of lines of JSON. The first says what it is, in which version, of which chain and blocks; then one line a pool, one line a
//! block in which pools changed, and a last one with how many there were and the SHA-256 of all lines before it. So a file that is torn or that
//! somebody changed is refused with the reason, and another version's is never taken for this one's. It is written whole or not at all, and
//! never over another.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use kernel::chain::{Address, Amount, Hash};
use market::pool::{AnyPool, Event};
use mcp::prelude::*;
use ring::digest::{SHA256, digest};

use super::MarketAnalysis;
use super::backtest::{Changes, History, own_book};

/// What the first line says that the file is.
const FORMAT: &str = "flotilla-recording";
/// The version of the format that is written and read here.
const VERSION: u32 = 1;
/// Largest file, in bytes.
const FILE_BYTES_MAX: usize = 64 << 20;
/// Largest file once unpacked, in bytes.
const UNPACKED_BYTES_MAX: usize = 512 << 20;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most recordings kept.
const RECORDINGS_MAX: usize = 1_000;
/// What a recording's file ends with.
const SUFFIX: &str = ".jsonl.gz";

/// What [`RECORD`](super::RECORD) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordRequest {
    /// Its name, by which backtest finds it: a-z, 0-9, `-` and `_`, at most 64. One that is there already is not written over.
    pub name: String,
    /// The first block.
    pub from_block: u64,
    /// The last block, itself included; the newest that is known when absent.
    #[serde(default)]
    pub to_block: Option<u64>,
}

/// What [`RECORDINGS`](super::RECORDINGS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordingsRequest {}

/// A recording.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recording {
    /// Its name.
    pub name: String,
    /// The file's size, in bytes.
    pub bytes: u64,
    /// What it holds; absent where it cannot be read.
    pub holds: Option<Holds>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// What a recording holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holds {
    /// The chain.
    pub chain_id: u64,
    /// The first block.
    pub from_block: u64,
    /// The last block.
    pub to_block: u64,
    /// How many pools.
    pub pools: usize,
}

/// What [`RECORDINGS`](super::RECORDINGS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecordingsAnswer {
    /// By name.
    pub recordings: Vec<Recording>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    #[serde(flatten)]
    holds: Holds,
}

/// A line of a block.
#[derive(Serialize, Deserialize)]
struct Row {
    block: u64,
    hash: Hash,
    base_fee_per_gas_wei: Amount,
    events: Vec<(Address, Event)>,
}

/// The last line.
#[derive(Serialize, Deserialize)]
struct Foot {
    blocks: usize,
    events: usize,
    sha256: String,
}

impl MarketAnalysis {
    pub(super) async fn record(&self, request: RecordRequest, ctx: &Ctx) -> Result<Recording, Fault> {
        let RecordRequest { name, from_block, to_block } = request;
        let path = self.place(&name)?;
        if self.names()?.len() >= RECORDINGS_MAX {
            return Err(Fault::too_large(format!("{RECORDINGS_MAX} recordings are kept")).hint("remove some files"));
        }
        let history = self.history(from_block, to_block, ctx).await?;
        let chain_id = self.chain.status().await?.chain_id;
        let bytes = pack(&history, chain_id)?;
        write_new(&path, &bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Fault::already_exists(format!("there is a recording `{name}`")).hint("choose another name")
            }
            _ => Fault::unavailable(format!("the recording `{name}` cannot be written: {error}")),
        })?;
        Ok(Recording { name, bytes: bytes.len() as u64, holds: Some(holds(&history, chain_id)), error: None })
    }

    pub(super) fn recordings(&self) -> Result<RecordingsAnswer, Fault> {
        let recording = |name: String| {
            let path = self.place(&name)?;
            let (holds, error) = match head(&path) {
                Ok(head) => (Some(head.holds), None),
                Err(why) => (None, Some(why)),
            };
            let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
            Ok(Recording { name, bytes, holds, error })
        };
        Ok(RecordingsAnswer { recordings: self.names()?.into_iter().map(recording).collect::<Result<_, Fault>>()? })
    }

    /// The recording of this name, to be replayed on the chain in use.
    pub(super) async fn recorded(&self, name: &str) -> Result<History, Fault> {
        let path = self.place(name)?;
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Fault::not_found(format!("no recording `{name}`")).hint("recordings lists them")
            }
            _ => Fault::unavailable(format!("the recording `{name}` cannot be read: {error}")),
        })?;
        let refused = |why: String| {
            Fault::invalid(format!("the recording `{name}` is refused: {why}")).hint("restore the file, or record anew")
        };
        let (holds, history) = unpack(&bytes).map_err(refused)?;
        let here = self.chain.status().await?.chain_id;
        if holds.chain_id != here {
            return Err(Fault::invalid(format!("the recording `{name}` is of chain {}", holds.chain_id))
                .hint(format!("the chain in use is {here}")));
        }
        Ok(history)
    }

    fn place(&self, name: &str) -> Result<PathBuf, Fault> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
            return Err(Fault::invalid("not a recording's name")
                .hint(format!("a-z, 0-9, - and _, at most {NAME_BYTES_MAX} characters")));
        }
        Ok(self.folder()?.join(format!("{name}{SUFFIX}")))
    }

    fn folder(&self) -> Result<&Path, Fault> {
        let nowhere = || Fault::not_configured("recordings have no folder here").hint("set FLOTILLA_DATA_DIR");
        self.recordings.as_deref().ok_or_else(nowhere)
    }

    fn names(&self) -> Result<Vec<String>, Fault> {
        let Ok(files) = std::fs::read_dir(self.folder()?) else { return Ok(Vec::new()) };
        let name = |file: std::io::Result<std::fs::DirEntry>| {
            Some(file.ok()?.file_name().to_str()?.strip_suffix(SUFFIX)?.to_owned())
        };
        let mut names: Vec<String> = files.filter_map(name).filter(|name| self.place(name).is_ok()).collect();
        names.sort_unstable();
        Ok(names)
    }
}

fn holds(history: &History, chain_id: u64) -> Holds {
    Holds { chain_id, from_block: history.from, to_block: history.to, pools: history.book.len() }
}

/// The file's bytes.
fn pack(history: &History, chain_id: u64) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    let head = Head { format: FORMAT.into(), version: VERSION, holds: holds(history, chain_id) };
    line(&mut text, &head)?;
    for (_, pool) in history.book.iter() {
        line(&mut text, pool)?;
    }
    for (block, changes) in &history.blocks {
        let Changes { hash, base_fee_per_gas_wei, events } = changes.clone();
        line(&mut text, &Row { block: *block, hash, base_fee_per_gas_wei, events })?;
    }
    let events = history.blocks.values().map(|changes| changes.events.len()).sum();
    let foot = Foot { blocks: history.blocks.len(), events, sha256: hash_of(&text) };
    line(&mut text, &foot)?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    let packed = packed.write_all(&text).and_then(|()| packed.finish());
    let packed = packed.map_err(|error| Fault::internal(format!("a recording cannot be packed: {error}")))?;
    if text.len() > UNPACKED_BYTES_MAX || packed.len() > FILE_BYTES_MAX {
        return Err(Fault::too_large(format!("a recording of {} bytes, {} packed", text.len(), packed.len()))
            .hint(format!("at most {UNPACKED_BYTES_MAX} and {FILE_BYTES_MAX}: record fewer blocks")));
    }
    Ok(packed)
}

fn line(text: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Fault> {
    serde_json::to_writer(&mut *text, value).map_err(|error| Fault::internal(format!("a recording: {error}")))?;
    text.push(b'\n');
    Ok(())
}

fn hash_of(text: &[u8]) -> String {
    digest(&SHA256, text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the file's first line says, or why it is none.
fn head(path: &Path) -> Result<Head, String> {
    /// Longest first line, in bytes.
    const HEAD_BYTES_MAX: u64 = 4_096;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut start = Vec::new();
    // A file that is torn behind its first line still says what it is.
    let read = GzDecoder::new(file).take(HEAD_BYTES_MAX).read_to_end(&mut start);
    match start.split(|byte| *byte == b'\n').next() {
        Some(first) if start.len() > first.len() => head_of(first),
        _ => Err(read.err().map_or_else(|| "it has no first line".to_owned(), |error| format!("it is torn: {error}"))),
    }
}

fn head_of(first: &[u8]) -> Result<Head, String> {
    let value: serde_json::Value = serde_json::from_slice(first).unwrap_or_default();
    match (value["format"].as_str(), value["version"].as_u64()) {
        (Some(FORMAT), Some(version)) if version == u64::from(VERSION) => {
            serde_json::from_value(value).map_err(|error| format!("its first line cannot be read: {error}"))
        }
        (Some(FORMAT), version) => {
            let version = version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
            Err(format!("it is of {version}, and version {VERSION} is read here"))
        }
        _ => Err("it is no recording".into()),
    }
}

/// What the file holds, or why it is refused.
fn unpack(bytes: &[u8]) -> Result<(Holds, History), String> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("it has {} bytes, past {FILE_BYTES_MAX}", bytes.len()));
    }
    let mut text = Vec::new();
    let limit = UNPACKED_BYTES_MAX as u64 + 1;
    let read = GzDecoder::new(bytes).take(limit).read_to_end(&mut text);
    read.map_err(|error| format!("it is torn or altered: {error}"))?;
    if text.len() > UNPACKED_BYTES_MAX {
        return Err(format!("it unpacks to more than {UNPACKED_BYTES_MAX} bytes"));
    }
    let Some(body) = text.strip_suffix(b"\n") else { return Err("it is torn: its last line does not end".into()) };
    let Head { holds, .. } = head_of(body.split(|byte| *byte == b'\n').next().unwrap_or_default())?;
    let start = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    let (before, last) = text.split_at(start);
    let foot: Foot =
        serde_json::from_slice(last).map_err(|_| "it is torn: its last line is not the last".to_owned())?;
    if hash_of(before) != foot.sha256 {
        return Err("it was altered: its lines have not the hash that they were recorded with".into());
    }
    let mut lines = before.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).skip(1);
    let bad = |error: serde_json::Error| format!("a line cannot be read: {error}");
    let pools = lines.by_ref().take(holds.pools).map(serde_json::from_slice::<AnyPool>);
    let pools = pools.collect::<Result<Vec<_>, _>>().map_err(bad)?;
    let book =
        own_book(holds.from_block, pools.into_iter()).map_err(|error| format!("its pools do not fit: {error}"))?;
    let mut history = History { from: holds.from_block, to: holds.to_block, book, blocks: Default::default() };
    for line in lines {
        let Row { block, hash, base_fee_per_gas_wei, events } = serde_json::from_slice(line).map_err(bad)?;
        history.blocks.insert(block, Changes { hash, base_fee_per_gas_wei, events });
    }
    let events: usize = history.blocks.values().map(|changes| changes.events.len()).sum();
    if (history.book.len(), history.blocks.len(), events) != (holds.pools, foot.blocks, foot.events) {
        return Err("it has other pools, blocks or events than it says".into());
    }
    Ok((holds, history))
}

/// Writes a file whole or not at all, and not over another.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let new = folder.join(format!("{}.new", kernel::ids::new_id("recording")));
    let written = std::fs::File::create_new(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::hard_link(&new, path));
    let removed = std::fs::remove_file(&new);
    written.and(removed)
}
