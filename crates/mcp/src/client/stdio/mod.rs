//! An upstream that is a child of ours and speaks over its standard streams: one child for all callers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::limits::{ANSWER_BYTES_MAX, Bucket};
use kernel::{Code, Fault, OnEnd, Tasks};
use tokio::io::{AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

mod lines;
mod spawn;

use lines::Line;

use super::channel::mux::{Heard, Mux};
use super::channel::{ChannelLink, Setup};
use super::end::End;
use super::outgoing::AboutUs;
use super::{LinkError, User};

pub use super::channel::Eras;

/// How long a child may take to end by itself once its input is closed, and again once it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait for what a child said before it ended. Its own children may hold its streams open for longer.
const LAST_WORDS_TIME: Duration = Duration::from_millis(50);
/// Longest line of a child's standard error that is logged, in bytes.
const STDERR_LINE_MAX: usize = 4 << 10;
/// Lines of a child's standard error that are logged in a second.
const STDERR_PER_SECOND: f64 = 100.0;
/// Lines nobody waits for that are read from a child in a second: what floods is slowed down to this.
const UNWANTED_PER_SECOND: f64 = 10_000.0;

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program: a path, or a name to be found along `PATH` of `env`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// The folder it starts in.
    pub folder: Option<PathBuf>,
}

/// A child, and the link to it.
pub struct StdioLink {
    /// The link. It ends with the child.
    pub link: Arc<ChannelLink>,
    /// The child's process id, while it lives.
    pub pid: u32,
}

impl StdioLink {
    /// Starts `program` and finds out what it speaks.
    ///
    /// # Errors
    /// When it does not start, ends before it has answered, or speaks no revision known here. No child is left then.
    pub async fn start(
        name: &str,
        program: &Program,
        eras: Eras,
        about_us: AboutUs,
        limit: Duration,
        tasks: Tasks,
    ) -> Result<Self, LinkError> {
        let mut child = spawn::start(program).await?;
        let pid = child.id().ok_or_else(|| Fault::unavailable(format!("{name} ended at once")))?;
        let (mux, written) = Mux::new(name, None, tasks.clone());
        let (end, closing, closed) = (Arc::<End>::default(), tasks.stopping().child_token(), CancellationToken::new());
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(Fault::internal("a child without pipes").into());
        };
        let read_all = CancellationToken::new();
        let said = Arc::new(parking_lot::Mutex::new(String::new()));
        tasks.spawn("writes to an upstream", OnEnd::Done, write(stdin, written, closing.clone()));
        let reader = read(Arc::clone(&mux), stdout);
        let all = read_all.clone();
        tasks.spawn("reads from an upstream", OnEnd::Done, async move {
            reader.await;
            all.cancel();
        });
        let logged = CancellationToken::new();
        let (logger, all) = (log(name.to_owned(), stderr, Arc::clone(&said)), logged.clone());
        tasks.spawn("logs of an upstream", OnEnd::Done, async move {
            logger.await;
            all.cancel();
        });
        let keeper = Keeper {
            mux: Arc::clone(&mux),
            child,
            pid,
            end: Arc::clone(&end),
            closing: closing.clone(),
            read_all,
            logged,
            said,
        };
        let over = closed.clone();
        tasks.spawn("keeps an upstream", OnEnd::Done, async move {
            keeper.keep().await;
            over.cancel();
        });
        let setup = Setup { about_us, timeout: limit, tasks, end, closing: closing.clone(), closed: closed.clone() };
        match ChannelLink::establish(mux, eras, &User::default(), setup).await {
            Ok(link) => Ok(Self { link, pid }),
            Err(error) => {
                closing.cancel();
                closed.cancelled().await;
                Err(error)
            }
        }
    }
}

/// Writes messages, one a line, until the link is closed or the child takes no more.
async fn write(mut stdin: ChildStdin, mut written: mpsc::Receiver<String>, closing: CancellationToken) {
    let pump = async {
        while let Some(mut text) = written.recv().await {
            // A line of its own: line ends inside of JSON can only be white space.
            if text.contains(['\n', '\r']) {
                text = text.replace(['\n', '\r'], " ");
            }
            text.push('\n');
            if stdin.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = pump => {}
        () = closing.cancelled() => {}
    }
}

/// Reads messages until the child closes its output.
async fn read(mux: Arc<Mux>, stdout: impl AsyncRead + Unpin) {
    let mut reader = BufReader::with_capacity(64 << 10, stdout);
    let mut unwanted = Bucket::new(UNWANTED_PER_SECOND, UNWANTED_PER_SECOND, 0);
    let (mut garbage, mut floods) = (0u64, 0u64);
    let began = Instant::now();
    loop {
        let heard = match lines::next(&mut reader, ANSWER_BYTES_MAX).await {
            Ok(Some(Line::Whole(line))) if line.trim_ascii().is_empty() => Heard::Garbage,
            Ok(Some(Line::Whole(line))) => {
                let heard = mux.hear(&line);
                if heard == Heard::Garbage {
                    garbage += 1;
                    if garbage.is_power_of_two() {
                        let begin = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
                        tracing::warn!(upstream = mux.name, garbage, begin, "not a message on standard output");
                    }
                }
                heard
            }
            Ok(Some(Line::TooLong { head, tail })) => too_long(&mux, &head, &tail),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(upstream = mux.name, %error, "standard output broke off");
                return;
            }
        };
        if heard != Heard::Wanted
            && let Err(wait_ms) = unwanted.take(since(began))
        {
            floods += 1;
            if floods.is_power_of_two() {
                tracing::warn!(upstream = mux.name, floods, "floods its standard output; it is read more slowly");
            }
            tokio::time::sleep(Duration::from_millis(wait_ms.min(100))).await;
        }
    }
}

