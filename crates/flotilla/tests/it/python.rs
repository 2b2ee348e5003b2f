//! Agents in Python, on real Python and a real coordinator.

use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Fleet, Home, Ran, http, process, tools, wait_for};

/// How long the tests of the SDK itself may take.
const SUITE: Duration = Duration::from_secs(120);
/// How long it may take until a dead worker's task is done by another.
const RECOVERY: Duration = Duration::from_secs(40);

fn sdk() -> PathBuf {
    tools::root().join("sdk/python")
}

/// Python with the SDK's source.
fn python(arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(tools::python()?);
    command.args(arguments).env("PYTHONPATH", sdk().join("src")).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// A program that ends with its test.
struct Agent(Child);

impl Agent {
    fn start(home: &Home, script: &str, url: &str, key: &str) -> Option<Self> {
        let script = tools::script(script);
        let mut command = python(&["-m", "flotilla", script.to_str().unwrap(), "--url", url])?;
        let log = std::fs::File::create(home.path(format!("agent-{}.log", kernel::ids::random_token(6)))).unwrap();
        let child = command.env("FLOTILLA_TOKEN", key).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Some(Self(child.unwrap()))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}

fn worker_key(home: &Home) -> String {
    let created = home.cli(&["token", "create", "python", "--role", "operator", "--json"]).json();
    created["token"].as_str().unwrap().to_owned()
}

fn agents(fleet: &Fleet, name: &str) -> Option<Value> {
    let rows = fleet.get("/agents").ok();
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned()
}

fn submit(fleet: &Fleet, agent: &str, body: &Value) -> String {
    let submitted = fleet.rest("POST", &format!("/agents/{agent}/tasks"), &body.to_string()).ok();
    submitted["id"].as_str().unwrap().to_owned()
}

fn until_done(fleet: &Fleet, task: &str) -> Value {
    wait_for("the task is done", RECOVERY, || {
        let row = fleet.get(&format!("/tasks/{task}")).ok();
        (row["state"] == "done").then_some(row)
    })
}

#[test]
fn the_sdks_own_tests_pass_on_its_fake_and_on_a_fleet() {
    let Some(mut on_fake) = python(&["-m", "unittest", "discover", "-v", "-s"]) else { return };
    Ran::run(on_fake.arg(sdk().join("tests")), "", SUITE).ok();
    let fleet = Fleet::plain();
    let mut on_fleet = python(&["-m", "unittest", "discover", "-v", "-s"]).unwrap();
    on_fleet.arg(sdk().join("tests")).env("FLEET_URL", fleet.url()).env("FLEET_TOKEN", worker_key(&fleet.home));
    Ran::run(&mut on_fleet, "", SUITE).ok();
}

#[test]
fn the_class_of_the_first_documentation_runs_unchanged() {
    let fleet = Fleet::plain();
    let key = worker_key(&fleet.home);
    let Some(mut agent) = Agent::start(&fleet.home, "clients/custom_agent.py", fleet.url(), &key) else { return };
    wait_for("it is registered", RECOVERY, || agents(&fleet, "custom-agent"));
    let task = submit(&fleet, "custom-agent", &json!({ "task_type": "anything", "payload": { "any": 1 } }));
    assert_eq!(until_done(&fleet, &task)["result"], json!({ "result": "completed" }));
    assert_eq!(agents(&fleet, "custom-agent").unwrap()["status"], "healthy");
    let looked = fleet.call("monitoring__health", json!({ "service": "custom-agent" }));
    assert_eq!(looked["status"], "healthy", "nobody asks at a door that it has not: {looked}");
    process::send(agent.pid(), libc::SIGTERM);
    let status = wait_for("it ends", RECOVERY, || agent.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    assert_eq!(agents(&fleet, "custom-agent"), None, "it has left");
}

#[test]
fn what_a_killed_agent_held_is_done_by_another() {
    let fleet = Fleet::plain();
    let key = worker_key(&fleet.home);
    let Some(mut first) = Agent::start(&fleet.home, "clients/agent.py", fleet.url(), &key) else { return };
    wait_for("it is registered", RECOVERY, || agents(&fleet, "waiter"));
    let task = submit(&fleet, "waiter", &json!({ "task_type": "wait", "payload": { "folder": fleet.home.path("") } }));
    let begun = || std::fs::read_to_string(fleet.home.path("begun")).unwrap_or_default();
    wait_for("it has begun", RECOVERY, || begun().contains(" 1 ").then_some(()));
    first.0.kill().unwrap();
    let _second = Agent::start(&fleet.home, "clients/agent.py", fleet.url(), &key).unwrap();
    wait_for("another has begun", RECOVERY, || begun().contains(" 2 ").then_some(()));
    std::fs::write(fleet.home.path("go"), "").unwrap();
    let done = until_done(&fleet, &task);
    assert_eq!((&done["result"], &done["attempts"]), (&json!({ "attempt": 2 }), &json!(2)));
    let keys: Vec<String> = begun().lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(keys, [task.clone(), task], "the same for both attempts");
}

/// An address that leads to a fleet, to another, or nowhere.
struct Way {
    url: String,
    to: Arc<Mutex<Option<SocketAddr>>>,
}

impl Way {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Self { url: format!("http://{}", listener.local_addr().unwrap()), to: Arc::default() };
        let to = Arc::clone(&way.to);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Without a fleet, who comes is sent away.
                let Some(server) = to.lock().and_then(|to| TcpStream::connect(to).ok()) else { continue };
                let (mut in_from, mut in_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (mut out_from, mut out_to) = (server, client);
                // A connection that breaks is an end like any other here.
                thread::spawn(move || {
                    copy(&mut in_from, &mut in_to).ok();
                    in_to.shutdown(Shutdown::Both).ok();
                });
                thread::spawn(move || {
                    copy(&mut out_from, &mut out_to).ok();
                    out_to.shutdown(Shutdown::Both).ok();
                });
            }
        });
        way
    }

    fn lead(&self, url: Option<&str>) {
        *self.to.lock() = url.map(|url| http::split(url).0.parse().unwrap());
    }
}

#[test]
fn a_coordinator_that_is_killed_and_comes_back_loses_no_agent_and_no_result() {
    let mut fleet = Fleet::plain();
    let (way, key) = (Way::new(), worker_key(&fleet.home));
    way.lead(Some(fleet.url()));
    let Some(_agent) = Agent::start(&fleet.home, "clients/agent.py", &way.url, &key) else { return };
    wait_for("it is registered", RECOVERY, || agents(&fleet, "waiter"));
    let body = json!({ "task_type": "wait", "payload": { "folder": fleet.home.path("") } });
    let before = submit(&fleet, "waiter", &body);
    wait_for("it has begun", RECOVERY, || std::fs::read_to_string(fleet.home.path("begun")).ok());
    way.lead(None);
    fleet.process.kill();
    // It ends while nobody can hear it.
    std::fs::write(fleet.home.path("go"), "").unwrap();
    fleet.process = fleet.home.start(&["up", "--no-sandbox"]);
    way.lead(Some(fleet.url()));
    let row = until_done(&fleet, &before);
    assert!(row["result"]["attempt"].is_u64(), "{row}");
    let after = submit(&fleet, "waiter", &body);
    until_done(&fleet, &after);
    wait_for("it is registered again", RECOVERY, || agents(&fleet, "waiter").filter(|row| row["status"] == "healthy"));
}
