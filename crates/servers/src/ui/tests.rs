//! The tools through the protocol, on servers' answers that mean harm; pictures down to their pixels.

use std::io::Read;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use expect_test::expect;
use kernel::fake::World;
use kernel::{Caller, Role, Trace};
use mcp::service::Service;
use mcp::toolbox::Router;
use mcp::{Handler as _, Reply};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;
use crate::testing::{Bench, admin, operator, shared, viewer};

/// What a name, a reason or a summary may hold when somebody means harm.
const HOSTILE: &str =
    "</td><script>alert(1)</script><img src=x onerror=alert(2)> \" ' & \u{7} |`*[x](javascript:alert(3))";

/// Answers every tool with the same hostile words, as far as its callers may have them.
struct Fleet;

#[async_trait]
impl Router for Fleet {
    async fn call(&self, server: &str, tool: &str, _: Box<RawValue>, ctx: Ctx) -> Result<Reply, Fault> {
        ctx.caller.require(Access::Read, tool)?;
        assert!(ctx.caller.standing, "{server}.{tool} is looked at over and over");
        let row = json!({
            "name": HOSTILE, "status": "down", "kind": "server", "last_error": HOSTILE, "rule": HOSTILE, "state": "firing",
            "severity": "critical", "summary": HOSTILE, "subject": HOSTILE, "cause": HOSTILE, "queue": HOSTILE, "queued": 3, "dead": 1,
        });
        let answer = match tool {
            "system_status" => {
                json!({ "servers": { "total": 2, "healthy": 1, "down": 1 }, "agents": { "total": 1, "healthy": 1 } })
            }
            "query_range" => {
                json!({ "source": "recorder", "start_ms": 0, "end_ms": 60_000, "step_ms": 30_000, "omitted": 0, "series": [
                { "metric": { "server": HOSTILE }, "samples": [[0, 1.0], [30_000, "NaN"], [60_000, 3.0]] }] })
            }
            "risk_report" => return Err(Fault::unavailable(HOSTILE)),
            _ => {
                json!({ "services": [row], "agents": [row], "alerts": [row], "incidents": [row], "queues": [row], "runs": [], "tasks": [row] })
            }
        };
        Ok(Outcome::typed(&answer)?.into_reply())
    }
}

fn bench() -> Bench {
    let world = World::default();
    let ports = MarketPorts { router: Arc::new(Fleet), ..MarketPorts::without_pools(world.ports()) };
    let service = Service::build::<Ui>(&ports, Config::default(), shared(&world)).unwrap();
    Bench::of(world, service)
}

async fn read(bench: &Bench, caller: &Caller, uri: &str) -> Value {
    let ctx = Ctx::internal(caller.clone(), Trace::root());
    let reply = bench.request("resources/read", json!({ "uri": uri }), ctx).await.unwrap();
    serde_json::from_str::<Value>(reply.body.get()).unwrap()["contents"][0].take()
}

async fn body(bench: &Bench, tool: &str, arguments: Value) -> Value {
    let reply = bench.reply(&viewer("ann"), tool, arguments).await.unwrap();
    serde_json::from_str(reply.body.get()).unwrap()
}

/// Whether markup has nothing of what the data wanted to be.
fn is_inert(html: &str) {
    let own = html.matches("<script>").count();
    assert!(own <= 1, "{own} scripts");
    for bad in ["<script>alert", "<img", "onerror=alert(2)>", "</td><script", "\u{7}"] {
        assert!(!html.contains(bad), "{bad}");
    }
}

