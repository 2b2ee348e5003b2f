//! Each tool through the protocol, over fakes; a real fleet that fails, and real backups, are tried at the fleet's endpoint.

use std::sync::atomic::{AtomicUsize, Ordering};

use expect_test::expect;
use kernel::bus::NewEvent;
use kernel::fake::{FakeFleet, World};
use kernel::fleet::CONTROL_TOPIC;
use kernel::store::Write;
use kernel::vault::{Backup, Contents, Restored};
use kernel::{Caller, Role};
use mcp::Reply;
use mcp::service::Service;
use mcp::toolbox::Router;
use mcp::wire::{Id, Params, Request};
use mcp::{Ctx, Handler as _};
use serde_json::value::RawValue;
use serde_json::{Value, json};

mod handed;

use super::*;
use crate::testing::{Bench, admin, operator, shared, viewer};

/// Answers for orchestration as it would, and counts what it is asked.
#[derive(Default)]
struct ToWorkflows(AtomicUsize, Option<Arc<Service>>);

#[async_trait]
impl Router for ToWorkflows {
    async fn call(&self, server: &str, tool: &str, arguments: Box<RawValue>, ctx: Ctx) -> Result<Reply, Fault> {
        self.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!(server, "orchestration");
        let service = self.1.as_ref().ok_or_else(|| Fault::unavailable("no orchestration here"))?;
        let params = Params::of(&json!({ "name": tool, "arguments": arguments })).unwrap();
        let request = Request { id: Id::Number(0), method: "tools/call".into(), params };
        service.handle(request, ctx).await.map_err(|error| Fault::upstream(error.to_string()))
    }
}

/// A vault with one backup, which is whole.
struct One;

#[async_trait]
impl Vault for One {
    async fn create(&self, keep: usize) -> Result<Contents, Fault> {
        Ok(Contents { name: format!("keep-{keep}.backup"), version: "1".into(), made_ms: 5, files: 2, bytes: 3 })
    }

    async fn list(&self) -> Result<Vec<Backup>, Fault> {
        Ok(vec![Backup { name: "one.backup".into(), file_bytes: 9, written_ms: 5 }])
    }

    async fn verify(&self, name: &str) -> Result<Contents, Fault> {
        match name {
            "one.backup" => Ok(Contents { name: name.into(), version: "1".into(), made_ms: 5, files: 2, bytes: 3 }),
            _ => Err(Fault::invalid(format!("{name} is not a whole backup: it was altered"))),
        }
    }

    async fn restore(&self, name: &str) -> Result<Restored, Fault> {
        Ok(Restored { contents: self.verify(name).await?, data_dir: "/new".into(), audit_rows: 4 })
    }
}

fn bench_with(router: ToWorkflows, world: World, config: Config) -> Bench {
    let ports =
        MarketPorts { router: Arc::new(router), vault: Arc::new(One), ..MarketPorts::without_pools(world.ports()) };
    let service = Service::build::<Recovery>(&ports, config, shared(&world)).unwrap();
    Bench::of(world, service)
}

/// A server whose standing work has begun, and has seen that nothing happened yet.
async fn bench() -> Bench {
    let bench =
        bench_with(ToWorkflows::default(), World::default(), Config { snapshot_minutes: 0, ..Config::default() });
    bench.start().await;
    while bench.world.store.get("recovery", "events").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    bench
}

async fn tell(bench: &Bench, kind: &str, data: Value) {
    bench.world.bus.publish(NewEvent::fleet(kind, "supervisor", data)).await.unwrap();
}

/// The incidents once every event is taken in.
async fn incidents(bench: &Bench) -> Vec<Incident> {
    let topics = bench.world.bus.topics().await.unwrap();
    let newest = topics.iter().find(|topic| topic.name == "fleet").map_or(0, |topic| topic.last_seq);
    while bench.world.store.get("recovery", "events").await.unwrap().unwrap().value != newest.to_string() {
        tokio::task::yield_now().await;
    }
    let request = IncidentsRequest { limit: 50, ..Default::default() };
    bench.call(&viewer("eve"), INCIDENTS, request).await.unwrap().incidents
}

