//! What commands print.
#![expect(clippy::print_stderr, reason = "this is where the command line prints")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use kernel::Fault;
use serde::Serialize;
use serde_json::{Value, json};

/// Prints JSON: in full on a terminal, on one line in a pipe.
pub fn json(value: &impl Serialize) -> Result<(), Fault> {
    let pretty = std::io::stdout().is_terminal();
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    line(&text.map_err(|error| Fault::internal(error.to_string()))?)
}

/// Prints a line of data. A reader that left (`| head`) ends the command quietly.
pub fn line(text: &str) -> Result<(), Fault> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Fault::internal(format!("stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Says something to the person, beside the data.
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// Prints a fault.
pub fn fault(fault: &Fault, as_json: bool) {
    if as_json {
        eprintln!("{}", json!({ "error": fault }));
        return;
    }
    let red = if colour() { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    eprintln!("{}error{}: {} [{}]", red.0, red.1, fault.message, fault.code);
    if let Some(hint) = &fault.hint {
        eprintln!("  {hint}");
    }
}

/// Whether colours are wanted on stderr.
pub fn colour() -> bool {
    std::io::stderr().is_terminal() && crate::config::variable("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `version`.
pub fn version(as_json: bool) -> Result<ExitCode, Fault> {
    let version = env!("CARGO_PKG_VERSION");
    if as_json {
        json(&json!({ "version": version }))?
    } else {
        line(&format!("flotilla {version}"))?
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints rows as an aligned table.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), Fault> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |row: &[String]| {
        let cells =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())));
        line(cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    print(&head.iter().map(|cell| cell.to_uppercase()).collect::<Vec<_>>())?;
    rows.iter().try_for_each(|row| print(row))
}

/// A JSON value as a cell.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        other => other.to_string(),
    }
}
