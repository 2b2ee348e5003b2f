//! What is done with a project's sources: a new project, their format, and forge's advice on them.

use std::fs;
use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kernel::Result;
use mcp::prelude::*;

use super::FoundryIntegration;
use super::build::relative;
use super::run::{Chore, cut, refused};
use crate::workshop::places::{Project, check_name, damaged, shown};

/// The most files that are formatted at once, and the largest.
const FILES_MAX: usize = 500;
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How much forge may write of formatting and advice, in bytes.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// The most pieces of advice that are answered.
const FINDINGS_MAX: usize = 1_000;
/// The longest patch of one file that is answered, in bytes.
const PATCH_BYTES_MAX: usize = 32 << 10;
/// Folders whose sources are others'.
const FOREIGN: [&str; 5] = ["lib", "node_modules", "out", "cache", "broadcast"];
/// Formats each file that it reads the name of; writes those that are not as they should be, and what is wrong with those it cannot read.
const FORMAT: &str = r#"
while IFS= read -r file; do
  if "$FORGE" fmt --raw - <"$file" >/tmp/formatted 2>/tmp/complaint; then
    cmp -s /tmp/formatted "$file" || printf '%s\t+\t%s\n' "$file" "$(base64 -w 0 /tmp/formatted)"
  else
    printf '%s\t-\t%s\n' "$file" "$(base64 -w 0 /tmp/complaint)"
  fi
done
"#;
const LINT: &str = r#""$FORGE" lint --json 2>&1 || true"#;

/// What [`NEW_PROJECT`](super::NEW_PROJECT) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProjectRequest {
    /// Its name, and that of its folder in the workspace: 1 to 64 characters of a-z 0-9 - _.
    pub name: String,
}

/// What [`NEW_PROJECT`](super::NEW_PROJECT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct NewProjectResponse {
    /// What other tools take as `project`.
    pub project: String,
    /// Its folder.
    pub path: String,
    /// The files that were written, from there on, without those of the library.
    pub files: Vec<String>,
}

/// What [`FORMAT`](super::FORMAT) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FormatRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
    /// Whether to write the files; they are only compared when absent.
    #[serde(default)]
    pub apply: bool,
}

/// What [`FORMAT`](super::FORMAT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FormatResponse {
    /// How many files were looked at.
    pub files: usize,
    /// Those that are not as the formatter would have them.
    pub changed: Vec<Formatted>,
    /// Those that cannot be read as Solidity, and why.
    pub unreadable: Vec<Unreadable>,
    /// Whether the files were written.
    pub applied: bool,
}

/// A file that is not as the formatter would have it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Formatted {
    /// The file, from the project's folder on.
    pub file: String,
    /// What would change, as a unified diff.
    pub patch: String,
}

/// A file that cannot be read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Unreadable {
    /// The file, from the project's folder on.
    pub file: String,
    /// What is wrong.
    pub reason: String,
}

/// What [`LINT`](super::LINT) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LintRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
}

/// What [`LINT`](super::LINT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LintResponse {
    /// What forge advises, by file and line.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub findings_left_out: usize,
}

/// A piece of advice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The file, from the project's folder on.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
    /// The rule.
    pub rule: Option<String>,
    /// How bad forge takes it to be: warning, note, …
    pub level: String,
    /// What it says.
    pub message: String,
}

