//! The bot on a whole fleet, and a server that speaks as Discord does.

use serde_json::{Value, json};

use crate::harness::discord::{CHANNEL, Discord, GUILD, LOOKERS, OPS, Request, TOKEN};
use crate::harness::{Fleet, Home, LIMIT, Process, http, wait_for};

/// A whole fleet with the bot.
fn fleet(discord: &Discord, more: &str) -> Fleet {
    let home = Home::new(&discord.config(more));
    let process = up(&home);
    Fleet { process, home }
}

fn up(home: &Home) -> Process {
    let mut command = home.command(&["up", "--no-sandbox"]);
    command.env("DISCORD_BOT_TOKEN", TOKEN);
    home.try_start(command).unwrap_or_else(|(status, said)| panic!("{status}: {said}"))
}

/// The time now as Loki's clients write it, a little later for each line.
fn nanoseconds(line: usize) -> String {
    (kernel::Clock::system().now_ms() as usize * 1_000_000 + line).to_string()
}

/// The embed of a message.
fn embed(request: &Request) -> &Value {
    &request.body["embeds"][0]
}

fn text(request: &Request) -> String {
    embed(request)["description"].as_str().unwrap_or_default().to_owned()
}

fn title(request: &Request) -> String {
    embed(request)["title"].as_str().unwrap_or_default().to_owned()
}

/// What the fleet logged.
fn lines(fleet: &Fleet) -> String {
    fleet.call("logging__search", json!({ "limit": 1_000 })).to_string()
}

/// What its health says of the connection.
fn health(fleet: &Fleet) -> (String, String) {
    let health = http::send("GET", &format!("{}/health", fleet.url_of("agent:discord")), &[], b"").json();
    let checks = health["checks"].as_array().unwrap().clone();
    let check = checks.iter().find(|check| check["name"] == "discord").unwrap();
    (health["status"].as_str().unwrap().to_owned(), check["detail"].as_str().unwrap().to_owned())
}

#[test]
fn what_may_be_looked_at_is_answered_both_ways() {
    let discord = Discord::start();
    let fleet = fleet(&discord, "");
    let introduced = discord.told("it identifies", 2, 1);
    assert_eq!(introduced[0]["d"]["intents"], (1 << 9) | (1 << 15));
    let commands = discord.asked("its commands are declared", |request| request.method == "PUT");
    assert_eq!(commands.path, format!("/applications/1000/guilds/{GUILD}/commands"));
    let names: Vec<&str> = commands.body.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["status", "servers", "agents", "execute", "restart", "logs", "metrics", "alert"]);
    let asked = |text: &str| discord.reply(&discord.say("2001", &[LOOKERS], text));
    let status = asked("!status");
    assert!(title(&status).contains("The fleet is") && text(&status).contains("servers"), "{status:?}");
    let (servers, agents) = (asked("!servers"), asked("!agents"));
    assert!(text(&servers).contains("market-analysis") && text(&servers).contains("healthy   4008"), "{servers:?}");
    assert!(text(&agents).contains("discord") && text(&agents).contains("5009"), "{agents:?}");
    assert!(text(&asked("!metrics")).contains("calls a second"));
    assert!(title(&asked("!logs flotilla 5")).contains("Logs of flotilla"));
    assert!(text(&asked("!execute utilities status")).contains("utilities"));
    let slashed = discord.shown(&discord.slash(
        "2001",
        &[LOOKERS],
        "logs",
        &[("service", json!("flotilla")), ("lines", json!(3))],
    ));
    assert!(embed(&slashed)["footer"]["text"].as_str().unwrap().contains("the newest last"), "{slashed:?}");
    let near = asked("!stauts");
    assert!(text(&near).contains("did you mean `\u{200b}!status`"), "{near:?}");
    assert!(discord.refused().is_empty(), "{:?}", discord.refused());
    assert_eq!(health(&fleet), ("healthy".to_owned(), "connected as opsbot".to_owned()));
    for request in discord.requests() {
        // What an interaction is answered with says enough: the token is not shown where it is not asked for.
        let signed = !(request.path.starts_with("/interactions/") || request.path.starts_with("/webhooks/"));
        assert_eq!(request.authorization.as_deref() == Some(&format!("Bot {TOKEN}")), signed, "{request:?}");
    }
}

