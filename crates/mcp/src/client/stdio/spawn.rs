//! Starting children so that they end when we do, however we end.
//!
//! The kernel kills a child when the *thread* that started it ends, so all are started by one thread that lives as long as the process.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};

use kernel::Fault;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Program;

struct Job {
    command: Command,
    runtime: Handle,
    started: oneshot::Sender<std::io::Result<Child>>,
}

/// Starts a program in a process group of its own, with pipes for its standard streams and nothing in its environment but what it is given.
///
/// # Errors
/// `unavailable` when it cannot be started.
pub(super) async fn start(program: &Program) -> Result<Child, Fault> {
    let failed = |why: &dyn std::fmt::Display| Fault::unavailable(format!("{} does not start: {why}", program.command));
    let (started, child) = oneshot::channel();
    let job = Job { command: command(program), runtime: Handle::current(), started };
    starter().map_err(|error| failed(&error))?.send(job).map_err(|error| failed(&error))?;
    match child.await {
        Ok(Ok(child)) => Ok(child),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

fn starter() -> std::io::Result<Sender<Job>> {
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    if let Some(starter) = STARTER.get() {
        return Ok(starter.clone());
    }
    let (jobs, work) = mpsc::channel::<Job>();
    std::thread::Builder::new().name("flotilla-start".into()).spawn(move || {
        for mut job in work {
            let _inside = job.runtime.enter();
            // An error means that whoever wanted the child is gone; dropping the child ends it.
            job.started.send(job.command.spawn()).ok();
        }
    })?;
    // Another thread may have been first; then ours ends with its channel, before it has started anything.
    Ok(STARTER.get_or_init(|| jobs).clone())
}

#[expect(
    unsafe_code,
    reason = "asking the kernel for a signal at our death can only be done in the child, between fork and exec"
)]
fn command(program: &Program) -> Command {
    let mut command = std::process::Command::new(&program.command);
    command.args(&program.args).env_clear().envs(&program.env).process_group(0);
    if let Some(folder) = &program.folder {
        command.current_dir(folder);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let us = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl, getppid and the building of an error from a code are.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // We may have died before the kernel was asked.
            if libc::getppid().unsigned_abs() != us {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

/// Sends a signal to a whole process group. One that is gone already is no error.
#[expect(unsafe_code, reason = "neither std nor tokio can signal a process group")]
pub(super) fn signal_group(group: u32, signal: i32) {
    let Ok(group) = i32::try_from(group) else { return };
    // SAFETY: kill(2) takes no pointers.
    unsafe { libc::kill(-group, signal) };
}