#[tokio::test]
async fn views_are_pages_that_reach_nothing_and_show_hostile_data_as_text() {
    let bench = bench();
    for (view, ..) in views::VIEWS {
        let page = read(&bench, &viewer("ann"), &format!("ui://ui/views/{view}")).await;
        let html = page["text"].as_str().unwrap();
        is_inert(html);
        assert_eq!(page["mimeType"], "text/html;profile=mcp-app");
        assert_eq!(page["_meta"]["ui"]["csp"]["connectDomains"], json!([]));
        assert!(html.contains("default-src 'none'") && html.contains("prefers-color-scheme:dark"), "{view}");
        assert!(!html.contains("http://") || html.contains("http://www.w3.org/2000/svg"), "{view} names a host");
        assert!(!html.contains("https://"), "{view} names a host");
        let data = read(&bench, &viewer("ann"), &format!("view://ui/{view}")).await;
        let page: Page = serde_json::from_str(data["text"].as_str().unwrap()).unwrap();
        assert_eq!((page.view.as_str(), data["mimeType"].as_str()), (view, Some("application/json")));
        let markdown = page.markdown();
        assert!(!markdown.contains("<script") && !markdown.contains("[x](javascript"), "{markdown}");
    }
    let overview = read(&bench, &viewer("ann"), "ui://ui/views/overview").await;
    let html = overview["text"].as_str().unwrap();
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "it is shown as it is written");
    assert!(html.contains("■ firing") && html.contains("■ 1 of 2"), "a word and a mark beside the colour");
    let shell = read(&bench, &viewer("ann"), "ui://ui/view").await;
    assert!(shell["text"].as_str().unwrap().contains("ui/initialize"));
    let ctx = Ctx::internal(viewer("ann"), Trace::root());
    assert!(bench.request("resources/read", json!({ "uri": "ui://ui/views/nothing" }), ctx).await.is_err());
}

#[tokio::test]
async fn a_view_is_json_for_models_and_html_for_the_screen() {
    let bench = bench();
    for tool in ["overview", "view"] {
        let body = body(&bench, tool, json!({})).await;
        assert_eq!(body["structuredContent"]["view"], "overview", "{tool}");
        is_inert(body["_meta"]["flotilla/html"].as_str().unwrap());
        let ctx = Ctx::internal(viewer("ann"), Trace::root());
        let listed = bench.request("tools/list", json!({}), ctx).await.unwrap();
        let listed: Value = serde_json::from_str(listed.body.get()).unwrap();
        let entry = listed["tools"].as_array().unwrap().iter().find(|entry| entry["name"] == tool).unwrap();
        assert_eq!(entry["_meta"]["ui"]["resourceUri"], "ui://ui/view");
        assert_eq!(entry["outputSchema"]["type"], "object");
    }
    let untold = body(&bench, "view", json!({ "view": "trading" })).await["structuredContent"].take();
    let limits = untold["sections"].as_array().unwrap().iter().find(|section| section["name"] == "limits").unwrap();
    assert!(limits["body"]["untold"].as_str().unwrap().starts_with("unavailable: "), "{limits}");
    bench
        .check("view", json!({ "view": "overveiw" }), expect!["not_found: no view `overveiw` (did you mean `overview`? one of overview, services, activity, alerts, tasks, trading, market, notifications)"])
        .await;
    bench
        .check(
            "view",
            json!({ "view": "tasks", "layout": "x" }),
            expect!["invalid_argument: both view and layout (one of them)"],
        )
        .await;
    bench
        .check(
            "view",
            json!({ "layout": "x" }),
            expect!["not_found: no layout `x` of yours (you have none: save_layout)"],
        )
        .await;
}

/// A picture, decoded: its size, and its pixels row by row.
fn decoded(png: &[u8]) -> (usize, usize, Vec<[u8; 3]>) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let (mut at, mut packed, mut size) = (8, Vec::new(), (0, 0));
    while at < png.len() {
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        let (length, name) = (number(at) as usize, &png[at + 4..at + 8]);
        let data = &png[at + 8..at + 8 + length];
        let mut crc = flate2::Crc::new();
        crc.update(&png[at + 4..at + 8 + length]);
        assert_eq!(crc.sum(), number(at + 8 + length), "checksum of {}", String::from_utf8_lossy(name));
        match name {
            b"IHDR" => {
                size = (number(at + 8) as usize, number(at + 12) as usize);
                assert_eq!(&data[8..], [8, 2, 0, 0, 0]);
            }
            b"IDAT" => packed.extend_from_slice(data),
            _ => assert_eq!((name, length), (&b"IEND"[..], 0)),
        }
        at += length + 12;
    }
    let mut rows = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut rows).unwrap();
    assert_eq!(rows.len(), size.1 * (1 + size.0 * 3));
    let pixels = rows.chunks(1 + size.0 * 3).flat_map(|row| {
        assert_eq!(row[0], 0, "no filter");
        row[1..].chunks(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect::<Vec<_>>()
    });
    (size.0, size.1, pixels.collect())
}

async fn picture(bench: &Bench, arguments: Value) -> (usize, usize, Vec<[u8; 3]>) {
    let body = body(bench, "chart", arguments).await;
    assert_eq!(body["content"][0]["mimeType"], "image/png", "{body}");
    decoded(&STANDARD.decode(body["content"][0]["data"].as_str().unwrap()).unwrap())
}

