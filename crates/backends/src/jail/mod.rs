//! Programs shut in by Linux's namespaces: what they see is a root of their own in memory, with the system's programs read-only, one small
//! folder to write in, no network unless it is given, and no process but their own.
//!
//! It is made by the system's own tools (util-linux's `unshare`, `mount`, `pivot_root`, `prlimit`, `setpriv`), as [`SETUP`] says, so what
//! is done between fork and exec is one call. Invariants:
//! - The program begins only when all of it stands: [`SETUP`] says so by a word that is new each time. Whatever fails before is
//!   [`Code::Unsupported`](kernel::Code::Unsupported), and nothing was run.
//! - Killing the one process that we started ends every process inside: it is their namespace's way out. That they are gone is known by the
//!   end of their output.
//! - Nothing that this process has open goes along, whoever opened it and however: all descriptors but the three are closed.
//! - A fleet that runs as root runs programs as a user that nobody is: limits of processes do not hold for root. What it gives of the machine is
//!   put in place before it gives up its rights, so that the program needs none on the way there.

mod disk;
mod memory;
mod stage;
#[cfg(test)]
mod tests;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use kernel::jail::{Bounds, End, Jail, Language, Program, Ran, check, check_mounts};
use kernel::{Fault, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Makes the inside and runs the program there.
const SETUP: &str = include_str!("setup.sh");
/// Where the system's own programs are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Who programs are when the fleet is root: a user and a group that nobody has.
const NOBODY: u32 = 1_900_000_000;
/// How long the processes of a killed program may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(10);
/// How much may be complained before the program begins, in bytes.
const SETUP_BYTES_MAX: usize = 16 << 10;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Shuts programs in by namespaces.
#[derive(Debug, Clone)]
pub struct Namespaces {
    path: String,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { path: PATH.into() }
    }
}

#[async_trait]
impl Jail for Namespaces {
    async fn run(&self, program: &Program, stop: CancellationToken) -> Result<Ran> {
        check(&program.text, &program.arguments, &program.environment, &program.stdin)?;
        check_mounts(&program.mounts)?;
        let ready = format!("{}\n", kernel::ids::new_id("jail"));
        let stage = stage::Stage::of(&program.mounts).map_err(|error| cannot(&error.to_string()))?;
        let mut child = self.command(program, &ready, &stage)?.spawn().map_err(|error| cannot(&error.to_string()))?;
        let out = follow(&mut child, program, stop).await?;
        let complaints = String::from_utf8_lossy(&out.stderr).into_owned();
        let Some((_, stderr)) = complaints.split_once(&ready) else {
            if let Some(end) = out.killed {
                return Ok(out.ran(end, String::new(), &program.bounds));
            }
            return Err(cannot(complaints.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing was said")));
        };
        let by_itself = if out.exit_code.is_some_and(|code| code <= 128) { End::Exited } else { End::Signalled };
        Ok(out.ran(out.killed.unwrap_or(by_itself), stderr.to_owned(), &program.bounds))
    }
}

/// The fault of a machine that cannot do it.
fn cannot(why: &str) -> Fault {
    Fault::unsupported(format!("this machine cannot shut a script in, and it was not run: {}", why.trim())).hint(
        "Linux with user namespaces and util-linux (unshare, setpriv, prlimit, mount, pivot_root); jq runs everywhere",
    )
}

/// What runs a language, inside.
fn interpreter(language: Language) -> Result<&'static [&'static str]> {
    let (name, places): (&str, &[&[&str]]) = match language {
        Language::Sh => ("sh", &[&["/bin/sh"]]),
        Language::Python => ("Python 3", &[&["/usr/bin/python3", "-B", "-u"], &["/usr/local/bin/python3", "-B", "-u"]]),
    };
    places.iter().find(|words| Path::new(words[0]).exists()).copied().ok_or_else(|| {
        let looked: Vec<&str> = places.iter().map(|words| words[0]).collect();
        Fault::not_configured(format!("no {name} on this machine"))
            .hint(format!("install it as {}", looked.join(" or ")))
    })
}

impl Namespaces {
    fn command(&self, program: &Program, ready: &str, stage: &stage::Stage) -> Result<Command> {
        let Program { language, text, arguments, environment, network, bounds, .. } = program;
        let mut command = stage.command("nice");
        command.args(["-n", "10", "setpriv", "--no-new-privs", "--pdeathsig", "KILL"]);
        if is_root() {
            let nobody = NOBODY.to_string();
            command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
        }
        command.args(["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child=KILL"]);
        command.args(["--ipc", "--uts", "--cgroup"]);
        if !network {
            command.arg("--net");
        }
        command.args(["sh", "-c", SETUP, "sh"]).args(interpreter(*language)?).arg("/script/main").args(arguments);
        command.env_clear().env("PATH", &self.path).env("LANG", "C.UTF-8").env("HOME", "/work").env("JAIL_TEXT", text);
        for (name, value) in environment {
            command.env(format!("JAIL_ENV_{name}"), value);
        }
        stage.tell(&mut command);
        let names: Vec<&str> = environment.keys().map(String::as_str).collect();
        command.env("JAIL_NAMES", names.join(" ")).env("JAIL_READY", ready);
        command.env("JAIL_NETWORK", if *network { "yes" } else { "no" });
        command.env("JAIL_DISK", bounds.disk_bytes.to_string()).env("JAIL_MEMORY", bounds.address_bytes.to_string());
        command.env("JAIL_CPU", bounds.cpu_seconds.to_string());
        // Two more: the one that stays inside, and the one that waits for it.
        command.env("JAIL_PROCESSES", (bounds.processes + 2).to_string());
        command.current_dir("/").process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        keep_nothing_open(&mut command);
        Ok(command)
    }
}

/// Whether this process is root: the owner of what the system tells of it is who it is.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|owner| owner.uid() == 0)
}