#[test]
fn who_has_no_role_is_told_so_once_and_who_looks_may_not_change_anything() {
    let discord = Discord::start();
    let fleet = fleet(&discord, "");
    discord.told("it identifies", 2, 1);
    let (first, second) = (discord.say("2009", &[], "!status"), discord.say("2009", &["1"], "!status"));
    let turned_away = discord.reply(&first);
    assert!(text(&turned_away).contains("user2009 has no role in the fleet"), "{turned_away:?}");
    let refused =
        discord.responded(&discord.slash("2009", &[], "restart", &[("kind", json!("server")), ("name", json!("x"))]));
    assert_eq!((&refused["type"], &refused["data"]["flags"]), (&json!(4), &json!(64)), "{refused}");
    for text_of in ["!restart server utilities", "!execute all restart", "!alert critical"] {
        let reply = discord.reply(&discord.say("2001", &[LOOKERS], text_of));
        assert!(text(&reply).contains("role viewer may not use"), "{reply:?}");
    }
    let answered = discord.requests().iter().any(|request| request.body["message_reference"]["message_id"] == second);
    assert!(!answered, "told once is enough");
    let rows = fleet.cli(&["audit", "list", "--json", "200"]).json();
    let row = |what: &str| rows.as_array().unwrap().iter().find(|row| row["action"] == what).cloned();
    let row = row("restart_service").unwrap_or_else(|| panic!("{rows}"));
    assert_eq!(
        (&row["caller"], &row["outcome"]),
        (&json!("discord:2001:user2001"), &json!("permission_denied")),
        "{row}"
    );
    assert!(fleet.get("/servers").ok().as_array().unwrap().iter().all(|row| row["restarts"] == 0));
}

#[test]
fn a_connection_that_ends_is_gone_on_with_and_nothing_said_meanwhile_is_lost() {
    let discord = Discord::start();
    discord.beats_every_ms(200);
    let fleet = fleet(&discord, "");
    discord.told("its heart beats", 1, 2);
    discord.cuts();
    let meanwhile = discord.say("2001", &[LOOKERS], "!servers");
    let resumed = discord.told("it resumes", 6, 1);
    assert_eq!((&resumed[0]["d"]["session_id"], &resumed[0]["d"]["token"]), (&json!("session1"), &json!(TOKEN)));
    assert!(title(&discord.reply(&meanwhile)).contains("servers healthy"));
    discord.sends(&json!({ "op": 7 }).to_string());
    discord.told("it resumes when asked to", 6, 2);
    discord.closes(4_000);
    discord.told("it resumes when closed", 6, 3);
    // A heart that is not answered has stopped for all it knows.
    discord.deaf(true);
    discord.told("it resumes when its heart is not answered", 6, 4);
    discord.deaf(false);
    assert_eq!(discord.told("but identified once", 2, 1).len(), 1);
    discord.refuses_sessions(true);
    discord.cuts();
    discord.told("a session that is over is begun anew", 2, 2);
    discord.refuses_sessions(false);
    assert!(title(&discord.reply(&discord.say("2001", &[LOOKERS], "!status"))).contains("The fleet is"));
    wait_for("it is well", LIMIT, || (health(&fleet).1 == "connected as opsbot").then_some(()));
}

#[test]
fn a_refused_bot_does_not_try_again_and_says_what_would_help() {
    let discord = Discord::start();
    let home = Home::new(&discord.config(""));
    let mut command = home.command(&["up", "--no-sandbox"]);
    command.env("DISCORD_BOT_TOKEN", "an0ther");
    let process = home.try_start(command).unwrap();
    let fleet = Fleet { process, home };
    let said = wait_for("it is refused", LIMIT, || Some(health(&fleet)).filter(|(status, _)| status == "degraded"));
    assert!(said.1.contains("4004") && said.1.contains("set DISCORD_BOT_TOKEN"), "{said:?}");
    assert_eq!(discord.opened(), 1);
    let log =
        wait_for("the log says so", LIMIT, || Some(lines(&fleet)).filter(|log| log.contains("the bot is refused")));
    assert!(!log.contains("an0ther"), "{log}");
}

