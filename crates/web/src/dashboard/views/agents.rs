//! Agents and the tasks that they and workers in other programs do: depth, age, leases, attempts, dead letters.

use kernel::Fault;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::query::encoded;
use crate::dashboard::words::{self, Act, facts, items, service_path, settled, shown, state, table, text};

/// Where it is.
pub const PATH: &str = "/ui/agents";
/// How many tasks of a kind are shown.
const MOST: usize = 20;
/// Longest message of a failure, in characters.
const MESSAGE_CHARS_MAX: usize = 200;
/// The server whose tools do all of it.
const TASKS: &str = "task-management";

/// The page; `?queue=` narrows it to one queue.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let queue = query.get("queue");
    let tasks = |state: &str| look.read(TASKS, "list_tasks", json!({ "queue": queue, "state": state, "limit": MOST }));
    let (agents, queues, running, queued, delayed, dead) = tokio::join!(
        look.read(COORDINATOR, "list_agents", json!({})),
        look.read(TASKS, "queues", json!({ "queue": queue })),
        tasks("running"),
        tasks("queued"),
        tasks("delayed"),
        look.read(TASKS, "dead_letters", json!({ "queue": queue, "limit": MOST })),
    );
    let filter =
        html! { @if let Some(queue) = queue { p { "Only queue " b { (queue) } ". " a href=(PATH) { "All queues" } } } };
    Page::new("Agents and tasks", PATH)
        .live("agents", html! { h2 { "Agents" } (shown(&agents, agents_table)) })
        .live("queues", html! { h2 { "Queues" } (filter) (shown(&queues, |all| queues_table(look, all))) })
        .live("running", html! { h2 { "Running" } (shown(&running, |all| running_table(look, all))) })
        .live("waiting", html! { h2 { "Waiting" } (waiting(look, &queued, &delayed)) })
        .live("dead", html! { h2 { "Dead letters" } (shown(&dead, |all| dead_table(look, all))) })
}

