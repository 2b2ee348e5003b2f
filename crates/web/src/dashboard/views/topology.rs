//! How the fleet hangs together: who calls whom and how much of it fails. Drawn on the server; a click narrows to one part.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::chart::number;
use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::query::encoded;
use crate::dashboard::words::{self, items, service_path, shown, state, table, text};

/// Where it is.
pub const PATH: &str = "/ui/topology";
/// Over what the rates are taken.
const RATE: &str = "[1m]";
/// Of the calls that fail, from when on it is fair, and bad.
const FAIR: f64 = 0.01;
const BAD: f64 = 0.1;

/// Sizes of the drawing, in its own units.
const BOX: (f64, f64) = (190.0, 26.0);
const GAP: f64 = 8.0;
const COLUMNS: [f64; 4] = [4.0, 330.0, 620.0, 946.0];
const WIDTH: f64 = 1_140.0;

/// A part of the fleet.
struct Node {
    name: String,
    status: String,
    to: String,
}

/// What goes to a part: calls (tasks, requests) a second, and which share of them fails.
#[derive(Clone, Copy, Default)]
struct Flow {
    per_second: f64,
    failing: f64,
}

type Flows = BTreeMap<String, Flow>;

/// The page. `?only=NAME` narrows to one part.
pub async fn page(look: &Look) -> Page {
    let (servers, agents, upstreams, status, calls, tasks, requests) = tokio::join!(
        look.read(COORDINATOR, "list_services", json!({})),
        look.read(COORDINATOR, "list_agents", json!({})),
        look.read(COORDINATOR, "list_upstreams", json!({})),
        look.status(),
        flows(look, "mcp_commands_total", "server"),
        flows(look, "agent_tasks_total", "agent"),
        flows(look, "flotilla_rpc_requests_total", "endpoint"),
    );
    let query = look.query();
    let only = query.get("only").unwrap_or_default();
    let nodes = |answer: &Result<Value, kernel::Fault>, list: &str, kind: &str| {
        let all = answer.as_ref().map(|all| items(&all[list]).cloned().collect::<Vec<_>>()).unwrap_or_default();
        let node = |row: &Value| {
            let name = text(&row["name"]);
            let to = if kind == "upstream" { "/#upstreams".to_owned() } else { service_path(kind, &name) };
            Node { status: text(&row["status"]), to, name }
        };
        all.iter().map(node).filter(|node| only.is_empty() || node.name == only).collect::<Vec<_>>()
    };
    let (agents_all, upstreams_all) = (nodes(&agents, "agents", "agent"), nodes(&upstreams, "upstreams", "upstream"));
    let mut servers_all = nodes(&servers, "services", "server");
    servers_all.retain(|node| node.name != COORDINATOR);
    let left = [("agents", agents_all, &tasks)];
    let right = [("servers", servers_all, &calls), ("upstreams", upstreams_all, &calls)];
    let seen = html! {
        @if !only.is_empty() { p { "Only " b { (only) } ". " a href=(PATH) { "The whole fleet" } " · " a href={ "/ui/logs?service=" (encoded(only)) } { "its log lines" } " · " a href={ (super::traces::PATH) "?server=" (encoded(only)) } { "its calls" } } }
        @match &servers { Err(fault) => { (words::trouble(fault)) } Ok(_) => {} }
        (drawing(&left, &right, &infrastructure(status, only), &requests))
        (legend())
    };
    Page::new("Topology", PATH)
        .live("drawing", seen)
        .live("figures", html! { h2 { "The same in words" } (shown(&servers, |_| in_words(&left, &right))) })
}

/// Rates by a label, and the share of what did not go well.
async fn flows(look: &Look, metric: &str, label: &str) -> Flows {
    let (all, failed) = (
        format!("sum by ({label}) (rate({metric}{RATE}))"),
        format!("sum by ({label}) (rate({metric}{{outcome!=\"ok\"}}{RATE}))"),
    );
    let ask = |query: String| look.read("monitoring", "query_metrics", json!({ "query": query }));
    let (all, failed) = tokio::join!(ask(all), ask(failed));
    let of = |answer: Result<Value, kernel::Fault>| -> BTreeMap<String, f64> {
        let answer = answer.unwrap_or_default();
        items(&answer["series"]).map(|one| (text(&one["metric"][label]), number(&one["value"]))).collect()
    };
    let (all, failed) = (of(all), of(failed));
    let flow = |(name, per_second): (String, f64)| {
        let lost = failed.get(&name).copied().filter(|lost| lost.is_finite()).unwrap_or(0.0);
        let per_second = if per_second.is_finite() { per_second } else { 0.0 };
        let failing = if per_second > 0.0 { (lost / per_second).clamp(0.0, 1.0) } else { 0.0 };
        (name, Flow { per_second, failing })
    };
    all.into_iter().map(flow).collect()
}

