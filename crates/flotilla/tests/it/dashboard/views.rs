//! Logs, playground, traces, alerts, audit, settings, topology and market: each opened and acted on in a real browser, and what stands behind
//! them for those who have none.

use serde_json::{Value, json};

use super::Visitor;
use super::walk::{HOSTILE, TRADE_TIME, World, is_somebody_else, signs_in};
use crate::harness::browser::Browser;
use crate::harness::{Fleet, LIMIT, Mcp, Ran, wait_for};

/// `keccak256("hello")`.
const HASH: &str = "1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8";

#[test]
fn an_operator_looks_into_everything() {
    let Some(browser) = Browser::start("views", true) else { return };
    let world = World::new();
    signs_in(&browser, &world);
    follows_log_lines(&browser, &world);
    tries_a_tool_and_follows_its_trace(&browser, &world);
    takes_an_alert_up_and_keeps_it_quiet(&browser, &world);
    audits_what_was_done(&browser, &world);
    sees_keys_and_configuration(&browser, &world);
    sees_how_it_hangs_together(&browser, &world);
    looks_at_the_market(&browser, &world);
    is_somebody_else(&browser, &world, &world.key("vera", "viewer"), "vera");
    a_viewer_sees_what_is_theirs(&browser, &world);
}

fn follows_log_lines(browser: &Browser, world: &World) {
    browser.goto(&world.page("/"));
    browser.sees("#feed[data-feed=live]", "live");
    browser.press("gl");
    browser.sees("h1", "Logs");
    browser.sees("#follow", "following");
    browser.goto(&world.page("/ui/logs?service=legacy"));
    browser.sees("#feed[data-feed=live]", "live");
    // What is said from now on comes by itself.
    world.call("master-coordinator__restart_service", json!({ "service": "legacy", "reason": "for the log's page" }));
    browser.sees("#lines .lines li", "legacy");
    browser.shoot("logs");
    browser.click("#pause");
    browser.sees("#follow", "paused");
    assert!(browser.url().contains("until=") && browser.url().contains("service=legacy"), "{}", browser.url());
    browser.sees("#lines .lines", "legacy");
    world.call("master-coordinator__restart_service", json!({ "service": "legacy", "reason": "while it is paused" }));
    wait_for("more lines are kept", LIMIT, || {
        let found = world.mcp().call("logging__search", json!({ "service": "legacy", "limit": 1 })).ok()?;
        newer(&found, browser).then_some(())
    });
    let lines = || browser.eval("return document.querySelectorAll('#lines .lines li').length");
    let before = lines();
    browser.goto(&browser.url());
    browser.sees("#follow", "paused");
    assert_eq!(lines(), before, "a link to a paused page shows the same lines");
    browser.click("#follow .acts a");
    browser.sees("#follow", "following");
    browser.fill("#filter [name=text]", "no such words anywhere");
    browser.click("#filter button");
    browser.sees("#lines", "No line is so");
    browser.goto(&world.page("/ui/logs?show=patterns"));
    browser.sees("#patterns tbody tr", "state changed");
    browser.shoot("patterns");
}

/// Whether the newest line was said after the page was paused.
fn newer(found: &Value, browser: &Browser) -> bool {
    let until = browser.url().split("until=").nth(1).and_then(|rest| rest.split('&').next()?.parse::<i64>().ok());
    found["lines"][0]["at_ms"].as_i64() > until
}