/// The columns and rows of a picture that have a colour.
fn places(picture: &(usize, usize, Vec<[u8; 3]>), colour: [u8; 3]) -> Vec<(usize, usize)> {
    let (width, _, pixels) = picture;
    let found = pixels.iter().enumerate().filter(|(_, pixel)| **pixel == colour);
    found.map(|(at, _)| (at % width, at / width)).collect()
}

#[tokio::test]
async fn a_chart_has_its_line_where_its_figures_are() {
    let bench = bench();
    let blue = [0x1f, 0x6f, 0xd6];
    let rising = json!({ "title": "Rising", "width": 400, "height": 300, "series": [{ "name": "", "points": [[0, 0], [10, 100]] }] });
    let drawn = picture(&bench, rising).await;
    assert_eq!((drawn.0, drawn.1, drawn.2.len()), (400, 300, 120_000));
    assert_eq!(drawn.2[0], [0xff, 0xff, 0xff], "the ground is light");
    let line = places(&drawn, blue);
    let (first, last) = (line.iter().min_by_key(|(x, _)| *x).unwrap(), line.iter().max_by_key(|(x, _)| *x).unwrap());
    assert!(first.1 > 230 && last.1 < 90, "it rises from {first:?} to {last:?}");
    for (x, y) in &line {
        let expected =
            first.1 as f64 + (last.1 as f64 - first.1 as f64) * (*x - first.0) as f64 / (last.0 - first.0) as f64;
        assert!((*y as f64 - expected).abs() < 3.0, "({x}, {y}) is off the line, which is at {expected}");
    }
    // Its words are there too: ink above, marks on the left.
    let ink = places(&drawn, [0x1b, 0x1f, 0x24]);
    assert!(!ink.is_empty() && ink.iter().all(|(_, y)| *y < 32), "the title alone is in the darkest ink");
    assert!(places(&drawn, [0xdd, 0xe1, 0xe6]).len() > 1_000, "lines of a grid");
    let gap = json!({ "width": 400, "height": 300, "series": [{ "name": "", "points": [[0, 5], [4, 5], [5, null], [6, 5], [10, 5]] }] });
    let gap = picture(&bench, gap).await;
    let middle = places(&gap, blue).iter().filter(|(x, _)| (216..=222).contains(x)).count();
    assert_eq!(middle, 0, "a gap in the figures is a gap in the line");
}

#[tokio::test]
async fn bars_and_areas_are_as_high_as_their_figures() {
    let bench = bench();
    let (blue, orange) = ([0x1f, 0x6f, 0xd6], [0xc2, 0x4e, 0x12]);
    let bars = json!({ "kind": "bar", "width": 400, "height": 300, "series": [
        { "name": "a", "points": [[1, 100], [2, 50]] }, { "name": "b", "points": [[1, -50], [2, 25]] }] });
    let bars = picture(&bench, bars).await;
    // What the legend shows of its ink is not of the bars.
    let high = |colour, from: usize, until: usize| {
        let inside = places(&bars, colour).into_iter().filter(|(x, y)| *y > 30 && (from..until).contains(x));
        let rows: std::collections::BTreeSet<usize> = inside.map(|(_, y)| y).collect();
        rows.len() as f64
    };
    let (tall, half, below) = (high(blue, 0, 215), high(blue, 215, 400), high(orange, 0, 215));
    assert!((tall / half - 2.0).abs() < 0.1 && (tall / below - 2.0).abs() < 0.1, "{tall} {half} {below}");
    let area = json!({ "kind": "area", "dark": true, "width": 300, "height": 200, "series": [{ "name": "", "points": [[0, 10], [1, 10]] }] });
    let area = picture(&bench, area).await;
    assert_eq!(area.2[0], [0x16, 0x1a, 0x20], "the ground is dark");
    let line = places(&area, [0x5f, 0xa8, 0xff]);
    let under = area.2[(line[0].1 + 40) * area.0 + 150];
    assert!(under != area.2[0] && under[2] > under[0], "under the line is its wash: {under:?}");
}

