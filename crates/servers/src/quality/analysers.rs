//! The analysers: what each runs on, how it is run, shut in, and what its end means.
//!
//! A script says that its tool is not there by ending with [`ABSENT`]: what is installed is known inside only, where the tool would run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kernel::Result;
use kernel::jail::Mount;
use mcp::prelude::*;

use super::finding::Said;
use super::said::Read;
use super::source::{Part, Source, aside};
use super::{Quality, secrets};
use crate::workshop::{Run, last_words, mount, solidity};

/// How much one may write, in bytes.
const OUTPUT_BYTES_MAX: usize = 32 << 20;
/// What a script ends with whose tool is not installed.
const ABSENT: i32 = 119;
/// Rules of our own for semgrep and solhint.
const SEMGREP_RULES: &str = include_str!("rules/semgrep.yaml");
const SOLHINT_RULES: &str = include_str!("rules/solhint.json");

/// A tool that finds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Analyser {
    /// Secrets in all files; part of the fleet.
    Secrets,
    /// forge's lints of Solidity.
    ForgeLint,
    /// Slither's detectors on Solidity that forge builds.
    Slither,
    /// solhint on Solidity.
    Solhint,
    /// clippy and the compiler's warnings on Rust.
    Clippy,
    /// ruff on Python.
    Ruff,
    /// A JavaScript project's own eslint.
    Eslint,
    /// semgrep with rules of the fleet's own, on Solidity, Python and JavaScript.
    Semgrep,
}

/// What became of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolOutcome {
    /// It ran to its end.
    Ran,
    /// It is not installed here; the note says how to get it.
    NotInstalled,
    /// The project has nothing for it.
    NotApplicable,
    /// It ran and failed; the note says why.
    Failed,
}

/// A tool, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolRun {
    /// The tool.
    pub tool: Analyser,
    /// What became of it.
    pub outcome: ToolOutcome,
    /// How much it said.
    pub said: usize,
    /// Why it failed, or how to get it: may hold foreign text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How a tool is run.
struct How {
    part: Part,
    /// Run in a part's folder; its output is what it found.
    script: &'static str,
    /// How to get it.
    get: &'static str,
}

impl Analyser {
    pub(super) const ALL: [Self; 8] = [
        Self::Secrets,
        Self::ForgeLint,
        Self::Slither,
        Self::Solhint,
        Self::Clippy,
        Self::Ruff,
        Self::Eslint,
        Self::Semgrep,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Secrets => secrets::TOOL,
            Self::ForgeLint => "forge-lint",
            Self::Slither => "slither",
            Self::Solhint => "solhint",
            Self::Clippy => "clippy",
            Self::Ruff => "ruff",
            Self::Eslint => "eslint",
            Self::Semgrep => "semgrep",
        }
    }

    fn how(self) -> Option<How> {
        const FETCH: &str = "cargo xtask fetch analysis";
        let how = |part, script, get| Some(How { part, script, get });
        match self {
            Self::Secrets => None,
            Self::ForgeLint => how(Part::Foundry, FORGE_LINT, "install Node.js and run cargo xtask fetch"),
            Self::Slither => how(Part::Foundry, SLITHER, FETCH),
            Self::Solhint => how(Part::Solidity, SOLHINT, FETCH),
            Self::Clippy => {
                how(Part::Cargo, CLIPPY, "rustup component add clippy, for the user that the fleet runs as")
            }
            Self::Ruff => how(Part::Python, RUFF, FETCH),
            Self::Eslint => {
                how(Part::Npm, ESLINT, "npm install --save-dev eslint, and a configuration, in the project")
            }
            Self::Semgrep => how(
                Part::Solidity,
                SEMGREP,
                "pip install semgrep for the system's Python, or with --target into the folder analysis/python of the tools folder",
            ),
        }
    }

    /// The folders of the project that it is run in.
    fn parts(self, source: &Source, part: Part) -> Vec<String> {
        let any = |ends: &[&str]| source.files.iter().any(|file| ends.iter().any(|end| file.name.ends_with(end)));
        match self {
            Self::Semgrep if any(&[".sol", ".py", ".js", ".ts", ".jsx", ".tsx", ".mjs", ".cjs"]) => vec![String::new()],
            Self::Semgrep => Vec::new(),
            _ => source.parts(part),
        }
    }
}

