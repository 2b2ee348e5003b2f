//! Carries commands out, through tools, with the hands of whoever asked; and says what came of it.

use kernel::catalog::{self, COORDINATOR};
use kernel::fleet::Kind;
use kernel::logs::Line;
use kernel::{Access, Fault, Role};
use serde_json::{Value, json};
use servers::logging::{SEARCH, SearchRequest};
use servers::monitoring::{QUERY_METRICS, QueryMetricsRequest, TEST_ALERT, TestAlertRequest};

use super::answer::{Answer, Tone};
use super::command::Command;
use crate::hands::Hands;

/// The fleet's figures: what each is, and how it is computed.
const FIGURES: [(&str, &str); 10] = [
    ("servers healthy", "count(mcp_server_health == 1)"),
    ("agents healthy", "count(mcp_agent_health == 1)"),
    ("calls a second", "sum(rate(mcp_commands_total[5m]))"),
    ("calls failed, %", "100 * sum(rate(mcp_commands_total{outcome!=\"ok\"}[5m])) / sum(rate(mcp_commands_total[5m]))"),
    (
        "95 of 100 calls within, ms",
        "1000 * histogram_quantile(0.95, sum by (le) (rate(mcp_response_time_seconds_bucket[5m])))",
    ),
    ("tasks waiting", "sum(flotilla_queue_depth)"),
    ("tasks running", "sum(flotilla_queue_running)"),
    ("open connections", "sum(flotilla_connections)"),
    ("log lines a second", "sum(rate(flotilla_log_lines_total[5m]))"),
    ("newest block", "max(flotilla_chain_head_block)"),
];

/// Whether a command changes anything, and so wants a confirmation.
pub(super) async fn changes(command: &Command, hands: &Hands) -> bool {
    let Command::Execute { target, command, args } = command else {
        return matches!(command, Command::Restart { .. });
    };
    if looks_only(command, args) {
        return false;
    }
    // What a single service has may be known to look only; of anything else nobody knows.
    let known = json!({ "name": format!("{target}__{command}") });
    let Ok(tool) = hands.look(COORDINATOR, "describe_tool", &known).await else { return true };
    let hints = &tool["definition"]["annotations"];
    !(tool["access"] == "read" && hints["readOnlyHint"] == true)
}

/// Words that every service understands and that change nothing.
fn looks_only(command: &str, args: &[String]) -> bool {
    args.is_empty() && ["status", "health", "tools"].contains(&command)
}

/// What a command is, in the words that it is confirmed by.
pub(super) fn title_of(command: &Command) -> String {
    match command {
        Command::Status => "status".into(),
        Command::Servers => "servers".into(),
        Command::Agents => "agents".into(),
        Command::Metrics => "metrics".into(),
        Command::Execute { target, command, args } => {
            format!("execute {target} {command} {}", args.join(" ")).trim_end().to_owned()
        }
        Command::Restart { kind, name } => format!("restart {} {name}", kind_of(*kind)),
        Command::Logs { service, lines } => format!("logs {service} {lines}"),
        Command::Alert { severity } => format!("alert {}", severity.as_str()),
    }
}

fn kind_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Server => "server",
        Kind::Agent => "agent",
    }
}

/// Does it.
pub(super) async fn carry_out(command: &Command, role: &Role, hands: &Hands) -> Result<Answer, Fault> {
    let none = json!({});
    match command {
        Command::Status => Ok(status(&hands.look(COORDINATOR, "system_status", &none).await?)),
        Command::Servers => {
            Ok(services("servers", &hands.look(COORDINATOR, "list_services", &none).await?["services"]))
        }
        Command::Agents => Ok(services("agents", &hands.look(COORDINATOR, "list_agents", &none).await?["agents"])),
        Command::Metrics => metrics(hands).await,
        Command::Logs { service, lines } => logs(service, *lines, hands).await,
        Command::Execute { target, command, args } => execute(target, command, args, role, hands).await,
        Command::Restart { kind, name } => {
            let reason = "asked for by chat";
            let asked = json!({ "service": name, "kind": kind, "reason": reason });
            let answer = hands.call_named(COORDINATOR, "restart_service", &asked).await?;
            let copies = answer["instances"].as_array().map_or(0, Vec::len);
            let what = catalog::role(*kind, name);
            Ok(Answer::new(Tone::Good, format!("{what} was restarted"), format!("{copies} running")))
        }
        Command::Alert { severity } => {
            let asked = TestAlertRequest { severity: *severity, summary: None, seconds: None };
            let fired = hands.call(TEST_ALERT, &asked).await?;
            let text = format!("{}: {}\nit resolves itself; id {}", fired.severity.as_str(), fired.summary, fired.id);
            Ok(Answer::new(Tone::Good, "A test alert fires", text))
        }
    }
}

