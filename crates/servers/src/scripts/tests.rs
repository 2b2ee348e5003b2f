//! Each tool through the protocol. The jail is played: the real one is proved with the backends, and both together at the fleet's endpoint.

use async_trait::async_trait;
use expect_test::{Expect, expect};
use kernel::fake::World;
use kernel::jail::{End, Program, Ran};
use kernel::queue::State;
use mcp::service::Service;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{Bench, admin, operator, shared, viewer};

/// Does what the first word of a program says, and remembers what it was given.
#[derive(Default)]
struct Played(Mutex<Vec<Program>>);

#[async_trait]
impl Jail for Played {
    async fn run(&self, program: &Program, stop: CancellationToken) -> Result<Ran, Fault> {
        self.0.lock().push(program.clone());
        let ran = |end, exit_code| Ran {
            end,
            exit_code,
            stdout: format!("{:?}\u{1b}[31m\n", program.arguments),
            stderr: "oh\n".into(),
            memory_peak_bytes: 7,
        };
        match program.text.split(' ').next().unwrap_or_default() {
            "hang" => {
                stop.cancelled().await;
                Ok(ran(End::Cancelled, None))
            }
            "refuse" => Err(Fault::unsupported("no namespaces here").hint("another machine")),
            "eat" => Ok(ran(End::MemoryLimit, None)),
            _ => Ok(ran(End::Exited, Some(3))),
        }
    }
}

struct Place {
    bench: Bench,
    jail: Arc<Played>,
}

async fn place(config: Config) -> Place {
    let (world, jail) = (World::default(), Arc::<Played>::default());
    let ports = MarketPorts { jail: Arc::clone(&jail) as Arc<dyn Jail>, ..MarketPorts::without_pools(world.ports()) };
    let service = Service::build::<Scripts>(&ports, config, shared(&world)).unwrap();
    let bench = Bench::of(world, service);
    bench.start().await;
    Place { bench, jail }
}

fn save(name: &str, code: &str) -> Value {
    json!({ "name": name, "language": "sh", "code": code })
}

