//! The figures Flotilla is held to, measured in release: `cargo run --release -p benches -- start|calls|market|simulate|latency|tasks|workflows|all`.
//!
//! Everything stays on loopback and is bounded in count and time. Linux only: processor time and memory are read from `/proc`.

mod calls;
mod fleet;
mod latency;
mod load;
mod market;
mod other_queue;
mod process;
mod quotes;
mod simulate;
mod start;
mod table;
mod tasks;
mod workflows;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Anything that may go wrong ends the run with a message.
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "start|calls|market|simulate|latency|tasks|workflows|all [--mcp-proxy PROGRAM]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Fallible<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (what, other) = match words[..] {
        [] => ("all", None),
        [what] => (what, None),
        [what, "--mcp-proxy", program] => (what, Some(PathBuf::from(program))),
        _ => return Err(USAGE.into()),
    };
    if !["start", "calls", "market", "simulate", "latency", "tasks", "workflows", "all"].contains(&what) {
        return Err(USAGE.into());
    }
    if matches!(what, "market" | "all") {
        say(&market::run()?);
    }
    if matches!(what, "simulate" | "all") {
        say(&simulate::run().await?);
    }
    if matches!(what, "tasks" | "all") {
        say(&tasks::run().await?);
    }
    if matches!(what, "workflows" | "all") {
        say(&workflows::run().await?);
    }
    if matches!(what, "market" | "simulate" | "tasks" | "workflows") {
        return Ok(());
    }
    let binary = built()?;
    if matches!(what, "start" | "all") {
        say(&start::run(&binary).await?);
    }
    if matches!(what, "latency" | "all") {
        say(&latency::run(&binary).await?);
    }
    if matches!(what, "calls" | "all") {
        let other = other.or_else(|| installed("mcp-proxy"));
        if other.is_none() {
            say("mcp-proxy is not installed and not measured: `cargo install mcp-proxy --version 0.6.0 --locked`\n");
        }
        say(&calls::run(&binary, other.as_deref()).await?);
    }
    Ok(())
}

/// The release binary, built now so that old figures are not told of new code. It lies next to this program.
fn built() -> Fallible<PathBuf> {
    let done = Command::new(env!("CARGO")).args(["build", "--release", "-p", "flotilla"]).status()?;
    if !done.success() {
        return Err("flotilla does not build".into());
    }
    Ok(std::env::current_exe()?.parent().ok_or("this program lies nowhere")?.join("flotilla"))
}

/// A program found by its name alone, or `None`.
fn installed(name: &str) -> Option<PathBuf> {
    let asked = Command::new(name).arg("--help").output();
    asked.is_ok_and(|asked| asked.status.success()).then(|| name.into())
}

#[expect(clippy::print_stdout, reason = "figures are what this is for")]
fn say(text: &str) {
    println!("{text}");
}
