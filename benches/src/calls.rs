//! What a tool call costs, directly, through the coordinator and through another gateway: the same tool of the same process in one run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Fallible;
use crate::fleet::Ground;
use crate::load::{Era, Load, Target};
use crate::process::Process;
use crate::table::Table;

const COORDINATOR: &str = "master-coordinator";
const SERVER: &str = "utilities";
const TOOL: &str = "keccak256";
const AGGREGATED: &str = "utilities__keccak256";

/// Connections that call at the same time, and the calls they make together.
const CONNECTIONS: u64 = 32;
const CALLS: u64 = 24_000;
const WARM_UP: u64 = 4_000;
/// Calls of a single connection, by which the time that is added is told: with many, time is mostly waiting for a core.
const SINGLE_CALLS: u64 = 3_000;
/// Rounds over everything; the best of them is told, since whatever else the machine does only ever adds.
const ROUNDS: usize = 3;

/// One way to the tool.
struct Way {
    name: &'static str,
    target: Target,
    /// Whose processor time is counted apart: the process in between, if there is one; then the one with the tool.
    between: Option<usize>,
    end: usize,
    best: Option<Figures>,
}

#[derive(Clone, Copy)]
struct Figures {
    many: Load,
    single: Load,
    between_us: f64,
    end_us: f64,
}

/// Measures and tells. `other` is the program `mcp-proxy`, if there is one.
pub(crate) async fn run(binary: &Path, other: Option<&Path>) -> Fallible<String> {
    let (apart, together) = (Ground::new(binary)?, Ground::new(binary)?);
    let server = apart.run(&["serve", SERVER, "--no-sandbox"]).await?;
    let coordinator = apart.run(&["serve", COORDINATOR, "--no-sandbox"]).await?;
    let both = together.run(&["serve", COORDINATOR, SERVER, "--no-sandbox"]).await?;
    let (key, key_of_both) = (apart.key()?, together.key()?);
    let target = |address: &str, tool: &str, key: &str, era: Era| Target {
        address: address.to_owned(),
        path: "/mcp",
        tool: tool.to_owned(),
        key: key.to_owned(),
        era,
    };
    let (at_server, at_coordinator) = (server.address(SERVER)?, coordinator.address(COORDINATOR)?);
    let at_both = both.address(COORDINATOR)?;
    let way = |name, target, between, end| Way { name, target, between, end, best: None };
    let mut ways = vec![
        way("2026-07-28, direct", target(&at_server, TOOL, &key, Era::Modern), None, 0),
        way("2026-07-28, coordinator", target(&at_coordinator, AGGREGATED, &key, Era::Modern), Some(1), 0),
        way("2026-07-28, coordinator, same process", target(&at_both, AGGREGATED, &key_of_both, Era::Modern), None, 2),
        way("2025-11-25, direct", target(&at_server, TOOL, &key, Era::Legacy), None, 0),
        way("2025-11-25, coordinator", target(&at_coordinator, AGGREGATED, &key, Era::Legacy), Some(1), 0),
    ];
    let mut processes = vec![server.process, coordinator.process, both.process];
    if let Some(other) = other {
        let (process, address) = start_other(other, &apart, &at_server, &key).await?;
        processes.push(process);
        let through = Target { path: "/", ..target(&address, AGGREGATED, &key, Era::Legacy) };
        ways.push(way("2025-11-25, mcp-proxy", through, Some(3), 0));
    }
    for way in &ways {
        ready(&way.target).await.map_err(|error| format!("{}: {error}", way.name))?;
    }
    for _ in 0..ROUNDS {
        for way in &mut ways {
            let figures = measure(way, &processes).await.map_err(|error| format!("{}: {error}", way.name))?;
            way.take(figures);
        }
    }
    let memory: Vec<(u64, u64)> = processes.iter().map(Process::memory).collect::<Fallible<_>>()?;
    for process in processes {
        process.stop().await?;
    }
    Ok(told(&ways, &memory))
}

