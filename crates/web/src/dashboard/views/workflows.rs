//! Workflows: what waits for people, the runs and how far they are, and what may be started.

use kernel::{Access, Fault};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::chart;
use crate::dashboard::look::Look;
use crate::dashboard::page::Page;
use crate::dashboard::query::encoded;
use crate::dashboard::words::{self, Act, facts, items, settled, shown, state, table, text};

/// Where it is.
pub const PATH: &str = "/ui/workflows";
/// How many runs are shown.
const RUNS: usize = 50;
/// The server whose tools do all of it.
const FLOWS: &str = "orchestration";

/// The page; `?status=` narrows the runs.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let status = query.get("status");
    let (waiting, runs, kept, shipped) = tokio::join!(
        look.read(FLOWS, "list_runs", json!({ "status": "waiting", "limit": RUNS })),
        look.read(FLOWS, "list_runs", json!({ "status": status, "limit": RUNS })),
        look.read(FLOWS, "list_workflows", json!({})),
        look.read(FLOWS, "list_workflows", json!({ "shipped": true })),
    );
    let states = ["pending", "running", "waiting", "completed", "faulted", "cancelled"];
    let filter = html! {
        p { "Runs: " a href=(PATH) { "all" } @for one in states { " · " a href={ (PATH) "?status=" (one) } aria-current=[(status == Some(one)).then_some("true")] { (one) } } }
    };
    Page::new("Workflows", PATH)
        .live("inbox", html! { h2 { "Waiting for you" } (shown(&waiting, |all| inbox(look, all))) })
        .live("runs", html! { h2 { "Runs" } (filter) (shown(&runs, runs_table)) })
        .still("start", html! { h2 { "Start a run" } (start(look, &kept)) })
        .live("definitions", html! { h2 { "Definitions" } (shown(&kept, definitions)) h2 { "Playbooks that are shipped" } (shown(&shipped, definitions)) })
}

/// One run in full.
///
/// # Errors
/// When there is no such run, or runs cannot be asked for.
pub async fn run(look: &Look, id: &str) -> Result<Page, Fault> {
    let (run, history) = tokio::join!(
        look.read(FLOWS, "status", json!({ "run": id })),
        look.read(FLOWS, "history", json!({ "run": id })),
    );
    let run = run?;
    Ok(Page::new(format!("Run {id}"), PATH)
        .live("run", run_facts(&run))
        .live("questions", html! { @if items(&run["questions"]).next().is_some() { h2 { "It asks" } } @for asked in items(&run["questions"]) { (question(look, &run, asked)) } })
        .still("acts", acts(look, &run))
        .live("steps", html! { h2 { "Steps" } (shown(&history, |all| steps(look, &run, all))) })
        .live("transitions", html! { h2 { "History" } (shown(&history, transitions)) }))
}

fn run_path(run: &Value) -> String {
    format!("{PATH}/{}", encoded(&text(&run["run"])))
}

fn inbox(look: &Look, runs: &Value) -> Markup {
    let asked = items(&runs["runs"]).flat_map(|run| items(&run["questions"]).map(move |asked| (run, asked)));
    let asked: Vec<_> = asked.collect();
    if asked.is_empty() {
        return words::empty("No run asks for anything.");
    }
    html! { @for (run, asked) in asked { (question(look, run, asked)) } }
}

/// What is asked: exactly what would be approved, and the two answers.
fn question(look: &Look, run: &Value, asked: &Value) -> Markup {
    let hash = text(&asked["hash"]);
    html! {
        article.question {
            h3 { (text(&asked["title"])) }
            p { "Run " a href=(run_path(run)) { code { (text(&run["run"])) } } " of " b { (text(&run["workflow"])) } ", started by " b { (text(&run["started_by"])) } " " (words::when(&run["started_ms"])) ", at " code { (text(&asked["step"])) } "." }
            p { "Approved are exactly these arguments, and nothing else:" }
            pre { (serde_json::to_string_pretty(&asked["arguments"]).unwrap_or_default()) }
            p.dim { "SHA-256 " code { (hash) } }
            @match barred(look, run, asked) {
                Some(why) => { p.barred { "⊘ " (why) } }
                None => {
                    @for (tool, label, done, grave) in [("approve", "Approve", "approved", false), ("reject", "Reject", "rejected: the task fails", true)] {
                        (words::act(look, Act { server: FLOWS, tool, label, done, grave }, &html! {
                            (settled("run", &text(&run["run"]))) (settled("hash", &hash)) (settled("step", &text(&asked["step"])))
                            label { "Comment" input type="text" name="arg.comment" maxlength="500" autocomplete="off"; }
                        }))
                    }
                }
            }
        }
    }
}

