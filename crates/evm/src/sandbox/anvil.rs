//! One anvil process.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Fault, OnEnd, Result, Tasks};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// How long it may take until it listens.
const START_TIME: Duration = Duration::from_secs(10);
/// How many of its last words are kept for a fault.
const LAST_LINES: usize = 5;
/// States that are kept on disk once they are too old for its memory, at about 3 MB each.
const STATES_ON_DISK: u32 = 200;

/// A running anvil. Dropped, it is killed.
pub(crate) struct Anvil {
    child: Child,
    port: u16,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

impl Anvil {
    /// Starts it on `port`, or on a free one when that is taken or 0, and waits until it listens.
    pub(super) async fn start(binary: &Path, port: u16, cache: &Path, tasks: &Tasks) -> Result<Self> {
        match Self::start_on(binary, port, cache, tasks).await {
            Err(fault) if port != 0 && fault.message.to_lowercase().contains("address already in use") => {
                tracing::warn!(port, "the sandbox chain's port is taken, a free one is used");
                Self::start_on(binary, 0, cache, tasks).await
            }
            started => started,
        }
    }

    async fn start_on(binary: &Path, port: u16, cache: &Path, tasks: &Tasks) -> Result<Self> {
        let arguments = ["--host", "127.0.0.1", "--color", "never", "--no-request-size-limit", "--port"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push(port.to_string());
        Self::node(binary, &arguments, cache, tasks).await
    }

    /// Starts one as `arguments` say, and waits until it listens.
    pub(crate) async fn node(binary: &Path, arguments: &[String], cache: &Path, tasks: &Tasks) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(arguments);
        command.arg("--max-persisted-states").arg(STATES_ON_DISK.to_string()).arg("--cache-path").arg(cache);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        die_with_parent(&mut command);
        let mut child = command.spawn().map_err(|error| {
            Fault::unavailable(format!("cannot run {}: {error}", binary.display()))
                .hint("run `cargo xtask up` to fetch it again")
        })?;
        let last_words = Arc::<Mutex<VecDeque<String>>>::default();
        let listening = tokio::time::timeout(START_TIME, listening(&mut child, &last_words, tasks)).await;
        let late = || Err(Fault::timeout(format!("anvil did not listen within {} s", START_TIME.as_secs())));
        let port = listening.unwrap_or_else(|_| late())?;
        Ok(Self { child, port, last_words })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it ends, and says how.
    pub(crate) async fn ended(&mut self) -> Fault {
        let how = self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        ended(&how, &self.last_words)
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn stop(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "the sandbox chain could not be stopped");
        }
    }
}

/// Reads its output until it says on which port it listens; what follows is read and forgotten, or it would block.
async fn listening(child: &mut Child, last_words: &Arc<Mutex<VecDeque<String>>>, tasks: &Tasks) -> Result<u16> {
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Fault::internal("anvil's output is not piped"));
    };
    let errors = tasks.spawn("sandbox chain's errors", OnEnd::Done, read_all(err, Arc::clone(last_words)));
    let mut out = BufReader::new(out);
    let mut line = String::new();
    loop {
        line.clear();
        if out.read_line(&mut line).await.unwrap_or(0) == 0 {
            break;
        }
        let port =
            line.trim().strip_prefix("Listening on ").and_then(|address| address.rsplit(':').next()?.parse().ok());
        if let Some(port) = port {
            let unheard = Arc::<Mutex<VecDeque<String>>>::default();
            tasks.spawn("sandbox chain's output", OnEnd::Done, read_all(out, unheard));
            return Ok(port);
        }
    }
    let how = child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
    if errors.await.is_err() {
        tracing::warn!("the sandbox chain's last words were lost");
    }
    Err(ended(&how, last_words))
}

fn ended(how: &str, last_words: &Mutex<VecDeque<String>>) -> Fault {
    let words = last_words.lock().iter().cloned().collect::<Vec<_>>().join("; ");
    let words = if words.is_empty() { "it said nothing".to_owned() } else { words };
    Fault::unavailable(format!("anvil ended ({how}): {words}"))
}

/// Reads to the end, keeping the last lines.
async fn read_all(from: impl AsyncRead + Unpin, keep: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(from).lines();
    // An end and an unreadable line are one to a reader of last words.
    while let Ok(Some(line)) = lines.next_line().await {
        let mut keep = keep.lock();
        if !line.trim().is_empty() {
            keep.push_back(line.trim().to_owned());
        }
        if keep.len() > LAST_LINES {
            keep.pop_front();
        }
    }
}

/// Makes the system kill the child when the thread that started it ends, which on our runtime is when the process does.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "code between fork and exec is unsafe by nature; this calls only what is safe to call there"
)]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let in_child = move || {
        // SAFETY: prctl and getppid are plain system calls, allowed between fork and exec; nothing is allocated.
        let (set, parent_now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if set != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // The parent may have died before the signal was asked for.
        if parent_now as u32 == parent { Ok(()) } else { Err(std::io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: `in_child` only makes system calls that are safe after fork.
    unsafe { command.pre_exec(in_child) };
}

/// Elsewhere the child ends when it is dropped or stopped; there is no such signal.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}