fn tries_a_tool_and_follows_its_trace(browser: &Browser, world: &World) {
    browser.goto(&world.page("/ui/playground"));
    browser.fill("#search-tools [name=q]", "keccak hash of a text");
    browser.click("#search-tools button");
    browser.click("#found a[href='/ui/playground/utilities__keccak256']");
    browser.sees("#about", "only looks");
    browser.fill("#form [name='arg.data']", "hello");
    browser.click("#form button");
    browser.sees("#answer", HASH);
    browser.sees("#past tbody tr", "hello");
    browser.shoot("playground");
    let copied = browser.eval("return [...document.querySelectorAll('#copy pre')].map(pre => pre.textContent)");
    runs_as_copied(world, &copied);

    // The call again, out of the history; and with what is no number.
    browser.click("#past a[href*='args=']");
    browser.sees("#form", "data");
    assert_eq!(browser.eval("return document.querySelector(\"#form [name='arg.data']\").value"), "hello");
    browser.goto(&world.page("/ui/playground/utilities__keccak256"));
    browser.click("#raw summary");
    browser.fill("#raw textarea", "{\"data\": 5");
    browser.click("#raw button");
    browser.sees("#answer", "no JSON");
    browser.sees("#raw textarea", "");

    // What changes something says so, and is not done by a slip of the hand.
    browser.goto(&world.page("/ui/playground/master-coordinator__restart_service"));
    browser.sees("#about .badge", "may take something away");
    browser.fill("#form [name='arg.service']", "legacy");
    browser.fill("#form [name='arg.reason']", HOSTILE);
    browser.click("#form [name=sure]");
    browser.click("#form button");
    browser.sees("#answer", "\"service\": \"legacy\"");
    assert_eq!((browser.count("main script"), browser.count("main img")), (0, 0));

    let tool = if world.sandbox { "blockchain-integration__get_balance" } else { "utilities__uuid" };
    browser.goto(&world.page(&format!("/ui/playground/{tool}")));
    if world.sandbox {
        browser.fill("#form [name='arg.account']", "0x00000000000000000000000000000000000000aa");
    }
    browser.click("#form button");
    browser.sees("#answer", "✔ ok");
    browser.click("#answer a[href^='/ui/traces/']");
    browser.sees("h1", "Trace");
    let pieces = browser.sees("#waterfall table", "gateway");
    assert!(pieces.contains(tool.split("__").next().unwrap()), "{pieces}");
    if world.sandbox {
        assert!(pieces.contains("node") && pieces.contains("eth_"), "{pieces}");
    }
    browser.shoot("trace");
    browser.goto(&world.page("/ui/traces?slow=1&server=utilities"));
    browser.sees("#calls tbody tr", "utilities.keccak256");
    browser.shoot("traces");
}

/// What the page says to copy does the same from a shell.
fn runs_as_copied(world: &World, copied: &Value) {
    let lines: Vec<&str> = copied.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(lines[2], "await self.call_tool(\"utilities\", \"keccak256\", {\"data\": \"hello\"})");
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_flotilla")).parent().unwrap().to_owned();
    for line in &lines[..2] {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", folder.display());
        let url = world.process.screen["coordinator"].as_str().unwrap();
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(line).env("PATH", path).env("FLOTILLA_URL", url).env("FLOTILLA_TOKEN", world.home.key());
        command.current_dir(world.home.path("")).env("FLOTILLA_DATA_DIR", world.home.path("data"));
        let ran = Ran::run(&mut command, "", LIMIT);
        // Not every machine has curl.
        if ran.code == Some(127) {
            continue;
        }
        let told = ran.ok();
        assert!(told.contains(HASH), "{line}: {told}");
    }
}

fn takes_an_alert_up_and_keeps_it_quiet(browser: &Browser, world: &World) {
    // A busy machine may have alerts of its own.
    browser.goto(&world.page("/ui/alerts?rule=test"));
    browser.sees("#sinks", "Nobody but who looks here");
    browser.fill("#test [name='arg.summary']", HOSTILE);
    browser.fill("#test [name='arg.seconds']", "3600");
    browser.click("#test button");
    browser.sees(".said", "a test fires");
    browser.sees("#firing tbody tr", "<script>document.title");
    browser.sees("#bar", "firing");
    browser.shoot("alerts");
    browser.fill("#firing [name='arg.comment']", "looking at it");
    browser.click("#firing form:has(input[value=acknowledge_alert]) button");
    browser.sees(".said", "is acknowledged");
    browser.sees("#acknowledged tbody tr", "looking at it");
    browser.sees("#firing", "Nothing fires");
    browser.click("#acknowledged details summary");
    browser.fill("#acknowledged [name='arg.reason']", "a drill");
    browser.click("#acknowledged form:has(input[value=silence]) button");
    browser.sees(".said", "is silenced");
    browser.sees("#silenced tbody tr", "test");
    let silence = browser.sees("#silences tbody tr", "a drill");
    assert!(silence.contains("cli"), "who made it: {silence}");
    browser.shoot("silenced");
    browser.click("#silences form:has(input[value=expire_silence]) button");
    browser.sees(".said", "the silence is over");
    browser.sees("#acknowledged tbody tr", "looking at it");
    browser.click("#acknowledged form:has(input[name='arg.undo']) button");
    browser.sees("#firing tbody tr", "test");
    browser.sees("#rules", "rules");
}