/// Has the child close all that this process has open beside the three ends it is given: also what we were started with, which may go on to
/// whoever we start.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "code between fork and exec is unsafe by nature; this makes one system call")]
fn keep_nothing_open(command: &mut Command) {
    const FIRST: libc::c_uint = 3;
    let in_child = || {
        // SAFETY: a plain system call, allowed between fork and exec; it takes three numbers and touches no memory.
        let done = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: `in_child` only makes a system call that is safe after fork.
    unsafe { command.pre_exec(in_child) };
}

/// Elsewhere there are no namespaces either, and nothing is run.
#[cfg(not(target_os = "linux"))]
fn keep_nothing_open(_: &mut Command) {}

/// What became of a process that we started.
struct Followed {
    killed: Option<End>,
    exit_code: Option<i32>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    memory_peak_bytes: u64,
}

impl Followed {
    fn ran(&self, end: End, mut stderr: String, bounds: &Bounds) -> Ran {
        let exit_code = if self.killed.is_some() { None } else { self.exit_code };
        let mut stdout = String::from_utf8_lossy(&self.stdout).into_owned();
        cut(&mut stdout, bounds.stdout_bytes);
        cut(&mut stderr, bounds.stderr_bytes);
        Ran { end, exit_code, stdout, stderr, memory_peak_bytes: self.memory_peak_bytes }
    }
}

fn cut(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
}

/// Feeds and reads a process until it is gone, and kills it when it goes past its bounds.
async fn follow(child: &mut Child, program: &Program, stop: CancellationToken) -> Result<Followed> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Fault::internal("a process whose ends are not ours"));
    };
    let (bounds, full, pid) = (program.bounds, Notify::new(), child.id());
    let feeding = async {
        // An error means that it does not read.
        stdin.write_all(program.stdin.as_bytes()).await.ok();
        drop(stdin);
    };
    let reading = async {
        let (stdout, stderr) =
            (read(stdout, bounds.stdout_bytes, &full), read(stderr, bounds.stderr_bytes + SETUP_BYTES_MAX, &full));
        let ((), stdout, stderr) = tokio::join!(feeding, stdout, stderr);
        (stdout, stderr)
    };
    let mut peak = 0;
    let (read, status, killed) = {
        let limits = async {
            tokio::select! {
                () = tokio::time::sleep(bounds.time) => End::TimeLimit,
                () = full.notified() => End::OutputLimit,
                () = memory::over(pid, bounds.memory_bytes, &mut peak) => End::MemoryLimit,
                () = disk::over(&program.mounts, bounds.disk_bytes) => End::DiskLimit,
                () = stop.cancelled() => End::Cancelled,
            }
        };
        tokio::pin!(reading, limits);
        let (mut read, mut status, mut killed) = (None, None, None);
        let mut late = std::pin::pin!(tokio::time::sleep(Duration::MAX));
        while read.is_none() || status.is_none() {
            tokio::select! {
                got = &mut reading, if read.is_none() => read = Some(got),
                ended = child.wait(), if status.is_none() => {
                    status = Some(ended.map_err(|error| Fault::internal(format!("a script's end: {error}")))?);
                }
                end = &mut limits, if killed.is_none() => {
                    killed = Some(end);
                    // An error means that it is gone.
                    child.start_kill().ok();
                    late.set(tokio::time::sleep(KILL_TIME));
                }
                () = &mut late => return Err(Fault::internal("a script that was killed is not gone")),
            }
        }
        (read.unwrap_or_default(), status, killed)
    };
    let (stdout, stderr) = read;
    let exit_code = status.and_then(|status| status.code());
    // What ended by itself while it was about to be killed for its output was not killed, but has gone past its bounds.
    let over = stdout.len() > bounds.stdout_bytes || stderr.len() > bounds.stderr_bytes + SETUP_BYTES_MAX;
    let killed = killed.or(over.then_some(End::OutputLimit));
    Ok(Followed { killed, exit_code, stdout, stderr, memory_peak_bytes: peak })
}

/// Reads to the end. Keeps a little more than `max` bytes, and tells when there are more.
async fn read(mut from: impl AsyncRead + Unpin, max: usize, full: &Notify) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        // An error is an end to a reader.
        let got = from.read(&mut buffer).await.unwrap_or(0);
        if got == 0 {
            return kept;
        }
        if kept.len() <= max {
            kept.extend_from_slice(&buffer[..got]);
        }
        if kept.len() > max {
            full.notify_one();
        }
    }
}
