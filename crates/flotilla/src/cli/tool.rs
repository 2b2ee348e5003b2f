//! `tool`: find, describe and call.

use std::process::ExitCode;

use clap::Subcommand;
use kernel::Fault;
use serde_json::{Map, Value, json};

use super::{Global, api::Api, output};

/// Find, describe and call tools.
#[derive(Debug, clap::Args)]
pub struct Tool {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List every tool
    List {
        /// Only this server's
        #[arg(long)]
        server: Option<String>,
    },
    /// Find tools by what they do
    Find {
        /// What you want to do, in a few words
        #[arg(required = true)]
        words: Vec<String>,
    },
    /// Show a tool's description and schemas
    Describe {
        /// Its name, as `server__tool`
        name: String,
    },
    /// Call a tool
    Call {
        /// Its name, as `server__tool`
        name: String,
        /// Arguments as `name=value`; a value that is JSON is taken as JSON
        arguments: Vec<String>,
        /// All arguments as one JSON object
        #[arg(long, conflicts_with = "arguments")]
        args: Option<String>,
    },
}

impl Tool {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        match self.action {
            Action::List { server } => list(&api, server.as_deref(), global.json).await?,
            Action::Find { words } => {
                let found = api.call("master-coordinator__find_tools", json!({ "query": words.join(" ") })).await?;
                if global.json {
                    output::json(&found)?
                } else {
                    print(found["tools"].as_array().map_or(&[], Vec::as_slice))?
                }
            }
            Action::Describe { name } => {
                output::json(&api.call("master-coordinator__describe_tool", json!({ "name": name })).await?)?;
            }
            Action::Call { name, arguments, args } => {
                let arguments = match args {
                    Some(text) => serde_json::from_str(&text)
                        .map_err(|error| Fault::invalid(format!("--args is not JSON: {error}")))?,
                    None if arguments.is_empty() => Value::Object(Map::new()),
                    None => pairs(&arguments, &parameters_of(&api, &name).await?)?,
                };
                output::json(&api.call(&name, arguments).await?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(api: &Api, server: Option<&str>, as_json: bool) -> Result<(), Fault> {
    let (mut tools, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let params = cursor.map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
        let mut page = api.mcp("tools/list", params).await?;
        if let Value::Array(some) = page["tools"].take() {
            tools.extend(some);
        }
        cursor = page["nextCursor"].as_str().map(ToOwned::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    if let Some(server) = server {
        let prefix = format!("{server}__");
        tools.retain(|tool| tool["name"].as_str().is_some_and(|name| name.starts_with(&prefix)));
    }
    if as_json { output::json(&tools) } else { print(&tools) }
}

fn print(tools: &[Value]) -> Result<(), Fault> {
    const WIDTH: usize = 90;
    let rows: Vec<Vec<String>> = tools
        .iter()
        .map(|tool| {
            let about: String = output::cell(&tool["description"]).chars().take(WIDTH).collect();
            vec![output::cell(&tool["name"]), about]
        })
        .collect();
    output::table(&["tool", "what it does"], &rows)
}

/// The schema of what a tool takes.
async fn parameters_of(api: &Api, name: &str) -> Result<Value, Fault> {
    let mut described = api.call("master-coordinator__describe_tool", json!({ "name": name })).await?;
    Ok(described["definition"]["inputSchema"]["properties"].take())
}

/// `name=value` words as an object. A value is JSON where it can be read so and the tool takes more than text there: amounts are text,
/// however much they look like numbers.
fn pairs(words: &[String], parameters: &Value) -> Result<Value, Fault> {
    let mut arguments = Map::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| {
            Fault::invalid(format!("argument `{word}` has no `=`")).hint("write name=value, or --args '{\"name\": …}'")
        })?;
        let as_text = takes_only_text(&parameters[name]);
        let read = if as_text { None } else { serde_json::from_str(value).ok() };
        arguments.insert(name.to_owned(), read.unwrap_or_else(|| Value::from(value)));
    }
    Ok(Value::Object(arguments))
}

/// Whether a schema says that nothing but text (or nothing at all) fits.
fn takes_only_text(schema: &Value) -> bool {
    match &schema["type"] {
        Value::String(kind) => kind == "string",
        Value::Array(kinds) => kinds.iter().all(|kind| kind == "string" || kind == "null"),
        _ => false,
    }
}
