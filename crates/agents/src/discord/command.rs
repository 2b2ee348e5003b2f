//! The bot's commands: one type, read from `!status` and from `/status` alike, and declared to Discord as slash commands.

use kernel::fleet::Kind;
use kernel::limits::nearest;
use kernel::{Fault, catalog};
use serde_json::{Value, json};
use servers::monitoring::Severity;

/// Most lines of logs that may be asked for.
pub(super) const LINES_MAX: u32 = 500;
/// How many lines of logs there are unless told otherwise.
const LINES: u32 = 20;
/// Most words of one command.
const WORDS_MAX: usize = 64;

/// A command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Status,
    Servers,
    Agents,
    Execute { target: String, command: String, args: Vec<String> },
    Restart { kind: Kind, name: String },
    Logs { service: String, lines: u32 },
    Metrics,
    Alert { severity: Severity },
}

/// How each is called, how it is used, and what it does.
pub(super) const COMMANDS: [(&str, &str, &str); 8] = [
    ("status", "status", "How the whole fleet stands"),
    ("servers", "servers", "Lists the MCP servers"),
    ("agents", "agents", "Lists the agents"),
    ("execute", "execute <target|all> <command> [arguments]", "Gives a command to one service, several, or all"),
    ("restart", "restart <server|agent> <name>", "Restarts a server or an agent"),
    ("logs", "logs <service> [lines]", "Shows the newest log lines of a service"),
    ("metrics", "metrics", "Shows the fleet's figures"),
    ("alert", "alert [info|warning|critical]", "Fires a test alert, which resolves itself"),
];

/// Reads a message that begins with `!`. Nothing when its first word is not, and is not nearly, one of ours: other bots listen to `!` too.
pub(super) fn spoken(text: &str) -> Option<Result<Command, Fault>> {
    let words = words(text.strip_prefix('!')?);
    let (name, rest) = words.split_first()?;
    let name = name.to_lowercase();
    let known: Vec<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
    if !known.contains(&name.as_str()) {
        let near = nearest(&name, &known)?;
        return Some(Err(Fault::invalid(format!("there is no command `!{}`", super::answer::inert(&name)))
            .hint(format!("did you mean `!{near}`?"))));
    }
    Some(of_words(&name, rest))
}

/// Reads a slash command.
///
/// # Errors
/// When it is none of ours, or an option is wrong.
pub(super) fn slashed(name: &str, options: &[(String, String)]) -> Result<Command, Fault> {
    let value = |name: &str| options.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let order: &[&str] = match name {
        "execute" => &["target", "command"],
        "restart" => &["kind", "name"],
        "logs" => &["service", "lines"],
        "alert" => &["level"],
        _ => &[],
    };
    let mut given: Vec<String> = order.iter().map_while(|name| value(name)).collect();
    given.extend(value("args").into_iter().flat_map(|args| words(&args)));
    of_words(name, &given)
}

fn of_words(name: &str, rest: &[String]) -> Result<Command, Fault> {
    let usage = COMMANDS.iter().find(|(known, ..)| *known == name).map(|(_, usage, _)| *usage);
    let usage = usage.ok_or_else(|| Fault::not_found("there is no such command"))?;
    let bad = |what: &str| Fault::invalid(format!("{name}: {what}")).hint(format!("{usage}, after ! or /"));
    let takes = match name {
        "execute" => 2..=WORDS_MAX,
        "restart" => 2..=2,
        "logs" => 1..=2,
        "alert" => 0..=1,
        _ => 0..=0,
    };
    if !takes.contains(&rest.len()) {
        return Err(bad(if rest.len() < *takes.start() { "something is missing" } else { "too many words" }));
    }
    let word = |at: usize| rest.get(at).map(String::as_str);
    Ok(match name {
        "status" => Command::Status,
        "servers" => Command::Servers,
        "agents" => Command::Agents,
        "metrics" => Command::Metrics,
        "execute" => Command::Execute { target: targets(&rest[0]), command: rest[1].clone(), args: rest[2..].to_vec() },
        "restart" => {
            let kind = match word(0) {
                Some("server") => Kind::Server,
                Some("agent") => Kind::Agent,
                _ => return Err(bad("neither a server nor an agent")),
            };
            Command::Restart { kind, name: service(&rest[1]).1 }
        }
        "logs" => {
            let lines = word(1).map_or(Ok(LINES), str::parse).ok().filter(|lines| (1..=LINES_MAX).contains(lines));
            let lines = lines.ok_or_else(|| bad(&format!("lines are a number from 1 to {LINES_MAX}")))?;
            Command::Logs { service: service(&rest[0]).1, lines }
        }
        _ => {
            let severity = match word(0).unwrap_or("warning") {
                "info" => Severity::Info,
                "warning" => Severity::Warning,
                "critical" => Severity::Critical,
                _ => return Err(bad("the level is info, warning or critical")),
            };
            Command::Alert { severity }
        }
    })
}

