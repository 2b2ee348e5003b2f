//! `doctor`: what is missing or wrong on this machine, each with its fix.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use kernel::{Fault, catalog};
use serde::Serialize;

use super::{Global, output};
use crate::config::{Config, Loaded, Ports, RPC_URL};
use crate::data::DataDir;

/// Find what is missing or wrong on this machine, and mend it.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Apply the fixes that need no decision
    #[arg(long)]
    fix: bool,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Finding {
    name: String,
    /// `ok`, `warning` or `problem`.
    state: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.into(), state: "ok", detail: detail.into(), fix: None }
    }

    fn bad(name: &str, state: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name: name.into(), state, detail: detail.into(), fix: Some(fix.into()) }
    }
}

impl Doctor {
    /// Runs the command.
    pub fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let mut findings = Vec::new();
        match global.load(Vec::new()) {
            Err(fault) => {
                let fix = fault.hint.clone().unwrap_or_else(|| "see `flotilla config default`".into());
                findings.push(Finding::bad("configuration", "problem", fault.message, fix));
            }
            Ok(loaded) => {
                findings.push(Finding::ok("configuration", format!("valid, {} values set", loaded.origins.len())));
                examine(&loaded, self.fix, &mut findings);
            }
        }
        let problems = findings.iter().filter(|finding| finding.state == "problem").count();
        if global.json {
            output::json(&findings)?;
        } else {
            for finding in &findings {
                let sign = match finding.state {
                    "ok" => "✓",
                    "warning" => "!",
                    _ => "✗",
                };
                output::line(&format!("{sign} {}: {}", finding.name, finding.detail))?;
                if let Some(fix) = &finding.fix {
                    output::line(&format!("    fix: {fix}"))?;
                }
            }
        }
        Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn examine(loaded: &Loaded, fix: bool, findings: &mut Vec<Finding>) {
    let config = &loaded.config;
    data_folder(config, fix, findings);
    servers(loaded, findings);
    ports(config, findings);
    tools(loaded, findings);
    memory(findings);
}

fn data_folder(config: &Config, fix: bool, findings: &mut Vec<Finding>) {
    let path = &config.fleet.data_dir;
    match DataDir::open(path) {
        Err(fault) => findings.push(Finding::bad(
            "data folder",
            "problem",
            fault.message,
            "set FLOTILLA_DATA_DIR to a folder you may write to",
        )),
        Ok(data) => {
            let loose = loose_modes(data.path());
            if loose.is_empty() {
                findings.push(Finding::ok("data folder", data.path().display().to_string()));
            } else if fix && tighten(&loose) {
                findings.push(Finding::ok(
                    "data folder",
                    format!("{} (modes of {} keys mended)", data.path().display(), loose.len()),
                ));
            } else {
                let names = loose.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
                findings.push(Finding::bad(
                    "data folder",
                    "problem",
                    format!("others may read {names}"),
                    "chmod 600 them, or `flotilla doctor --fix`",
                ));
            }
            if let Some(free) = free_bytes(data.path()) {
                const ENOUGH: u64 = 2 << 30;
                let detail = format!("{} MiB free", free >> 20);
                findings.push(if free >= ENOUGH {
                    Finding::ok("disk", detail)
                } else {
                    Finding::bad("disk", "warning", detail, "free some space: logs and the audit trail grow")
                });
            }
            if let Some(note) = data.running().first() {
                findings.push(Finding::ok("running", format!("process {} runs on this data folder", note.pid)));
            }
        }
    }
}

/// The servers that the fleet stands on, if it has such.
fn servers(loaded: &Loaded, findings: &mut Vec<Finding>) {
    if let Some(place) = loaded.postgres() {
        let looked = async { place.look().await.map(|place| format!("PostgreSQL at {place}")) };
        findings.push(server("database", looked, "start it, or set DATABASE_URL"));
    }
    if let Some(place) = loaded.redis() {
        findings.push(server("redis", place.look(), "start it, or set REDIS_URL"));
    }
    if let Some(place) = loaded.rabbitmq() {
        findings.push(server("rabbitmq", place.look(), "start it, or set RABBITMQ_URL"));
    }
    if let Some(place) = loaded.etcd() {
        findings.push(server("etcd", place.look(), "start it, or set ETCD_ENDPOINTS"));
    }
}

fn server(name: &str, looking: impl Future<Output = Result<String, Fault>>, fix: &str) -> Finding {
    match super::runtime().and_then(|runtime| runtime.block_on(looking)) {
        Ok(place) => Finding::ok(name, format!("{place} answers")),
        Err(fault) => Finding::bad(name, "problem", fault.message, fault.hint.unwrap_or_else(|| fix.into())),
    }
}

/// Key files that others than their owner may read.
fn loose_modes(data: &Path) -> Vec<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS: u32 = 0o077;
    let files = std::fs::read_dir(data.join("keys")).into_iter().flatten().flatten();
    files
        .filter(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & OTHERS != 0))
        .map(|file| file.path())
        .collect()
}

