//! `top` as people use it, in a terminal of its own (tmux), and as scripts do; and `bench`.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Fleet, LIMIT, Ran, tools, wait_for};

/// A terminal that runs one command, of a server of its own.
struct Terminal {
    program: std::path::PathBuf,
    socket: String,
}

impl Terminal {
    fn start(fleet: &Fleet, arguments: &[&str]) -> Option<Self> {
        let program = tools::installed("tmux")?;
        let socket = fleet.home.path("tmux").display().to_string();
        let terminal = Self { program, socket };
        let mut command = vec!["new-session", "-d", "-x", "140", "-y", "30", env!("CARGO_BIN_EXE_flotilla")];
        command.extend(arguments);
        let data = fleet.home.path("data").display().to_string();
        let mut tmux = terminal.command(&command);
        tmux.env("FLOTILLA_DATA_DIR", data)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(fleet.home.path(""));
        Ran::run(&mut tmux, "", LIMIT).ok();
        Some(terminal)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-u", "-f", "/dev/null", "-S", &self.socket]).args(arguments);
        command
    }

    fn tell(&self, arguments: &[&str]) -> Ran {
        Ran::run(&mut self.command(arguments), "", LIMIT)
    }

    #[track_caller]
    fn sees(&self, text: &str) -> String {
        wait_for(&format!("`{text}` in the terminal"), LIMIT, || {
            Some(self.tell(&["capture-pane", "-p"]).out).filter(|screen| screen.contains(text))
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended where its only command has.
        self.tell(&["kill-server"]);
    }
}

#[test]
fn top_is_a_screen_that_goes_on_until_somebody_leaves() {
    let mut fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let Some(terminal) = Terminal::start(&fleet, &["top"]) else { return };
    let screen = terminal.sees("utilities");
    for part in ["servers 5 of 5", "● healthy", "agent:monitoring", "q leave", "name*"] {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
    terminal.tell(&["send-keys", "c"]).ok();
    terminal.sees("calls*");
    // What is called shows by itself.
    let called = wait_for("its calls are counted", LIMIT, || {
        fleet.call("utilities__keccak256", serde_json::json!({ "data": "x" }));
        let screen = terminal.tell(&["capture-pane", "-p"]).out;
        let row = screen.lines().find(|line| line.contains("utilities"))?.to_owned();
        // Calls, failures and latency are figures now, with a point.
        let figures = row.split_whitespace().filter(|word| word.contains('.') && word.parse::<f64>().is_ok()).count();
        (figures >= 2).then_some(row)
    });
    assert!(called.contains("healthy"), "{called}");
    fleet.process.signal(libc::SIGTERM);
    assert_eq!(fleet.process.wait(LIMIT).code(), Some(0));
    terminal.sees("■ OLD:");
    terminal.tell(&["send-keys", "q"]).ok();
    wait_for("it has left", LIMIT, || (terminal.tell(&["list-sessions"]).code != Some(0)).then_some(()));
}

#[test]
fn off_a_terminal_top_is_a_table_or_lines_of_json() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let table = fleet.cli(&["top"]).ok();
    assert!(table.contains("SERVICE") && table.contains("utilities") && !table.contains('\u{1b}'), "{table}");
    let look: Value = fleet.cli(&["top", "--once", "--json", "--sort", "state"]).json();
    assert_eq!(look["servers"], "5 of 5");
    assert_eq!(look["services"].as_array().unwrap().len(), 6, "{look}");
}

#[test]
fn bench_tells_calls_a_second_and_refuses_what_changes_something() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let measured = fleet.cli(&["bench", "--seconds", "1", "--callers", "4", "--json"]).json();
    assert!(measured["calls"].as_u64().unwrap() > 0 && measured["failed"] == 0, "{measured}");
    assert!(measured["p50_us"].as_u64() <= measured["p99_us"].as_u64(), "{measured}");
    let table = fleet.cli(&["bench", "--seconds", "1", "utilities__uuid"]).ok();
    assert!(table.contains("CALLS/S"), "{table}");
    let refused = fleet.cli(&["bench", "master-coordinator__restart_service", "--args", "{\"service\":\"utilities\"}"]);
    assert!(refused.code == Some(2) && refused.err.contains("only reads"), "{refused:?}");
    assert_eq!(fleet.cli(&["status", "utilities", "--json"]).json()["restarts"], 0);
}
