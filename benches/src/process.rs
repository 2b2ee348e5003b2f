//! A process under measurement: started, watched through `/proc`, stopped.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::Fallible;

/// How long a process may take to say that it is up, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// `/proc` counts processor time in ticks of this many microseconds (`USER_HZ` is 100 on Linux, whatever the kernel's own clock).
const TICK_US: u64 = 10_000;

/// A running child. It dies with this value if it was not stopped before.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    out: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts `command`, whose standard output is kept for [`Process::first_json`].
    pub(crate) fn start(program: &Path, args: &[&str], quiet: bool) -> Fallible<Self> {
        let out = if quiet { Stdio::null() } else { Stdio::piped() };
        let mut child = Command::new(program)
            .args(args)
            .stdout(out)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        let pid = child.id().ok_or("the process ended at once")?;
        let out = child.stdout.take().map(BufReader::new);
        Ok(Self { child, pid, out })
    }

    /// The first JSON value it prints, which may be spread over lines.
    pub(crate) async fn first_json(&mut self) -> Fallible<serde_json::Value> {
        let out = self.out.take().ok_or("its output is not kept")?;
        let mut lines = out.lines();
        let mut text = String::new();
        let read = async {
            while let Some(line) = lines.next_line().await? {
                text.push_str(&line);
                if let Ok(value) = serde_json::from_str(&text) {
                    return Ok::<_, std::io::Error>(Some(value));
                }
            }
            Ok(None)
        };
        let value = timeout(PATIENCE, read).await.map_err(|_| "it did not come up in time")??;
        // The pipe stays open: a process that writes once more must not die of it.
        self.out = Some(lines.into_inner());
        value.ok_or_else(|| format!("it ended before it was up: {text}").into())
    }

    /// Processor time of all its threads so far, user and system, in microseconds.
    pub(crate) fn cpu_us(&self) -> Fallible<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name, second field, may hold anything; what follows its closing parenthesis are numbers.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| -> Fallible<u64> { Ok(fields.get(at).ok_or("a short stat file")?.parse::<u64>()?) };
        Ok((ticks(11)? + ticks(12)?) * TICK_US)
    }

    /// Resident memory now and at its highest, in bytes.
    pub(crate) fn memory(&self) -> Fallible<(u64, u64)> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let of = |name: &str| -> Fallible<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("a short status file")?;
            Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1_024)
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }

    /// Asks it to stop and waits until it has; how long that took.
    pub(crate) async fn stop(mut self) -> Fallible<Duration> {
        let began = Instant::now();
        Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().await?;
        let _ended: ExitStatus =
            timeout(PATIENCE, self.child.wait()).await.map_err(|_| "it did not stop in time")??;
        Ok(began.elapsed())
    }
}