fn audits_what_was_done(browser: &Browser, world: &World) {
    browser.goto(&world.page("/ui/audit"));
    browser.sees("#chain", "verified");
    browser.sees("#rows tbody tr", "cli");
    browser.fill("#filter [name=server]", "monitoring");
    browser.click("#filter button");
    browser.sees("#rows tbody tr", "monitoring.silence");
    browser.click("#rows tbody tr:first-child details summary");
    browser.shoot("audit");
    let mut visitor = Visitor::new(world.process.screen["dashboard"].as_str().unwrap());
    visitor.sign_in(&world.home.key());
    let file = visitor.get("/ui/audit/download?server=monitoring");
    assert!(file.status == 200 && file.header("content-disposition").starts_with("attachment"), "{file:?}");
    let rows: Vec<Value> = file.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.iter().any(|row| row["action"] == "silence" && row["caller"] == "cli"), "{rows:?}");
    assert!(rows.iter().all(|row| row["server"] == "monitoring" && row["hash"].as_str().unwrap().len() == 64));
}

fn sees_keys_and_configuration(browser: &Browser, world: &World) {
    browser.goto(&world.page("/ui/settings"));
    browser.sees("#roles tbody tr", "admin");
    browser.sees("#keys-of-callers tbody tr", "cli");
    browser.sees("#configuration", "http.bind");
    browser.click("#filter [name=set]");
    browser.click("#filter button");
    browser.sees("#configuration tbody tr", "supervision.give_up_after");
    let shown = browser.sees("#configuration", "FLOTILLA_DATA_DIR");
    assert!(!shown.contains("http.bind"), "{shown}");
    let page = browser.eval("return document.documentElement.outerHTML");
    assert!(!page.as_str().unwrap().contains(&world.home.key()), "a key is never shown");
    browser.shoot("settings");
}

fn sees_how_it_hangs_together(browser: &Browser, world: &World) {
    browser.goto(&world.page("/ui/topology"));
    browser.sees("#drawing svg", "utilities");
    browser.sees("#figures tbody tr", "logging");
    assert!(browser.count("#drawing line.edge title") > 10, "every edge says its rate in words");
    browser.shoot("topology");
    browser.click("#drawing a[href='/ui/topology?only=utilities']");
    browser.sees("#drawing", "Only utilities");
    wait_for("nobody else is drawn", LIMIT, || (browser.count("#figures tbody tr") == 1).then_some(()));
}

fn looks_at_the_market(browser: &Browser, world: &World) {
    browser.goto(&world.page("/ui/market?all=1"));
    if !world.sandbox {
        browser.sees("#funnel .trouble", "");
        return;
    }
    browser.sees("#funnel", "gain after all costs");
    let row = wait_for("an opportunity", TRADE_TIME, || {
        (browser.count("#opportunities tbody tr svg.route") > 0).then(|| browser.sees("#opportunities tbody tr", "bps"))
    });
    assert!(["take", "eaten by", "shares a pool"].iter().any(|verdict| row.contains(verdict)), "{row}");
    browser.shoot("market");
    let to = browser.eval("return document.querySelector('#opportunities tbody a').getAttribute('href')");
    browser.goto(&world.page(to.as_str().unwrap()));
    browser.sees("#explained", "lender's fee");
    browser.click("#simulation a.button");
    browser.sees("#simulation", "on block");
    browser.shoot("simulated");
}