#[test]
fn without_the_texts_of_messages_slash_commands_work() {
    let discord = Discord::start();
    discord.refuses_texts();
    let fleet = fleet(&discord, "");
    let introduced = discord.told("it identifies without asking for texts", 2, 2);
    assert_eq!(introduced[1]["d"]["intents"], 1 << 9);
    let shown = discord.shown(&discord.slash("2001", &[LOOKERS], "status", &[]));
    assert!(title(&shown).contains("The fleet is"));
    let health = http::send("GET", &format!("{}/health", fleet.url_of("agent:discord")), &[], b"").json();
    assert!(health.to_string().contains("only slash commands work"), "{health}");
}

#[test]
fn limits_are_waited_for_and_what_is_none_of_an_event_is_passed_over() {
    let discord = Discord::start();
    let fleet = fleet(&discord, "");
    discord.told("it identifies", 2, 1);
    let post = format!("POST /channels/{CHANNEL}/messages");
    let later = json!({ "message": "You are being rate limited.", "retry_after": 0.2, "global": false });
    discord.answers(&post, 2, 429, "retry-after: 1\r\nx-ratelimit-scope: user\r\n", later);
    assert!(title(&discord.reply(&discord.say("2001", &[LOOKERS], "!status"))).contains("The fleet is"));
    let global = json!({ "message": "You are being rate limited.", "retry_after": 0.1, "global": true });
    discord.answers(&post, 1, 429, "x-ratelimit-global: true\r\n", global);
    discord.answers(&post, 1, 500, "", json!({}));
    assert!(title(&discord.reply(&discord.say("2001", &[LOOKERS], "!agents"))).contains("agents healthy"));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let bad = [
        "not JSON",
        "{}",
        "[]",
        r#"{"op":"0"}"#,
        r#"{"op":0,"t":"MESSAGE_CREATE","s":9,"d":{"id":"../x","content":"!status","author":{"id":"1"}}}"#,
        r#"{"op":0,"t":"INTERACTION_CREATE","d":{"type":2}}"#,
        r#"{"op":0,"t":"READY","d":null}"#,
        r#"{"op":99,"d":{}}"#,
        &deep,
    ];
    for text in bad {
        discord.sends(text);
    }
    assert!(title(&discord.reply(&discord.say("2001", &[LOOKERS], "!servers"))).contains("servers healthy"));
    assert_eq!(discord.opened(), 1, "the connection stands");
    assert_eq!(health(&fleet), ("healthy".to_owned(), "connected as opsbot; 8 events that were none".to_owned()));
}

