//! Scripts as people and workflows run them, at the fleet's endpoint and in the real sandbox.

use serde_json::{Value, json};

use crate::harness::{Fleet, Home, LIMIT, wait_for};

fn python(fleet: &Fleet, code: &str) -> Value {
    let mut run =
        fleet.call("scripts__run_inline", json!({ "language": "python", "code": code, "time_limit_seconds": 120 }));
    while run["ended_ms"].is_null() {
        run = fleet.call("scripts__run_output", json!({ "run": run["run"], "wait_seconds": 45 }));
    }
    run
}

/// Whether a process of this machine has `mark` among its arguments.
fn runs(mark: &str) -> bool {
    let arguments = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let all = std::fs::read_dir("/proc").unwrap().flatten().map(arguments);
    all.into_iter().any(|arguments| String::from_utf8_lossy(&arguments).contains(mark))
}

#[test]
fn scripts_that_mean_harm_are_denied_and_told_of_and_the_fleet_stays_healthy() {
    let fleet = Fleet::plain();
    let key = fleet.home.path("data/keys/cli.key");
    let port = fleet.url().rsplit(':').next().unwrap().to_owned();
    let code = format!(
        "
import os, socket
def t(name, f):
    try: print(name, '->', f())
    except BaseException as e: print(name, '->', type(e).__name__)
t('key', lambda: open('{}').read())
os.symlink('{}', 'link')
t('link', lambda: open('link').read())
t('fleet', lambda: socket.create_connection(('127.0.0.1', {port}), 2))
t('memory', lambda: len(bytearray(2 << 30)))
t('system', lambda: open('/usr/x', 'w'))
t('secrets', lambda: [n for n in os.environ if 'FLOTILLA' in n or 'JAIL' in n])
def fill():
    with open('big', 'wb') as f:
        while True: f.write(bytes(1 << 20))
t('disk', fill)
def forks():
    while True:
        if os.fork() == 0: __import__('time').sleep(1000)
t('forks', forks)
",
        key.display(),
        key.display()
    );
    let run = python(&fleet, &code);
    assert_eq!((&run["end"], &run["exit_code"]), (&json!("exited"), &json!(0)), "{run}");
    assert_eq!(
        run["stdout"].as_str().unwrap().lines().collect::<Vec<_>>(),
        [
            "key -> FileNotFoundError",
            "link -> FileNotFoundError",
            "fleet -> OSError",
            "memory -> MemoryError",
            "system -> OSError",
            "secrets -> []",
            "disk -> OSError",
            "forks -> BlockingIOError",
        ]
    );
    let request = json!({ "language": "sh", "code": "while :; do :; done", "time_limit_seconds": 1 });
    let run = fleet.call("scripts__run_inline", request);
    // Its time by the clock and by the processor are over at once: whichever is noticed first.
    assert!(run["end"] == "time_limit" || run["exit_code"] == 137, "{run}");
    let checks = fleet.call("master-coordinator__service_status", json!({ "service": "scripts" }));
    assert_eq!(checks["status"], "healthy", "{checks}");
    let down = fleet.call("master-coordinator__system_status", json!({}))["servers"]["down"].clone();
    assert_eq!(down, 0);
}

#[test]
fn scripts_run_in_workflows_and_by_the_clock_and_not_for_everybody() {
    let fleet = Fleet::plain();
    let key = fleet.home.cli(&["token", "create", "eve", "--role", "viewer", "--json"]).json();
    let eve = crate::harness::Mcp::new(&format!("{}/mcp", fleet.url()), key["token"].as_str().map(Into::into));
    let refused = eve.call("scripts__run_inline", json!({ "language": "jq", "code": "1" })).unwrap_err();
    assert!(refused.starts_with("permission_denied"), "{refused}");

    let workflow = "
document: { dsl: '1.0.3', namespace: test, name: scripted, version: 1.0.0 }
do:
- sum:
    run:
      script: { language: python, code: 'import sys, os; print(int(sys.argv[1]) + int(os.environ[\"N\"]) + int(sys.stdin.read())); sys.exit(4)', arguments: [ '${ .a }' ], environment: { N: 2 }, stdin: '${ \"3\" }' }
      return: all
- words: { run: { script: { language: jq, code: '$args | join(\"-\")', arguments: [ '${ .stdout | rtrimstr(\"\\n\") }', b ] } } }
";
    fleet.call("orchestration__define_workflow", json!({ "definition": workflow }));
    let start = json!({ "workflow": "test/scripted", "input": { "a": 1 }, "wait_seconds": 45 });
    let mut run = fleet.call("orchestration__start", start);
    while run["ended_ms"].is_null() {
        run = fleet.call("orchestration__status", json!({ "run": run["run"], "wait_seconds": 45 }));
    }
    assert_eq!((&run["status"], &run["output"]), (&json!("completed"), &json!("6-b\n")), "{run}");

    let saved = fleet.call("scripts__save_script", json!({ "name": "tick", "language": "sh", "code": "echo tick" }));
    assert_eq!(saved["version"], 1);
    fleet.call("scripts__schedule_script", json!({ "name": "tick", "when": { "every": { "seconds": 1 } } }));
    let done = wait_for("the clock has the script run", LIMIT, || {
        let runs = fleet.call("scripts__runs", json!({ "script": "tick", "state": "done" }));
        runs["runs"].as_array()?.first().cloned()
    });
    let told = fleet.call("scripts__run_output", json!({ "run": done["run"] }));
    assert_eq!((&told["stdout"], &told["version"]), (&json!("tick\n"), &json!(1)), "{told}");
    fleet.call("task-management__delete_schedule", json!({ "name": "script:tick" }));
}

#[test]
fn a_script_ends_when_it_is_cancelled_and_with_the_fleet_and_is_not_begun_again() {
    let home = Home::new("");
    let process = home.start(&["up", "--no-sandbox"]);
    let fleet = Fleet { process, home };
    // Among the arguments of what is run inside, and so to be found from outside.
    let begin = |mark: &str| {
        let code = format!("sleep {mark} & wait");
        let request = json!({ "language": "sh", "code": code, "time_limit_seconds": 600, "wait_seconds": 0 });
        let run = fleet.call("scripts__run_inline", request);
        wait_for("the script runs", LIMIT, || runs(&format!("sleep\0{mark}")).then_some(()));
        run["run"].as_str().unwrap().to_owned()
    };
    let number = std::process::id();
    let (first, second) = (format!("1{number}1"), format!("2{number}2"));
    let run = begin(&first);
    fleet.call("scripts__cancel_run", json!({ "run": run }));
    let ended = fleet.call("scripts__run_output", json!({ "run": run, "wait_seconds": 45 }));
    assert_eq!(ended["state"], "cancelled", "{ended}");
    wait_for("nothing of it is left", LIMIT, || (!runs(&format!("sleep\0{first}"))).then_some(()));

    let run = begin(&second);
    let Fleet { mut process, home } = fleet;
    process.kill();
    wait_for("it ends with the fleet", LIMIT, || (!runs(&format!("sleep\0{second}"))).then_some(()));
    let fleet = Fleet { process: home.start(&["up", "--no-sandbox"]), home };
    let ended = wait_for("it is told of", LIMIT, || {
        let run = fleet.call("scripts__run_output", json!({ "run": run, "wait_seconds": 5 }));
        (run["state"] == "dead").then_some(run)
    });
    assert!(ended["failure"]["message"].is_string() && !runs(&format!("sleep\0{second}")), "{ended}");
}
