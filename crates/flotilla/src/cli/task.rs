//! `task`: submit, look, cancel, retry.

use std::process::ExitCode;

use clap::Subcommand;
use kernel::clock::timestamp;
use kernel::{Code, Fault};
use serde_json::{Value, json};

use super::{Global, api::Api, output};

/// Submit tasks, look at them, cancel and retry them.
#[derive(Debug, clap::Args)]
pub struct Task {
    #[command(subcommand)]
    action: Action,
}

/// A task to be submitted, to whichever queue.
#[derive(Debug, clap::Args)]
pub(super) struct Submission {
    /// The type of task
    #[arg(value_name = "TYPE")]
    task_type: String,
    /// What it is to be done with, as JSON
    #[arg(default_value = "{}")]
    payload: String,
    /// 0 to 9; a higher one goes first
    #[arg(long)]
    priority: Option<u8>,
    /// Not before so many seconds from now
    #[arg(long, value_name = "SECONDS")]
    delay: Option<u64>,
    /// Attempts before it is a dead letter
    #[arg(long)]
    attempts: Option<u32>,
    /// The idempotency key: submitting again with it gives the same task
    #[arg(long)]
    key: Option<String>,
}

impl Submission {
    /// What a submission says of it.
    pub(super) fn fields(self) -> Result<Value, Fault> {
        let payload: Value = serde_json::from_str(&self.payload)
            .map_err(|error| Fault::invalid(format!("the payload is not JSON: {error}")))?;
        Ok(given(&[
            ("task_type", json!(self.task_type)),
            ("payload", payload),
            ("priority", json!(self.priority)),
            ("delay_seconds", json!(self.delay)),
            ("attempts_max", json!(self.attempts)),
            ("key", json!(self.key)),
        ]))
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Submit a task to the agent or pool of workers that does it
    Submit {
        /// The queue: an agent's name, or a pool's
        queue: String,
        #[command(flatten)]
        task: Submission,
    },
    /// Show how a task stands and what came of it
    Get {
        /// Its id, as task_17
        id: String,
    },
    /// List tasks, newest first
    List {
        /// Only of this queue
        #[arg(long)]
        queue: Option<String>,
        /// Only of this type
        #[arg(long = "type", value_name = "TYPE")]
        task_type: Option<String>,
        /// Only in this state: delayed, queued, running, done, dead, cancelled
        #[arg(long)]
        state: Option<String>,
        /// How many, at most 200
        #[arg(default_value_t = 50)]
        limit: u64,
    },
    /// Cancel a task: at once if it waits, by asking its worker if it runs
    Cancel {
        /// Its id
        id: String,
    },
    /// Let a dead, cancelled or delayed task begin at once
    Retry {
        /// Its id
        id: String,
    },
    /// Give the dead letters of a queue new attempts
    Requeue {
        /// The queue
        queue: String,
        /// Only of this type
        #[arg(long = "type", value_name = "TYPE")]
        task_type: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 500)]
        limit: u64,
    },
    /// Show how much waits in each queue, how old it is and how fast it goes
    Queues,
}

impl Task {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        match self.action {
            Action::Submit { queue, task } => {
                let mut arguments = task.fields()?;
                arguments["queue"] = json!(queue);
                let answer = call(&api, "submit_task", arguments).await?;
                if global.json { output::json(&answer)? } else { output::line(&output::cell(&answer["id"]))? }
            }
            Action::Get { id } => output::json(&call(&api, "get_task", json!({ "id": id })).await?)?,
            Action::List { queue, task_type, state, limit } => {
                let arguments = given(&[
                    ("queue", json!(queue)),
                    ("task_type", json!(task_type)),
                    ("state", json!(state)),
                    ("limit", json!(limit)),
                ]);
                let answer = call(&api, "list_tasks", arguments).await?;
                if global.json { output::json(&answer["tasks"])? } else { print_tasks(&answer["tasks"])? }
            }
            Action::Cancel { id } => changed(&call(&api, "cancel_task", json!({ "id": id })).await?, global.json)?,
            Action::Retry { id } => changed(&call(&api, "retry_task", json!({ "id": id })).await?, global.json)?,
            Action::Requeue { queue, task_type, limit } => {
                let arguments =
                    given(&[("queue", json!(queue)), ("task_type", json!(task_type)), ("limit", json!(limit))]);
                let answer = call(&api, "requeue", arguments).await?;
                let count = answer["requeued"].as_array().map_or(0, Vec::len);
                if global.json {
                    output::json(&answer)?
                } else {
                    output::say(&format!("{count} tasks may begin again"))
                }
            }
            Action::Queues => {
                let answer = call(&api, "queues", json!({})).await?;
                if global.json { output::json(&answer["queues"])? } else { print_queues(&answer["queues"])? }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The arguments that were given.
pub(super) fn given(all: &[(&str, Value)]) -> Value {
    all.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

async fn call(api: &Api, tool: &str, arguments: Value) -> Result<Value, Fault> {
    api.call(&format!("task-management__{tool}"), arguments).await.map_err(|fault| match fault.code {
        // That the tool is not there, not that the task is not.
        Code::InvalidArgument if fault.message.contains("task-management__") => {
            fault.hint("this fleet runs without task-management: `flotilla serve task-management`")
        }
        _ => fault,
    })
}

fn changed(task: &Value, as_json: bool) -> Result<(), Fault> {
    if as_json {
        return output::json(task);
    }
    let asked = if task["cancelling"] == true { ", its worker is asked to stop" } else { "" };
    output::say(&format!("{} is {}{asked}", output::cell(&task["id"]), output::cell(&task["state"])));
    Ok(())
}

fn print_tasks(tasks: &Value) -> Result<(), Fault> {
    let row = |task: &Value| {
        let at = task["submitted_ms"].as_i64().map(timestamp).unwrap_or_default();
        let tries = format!("{}/{}", task["attempts"], task["attempts_max"]);
        let cells = ["id", "queue", "task_type", "state"].map(|name| output::cell(&task[name]));
        let mut cells = Vec::from(cells);
        cells.extend([tries, output::cell(&task["caller"]), at, output::cell(&task["failure"]["message"])]);
        cells
    };
    let rows: Vec<_> = tasks.as_array().into_iter().flatten().map(row).collect();
    output::table(&["id", "queue", "type", "state", "attempts", "caller", "submitted", "failure"], &rows)
}

fn print_queues(queues: &Value) -> Result<(), Fault> {
    const FIELDS: [&str; 7] = ["queue", "queued", "delayed", "running", "dead", "oldest_seconds", "ended_per_minute"];
    let row = |queue: &Value| FIELDS.map(|field| output::cell(&queue[field])).to_vec();
    let rows: Vec<_> = queues.as_array().into_iter().flatten().map(row).collect();
    output::table(&["queue", "queued", "delayed", "running", "dead", "oldest s", "ended/min"], &rows)
}