#[test]
fn whatever_is_long_or_hostile_discord_takes_it_and_nobody_is_pinged() {
    let discord = Discord::start();
    let fleet = fleet(&discord, "");
    discord.told("it identifies", 2, 1);
    let hostile = "@everyone <@2001> ```\n# big [x](http://evil) \u{202e}";
    let logged = |service: &str, count: usize| {
        let values: Vec<Value> =
            (0..count).map(|n| json!([nanoseconds(n), format!("{n} {hostile} {}", "y".repeat(180))])).collect();
        let push = json!({ "streams": [{ "stream": { "service": service }, "values": values }] }).to_string();
        let url = format!("{}/loki/api/v1/push", fleet.url_of("logging"));
        let key = format!("Bearer {}", fleet.home.key());
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        let answer = http::send("POST", &url, &headers, push.as_bytes());
        assert!((200..300).contains(&answer.status), "{answer:?}");
        wait_for("the lines are kept", LIMIT, || {
            let found = fleet.call("logging__search", json!({ "service": service, "limit": count }));
            (found["lines"].as_array().unwrap().len() == count).then_some(())
        });
    };
    logged("chatty", 60);
    logged("endless", 500);
    let paged = discord.reply(&discord.say("2001", &[LOOKERS], "!logs chatty 60"));
    let note = embed(&paged)["footer"]["text"].as_str().unwrap().to_owned();
    assert!(note.starts_with("page 1 of "), "{note}");
    let buttons = paged.body["components"][0]["components"].clone();
    let next = discord.responded(&discord.press("2001", &[LOOKERS], buttons[1]["custom_id"].as_str().unwrap()));
    assert_eq!(next["type"], 7);
    assert!(next["data"]["embeds"][0]["footer"]["text"].as_str().unwrap().starts_with("page 2 of "), "{next}");
    let gone = discord.responded(&discord.press("2001", &[LOOKERS], "page:forgotten:1"));
    assert!(gone["data"]["embeds"][0]["title"].as_str().unwrap().contains("These pages are gone"), "{gone}");
    let filed = discord.reply(&discord.say("2001", &[LOOKERS], "!logs endless 500"));
    let file = filed.file.clone().unwrap();
    assert_eq!(file.lines().count(), 500, "all of it");
    for request in discord.requests().iter().filter(|request| request.body["embeds"].is_array()) {
        let body = request.body.to_string();
        assert_eq!(request.body["allowed_mentions"]["parse"], json!([]), "{body}");
        assert!(!body.contains("@everyone") && !body.contains("<@2001>") && !body.contains('\u{202e}'), "{body}");
    }
    assert!(!file.contains("@everyone"));
    assert!(discord.refused().is_empty(), "{:?}", discord.refused());
    // Where embeds and files are not allowed, its beginning is said as text.
    let missing = json!({ "message": "Missing Permissions", "code": 50_013 });
    discord.answers(&format!("POST /channels/{CHANNEL}/messages"), 1, 403, "", missing);
    let plain = discord.reply(&discord.say("2001", &[OPS], "!logs chatty 60"));
    assert!(plain.body["content"].as_str().unwrap().contains("may not send embeds and files here"), "{plain:?}");
}

#[test]
fn the_token_leaves_for_no_other_host() {
    let (discord, other) = (Discord::start(), Discord::start());
    // A gateway elsewhere: by another name of this very machine.
    let elsewhere =
        json!({ "url": format!("ws://localhost:{}/gw", other.port()), "session_start_limit": { "remaining": 9 } });
    discord.answers("GET /gateway/bot", 1, 200, "", elsewhere);
    let location = format!("location: http://127.0.0.1:{}/api/v10/gateway/bot\r\n", other.port());
    discord.answers("GET /gateway/bot", 1, 302, &location, json!({}));
    let fleet = fleet(&discord, "");
    discord.told("it identifies where it should", 2, 1);
    let location = format!("location: http://127.0.0.1:{}/api/v10/channels/4000/messages\r\n", other.port());
    discord.answers("POST /channels", 1, 307, &location, json!({}));
    discord.say("2001", &[LOOKERS], "!status");
    discord.asked("a redirect", |request| request.status == 307);
    assert!(title(&discord.reply(&discord.say("2001", &[LOOKERS], "!status"))).contains("The fleet is"));
    assert_eq!((other.opened(), other.requests().len()), (0, 0));
    let shown = [
        fleet.cli(&["config", "show"]).ok(),
        lines(&fleet),
        fleet.cli(&["audit", "list", "--json", "500"]).ok(),
        http::send("GET", &format!("{}/health", fleet.url_of("agent:discord")), &[], b"").body,
        http::send("GET", &format!("{}/metrics", fleet.url_of("agent:discord")), &[], b"").body,
    ];
    assert!(shown.iter().all(|text| !text.contains(TOKEN) && !text.contains("t0ps3cret")));
}

#[test]
fn without_a_token_the_agent_is_off_and_well() {
    let fleet = Fleet::plain();
    assert_eq!(health(&fleet), ("healthy".to_owned(), "off: there is no DISCORD_BOT_TOKEN".to_owned()));
}

