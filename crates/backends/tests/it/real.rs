//! Servers of other people's that a test has for itself: each in a temporary folder, ended with its test, killed when the test wants it.
//!
//! On a build server one that is not installed fails its test; on a laptop the test is skipped, and says so.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to be there.
const START_TIME: Duration = Duration::from_secs(100);
/// The pause between two looks whether it is.
const PAUSE: Duration = Duration::from_millis(5);

/// A server, how it is started, and when it is there.
pub(crate) struct Real {
    folder: TempDir,
    child: Child,
    kind: Kind,
}

/// What there is to know of a kind of server.
#[derive(Clone, Copy)]
struct Kind {
    /// The program, and the others it may be.
    programs: &'static [&'static str],
    /// Debian's package.
    package: &'static str,
    /// What it is told.
    arguments: fn(&Path) -> Vec<String>,
    /// What its environment says besides.
    environment: fn(&Path) -> Vec<(&'static str, String)>,
    /// What is to be done when it has ended for good.
    after: fn(),
    /// Whether it answers.
    answers: fn(&Path) -> bool,
}

const REDIS: Kind = Kind {
    programs: &["redis-server", "valkey-server"],
    package: "redis-server",
    arguments: |folder| {
        let socket = socket(folder).display().to_string();
        let words = ["--port", "0", "--unixsocket", &socket, "--save", "", "--appendonly", "no", "--daemonize", "no"];
        words.map(ToOwned::to_owned).into()
    },
    environment: |_| Vec::new(),
    after: || (),
    // A socket that a killed server left behind takes nobody.
    answers: |folder| UnixStream::connect(socket(folder)).is_ok(),
};

fn socket(folder: &Path) -> PathBuf {
    folder.join("redis.sock")
}