async fn execute(target: &str, command: &str, args: &[String], role: &Role, hands: &Hands) -> Result<Answer, Fault> {
    // Whoever may only look may still ask how services stand; the coordinator gives commands to operators alone.
    if !role.allows(Access::Operate) && looks_only(command, args) && command == "status" {
        return stand(target, hands).await;
    }
    let asked = json!({ "target": target, "command": command, "args": args });
    let given = Command::Execute { target: target.into(), command: command.into(), args: args.into() };
    let answer = match changes(&given, hands).await {
        true => hands.call_named(COORDINATOR, "route_command", &asked).await?,
        false => hands.look(COORDINATOR, "route_command", &asked).await?,
    };
    let (done, failed) = (answer["succeeded"].as_u64().unwrap_or(0), answer["failed"].as_u64().unwrap_or(0));
    let tone = if failed == 0 {
        Tone::Good
    } else if done == 0 {
        Tone::Bad
    } else {
        Tone::Warning
    };
    let rows = answer["answers"].as_array().into_iter().flatten().map(|row| {
        let said = match row["ok"] == true {
            true => one_line(&row["result"]),
            false => format!("{}: {}", word(&row["error"]["code"]), word(&row["error"]["message"])),
        };
        let kind = row["kind"].as_str().map(|kind| format!("{kind} ")).unwrap_or_default();
        format!("{kind}{}: {said}", word(&row["target"]))
    });
    let text = rows.collect::<Vec<_>>().join("\n");
    Ok(Answer::new(tone, format!("{command} of {target}"), text).note(format!("{done} did it, {failed} did not")))
}

/// How the services stand that a target names, for who may only look.
async fn stand(target: &str, hands: &Hands) -> Result<Answer, Fault> {
    let servers = hands.look(COORDINATOR, "list_services", &json!({})).await?;
    let agents = hands.look(COORDINATOR, "list_agents", &json!({})).await?;
    let all = servers["services"].as_array().into_iter().chain(agents["agents"].as_array()).flatten();
    let names: Vec<&str> = target.split(',').map(str::trim).collect();
    let meant = |row: &&Value| {
        let (name, kind) = (word(&row["name"]), word(&row["kind"]));
        names.iter().any(|want| *want == "all" || *want == name || *want == format!("{kind}s"))
    };
    let rows: Value = all.filter(meant).cloned().collect();
    match rows.as_array().is_some_and(|rows| rows.is_empty()) {
        true => Err(Fault::not_found(format!("no service `{target}`")).hint("!servers and !agents list them")),
        false => Ok(services(target, &rows)),
    }
}

/// A value as one line: what is a text as it is, anything else as JSON.
fn one_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.contains_key("status") && fields.contains_key("instances") => {
            let restarts = value["restarts"].as_u64().unwrap_or(0);
            format!("{}, {} running, {restarts} restarts", word(&value["status"]), value["instances"])
        }
        other => other.to_string(),
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn tone_of(status: &str) -> Tone {
    match status {
        "healthy" => Tone::Good,
        "degraded" | "starting" | "stopping" => Tone::Warning,
        _ => Tone::Bad,
    }
}

fn status(fleet: &Value) -> Answer {
    let mut rows = vec![("mode".to_owned(), word(&fleet["mode"]).to_owned())];
    for what in ["servers", "agents", "upstreams"] {
        let (healthy, total) =
            (fleet[what]["healthy"].as_u64().unwrap_or(0), fleet[what]["total"].as_u64().unwrap_or(0));
        if total > 0 {
            rows.push((what.to_owned(), format!("{healthy} of {total} healthy")));
        }
    }
    for (name, part) in fleet["infrastructure"].as_object().into_iter().flatten() {
        let backend = part["backend"].as_str().or(part["detail"].as_str()).unwrap_or_default();
        rows.push((name.clone(), format!("{} ({backend})", word(&part["status"]))));
    }
    let firing = fleet["alerts"].as_object().into_iter().flatten().filter(|(_, count)| **count != 0);
    let firing: Vec<String> = firing.map(|(severity, count)| format!("{count} {severity}")).collect();
    let firing = if firing.is_empty() { "none".to_owned() } else { firing.join(", ") };
    rows.push(("alerts".into(), firing));
    let stands = word(&fleet["status"]);
    let minutes = fleet["uptime_seconds"].as_u64().unwrap_or(0) / 60;
    Answer::new(tone_of(stands), format!("The fleet is {stands}"), columns(&rows)).note(format!(
        "version {}, up for {} h {} min",
        word(&fleet["version"]),
        minutes / 60,
        minutes % 60
    ))
}

