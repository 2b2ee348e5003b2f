//! `down`: stops every process of a fleet that runs on this machine and this data folder, and waits.
//!
//! Each is told by SIGTERM, as Ctrl-C would: what is under way is finished, agents hand back what they hold. Processes on other machines are
//! theirs to stop.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kernel::Fault;
use serde_json::json;

use super::{Global, output};
use crate::data::{DataDir, RunNote, ask_to_end, is_ours, is_running};

/// How long a process may take to end: what it grants itself ([`crate::fleet`]), and a little.
const WAIT_SECONDS: u32 = 60;
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(100);

/// Stop the fleet that runs on this data folder, and wait until it has ended.
#[derive(Debug, clap::Args)]
pub struct Down {
    /// How long to wait for it, in seconds; 7 is the exit code when it has not ended by then
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_SECONDS, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    timeout: u32,
}

impl Down {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let loaded = global.load(Vec::new())?;
        let data = DataDir::open(&loaded.config.fleet.data_dir)?;
        let (running, others): (Vec<RunNote>, Vec<RunNote>) =
            data.running().into_iter().partition(|note| is_ours(note.pid));
        // A process that crashed left its note, and another program has its number now.
        others.iter().for_each(|note| data.forget(note.pid));
        for note in &running {
            if !global.json {
                output::say(&format!("stopping process {} ({} services)", note.pid, note.services.len()));
            }
            if !ask_to_end(note.pid) && is_running(note.pid) {
                return Err(Fault::denied(format!("process {} cannot be told to stop", note.pid))
                    .hint("run this as whoever started it, or as root"));
            }
        }
        let left = wait(running.iter().map(|note| note.pid).collect(), Duration::from_secs(self.timeout.into())).await;
        // One that was killed meanwhile has left its note.
        running.iter().filter(|note| !left.contains(&note.pid)).for_each(|note| data.forget(note.pid));
        let stopped: Vec<u32> = running.iter().map(|note| note.pid).filter(|pid| !left.contains(pid)).collect();
        if global.json {
            output::json(&json!({ "stopped": stopped, "running": left }))?;
        } else if running.is_empty() {
            output::say(&format!("nothing runs on {}", data.path().display()));
        } else if left.is_empty() {
            output::say("it has stopped");
        }
        match left.first() {
            None => Ok(ExitCode::SUCCESS),
            Some(pid) => Err(Fault::timeout(format!("process {pid} has not ended within {} s", self.timeout))
                .hint("it may still be finishing what is under way: wait with --timeout, or end it with SIGKILL")),
        }
    }
}

/// Those that still run when the time is over.
async fn wait(mut pids: BTreeSet<u32>, time: Duration) -> BTreeSet<u32> {
    let began = Instant::now();
    loop {
        pids.retain(|pid| is_running(*pid));
        if pids.is_empty() || began.elapsed() >= time {
            return pids;
        }
        tokio::time::sleep(LOOK).await;
    }
}
