//! Running other programs: with their output shown, taken, or kept in a log; and becoming them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::problem::{Problem, Result};

/// How a command reads on a command line.
pub(crate) fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs it with its output shown; an exit code other than 0 is a problem.
pub(crate) fn run(command: &mut Command) -> Result {
    let status = command.status().map_err(Problem::io(shown(command)))?;
    if status.success() { Ok(()) } else { Err(Problem::new(format!("`{}` ended with {status}", shown(command)))) }
}

/// Runs it with its errors shown and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(Problem::io(shown(command)))?;
    if !output.status.success() {
        return Err(Problem::new(format!("`{}` ended with {}", shown(command), output.status)));
    }
    String::from_utf8(output.stdout).map_err(Problem::io(format!("output of `{}`", shown(command))))
}

/// The major version a program gives when asked `--version`, such as 22 for `v22.1.0`; `None` when there is no such program.
pub(crate) fn major_version(program: impl AsRef<OsStr>) -> Result<Option<u32>> {
    let mut command = Command::new(program);
    command.arg("--version");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Problem::new(format!("{}: {error}", shown(&command)))),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let digits: String = text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    match digits.parse() {
        Ok(major) => Ok(Some(major)),
        Err(_) => Err(Problem::new(format!("`{}` did not answer with a version", shown(&command)))),
    }
}

/// Runs it with all output in `log`, calling `tick` about twice a second. A failure, or not ending within `limit`, is a problem that
/// shows the log's last lines; otherwise the log is removed.
pub(crate) fn run_logged(command: &mut Command, log: &Path, limit: Duration, tick: impl Fn()) -> Result {
    let problem = |error: std::io::Error| Problem::new(format!("{}: {error}", log.display()));
    let file = File::create(log).map_err(problem)?;
    let copy = file.try_clone().map_err(problem)?;
    let mut child = command.stdout(file).stderr(copy).spawn().map_err(Problem::io(shown(command)))?;
    let started = Instant::now();
    let failed = loop {
        match child.try_wait().map_err(Problem::io(shown(command)))? {
            Some(status) if status.success() => return std::fs::remove_file(log).map_err(problem),
            Some(status) => break format!("ended with {status}"),
            None if started.elapsed() > limit => {
                child.kill().and_then(|()| child.wait()).map_err(Problem::io(shown(command)))?;
                break format!("did not end within {} s", limit.as_secs());
            }
            None => {
                tick();
                sleep(Duration::from_millis(400));
            }
        }
    };
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(12)..].join("\n  | ");
    Err(Problem::new(format!("`{}` {failed}\n  | {tail}\n  (all of it: {})", shown(command), log.display())))
}

/// Becomes that program. Returns only when it cannot be started.
pub(crate) fn become_it(command: &mut Command) -> Problem {
    let error = command.exec();
    Problem::new(format!("{}: {error}", shown(command)))
}