/// Servers or agents, a line each.
fn services(what: &str, rows: &Value) -> Answer {
    let all: Vec<&Value> = rows.as_array().into_iter().flatten().collect();
    let healthy = all.iter().filter(|row| row["status"] == "healthy").count();
    let line = |row: &&Value| {
        let (copies, restarts) = (row["instances"].as_u64().unwrap_or(0), row["restarts"].as_u64().unwrap_or(0));
        let mut text =
            format!("{:<8} {:>5}  {copies} running", word(&row["status"]), row["port"].as_u64().unwrap_or(0));
        if restarts > 0 {
            text.push_str(&format!(", {restarts} restarts"));
        }
        if row["status"] != "healthy" {
            text.push_str(row["last_error"].as_str().map(|error| format!(": {error}")).unwrap_or_default().as_str());
        }
        (word(&row["name"]).to_owned(), text)
    };
    let rows: Vec<(String, String)> = all.iter().map(line).collect();
    let tone = if healthy == all.len() { Tone::Good } else { Tone::Warning };
    Answer::new(tone, format!("{healthy} of {} {what} healthy", all.len()), columns(&rows))
}

/// Two columns.
fn columns(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(name, text)| format!("{name:<width$}  {text}")).collect::<Vec<_>>().join("\n")
}

/// The fleet's figures now.
pub(super) async fn metrics(hands: &Hands) -> Result<Answer, Fault> {
    let mut rows = Vec::new();
    for (what, query) in FIGURES {
        let asked = QueryMetricsRequest { query: query.into(), ..QueryMetricsRequest::default() };
        let answer = hands.call(QUERY_METRICS, &asked).await?;
        let value = answer.series.first().map(|series| series.value.0).filter(|value| value.is_finite());
        rows.push((what.to_owned(), value.map_or_else(|| "-".to_owned(), figure)));
    }
    Ok(Answer::new(Tone::Plain, "Metrics", columns(&rows)))
}

/// A figure with as many places as it needs.
fn figure(value: f64) -> String {
    let places = if value.fract() == 0.0 || value.abs() >= 1_000.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.places$}")
}

async fn logs(service: &str, lines: u32, hands: &Hands) -> Result<Answer, Fault> {
    let asked = SearchRequest { service: Some(service.to_owned()), limit: Some(lines), ..SearchRequest::default() };
    let mut found = hands.call(SEARCH, &asked).await?.lines;
    found.reverse();
    let title = format!("Logs of {service}");
    if found.is_empty() {
        return Ok(Answer::new(Tone::Plain, title, "no lines are kept under this name"));
    }
    let text = found.iter().map(|line| line_of(line, false)).collect::<Vec<_>>().join("\n");
    Ok(Answer::new(Tone::Plain, title, text).note(format!("{} lines, the newest last", found.len())))
}

/// A log line as one line of text.
pub(super) fn line_of(line: &Line, named: bool) -> String {
    let time = kernel::clock::timestamp(line.at_ms);
    let fields = if line.fields.is_null() { String::new() } else { format!(" {}", line.fields) };
    let service = if named { format!(" {}", line.service) } else { String::new() };
    format!("{time} {}{service} {}{fields}", line.level.as_str(), line.message.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_fleets_status_in_a_few_lines() {
        let fleet = json!({
            "status": "degraded", "mode": "full", "version": "1.0.0", "uptime_seconds": 7_500,
            "servers": { "total": 21, "healthy": 20 }, "agents": { "total": 10, "healthy": 10 }, "upstreams": { "total": 0 },
            "infrastructure": { "store": { "status": "healthy", "backend": "SQLite" } },
            "alerts": { "critical": 1, "warning": 0 },
        });
        let answer = status(&fleet);
        expect![[r#"
            mode     full
            servers  20 of 21 healthy
            agents   10 of 10 healthy
            store    healthy (SQLite)
            alerts   1 critical"#]]
        .assert_eq(&answer.text);
        assert_eq!((answer.title.as_str(), answer.tone), ("The fleet is degraded", Tone::Warning));
        assert_eq!(answer.note, "version 1.0.0, up for 2 h 5 min");
    }

    #[test]
    fn services_in_columns_with_why_one_is_down() {
        let rows = json!([
            { "name": "risk-management", "status": "healthy", "port": 4014, "instances": 2, "restarts": 0 },
            { "name": "ui", "status": "down", "port": 4016, "instances": 0, "restarts": 3, "last_error": "port taken" },
        ]);
        let answer = services("servers", &rows);
        expect![[r#"
            risk-management  healthy   4014  2 running
            ui               down      4016  0 running, 3 restarts: port taken"#]]
        .assert_eq(&answer.text);
        assert_eq!(answer.title, "1 of 2 servers healthy");
    }

    #[test]
    fn a_figure_has_the_places_it_needs() {
        let shown = [0.0, 3.0, 0.1234, 12.34, 1_234.5, 21_000_000.0].map(figure);
        assert_eq!(shown, ["0", "3", "0.12", "12.3", "1234", "21000000"]);
    }
}
