//! What an operator does, in a real browser.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::browser::{Browser, DESK, ENTER, ESCAPE, PHONE};
use crate::harness::{Fleet, Home, LIMIT, Mcp, Process, http, tools, wait_for};

/// Every server, the agents that trade and watch, and nobody who would mend before a person does.
const ROLES: [&str; 20] = [
    "serve",
    "master-coordinator",
    "blockchain-integration",
    "coordination",
    "data-providers",
    "dex-services",
    "execution",
    "legacy",
    "logging",
    "market-analysis",
    "monitoring",
    "orchestration",
    "production",
    "recovery",
    "risk-management",
    "scripts",
    "task-management",
    "utilities",
    "agent:execution",
    "agent:monitoring",
];
/// The same of which there are figures on the first page.
const ALL: &str = "17 of 17";
/// A service is given up at its first failure; and the market moves fast enough for a walk.
const CONFIG: &str = "[supervision]\ngive_up_after = 1\n[chain.sandbox]\ntrader_ms = 500\ntrader_seed = 7\n";
/// A workflow that asks people.
const ASKS: &str = "
document: { dsl: '1.0.3', namespace: test, name: asks, version: 1.0.0 }
do:
- ask:
    approve: { title: Deploy the executor, role: operator, others: true, arguments: { contract: '0xabc', amount: 12 } }
    output: { as: .by }
";
/// How long the fleet may take for a trade, on a machine that has more to do.
pub(super) const TRADE_TIME: Duration = Duration::from_secs(100);
/// Markup that would show if anything took it for more than text.
pub(super) const HOSTILE: &str =
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";

/// The names of fields that say nothing to whoever cannot see them.
const UNNAMED: &str = "return [...document.querySelectorAll('input:not([type=hidden]), select, textarea')]\
    .filter(field => !field.labels.length && !field.ariaLabel).map(field => field.name)";
/// The pages that are looked at in each theme and width.
const PAGES: [(&str, &str); 14] = [
    ("/", "overview"),
    ("/ui/services", "services"),
    ("/ui/services/utilities", "service"),
    ("/ui/agents", "agents"),
    ("/ui/workflows", "workflows"),
    ("/ui/trading", "trading"),
    ("/ui/topology", "topology"),
    ("/ui/market", "market"),
    ("/ui/logs", "logs"),
    ("/ui/traces", "traces"),
    ("/ui/playground/utilities__hash", "playground"),
    ("/ui/alerts", "alerts"),
    ("/ui/audit", "audit"),
    ("/ui/settings", "settings"),
];

pub(super) struct World {
    pub(super) process: Process,
    pub(super) home: Home,
    /// Whether there is a market to trade on.
    pub(super) sandbox: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let sandbox = tools::anvil().is_some();
        let home = Home::new(&format!("{CONFIG}enabled = {sandbox}"));
        let process = home.start(&ROLES);
        Self { process, home, sandbox }
    }

    pub(super) fn page(&self, path: &str) -> String {
        format!("{}{path}", self.process.screen["dashboard"].as_str().unwrap())
    }

    pub(super) fn mcp(&self) -> Mcp {
        Mcp::new(&format!("{}/mcp", self.process.screen["coordinator"].as_str().unwrap()), Some(self.home.key()))
    }

    pub(super) fn key(&self, name: &str, role: &str) -> String {
        let made = self.home.cli(&["token", "create", name, "--role", role, "--json"]).json();
        made["token"].as_str().unwrap().to_owned()
    }

    pub(super) fn call(&self, tool: &str, arguments: Value) -> Value {
        self.mcp().call(tool, arguments).unwrap_or_else(|refused| panic!("{tool}: {refused}"))
    }
}

#[test]
fn an_operator_walks_through_it() {
    let Some(browser) = Browser::start("walk", true) else { return };
    let world = World::new();
    signs_in(&browser, &world);
    finds_what_failed_and_restarts_it(&browser, &world);
    is_somebody_else(&browser, &world, &world.key("otto", "operator"), "otto");
    approves_a_step_and_cancels_a_task(&browser, &world);
    stops_all_trading(&browser, &world);
    goes_by_keys(&browser, &world);
    looks_from_a_phone_and_in_the_dark(&browser, &world);
    hostile_text_stays_text(&browser, &world);
    a_feed_that_stops_looks_dead(&browser, &world);
}