/// Milliseconds, for a bucket.
fn since(began: Instant) -> i64 {
    i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX)
}

fn too_long(mux: &Arc<Mux>, head: &[u8], tail: &[u8]) -> Heard {
    tracing::warn!(upstream = mux.name, max = ANSWER_BYTES_MAX, "a message is too long and was left out");
    let fault = Fault::too_large(format!("{}: the answer is larger than {ANSWER_BYTES_MAX} bytes", mux.name));
    match lines::id_of(head, tail).or_else(|| mux.only()) {
        Some(id) => mux.settle(id, Err(fault.into())),
        None => Heard::Unwanted,
    }
}

/// Passes a child's standard error on to our logs, as much as is bearable; keeps its last line.
async fn log(name: String, stderr: impl AsyncRead + Unpin, said: Arc<parking_lot::Mutex<String>>) {
    let mut reader = BufReader::new(stderr);
    let mut bucket = Bucket::new(STDERR_PER_SECOND, STDERR_PER_SECOND, 0);
    let mut left_out = 0u64;
    let began = Instant::now();
    while let Ok(Some(line)) = lines::next(&mut reader, STDERR_LINE_MAX).await {
        let (Line::Whole(line) | Line::TooLong { head: line, .. }) = line;
        let line = String::from_utf8_lossy(&line);
        let line: String = line.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if line.is_empty() {
            continue;
        }
        if bucket.take(since(began)).is_ok() {
            tracing::info!(upstream = name, left_out, "{line}");
            left_out = 0;
        } else {
            left_out += 1;
        }
        *said.lock() = line;
    }
}

/// Owns the child to its end.
struct Keeper {
    mux: Arc<Mux>,
    child: Child,
    pid: u32,
    end: Arc<End>,
    closing: CancellationToken,
    /// Cancelled when everything the child wrote was read.
    read_all: CancellationToken,
    /// Cancelled when everything it logged was read.
    logged: CancellationToken,
    /// The last line it logged.
    said: Arc<parking_lot::Mutex<String>>,
}

impl Keeper {
    async fn keep(mut self) {
        let name = self.mux.name.clone();
        let fault = tokio::select! {
            _ = self.child.wait() => self.how_it_ended().await,
            () = self.read_all.cancelled() => self.how_it_ended().await,
            () = self.closing.cancelled() => Fault::unavailable(format!("the link to {name} was closed")),
        };
        self.end.because(fault.clone());
        self.mux.fail_all(&fault);
        self.closing.cancel();
        self.stop().await;
    }

    /// Why it is of no more use: its exit status and its last words, where they come soon.
    async fn how_it_ended(&mut self) -> Fault {
        let last_words = async {
            // What it wrote before its end still counts.
            self.read_all.cancelled().await;
            self.logged.cancelled().await;
            self.child.wait().await
        };
        let status = timeout(LAST_WORDS_TIME, last_words).await.ok().and_then(Result::ok);
        let how = match status.or_else(|| self.child.try_wait().ok().flatten()) {
            Some(status) => format!("ended ({status})"),
            None => "closed its standard output".into(),
        };
        let said = self.said.lock().clone();
        let said = if said.is_empty() { said } else { format!("; it said: {said}") };
        Fault::new(Code::Unavailable, format!("{} {how}{said}", self.mux.name))
    }

    /// Ends the child: its input is closed by now; then it is asked, then made to. Its own children go with it.
    async fn stop(&mut self) {
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            if timeout(GRACE, self.child.wait()).await.is_ok() {
                break;
            }
            spawn::signal_group(self.pid, signal);
        }
        if let Err(error) = self.child.wait().await {
            tracing::warn!(upstream = self.mux.name, pid = self.pid, %error, "cannot tell whether it ended");
        }
        spawn::signal_group(self.pid, libc::SIGKILL);
    }
}
