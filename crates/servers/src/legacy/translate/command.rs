//! Commands: the v1 REST form, and what people type into chat.

use kernel::aliases::{Aliases, SEPARATOR};
use kernel::{Fault, catalog};
use serde_json::{Map, Value, json};

use super::{Translated, call};

/// `{"command", "args"}`, sent to `server` or to the one that `server` or `target` in it names.
pub(super) async fn v1(
    aliases: &Aliases,
    fields: &Map<String, Value>,
    server: Option<&str>,
) -> Result<Translated, Fault> {
    let command = fields.get("command").and_then(Value::as_str).filter(|command| !command.trim().is_empty());
    let command = command
        .ok_or_else(|| Fault::invalid("`command` is not text").hint(r#"{"command": "system_status", "args": {}}"#))?;
    let named = fields.get("server").or_else(|| fields.get("target")).and_then(Value::as_str);
    let server = named.or(server).unwrap_or(catalog::COORDINATOR);
    let mut explanation =
        vec!["POST /execute is the v1 form: commands are tools now, called by tools/call on POST /mcp".to_owned()];
    let tool = tool_name(aliases, server, command, &mut explanation).await?;
    let arguments = arguments(fields.get("args").unwrap_or(&Value::Null), &mut explanation);
    explanation.push(format!(
        "on the coordinator's port a tool is called server{SEPARATOR}tool; on a server's own port by its name alone"
    ));
    Ok(Translated { understood_as: "v1-execute".into(), steps: vec![call(1.into(), &tool, arguments)], explanation })
}

/// Today's name of a server's command.
async fn tool_name(aliases: &Aliases, server: &str, command: &str, notes: &mut Vec<String>) -> Result<String, Fault> {
    let given = format!("{}{SEPARATOR}{}", server.trim().to_lowercase().replace('_', "-"), snake(command));
    let tool = aliases.resolve(&given).await?;
    if let Some(tool) = &tool {
        notes.push(format!("`{given}` is called `{tool}` today"));
    } else if snake(command) != command {
        notes.push(format!("names are written like `{}` today", snake(command)));
    }
    let tool = tool.unwrap_or(given);
    let service = tool.split(SEPARATOR).next().unwrap_or_default();
    if catalog::server_named(service).is_none() {
        notes.push(format!("no server `{service}` is built in this version: list_services and list_upstreams of the coordinator name those there are"));
    } else {
        notes.push(format!("whether `{tool}` takes these arguments, describe_tool of the coordinator says"));
    }
    Ok(tool)
}

/// `getBlock`, `get-block` and `Get Block` as `get_block`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut before_lower = false;
    for c in name.trim().chars() {
        if c.is_uppercase() && before_lower {
            snake.push('_');
        }
        before_lower = c.is_lowercase() || c.is_ascii_digit();
        snake.extend(if c == '-' || c == ' ' || c == '.' { '_' } else { c }.to_lowercase());
    }
    snake
}

/// Arguments by name. Words `name=value` are; bare ones are left for the caller to name.
fn arguments(args: &Value, notes: &mut Vec<String>) -> Value {
    let words: Vec<String> = match args {
        Value::Object(_) => return args.clone(),
        Value::Null => Vec::new(),
        Value::Array(words) => {
            words.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), ToOwned::to_owned)).collect()
        }
        Value::String(text) => text.split_whitespace().map(ToOwned::to_owned).collect(),
        other => vec![other.to_string()],
    };
    let mut named = Map::new();
    let mut bare = Vec::new();
    for word in words {
        match word.split_once('=').filter(|(name, _)| !name.is_empty()) {
            Some((name, value)) => {
                let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                named.insert(name.to_owned(), value);
            }
            None => bare.push(format!("`{word}`")),
        }
    }
    if !bare.is_empty() {
        notes.push(format!(
            "arguments have names today: give {} under the names that the tool's inputSchema has",
            bare.join(", ")
        ));
    }
    Value::Object(named)
}

/// `!status` and its like. They still work where they were typed; this is their call.
pub(super) async fn chat(aliases: &Aliases, text: &str) -> Result<Translated, Fault> {
    let mut words = text.trim().trim_start_matches(['!', '/']).split_whitespace();
    let command = words.next().unwrap_or_default().to_lowercase();
    let words: Vec<&str> = words.collect();
    let mut explanation = vec!["chat commands go on; a program calls the tool behind them".to_owned()];
    let word = |place: usize| words.get(place).copied();
    let arguments = match command.as_str() {
        "status" | "servers" | "agents" | "metrics" => json!({}),
        "execute" => {
            let target = word(0).ok_or_else(|| missing("!execute <target|all> <command>"))?;
            let command = word(1).ok_or_else(|| missing("!execute <target|all> <command>"))?;
            json!({ "target": service(aliases, target, &mut explanation).await?, "command": snake(command) })
        }
        "restart" => {
            let name = word(1).ok_or_else(|| missing("!restart <server|agent> <name>"))?;
            let kind = if word(0) == Some("agent") { "agent" } else { "server" };
            json!({ "service": service(aliases, name, &mut explanation).await?, "kind": kind })
        }
        "logs" => {
            let name = word(0).ok_or_else(|| missing("!logs <service> [lines]"))?;
            let mut arguments = json!({ "service": service(aliases, name, &mut explanation).await? });
            if let Some(lines) = word(1).and_then(|lines| lines.parse::<u32>().ok()) {
                arguments["limit"] = lines.into();
            }
            arguments
        }
        "alert" => json!({ "severity": word(0).unwrap_or("warning") }),
        _ => {
            return Err(Fault::invalid(format!("`{text}` is no command"))
                .hint("!status, !servers, !agents, !execute, !restart, !logs, !metrics or !alert"));
        }
    };
    let tool = tool_name(aliases, catalog::COORDINATOR, &command, &mut explanation).await?;
    Ok(Translated { understood_as: "chat-command".into(), steps: vec![call(1.into(), &tool, arguments)], explanation })
}

async fn service(aliases: &Aliases, name: &str, notes: &mut Vec<String>) -> Result<String, Fault> {
    let today = aliases.resolve(name).await?;
    if let Some(today) = &today {
        notes.push(format!("`{name}` is called `{today}` today"));
    }
    Ok(today.unwrap_or_else(|| name.to_owned()))
}

fn missing(form: &str) -> Fault {
    Fault::invalid("the command lacks a word").hint(form)
}
