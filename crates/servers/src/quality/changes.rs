//! `changes`: what is different between two git revisions of a project. git runs shut in too: a repository's configuration may name programs.

use kernel::{Result, UnixMs};
use mcp::prelude::*;

use super::source::{GIT, check_repository, check_revision};
use super::{Quality, secrets};
use crate::workshop::{Run, cut, last_words, mount};

/// The most revisions that are told of.
const REVISIONS_MAX: usize = 500;
/// How much of a diff is read, and how much is answered, in bytes.
const READ_BYTES_MAX: usize = 8 << 20;
const DIFF_BYTES_MAX: usize = 128 << 10;
/// How long git may take, in seconds.
const SECONDS: u32 = 60;
/// Tells the revisions after `$1` up to `$2`, oldest first, and what they change; a line that begins so parts the two.
const CHANGES: &str = r#"set -eu
for rev in "$1" "$2"; do
  git rev-parse --verify --quiet "$rev^{commit}" || { echo "Error: no revision $rev" >&2; exit 3; }
done
git log --reverse --topo-order --max-count="$3" --format='%H%x09%ct%x09%s' "$1..$2"
printf '\036\n'
git -c core.quotePath=false diff --no-color --no-ext-diff --no-textconv --no-renames --unified=3 "$1" "$2"
"#;
const PARTED: &str = "\n\u{1e}\n";

/// What [`CHANGES`](super::CHANGES) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangesRequest {
    /// The project's folder, which is a git repository: an absolute path, or one from a root on.
    pub path: String,
    /// The revision to begin with, which itself is not among the answer's.
    pub from: String,
    /// The revision to end with; HEAD when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What [`CHANGES`](super::CHANGES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChangesResponse {
    /// The revision it begins with, in full.
    pub from: String,
    /// The revision it ends with, in full.
    pub to: String,
    /// The revisions in between, oldest first, the last one among them.
    pub revisions: Vec<Revision>,
    /// The files that are different.
    pub files: Vec<ChangedFile>,
    /// The unified diff, cut, without secrets: foreign text.
    pub diff: String,
}

/// A revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// Its name, in full.
    pub revision: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// Its message's first line: foreign text.
    pub subject: String,
}

/// A file that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedFile {
    /// The file, from the project's folder on.
    pub file: String,
    /// The lines that are new in it, as first and last line, from 1. None where it only lost lines, or is gone.
    pub lines: Vec<(u32, u32)>,
}

impl Quality {
    pub(super) async fn changes(&self, request: ChangesRequest, ctx: Ctx) -> Result<ChangesResponse> {
        let to = request.to.as_deref().unwrap_or("HEAD");
        check_revision("from", &request.from)?;
        check_revision("to", to)?;
        let project = self.places.folder(&request.path)?;
        check_repository(&project)?;
        let run = Run {
            text: format!("{GIT}{CHANGES}"),
            arguments: vec![request.from.clone(), to.to_owned(), REVISIONS_MAX.to_string()],
            environment: Default::default(),
            stdin: String::new(),
            mounts: vec![mount(&project.path, "project", false)],
            stdout_bytes: READ_BYTES_MAX,
            seconds: Some(SECONDS),
        };
        let ran = self.workshop.run(run, &ctx).await?;
        if ran.exit_code != Some(0) {
            return Err(Fault::not_found(format!("git: {}", last_words(&ran.stderr)))
                .hint("revisions of the project's repository: branches, tags, commits"));
        }
        let (log, diff) = ran.stdout.split_once(PARTED).unwrap_or((&ran.stdout, ""));
        let mut lines = log.lines();
        let (Some(from), Some(to)) = (lines.next(), lines.next()) else {
            return Err(Fault::upstream("git told no revisions"));
        };
        let shown = |text: &str, bytes| cut(secrets::hidden(&crate::scripts::cleaned(text)), bytes);
        let revision = |line: &str| {
            let mut parts = line.splitn(3, '\t');
            let (revision, at, subject) = (parts.next()?, parts.next()?, parts.next()?);
            let at_ms = at.parse::<i64>().ok()?.saturating_mul(1_000);
            Some(Revision { revision: revision.to_owned(), at_ms, subject: shown(subject, 300) })
        };
        Ok(ChangesResponse {
            from: from.to_owned(),
            to: to.to_owned(),
            revisions: lines.filter_map(revision).collect(),
            files: files(diff),
            diff: shown(diff, DIFF_BYTES_MAX),
        })
    }
}

/// The files of a unified diff, and the lines that are new in them.
fn files(diff: &str) -> Vec<ChangedFile> {
    let (mut files, mut line, mut left) = (Vec::<ChangedFile>::new(), 0_u32, (0_u32, 0_u32));
    for text in diff.lines() {
        // Within a hunk lines are counted, so that no line of a file is taken for one of the diff's own.
        if left != (0, 0) {
            let (removed, added) = left;
            match text.as_bytes().first() {
                Some(b'+') => {
                    if let Some(file) = files.last_mut() {
                        match file.lines.last_mut() {
                            Some((_, last)) if *last + 1 == line => *last = line,
                            _ => file.lines.push((line, line)),
                        }
                    }
                    (line, left) = (line + 1, (removed, added.saturating_sub(1)));
                }
                Some(b'-') => left = (removed.saturating_sub(1), added),
                Some(b'\\') => {}
                _ => (line, left) = (line + 1, (removed.saturating_sub(1), added.saturating_sub(1))),
            }
        } else if let Some(names) = text.strip_prefix("diff --git a/") {
            // Nothing is renamed, so both names are the same.
            let name = names.get(..names.len().saturating_sub(3) / 2).unwrap_or_default();
            files.push(ChangedFile { file: name.to_owned(), lines: Vec::new() });
        } else if let Some(hunk) = text.strip_prefix("@@ -") {
            let mut parts = hunk.split(' ');
            let range = |part: Option<&str>| {
                let (first, count) = part?.split_once(',').unwrap_or((part?, "1"));
                Some((first.trim_start_matches('+').parse::<u32>().ok()?, count.parse::<u32>().ok()?))
            };
            if let (Some((_, removed)), Some((first, added))) = (range(parts.next()), range(parts.next())) {
                (line, left) = (first, (removed, added));
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_lines_are_told_by_file_whatever_they_say() {
        let diff = "diff --git a/src/a b.rs b/src/a b.rs\nindex 1..2 100644\n--- a/src/a b.rs\n+++ b/src/a b.rs\n@@ -1,3 +1,4 @@ fn x\n one\n-two\n+diff --git a/x b/x\n+@@ -1 +1 @@\n three\n@@ -9 +10,2 @@\n nine\n+ten\n\\ No newline at end of file\ndiff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
        let file = |name: &str, lines: &[(u32, u32)]| ChangedFile { file: name.into(), lines: lines.to_vec() };
        assert_eq!(files(diff), [file("src/a b.rs", &[(2, 3), (11, 11)]), file("gone", &[])]);
    }
}
