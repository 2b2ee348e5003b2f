//! `bench`: how many calls a second the running fleet answers, as one client on this machine sees it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kernel::Fault;
use serde_json::{Value, json};

use super::{Global, api::Api, output};

/// Most callers at once: below what one key may have under way.
const CALLERS_MAX: u32 = 512;
/// Longest measurement, in seconds.
const SECONDS_MAX: u32 = 600;
/// Calls that are timed, at most: what is beyond is counted only.
const TIMED_MAX: usize = 1_000_000;

/// Measure how many calls a second the running fleet answers.
#[derive(Debug, clap::Args)]
pub struct Bench {
    /// The tool, as `server__tool`: one that only reads
    #[arg(default_value = "utilities__keccak256")]
    tool: String,
    /// Its arguments as one JSON object [default for the default tool: {"data": "hello"}]
    #[arg(long)]
    args: Option<String>,
    /// For how long, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(SECONDS_MAX)))]
    seconds: u32,
    /// How many callers at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=i64::from(CALLERS_MAX)))]
    callers: u32,
}

#[derive(Default)]
struct Measured {
    calls: u64,
    failed: u64,
    first_failure: Option<Fault>,
    took_us: Vec<u64>,
}

impl Bench {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        let arguments: Value = match &self.args {
            Some(text) => {
                serde_json::from_str(text).map_err(|error| Fault::invalid(format!("--args is not JSON: {error}")))?
            }
            None if self.tool == "utilities__keccak256" => json!({ "data": "hello" }),
            None => json!({}),
        };
        let described = api.call("master-coordinator__describe_tool", json!({ "name": self.tool })).await?;
        if described["access"] != "read" {
            return Err(Fault::invalid(format!("{} changes something", self.tool))
                .hint("choose a tool that only reads: it is called over and over"));
        }
        // A first call tells what every other would fail with.
        api.call(&self.tool, arguments.clone()).await?;
        if !global.json {
            output::say(&format!("{} callers for {} s at {} …", self.callers, self.seconds, api.url));
        }
        let began = Instant::now();
        let until = began + Duration::from_secs(self.seconds.into());
        let callers = (0..self.callers).map(|_| caller(&api, &self.tool, &arguments, until));
        let all = join_all(callers).await;
        report(&self.tool, self.callers, began.elapsed(), all, global.json)
    }
}

async fn caller(api: &Api, tool: &str, arguments: &Value, until: Instant) -> Measured {
    let mut measured = Measured::default();
    while Instant::now() < until {
        let began = Instant::now();
        let answer = api.call(tool, arguments.clone()).await;
        measured.calls += 1;
        if measured.took_us.len() < TIMED_MAX / CALLERS_MAX as usize {
            measured.took_us.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        if let Err(fault) = answer {
            measured.failed += 1;
            measured.first_failure.get_or_insert(fault);
        }
    }
    measured
}

fn report(tool: &str, callers: u32, took: Duration, all: Vec<Measured>, as_json: bool) -> Result<ExitCode, Fault> {
    let (calls, failed) = all.iter().fold((0, 0), |(calls, failed), one| (calls + one.calls, failed + one.failed));
    let mut took_us: Vec<u64> = all.iter().flat_map(|one| one.took_us.iter().copied()).collect();
    took_us.sort_unstable();
    let at =
        |percent: usize| took_us.get((took_us.len() * percent / 100).min(took_us.len().saturating_sub(1))).copied();
    let per_second = calls as f64 / took.as_secs_f64();
    let failure = all.into_iter().find_map(|one| one.first_failure);
    if as_json {
        output::json(&json!({
            "tool": tool, "callers": callers, "seconds": took.as_secs_f64(), "calls": calls, "failed": failed,
            "calls_per_second": per_second, "p50_us": at(50), "p95_us": at(95), "p99_us": at(99),
        }))?;
    } else {
        let of = |percent: usize| format!("{:.2}", at(percent).unwrap_or(0) as f64 / 1e3);
        let row = vec![format!("{per_second:.0}"), calls.to_string(), failed.to_string(), of(50), of(95), of(99)];
        output::table(&["calls/s", "calls", "failed", "p50 ms", "p95 ms", "p99 ms"], &[row])?;
    }
    match failure {
        Some(fault) => Err(fault.context(format!("{failed} of {calls} calls failed; the first"))),
        None => Ok(ExitCode::SUCCESS),
    }
}