pub(super) fn signs_in(browser: &Browser, world: &World) {
    let link = world.home.cli(&["open", "--json"]).json();
    browser.goto(link["url"].as_str().unwrap());
    browser.click("main button");
    browser.sees(".who", "cli");
    browser.sees("#feed[data-feed=live]", "live");
    browser.sees("#figures", ALL);
    browser.sees("#broken", "Nothing is broken");
    browser.shoot("overview");
}

fn finds_what_failed_and_restarts_it(browser: &Browser, world: &World) {
    // It answers when the service serves again: after a person has restarted it.
    let mcp = world.mcp();
    let drill =
        std::thread::spawn(move || mcp.call("recovery__drill", json!({ "service": "legacy", "within_ms": 110_000 })));
    // The page that is open shows it by itself.
    browser.sees("#broken tbody tr", "failed");
    browser.sees("#figures", "16 of 17");
    browser.shoot("broken");
    browser.click("#broken a[href='/ui/services/legacy']");
    browser.sees("#state", "failed");
    browser.shoot("service-failed");
    browser.fill("#restart input[name='arg.reason']", "the walk found it failed");
    browser.click("#restart button");
    browser.sees(".said", "legacy was restarted and serves again");
    browser.sees("#state", "healthy");
    browser.shoot("service-restarted");
    // Whether it was in time for the drill is the machine's affair.
    drill.join().unwrap().ok();
    let audit = world.home.cli(&["audit", "list", "--json", "200"]).ok();
    assert!(audit.contains("the walk found it failed"), "{audit}");
    browser.sees("#lines", "service failed");
}

/// Signs out, and in again with a key.
pub(super) fn is_somebody_else(browser: &Browser, world: &World, key: &str, name: &str) {
    browser.goto(&world.page("/"));
    browser.click(".side form[action='/ui/sign-out'] button");
    browser.sees("h1", "Sign in");
    browser.fill("input[name=key]", key);
    browser.click("main button");
    browser.sees(".who", name);
}

fn approves_a_step_and_cancels_a_task(browser: &Browser, world: &World) {
    world.call("orchestration__define_workflow", json!({ "definition": ASKS }));
    let run = world.call("orchestration__start", json!({ "workflow": "test/asks" }))["run"].clone();
    browser.goto(&world.page("/"));
    browser.click("#figures a[href='/ui/workflows']");
    let asked = browser.sees(".question", "Deploy the executor");
    assert!(asked.contains("\"contract\": \"0xabc\"") && asked.contains("SHA-256"), "{asked}");
    browser.shoot("approval");
    browser.fill(".question form:has(input[value=approve]) input[name='arg.comment']", "looked at the bytecode");
    browser.click(".question form:has(input[value=approve]) button");
    browser.sees(".said", "approved");
    browser.sees("#inbox", "No run asks for anything");
    browser.click("#runs tbody a");
    browser.sees("#run", "completed");
    browser.sees("#steps", "/do/0/ask");
    browser.shoot("run");
    let ended = world.call("orchestration__status", json!({ "run": run }));
    assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &json!("otto")), "{ended}");

    let task = json!({ "queue": "nobody", "task_type": "wait", "payload": { "hostile": HOSTILE } });
    let task = world.call("task-management__submit_task", task)["id"].as_str().unwrap().to_owned();
    browser.goto(&world.page("/ui/agents?queue=nobody"));
    browser.sees("#waiting", &task);
    browser.shoot("tasks");
    browser.click(&format!("#waiting a[href='/ui/tasks/{task}']"));
    browser.sees("#input", "<script>document.title");
    browser.click("#acts form:has(input[value=cancel_task]) button");
    browser.sees(".said", "is cancelled");
    browser.sees("#task", "cancelled");
    browser.shoot("task");
}

/// The trades that were booked, and whether any submission is still under way.
fn trades(world: &World) -> (u64, bool) {
    let pnl = world.call("production__pnl", json!({ "mode": "live" }));
    let open = world.call("execution__history", json!({ "open": true }));
    (pnl["total"]["trades"].as_u64().unwrap(), !open["submissions"].as_array().unwrap().is_empty())
}