fn agents_table(all: &Value) -> Markup {
    let rows = items(&all["agents"]).map(|agent| {
        let name = text(&agent["name"]);
        vec![
            html! { a href=(service_path("agent", &name)) { b { (name) } } },
            state(&text(&agent["status"])),
            html! { (text(&agent["about"])) },
            html! { @for kind in items(&agent["task_types"]) { code { (text(kind)) } " " } },
            html! { a href={ (PATH) "?queue=" (encoded(&name)) } { "its tasks" } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("None runs in this mode: `flotilla up --mode full` starts all.");
    }
    table(&["agent", "state", "what it is for", "types of task", "tasks"], rows)
}

fn queues_table(look: &Look, all: &Value) -> Markup {
    let rows = items(&all["queues"]).map(|queue| {
        let name = text(&queue["queue"]);
        let dead = queue["dead"].as_u64().unwrap_or(0);
        let done = format!("dead letters of {name} begin again");
        let requeue = Act { server: TASKS, tool: "requeue", label: "Begin them again", done: &done, grave: false };
        vec![
            html! { a href={ (PATH) "?queue=" (encoded(&name)) } { b { (name) } } },
            html! { (text(&queue["queued"])) },
            html! { (words::duration(queue["oldest_seconds"].as_u64().unwrap_or(0))) },
            html! { (text(&queue["delayed"])) },
            html! { (text(&queue["running"])) },
            html! { (text(&queue["ended_per_minute"])) },
            html! { @if dead > 0 { span.bad { "■ " (dead) } (words::act(look, requeue, &settled("queue", &name))) } @else { "0" } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("No task has been submitted yet: `flotilla agent task` or an agent's tools submit one.");
    }
    table(&["queue", "could begin", "oldest", "delayed", "running", "ended a minute", "dead letters"], rows)
}

fn task_cells(task: &Value) -> Vec<Markup> {
    let id = text(&task["id"]);
    vec![
        html! { a href={ "/ui/tasks/" (encoded(&id)) } { code { (id) } } },
        html! { b { (text(&task["queue"])) } " " (text(&task["task_type"])) },
        html! { (text(&task["attempts"])) " of " (text(&task["attempts_max"])) },
        html! { (text(&task["caller"])) },
    ]
}

fn cancel(look: &Look, id: &str) -> Markup {
    let done = format!("{id} is cancelled, or its worker is asked to stop");
    let act = Act { server: TASKS, tool: "cancel_task", label: "Cancel", done: &done, grave: true };
    words::act(look, act, &settled("id", id))
}

fn retry(look: &Look, id: &str) -> Markup {
    let done = format!("{id} begins again");
    let act = Act { server: TASKS, tool: "retry_task", label: "Retry", done: &done, grave: false };
    words::act(look, act, &settled("id", id))
}

fn running_table(look: &Look, all: &Value) -> Markup {
    let rows = items(&all["tasks"]).map(|task| {
        let progress = &task["progress"];
        let mut cells = task_cells(task);
        cells.extend([
            html! { code { (text(&task["worker"])) } },
            html! { "ends " (words::when(&task["lease_until_ms"])) },
            html! { @if let Some(fraction) = progress["fraction"].as_f64() { progress max="1" value=(fraction) {} " " (text(&progress["message"])) } },
            cancel(look, &text(&task["id"])),
        ]);
        cells
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("Nothing is being done.");
    }
    table(&["task", "what", "attempt", "for", "worker", "lease", "progress", ""], rows)
}

fn waiting(look: &Look, queued: &Result<Value, Fault>, delayed: &Result<Value, Fault>) -> Markup {
    let (queued, delayed) = match (queued, delayed) {
        (Ok(queued), Ok(delayed)) => (queued, delayed),
        (Err(fault), _) | (_, Err(fault)) => return words::trouble(fault),
    };
    let rows = items(&queued["tasks"]).chain(items(&delayed["tasks"])).map(|task| {
        let mut cells = task_cells(task);
        cells.extend([
            state(&text(&task["state"])),
            words::when(&task["run_at_ms"]),
            html! { @if task["state"] == "delayed" { (retry(look, &text(&task["id"]))) } (cancel(look, &text(&task["id"]))) },
        ]);
        cells
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("Nothing waits.");
    }
    table(&["task", "what", "attempt", "for", "state", "may begin", ""], rows)
}

fn dead_table(look: &Look, all: &Value) -> Markup {
    let rows = items(&all["tasks"]).map(|task| {
        let failure = &task["failure"];
        let message: String = text(&failure["message"]).chars().take(MESSAGE_CHARS_MAX).collect();
        let mut cells = task_cells(task);
        cells.extend([
            html! { code { (text(&failure["code"])) } " " (message) },
            words::when(&task["ended_ms"]),
            retry(look, &text(&task["id"])),
        ]);
        cells
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return html! { p { span.good { "● " } "No task has failed for good." } };
    }
    table(&["task", "what", "attempt", "for", "why", "when", ""], rows)
}

/// One task in full.
///
/// # Errors
/// When there is no such task, or the queue cannot be asked.
pub async fn task(look: &Look, id: &str) -> Result<Page, Fault> {
    let task = look.read(TASKS, "get_task", json!({ "id": id })).await?;
    let ended = matches!(task["state"].as_str(), Some("done" | "dead" | "cancelled"));
    let acts = html! {
        @if ended || task["state"] == "delayed" { (retry(look, id)) }
        @if !ended { (cancel(look, id)) }
    };
    let done = "submitted anew";
    let again = Act { server: TASKS, tool: "submit_task", label: "Submit", done, grave: false };
    let input = serde_json::to_string_pretty(&task["payload"]).unwrap_or_default();
    let fields = html! {
        (settled("queue", &text(&task["queue"]))) (settled("task_type", &text(&task["task_type"])))
        label { "Input, as JSON" textarea name="arg.payload" rows="8" spellcheck="false" { (input) } }
    };
    Ok(Page::new(format!("Task {id}"), PATH)
        .live("task", task_facts(&task))
        .live("acts", html! { h2 { "What can be done" } (acts) })
        .live("input", html! { h2 { "Input" } pre { (input) } })
        .live("outcome", outcome(&task))
        .still("again", html! { h2 { "Submit it again, with another input" } (words::act(look, again, &fields)) }))
}

fn task_facts(task: &Value) -> Markup {
    html! {
        p { (state(&text(&task["state"]))) " " b { (text(&task["queue"])) } " " (text(&task["task_type"])) @if task["cancelling"] == true { " " span.fair { "◐ asked to stop" } } }
        (facts(vec![
            ("for", html! { (text(&task["caller"])) " " span.dim { (text(&task["role"])) } }),
            ("attempt", html! { (text(&task["attempts"])) " of " (text(&task["attempts_max"])) }),
            ("priority", html! { (text(&task["priority"])) }),
            ("submitted", words::when(&task["submitted_ms"])),
            ("may begin", words::when(&task["run_at_ms"])),
            ("began", words::when(&task["started_ms"])),
            ("ended", words::when(&task["ended_ms"])),
            ("worker", html! { code { (text(&task["worker"])) } }),
            ("lease ends", words::when(&task["lease_until_ms"])),
            ("key", html! { (text(&task["key"])) }),
            ("trace", super::traces::link(&text(&task["trace_id"]))),
        ]))
    }
}

fn outcome(task: &Value) -> Markup {
    html! {
        h2 { "What came of it" }
        @if task["failure"].is_object() { p.trouble { code { (text(&task["failure"]["code"])) } " " (text(&task["failure"]["message"])) } }
        @if !task["result"].is_null() { pre { (serde_json::to_string_pretty(&task["result"]).unwrap_or_default()) } }
        @else if task["failure"].is_null() { (words::empty("Nothing yet.")) }
    }
}
