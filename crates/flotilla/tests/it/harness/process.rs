//! A running `flotilla`: started, waited for, ended with everything it started.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{LIMIT, wait_for};

/// A process group that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Group(Option<i32>);

impl Group {
    /// The group that `child` was made the leader of.
    pub(crate) fn of(child: &Child) -> Self {
        Self(i32::try_from(child.id()).ok())
    }

    /// No group.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Lets the group be.
    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            send(-group, libc::SIGKILL);
        }
    }
}

/// Sends a signal to a process, or to a group when `pid` is negative.
#[expect(unsafe_code, reason = "signals have no safe form in std")]
pub(crate) fn send(pid: i32, signal: i32) {
    // SAFETY: `kill` takes two numbers and touches no memory of ours.
    unsafe { libc::kill(pid, signal) };
}

/// A process of a fleet that said it is up.
#[derive(Debug)]
pub(crate) struct Process {
    /// What it printed when it was up: URLs, services, mode.
    pub(crate) screen: Value,
    child: Child,
    group: Group,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, whose first line on stdout says that it is up; its stderr goes to `log`.
    ///
    /// # Errors
    /// When it ends before: its exit status, and what it said.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self, (ExitStatus, String)> {
        let file = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let group = Group::of(&child);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            // The test may have given up waiting.
            tell.send(line).ok();
            std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
        });
        let line = told.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("not up in time:\n{}", tail(log)));
        if line.is_empty() {
            let status = wait_for("a process that failed to start ends", LIMIT, || child.try_wait().unwrap());
            return Err((status, std::fs::read_to_string(log).unwrap()));
        }
        let screen = serde_json::from_str(&line).unwrap_or_else(|error| panic!("start screen ({error}): {line}"));
        Ok(Self { screen, child, group, log: log.to_owned() })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) {
        send(self.pid(), signal);
    }

    /// Waits until it ended by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let status = wait_for("the process ends", limit, || self.child.try_wait().unwrap());
        self.group.disarm();
        status
    }

    /// Ends it as a crash would, and reaps it.
    pub(crate) fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        assert_eq!(self.wait(LIMIT).signal(), Some(libc::SIGKILL));
    }

    /// How many descriptors it holds open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Its children that live, with their command lines.
    pub(crate) fn children(&self) -> Vec<(i32, String)> {
        children_of(self.pid())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failed test shows what its fleet said")]
            {
                eprintln!("---- the end of {}\n{}", self.log.display(), tail(&self.log));
            }
        }
        drop(std::mem::replace(&mut self.group, Group::none()));
        // It was killed above, or has ended before.
        self.child.wait().ok();
    }
}

fn tail(log: &Path) -> String {
    const LINES: usize = 60;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// The living children of a process (not those that wait to be reaped), with their command lines.
fn children_of(parent: i32) -> Vec<(i32, String)> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // `pid (name) state parent …`, and the name may hold anything.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let (state, of) = (fields.next()?, fields.next()?.parse::<i32>().ok()?);
        (of == parent && state != "Z").then(|| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&line).replace('\0', " "))
        })
    })
    .collect()
}

/// Whether a process lives: is there, and not only waiting to be reaped.
pub(crate) fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}
