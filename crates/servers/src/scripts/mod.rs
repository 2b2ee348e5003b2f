//! `scripts`: automation scripts, kept in versions and run shut in.
//!
//! Two engines. The embedded one runs jq in this process: it has no way to a file, a network or a process, and its steps, its memory and its
//! time are bounded. Scripts of the system (sh, Python) run in the jail that the port [`Jail`] is, or not at all.
//!
//! A run is a task of the queue `scripts`, done by whichever copy of this server takes it; its result is the task's. Invariants:
//! - A run is begun once: one whose process died is a dead letter, not done again. Only a fleet that stops in order gives back what it has not
//!   ended.
//! - A folder of the machine is given to a script only where it is under the configured roots, to be read; what the script writes goes to a folder
//!   of the fleet's own, within a bound.
//! - What may reach the network is granted by an administrator with the version of a script that is kept, and by the configuration; never by
//!   who runs it, by a task's payload or by an inline script.

mod embedded;
mod library;
mod runs;
#[cfg(test)]
mod tests;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use flow::schedules::Schedules;
use flow::worker::{Means, Worker};
use kernel::OnEnd;
use kernel::health::Check;
use kernel::jail::Jail;
use kernel::queue::{Policy, Queue};
use kernel::store::Store;
use mcp::prelude::*;
use parking_lot::Mutex;

pub use library::{
    DeleteScriptRequest, DeleteScriptResponse, GetScriptRequest, ListScriptsRequest, ListScriptsResponse,
    SaveScriptRequest, SaveScriptResponse, Script, ScriptRow, ScriptVersion,
};
pub(crate) use work::cleaned;

pub use runs::{
    CancelRunRequest, RunInlineRequest, RunOutputRequest, RunScriptRequest, RunsRequest, RunsResponse,
    ScheduleScriptRequest, ScriptRun,
};

use crate::MarketPorts;
use crate::task_management::ScheduleRow;
use crate::workshop::places::Places;

/// The queue that runs are tasks of.
const QUEUE: &str = "scripts";
/// Their type.
const RUN: &str = "run";
/// How long the task of a run is held without a renewal. An end that is asked for is heard of within a third of it.
const LEASE: Duration = Duration::from_secs(6);
/// Longest run, in seconds.
const TIME_SECONDS_MAX: u32 = 900;
/// What a run may take over its own limit: to be made ready, and to be ended.
const SPARE_TIME: Duration = Duration::from_secs(60);

/// `[servers.scripts]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many scripts one process runs at once; more wait for their turn: 1 to 64.
    pub runs_at_once: usize,
    /// How long a script may take that does not say otherwise, in seconds: 1 to 900.
    pub time_seconds: u32,
    /// How much memory the processes of a script may have together, in MiB: 32 to 65,536.
    pub memory_mib: u32,
    /// How much a script may write into its folder, in MiB: 1 to 4,096. It is in memory, beside `memory_mib`.
    pub disk_mib: u32,
    /// How many processes a script may have at once: 1 to 1,024.
    pub processes: u32,
    /// Whether scripts that an administrator saved with `network` may reach the network: all that this machine reaches, the fleet's own doors
    /// too.
    pub allow_network: bool,
    /// Folders that projects may be in which a run is given to read (`project`), beside the workspace `scripts/projects` in the data folder.
    pub roots: Vec<PathBuf>,
    /// A Rust toolchain that runs with a project see as /rust (its bin/ has cargo and rustc), where the system's own is not wanted.
    pub rust_dir: Option<PathBuf>,
    /// How much memory the processes of a run with a project may have together, in MiB: 256 to 65,536.
    pub project_memory_mib: u32,
    /// How much such a run may keep in its folder /keep, in MiB: 16 to 65,536.
    pub project_disk_mib: u32,
    /// How many processes and threads such a run may have at once: 16 to 4,096.
    pub project_processes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runs_at_once: 2,
            time_seconds: 60,
            memory_mib: 256,
            disk_mib: 64,
            processes: 32,
            allow_network: false,
            roots: Vec::new(),
            rust_dir: None,
            project_memory_mib: 2_048,
            project_disk_mib: 2_048,
            project_processes: 512,
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), Fault> {
        let figures = [
            ("runs_at_once", self.runs_at_once as u64, 1, 64),
            ("time_seconds", self.time_seconds.into(), 1, TIME_SECONDS_MAX.into()),
            ("memory_mib", self.memory_mib.into(), 32, 65_536),
            ("disk_mib", self.disk_mib.into(), 1, 4_096),
            ("processes", self.processes.into(), 1, 1_024),
            ("project_memory_mib", self.project_memory_mib.into(), 256, 65_536),
            ("project_disk_mib", self.project_disk_mib.into(), 16, 65_536),
            ("project_processes", self.project_processes.into(), 16, 4_096),
        ];
        if let Some(root) = self.roots.iter().chain(&self.rust_dir).find(|folder| !folder.is_absolute()) {
            return Err(
                Fault::invalid(format!("servers.scripts has the folder `{}`", root.display())).hint("absolute paths")
            );
        }
        match figures.iter().find(|(_, figure, least, most)| !(*least..=*most).contains(figure)) {
            None => Ok(()),
            Some((name, figure, least, most)) => {
                Err(Fault::invalid(format!("servers.scripts.{name} is {figure}")).hint(format!("{least} to {most}")))
            }
        }
    }
}