const FORGE_LINT: &str = r#"[ -n "$FORGE" ] || exit 119
"$FORGE" lint --json 2>&1 || true
"#;
const SLITHER: &str = r#"[ -n "$FORGE" ] || exit 119
mkdir -p "$HOME/bin" && ln -s "$FORGE" "$HOME/bin/forge" && export PATH="$HOME/bin:$PATH"
if [ -d /analysis/python/slither ]; then export PYTHONPATH=/analysis/python; set -- python3 -m slither
elif command -v slither >/dev/null; then set -- slither
else exit 119; fi
"$@" . --json - --exclude-dependencies --filter-paths '(^|/)(lib|node_modules|test|script)/' 2>/tmp/complaint || true
tail -c 4000 /tmp/complaint >&2
"#;
const SOLHINT: &str = r#"if [ -f /analysis/node_modules/solhint/solhint.js ]; then set -- node /analysis/node_modules/solhint/solhint.js
elif command -v solhint >/dev/null; then set -- solhint
else exit 119; fi
printf %s "$SOLHINT_RULES" >/tmp/solhint.json
for own in .solhint.json .solhint.yml .solhint.yaml; do [ -f "$own" ] && cp "$own" "/tmp/$own" && rules=/tmp/$own; done
tr '\n' '\0' >/tmp/files
if [ -s /tmp/files ]; then xargs -0 "$@" -c "${rules:-/tmp/solhint.json}" -f json --noPoster </tmp/files || true; else echo '[]'; fi
"#;
const CLIPPY: &str = r#"command -v cargo-clippy >/dev/null || exit 119
cargo clippy --offline --locked --workspace --all-targets --message-format=json --target-dir /keep/clippy 2>/tmp/complaint || code=$?
grep -E '^error' /tmp/complaint | tail -n 5 >&2 || true
[ "${code:-0}" = 0 ] || [ "${code:-0}" = 101 ]
"#;
const RUFF: &str = r#"if [ -x /analysis/python/bin/ruff ]; then set -- /analysis/python/bin/ruff
elif command -v ruff >/dev/null; then set -- ruff
else exit 119; fi
own=no; for file in ruff.toml .ruff.toml; do [ -f "$file" ] && own=yes; done
if [ -f pyproject.toml ] && grep -q '^\[tool.ruff' pyproject.toml; then own=yes; fi
if [ "$own" = yes ]; then "$@" check --no-cache --output-format json . || true
else "$@" check --no-cache --isolated --select E7,E9,F,B,S,C90 --ignore S101 --output-format json . || true; fi
"#;
const ESLINT: &str = r#"[ -x node_modules/.bin/eslint ] || exit 119
node_modules/.bin/eslint -f json . || true
"#;
const SEMGREP: &str = r#"if [ -d /analysis/python/semgrep ]; then export PYTHONPATH=/analysis/python PATH="/analysis/python/bin:$PATH"; set -- python3 /analysis/python/bin/semgrep
elif command -v semgrep >/dev/null; then set -- semgrep
else exit 119; fi
printf %s "$SEMGREP_RULES" >/tmp/flotilla.yaml
# It wants certificates to begin with, though it reaches nobody, and memory that is locked, which there is none of here, unless it reads files as everybody does.
export EIO_BACKEND=posix SSL_CERT_FILE="$(python3 -c 'import certifi; print(certifi.where())')"
"$@" scan --config /tmp/flotilla.yaml --metrics off --disable-version-check --no-git-ignore --json --quiet .
"#;
/// What comes before every script: the programs that the fleet was given, and the part's folder.
const PRELUDE: &str = r#"set -eu
[ -d /rust ] && export PATH="/rust/bin:$PATH"
export CARGO_HOME=/tmp/cargo CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never
mkdir -p "$CARGO_HOME" && { [ ! -d /crates ] || ln -s /crates "$CARGO_HOME/registry"; }
cd "/project/$PART"
"#;

impl Quality {
    /// Runs one analyser on all parts of a project that it applies to.
    pub(super) async fn find(
        &self,
        analyser: Analyser,
        source: &Source,
        seconds: Option<u32>,
        ctx: &Ctx,
    ) -> Result<(ToolRun, Vec<Said>)> {
        let end = |outcome, said: Vec<Said>, note: String| {
            (ToolRun { tool: analyser, outcome, said: said.len(), note }, said)
        };
        let Some(how) = analyser.how() else {
            let files = Arc::clone(&source.files);
            let found = aside(move || {
                let texts = files.iter().filter_map(|file| Some((file, Source::text(file)?)));
                texts.flat_map(|(file, text)| secrets::scan(&file.name, &text)).collect()
            });
            let found = found.await?;
            return Ok(end(ToolOutcome::Ran, found, String::new()));
        };
        let parts = analyser.parts(source, how.part);
        if parts.is_empty() {
            return Ok(end(ToolOutcome::NotApplicable, Vec::new(), String::new()));
        }
        let (mut found, mut notes) = (Vec::new(), Vec::new());
        for part in &parts {
            let ran =
                match self.run_in(source, part, how.script, Vec::new(), input(analyser, source), seconds, ctx).await {
                    Ok(ran) => ran,
                    Err(fault) if matches!(fault.code, Code::Cancelled | Code::Unsupported | Code::NotConfigured) => {
                        return Err(fault);
                    }
                    // The others may still say something.
                    Err(fault) => {
                        notes.push(fault.to_string());
                        continue;
                    }
                };
            if ran.exit_code == Some(ABSENT) {
                return Ok(end(ToolOutcome::NotInstalled, Vec::new(), how.get.to_owned()));
            }
            let read = Read { tool: analyser.name(), part };
            let said = match analyser {
                Analyser::ForgeLint | Analyser::Clippy => Some(read.lines(&ran.stdout)),
                _ => read.document(&ran.stdout),
            };
            match said {
                Some(said) if ran.exit_code == Some(0) || !said.is_empty() => found.extend(said),
                _ => notes.push(secrets::hidden(&last_words(&ran.stderr))),
            }
        }
        let failed = notes.len() == parts.len();
        Ok(end(if failed { ToolOutcome::Failed } else { ToolOutcome::Ran }, found, notes.join("; ")))
    }

