//! Runs a program to its end, with a limit, and keeps what it said.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::wait_for;

/// A program that ran.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) out: String,
    /// What it said.
    pub(crate) err: String,
}

impl Ran {
    /// Runs `command` with `input` on its standard input.
    pub(crate) fn run(command: &mut Command, input: &str, limit: Duration) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let out = thread::spawn(move || read(&mut stdout));
        let err = thread::spawn(move || read(&mut stderr));
        // A program that does not read its input has closed it: nothing is lost.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let mut group = super::process::Group::of(&child);
        let status = wait_for(&format!("{command:?} ends"), limit, || child.try_wait().unwrap());
        group.disarm();
        Self { code: status.code(), out: out.join().unwrap(), err: err.join().unwrap() }
    }

    /// What it printed, given that it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// What it printed as JSON, given that it succeeded.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("not JSON ({error}): {out}"))
    }

    /// Exit code, stdout and stderr in one text, for goldens.
    pub(crate) fn shown(&self) -> String {
        let code = self.code.map_or("a signal".to_owned(), |code| code.to_string());
        let part = |name: &str, text: &str| {
            if text.is_empty() { String::new() } else { format!("-- {name}\n{}\n", text.trim_end()) }
        };
        format!("exit {code}\n{}{}", part("stdout", &self.out), part("stderr", &self.err))
    }
}

fn read(pipe: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
