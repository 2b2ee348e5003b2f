//! Work on other people's projects, shut in: what the servers that build, test and analyse them share.
//!
//! Everything that runs a project's code, or a program that may run some, goes through [`Workshop::run`]: the port [`Jail`], the folders it is given
//! and nothing else of the machine, no network, and limits. Invariants:
//! - Nothing of a project is run outside the jail; where a machine cannot shut it in, nothing is run.
//! - What a run leaves behind or says is foreign: read as data, and cut.

pub(crate) mod places;
pub(crate) mod solidity;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kernel::Result;
use kernel::health::Check;
use kernel::jail::{Bounds, End, Jail, Language, Mount, Program, Ran};
use mcp::prelude::*;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Longest run, in seconds.
pub(crate) const TIME_SECONDS_MAX: u32 = 900;
/// How much is kept of what a run complains, in bytes.
const COMPLAINT_BYTES_MAX: usize = 64 << 10;
/// How much one of its processes may ask for: compilers and analysers reserve far more than they use.
pub(crate) const ADDRESS_BYTES: u64 = 1 << 42;

/// What one run may use, as the configuration says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) runs_at_once: usize,
    pub(crate) time_seconds: u32,
    pub(crate) memory_mib: u32,
    pub(crate) disk_mib: u32,
    pub(crate) processes: u32,
}

impl Limits {
    /// Refuses what is out of bounds, and roots that are no absolute paths.
    pub(crate) fn check(&self, server: &str, roots: &[PathBuf]) -> Result<()> {
        let figures = [
            ("runs_at_once", self.runs_at_once as u64, 1, 64),
            ("time_seconds", self.time_seconds.into(), 1, TIME_SECONDS_MAX.into()),
            ("memory_mib", self.memory_mib.into(), 256, 65_536),
            ("disk_mib", self.disk_mib.into(), 16, 65_536),
            ("processes", self.processes.into(), 16, 4_096),
        ];
        let wrong = figures.iter().find(|(_, figure, least, most)| !(*least..=*most).contains(figure));
        if let Some((name, figure, least, most)) = wrong {
            let message = format!("servers.{server}.{name} is {figure}");
            return Err(Fault::invalid(message).hint(format!("{least} to {most}")));
        }
        match roots.iter().find(|root| !root.is_absolute()) {
            None => Ok(()),
            Some(root) => {
                let message = format!("servers.{server}.roots has `{}`", root.display());
                Err(Fault::invalid(message).hint("absolute paths"))
            }
        }
    }
}

/// What to run: the shell's words and what they are given.
pub(crate) struct Run {
    pub(crate) text: String,
    /// `$1` and on.
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) stdin: String,
    pub(crate) mounts: Vec<Mount>,
    /// How much it may write, in bytes.
    pub(crate) stdout_bytes: usize,
    /// How long it may take; as long as the configuration says when absent.
    pub(crate) seconds: Option<u32>,
}

/// Where a server has projects worked on.
pub(crate) struct Workshop {
    server: &'static str,
    jail: Arc<dyn Jail>,
    limits: Limits,
    turns: Semaphore,
    /// Why the last run could not be shut in, if it could not.
    trouble: Mutex<Option<Fault>>,
}

impl Workshop {
    pub(crate) fn new(server: &'static str, jail: Arc<dyn Jail>, limits: Limits) -> Self {
        Self { server, jail, limits, turns: Semaphore::new(limits.runs_at_once), trouble: Mutex::default() }
    }

    /// Whether runs are shut in.
    pub(crate) fn health(&self) -> Check {
        match &*self.trouble.lock() {
            None => Check::healthy("sandbox", "no run was refused"),
            Some(fault) => Check::degraded("sandbox", fault.to_string()),
        }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It was ended by a limit or taken back, or this machine cannot shut it in.
    pub(crate) async fn run(&self, run: Run, ctx: &Ctx) -> Result<Ran> {
        let limits = self.limits;
        let seconds = run.seconds.unwrap_or(limits.time_seconds).clamp(1, TIME_SECONDS_MAX);
        let program = Program {
            language: Language::Sh,
            text: run.text,
            arguments: run.arguments,
            environment: run.environment,
            stdin: run.stdin,
            network: false,
            mounts: run.mounts,
            bounds: Bounds {
                time: Duration::from_secs(seconds.into()),
                cpu_seconds: seconds,
                memory_bytes: u64::from(limits.memory_mib) << 20,
                address_bytes: ADDRESS_BYTES,
                disk_bytes: u64::from(limits.disk_mib) << 20,
                processes: limits.processes,
                stdout_bytes: run.stdout_bytes,
                stderr_bytes: COMPLAINT_BYTES_MAX,
            },
        };
        let permit = tokio::select! {
            permit = self.turns.acquire() => permit.map_err(|_| Fault::internal("the turns have an end"))?,
            () = ctx.cancel.cancelled() => return Err(Fault::cancelled("it was taken back before its turn")),
        };
        let ran = self.jail.run(&program, ctx.cancel.child_token()).await;
        drop(permit);
        *self.trouble.lock() = ran.as_ref().err().cloned();
        self.ended(ran?, seconds)
    }

    fn ended(&self, ran: Ran, seconds: u32) -> Result<Ran> {
        match ran.end {
            End::Exited => Ok(ran),
            End::Cancelled => Err(Fault::cancelled("the run was taken back and ended")),
            End::TimeLimit => Err(Fault::timeout(format!("it did not end within {seconds} s and was killed")).hint(
                format!("a test or a build may not end; time_limit_seconds, up to {TIME_SECONDS_MAX}, gives it longer"),
            )),
            End::MemoryLimit => Err(self.over("memory", self.limits.memory_mib, "memory_mib")),
            End::DiskLimit => Err(self.over("disk", self.limits.disk_mib, "disk_mib")),
            End::OutputLimit => Err(Fault::too_large("it wrote more than is read of it, and was killed")
                .hint("ask for less at once: one contract, fewer tests")),
            End::Signalled => Err(Fault::upstream(format!("it crashed: {}", last_words(&ran.stderr)))),
        }
    }

    fn over(&self, what: &str, mib: u32, setting: &str) -> Fault {
        Fault::too_large(format!("it took more {what} than {mib} MiB and was killed"))
            .hint(format!("servers.{}.{setting} gives it more", self.server))
    }
}

/// A folder of the machine for a run.
pub(crate) fn mount(from: &Path, name: &'static str, write: bool) -> Mount {
    Mount { from: from.to_owned(), name, write }
}

/// What a program complained of, in short: its error where there is one.
pub(crate) fn last_words(stderr: &str) -> String {
    let plain = crate::scripts::cleaned(stderr);
    let lines: Vec<&str> = plain.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let from = lines.iter().position(|line| line.starts_with("Error")).unwrap_or(lines.len().saturating_sub(3));
    let words = lines[from..].iter().take(6).copied().collect::<Vec<_>>().join("; ");
    let words = words.trim_start_matches("Error:").trim().to_owned();
    if words.is_empty() { "it said nothing".to_owned() } else { cut(words, 600) }
}

/// At most so many bytes of a text.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}