/// The buttons of a message: their names.
fn buttons(message: &Value) -> [String; 2] {
    [0, 1].map(|at| message["components"][0]["components"][at]["custom_id"].as_str().unwrap().to_owned())
}

fn restarts(fleet: &Fleet, name: &str) -> Value {
    let rows = fleet.get("/servers").ok();
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()["restarts"].clone()
}

/// The title of what an interaction is answered with at once.
fn at_once(data: &Value) -> String {
    data["data"]["embeds"][0]["title"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_change_is_confirmed_by_who_asked_for_it_and_recorded_under_their_name() {
    let discord = Discord::start();
    let fleet = fleet(&discord, "");
    discord.told("it identifies", 2, 1);
    let question = discord.reply(&discord.say("2001", &[OPS], "!restart server utilities"));
    assert!(title(&question).contains("Really restart server utilities?"), "{question:?}");
    let [yes, _] = buttons(&question.body);
    let other = discord.responded(&discord.press("2002", &[OPS], &yes));
    assert_eq!((other["type"].clone(), other["data"]["flags"].clone()), (json!(4), json!(64)), "{other}");
    assert!(at_once(&other).contains("Only who asked for it can say so"), "{other}");
    assert_eq!(restarts(&fleet, "utilities"), 0, "not by somebody else");
    let token = discord.press("2001", &[OPS], &yes);
    assert_eq!(discord.responded(&token)["data"]["components"], json!([]), "the buttons are gone");
    let done = discord.shown(&token);
    assert!(title(&done).contains("utilities was restarted"), "{done:?}");
    assert_eq!(restarts(&fleet, "utilities"), 1);
    let again = discord.responded(&discord.press("2001", &[OPS], &yes));
    assert!(at_once(&again).contains("Nothing is asked here any more"), "{again}");
    let rows = fleet.cli(&["audit", "list", "--json", "200"]).json();
    let row = rows.as_array().unwrap().iter().find(|row| row["action"] == "restart_service").cloned();
    let row = row.unwrap_or_else(|| panic!("{rows}"));
    let named = (&row["caller"], &row["role"], &row["outcome"]);
    assert_eq!(named, (&json!("discord:2001:user2001"), &json!("operator"), &json!("ok")), "{row}");
    let runs = fleet.call("master-coordinator__agent_runs", json!({ "agent": "discord", "duty": "command" }));
    let run = &runs["runs"][0];
    assert_eq!(run["cause"]["asked"]["caller"], "discord:2001:user2001", "{runs}");
    assert_eq!((&run["standing"], &run["calls"][0]["tool"]), (&json!("done"), &json!("restart_service")), "{runs}");
    assert!(discord.refused().is_empty(), "{:?}", discord.refused());
}

#[test]
fn what_is_not_confirmed_is_not_done_and_the_role_counts_that_one_has_then() {
    let discord = Discord::start();
    let fleet = fleet(&discord, "confirm_seconds = 5");
    discord.told("it identifies", 2, 1);
    let asked = |text: &str| discord.reply(&discord.say("2001", &[OPS], text));
    let [_, no] = buttons(&asked("!restart server utilities").body);
    let declined = discord.responded(&discord.press("2001", &[OPS], &no));
    assert!(at_once(&declined).contains("Not done"), "{declined}");
    // Who lost the role meanwhile may no more.
    let [yes, _] = buttons(&asked("!restart agent risk").body);
    let refused = discord.shown(&discord.press("2001", &[LOOKERS], &yes));
    assert!(text(&refused).contains("permission_denied"), "{refused:?}");
    // A tool that looks needs no confirmation, one that changes does, by slash command as well.
    let hashed = asked("!execute utilities keccak256 input=abc");
    assert!(!title(&hashed).contains("Really"), "{hashed:?}");
    let options = [("target", json!("all")), ("command", json!("restart"))];
    let token = discord.slash("2001", &[OPS], "execute", &options);
    let question = discord.shown(&token);
    assert!(title(&question).contains("Really execute all restart?"), "{question:?}");
    let late = discord.asked("it is late", |request| {
        request.path.contains(&token) && title(request).contains("Not done: execute all restart")
    });
    assert!(embed(&late)["footer"]["text"].as_str().unwrap().contains("not confirmed in time"));
    let [yes, _] = buttons(&question.body);
    let pressed = discord.responded(&discord.press("2001", &[OPS], &yes));
    assert!(at_once(&pressed).contains("Nothing is asked here any more"), "{pressed}");
    let servers = fleet.get("/servers").ok();
    assert!(servers.as_array().unwrap().iter().all(|row| row["restarts"] == 0), "{servers}");
    assert!(title(&asked("!alert critical")).contains("A test alert fires"));
    assert!(discord.refused().is_empty(), "{:?}", discord.refused());
}

/// Requests to a channel, with their methods and the titles they show.
fn in_channel(discord: &Discord, channel: &str) -> Vec<(String, String)> {
    let path = format!("/channels/{channel}/messages");
    let of_it =
        discord.requests().into_iter().filter(|request| request.status == 200 && request.path.starts_with(&path));
    of_it.map(|request| (request.method.clone(), title(&request))).collect()
}

#[test]
fn alerts_are_told_once_in_their_rules_message_whatever_happens_meanwhile() {
    let discord = Discord::start();
    let mut fleet = fleet(&discord, "alerts_channel = \"5001\"\nalerts_seconds = 1");
    discord.told("it identifies", 2, 1);
    let test = |fleet: &Fleet, seconds: u32, summary: &str| {
        let asked = json!({ "seconds": seconds, "summary": summary, "severity": "critical" });
        fleet.call("monitoring__test_alert", asked)["id"].as_str().unwrap().to_owned()
    };
    let shows = |what: &str, method: &str, part: &str| {
        discord.asked(what, |request| {
            request.method == method
                && request.status == 200
                && request.path.starts_with("/channels/5001/")
                && text(request).contains(part)
        })
    };
    test(&fleet, 5, "@everyone first");
    let posted = shows("it fires", "POST", "firing critical: @\u{200b}everyone first");
    assert_eq!((&posted.body["enforce_nonce"], &posted.body["allowed_mentions"]["parse"]), (&json!(true), &json!([])));
    shows("it is over, in the same message", "PATCH", "resolved critical");
    // Discord is away: what fires and ends meanwhile is told when it is back, and so is what fires on.
    discord.answers("/channels/5001/", 40, 503, "", json!({}));
    test(&fleet, 5, "short");
    test(&fleet, 3_600, "long");
    wait_for("the short one is over", LIMIT, || {
        let alerts = fleet.call("monitoring__list_alerts", json!({ "states": ["resolved"] }));
        alerts.to_string().contains("short").then_some(())
    });
    // And the fleet is killed.
    fleet.process.kill();
    discord.answers_as_usual();
    fleet.process = up(&fleet.home);
    let both = shows("both are told", "POST", "firing critical: long");
    assert!(text(&both).contains("resolved critical: short"), "{both:?}");
    let id = fleet.call("monitoring__list_alerts", json!({}))["alerts"][0]["id"].clone();
    fleet.call("monitoring__acknowledge_alert", json!({ "id": id }));
    shows("somebody knows", "PATCH", "acknowledged by");
    let told = in_channel(&discord, "5001");
    let posts = told.iter().filter(|(method, _)| method == "POST").count();
    assert_eq!(posts, 2, "nothing is told twice: {told:?}");
    assert!(discord.refused().is_empty(), "{:?}", discord.refused());
}

#[test]
fn figures_are_one_message_and_warnings_are_told_in_batches() {
    let discord = Discord::start();
    let mut fleet = fleet(
        &discord,
        "metrics_channel = \"5002\"\nmetrics_seconds = 10\nlogs_channel = \"5003\"\nlogs_seconds = 5\nalerts_channel = \"5004\"",
    );
    // The third channel is none that the bot may write in.
    discord.answers("/channels/5004/", usize::MAX, 403, "", json!({ "message": "Missing Access", "code": 50_001 }));
    let in_metrics = |method: &str| {
        discord.asked("figures", |request| request.path.starts_with("/channels/5002/") && request.method == method)
    };
    let posted = in_metrics("POST");
    assert!(text(&posted).contains("calls a second"), "{posted:?}");
    in_metrics("PATCH");
    // Somebody deletes it: another is made.
    discord.answers("PATCH /channels/5002/", 1, 404, "", json!({ "message": "Unknown Message", "code": 10_008 }));
    wait_for("a second message", LIMIT, || {
        let posts = in_channel(&discord, "5002").iter().filter(|(method, _)| method == "POST").count();
        (posts == 2).then_some(())
    });
    let service = "noisy";
    let values: Vec<Value> = (0..90).map(|n| json!([nanoseconds(n), format!("trouble {n} @everyone")])).collect();
    let push =
        json!({ "streams": [{ "stream": { "service": service, "level": "error" }, "values": values }] }).to_string();
    let key = format!("Bearer {}", fleet.home.key());
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let answer =
        http::send("POST", &format!("{}/loki/api/v1/push", fleet.url_of("logging")), &headers, push.as_bytes());
    assert!((200..300).contains(&answer.status), "{answer:?}");
    let told = discord.asked("lines are told", |request| {
        request.path.starts_with("/channels/5003/") && text(request).contains("trouble 89")
    });
    assert!(!text(&told).contains("trouble 10 ") && !told.body.to_string().contains("@everyone"), "{told:?}");
    assert!(embed(&told)["footer"]["text"].as_str().unwrap().contains("more came before these"), "{told:?}");
    let payload = json!({ "text": "deployed", "channel": "logs" }).to_string();
    let notified = fleet.cli(&["agent", "submit", "discord", "notify", &payload, "--wait", "--json"]).json();
    assert_eq!(notified["state"], "done", "{notified}");
    discord.asked("somebody is told", |request| {
        request.path.starts_with("/channels/5003/") && text(request).contains("deployed")
    });
    fleet.call("monitoring__test_alert", json!({ "seconds": 3_600 }));
    let health = wait_for("what is missing is said", LIMIT, || {
        let health =
            http::send("GET", &format!("{}/health", fleet.url_of("agent:discord")), &[], b"").json().to_string();
        health.contains("channel 5004").then_some(health)
    });
    assert!(health.contains("Missing Access (50001)") && health.contains("Embed Links"), "{health}");
    fleet.process.kill();
    fleet.process = up(&fleet.home);
    let before = in_channel(&discord, "5002").len();
    wait_for("the same message after a restart", LIMIT, || (in_channel(&discord, "5002").len() > before).then_some(()));
    assert_eq!(in_channel(&discord, "5002").last().unwrap().0, "PATCH");
}

#[test]
fn of_two_copies_one_is_connected_and_the_other_takes_over() {
    let discord = Discord::start();
    let home = Home::new(&discord.config(""));
    let serve = |role: &str| {
        let mut command = home.command(&["serve", role, "--no-sandbox"]);
        command.env("DISCORD_BOT_TOKEN", TOKEN);
        home.try_start(command).unwrap_or_else(|(status, said)| panic!("{status}: {said}"))
    };
    let _coordinator = home.start(&["serve", "master-coordinator", "--no-sandbox"]);
    let mut one = serve("agent:discord");
    discord.told("one identifies", 2, 1);
    let _other = serve("agent:discord");
    assert!(title(&discord.reply(&discord.say("2001", &[LOOKERS], "!status"))).contains("The fleet is"));
    assert_eq!(discord.opened(), 1, "one of the two");
    one.kill();
    discord.told("the other identifies", 2, 2);
    let twice = discord.say("2001", &[LOOKERS], "!status");
    discord.reply(&twice);
    let answers =
        discord.requests().iter().filter(|request| request.body["message_reference"]["message_id"] == twice).count();
    assert_eq!(answers, 1);
}