#[tokio::test]
async fn a_chart_as_svg_is_well_formed_and_its_words_are_text() {
    let bench = bench();
    let asked = json!({ "title": HOSTILE, "unit": "<b>", "format": "svg", "series": [{ "name": &HOSTILE[..60], "points": [[0, 1], [1, 2]] }] });
    let body = body(&bench, "chart", asked).await;
    let svg = body["content"][0]["resource"]["text"].as_str().unwrap();
    assert_eq!(body["content"][0]["resource"]["mimeType"], "image/svg+xml");
    is_inert(svg);
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>"));
    assert!(svg.contains("&lt;script&gt;") && !svg.contains("<b>") && svg.contains("<polyline class=\"s0\""), "{svg}");
    let asked = json!({ "query": "up", "format": "svg", "title": "Up" });
    let drawn = self::body(&bench, "chart", asked).await;
    let words = drawn["content"][1]["text"].as_str().unwrap();
    assert!(words.starts_with("Up\n") && words.ends_with(": 2 points, first 1, last 3, least 1, most 3"), "{words}");
}

#[tokio::test]
async fn what_cannot_be_drawn_is_refused_with_what_would_be_right() {
    let bench = bench();
    let series = |points: Value| json!([{ "name": "a", "points": points }]);
    let many: Vec<Value> = (0..2_001).map(|at| json!([at, 1])).collect();
    for (arguments, refusal) in [
        (json!({}), expect!["invalid_argument: what to draw (either series, or query with start and end if wanted)"]),
        (
            json!({ "query": "up", "series": series(json!([[0, 1]])) }),
            expect!["invalid_argument: what to draw (either series, or query with start and end if wanted)"],
        ),
        (
            json!({ "query": " " }),
            expect!["invalid_argument: the query is empty or too long (PromQL of 1 to 4096 bytes)"],
        ),
        (
            json!({ "series": series(json!([[0, 1], [0, 2]])) }),
            expect![
                "invalid_argument: series[0].points[1] is not right of the point before it (points go from left to right, one figure for each place)"
            ],
        ),
        (
            json!({ "series": series(json!([[0, 1e300]])) }),
            expect!["invalid_argument: series[0].points[0] is past 1e18 (a gap is null)"],
        ),
        (
            json!({ "series": series(json!(many)) }),
            expect![
                "too_large: series[0] has 2001 points, 2001 with those before (at most 2000 a series and 10000 in all: a longer step)"
            ],
        ),
        (
            json!({ "series": series(json!([[0, 1]])), "width": 10 }),
            expect!["invalid_argument: width is 10 (200 to 2000 pixels)"],
        ),
        (
            json!({ "series": series(json!([[0, 1]])), "title": "x".repeat(200) }),
            expect!["too_large: the title has 200 characters (at most 120)"],
        ),
        (
            json!({ "series": (0..13).map(|at| json!({ "name": at.to_string(), "points": [] })).collect::<Vec<_>>() }),
            expect!["too_large: 13 series (at most 12: sum them up, or take the largest (topk))"],
        ),
    ] {
        bench.check("chart", arguments, refusal).await;
    }
}