/// What a script is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// jq, in the fleet's own process: arithmetic, text and JSON, and nothing of the outside. At most 8 KiB.
    Jq,
    /// The system's POSIX shell, shut in.
    Sh,
    /// The system's Python 3, shut in.
    Python,
}

/// The server.
pub struct Scripts {
    clock: kernel::Clock,
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    schedules: Schedules,
    jail: Arc<dyn Jail>,
    config: Config,
    places: Places,
    /// Why the last script of the system could not be run, if it could not.
    trouble: Mutex<Option<Fault>>,
}

impl McpServer for Scripts {
    const NAME: &'static str = "scripts";
    const INSTRUCTIONS: &'static str = "Automation scripts, kept in versions and run in a sandbox. Languages: jq (embedded: arithmetic, text, JSON; \
        nothing of the outside), sh and python (the system's, shut in: read-only system, a private folder /work that is gone after the run, \
        no network unless an administrator granted it, bounded CPU, memory, disk, processes, time and output). run_inline runs a text once; \
        save_script keeps one under a name, each change a new version, and run_script runs it. Both wait a while and answer with the output, or \
        with a run that is still going: run_output waits on. `end` says how a run ended; an exit code other than 0 is the script's own word. \
        With project a run sees a folder of the machine as /project, to be read, and has /keep to write, which stays. Arguments are $1, sys.argv or jq's `$args`; input is stdin, for jq the JSON or text that it is. What jq puts out is also in `result`. \
        Texts, arguments and output can be read by everybody with a key: put no secrets in them.";
    type Config = Config;
    type Ports = MarketPorts;

    fn new(ports: &MarketPorts, config: Config) -> Result<Self, Fault> {
        config.check()?;
        let MarketPorts { kernel, jail, projects, .. } = ports;
        Ok(Self {
            places: Places::new(
                Self::NAME,
                "builds",
                &config.roots,
                projects.as_ref().map(|foundry| foundry.with_file_name("scripts")),
            ),
            clock: kernel.clock.clone(),
            store: Arc::clone(&kernel.store),
            queue: Arc::clone(&kernel.queue),
            schedules: Schedules::new(Arc::clone(&kernel.store), Arc::clone(&kernel.queue), kernel.clock.clone()),
            jail: Arc::clone(jail),
            config,
            trouble: Mutex::default(),
        })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(LIST_SCRIPTS, Self::list_scripts);
        set.add(GET_SCRIPT, Self::get_script);
        set.add(SAVE_SCRIPT, Self::save_script);
        set.add(DELETE_SCRIPT, Self::delete_script);
        set.add(RUN_SCRIPT, Self::run_script);
        set.add(RUN_INLINE, Self::run_inline);
        set.add(RUNS, Self::runs);
        set.add(RUN_OUTPUT, Self::run_output);
        set.add(CANCEL_RUN, Self::cancel_run);
        set.add(SCHEDULE_SCRIPT, Self::schedule_script);
    }
}