fn tighten(files: &[std::path::PathBuf]) -> bool {
    use std::os::unix::fs::PermissionsExt;
    files.iter().all(|file| std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).is_ok())
}

fn ports(config: &Config, findings: &mut Vec<Finding>) {
    if config.http.ports == Ports::Ephemeral {
        findings.push(Finding::ok("ports", "chosen by the system"));
        return;
    }
    let wanted =
        catalog::servers().map(|service| (service.name, service.port)).chain([("dashboard", catalog::DASHBOARD_PORT)]);
    let mut free = 0;
    for (name, port) in wanted {
        match TcpListener::bind(SocketAddr::new(config.http.bind, port)) {
            Ok(_) => free += 1,
            Err(_) => {
                let holder = web::listener::holder(port).unwrap_or_else(|| "an unknown process".into());
                let ours = holder.starts_with("flotilla");
                let fix =
                    if ours { "nothing, if that is your fleet" } else { "stop it, or set http.ports = \"ephemeral\"" };
                let state = if ours { "warning" } else { "problem" };
                findings.push(Finding::bad(
                    &format!("port {port}"),
                    state,
                    format!("{name}'s port is held by {holder}"),
                    fix,
                ));
            }
        }
    }
    findings.push(Finding::ok("ports", format!("{free} free")));
}

fn tools(loaded: &Loaded, findings: &mut Vec<Finding>) {
    match evm::anvil_in(&loaded.config.fleet.tools_dir) {
        Ok(path) => findings.push(Finding::ok("anvil", path.display().to_string())),
        Err(fault) if !loaded.secrets.contains_key(RPC_URL) => findings.push(Finding::bad(
            "anvil",
            "problem",
            fault.message,
            "`cargo xtask up` fetches it, or set ETHEREUM_RPC_URL to use a node of yours",
        )),
        Err(_) => findings.push(Finding::ok("anvil", "not there, and not needed: a node is configured")),
    }
    let node = Command::new("node").arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    findings.push(match node {
        Ok(answer) if answer.status.success() => {
            Finding::ok("node", String::from_utf8_lossy(&answer.stdout).trim().to_owned())
        }
        _ => Finding::bad(
            "node",
            "warning",
            "not found",
            "install Node.js 18 or later: set-up fetches the sandbox's tools with npm",
        ),
    });
}

fn memory(findings: &mut Vec<Finding>) {
    const ENOUGH_KIB: u64 = 512 << 10;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok());
    if let Some(kib) = available {
        let detail = format!("{} MiB available", kib >> 10);
        findings.push(if kib >= ENOUGH_KIB {
            Finding::ok("memory", detail)
        } else {
            Finding::bad("memory", "warning", detail, "close something: the fleet with its chain wants about 150 MiB")
        });
    }
}

#[expect(unsafe_code, reason = "free space has no safe form in std")]
fn free_bytes(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: `statvfs` fills the zeroed struct it is given and reads a path that ends in a zero byte.
    unsafe {
        let mut figures: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut figures) == 0).then(|| figures.f_bavail as u64 * figures.f_frsize as u64)
    }
}
