//! Runs forge on a project, shut in: the project and Foundry to be read, its folder of built things to be written, no network, and limits.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::Result;
use kernel::jail::{Bounds, End, Language, Mount, Program, Ran};
use mcp::prelude::*;

use super::FoundryIntegration;
use super::places::{Kept, Project};

/// What comes before every chore: compilers where forge looks for them.
const PRELUDE: &str = r#"set -eu
for compiler in $COMPILERS; do
  mkdir -p "$HOME/.svm/$compiler"
  printf '#!/bin/sh\nexec /tools/solc-%s "$@"\n' "$compiler" >"$HOME/.svm/$compiler/solc-$compiler"
  chmod +x "$HOME/.svm/$compiler/solc-$compiler"
done
cd /project
"#;
/// How much is kept of what a run complains, in bytes.
const COMPLAINT_BYTES_MAX: usize = 64 << 10;
/// How much one of its processes may ask for: the compilers are WebAssembly on JavaScript engines, which ask for far more than they use.
const ADDRESS_BYTES: u64 = 1 << 42;
/// Files forge finds, keeps and makes by these.
const SETTINGS: [(&str, &str); 6] = [
    ("FOUNDRY_OUT", "/keep/out"),
    ("FOUNDRY_CACHE_PATH", "/keep/cache"),
    ("FOUNDRY_BROADCAST", "/tmp/broadcast"),
    ("FOUNDRY_SNAPSHOTS", "/tmp/snapshots"),
    ("FOUNDRY_TEST_FAILURES_FILE", "/keep/test-failures"),
    // Layouts are asked for often; without them in what is built, each answer would be a build of its own.
    ("FOUNDRY_EXTRA_OUTPUT", r#"["storageLayout"]"#),
];

/// What to run.
pub(super) struct Chore<'a> {
    /// The shell's words; `$FORGE` is forge.
    pub(super) text: &'a str,
    /// `$1` and on.
    pub(super) arguments: Vec<String>,
    pub(super) stdin: String,
    /// How much it may write, in bytes.
    pub(super) stdout_bytes: usize,
    /// How long it may take; as long as the configuration says when absent.
    pub(super) seconds: Option<u32>,
    /// A profile of the project's foundry.toml.
    pub(super) profile: Option<String>,
}

impl FoundryIntegration {
    /// Runs a chore to its end.
    ///
    /// # Errors
    /// It was ended by a limit or taken back, or this machine cannot shut it in.
    pub(super) async fn run(&self, project: &Project, kept: &Kept, chore: Chore<'_>, ctx: &Ctx) -> Result<Ran> {
        let seconds = chore.seconds.unwrap_or(self.config.time_seconds).clamp(1, super::TIME_SECONDS_MAX);
        let program = self.program(project, kept, chore, seconds)?;
        let permit = tokio::select! {
            permit = self.turns.acquire() => permit.map_err(|_| Fault::internal("the turns have an end"))?,
            () = ctx.cancel.cancelled() => return Err(Fault::cancelled("it was taken back before its turn")),
        };
        let ran = self.jail.run(&program, ctx.cancel.child_token()).await;
        drop(permit);
        *self.trouble.lock() = ran.as_ref().err().cloned();
        let ran = ran?;
        let config = &self.config;
        match ran.end {
            End::Exited => Ok(ran),
            End::Cancelled => Err(Fault::cancelled("the run was taken back and ended")),
            End::TimeLimit => {
                Err(Fault::timeout(format!("it did not end within {seconds} s and was killed")).hint(format!(
                    "a test or a build may not end; time_limit_seconds, up to {}, gives it longer",
                    super::TIME_SECONDS_MAX
                )))
            }
            End::MemoryLimit => Err(over("memory", config.memory_mib, "memory_mib")),
            End::DiskLimit => Err(over("disk", config.disk_mib, "disk_mib")),
            End::OutputLimit => Err(Fault::too_large("it wrote more than is read of it, and was killed")
                .hint("ask for less at once: one contract, fewer tests")),
            End::Signalled => Err(Fault::upstream(format!("it crashed: {}", last_words(&ran.stderr)))),
        }
    }

    fn program(&self, project: &Project, kept: &Kept, chore: Chore<'_>, seconds: u32) -> Result<Program> {
        let kit = self.foundry.kit()?;
        let set = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut environment: BTreeMap<String, String> = SETTINGS.map(set).into();
        environment.extend([("FOUNDRY_OFFLINE", "true"), ("NO_COLOR", "1")].map(set));
        environment.insert("FORGE".into(), format!("/tools/{}", kit.forge));
        environment.insert("COMPILERS".into(), kit.compilers.join(" "));
        if let Some(library) = kit.library.filter(|_| !project.path.join("lib/forge-std").is_dir()) {
            environment.insert("FOUNDRY_REMAPPINGS".into(), format!("forge-std/=/tools/{library}/"));
        }
        if let Some(profile) = chore.profile {
            environment.insert("FOUNDRY_PROFILE".into(), profile);
        }
        let mount = |from: &std::path::Path, name, write| Mount { from: from.to_owned(), name, write };
        let config = &self.config;
        Ok(Program {
            language: Language::Sh,
            text: format!("{PRELUDE}{}", chore.text),
            arguments: chore.arguments,
            environment,
            stdin: chore.stdin,
            network: false,
            mounts: vec![
                mount(&kit.folder, "tools", false),
                mount(&project.path, "project", false),
                mount(&kept.folder, "keep", true),
            ],
            bounds: Bounds {
                time: Duration::from_secs(seconds.into()),
                cpu_seconds: seconds,
                memory_bytes: u64::from(config.memory_mib) << 20,
                address_bytes: ADDRESS_BYTES,
                disk_bytes: u64::from(config.disk_mib) << 20,
                processes: config.processes,
                stdout_bytes: chore.stdout_bytes,
                stderr_bytes: COMPLAINT_BYTES_MAX,
            },
        })
    }
}

fn over(what: &str, mib: u32, setting: &str) -> Fault {
    Fault::too_large(format!("it took more {what} than {mib} MiB and was killed"))
        .hint(format!("servers.foundry-integration.{setting} gives it more"))
}

/// The fault of forge that ended without what it was asked for.
pub(super) fn refused(ran: &Ran) -> Fault {
    let words = last_words(&ran.stderr);
    let fault = Fault::invalid(format!("forge: {words}"));
    if words.contains("offline mode") || words.contains("No solc version") || words.contains("missing solc") {
        return fault.hint("toolchain tells which compilers there are; nothing is downloaded");
    }
    fault
}

/// What forge complained of, in short: its error where there is one.
pub(super) fn last_words(stderr: &str) -> String {
    let plain = crate::scripts::cleaned(stderr);
    let lines: Vec<&str> = plain.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let from = lines.iter().position(|line| line.starts_with("Error")).unwrap_or(lines.len().saturating_sub(3));
    let words = lines[from..].iter().take(6).copied().collect::<Vec<_>>().join("; ");
    let words = words.trim_start_matches("Error:").trim().to_owned();
    if words.is_empty() { "it said nothing".to_owned() } else { cut(words, 600) }
}

/// At most so many bytes of a text.
pub(super) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}