#[async_trait]
impl Features for Scripts {
    async fn start(self: Arc<Self>, ports: Ports) -> Result<(), Fault> {
        let time_max = Duration::from_secs(TIME_SECONDS_MAX.into()) + SPARE_TIME;
        let policy = Policy { attempts_max: 1, ..Policy::default() };
        let handler = work::Runner { server: Arc::clone(&self), tasks: ports.tasks.clone() };
        let worker = Worker::new(QUEUE, kernel::ids::new_id("scripts"))
            .at_once(self.config.runs_at_once)
            .lease(LEASE)
            .takes(RUN, policy, time_max, handler);
        let Ports { clock, metrics, tasks, queue, .. } = ports.clone();
        ports.tasks.spawn("script runs", OnEnd::StopOwner, async move {
            if let Err(fault) = worker.run(Means { queue, clock, metrics, tasks }).await {
                tracing::error!(%fault, "scripts cannot be run");
            }
        });
        Ok(())
    }

    async fn health(&self) -> Vec<Check> {
        let queue = match self.queue.counts().await {
            Ok(counts) => {
                let ours = counts.iter().filter(|of| of.queue == QUEUE);
                let (waiting, running) =
                    ours.fold((0, 0), |(waiting, running), of| (waiting + of.queued, running + of.running));
                Check::healthy("queue", format!("{waiting} runs wait, {running} go on"))
            }
            Err(fault) => Check::down("queue", fault.to_string()),
        };
        let jail = match &*self.trouble.lock() {
            None => Check::healthy("sandbox", "no script was refused"),
            Some(fault) => Check::degraded("sandbox", fault.to_string()),
        };
        vec![queue, jail]
    }
}

tools! { Scripts::NAME;
    /// Lists the scripts that are kept, by name.
    LIST_SCRIPTS = "list_scripts": fn(ListScriptsRequest) -> ListScriptsResponse, Hints::READ;
    /// Shows a script's text, of its latest version or of one you name, and which versions there are.
    GET_SCRIPT = "get_script": fn(GetScriptRequest) -> Script, Hints::READ;
    /// Saves a script under a name; a changed text is a new version, and the versions before stay.
    SAVE_SCRIPT = "save_script": fn(SaveScriptRequest) -> SaveScriptResponse, Hints { idempotent: true, ..Hints::OPERATE };
    /// Deletes a script with all its versions; runs that were made of it stay.
    DELETE_SCRIPT = "delete_script": fn(DeleteScriptRequest) -> DeleteScriptResponse, Hints { idempotent: false, ..Hints::SET };
    /// Runs a script that is kept, in the sandbox, and waits a while for its output.
    RUN_SCRIPT = "run_script": fn(RunScriptRequest) -> ScriptRun, Hints::OPERATE.open_world();
    /// Executes code (sh, Python or jq) once without keeping it, in the sandbox and without a network, and waits a while for its output.
    RUN_INLINE = "run_inline": fn(RunInlineRequest) -> ScriptRun, Hints::OPERATE;
    /// Lists the runs of scripts, newest first: of one script, of one caller, in one state.
    RUNS = "runs": fn(RunsRequest) -> RunsResponse, Hints::READ;
    /// Tells how a script's run stands and its output; may wait for its end.
    RUN_OUTPUT = "run_output": fn(RunOutputRequest) -> ScriptRun, Hints::READ;
    /// Cancels a script's run: at once if it waits; one that goes on is killed with all its processes.
    CANCEL_RUN = "cancel_run": fn(CancelRunRequest) -> ScriptRun, Hints { idempotent: false, ..Hints::SET };
    /// Schedules a script: runs it by cron expression, by interval or once; task-management shows, pauses and deletes its schedule.
    SCHEDULE_SCRIPT = "schedule_script": fn(ScheduleScriptRequest) -> ScheduleRow, Hints::SET;
}