    /// Runs a script in a part of the project.
    #[expect(clippy::too_many_arguments, reason = "each is what a run differs by")]
    pub(super) async fn run_in(
        &self,
        source: &Source,
        part: &str,
        script: &str,
        arguments: Vec<String>,
        stdin: String,
        seconds: Option<u32>,
        ctx: &Ctx,
    ) -> Result<kernel::jail::Ran> {
        let (mut mounts, mut environment) = self.given(source);
        environment.insert("PART".into(), part.to_owned());
        let inside = source.root.join(part);
        let mut text = String::new();
        match self.foundry.kit() {
            Ok(kit) => {
                environment.extend(solidity::environment(&kit, &inside));
                // Each part has what is built of it to itself.
                let built = format!("/keep/forge/{}", kernel::ids::digest(part.as_bytes()));
                environment.insert("FOUNDRY_OUT".into(), format!("{built}/out"));
                environment.insert("FOUNDRY_CACHE_PATH".into(), format!("{built}/cache"));
                mounts.push(mount(&kit.folder, "tools", false));
                text.push_str(solidity::PRELUDE);
            }
            Err(_) => {
                environment.insert("FORGE".into(), String::new());
            }
        }
        text.push_str(PRELUDE);
        text.push_str(script);
        let run = Run { text, arguments, environment, stdin, mounts, stdout_bytes: OUTPUT_BYTES_MAX, seconds };
        self.workshop.run(run, ctx).await
    }

    /// What every run is given: the project, what is kept of it, and the programs of this machine.
    fn given(&self, source: &Source) -> (Vec<Mount>, BTreeMap<String, String>) {
        let mut mounts = vec![mount(&source.root, "project", false), mount(&source.kept.folder, "keep", true)];
        let toolchain = self.programs.rustup.as_ref().and_then(|rustup| toolchain(rustup, &source.root));
        let programs =
            [(&self.programs.analysis, "analysis"), (&toolchain, "rust"), (&self.programs.registry, "crates")];
        for (folder, name) in programs {
            if let Some(folder) = folder.as_ref().filter(|folder| folder.is_dir()) {
                mounts.push(mount(folder, name, false));
            }
        }
        let rules = [("SOLHINT_RULES", SOLHINT_RULES), ("SEMGREP_RULES", SEMGREP_RULES)];
        let environment = rules.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        (mounts, environment)
    }
}

/// What a tool reads: the files it shall look at, for those that would look at others' too.
fn input(analyser: Analyser, source: &Source) -> String {
    if analyser != Analyser::Solhint {
        return String::new();
    }
    let mut list = String::new();
    for file in source.files.iter().filter(|file| file.name.ends_with(".sol")) {
        if list.len() + file.name.len() < kernel::jail::INPUT_BYTES_MAX {
            list.push_str(&file.name);
            list.push('\n');
        }
    }
    list
}

/// The Rust toolchain for a project: the one that it names, where it is installed, or the default.
fn toolchain(rustup: &std::path::Path, root: &std::path::Path) -> Option<PathBuf> {
    let toolchains = rustup.join("toolchains");
    let names: Vec<String> = std::fs::read_dir(&toolchains)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let named = ["rust-toolchain.toml", "rust-toolchain"].iter().find_map(|file| {
        let text = std::fs::read_to_string(root.join(file)).ok()?;
        let channel = text.lines().find_map(|line| line.trim().strip_prefix("channel")?.trim_start().strip_prefix('='));
        let channel = channel.unwrap_or(&text).trim().trim_matches('"').to_owned();
        names.iter().find(|name| **name == channel || name.starts_with(&format!("{channel}-"))).cloned()
    });
    let default = || {
        let settings = std::fs::read_to_string(rustup.join("settings.toml")).ok()?;
        let line = settings.lines().find_map(|line| line.strip_prefix("default_toolchain = "))?;
        names.iter().find(|name| **name == line.trim().trim_matches('"')).cloned()
    };
    Some(toolchains.join(named.or_else(default)?))
}
