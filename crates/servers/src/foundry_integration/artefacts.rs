//! What was built, as forge writes it. It stands in a folder that other people's code can write: links are not followed, sizes are bounded, and
//! what is no artefact is passed over.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use kernel::Result;
use mcp::prelude::*;
use serde_json::Value;

use crate::workshop::places::{damaged, shown};

/// The largest artefact that is read, in bytes.
const BYTES_MAX: u64 = 16 << 20;
/// The most entries that are looked at.
const ENTRIES_MAX: usize = 20_000;
/// The most candidates that a refusal names.
const NAMED_MAX: usize = 20;

/// A contract as it was built.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Artefact {
    pub(super) abi: Value,
    pub(super) bytecode: Code,
    pub(super) deployed_bytecode: Code,
    #[serde(default)]
    pub(super) method_identifiers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) storage_layout: Option<Value>,
    metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Code {
    pub(super) object: String,
    #[serde(default)]
    pub(super) link_references: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) immutable_references: BTreeMap<String, Vec<Range>>,
}

/// A part of the code, in bytes.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Range {
    pub(super) start: usize,
    pub(super) length: usize,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    compiler: Option<Compiler>,
    settings: Settings,
}

#[derive(Debug, Deserialize)]
struct Compiler {
    version: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    #[serde(default)]
    compilation_target: BTreeMap<String, String>,
}

impl Code {
    /// How many bytes it is.
    pub(super) fn bytes(&self) -> usize {
        self.object.strip_prefix("0x").unwrap_or(&self.object).len() / 2
    }
}

impl Artefact {
    /// Its file and its name.
    pub(super) fn target(&self) -> Option<(&str, &str)> {
        let target = self.metadata.as_ref()?.settings.compilation_target.iter().next()?;
        Some((target.0, target.1))
    }

    /// The compiler that made it.
    pub(super) fn compiler(&self) -> Option<&str> {
        Some(&self.metadata.as_ref()?.compiler.as_ref()?.version)
    }
}

/// Hands over what was built, in no order, until `more` says that it has enough.
pub(super) fn each(kept: &Path, mut more: impl FnMut(Artefact) -> bool) -> Result<()> {
    let out = kept.join("out");
    let (mut looked, mut next) = (0, vec![out]);
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            looked += 1;
            if looked > ENTRIES_MAX {
                return Err(Fault::too_large(format!("more than {ENTRIES_MAX} files were built")));
            }
            let Ok(kind) = entry.file_type() else { continue };
            let (path, name) = (entry.path(), entry.file_name());
            if kind.is_dir() && name != "build-info" {
                next.push(path);
            } else if kind.is_file()
                && path.extension().is_some_and(|ending| ending == "json")
                && let Some(artefact) = read(&path)?
                && !more(artefact)
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<Artefact>> {
    let mut text = String::new();
    let mut file = File::open(path).map_err(|error| damaged(path, &error))?.take(BYTES_MAX);
    if file.read_to_string(&mut text).is_err() {
        return Ok(None);
    }
    Ok(serde_json::from_str(&text).ok())
}

/// The contract that `asked` names: `Vault`, or `src/Vault.sol:Vault`.
pub(super) fn find(kept: &Path, asked: &str) -> Result<Artefact> {
    let (file, name) = match asked.rsplit_once(':') {
        Some((file, name)) => (Some(file), name),
        None => (None, asked),
    };
    let (mut found, mut names): (Vec<Artefact>, Vec<String>) = (Vec::new(), Vec::new());
    each(kept, |artefact| {
        let Some((of, called)) = artefact.target() else { return true };
        if called == name && file.is_none_or(|file| file == of) {
            found.push(artefact);
        } else if !of.starts_with('/') && !of.starts_with("lib/") {
            names.push(format!("{of}:{called}"));
        }
        true
    })?;
    if found.len() > 1 {
        let among: Vec<String> =
            found.iter().filter_map(|one| one.target()).map(|(file, name)| format!("{file}:{name}")).collect();
        return Err(Fault::invalid(format!("{} contracts are called `{}`", found.len(), shown(asked)))
            .hint(format!("one of {}", among.join(", "))));
    }
    found.pop().ok_or_else(|| {
        names.sort();
        names.truncate(NAMED_MAX);
        Fault::not_found(format!("no contract `{}` in what was built", shown(asked)))
            .hint(format!("there are {}", names.join(", ")))
    })
}
