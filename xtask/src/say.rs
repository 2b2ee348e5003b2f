//! What the person at the terminal reads: everything on stderr, so that stdout stays free for what a chore produces.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::problem::Problem;

/// One line.
#[expect(clippy::print_stderr, reason = "this is the one place that writes to the terminal")]
pub(crate) fn line(text: &str) {
    eprintln!("{text}");
}

/// A chore's failure.
pub(crate) fn problem(problem: &Problem) {
    line(&format!("xtask: {problem}"));
}

/// A piece of work under way: a spinner with time and size on a terminal, a line at its start and end elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    started: Instant,
    bar: ProgressBar,
}

impl Progress {
    /// Announces `what`.
    pub(crate) fn start(what: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        if stderr().is_terminal() {
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            line(&format!("fetching {what} …"));
        }
        Self { what: what.to_owned(), started: Instant::now(), bar }
    }

    /// Tells how many bytes there are by now.
    pub(crate) fn bytes(&self, bytes: u64) {
        let seconds = self.started.elapsed().as_secs();
        self.bar.set_message(format!("fetching {}: {}, {seconds} s", self.what, HumanBytes(bytes)));
    }

    /// It is done, and this large.
    pub(crate) fn done(self, bytes: u64) {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        line(&format!("fetched {}: {} in {seconds:.1} s", self.what, HumanBytes(bytes)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // A failure's message must not share the spinner's line.
        self.bar.finish_and_clear();
    }
}