fn infrastructure(status: &Result<Value, kernel::Fault>, only: &str) -> Vec<Node> {
    let Ok(status) = status else { return Vec::new() };
    let parts = status["infrastructure"].as_object().into_iter().flatten();
    let node = |(name, part): (&String, &Value)| Node {
        name: name.clone(),
        status: text(&part["status"]),
        to: "/#infrastructure".into(),
    };
    parts.map(node).filter(|node| only.is_empty() || node.name == only).collect()
}

/// How much fails, in a word with its colour.
fn tone(failing: f64) -> (&'static str, &'static str) {
    match failing {
        f if f >= BAD => ("bad", "failing"),
        f if f >= FAIR => ("fair", "some fail"),
        _ => ("good", "well"),
    }
}

fn rate(flow: Flow) -> String {
    match flow {
        Flow { per_second, .. } if per_second < 0.005 => "idle".into(),
        Flow { per_second, failing } if failing >= 0.005 => {
            format!("{per_second:.1}/s, {:.0} % fail", failing * 100.0)
        }
        Flow { per_second, .. } => format!("{per_second:.1}/s"),
    }
}

type Group<'a> = (&'static str, Vec<Node>, &'a Flows);

fn drawing(left: &[Group<'_>], right: &[Group<'_>], under: &[Node], requests: &Flows) -> Markup {
    let count = |groups: &[Group<'_>]| groups.iter().map(|(_, nodes, _)| nodes.len()).sum::<usize>();
    let rows = count(left).max(count(right)).max(under.len()).max(1);
    let height = rows as f64 * (BOX.1 + GAP) + 40.0;
    let place = |row: usize, of: usize| 34.0 + (rows - of) as f64 * (BOX.1 + GAP) / 2.0 + row as f64 * (BOX.1 + GAP);
    let middle = (COLUMNS[1], 34.0 + rows as f64 * (BOX.1 + GAP) / 2.0 - BOX.1 / 2.0);
    let (agents, servers) = (flat(left), flat(right));
    let chain = requests.values().fold(Flow::default(), |sum, flow| {
        let per_second = sum.per_second + flow.per_second;
        let lost = sum.per_second * sum.failing + flow.per_second * flow.failing;
        Flow { per_second, failing: if per_second > 0.0 { lost / per_second } else { 0.0 } }
    });
    html! {
        div.wide {
            svg.topology viewBox={ "0 0 " (WIDTH) " " (format!("{height:.0}")) } role="img" aria-label="who calls whom; the same stands in words below" {
                @for (at, head) in ["agents", "gateway", "servers and upstreams", "infrastructure"].iter().enumerate() {
                    text.head x=(COLUMNS[at]) y="18" { (head) }
                }
                @for (row, (_, flow)) in agents.iter().enumerate() {
                    (edge((COLUMNS[0] + BOX.0, place(row, agents.len())), middle, *flow, "tasks"))
                }
                @for (row, (_, flow)) in servers.iter().enumerate() {
                    (edge((middle.0 + BOX.0, middle.1), (COLUMNS[2], place(row, servers.len())), *flow, "calls"))
                }
                @for (row, (node, flow)) in agents.iter().enumerate() { (part(node, (COLUMNS[0], place(row, agents.len())), &rate(*flow))) }
                a href={ (service_path("server", COORDINATOR)) } { g { rect.node x=(middle.0) y=(middle.1) width=(BOX.0) height=(BOX.1) rx="5" {} text x=(middle.0 + 8.0) y=(middle.1 + 17.0) { (COORDINATOR) } } }
                @for (row, (node, flow)) in servers.iter().enumerate() { (part(node, (COLUMNS[2], place(row, servers.len())), &rate(*flow))) }
                @for (row, node) in under.iter().enumerate() {
                    @let told = if node.name == "chain" { rate(chain) } else { String::new() };
                    (part(node, (COLUMNS[3], place(row, under.len())), &told))
                }
            }
        }
    }
}

fn flat<'a>(groups: &'a [Group<'_>]) -> Vec<(&'a Node, Flow)> {
    let all = groups.iter().flat_map(|(_, nodes, flows)| nodes.iter().map(move |node| (node, *flows)));
    all.map(|(node, flows)| (node, flows.get(&node.name).copied().unwrap_or_default())).collect()
}

/// A line whose width is how much and whose colour is how much of it fails; both are said in words.
fn edge(from: (f64, f64), to: (f64, f64), flow: Flow, what: &str) -> Markup {
    let (tone, word) = if flow.per_second < 0.005 { ("none", "idle") } else { tone(flow.failing) };
    let width = (1.0 + (1.0 + flow.per_second).ln() * 1.4).min(9.0);
    let (y1, y2) = (from.1 + BOX.1 / 2.0, to.1 + BOX.1 / 2.0);
    html! {
        line.edge.(tone) x1=(from.0) y1=(format!("{y1:.0}")) x2=(to.0) y2=(format!("{y2:.0}")) stroke-width=(format!("{width:.1}")) {
            title { (what) ": " (rate(flow)) ", " (word) }
        }
    }
}

fn part(node: &Node, (x, y): (f64, f64), told: &str) -> Markup {
    let (sign, tone) = match node.status.as_str() {
        "healthy" => ("●", "good"),
        "degraded" | "starting" | "stopping" => ("◐", "fair"),
        _ => ("■", "bad"),
    };
    html! {
        a href={ (PATH) "?only=" (encoded(&node.name)) } {
            g {
                rect.node.(tone) x=(x) y=(format!("{y:.0}")) width=(BOX.0) height=(BOX.1) rx="5" { title { (node.name) ": " (node.status) } }
                text.(tone) x=(x + 8.0) y=(format!("{:.0}", y + 17.0)) { (sign) }
                text x=(x + 24.0) y=(format!("{:.0}", y + 17.0)) { (short(&node.name)) }
                @if !told.is_empty() { text.told x=(x + BOX.0 + 6.0) y=(format!("{:.0}", y + 17.0)) { (told) } }
            }
        }
    }
}

/// A name that fits its box.
fn short(name: &str) -> String {
    const CHARS_MAX: usize = 24;
    if name.chars().count() <= CHARS_MAX {
        name.to_owned()
    } else {
        name.chars().take(CHARS_MAX - 1).chain(['…']).collect()
    }
}

fn legend() -> Markup {
    html! {
        p.dim {
            "A line's width is calls a second (of agents: tasks that ended) over the last minute; its colour is how much of it is refused or fails: "
            span.good { "● well" } ", " span.fair { "◐ some fail (from 1 %)" } ", " span.bad { "■ failing (from 10 %)" } ", " span { "○ idle" } ". A click narrows to one part."
        }
    }
}

fn in_words(left: &[Group<'_>], right: &[Group<'_>]) -> Markup {
    let all =
        left.iter().chain(right).flat_map(|(kind, nodes, flows)| nodes.iter().map(move |node| (kind, node, flows)));
    let rows = all.map(|(kind, node, flows)| {
        let flow = flows.get(&node.name).copied().unwrap_or_default();
        let (tone, word) = if flow.per_second < 0.005 { ("dim", "idle") } else { tone(flow.failing) };
        vec![
            html! { (kind) },
            html! { a href=(node.to) { b { (node.name) } } },
            state(&node.status),
            html! { (rate(flow)) },
            html! { span.(tone) { (word) } },
            html! { a href={ (PATH) "?only=" (encoded(&node.name)) } { "only this" } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("No part is called so.");
    }
    table(&["kind", "part", "state", "calls or tasks", "how they go", ""], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stands_beside_every_colour_and_names_stay_text() {
        assert_eq!([0.0, 0.02, 0.5].map(|failing| tone(failing).1), ["well", "some fail", "failing"]);
        let flow = Flow { per_second: 2.0, failing: 0.25 };
        assert_eq!(rate(flow), "2.0/s, 25 % fail");
        let hostile = "<script>\"'&";
        let node = Node { name: hostile.into(), status: hostile.into(), to: hostile.into() };
        let drawn =
            (part(&node, (0.0, 0.0), hostile).into_string(), edge((0.0, 0.0), (1.0, 1.0), flow, hostile).into_string());
        assert!(!drawn.0.contains("<script") && !drawn.1.contains("<script"), "{drawn:?}");
        assert!(drawn.1.contains("failing"), "{}", drawn.1);
    }
}