#[derive(Deserialize)]
struct Advice {
    level: String,
    message: String,
    #[serde(default)]
    code: Option<AdviceCode>,
    #[serde(default)]
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct AdviceCode {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: u32,
    column_start: u32,
}

impl FoundryIntegration {
    pub(super) async fn new_project(&self, request: NewProjectRequest) -> Result<NewProjectResponse> {
        check_name(&request.name)?;
        let (kit, workspace) = (self.foundry.kit()?, self.places.workspace()?);
        let folder = workspace.join(&request.name);
        fs::create_dir(&folder).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Fault::already_exists(format!("there is a project `{}`", request.name)).hint("another name")
            }
            _ => damaged(&folder, &error),
        })?;
        let compiler = kit.compilers.last().cloned().ok_or_else(|| Fault::not_configured("no Solidity compiler"))?;
        let texts = [
            ("foundry.toml", include_str!("template/foundry.toml")),
            ("src/Counter.sol", include_str!("template/Counter.sol")),
            ("test/Counter.t.sol", include_str!("template/Counter.t.sol")),
        ];
        let mut files = Vec::new();
        for (file, text) in texts {
            write(&folder.join(file), text.replace("SOLC", &compiler).as_bytes())?;
            files.push(file.to_owned());
        }
        if let Some(library) = kit.library {
            copy(&kit.folder.join(library), &folder.join("lib/forge-std/src"))?;
        }
        Ok(NewProjectResponse { project: request.name, path: folder.display().to_string(), files })
    }

    pub(super) async fn format(&self, request: FormatRequest, ctx: Ctx) -> Result<FormatResponse> {
        let project = self.places.project(&request.project)?;
        let kept = self.places.keep(&project).await?;
        let files = sources(&project.path)?;
        let chore = Chore {
            text: FORMAT,
            arguments: Vec::new(),
            stdin: files.iter().map(|file| format!("{file}\n")).collect(),
            stdout_bytes: OUTPUT_BYTES_MAX,
            seconds: None,
            profile: None,
        };
        let ran = self.run(&project, &kept, chore, &ctx).await?;
        let (mut changed, mut unreadable) = (Vec::new(), Vec::new());
        for line in ran.stdout.lines() {
            let mut parts = line.splitn(3, '\t');
            let (Some(file), Some(sign), Some(text)) = (parts.next(), parts.next(), parts.next()) else { continue };
            // Only what was asked for is written.
            let Some(file) = files.iter().find(|known| *known == file) else { continue };
            let text = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| Fault::upstream(format!("forge's word on {file} cannot be read")))?;
            if sign == "-" {
                unreadable
                    .push(Unreadable { file: file.clone(), reason: cut(crate::scripts::cleaned(text.trim()), 2_000) });
            } else {
                changed.push(formatted(&project, file, &text, request.apply)?);
            }
        }
        Ok(FormatResponse { files: files.len(), changed, unreadable, applied: request.apply })
    }

    pub(super) async fn lint(&self, request: LintRequest, ctx: Ctx) -> Result<LintResponse> {
        let project = self.places.project(&request.project)?;
        let kept = self.places.keep(&project).await?;
        let chore = Chore {
            text: LINT,
            arguments: Vec::new(),
            stdin: String::new(),
            stdout_bytes: OUTPUT_BYTES_MAX,
            seconds: None,
            profile: None,
        };
        let ran = self.run(&project, &kept, chore, &ctx).await?;
        let said = ran.stdout.lines().filter_map(|line| serde_json::from_str::<Advice>(line).ok());
        let mut findings: Vec<Finding> = said.filter_map(Advice::finding).collect();
        if findings.is_empty()
            && let Some(error) = ran.stdout.lines().find(|line| line.starts_with("Error"))
        {
            let stderr = error.to_owned();
            return Err(refused(&kernel::jail::Ran { stderr, ..ran }));
        }
        findings.sort();
        findings.dedup();
        let findings_left_out = findings.len().saturating_sub(FINDINGS_MAX);
        findings.truncate(FINDINGS_MAX);
        Ok(LintResponse { findings, findings_left_out })
    }
}

impl Advice {
    fn finding(self) -> Option<Finding> {
        let span = self.spans.into_iter().next();
        let (file, line, column) = match span {
            Some(span) => (Some(relative(&span.file_name)), Some(span.line_start), Some(span.column_start)),
            None => return None,
        };
        let message = cut(crate::scripts::cleaned(&self.message), 2_000);
        Some(Finding { file, line, column, rule: self.code.map(|code| code.code), level: self.level, message })
    }
}

/// The project's own Solidity files, from its folder on. Links are not followed.
fn sources(root: &Path) -> Result<Vec<String>> {
    let (mut files, mut next) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| damaged(&folder, &error))?.flatten() {
            let (Ok(kind), path, name) = (entry.file_type(), entry.path(), entry.file_name()) else { continue };
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            if kind.is_dir() && !FOREIGN.contains(&name) {
                next.push(path);
            } else if kind.is_file() && name.ends_with(".sol") {
                let inside =
                    path.strip_prefix(root).ok().and_then(Path::to_str).filter(|path| !path.contains(['\n', '\t']));
                files.extend(inside.map(str::to_owned));
            }
            if files.len() > FILES_MAX {
                return Err(Fault::too_large(format!("more than {FILES_MAX} Solidity files")));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What changes in a file; written too, if `apply`.
fn formatted(project: &Project, file: &str, text: &str, apply: bool) -> Result<Formatted> {
    let path = project.path.join(file);
    let about = fs::symlink_metadata(&path).map_err(|error| damaged(&path, &error))?;
    // Its folders may have become links since it was found.
    let real = path.canonicalize().map_err(|error| damaged(&path, &error))?;
    if !about.is_file() || real != path || about.len() > FILE_BYTES_MAX {
        return Err(Fault::conflict(format!("{} changed while it was formatted, or is too large", shown(file))));
    }
    let was = fs::read_to_string(&path).map_err(|error| damaged(&path, &error))?;
    let patch = similar::TextDiff::from_lines(was.as_str(), text);
    let patch = patch.unified_diff().header(&format!("a/{file}"), &format!("b/{file}")).to_string();
    if apply {
        replace(&path, text.as_bytes(), &about)?;
    }
    Ok(Formatted { file: file.to_owned(), patch: cut(patch, PATCH_BYTES_MAX) })
}

/// Writes a file whole or not at all, with the rights it had.
fn replace(path: &Path, text: &[u8], about: &fs::Metadata) -> Result<()> {
    let beside = path.with_extension(format!("{}.tmp", kernel::ids::random_token(6)));
    let done = fs::File::create_new(&beside)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.set_permissions(about.permissions())))
        .and_then(|()| fs::rename(&beside, path));
    done.map_err(|error| {
        // What cannot be removed was not made.
        fs::remove_file(&beside).ok();
        damaged(path, &error)
    })
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    made.map_err(|error| damaged(path, &error))
}

/// Copies a folder's files, and those of the folders in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(|error| damaged(from, &error))?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            write(&target, &fs::read(&path).map_err(|error| damaged(&path, &error))?)?;
        }
    }
    Ok(())
}
