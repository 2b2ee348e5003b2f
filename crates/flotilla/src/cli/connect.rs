//! `connect`: writes an MCP client's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use kernel::Fault;
use serde_json::{Value, json};

use super::{Global, output};
use crate::config::variable;
use crate::data::DataDir;

/// Set up an MCP client.
#[derive(Debug, clap::Args)]
pub struct Connect {
    /// Which client
    client: Client,
    /// Connect to this server only, instead of the whole fleet
    #[arg(long)]
    server: Option<String>,
    /// The name under which the client lists the fleet
    #[arg(long, default_value = "flotilla")]
    name: String,
    /// Print what would be written, write nothing
    #[arg(long)]
    print: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Client {
    /// Claude Desktop: starts `flotilla mcp`
    Claude,
    /// Claude Code: `.mcp.json` in the current folder
    ClaudeCode,
    /// Cursor: `~/.cursor/mcp.json`
    Cursor,
    /// VS Code: `.vscode/mcp.json` in the current folder
    Vscode,
}

impl Connect {
    /// Runs the command. The key is not written: every client starts `flotilla mcp`, which reads it from the data folder.
    pub fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let loaded = global.load(Vec::new())?;
        let data = DataDir::open(&loaded.config.fleet.data_dir)?;
        let program = std::env::current_exe().map_err(|error| Fault::internal(format!("own path: {error}")))?;
        let mut arguments = vec!["--data-dir".to_owned(), data.path().display().to_string(), "mcp".to_owned()];
        arguments.extend(self.server.clone());
        let mut entry = json!({ "command": program, "args": arguments });
        let (path, table) = match self.client {
            Client::Claude => (home()?.join(claude_desktop()), "mcpServers"),
            Client::ClaudeCode => (PathBuf::from(".mcp.json"), "mcpServers"),
            Client::Cursor => (home()?.join(".cursor/mcp.json"), "mcpServers"),
            Client::Vscode => {
                entry["type"] = "stdio".into();
                (PathBuf::from(".vscode/mcp.json"), "servers")
            }
        };
        let mut whole = read(&path)?;
        whole[table][&self.name] = entry;
        if self.print {
            output::json(&whole)?;
            return Ok(ExitCode::SUCCESS);
        }
        write(&path, &whole)?;
        if global.json {
            output::json(&json!({ "written": path, "name": self.name }))?;
        } else {
            output::say(&format!("{} now lists `{}`; restart the client to see it", path.display(), self.name));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn home() -> Result<PathBuf, Fault> {
    variable("HOME")
        .map(PathBuf::from)
        .ok_or_else(|| Fault::not_found("HOME is not set").hint("set it to your home folder"))
}

const fn claude_desktop() -> &'static str {
    if cfg!(target_os = "macos") {
        "Library/Application Support/Claude/claude_desktop_config.json"
    } else {
        ".config/Claude/claude_desktop_config.json"
    }
}

/// The client's configuration as it is; what is not ours in it stays.
fn read(path: &Path) -> Result<Value, Fault> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(json!({})),
        Ok(text) => match serde_json::from_str(&text) {
            Ok(value @ Value::Object(_)) => Ok(value),
            _ => Err(Fault::invalid(format!("{} is not a JSON object", path.display()))
                .hint("mend it (comments are not JSON), or use --print and paste")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(json!({})),
        Err(error) => Err(Fault::unavailable(format!("{} cannot be read: {error}", path.display()))),
    }
}

fn write(path: &Path, value: &Value) -> Result<(), Fault> {
    let failed = |error: std::io::Error| Fault::unavailable(format!("{} cannot be written: {error}", path.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let text = serde_json::to_string_pretty(value).map_err(|error| Fault::internal(error.to_string()))?;
    // Written beside and moved into place, so that a crash leaves the old file or the new one.
    let fresh = path.with_extension("json.new");
    fs::write(&fresh, format!("{text}\n")).and_then(|()| fs::rename(&fresh, path)).map_err(failed)
}