fn block(world: &World) -> u64 {
    world.call("blockchain-integration__chain_status", json!({}))["head"]["number"].as_u64().unwrap()
}

fn stops_all_trading(browser: &Browser, world: &World) {
    if world.sandbox {
        wait_for("a trade is booked", TRADE_TIME, || (trades(world).0 > 0).then_some(()));
    }
    browser.goto(&world.page("/ui/trading"));
    browser.sees("#gate", "The kill switch is off");
    if world.sandbox {
        browser.sees("#trades", "as predicted");
    }
    browser.shoot("trading");
    browser.fill("#switch input[name=reason]", "the walk stops it");
    browser.click("#switch button");
    browser.sees("h1", "Stop all trading?");
    assert_eq!(world.call("risk-management__kill_switch_state", json!({}))["on"], false, "one step is not enough");
    browser.shoot("kill");
    browser.click("#kill button");
    browser.sees(".said", "the kill switch is on");
    browser.sees(".killed", "KILLED by otto");
    browser.sees("#switch .barred", "needs another role than operator");
    browser.shoot("killed");
    if world.sandbox {
        wait_for("what was under way is settled", TRADE_TIME, || (!trades(world).1).then_some(()));
        let (stopped, at) = (trades(world), block(world));
        wait_for("blocks pass", TRADE_TIME, || (block(world) >= at + 10).then_some(()));
        assert_eq!(trades(world), stopped, "nothing was sent");
    }
    is_somebody_else(browser, world, &world.key("tina", "trader"), "tina");
    browser.goto(&world.page("/ui/trading"));
    browser.fill("#switch input[name='arg.reason']", "the walk goes on");
    browser.click("#switch button");
    browser.sees(".said", "trading goes on");
    browser.sees("#gate", "The kill switch is off");
    let states = world.call("risk-management__kill_switch_state", json!({}));
    assert_eq!((&states["on"], &states["trading_set"]["by"]), (&json!(false), &json!("tina")), "{states}");
    is_somebody_else(browser, world, &world.home.key(), "cli");
}

fn goes_by_keys(browser: &Browser, world: &World) {
    browser.goto(&world.page("/"));
    browser.sees("#feed[data-feed=live]", "live");
    browser.press("gs");
    browser.sees("h1", "Services");
    assert!(browser.url().ends_with("/ui/services"), "{}", browser.url());
    browser.sees("#services", "utilities");
    browser.shoot("services");
    browser.press("?");
    browser.sees("#keys[open]", "search");
    browser.press(ESCAPE);
    browser.press("/");
    browser.press("keccak");
    browser.press(ENTER);
    browser.sees("#tools", "utilities__keccak256");
    browser.shoot("search");
}

