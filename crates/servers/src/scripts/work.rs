//! What does runs: takes the order out of a task, and hands it to the engine of its language.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use flow::worker::{Done, Handler, Job};
use kernel::Tasks;
use kernel::jail::{self, Bounds, End, Mount, Program};
use mcp::prelude::*;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::library::Text;
use super::{Language, Scripts, embedded};
use crate::workshop::ADDRESS_BYTES;
use crate::workshop::places::Kept;

/// How much of what a script writes is kept, in bytes.
pub(super) const STDOUT_BYTES_MAX: usize = 64 << 10;
/// How much of what it complains is kept, in bytes. Both together fit a task's result, however they are written in JSON.
const STDERR_BYTES_MAX: usize = 12 << 10;

/// The payload of a run's task. It grants nothing: whoever may submit tasks may write one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub(super) what: What,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) arguments: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) stdin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time_limit_seconds: Option<u32>,
    /// Looked up when it is run: a task that names a folder has no more of it than whoever runs scripts may give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<String>,
}

/// Which script.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum What {
    /// One that is kept; the latest version when it is run, if none is named.
    Kept {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    },
    /// A text.
    Inline { language: Language, code: String },
}

/// The result of a run's task.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) exit_code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memory_peak_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u32>,
    /// Where what it wrote into /keep is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept_in: Option<String>,
}

/// Does the tasks.
pub(super) struct Runner {
    pub(super) server: Arc<Scripts>,
    pub(super) tasks: Tasks,
}

#[async_trait]
impl Handler for Runner {
    async fn run(&self, job: Job) -> Result<Done, Fault> {
        let order: Order = serde_json::from_value(job.task.payload.clone()).map_err(|error| {
            Fault::invalid(format!("not the order of a run: {error}")).hint("run_script makes them")
        })?;
        let (language, code, network, version) = match order.what {
            What::Inline { language, code } => (language, code, false, None),
            What::Kept { name, version } => {
                let Text { version, code } = self.server.text(&name, version).await?;
                (version.language, code, version.network, Some(version.version))
            }
        };
        if network && !self.server.config.allow_network {
            return Err(Fault::denied("the script needs the network, which scripts of this fleet have not")
                .hint("set servers.scripts.allow_network, or save it without network"));
        }
        let Order { arguments, environment, stdin, time_limit_seconds, project, .. } = order;
        let bounds = self.bounds(time_limit_seconds, project.is_some());
        let stop = job.cancelled.clone();
        let outcome = match language {
            Language::Jq if project.is_some() => {
                return Err(
                    Fault::invalid("a project for a jq script").hint("jq has no way to files; sh and python do")
                );
            }
            Language::Jq => {
                let script = embedded::Script { code, arguments, environment, stdin };
                self.embedded(script, bounds.time, stop).await?
            }
            Language::Sh | Language::Python => {
                let language = if language == Language::Sh { jail::Language::Sh } else { jail::Language::Python };
                let (mounts, kept) = self.mounts(project.as_deref(), &stop).await?;
                let program = Program { language, text: code, arguments, environment, stdin, network, mounts, bounds };
                let outcome = self.shut_in(&program, stop).await?;
                // Held until now: one run at a time writes there.
                let kept_in = kept.map(|kept| kept.folder.display().to_string());
                Outcome { kept_in, ..outcome }
            }
        };
        if outcome.end == End::Cancelled {
            return Err(Fault::cancelled("the script was ended"));
        }
        let outcome = Outcome { version, ..outcome };
        let result = serde_json::to_value(&outcome).map_err(|error| Fault::internal(format!("an outcome: {error}")))?;
        Ok(Done::from(result))
    }
}

impl Runner {
    /// The folders of the machine that a run with a project is given, and the one that it may write, held.
    async fn mounts(
        &self,
        project: Option<&str>,
        stop: &CancellationToken,
    ) -> Result<(Vec<Mount>, Option<Kept>), Fault> {
        let Some(asked) = project else { return Ok((Vec::new(), None)) };
        let project = self.server.places.folder(asked)?;
        let kept = tokio::select! {
            kept = self.server.places.keep(&project) => kept?,
            () = stop.cancelled() => return Err(Fault::cancelled("it was taken back before its turn")),
        };
        let mount = |from: &std::path::Path, name, write| Mount { from: from.to_owned(), name, write };
        let mut mounts = vec![mount(&project.path, "project", false), mount(&kept.folder, "keep", true)];
        mounts.extend(self.server.config.rust_dir.as_deref().map(|rust| mount(rust, "rust", false)));
        Ok((mounts, Some(kept)))
    }

    fn bounds(&self, time_limit_seconds: Option<u32>, project: bool) -> Bounds {
        let config = &self.server.config;
        let seconds = time_limit_seconds.unwrap_or(config.time_seconds).clamp(1, super::TIME_SECONDS_MAX);
        let (memory_mib, disk_mib, processes) = match project {
            true => (config.project_memory_mib, config.project_disk_mib, config.project_processes),
            false => (config.memory_mib, config.disk_mib, config.processes),
        };
        let memory_bytes = u64::from(memory_mib) << 20;
        Bounds {
            time: Duration::from_secs(seconds.into()),
            cpu_seconds: seconds,
            memory_bytes,
            // Compilers and JavaScript engines ask for far more than they use.
            address_bytes: if project { ADDRESS_BYTES } else { memory_bytes },
            disk_bytes: u64::from(disk_mib) << 20,
            processes,
            stdout_bytes: STDOUT_BYTES_MAX,
            stderr_bytes: STDERR_BYTES_MAX,
        }
    }

    async fn shut_in(&self, program: &Program, stop: CancellationToken) -> Result<Outcome, Fault> {
        let ran = self.server.jail.run(program, stop).await;
        *self.server.trouble.lock() = ran.as_ref().err().cloned();
        let ran = ran?;
        Ok(Outcome {
            end: ran.end,
            exit_code: ran.exit_code,
            stdout: cleaned(&ran.stdout),
            stderr: cleaned(&ran.stderr),
            result: None,
            memory_peak_bytes: Some(ran.memory_peak_bytes),
            version: None,
            kept_in: None,
        })
    }

    async fn embedded(
        &self,
        script: embedded::Script,
        time: Duration,
        stop: CancellationToken,
    ) -> Result<Outcome, Fault> {
        let now_ms = self.server.clock.now_ms();
        tokio::select! {
            outcome = embedded::run(script, &self.tasks, now_ms, time) => outcome,
            // It goes on to its own bounds, and nobody hears of it.
            () = stop.cancelled() => Err(Fault::cancelled("the script was ended")),
        }
    }
}

/// Text that can be kept and shown: no control characters but tabs and ends of lines.
pub(crate) fn cleaned(text: &str) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(plain).collect()
}