fn a_viewer_sees_what_is_theirs(browser: &Browser, world: &World) {
    browser.goto(&world.page("/ui/settings"));
    browser.sees("#keys-of-callers .trouble", "permission_denied");
    browser.sees("#configuration .trouble", "permission_denied");
    browser.goto(&world.page("/ui/alerts"));
    browser.sees("#test .barred", "needs another role than viewer");
    browser.goto(&world.page("/ui/audit"));
    browser.sees("#chain .barred", "needs another role than viewer");
    assert!(!browser.sees("#rows", "").contains("otto"));
    browser.goto(&world.page("/ui/playground/utilities__keccak256"));
    browser.fill("#form [name='arg.data']", "hello");
    browser.click("#form button");
    browser.sees("#answer", HASH);
    browser.goto(&world.page("/ui/audit"));
    let rows = browser.sees("#rows tbody", "utilities.keccak256");
    assert!(rows.contains("vera") && !rows.contains("cli"), "{rows}");
    browser.goto(&world.page("/ui/audit?caller=cli"));
    browser.sees("#rows .trouble", "permission_denied");
}

/// Lines as a file, and a tool called from elsewhere: only from a page of one's own.
#[test]
fn files_and_calls_are_for_whoever_may_have_them() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let mut admin = Visitor::new(&super::url_of(&fleet));
    admin.sign_in(&fleet.home.key());
    let lines = wait_for("lines are kept", LIMIT, || {
        Some(admin.get("/ui/logs/download?format=ndjson&level=info")).filter(|file| file.body.lines().count() > 3)
    });
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    assert!(lines.body.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].is_u64()));
    let csv = admin.get("/ui/logs/download?format=csv");
    assert!(csv.body.starts_with("seq,at_ms,level,service,message,trace_id,fields\n"), "{csv:?}");
    assert_eq!(admin.get("/ui/logs/download?level=loud").status, 400, "what the tool refuses is refused");

    let call = "name=utilities__keccak256&arg.data=hello";
    let told = admin.post("/ui/playground/utilities__keccak256", "/ui/playground-call", call);
    assert!(told.status == 200 && told.body.contains(HASH), "{}", told.body);
    let stolen = admin.send("POST", "/ui/playground-call", &[], call);
    assert_eq!(stolen.status, 403, "without a token");
    // What changes something needs its tick even where the browser was not asked for it.
    let restart = "name=master-coordinator__restart_service&arg.service=utilities";
    let told = admin.post("/ui/playground/utilities__keccak256", "/ui/playground-call", restart);
    assert!(told.body.contains("nobody said that it should"), "{}", told.body);
    assert_eq!(fleet.cli(&["status", "utilities", "--json"]).json()["restarts"], 0);
    let told = admin.post("/ui/playground/utilities__keccak256", "/ui/playground-call", &format!("{restart}&sure=1"));
    assert!(told.body.contains("✔ ok"), "{}", told.body);
    assert_eq!(admin.get("/ui/playground/nobody__nothing").status, 404);
    assert_eq!(admin.get("/ui/traces/xyz").status, 400);

    // Nobody in particular looks, and is shown what is nobody's.
    let mut local = Visitor::new(&super::url_of(&fleet));
    assert!(local.get("/ui/settings").body.contains("permission_denied"));
    let told = local.post("/ui/playground/utilities__keccak256", "/ui/playground-call", &format!("{restart}&sure=1"));
    assert!(told.body.contains("permission_denied") || told.status == 403, "{told:?}");
    let key = fleet.cli(&["token", "create", "vera", "--role", "viewer", "--json"]).json();
    let viewer = Mcp::new(&format!("{}/mcp", fleet.url()), key["token"].as_str().map(ToOwned::to_owned));
    let others = viewer.call("master-coordinator__list_audit", json!({ "caller": "cli" })).unwrap_err();
    assert!(others.starts_with("permission_denied"), "{others}");
    let own = viewer.call("master-coordinator__list_audit", json!({})).unwrap();
    assert!(own["rows"].as_array().unwrap().iter().all(|row| row["caller"] == "vera"), "{own}");
}
