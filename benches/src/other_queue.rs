//! The same tasks in a queue that users would pick instead, in the same run: huey (PyPI) on SQLite, when Python has it.

use std::process::Command;

use serde::Deserialize;

use crate::Fallible;
use crate::table::Table;

/// What the program prints.
#[derive(Deserialize)]
struct Figures {
    version: String,
    enqueue_p50_ms: f64,
    enqueue_p99_ms: f64,
    one_by_one_per_second: f64,
    end_to_end_1_per_second: f64,
    end_to_end_8_per_second: f64,
}

/// Its figures as a table; `None` when it is not installed.
pub(crate) fn run(one_by_one: usize, many: usize, rounds: usize) -> Fallible<Option<String>> {
    let installed = Command::new("python3").args(["-c", "import huey"]).output();
    if !installed.is_ok_and(|asked| asked.status.success()) {
        return Ok(None);
    }
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/src/other_queue.py");
    let counts = [one_by_one, many, rounds].map(|count| count.to_string());
    let done = Command::new("python3").arg(program).args(counts).output()?;
    if !done.status.success() {
        return Err(format!("huey: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    let figures: Figures = serde_json::from_slice(&done.stdout)?;
    let title = format!("the same with huey {} (Python)", figures.version);
    let mut table = Table::new(&[&title, "measured"]);
    let mut row = |what: &str, measured: String| table.row(vec![what.to_owned(), measured]);
    row("enqueue, p50", format!("{:.2} ms", figures.enqueue_p50_ms));
    row("enqueue, p99", format!("{:.2} ms", figures.enqueue_p99_ms));
    row("take and complete, one by one", format!("{:.0}/s", figures.one_by_one_per_second));
    row("end to end, workers: 1", format!("{:.0}/s", figures.end_to_end_1_per_second));
    row("end to end, workers: 8", format!("{:.0}/s", figures.end_to_end_8_per_second));
    Ok(Some(table.text()))
}