fn looks_from_a_phone_and_in_the_dark(browser: &Browser, world: &World) {
    for (theme, size, width) in [("dark", PHONE, "phone"), ("light", DESK, "desk")] {
        browser.click(&format!("footer button[value={theme}]"));
        browser.sees(&format!("html[data-theme={theme}] h1"), "");
        browser.size(size);
        // The others are seen from a desk while something is done there.
        let pages = if size == PHONE { &PAGES[..] } else { &PAGES[..6] };
        for (path, name) in pages {
            browser.goto(&world.page(path));
            browser.sees("#feed[data-feed=live]", "live");
            // Nothing may push the page wider than its window.
            let wider =
                browser.eval("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(wider, 0, "{path} on a {width}");
            assert_eq!(browser.eval(UNNAMED), json!([]), "fields without a name at {path}");
            browser.shoot(&format!("{name}-{width}-{theme}"));
        }
    }
}

fn hostile_text_stays_text(browser: &Browser, world: &World) {
    let events = world.call("master-coordinator__list_events", json!({ "limit": 1 }));
    let now = format!("{}000000", events["events"][0]["at_ms"]);
    let stream = json!({ "streams": [{ "stream": { "service_name": HOSTILE }, "values": [[now, format!("hostile {HOSTILE}")]] }] });
    let key = format!("Bearer {}", world.home.key());
    let url = world.process.screen["services"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["service"] == "logging")
        .unwrap()["url"]
        .clone();
    let url = format!("{}/loki/api/v1/push", url.as_str().unwrap());
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let pushed = http::send("POST", &url, &headers, stream.to_string().as_bytes());
    assert_eq!(pushed.status, 204, "{pushed:?}");
    world.call("master-coordinator__restart_service", json!({ "service": "legacy", "reason": HOSTILE }));
    wait_for("the line is kept", LIMIT, || {
        let found = world.mcp().call("logging__search", json!({ "text": "hostile" })).ok()?;
        found["lines"][0].is_object().then_some(())
    });
    for (path, panel) in [("/ui/find?q=hostile", "#lines"), ("/", "#events")] {
        browser.goto(&world.page(path));
        browser.sees(panel, "<script>document.title");
        assert_eq!((browser.count("main script"), browser.count("main img")), (0, 0), "{path}");
        assert!(!browser.eval("return document.title").as_str().unwrap().contains("owned"), "{path}");
    }
    browser.shoot("hostile");
    // What is folded away there is text as well.
    let folded =
        ["/ui/logs?text=hostile", "/ui/logs?text=hostile&show=patterns", "/ui/audit", "/ui/traces", "/ui/topology"];
    for path in folded {
        browser.goto(&world.page(path));
        browser.sees("h1", "");
        assert_eq!((browser.count("main script"), browser.count("main img")), (0, 0), "{path}");
        assert!(!browser.eval("return document.title").as_str().unwrap().contains("owned"), "{path}");
    }
    let reflected = format!("/ui/find?q={}", super::percent(HOSTILE));
    browser.goto(&world.page(&reflected));
    browser.sees("h1", "<script>");
    assert_eq!(browser.count("main script"), 0);
}

fn a_feed_that_stops_looks_dead(browser: &Browser, world: &World) {
    browser.goto(&world.page("/"));
    browser.sees("#feed[data-feed=live]", "live");
    browser.eval("for (const panel of document.querySelectorAll('.panel')) panel.dataset.before = 'the stop'");
    world.process.signal(libc::SIGSTOP);
    browser.sees("#feed[data-feed=dead]", "no news for");
    assert_eq!(browser.count("body[data-dead]"), 1);
    browser.shoot("dead");
    world.process.signal(libc::SIGCONT);
    // Whole, whatever changed meanwhile: nothing is left of what was there before.
    browser.sees("#figures:not([data-before])", "of 17");
    browser.sees("#infrastructure:not([data-before])", "store");
    browser.sees("#feed[data-feed=live]", "live");
    assert_eq!(browser.count("body[data-dead]"), 0);
}

#[test]
fn without_scripts_it_shows_and_does_the_same() {
    let Some(browser) = Browser::start("without-scripts", false) else { return };
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let page = |path: &str| format!("{}{path}", super::url_of(&fleet));
    browser.goto(&page("/ui/sign-in"));
    browser.fill("input[name=key]", &fleet.home.key());
    browser.click("main button");
    browser.sees(".who", "cli");
    browser.sees("#feed[data-feed=none]", "as of");
    browser.sees("#figures", "5 of 5");
    browser.shoot("overview");
    browser.goto(&page("/ui/services/utilities"));
    browser.fill("#restart input[name='arg.reason']", "no scripts needed");
    browser.click("#restart button");
    browser.sees(".said", "utilities was restarted");
    browser.click("footer button[value=dark]");
    browser.sees("html[data-theme=dark] h1", "utilities");
    browser.shoot("service");
    browser.goto(&page("/ui/playground/utilities__keccak256"));
    browser.fill("#form [name='arg.data']", "hello");
    browser.click("#form button");
    browser.sees("#answer", "1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8");
    browser.shoot("playground");
    browser.goto(&page("/ui/logs?service=utilities"));
    browser.sees("#lines", "utilities");
    browser.goto(&page("/ui/alerts"));
    browser.click("#test button");
    browser.sees(".said", "a test fires");
    browser.sees("#firing", "nothing is wrong");
    browser.goto(&page("/ui/audit"));
    browser.sees("#chain", "verified");
    browser.goto(&page("/ui/topology"));
    browser.sees("#figures", "utilities");
    browser.shoot("topology");
    browser.click(".side form[action='/ui/sign-out'] button");
    browser.sees("h1", "Sign in");
}
