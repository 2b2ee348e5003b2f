//! Port: other people's programs, shut in: they see a system they cannot change and a folder of their own, and get no more of the machine
//! than they were given.
//!
//! What every implementation promises: a program is shut in whole, or it is not run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{Fault, Result};

/// Largest program, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Largest input, in bytes.
pub const INPUT_BYTES_MAX: usize = 64 << 10;
/// Most arguments, and most variables of the environment.
pub const ARGUMENTS_MAX: usize = 64;
/// Longest argument, and longest name and value of a variable together, in bytes.
pub const ARGUMENT_BYTES_MAX: usize = 4 << 10;
/// Most folders of the machine that a program is given.
pub const MOUNTS_MAX: usize = 8;

/// What a program is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// The system's POSIX shell.
    Sh,
    /// The system's Python 3.
    Python,
}

/// What a program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long it may take.
    pub time: Duration,
    /// How long each of its processes may compute, in seconds.
    pub cpu_seconds: u32,
    /// How much memory all its processes may have together, in bytes.
    pub memory_bytes: u64,
    /// How much each of its processes may ask for, whether it uses it or not, in bytes: as much as `memory_bytes` for most; programs that reserve
    /// far more than they use (JavaScript engines) need more.
    pub address_bytes: u64,
    /// How much it may keep in its folder, and how much there may be in each folder it may write, in bytes.
    pub disk_bytes: u64,
    /// How many processes it may have at once.
    pub processes: u32,
    /// How much it may write to its output, in bytes.
    pub stdout_bytes: usize,
    /// How much it may complain, in bytes.
    pub stderr_bytes: usize,
}

/// A folder of the machine that a program is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The folder. It is given as it is, with all that is in it; its links lead nowhere outside.
    pub from: PathBuf,
    /// What it is called inside, right under the root: lower-case letters.
    pub name: &'static str,
    /// Whether the program may write there. The folder is handed over for that: it becomes the program's own.
    pub write: bool,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What it is written in.
    pub language: Language,
    /// Itself.
    pub text: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, beside `HOME`, `LANG` and `PATH`.
    pub environment: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: String,
    /// Whether it may reach the machine's network.
    pub network: bool,
    /// What it sees of the machine beside the system's programs.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub bounds: Bounds,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By itself; its exit code says how it went.
    Exited,
    /// By a signal: it crashed, or computed for longer than it may.
    Signalled,
    /// It was killed: it took longer than it may.
    TimeLimit,
    /// It was killed: its processes had more memory than they may.
    MemoryLimit,
    /// It was killed: it kept more in a folder of the machine than it may.
    DiskLimit,
    /// It was killed: it wrote more than it may.
    OutputLimit,
    /// It was killed: somebody asked for its end.
    Cancelled,
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// Its exit code, or of a shell's child that a signal ended 128 and the signal. None when it was killed.
    pub exit_code: Option<i32>,
    /// What it wrote, cut at its bound.
    pub stdout: String,
    /// What it complained, cut at its bound.
    pub stderr: String,
    /// The most memory that its processes were seen to have together, in bytes.
    pub memory_peak_bytes: u64,
}

/// The port.
#[async_trait]
pub trait Jail: Send + Sync {
    /// Runs a program to its end, or until `stop`: nothing of it is left then.
    ///
    /// # Errors
    /// [`Code::Unsupported`](crate::Code::Unsupported) where this machine cannot shut it in: it was not run;
    /// [`Code::NotConfigured`](crate::Code::NotConfigured) where its language is not installed.
    async fn run(&self, program: &Program, stop: CancellationToken) -> Result<Ran>;
}

/// Where programs cannot be shut in, and so are not run.
pub struct NoJail;

#[async_trait]
impl Jail for NoJail {
    async fn run(&self, _: &Program, _: CancellationToken) -> Result<Ran> {
        Err(Fault::unsupported("no programs run here").hint("the embedded language does, or another machine"))
    }
}

/// Refuses a program past the limits.
///
/// # Errors
/// [`Code::TooLarge`](crate::Code::TooLarge), [`Code::InvalidArgument`](crate::Code::InvalidArgument).
pub fn check(text: &str, arguments: &[String], environment: &BTreeMap<String, String>, stdin: &str) -> Result<()> {
    crate::store::check_size("the size of a script in bytes", text.len(), TEXT_BYTES_MAX)?;
    crate::store::check_size("the size of its input in bytes", stdin.len(), INPUT_BYTES_MAX)?;
    crate::store::check_size("the number of arguments", arguments.len(), ARGUMENTS_MAX)?;
    crate::store::check_size("the number of variables", environment.len(), ARGUMENTS_MAX)?;
    for argument in arguments {
        crate::store::check_size("the size of an argument in bytes", argument.len(), ARGUMENT_BYTES_MAX)?;
    }
    for (name, value) in environment {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
            return Err(Fault::invalid(format!("`{shown}` cannot name a variable"))
                .hint("letters, digits and _, a digit not first"));
        }
        crate::store::check_size("the size of a variable in bytes", name.len() + value.len(), ARGUMENT_BYTES_MAX)?;
    }
    let texts = arguments.iter().chain(environment.values()).map(String::as_str).chain([text]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(
            Fault::invalid("a script, an argument or a variable with a NUL character").hint("text without U+0000")
        );
    }
    Ok(())
}

/// Refuses folders that cannot be given.
///
/// # Errors
/// [`Code::TooLarge`](crate::Code::TooLarge), [`Code::InvalidArgument`](crate::Code::InvalidArgument).
pub fn check_mounts(mounts: &[Mount]) -> Result<()> {
    crate::store::check_size("the number of folders", mounts.len(), MOUNTS_MAX)?;
    for Mount { from, name, .. } in mounts {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err(Fault::invalid(format!("`{name}` cannot name a folder of a script")));
        }
        if !from.is_absolute() || !from.is_dir() {
            return Err(Fault::not_found(format!("no folder {} to give to a script", from.display())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_the_limits_is_refused_by_name() {
        let check = |text: &str, argument: &str, name: &str| {
            let environment = BTreeMap::from([(name.to_owned(), "v".to_owned())]);
            super::check(text, &[argument.to_owned()], &environment, "").map_err(|fault| fault.to_string())
        };
        assert_eq!(check("true", "a b", "_OK1"), Ok(()));
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        for (text, argument, name, said) in [
            (long.as_str(), "a", "A", "too_large: the size of a script in bytes is 65537, past 65536 (at most 65536)"),
            ("", &long, "A", "too_large: the size of an argument in bytes is 65537, past 4096 (at most 4096)"),
            ("", "a", "1A", "invalid_argument: `1A` cannot name a variable (letters, digits and _, a digit not first)"),
            (
                "",
                "a",
                "A=B",
                "invalid_argument: `A=B` cannot name a variable (letters, digits and _, a digit not first)",
            ),
            ("", "a", "", "invalid_argument: `` cannot name a variable (letters, digits and _, a digit not first)"),
            (
                "",
                "a\0",
                "A",
                "invalid_argument: a script, an argument or a variable with a NUL character (text without U+0000)",
            ),
        ] {
            assert_eq!(check(text, argument, name), Err(said.to_owned()));
        }
    }
}
