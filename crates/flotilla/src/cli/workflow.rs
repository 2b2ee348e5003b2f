//! `workflow`: define, start and follow workflows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use kernel::Fault;
use serde_json::{Value, json};

use super::{Global, api::Api, output};

/// Define, start and follow workflows.
#[derive(Debug, clap::Args)]
pub struct Workflow {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a definition without keeping it
    Validate {
        /// The definition: YAML or JSON
        file: PathBuf,
    },
    /// Keep a version of a definition
    Define {
        /// The definition: YAML or JSON
        #[arg(required_unless_present = "playbook")]
        file: Option<PathBuf>,
        /// A shipped playbook instead
        #[arg(long, conflicts_with = "file")]
        playbook: Option<String>,
    },
    /// List definitions
    List {
        /// The playbooks that are shipped
        #[arg(long)]
        shipped: bool,
    },
    /// Start a run
    Start {
        /// Which: `namespace/name`, or `namespace/name/version`
        workflow: String,
        /// Its input, as JSON
        #[arg(long)]
        input: Option<String>,
        /// The same key is the same run
        #[arg(long)]
        key: Option<String>,
        /// Wait for it to end or to wait for something, in seconds, at most 45
        #[arg(long, default_value_t = 0)]
        wait: u64,
    },
    /// Show how a run stands
    Status {
        /// The run
        run: String,
    },
    /// Approve what a run asks, for exactly the arguments of this hash
    Approve(Answer),
    /// Reject what a run asks
    Reject(Answer),
    /// End a run and undo what it did
    Cancel {
        /// The run
        run: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Show what happened in a run
    History {
        /// The run
        run: String,
    },
    /// Draw a run or a definition as a Mermaid flowchart
    Diagram {
        /// A run's id, or `namespace/name`
        of: String,
    },
    /// List runs, the newest first
    Runs {
        /// Only of this workflow: `namespace/name`
        #[arg(long)]
        workflow: Option<String>,
        /// Only those that stand so: pending, running, waiting, completed, faulted, cancelled
        #[arg(long)]
        status: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

#[derive(Debug, clap::Args)]
struct Answer {
    /// The run
    run: String,
    /// The hash that `workflow status` shows
    hash: String,
    /// Which of its questions
    #[arg(long)]
    step: Option<String>,
    /// Why
    #[arg(long)]
    comment: Option<String>,
}

impl Answer {
    fn arguments(self) -> Value {
        with(json!({ "run": self.run, "hash": self.hash }), &[("step", self.step), ("comment", self.comment)])
    }
}

/// The object with what was given.
fn with(mut arguments: Value, more: &[(&str, Option<String>)]) -> Value {
    for (name, value) in more {
        if let Some(value) = value {
            arguments[name] = value.as_str().into();
        }
    }
    arguments
}

fn read(file: &PathBuf) -> Result<String, Fault> {
    std::fs::read_to_string(file).map_err(|error| Fault::not_found(format!("{}: {error}", file.display())))
}

impl Workflow {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        let call = async |tool: &str, arguments: Value| api.call(&format!("orchestration__{tool}"), arguments).await;
        match self.action {
            Action::Validate { file } => {
                let found = call("validate_workflow", json!({ "definition": read(&file)? })).await?;
                return validated(&file, &found, global.json);
            }
            Action::Define { file, playbook } => {
                let definition = file.as_ref().map(read).transpose()?;
                let kept =
                    call("define_workflow", with(json!({}), &[("definition", definition), ("playbook", playbook)]))
                        .await?;
                defined(&kept, global.json)?;
            }
            Action::List { shipped } => {
                let found = call("list_workflows", json!({ "shipped": shipped })).await?;
                let columns = ["namespace", "name", "version", "by", "title"];
                table(&found, "workflows", &columns, global.json)?;
            }
            Action::Start { workflow, input, key, wait } => {
                let mut arguments = with(json!({ "workflow": workflow, "wait_seconds": wait }), &[("key", key)]);
                if let Some(input) = input {
                    arguments["input"] = serde_json::from_str(&input).map_err(|error| {
                        Fault::invalid(format!("--input is not JSON: {error}")).hint("--input '{\"name\": …}'")
                    })?;
                }
                shown(&call("start", arguments).await?, global.json)?;
            }
            Action::Status { run } => shown(&call("status", json!({ "run": run })).await?, global.json)?,
            Action::Approve(answer) => shown(&call("approve", answer.arguments()).await?, global.json)?,
            Action::Reject(answer) => shown(&call("reject", answer.arguments()).await?, global.json)?,
            Action::Cancel { run, reason } => {
                shown(&call("cancel", with(json!({ "run": run }), &[("reason", reason)])).await?, global.json)?;
            }
            Action::History { run } => {
                let mut after = json!(0);
                while !after.is_null() {
                    let mut page = call("history", json!({ "run": run, "after": after })).await?;
                    page["transitions"]
                        .as_array()
                        .map_or(&[][..], Vec::as_slice)
                        .iter()
                        .try_for_each(|entry| output::line(&entry.to_string()))?;
                    after = page["next"].take();
                }
            }
            Action::Diagram { of } => {
                let of = if of.starts_with("run_") { json!({ "run": of }) } else { json!({ "workflow": of }) };
                output::line(text(&call("diagram", of).await?["mermaid"]).trim_end())?;
            }
            Action::Runs { workflow, status, limit } => {
                let found =
                    call("list_runs", with(json!({ "limit": limit }), &[("workflow", workflow), ("status", status)]))
                        .await?;
                table(&found, "runs", &["run", "workflow", "status", "started_by", "steps"], global.json)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn defined(kept: &Value, json: bool) -> Result<(), Fault> {
    if json {
        return output::json(kept);
    }
    let verb = if kept["created"] == true { "defined" } else { "unchanged:" };
    let [namespace, name, version] = ["namespace", "name", "version"].map(|part| text(&kept[part]));
    output::line(&format!("{verb} {namespace}/{name}/{version}"))?;
    for warning in rows(&kept["warnings"]) {
        let place = format!("line {}, column {}", warning["line"], warning["column"]);
        output::say(&format!("{place}: {} ({})", text(&warning["message"]), text(&warning["hint"])));
    }
    missing(kept);
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn rows(found: &Value) -> &[Value] {
    found.as_array().map_or(&[], Vec::as_slice)
}

fn table(found: &Value, list: &str, columns: &[&str], as_json: bool) -> Result<(), Fault> {
    if as_json {
        return output::json(&found[list]);
    }
    let cells = rows(&found[list]).iter().map(|row| columns.iter().map(|column| output::cell(&row[*column])).collect());
    output::table(columns, &cells.collect::<Vec<_>>())
}

/// Says which tools are not there.
fn missing(found: &Value) {
    for tool in rows(&found["missing_tools"]) {
        output::say(&format!(
            "there is no tool {}__{} now ({})",
            text(&tool["server"]),
            text(&tool["tool"]),
            text(&tool["path"])
        ));
    }
}

fn validated(file: &std::path::Path, found: &Value, as_json: bool) -> Result<ExitCode, Fault> {
    let valid = found["valid"] == true;
    if as_json {
        output::json(found)?;
    } else {
        for problem in rows(&found["problems"]).iter().chain(rows(&found["warnings"])) {
            let place = format!("{}:{}:{}", file.display(), problem["line"], problem["column"]);
            output::line(&format!(
                "{place}: {} ({}) [{}]",
                text(&problem["message"]),
                text(&problem["hint"]),
                text(&problem["path"])
            ))?;
        }
        missing(found);
        output::say(if valid { "the definition is valid" } else { "the definition is not valid" });
    }
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A run for people.
fn shown(run: &Value, as_json: bool) -> Result<(), Fault> {
    if as_json {
        return output::json(run);
    }
    output::line(&format!("{} {} {}", text(&run["run"]), text(&run["status"]), text(&run["workflow"])))?;
    for (name, value) in [("output", &run["output"]), ("error", &run["error"])] {
        if !value.is_null() {
            output::line(&format!("  {name}: {value}"))?;
        }
    }
    for asked in rows(&run["questions"]) {
        output::line(&format!("  asks: {} {}", text(&asked["title"]), asked["arguments"]))?;
        output::line(&format!("    flotilla workflow approve {} {}", text(&run["run"]), text(&asked["hash"])))?;
    }
    rows(&run["waits_for"]).iter().try_for_each(|what| output::line(&format!("  waits for {}", text(what))))
}