#[tokio::test]
async fn what_fails_is_an_incident_until_it_serves_again() {
    let bench = bench().await;
    let clock = bench.world.clock.clone();
    tell(&bench, "service.started", json!({ "service": "logging" })).await;
    tell(&bench, "service.failed", json!({ "service": "logging", "error": "disk full", "failures": 1 })).await;
    clock.advance_ms(100);
    tell(&bench, "service.failed", json!({ "service": "logging", "error": "disk still full", "failures": 2 })).await;
    tell(&bench, "agent.given_up", json!({ "agent": "risk", "error": "no key" })).await;
    tell(&bench, "breaker.opened", json!({ "name": "ui", "instance": "ui@p1", "url": "http://x" })).await;
    tell(&bench, "upstream.failed", json!({ "name": "notes", "error": "exit 1" })).await;
    tell(&bench, "block.new", json!({ "number": 1 })).await;
    clock.advance_ms(150);
    tell(&bench, "service.started", json!({ "service": "logging" })).await;
    tell(&bench, "upstream.ready", json!({ "name": "notes" })).await;
    let all = incidents(&bench).await;
    let told: Vec<String> = all
        .iter()
        .map(|incident| {
            let Incident { id, subject, kind, failures, cause, recovery_ms, .. } = incident;
            format!("{id} {subject} {kind:?} {failures} `{cause}` {recovery_ms:?}")
        })
        .collect();
    expect![[r#"
        inc_00000004 upstream:notes Upstream 1 `exit 1` Some(150)
        inc_00000003 copy:ui@p1 Unreachable 1 `it does not answer calls` None
        inc_00000002 agent:risk GivenUp 1 `no key` None
        inc_00000001 logging Failure 2 `disk still full` Some(250)"#]]
    .assert_eq(&told.join("\n"));
    let one: Incident =
        bench.call(&viewer("eve"), INCIDENT, IncidentRequest { id: "inc_00000001".into() }).await.unwrap();
    let kinds: Vec<&str> = one.timeline.iter().map(|moment| moment.what.as_str()).collect();
    assert_eq!(kinds, ["service.failed", "service.failed", "service.started"]);
    let request = IncidentsRequest { open: true, subject: Some("agent:risk".into()), limit: 1 };
    let open = bench.call(&admin(), INCIDENTS, request).await.unwrap();
    assert_eq!((open.open, open.incidents.len(), open.incidents[0].timeline.len()), (2, 1, 1));
    // Failing again is another incident.
    tell(&bench, "service.failed", json!({ "service": "logging", "error": "again" })).await;
    assert_eq!(incidents(&bench).await[0].id, "inc_00000005");
    bench
        .check("incident", json!({ "id": "inc_9" }), expect!["not_found: no incident `inc_9` (incidents lists them)"])
        .await;
}

#[tokio::test]
async fn two_copies_write_each_incident_once() {
    let first = bench().await;
    let second =
        bench_with(ToWorkflows::default(), first.world.clone(), Config { snapshot_minutes: 0, ..Config::default() });
    second.start().await;
    for number in 0..120 {
        tell(&first, "service.failed", json!({ "service": format!("s{}", number % 40), "error": "x" })).await;
    }
    let all = incidents(&first).await;
    assert_eq!(all.len(), 40);
    assert!(all.iter().all(|incident| incident.failures == 3), "{all:?}");
}

#[tokio::test]
async fn old_incidents_are_forgotten() {
    let bench = bench().await;
    tell(&bench, "service.failed", json!({ "service": "a", "error": "x" })).await;
    tell(&bench, "service.started", json!({ "service": "a" })).await;
    tell(&bench, "service.failed", json!({ "service": "b", "error": "x" })).await;
    assert_eq!(incidents(&bench).await.len(), 2);
    bench.world.clock.advance_ms(91 * 86_400_000);
    tell(&bench, "block.new", json!({})).await;
    while incidents(&bench).await.len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(incidents(&bench).await[0].subject, "b", "what is not over is kept");
}

#[tokio::test]
async fn services_are_restarted_and_drilled() {
    let bench = bench().await;
    bench.world.fleet.set(FakeFleet::server("logging", "http://a", 1));
    tell(&bench, "service.failed", json!({ "service": "logging", "error": "x" })).await;
    incidents(&bench).await;
    let request = RestartRequest { service: "logging".into(), reason: "to see".into(), incident: None };
    let done: RestartResponse = bench.call(&operator("ann"), RESTART, request).await.unwrap();
    assert_eq!(
        (done.instances[0].restarts, bench.world.fleet.restarts()),
        (1, vec![("logging".into(), "to see".into())])
    );
    let told: Incident = bench.call(&admin(), INCIDENT, IncidentRequest { id: "inc_00000001".into() }).await.unwrap();
    assert_eq!(told.timeline.last().unwrap().detail, "by ann: to see");
    tell(&bench, "service.started", json!({ "service": "logging" })).await;
    incidents(&bench).await;
    let request = DrillRequest { service: "logging".into(), within_ms: 60_000 };
    let drilled: DrillResponse = bench.call(&operator("ann"), DRILL, request).await.unwrap();
    assert!(drilled.in_time && drilled.instances[0].restarts == 2 && drilled.incident == "inc_00000002", "{drilled:?}");
    assert_eq!(bench.world.fleet.failed(), [("logging".to_owned(), "killed by a drill of ann".to_owned())]);
    let check = async |tool: &str, service: &str, expected: expect_test::Expect| {
        bench.check(tool, json!({ "service": service, "reason": "x" }), expected).await;
    };
    check("restart", "loging", expect!["not_found: no service `loging` (did you mean `logging`?)"]).await;
    bench.check("drill", json!({ "service": "recovery" }), expect!["invalid_argument: recovery cannot be drilled from here (any other service; these are tried by killing their process)"]).await;
    bench
        .check(
            "drill",
            json!({ "service": "utilities" }),
            expect!["unavailable: utilities does not serve, so that it cannot be killed (restart it first)"],
        )
        .await;
    let agent = Caller::new("a", Role::Agent("recovery".into()));
    let said = bench.shown(&agent, "drill", json!({ "service": "logging" })).await;
    assert!(said.starts_with("permission_denied: role agent:recovery may not use recovery.drill"), "{said}");
}

#[tokio::test]
async fn breakers_are_told_of_by_events_and_reset_by_a_wish() {
    let bench = bench().await;
    let mut copy = FakeFleet::server("ui", "http://x", 1);
    copy.id = "ui@p1".into();
    bench.world.fleet.set(copy);
    for (kind, instance) in [("opened", "ui@p1"), ("opened", "ui@p0"), ("closed", "ui@p0"), ("opened", "ui@p0")] {
        let data = json!({ "name": "ui", "instance": instance, "url": "http://x" });
        tell(&bench, &format!("breaker.{kind}"), data).await;
    }
    bench
        .check(
            "circuit_breakers",
            json!({}),
            expect![[r#"{"breakers":[{"service":"ui","instance":"ui@p0","url":"http://x","open":true,"since_ms":1794729600000,"opened":2,"present":false},{"service":"ui","instance":"ui@p1","url":"http://x","open":true,"since_ms":1794729600000,"opened":1,"present":true}]}"#]],
        )
        .await;
    let request = ResetCircuitBreakerRequest { service: "ui".into(), instance: None };
    let asked: ResetCircuitBreakerResponse =
        bench.call(&operator("ann"), RESET_CIRCUIT_BREAKER, request).await.unwrap();
    assert_eq!(asked.asked.iter().map(|row| row.instance.as_str()).collect::<Vec<_>>(), ["ui@p1"]);
    let wishes = bench.world.bus.read(CONTROL_TOPIC, 0, 10).await.unwrap();
    assert_eq!((wishes[0].kind.as_str(), &wishes[0].data["instance"]), ("breaker.reset", &json!("ui@p1")));
    bench
        .check(
            "reset_circuit_breaker",
            json!({ "service": "none" }),
            expect!["not_found: no breaker to `none` has opened (circuit_breakers lists those that have)"],
        )
        .await;
}

async fn put(bench: &Bench, space: &str, key: &str, value: &str) {
    bench.world.store.commit(vec![Write::put(space, key, value)]).await.unwrap();
}

async fn held(bench: &Bench, space: &str) -> Vec<(String, String)> {
    let entries = bench.world.store.list(space, "", None, 100).await.unwrap();
    entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn settings_are_kept_and_put_back_and_nothing_else_is() {
    let bench = bench().await;
    put(&bench, "alert_rules", "a", "1").await;
    put(&bench, "aliases", "x", "1").await;
    put(&bench, "risk", "limits", "tight").await;
    let snap: Snapshot = bench
        .call(
            &operator("ann"),
            CREATE_SNAPSHOT,
            CreateSnapshotRequest { name: Some("good".into()), about: "before".into() },
        )
        .await
        .unwrap();
    assert_eq!((snap.entries, snap.made_by.as_str(), snap.parts.len()), (2, "ann", 6));
    put(&bench, "alert_rules", "a", "2").await;
    put(&bench, "alert_rules", "b", "2").await;
    put(&bench, "aliases", "x", "2").await;
    put(&bench, "risk", "limits", "loose").await;
    let listed: ListSnapshotsResponse =
        bench.call(&viewer("eve"), LIST_SNAPSHOTS, ListSnapshotsRequest {}).await.unwrap();
    assert_eq!(listed.unchanged, ["logging", "prices", "scripts", "workflows"]);
    let rollback = RollbackConfigRequest { part: "alerts".into(), snapshot: None };
    let done: RestoreSnapshotResponse = bench.call(&admin(), ROLLBACK_CONFIG, rollback).await.unwrap();
    assert_eq!(
        (done.snapshot.as_str(), &done.parts),
        ("good", &vec![PartChange { part: "alerts".into(), put: 1, removed: 1 }])
    );
    assert_eq!(held(&bench, "alert_rules").await, pairs(&[("a", "1")]));
    assert_eq!(held(&bench, "aliases").await, pairs(&[("x", "2")]));
    // And how it was before that is there too.
    let restore = |name: &str| RestoreSnapshotRequest { name: name.into(), parts: Vec::new() };
    let before = done.before.unwrap();
    bench.call(&admin(), RESTORE_SNAPSHOT, restore(&before)).await.unwrap();
    assert_eq!(held(&bench, "alert_rules").await, pairs(&[("a", "2"), ("b", "2")]));
    let done: RestoreSnapshotResponse = bench.call(&admin(), RESTORE_SNAPSHOT, restore("good")).await.unwrap();
    assert_eq!(done.parts.iter().map(|part| part.put + part.removed).sum::<u64>(), 3);
    assert_eq!(held(&bench, "aliases").await, pairs(&[("x", "1")]));
    assert_eq!(held(&bench, "risk").await, pairs(&[("limits", "loose")]), "no setting");
    let again: RestoreSnapshotResponse = bench.call(&admin(), RESTORE_SNAPSHOT, restore("good")).await.unwrap();
    assert_eq!((again.parts.iter().map(|part| part.put + part.removed).sum::<u64>(), again.before), (0, None));
}

#[tokio::test]
async fn a_snapshot_that_is_not_whole_is_refused_and_so_is_who_may_not() {
    let bench = bench().await;
    put(&bench, "alert_rules", "a", "1").await;
    let make = json!({ "name": "good" });
    bench.shown(&operator("ann"), "create_snapshot", make.clone()).await;
    bench.check("create_snapshot", make, expect!["already_exists: there is a snapshot `good` (another name)"]).await;
    bench
        .check(
            "create_snapshot",
            json!({ "name": "auto-1" }),
            expect!["invalid_argument: a name that begins with auto- (another name)"],
        )
        .await;
    bench
        .check(
            "restore_snapshot",
            json!({ "name": "none" }),
            expect!["not_found: no snapshot `none` (list_snapshots has their names)"],
        )
        .await;
    bench
        .check(
            "rollback_config",
            json!({ "part": "risk" }),
            expect!["not_found: no part `risk` of the settings (one of alerts, aliases, logging, prices, scripts, workflows)"],
        )
        .await;
    bench
        .check(
            "rollback_config",
            json!({ "part": "alerts" }),
            expect![
                "not_found: no snapshot has the part `alerts` other than it is now (list_snapshots shows what each has)"
            ],
        )
        .await;
    for tool in ["restore_snapshot", "rollback_config"] {
        let said = bench.shown(&operator("ann"), tool, json!({})).await;
        assert!(said.starts_with(&format!("permission_denied: role operator may not use recovery.{tool}")), "{said}");
    }
    let said = bench.shown(&viewer("eve"), "create_snapshot", json!({})).await;
    assert!(said.starts_with("permission_denied"), "{said}");
    put(&bench, "snapshot-pieces", "good/0000", "[]").await;
    put(&bench, "alert_rules", "a", "2").await;
    bench
        .check(
            "restore_snapshot",
            json!({ "name": "good" }),
            expect!["internal: snapshot `good` is not whole: it was altered (use another)"],
        )
        .await;
    assert_eq!(held(&bench, "alert_rules").await, pairs(&[("a", "2")]), "nothing was put back");
}

#[tokio::test]
async fn snapshots_are_kept_by_themselves_when_something_changed() {
    let config = Config { snapshot_minutes: 0, snapshots_kept: 3, ..Config::default() };
    let world = World::default();
    let ports = MarketPorts::without_pools(world.ports());
    let recovery = Recovery::new(&ports, config.clone()).unwrap();
    let bench = bench_with(ToWorkflows::default(), world, config);
    assert!(recovery.snapshot_by_itself().await.unwrap().is_some());
    assert!(recovery.snapshot_by_itself().await.unwrap().is_none(), "nothing changed");
    for number in 0..5 {
        bench.world.clock.advance_ms(60_000);
        put(&bench, "aliases", "x", &number.to_string()).await;
        assert!(recovery.snapshot_by_itself().await.unwrap().is_some());
    }
    let listed: ListSnapshotsResponse = bench.call(&admin(), LIST_SNAPSHOTS, ListSnapshotsRequest {}).await.unwrap();
    assert_eq!(listed.snapshots.len(), 3);
    assert!(listed.snapshots.iter().all(|snapshot| snapshot.name.starts_with("auto-")), "{listed:?}");
}

#[tokio::test]
async fn large_settings_are_kept_in_pieces() {
    let bench = bench().await;
    for number in 0..6 {
        put(&bench, "script-texts", &format!("s/{number}"), &format!("{number}").repeat(200 << 10)).await;
    }
    bench.shown(&admin(), "create_snapshot", json!({ "name": "large" })).await;
    assert!(held(&bench, "snapshot-pieces").await.len() >= 5);
    put(&bench, "script-texts", "s/3", "gone").await;
    let request = RestoreSnapshotRequest { name: "large".into(), parts: vec!["scripts".into()] };
    let done: RestoreSnapshotResponse = bench.call(&admin(), RESTORE_SNAPSHOT, request).await.unwrap();
    assert_eq!(done.parts[0].put, 1);
    assert_eq!(held(&bench, "script-texts").await[3].1, "3".repeat(200 << 10));
}

#[tokio::test]
async fn backups_are_made_looked_at_and_restored_by_an_administrator() {
    let bench = bench().await;
    let ann = operator("ann");
    bench
        .check_as(
            &ann,
            "backup",
            json!({}),
            expect![[r#"{"name":"keep-7.backup","version":"1","made_ms":5,"files":2,"bytes":3}"#]],
        )
        .await;
    bench
        .check_as(
            &ann,
            "list_backups",
            json!({}),
            expect![[r#"{"backups":[{"name":"one.backup","file_bytes":9,"written_ms":5}]}"#]],
        )
        .await;
    bench
        .check_as(
            &ann,
            "verify_backup",
            json!({ "name": "two.backup" }),
            expect!["invalid_argument: two.backup is not a whole backup: it was altered"],
        )
        .await;
    let said = bench.shown(&ann, "restore", json!({ "name": "one.backup" })).await;
    assert!(said.starts_with("permission_denied"), "{said}");
    bench
        .check(
            "restore",
            json!({ "name": "one.backup" }),
            expect![[r#"{"contents":{"name":"one.backup","version":"1","made_ms":5,"files":2,"bytes":3},"data_dir":"/new","audit_rows":4}"#]],
        )
        .await;
}