#[tokio::test]
async fn notifications_reach_whom_they_are_to_and_are_read_by_each() {
    let bench = bench();
    let (ann, eve) = (operator("ann"), viewer("eve"));
    for (title, more) in [
        ("to all", json!({})),
        ("to eve", json!({ "user": "eve" })),
        ("to operators", json!({ "role": "operator", "level": "critical", "sinks": true })),
    ] {
        let mut asked = json!({ "title": title, "text": HOSTILE, "kind": "test" });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bench.reply(&ann, "notify", asked).await.unwrap();
        bench.world.clock.advance_ms(10);
    }
    let titles = async |caller: &Caller, asked: Value| {
        let reply = bench.reply(caller, "notifications", asked).await.unwrap();
        let body: Value = serde_json::from_str(reply.body.get()).unwrap();
        let all = body["structuredContent"]["notifications"].as_array().cloned();
        all.unwrap_or_else(|| panic!("{body}"))
            .iter()
            .map(|one| one["title"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(titles(&ann, json!({})).await, ["to operators", "to all"]);
    assert_eq!(titles(&eve, json!({})).await, ["to eve", "to all"]);
    assert_eq!(titles(&admin(), json!({ "all": true })).await, ["to operators", "to eve", "to all"]);
    let agent = Caller::standing("agent:ui", Role::Agent("ui".into()));
    assert_eq!(titles(&agent, json!({ "all": true, "sinks": true })).await, ["to operators"]);
    assert_eq!(titles(&ann, json!({ "level": "critical" })).await, ["to operators"]);
    let refused = bench.shown(&eve, "notifications", json!({ "all": true })).await;
    assert!(refused.starts_with("permission_denied: "), "{refused}");
    assert_eq!(bench.shown(&eve, "mark_read", json!({})).await, r#"{"marked":2}"#);
    assert_eq!(bench.shown(&eve, "mark_read", json!({})).await, r#"{"marked":0}"#);
    assert_eq!(
        (titles(&eve, json!({ "unread": true })).await.len(), titles(&ann, json!({ "unread": true })).await.len()),
        (0, 2)
    );
    let denied = bench.shown(&eve, "notify", json!({ "title": "x" })).await;
    assert!(denied.starts_with("permission_denied: "), "{denied}");
    let twice = json!({ "title": "once", "key": "k" });
    let (one, other) = (bench.shown(&ann, "notify", twice.clone()).await, bench.shown(&ann, "notify", twice).await);
    assert_eq!(one, other, "the same key is the same notification");
    bench
        .check(
            "notify",
            json!({ "title": "a\nb" }),
            expect![
                "invalid_argument: the title has 3 characters, or is not one line (one line of 1 to 200 characters)"
            ],
        )
        .await;
    bench
        .check(
            "notify",
            json!({ "title": "a", "user": "b", "role": "admin" }),
            expect!["invalid_argument: both user and role (to one of them, or to everybody with neither)"],
        )
        .await;
}

#[tokio::test]
async fn notifications_have_a_bound_and_an_end() {
    let bench = bench();
    for _ in 0..505 {
        bench.reply(&admin(), "notify", json!({ "title": "one of many" })).await.unwrap();
        bench.world.clock.advance_ms(1);
    }
    let kept = bench.world.store.list("notifications", "", None, 1_000).await.unwrap();
    assert_eq!(kept.len(), 500);
    bench.world.clock.advance_ms(31 * 86_400_000);
    assert_eq!(bench.shown(&admin(), "notifications", json!({})).await, r#"{"notifications":[]}"#);
}

#[tokio::test]
async fn layouts_are_each_callers_own_and_are_shown_as_they_were_saved() {
    let bench = bench();
    let (ann, eve) = (viewer("ann"), viewer("eve"));
    let saved = json!({ "name": "mine", "parts": [{ "view": "overview", "sections": ["broken"] }, { "query": "up", "title": "Up" }] });
    bench.reply(&ann, "save_layout", saved).await.unwrap();
    let shown = bench.reply(&ann, "view", json!({ "layout": "mine" })).await.unwrap();
    let shown: Value = serde_json::from_str(shown.body.get()).unwrap();
    let names: Vec<&Value> =
        shown["structuredContent"]["sections"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["broken", "chart"]);
    assert!(bench.shown(&ann, "list_views", json!({})).await.contains(r#""layouts":["mine"]"#));
    let page = read(&bench, &ann, "ui://ui/views/layout:mine").await;
    is_inert(page["text"].as_str().unwrap());
    let other = bench.shown(&eve, "load_layout", json!({ "name": "mine" })).await;
    assert_eq!(other, "not_found: no layout `mine` of yours (you have none: save_layout)");
    bench.check_as(&ann, "save_layout", json!({ "name": "mine", "parts": [] }), expect![[r#"{"layouts":[]}"#]]).await;
    bench
        .check(
            "save_layout",
            json!({ "name": "a b", "parts": [] }),
            expect!["invalid_argument: the name of a layout (1 to 40 of a-z 0-9 -)"],
        )
        .await;
    bench
        .check(
            "save_layout",
            json!({ "name": "a", "parts": [{}] }),
            expect!["invalid_argument: parts[0] has both view and query, or neither (one of them)"],
        )
        .await;
}

#[tokio::test]
async fn who_watches_a_view_hears_that_it_changed() {
    let bench = bench();
    bench.start().await;
    let mut changes = bench.service.changes();
    let first = bench.shown(&admin(), "refresh", json!({})).await;
    assert!(first.starts_with(r#"{"views":8,"changed":["overview","#), "{first}");
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() < 2 * views::VIEWS.len() {
        if let mcp::Change::Resource(uri) = changes.recv().await.unwrap() {
            heard.insert(uri);
        }
    }
    assert!(heard.contains("ui://ui/views/overview") && heard.contains("view://ui/alerts"), "{heard:?}");
    assert_eq!(
        bench.shown(&admin(), "refresh", json!({})).await,
        r#"{"views":8,"changed":[]}"#,
        "what stays is no news"
    );
}