#[tokio::test]
async fn a_script_is_kept_in_versions() {
    let Place { bench, .. } = place(Config::default()).await;
    let ann = operator("ann");
    let check = async |tool: &str, arguments: Value, expected: Expect| {
        bench.check_as(&ann, tool, arguments, expected).await;
    };
    check("save_script", save("tidy", "echo 1"), expect![[r#"{"name":"tidy","version":1,"created":true}"#]]).await;
    check("save_script", save("tidy", "echo 1"), expect![[r#"{"name":"tidy","version":1,"created":false}"#]]).await;
    let mut second = save("tidy", "echo 2");
    (second["about"], second["if_version"]) = (json!("tidies"), json!(1));
    check("save_script", second.clone(), expect![[r#"{"name":"tidy","version":2,"created":true}"#]]).await;
    check(
        "save_script",
        second,
        expect!["conflict: script `tidy` is at version 2 (look at it with get_script, and save your change of that)"],
    )
    .await;
    check(
        "get_script",
        json!({ "name": "tidy", "version": 1 }),
        expect![[r#"{"name":"tidy","about":"tidies","version":1,"language":"sh","saved_by":"ann","saved_ms":1794729600000,"network":false,"code":"echo 1","versions":[{"version":2,"language":"sh","saved_by":"ann","saved_ms":1794729600000,"network":false},{"version":1,"language":"sh","saved_by":"ann","saved_ms":1794729600000,"network":false}]}"#]],
    )
    .await;
    check(
        "list_scripts",
        json!({}),
        expect![[r#"{"scripts":[{"name":"tidy","about":"tidies","language":"sh","version":2,"saved_by":"ann","saved_ms":1794729600000,"network":false}]}"#]],
    )
    .await;
    check(
        "get_script",
        json!({ "name": "tidy", "version": 9 }),
        expect!["not_found: no version 9 of script `tidy` (kept are 1 to 2)"],
    )
    .await;
    check(
        "save_script",
        save("a/b", "x"),
        expect!["invalid_argument: `a/b` cannot name a script (1 to 64 characters of A-Z a-z 0-9 . _ : -)"],
    )
    .await;
    check(
        "save_script",
        save("a", " "),
        expect!["invalid_argument: an empty text, or one with a NUL character (the text of a script)"],
    )
    .await;
    check("delete_script", json!({ "name": "tidy" }), expect![[r#"{"name":"tidy","versions":2}"#]]).await;
    check(
        "get_script",
        json!({ "name": "tidy" }),
        expect!["not_found: no script `tidy` (list_scripts has their names)"],
    )
    .await;
    check("save_script", save("tidy", "echo 3"), expect![[r#"{"name":"tidy","version":1,"created":true}"#]]).await;
}

#[tokio::test]
async fn the_oldest_versions_give_way() {
    let Place { bench, .. } = place(Config::default()).await;
    for number in 1..=103 {
        bench.shown(&admin(), "save_script", save("many", &format!("echo {number}"))).await;
    }
    let script: Script =
        bench.call(&admin(), GET_SCRIPT, GetScriptRequest { name: "many".into(), version: Some(4) }).await.unwrap();
    assert_eq!((script.code.as_str(), script.versions.len()), ("echo 4", 100));
    bench
        .check(
            "get_script",
            json!({ "name": "many", "version": 3 }),
            expect!["not_found: no version 3 of script `many` (kept are 4 to 103)"],
        )
        .await;
}

#[tokio::test]
async fn a_run_tells_how_it_ended_and_is_kept() {
    let Place { bench, jail } = place(Config::default()).await;
    bench.shown(&admin(), "save_script", save("tidy", "echo 1")).await;
    let arguments = json!({ "name": "tidy", "arguments": ["a b"], "environment": { "X": "1" }, "stdin": "in", "time_limit_seconds": 5 });
    let shown = bench.shown(&operator("ann"), "run_script", arguments).await;
    let run: ScriptRun = serde_json::from_str(&shown).unwrap();
    assert_eq!((run.state, run.end, run.exit_code), (State::Done, Some(End::Exited), Some(3)), "{run:?}");
    assert_eq!(run.stdout.as_deref(), Some("[\"a b\"]\u{fffd}[31m\n"), "nothing that a terminal would act on");
    assert_eq!((run.script.as_deref(), run.version, run.caller.as_str()), (Some("tidy"), Some(1), "ann"));
    let given = jail.0.lock()[0].clone();
    assert_eq!((given.network, given.bounds.time, given.stdin.as_str()), (false, Duration::from_secs(5), "in"));
    assert_eq!((given.bounds.memory_bytes, given.bounds.processes), (256 << 20, 32));
    let again: ScriptRun =
        serde_json::from_str(&bench.shown(&viewer("eve"), "run_output", json!({ "run": run.run })).await).unwrap();
    assert_eq!(again, run);
    let listed: RunsResponse = bench
        .call(&viewer("eve"), RUNS, RunsRequest { script: Some("tidy".into()), limit: 5, ..Default::default() })
        .await
        .unwrap();
    assert_eq!((listed.runs.len(), listed.runs[0].run, listed.runs[0].stdout.as_ref()), (1, run.run, None));
    let killed: ScriptRun = serde_json::from_str(
        &bench.shown(&operator("ann"), "run_inline", json!({ "language": "python", "code": "eat" })).await,
    )
    .unwrap();
    assert_eq!(
        (killed.state, killed.end, killed.exit_code, killed.script),
        (State::Done, Some(End::MemoryLimit), None, None)
    );
}

#[tokio::test]
async fn one_key_is_one_run_of_its_caller() {
    let Place { bench, jail } = place(Config::default()).await;
    let run = async |name: &str, code: &str| {
        let request = json!({ "language": "sh", "code": code, "idempotency_key": "k" });
        bench.shown(&operator(name), "run_inline", request).await
    };
    let first = run("ann", "echo 1").await;
    assert_eq!(run("ann", "echo 1").await, first);
    assert_ne!(run("bob", "echo 1").await, first);
    assert_eq!(jail.0.lock().len(), 2);
    assert!(run("ann", "echo 2").await.starts_with("conflict: "));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_with_its_code_and_seen_in_the_health() {
    let Place { bench, .. } = place(Config::default()).await;
    bench
        .check(
            "run_inline",
            json!({ "language": "sh", "code": "refuse" }),
            expect!["unsupported: no namespaces here (another machine)"],
        )
        .await;
    let health = bench.service.health().await;
    let check = health.checks.iter().find(|check| check.name == "sandbox").unwrap();
    assert_eq!(check.detail, "unsupported: no namespaces here (another machine)");
    let dead: RunsResponse = bench
        .call(&admin(), RUNS, RunsRequest { state: Some(State::Dead), limit: 5, ..Default::default() })
        .await
        .unwrap();
    assert_eq!(dead.runs[0].failure.as_ref().unwrap().code, Code::Unsupported);
    for (request, said) in [
        (
            json!({ "language": "perl", "code": "x" }),
            expect![
                "invalid_argument: arguments.language: unknown variant `perl`, expected one of `jq`, `sh`, `python` (the tool's inputSchema says what it takes)"
            ],
        ),
        (
            json!({ "language": "sh", "code": "x", "time_limit_seconds": 901 }),
            expect!["invalid_argument: time_limit_seconds is 901 (1 to 900)"],
        ),
        (
            json!({ "language": "sh", "code": "x", "wait_seconds": 46 }),
            expect!["invalid_argument: wait_seconds is 46 (at most 45; run_output waits on)"],
        ),
        (
            json!({ "language": "sh", "code": "x", "environment": { "A-B": "" } }),
            expect!["invalid_argument: `A-B` cannot name a variable (letters, digits and _, a digit not first)"],
        ),
    ] {
        bench.check("run_inline", request, said).await;
    }
    bench
        .check(
            "run_output",
            json!({ "run": "task_99" }),
            expect!["not_found: no task task_99 (it never was, or it ended and was purged)"],
        )
        .await;
    bench
        .check(
            "run_script",
            json!({ "name": "none" }),
            expect!["not_found: no script `none` (list_scripts has their names)"],
        )
        .await;
}

#[tokio::test]
async fn who_may_look_may_not_run_and_the_network_is_an_administrators_to_grant() {
    let Place { bench, jail } = place(Config { allow_network: true, ..Config::default() }).await;
    let eve = viewer("eve");
    let denied = |tool: &str| format!("permission_denied: role viewer may not use scripts.{tool} ");
    for (tool, arguments) in [
        ("save_script", save("x", "y")),
        ("run_inline", json!({ "language": "jq", "code": "1" })),
        ("run_script", json!({ "name": "x" })),
        ("cancel_run", json!({ "run": "task_1" })),
        ("delete_script", json!({ "name": "x" })),
        ("schedule_script", json!({ "name": "x", "when": { "every": { "seconds": 60 } } })),
    ] {
        let said = bench.shown(&eve, tool, arguments).await;
        assert!(said.starts_with(&denied(tool)), "{said}");
    }
    let mut fetch = save("fetch", "echo net");
    fetch["network"] = json!(true);
    let said = bench.shown(&operator("ann"), "save_script", fetch.clone()).await;
    assert!(said.starts_with("permission_denied: role operator may not use save_script with network"), "{said}");
    bench.shown(&admin(), "save_script", fetch).await;
    bench.shown(&operator("ann"), "run_script", json!({ "name": "fetch" })).await;
    assert!(jail.0.lock()[0].network, "granted with the version");
    // A changed text has lost the grant.
    bench.shown(&operator("ann"), "save_script", save("fetch", "echo other")).await;
    bench.shown(&operator("ann"), "run_script", json!({ "name": "fetch" })).await;
    assert!(!jail.0.lock()[1].network);
    // Nor does a task that somebody wrote by hand have one.
    let forged = json!({ "what": { "inline": { "language": "sh", "code": "echo" } }, "network": true });
    let task = kernel::queue::NewTask::new(QUEUE, RUN, forged, &kernel::Caller::new("ann", kernel::Role::Operator));
    let id = bench.world.queue.submit(vec![task]).await.unwrap()[0].id;
    let run: ScriptRun =
        bench.call(&admin(), RUN_OUTPUT, RunOutputRequest { run: id.to_string(), wait_seconds: 30 }).await.unwrap();
    assert_eq!(run.failure.unwrap().code, Code::InvalidArgument);
}

#[tokio::test]
async fn the_network_is_refused_where_the_configuration_has_none() {
    let Place { bench, jail } = place(Config::default()).await;
    let mut fetch = save("fetch", "echo net");
    fetch["network"] = json!(true);
    bench.shown(&admin(), "save_script", fetch).await;
    bench
        .check(
            "run_script",
            json!({ "name": "fetch" }),
            expect!["permission_denied: the script needs the network, which scripts of this fleet have not (set servers.scripts.allow_network, or save it without network)"],
        )
        .await;
    assert!(jail.0.lock().is_empty());
}

#[tokio::test]
async fn a_run_that_goes_on_is_cancelled() {
    let Place { bench, jail } = place(Config::default()).await;
    let request = json!({ "language": "sh", "code": "hang", "wait_seconds": 0 });
    let run: ScriptRun = serde_json::from_str(&bench.shown(&admin(), "run_inline", request).await).unwrap();
    while jail.0.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let asked: ScriptRun =
        bench.call(&admin(), CANCEL_RUN, CancelRunRequest { run: run.run.to_string() }).await.unwrap();
    assert_eq!(asked.state, State::Running);
    let ended: ScriptRun = bench
        .call(&admin(), RUN_OUTPUT, RunOutputRequest { run: run.run.to_string(), wait_seconds: 45 })
        .await
        .unwrap();
    assert_eq!(ended.state, State::Cancelled);
}

#[tokio::test]
async fn a_script_is_run_by_the_clock() {
    let Place { bench, jail } = place(Config::default()).await;
    bench.shown(&admin(), "save_script", save("tidy", "echo 1")).await;
    let row: Value = serde_json::from_str(
        &bench
            .shown(
                &operator("ann"),
                "schedule_script",
                json!({ "name": "tidy", "when": { "every": { "seconds": 60 } } }),
            )
            .await,
    )
    .unwrap();
    assert_eq!((&row["schedule"]["name"], &row["schedule"]["caller"]), (&json!("script:tidy"), &json!("ann")), "{row}");
    // What fires it is task-management's standing work; here by hand.
    let ports = bench.world.ports();
    let schedules = Schedules::new(ports.store, ports.queue, ports.clock);
    bench.world.clock.advance_ms(61_000);
    schedules.fire().await.unwrap();
    while jail.0.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench
        .check(
            "schedule_script",
            json!({ "name": "none", "when": { "every": { "seconds": 60 } } }),
            expect!["not_found: no script `none` (list_scripts has their names)"],
        )
        .await;
}

/// Runs jq: how it ended, its exit code, what it put out or complained, and its result.
async fn jq(bench: &Bench, code: &str) -> String {
    let request = json!({
        "language": "jq", "code": code, "arguments": ["a", "b"], "environment": { "X": "1" }, "stdin": "{\"n\": 2}", "time_limit_seconds": 30,
    });
    let shown = bench.shown(&operator("ann"), "run_inline", request).await;
    let run: ScriptRun = serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{shown}"));
    let (out, complaint) = (run.stdout.unwrap(), run.stderr.unwrap());
    let result = run.result.map_or(String::new(), |result| result.to_string());
    let end = serde_json::to_value(run.end.unwrap()).unwrap();
    let line = format!("{} {:?} {out}{complaint}{result}", end.as_str().unwrap(), run.exit_code);
    line.chars().take(160).collect()
}

#[tokio::test]
async fn the_embedded_language_has_what_it_is_given() {
    let Place { bench, .. } = place(Config::default()).await;
    let check = async |code: &str, expected: Expect| expected.assert_eq(&jq(&bench, code).await);
    check(
        ".n * 21",
        expect![[r#"
        exited Some(0) 42
        42"#]],
    )
    .await;
    check(
        "$args[1] + $env.X",
        expect![[r#"
        exited Some(0) b1
        "b1""#]],
    )
    .await;
    check(
        "range(3), \"x\"",
        expect![[r#"
        exited Some(0) 0
        1
        2
        x
        [0,1,2,"x"]"#]],
    )
    .await;
    check(
        "def fib: if . < 2 then . else (. - 1 | fib) + (. - 2 | fib) end; 10 | fib",
        expect![[r#"
        exited Some(0) 55
        55"#]],
    )
    .await;
    check(
        "error(\"no\")",
        expect![[r#"
        exited Some(1) invalid_argument: the program failed: no (`?` and `try` catch errors)
    "#]],
    )
    .await;
    check(".n +", expect![[r#"
        exited Some(1) invalid_argument: program at 4: the end where term should be (a jq program, like .items[] | select(.price > 10) | .name)
    "#]]).await;
}

#[tokio::test]
async fn the_embedded_language_has_no_outside_and_no_room_without_end() {
    let Place { bench, .. } = place(Config::default()).await;
    for (code, end) in [
        ("def f: f; f", "memory_limit"),
        ("[range(1000000000)]", "memory_limit"),
        ("\"x\" | until(false; . + .)", "memory_limit"),
        ("[limit(1000000000; repeat(1))] | length", "memory_limit"),
        ("repeat(\"0123456789\")", "output_limit"),
        ("range(100000) | tostring | . * 10", "output_limit"),
        ("input", "exited Some(1)"),
        ("env", "exited Some(1)"),
        ("$ENV.PATH", "exited Some(1)"),
        ("import \"std\" as s; 1", "exited Some(1)"),
        ("include \"std\"; 1", "exited Some(1)"),
    ] {
        let said = jq(&bench, code).await;
        assert!(said.starts_with(end), "{code}: {said}");
    }
    assert_eq!(jq(&bench, "1").await, "exited Some(0) 1\n1", "and the next one runs");
}

#[test]
fn a_configuration_past_its_limits_is_refused() {
    let world = World::default();
    let build = |config: Config| Scripts::new(&MarketPorts::without_pools(world.ports()), config).map(drop);
    let said = |config| build(config).unwrap_err().to_string();
    assert_eq!(
        said(Config { runs_at_once: 0, ..Config::default() }),
        "invalid_argument: servers.scripts.runs_at_once is 0 (1 to 64)"
    );
    assert_eq!(
        said(Config { memory_mib: 8, ..Config::default() }),
        "invalid_argument: servers.scripts.memory_mib is 8 (32 to 65536)"
    );
}