const ETCD: Kind = Kind {
    programs: &["etcd"],
    package: "etcd-server",
    arguments: |folder| {
        let (clients, peers) = places(folder);
        let words = [
            ("--data-dir", "data".to_owned()),
            ("--listen-client-urls", clients.clone()),
            ("--advertise-client-urls", clients),
            ("--listen-peer-urls", peers.clone()),
            ("--initial-advertise-peer-urls", peers.clone()),
            ("--initial-cluster", format!("default={peers}")),
            // It is alone, and leads the sooner.
            ("--heartbeat-interval", "20".to_owned()),
            ("--election-timeout", "200".to_owned()),
        ];
        words.into_iter().flat_map(|(word, value)| [word.to_owned(), value]).collect()
    },
    environment: |_| Vec::new(),
    after: || (),
    answers: |folder| {
        let (host, _) = hosts(folder);
        let health = || {
            let mut stream = TcpStream::connect(&host)?;
            write!(stream, "GET /health HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
            let mut said = String::new();
            stream.read_to_string(&mut said).map(|_| said)
        };
        health().is_ok_and(|said| said.contains("true"))
    },
};

const RABBITMQ: Kind = Kind {
    programs: &["rabbitmq-server"],
    package: "rabbitmq-server",
    arguments: |_| Vec::new(),
    environment: |folder| {
        let (clients, _) = hosts(folder);
        let (host, port) = clients.rsplit_once(':').unwrap();
        let inside = |name: &str| folder.join(name).display().to_string();
        std::fs::write(folder.join("plugins"), "[].").unwrap();
        vec![
            ("HOME", folder.display().to_string()),
            ("RABBITMQ_NODENAME", format!("test-{}-{port}@localhost", std::process::id())),
            ("RABBITMQ_NODE_IP_ADDRESS", host.into()),
            ("RABBITMQ_NODE_PORT", port.into()),
            // For other nodes. It wants this one free on 127.0.0.1.
            ("RABBITMQ_DIST_PORT", (names_port() + port.parse::<u32>().unwrap() - 10_000).to_string()),
            ("RABBITMQ_MNESIA_BASE", inside("data")),
            ("RABBITMQ_LOG_BASE", inside("logs")),
            ("RABBITMQ_LOGS", "-".into()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", inside("plugins")),
            ("RABBITMQ_CONFIG_FILE", inside("rabbitmq")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
            ("RABBITMQ_PID_FILE", inside("pid")),
            // Its script then becomes the server, instead of watching over it.
            ("RUNNING_UNDER_SYSTEMD", "true".into()),
            ("ERL_EPMD_PORT", names_port().to_string()),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}".into()),
        ]
    },
    after: || {
        // The daemon of names that Erlang started for itself. It goes when it knows that its last node has, and stays while another lives.
        for _ in 0..20 {
            let asked = Command::new("epmd").args(["-port", &names_port().to_string(), "-kill"]).output();
            if !asked.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("not allowed")) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    },
    answers: |folder| TcpStream::connect(hosts(folder).0).is_ok(),
};

/// Where Erlang's daemon of names listens: on 127.0.0.1 whatever it is told, so by this process's number.
fn names_port() -> u32 {
    10_000 + std::process::id() % 10_000
}

/// A RabbitMQ, and its URL.
pub(crate) fn rabbitmq() -> Option<(Real, String)> {
    let real = Real::start(RABBITMQ)?;
    let (clients, _) = hosts(real.folder.path());
    Some((real, format!("amqp://guest:guest@{clients}/%2f")))
}

/// Where a server serves clients and others of its kind: an address that no other has. All of 127.0.0.0/8 is this machine, and nothing else takes a
/// port there, so a server that was killed finds its own free.
fn hosts(folder: &Path) -> (String, String) {
    static STARTED: AtomicU16 = AtomicU16::new(0);
    let note = folder.join("address");
    let address = std::fs::read_to_string(&note).unwrap_or_else(|_| {
        let pid = std::process::id();
        let [_, high, middle, low] = pid.to_be_bytes();
        // Numbers of processes are below 2^22.
        let address =
            format!("127.{}.{middle}.{low}:{}", high + 64, 20_000 + 2 * STARTED.fetch_add(1, Ordering::Relaxed));
        std::fs::write(&note, &address).unwrap();
        address
    });
    let (host, port) = address.rsplit_once(':').unwrap();
    let next = format!("{host}:{}", port.parse::<u16>().unwrap() + 1);
    (address, next)
}

/// The same as etcd wants to be told.
fn places(folder: &Path) -> (String, String) {
    let (clients, peers) = hosts(folder);
    (format!("http://{clients}"), format!("http://{peers}"))
}

/// An etcd, and its URL.
pub(crate) fn etcd() -> Option<(Real, String)> {
    let real = Real::start(ETCD)?;
    let (clients, _) = places(real.folder.path());
    Some((real, clients))
}

/// A Redis, and its URL: a socket, so that no port is needed.
pub(crate) fn redis() -> Option<(Real, String)> {
    let real = Real::start(REDIS)?;
    let url = format!("unix://{}", socket(real.folder.path()).display());
    Some((real, url))
}

impl Real {
    fn start(kind: Kind) -> Option<Self> {
        if program(kind).is_none() {
            let package = kind.package;
            missing(&format!("{} is not installed: apt-get install {package}", kind.programs[0]));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(kind, folder.path());
        let mut real = Self { folder, child, kind };
        real.until_there();
        Some(real)
    }

    /// Ends it without a word: `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.send(libc::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Starts it again, on what it had.
    pub(crate) fn again(&mut self) {
        self.child = spawn(self.kind, self.folder.path());
        self.until_there();
    }

    /// Has it stand still, or go on.
    pub(crate) fn stand_still(&self, still: bool) {
        self.send(if still { libc::SIGSTOP } else { libc::SIGCONT });
    }

    /// To it and all that it started.
    #[expect(unsafe_code, reason = "signals have no safe form in std")]
    fn send(&self, signal: i32) {
        let group = i32::try_from(self.child.id()).unwrap();
        // SAFETY: `kill` takes two numbers and touches no memory of ours.
        unsafe { libc::kill(-group, signal) };
    }

    fn until_there(&mut self) {
        let began = Instant::now();
        while !(self.kind.answers)(self.folder.path()) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < START_TIME, "{ended:?}: {}", self.log());
            std::thread::sleep(PAUSE);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // It may have been killed before; only who was not waited for has a number that is still its.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.send(libc::SIGKILL);
            self.child.wait().ok();
        }
        (self.kind.after)();
    }
}

fn spawn(kind: Kind, folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(program(kind).unwrap());
    command.args((kind.arguments)(folder)).envs((kind.environment)(folder)).process_group(0);
    command.current_dir(folder).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[expect(clippy::disallowed_methods, reason = "where programs are is said by the environment")]
fn program(kind: Kind) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian's rabbitmq-server in PATH becomes another user; the one it calls does not.
    let own = ["/usr/lib/rabbitmq/bin", "/usr/sbin"].map(PathBuf::from);
    let folders: Vec<PathBuf> = own.into_iter().chain(std::env::split_paths(&path)).collect();
    let places = kind.programs.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// Says that a test is skipped because of this. On a build server nothing is.
pub(crate) fn missing(why: &str) {
    assert!(!in_ci(), "{why}");
    #[expect(clippy::print_stderr, reason = "a skipped test must not look like one that passed")]
    {
        eprintln!("SKIPPED: {why}");
    }
}

#[expect(clippy::disallowed_methods, reason = "whether this is a build server is said by the environment")]
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(&*value, "" | "false" | "0"))
}
