//! A server of somebody else's: started with its words in a file, waited for by what it says, ended with its test.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::process::Group;
use super::wait_for;

/// The server.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    group: Group,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`; both its outputs go to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        let copy = file.try_clone().unwrap();
        command.stdin(Stdio::null()).stdout(file).stderr(copy).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { group: Group::of(&child), child, log: log.to_owned() }
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it says something in which `find` finds what is looked for; nothing when it ended before.
    #[track_caller]
    pub(crate) fn says<T>(&mut self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        wait_for(&format!("{} says what is waited for", self.log.display()), limit, || {
            // Looked at first, so that what it said last is seen.
            let ended = self.child.try_wait().unwrap().is_some();
            let found = find(&self.log());
            (found.is_some() || ended).then_some(found)
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failed test shows what the other side said")]
            {
                eprintln!("---- {}\n{}", self.log.display(), self.log());
            }
        }
        drop(std::mem::replace(&mut self.group, Group::none()));
        // It was killed above, or has ended before.
        self.child.wait().ok();
    }
}