/// Why this caller cannot answer, if so; whether they may, the tool decides.
fn barred(look: &Look, run: &Value, asked: &Value) -> Option<String> {
    let caller = look.caller();
    let access: Access = serde_json::from_value(asked["access"].clone()).ok()?;
    let role = match access {
        Access::Trade => "trader",
        Access::Admin => "admin",
        Access::Read | Access::Operate => "operator",
    };
    if !caller.allows(access) {
        return Some(format!("an answer needs the role {role}"));
    }
    let own = asked["others"] == true && run["started_by"] == caller.name.as_str();
    own.then(|| "an answer must come from another than who started the run".to_owned())
}

fn runs_table(all: &Value) -> Markup {
    let rows = items(&all["runs"]).map(|run| {
        let waits: Vec<String> = items(&run["waits_for"]).map(text).collect();
        vec![
            html! { a href=(run_path(run)) { code { (text(&run["run"])) } } },
            html! { b { (text(&run["workflow"])) } },
            state(&text(&run["status"])),
            html! { (text(&run["steps"])) },
            html! { (text(&run["started_by"])) },
            words::when(&run["started_ms"]),
            html! { (waits.join(", ")) @if run["error"].is_object() { span.bad { (text(&run["error"]["title"])) " " (text(&run["error"]["detail"])) } } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("There is no such run.");
    }
    table(&["run", "workflow", "status", "steps done", "started by", "when", "waits for, or why it failed"], rows)
}

fn start(look: &Look, kept: &Result<Value, Fault>) -> Markup {
    let names =
        kept.as_ref().ok().map(|all| items(&all["workflows"]).map(name_of).collect::<Vec<_>>()).unwrap_or_default();
    if names.is_empty() {
        return words::empty(
            "None is defined yet: `flotilla workflow define FILE`, or `--playbook NAME` for one that is shipped.",
        );
    }
    let act = Act { server: FLOWS, tool: "start", label: "Start", done: "the run has begun", grave: false };
    words::act(
        look,
        act,
        &html! {
            label { "Workflow" select name="arg.workflow" { @for name in &names { option { (name) } } } }
            label { "Input, as JSON" textarea name="arg.input" rows="3" spellcheck="false" { "{}" } }
        },
    )
}

fn name_of(row: &Value) -> String {
    match row["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{}/{}", text(&row["name"]), text(&row["version"])),
        None => text(&row["name"]),
    }
}

fn definitions(all: &Value) -> Markup {
    let rows = items(&all["workflows"]).map(|row| {
        vec![
            html! { b { (name_of(row)) } },
            html! { (text(&row["title"])) (text(&row["summary"])) },
            html! { (text(&row["by"])) },
            words::when(&row["at_ms"]),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        words::empty("None.")
    } else {
        table(&["workflow", "what it does", "defined by", "when"], rows)
    }
}

fn run_facts(run: &Value) -> Markup {
    let waits: Vec<String> = items(&run["waits_for"]).map(text).collect();
    html! {
        p { (state(&text(&run["status"]))) " " b { (text(&run["workflow"])) } }
        @if run["error"].is_object() { p.trouble { (text(&run["error"]["title"])) " " (text(&run["error"]["detail"])) " " code { (text(&run["failed_step"])) } } }
        (facts(vec![
            ("started by", html! { (text(&run["started_by"])) }),
            ("started", words::when(&run["started_ms"])),
            ("ended", words::when(&run["ended_ms"])),
            ("steps done", html! { (text(&run["steps"])) }),
            ("waits for", html! { (waits.join(", ")) }),
            ("run by", html! { @if run["parent"].is_string() { a href={ (PATH) "/" (encoded(&text(&run["parent"]))) } { (text(&run["parent"])) } } @else { "–" } }),
        ]))
        @if !run["output"].is_null() { h2 { "What it gave" } pre { (serde_json::to_string_pretty(&run["output"]).unwrap_or_default()) } }
    }
}

fn acts(look: &Look, run: &Value) -> Markup {
    let id = text(&run["run"]);
    let over = !run["ended_ms"].is_null();
    html! {
        h2 { "What can be done" }
        @if !over {
            (words::act(look, Act { server: FLOWS, tool: "cancel", label: "Cancel the run", done: "the run is cancelled; what it did is undone", grave: true }, &html! {
                (settled("run", &id)) label { "Why" input type="text" name="arg.reason" required maxlength="500" autocomplete="off"; }
            }))
        }
        @if run["status"] == "faulted" {
            (words::act(look, Act { server: FLOWS, tool: "retry_step", label: "Retry the failed step", done: "the step is tried again", grave: false }, &settled("run", &id)))
        }
        @if over && run["status"] != "faulted" { (words::empty("It is over.")) }
    }
}

/// A step of a run as the history tells it.
struct Step {
    path: String,
    what: String,
    from_ms: i64,
    until_ms: Option<i64>,
    how: String,
}

fn steps_of(transitions: &Value) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for one in items(transitions) {
        let (Some(path), Some(at_ms)) = (one["path"].as_str(), one["at_ms"].as_i64()) else { continue };
        let transition = text(&one["transition"]);
        if transition == "entered" {
            steps.push(Step {
                path: path.into(),
                what: String::new(),
                from_ms: at_ms,
                until_ms: None,
                how: "running".into(),
            });
            continue;
        }
        let Some(step) = steps.iter_mut().rev().find(|step| step.path == path) else { continue };
        match transition.as_str() {
            "asked" => {
                step.what =
                    [&one["effect"]["kind"], &one["effect"]["server"], &one["effect"]["tool"]].map(text).join(" ")
            }
            "questioned" => (step.what, step.how) = ("asks people".into(), "waiting".into()),
            "done" | "failed" => (step.until_ms, step.how) = (Some(at_ms), transition),
            other => step.how = other.to_owned(),
        }
    }
    steps
}

fn steps(look: &Look, run: &Value, history: &Value) -> Markup {
    let steps = steps_of(&history["transitions"]);
    if steps.is_empty() {
        return words::empty("It has not begun.");
    }
    let from_ms = steps.iter().map(|step| step.from_ms).min().unwrap_or(0);
    let until_ms = run["ended_ms"].as_i64().unwrap_or(look.now_ms).max(from_ms + 1);
    let rows = steps.iter().map(|step| {
        let end_ms = step.until_ms.unwrap_or(until_ms);
        vec![
            html! { code { (step.path) } },
            html! { (step.what) },
            state(&step.how),
            html! { (words::latency((end_ms - step.from_ms) as f64 / 1e3)) },
            chart::span((step.from_ms - from_ms, end_ms - from_ms), until_ms - from_ms, "ms", &step.how),
        ]
    });
    table(&["step", "what", "state", "took", "when"], rows.collect())
}

fn transitions(history: &Value) -> Markup {
    html! {
        details { summary { (items(&history["transitions"]).count()) " transitions" }
            ul.lines { @for one in items(&history["transitions"]) { li { (words::when(&one["at_ms"])) " " b { (text(&one["transition"])) } " " (text(&one["path"])) " " span.dim { (shortened(one)) } } } }
        }
        @if history["next"].is_u64() { p.dim { "There is more: `flotilla workflow history RUN` shows all." } }
    }
}

/// A transition as one line of JSON, cut.
fn shortened(one: &Value) -> String {
    /// Longest line, in characters.
    const CHARS_MAX: usize = 400;
    let whole = one.to_string();
    if whole.chars().count() <= CHARS_MAX {
        whole
    } else {
        whole.chars().take(CHARS_MAX).chain("…".chars()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_what_the_history_tells() {
        let told = json!([
            { "at_ms": 10, "transition": "began" },
            { "at_ms": 10, "transition": "entered", "path": "/do/0/note" },
            { "at_ms": 11, "transition": "asked", "path": "/do/0/note", "effect": { "kind": "tool", "server": "utilities", "tool": "hash" } },
            { "at_ms": 15, "transition": "done", "path": "/do/0/note" },
            { "at_ms": 15, "transition": "entered", "path": "/do/1/ask" },
            { "at_ms": 15, "transition": "questioned", "path": "/do/1/ask" },
        ]);
        let shown: Vec<String> = steps_of(&told)
            .iter()
            .map(|s| format!("{} {} {} {:?} {}", s.path, s.what, s.from_ms, s.until_ms, s.how))
            .collect();
        assert_eq!(shown, ["/do/0/note tool utilities hash 10 Some(15) done", "/do/1/ask asks people 15 None waiting"]);
        assert!(steps_of(&json!([{ "path": "/x", "transition": "done" }, 3, null])).is_empty());
    }
}