/// Waits until calls come through: a coordinator hears of other processes a moment after its own start.
async fn ready(target: &Target) -> Fallible<()> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let began = Instant::now();
    loop {
        let tried = async { target.load(1, 1, 1).await?.measure().await };
        match tried.await {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn measure(way: &Way, processes: &[Process]) -> Fallible<Figures> {
    let single = way.target.load(1, SINGLE_CALLS / 10, SINGLE_CALLS).await?.measure().await?;
    let many = way.target.load(CONNECTIONS, WARM_UP, CALLS).await?;
    let spent = || -> Fallible<(u64, u64)> {
        let between = way.between.map(|at| processes[at].cpu_us()).transpose()?.unwrap_or(0);
        Ok((between, processes[way.end].cpu_us()?))
    };
    let before = spent()?;
    let many = many.measure().await?;
    let after = spent()?;
    let each = |before: u64, after: u64| (after - before) as f64 / many.calls as f64;
    let (between_us, end_us) = (each(before.0, after.0), each(before.1, after.1));
    Ok(Figures { many, single, between_us, end_us })
}

impl Way {
    fn take(&mut self, figures: Figures) {
        let best = self.best.get_or_insert(figures);
        if figures.many.per_second() > best.many.per_second() {
            best.many = figures.many;
        }
        if figures.single.p50 < best.single.p50 {
            best.single = figures.single;
        }
        if figures.between_us + figures.end_us < best.between_us + best.end_us {
            (best.between_us, best.end_us) = (figures.between_us, figures.end_us);
        }
    }
}

/// `mcp-proxy` in front of the same server, with bearer tokens as it has them.
async fn start_other(program: &Path, ground: &Ground, server: &str, key: &str) -> Fallible<(Process, String)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config: PathBuf = ground.path().join("proxy.toml");
    let text = format!(
        "[proxy]\nname = \"bench\"\nseparator = \"__\"\n\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n\n\
         [auth]\ntype = \"bearer\"\ntokens = [\"{key}\"]\n\n\
         [[backends]]\nname = \"{SERVER}\"\ntransport = \"http\"\nurl = \"http://{server}/mcp\"\nbearer_token = \"{key}\"\n"
    );
    std::fs::write(&config, text)?;
    let process = Process::start(program, &["--config", &config.display().to_string()], true)?;
    Ok((process, format!("127.0.0.1:{port}")))
}

fn told(ways: &[Way], memory: &[(u64, u64)]) -> String {
    let mut table = Table::new(&[
        "way to the tool",
        "calls/s",
        "p50 ms",
        "p99 ms",
        "p50 ms, 1 connection",
        "CPU µs between",
        "CPU µs at the tool",
        "memory between, MB",
    ]);
    let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    for way in ways {
        let Some(best) = way.best else { continue };
        let between = |text: String| if way.between.is_some() { text } else { String::new() };
        table.row(vec![
            way.name.into(),
            format!("{:.0}", best.many.per_second()),
            ms(best.many.p50),
            ms(best.many.p99),
            ms(best.single.p50),
            between(format!("{:.1}", best.between_us)),
            format!("{:.1}", best.end_us),
            way.between.map(|at| format!("{:.1}", memory[at].1 as f64 / 1e6)).unwrap_or_default(),
        ]);
    }
    let mut text = table.text();
    let by = |name: &str| ways.iter().find(|way| way.name.ends_with(name)).and_then(|way| way.best);
    if let (Some(other), Some(ours)) = (by("mcp-proxy"), by("2025-11-25, coordinator")) {
        text.push_str(&format!(
            "\ncoordinator against mcp-proxy, the same revision: {:.1} times the calls a second, {:.1} times less CPU in between\n",
            ours.many.per_second() / other.many.per_second(),
            other.between_us / ours.between_us,
        ));
    }
    text
}
