//! `agent`: what agents there are, what they do, and having them do it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use kernel::catalog::AGENT;
use kernel::clock::timestamp;
use kernel::{Code, Fault};
use serde::Deserialize;
use serde_json::{Value, json};

use super::task::{Submission, given};
use super::{Global, api::Api, exit_code, output, server, status};

/// How often a task that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Look at agents and give them tasks.
#[derive(Debug, clap::Args)]
pub struct Agent {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the agents
    List,
    /// Show an agent: how it stands, and each type of task that it does
    Show {
        /// Its name
        name: String,
    },
    /// Give an agent a task
    Submit {
        /// The agent's name
        name: String,
        #[command(flatten)]
        task: Submission,
        /// Wait for its end, at most so many seconds, and print what came of it
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "600")]
        wait: Option<u64>,
    },
    /// Show what an agent did, newest first: why, with which tools, what came of it
    Runs {
        /// The agent's name
        name: String,
        /// Only of this duty or type of task
        #[arg(long)]
        duty: Option<String>,
        /// How many, at most 500
        #[arg(default_value_t = 20)]
        limit: u64,
    },
    /// Restart an agent
    Restart {
        /// Its name
        name: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
}

impl Agent {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        match self.action {
            Action::List => status::list(global, &["/agents"]).await,
            Action::Show { name } => show(global, &name).await,
            Action::Submit { name, task, wait } => submit(global, &name, &task.fields()?, wait).await,
            Action::Runs { name, duty, limit } => runs(global, &name, duty, limit).await,
            Action::Restart { name, reason } => server::Restart::of(format!("{AGENT}{name}"), reason).run(global).await,
        }
    }
}

async fn show(global: &Global, name: &str) -> Result<ExitCode, Fault> {
    let api = Api::connect(global)?;
    let answer = api.call("master-coordinator__describe_agent", json!({ "agent": name })).await?;
    if global.json {
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = &answer["agent"];
    let at = row["url"].as_str().map(|url| format!(" at {url}")).unwrap_or_default();
    output::line(&format!("{}: {}{at}", output::cell(&row["name"]), output::cell(&row["status"])))?;
    if let Some(about) = row["about"].as_str().filter(|about| !about.is_empty()) {
        output::line(about)?;
    }
    let fields = |of: &Value| {
        let names = of["payload"]["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
        names.collect::<Vec<_>>().join(", ")
    };
    let rows = answer["task_types"].as_array().into_iter().flatten().map(|of| {
        let access = of["access"].as_str().unwrap_or_default().to_owned();
        vec![output::cell(&of["name"]), access, fields(of), of["about"].as_str().unwrap_or_default().to_owned()]
    });
    output::table(&["task type", "access", "payload", "what it does"], &rows.collect::<Vec<_>>())?;
    if answer["any"] == true {
        output::say("it takes tasks of any other type as well");
    }
    Ok(ExitCode::SUCCESS)
}

async fn submit(global: &Global, name: &str, body: &Value, wait: Option<u64>) -> Result<ExitCode, Fault> {
    let api = Api::connect(global)?;
    let answer = api.post(&format!("/agents/{name}/tasks"), body).await?;
    let Some(seconds) = wait else {
        if global.json {
            output::json(&answer)?
        } else {
            output::line(&output::cell(&answer["id"]))?
        }
        return Ok(ExitCode::SUCCESS);
    };
    let id = answer["id"].as_str().unwrap_or_default().to_owned();
    output::say(&format!("waiting for {id}"));
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut said = Value::Null;
    loop {
        let task = api.get(&format!("/tasks/{id}")).await?;
        if let Some(code) = ended(&task, global.json)? {
            return Ok(code);
        }
        if task["progress"] != said {
            said = task["progress"].clone();
            output::say(&format!("{id}: {}", said["message"].as_str().unwrap_or_default()));
        }
        if tokio::time::Instant::now() >= until {
            return Err(Fault::timeout(format!("{id} is {} after {seconds} s", output::cell(&task["state"])))
                .hint(format!("it goes on: `flotilla task get {id}`")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Prints what came of a task that has ended: what it gave, or with `--json` all of it.
fn ended(task: &Value, as_json: bool) -> Result<Option<ExitCode>, Fault> {
    let failure = &task["failure"];
    let code = match task["state"].as_str() {
        Some("done") => ExitCode::SUCCESS,
        Some("dead") => exit_code(Code::deserialize(&failure["code"]).unwrap_or(Code::Internal)),
        Some("cancelled") => exit_code(Code::Cancelled),
        _ => return Ok(None),
    };
    match (as_json, task["state"] == "done") {
        (true, _) => output::json(task)?,
        (false, true) => output::json(&task["result"])?,
        (false, false) => {
            let why = failure["message"].as_str().unwrap_or("it was cancelled");
            output::say(&format!("{} is {}: {why}", output::cell(&task["id"]), output::cell(&task["state"])));
        }
    }
    Ok(Some(code))
}

async fn runs(global: &Global, name: &str, duty: Option<String>, limit: u64) -> Result<ExitCode, Fault> {
    let api = Api::connect(global)?;
    let arguments = given(&[("agent", json!(name)), ("duty", json!(duty)), ("limit", json!(limit))]);
    let answer = api.call("master-coordinator__agent_runs", arguments).await?;
    if global.json {
        output::json(&answer["runs"])?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |run: &Value| {
        let at = run["began_ms"].as_i64().map(timestamp).unwrap_or_default();
        let cause = match &run["cause"] {
            Value::String(word) => word.clone(),
            cause => {
                let by = cause["task"]["id"].as_str().or_else(|| cause["asked"]["caller"].as_str());
                by.unwrap_or("events").to_owned()
            }
        };
        let calls = run["calls"].as_array().map_or(0, Vec::len).to_string();
        let outcome: String = run["outcome"].as_str().unwrap_or_default().chars().take(100).collect();
        vec![at, output::cell(&run["duty"]), cause, output::cell(&run["standing"]), calls, outcome]
    };
    let rows: Vec<_> = answer["runs"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["began", "duty or task", "why", "standing", "calls", "outcome"], &rows)?;
    Ok(ExitCode::SUCCESS)
}