/// A service as people write it: its name, or that of its container.
pub(super) fn service(text: &str) -> (Option<Kind>, String) {
    for (prefix, kind) in [(catalog::AGENT, Kind::Agent), ("agent-", Kind::Agent), ("mcp-", Kind::Server)] {
        if let Some(name) = text.strip_prefix(prefix) {
            return (Some(kind), name.to_owned());
        }
    }
    (None, text.to_owned())
}

/// The same for targets, which may be several.
fn targets(text: &str) -> String {
    text.split(',').map(|one| service(one.trim()).1).collect::<Vec<_>>().join(",")
}

/// The words of a text; double quotes keep some together.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            c if c.is_whitespace() && !quoted => {
                if any && words.len() <= WORDS_MAX {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if any && words.len() <= WORDS_MAX {
        words.push(word);
    }
    words
}

/// The slash commands, as Discord is told of them.
pub(super) fn declared() -> Value {
    let text = |name: &str, about: &str| json!({ "type": 3, "name": name, "description": about, "required": true });
    let maybe = |mut option: Value| {
        option["required"] = json!(false);
        option
    };
    let of = |mut option: Value, choices: &[&str]| {
        option["choices"] = choices.iter().map(|choice| json!({ "name": choice, "value": choice })).collect();
        option
    };
    let options = |name: &str| match name {
        "execute" => json!([
            text("target", "A service, several with commas between, or all"),
            text("command", "status, health, tools, restart, or the name of a tool"),
            maybe(text("args", "The tool's arguments, as name=value or in their order")),
        ]),
        "restart" => json!([of(text("kind", "What it is"), &["server", "agent"]), text("name", "Its name")]),
        "logs" => json!([
            text("service", "Its name"),
            { "type": 4, "name": "lines", "description": "How many", "required": false, "min_value": 1, "max_value": LINES_MAX },
        ]),
        "alert" => json!([maybe(of(text("level", "How bad"), &["info", "warning", "critical"]))]),
        _ => json!([]),
    };
    COMMANDS
        .iter()
        .map(|(name, _, about)| json!({ "type": 1, "name": name, "description": about, "options": options(name) }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        let got = match spoken(text) {
            None => "nothing".to_owned(),
            Some(Ok(command)) => format!("{command:?}"),
            Some(Err(fault)) => fault.to_string(),
        };
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn what_people_write_is_read() {
        check("!status", "Status");
        check("!STATUS ", "Status");
        check("!servers now", "invalid_argument: servers: too many words (servers, after ! or /)");
        check("!execute all status", r#"Execute { target: "all", command: "status", args: [] }"#);
        check(
            r#"!execute mcp-utilities, hash text="a b" x"#,
            r#"Execute { target: "utilities,", command: "hash", args: ["text=a b", "x"] }"#,
        );
        check("!restart server execution", r#"Restart { kind: Server, name: "execution" }"#);
        check("!restart agent agent:risk", r#"Restart { kind: Agent, name: "risk" }"#);
        check(
            "!restart it now",
            "invalid_argument: restart: neither a server nor an agent (restart <server|agent> <name>, after ! or /)",
        );
        check("!logs mcp-execution 50", r#"Logs { service: "execution", lines: 50 }"#);
        check(
            "!logs x 501",
            "invalid_argument: logs: lines are a number from 1 to 500 (logs <service> [lines], after ! or /)",
        );
        check("!alert", "Alert { severity: Warning }");
        check("!alert critical", "Alert { severity: Critical }");
        check("!stauts", "invalid_argument: there is no command `!stauts` (did you mean `!status`?)");
        check("!play never gonna", "nothing");
        check("!", "nothing");
        check("status", "nothing");
    }

    #[test]
    fn a_slash_command_is_the_same_command() {
        let slash = |name: &str, options: &[(&str, &str)]| {
            let options: Vec<_> = options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            slashed(name, &options).unwrap()
        };
        let spoken = |text: &str| spoken(text).unwrap().unwrap();
        assert_eq!(slash("logs", &[("lines", "5"), ("service", "risk")]), spoken("!logs risk 5"));
        let execute = [("target", "all"), ("command", "hash"), ("args", "text=1 sha256")];
        assert_eq!(slash("execute", &execute), spoken("!execute all hash text=1 sha256"));
        assert_eq!(slash("alert", &[]), spoken("!alert"));
        assert!(slashed("other", &[]).is_err());
    }

    #[test]
    fn what_is_declared_keeps_to_discords_limits() {
        for command in declared().as_array().unwrap() {
            let name = command["name"].as_str().unwrap();
            let of_options = command["options"].as_array().unwrap().iter();
            let required: Vec<bool> = of_options.clone().map(|option| option["required"] == true).collect();
            assert!(required.is_sorted_by(|a, b| a >= b), "{name}: what must be given comes first");
            for one in of_options.chain([command]) {
                assert!((1..=100).contains(&one["description"].as_str().unwrap().len()), "{one}");
                assert!((1..=32).contains(&one["name"].as_str().unwrap().len()), "{one}");
            }
        }
    }
}
