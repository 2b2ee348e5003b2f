//! The ladder of measures, case by case; and the agent at it, on a real recovery server and on real workflows.

use std::time::Instant;

use async_trait::async_trait;
use kernel::bus::{Bus, FLEET_TOPIC, NewEvent};
use kernel::fake::FakeFleet;
use kernel::health::Status as Health;
use kernel::queue::{NewTask, Queue};
use kernel::{Caller, Role};
use mcp::prelude::*;
use serde_json::Value;
use servers::recovery::{BreakerRow, Kind, ListSnapshotsResponse, Moment};

use super::*;
use crate::testing::Bench;

/// How long a state may take to come.
const LIMIT: Duration = Duration::from_secs(60);

/// An incident of `subject` that began at 0, with these moments: when, and what.
fn incident(subject: &str, kind: Kind, moments: &[(i64, &str)]) -> Incident {
    let moment = |(at_ms, what): &(i64, &str)| Moment { at_ms: *at_ms, what: (*what).into(), detail: String::new() };
    let timeline: Vec<Moment> = moments.iter().map(moment).collect();
    serde_json::from_value(json!({
        "id": "inc_00000009", "subject": subject, "kind": kind, "opened_ms": 0, "failures": 1, "cause": "disk full",
        "timeline": timeline,
    }))
    .unwrap()
}

/// The same with its playbook's run as it stands so.
fn with_playbook(run: Value) -> Incident {
    let mut one = incident("legacy", Kind::GivenUp, &[]);
    let mut playbook = json!({ "playbook": PLAYBOOK, "by": "agent:recovery", "key": judge::key(&one.id) });
    playbook.as_object_mut().unwrap().extend(run.as_object().unwrap().clone());
    one.playbooks = vec![serde_json::from_value(playbook).unwrap()];
    one
}

#[test]
fn a_service_goes_from_its_supervisor_to_the_playbook_to_people() {
    let config = Config::default();
    let next = |incident: &Incident, lately, seconds: i64| {
        format!("{:?}", judge::service(incident, Lately(lately), &config, seconds * 1_000))
    };
    let failed = incident("legacy", Kind::Failure, &[]);
    let given_up = incident("legacy", Kind::GivenUp, &[]);
    let drilled = incident("legacy", Kind::Drill, &[(0, "recovery.drill"), (1, "service.given_up")]);
    let workflows = incident("orchestration", Kind::GivenUp, &[]);
    let upstream = incident("upstream:notes", Kind::Upstream, &[]);
    let begun = with_playbook(json!({}));
    let going = with_playbook(json!({ "run": "run_1", "status": "waiting" }));
    let asking = with_playbook(json!({ "run": "run_1", "status": "waiting", "asks": ["Close it?"] }));
    let ended = with_playbook(json!({ "run": "run_1", "status": "completed", "ended_ms": 10_000 }));
    for (incident, lately, seconds, want) in [
        (&failed, 0, 29, r#"Rest("left to its supervisor")"#),
        (&failed, 0, 30, "Playbook"),
        (&failed, 3, 29, r#"Rest("left to its supervisor")"#),
        (&given_up, 0, 0, "Playbook"),
        (&given_up, 2, 0, "Playbook"),
        (&given_up, 3, 0, r#"Escalate("it was recovered 3 times within an hour, and fails again")"#),
        (&drilled, 0, 1, "Playbook"),
        (&workflows, 0, 0, r#"Restart { service: "orchestration" }"#),
        (&upstream, 0, 29, r#"Rest("left to its supervisor")"#),
        (&upstream, 0, 30, r#"Escalate("a third party's server does not come back: disk full")"#),
        (&begun, 0, 999, "Playbook"),
        (&going, 0, 999, r#"Rest("playbook run_1 goes on")"#),
        (
            &asking,
            0,
            0,
            r#"Escalate("its playbook asks people: Close it? (orchestration: approve or reject of run_1)")"#,
        ),
        (&ended, 0, 29, r#"Rest("its playbook has ended")"#),
        (&ended, 0, 30, r#"Escalate("its playbook has ended, and it does not serve: disk full")"#),
    ] {
        assert_eq!(next(incident, lately, seconds), want, "{incident:?} at {seconds} s");
    }
    let escalated = Incident { escalated_ms: Some(1), ..given_up };
    assert_eq!(next(&escalated, 0, 99), r#"Rest("left to people")"#);
}

#[test]
fn restarts_by_hand_are_further_and_further_apart_and_have_an_end() {
    let config = Config::default();
    let restart = "recovery.restart";
    let once = [(0, restart)];
    let twice = [(0, restart), (20_000, restart)];
    let thrice = [(0, restart), (20_000, restart), (60_000, restart)];
    for (moments, seconds, want) in [
        (&[] as &[(i64, &str)], 0, r#"Restart { service: "a" }"#),
        (&once, 19, r#"Rest("was restarted once, and given time")"#),
        (&once, 20, r#"Restart { service: "a" }"#),
        (&twice, 59, r#"Rest("was restarted 2 times, and given time")"#),
        (&twice, 60, r#"Restart { service: "a" }"#),
        (&thrice, 139, r#"Rest("was restarted 3 times, and given time")"#),
        (&thrice, 140, r#"Escalate("it was restarted 3 times, and does not serve: disk full")"#),
    ] {
        let incident = incident("a", Kind::GivenUp, moments);
        let next = judge::by_hand(&incident, "a", &config, seconds * 1_000);
        assert_eq!(format!("{next:?}"), want, "{moments:?} at {seconds} s");
    }
}

fn breaker(open: bool, present: bool) -> BreakerRow {
    let (service, instance, url) = ("ui".into(), "ui@p1".into(), "http://x".into());
    BreakerRow { service, instance, url, open, since_ms: 0, opened: 1, present }
}

#[test]
fn a_copy_is_let_through_before_it_is_restarted_and_forgotten_when_it_has_ended() {
    let config = Config::default();
    let fresh = incident("copy:ui@p1", Kind::Unreachable, &[]);
    let reset = incident("copy:ui@p1", Kind::Unreachable, &[(30_000, "recovery.reset")]);
    let restarted =
        incident("copy:ui@p1", Kind::Unreachable, &[(30_000, "recovery.reset"), (50_000, "recovery.restart")]);
    let hangs = Some(breaker(true, true));
    for (incident, breaker, lately, seconds, want) in [
        (&fresh, None, 0, 0, r#"Resolve("nothing holds calls to this copy back any more")"#),
        (&fresh, Some(breaker(true, false)), 0, 0, r#"Resolve("this copy has ended")"#),
        (&fresh, Some(breaker(false, true)), 0, 99, r#"Rest("calls go through again")"#),
        (&fresh, hangs.clone(), 0, 29, r#"Rest("it may answer again by itself")"#),
        (&fresh, hangs.clone(), 0, 30, r#"Reset { service: "ui", copy: "ui@p1" }"#),
        (&fresh, hangs.clone(), 1, 30, r#"Restart { service: "ui" }"#),
        (&fresh, hangs.clone(), 3, 30, r#"Escalate("it was recovered 3 times within an hour, and fails again")"#),
        (&reset, hangs.clone(), 0, 49, r#"Rest("calls were let through again")"#),
        (&reset, hangs.clone(), 0, 50, r#"Restart { service: "ui" }"#),
        (&restarted, hangs, 0, 69, r#"Rest("was restarted once, and given time")"#),
    ] {
        let next = judge::copy(incident, breaker.as_ref(), Lately(lately), &config, seconds * 1_000);
        assert_eq!(format!("{next:?}"), want, "{incident:?} at {seconds} s");
    }
}

#[test]
fn the_same_that_was_recovered_within_the_hour_counts() {
    let at = |number: u32, kind, opened_ms| Incident {
        id: format!("inc_{number:08}"),
        opened_ms,
        ..incident("legacy", kind, &[])
    };
    let now = at(9, Kind::GivenUp, 3_700_000);
    let other = Incident { subject: "logging".into(), ..at(8, Kind::GivenUp, 3_600_000) };
    let all = [
        now.clone(),
        other,
        at(7, Kind::Failure, 3_600_000),
        Incident { playbooks: with_playbook(json!({})).playbooks, ..at(6, Kind::Failure, 3_500_000) },
        at(5, Kind::Drill, 3_400_000),
        at(4, Kind::GivenUp, 100_001),
        at(3, Kind::GivenUp, 100_000),
    ];
    assert_eq!(Lately::of(&now, &all), Lately(2));
}

#[test]
fn people_are_told_of_settings_that_changed_shortly_before() {
    let snapshot = |name: &str, made_ms: i64, prices: &str| {
        json!({ "name": name, "about": "", "made_by": "recovery", "made_ms": made_ms,
                "parts": { "prices": prices, "alerts": "x" }, "entries": 1, "bytes": 1 })
    };
    let listed = |snapshots: &[Value], unchanged: &[&str]| -> ListSnapshotsResponse {
        serde_json::from_value(json!({ "snapshots": snapshots, "unchanged": unchanged })).unwrap()
    };
    let (new, same, old) =
        (snapshot("new", 9_000_000, "b"), snapshot("same", 5_000_000, "b"), snapshot("old", 1_000_000, "a"));
    let all = [new.clone(), same, old.clone()];
    for (subject, opened_ms, listed, want) in [
        ("data-providers", 9_000_000, listed(&[], &[]), None),
        ("data-providers", 9_000_000, listed(std::slice::from_ref(&old), &["prices"]), None),
        ("data-providers", 9_000_000, listed(std::slice::from_ref(&old), &["alerts"]), Some("old")),
        ("data-providers", 9_000_000, listed(&all, &["prices"]), None),
        ("data-providers", 8_600_000, listed(&all, &["prices"]), None),
        ("data-providers", 8_599_999, listed(&all, &["prices"]), Some("old")),
        ("data-providers", 9_000_000, listed(&all, &[]), Some("new")),
        ("monitoring", 9_000_000, listed(&[new], &["alerts"]), None),
        ("utilities", 9_000_000, listed(&all, &[]), None),
    ] {
        let incident = Incident { opened_ms, ..incident(subject, Kind::GivenUp, &[]) };
        let way = judge::way_back(&incident, &listed, 9_500_000);
        let want = want.map(|name| {
            format!("; its settings changed lately: rollback_config part=prices snapshot={name} puts them back, by an administrator")
        });
        assert_eq!(way, want, "{subject} at {opened_ms}");
    }
}

#[test]
fn periods_and_numbers_have_bounds() {
    let refused = Recovery::new(Config { hourly_max: 0, ..Config::default() }).map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "invalid_argument: agents.recovery.hourly_max is 0 (1 to 100)");
}

async fn tell(bench: &Bench, kind: &str, data: Value) {
    bench.world.bus.publish(NewEvent::fleet(kind, "supervisor", data)).await.unwrap();
}

/// The fleet's events of this kind.
async fn told(bench: &Bench, kind: &str) -> Vec<Value> {
    let events = bench.world.bus.read(FLEET_TOPIC, 0, 1_000).await.unwrap();
    events.into_iter().filter(|event| event.kind == kind).map(|event| event.data).collect()
}

/// An agent whose recovery server has begun with the fleet's events.
async fn bench() -> Bench {
    let bench = Bench::new::<Recovery>(Config::default(), &["recovery"]).await;
    bench.world.fleet.set(FakeFleet::server("legacy", "http://a", 1));
    bench.pass(1).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn without_workflows_it_is_restarted_by_hand_and_then_left_to_people_once() {
    let bench = bench().await;
    bench.start();
    bench.pass(20).await;
    assert_eq!(bench.outcomes("incidents").await, ["no incident is open"]);
    tell(&bench, "service.given_up", json!({ "service": "legacy", "error": "disk full" })).await;
    bench.pass(10).await;
    assert_eq!(bench.world.fleet.restarts(), [("legacy".to_owned(), "inc_00000001: disk full".to_owned())]);
    bench.pass(90).await;
    assert_eq!((bench.world.fleet.restarts().len(), told(&bench, "incident.escalated").await.len()), (3, 0));
    bench.pass(600).await;
    assert_eq!(bench.world.fleet.restarts().len(), 3);
    let escalated = told(&bench, "incident.escalated").await;
    assert_eq!(escalated.len(), 1, "{escalated:?}");
    assert_eq!(
        (&escalated[0]["subject"], &escalated[0]["reason"], &escalated[0]["by"]),
        (&json!("legacy"), &json!("it was restarted 3 times, and does not serve: disk full"), &json!("agent:recovery"))
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_copy_goes_on_where_the_first_stopped() {
    let one = bench().await;
    let two = Bench::beside::<Recovery>(Config::default(), &one.world, Arc::clone(&one.servers));
    one.start();
    one.pass(5).await;
    two.start();
    tell(&one, "service.given_up", json!({ "service": "legacy", "error": "disk full" })).await;
    one.pass(10).await;
    assert_eq!(one.world.fleet.restarts().len(), 1, "by the one that leads");
    one.stop().await;
    one.pass(5).await;
    assert_eq!(one.world.fleet.restarts().len(), 1, "it was done, and is given time");
    one.pass(200).await;
    assert_eq!(one.world.fleet.restarts().len(), 3, "the ladder goes on, and ends where it would have");
    assert_eq!(told(&two, "incident.escalated").await.len(), 1);
    two.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_serves_again_is_left_alone_and_a_copy_that_has_ended_is_no_incident() {
    let bench = bench().await;
    bench.start();
    tell(&bench, "service.failed", json!({ "service": "legacy", "error": "x" })).await;
    tell(&bench, "breaker.opened", json!({ "name": "ui", "instance": "ui@p1", "url": "http://x" })).await;
    bench.pass(20).await;
    let outcomes = bench.outcomes("incidents").await;
    let last = outcomes.last().unwrap();
    assert_eq!(last, "inc_00000001 legacy: left to its supervisor", "{outcomes:?}");
    assert!(outcomes.iter().any(|line| line.contains("copy:ui@p1: closed: this copy has ended")), "{outcomes:?}");
    tell(&bench, "service.started", json!({ "service": "legacy" })).await;
    bench.pass(60).await;
    assert_eq!(bench.outcomes("incidents").await.last().unwrap(), "no incident is open");
    assert!(bench.world.fleet.restarts().is_empty());
    bench.stop().await;
}

/// The coordinator's tool that the playbook looks with.
struct Coordinator;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Asked {
    service: String,
    kind: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Stands {
    status: Health,
}

const SERVICE_STATUS: Tool<Asked, Stands> = Tool::new("master-coordinator", "service_status", "", Hints::READ);

#[async_trait]
impl Features for Coordinator {}

impl McpServer for Coordinator {
    const NAME: &'static str = "master-coordinator";
    const INSTRUCTIONS: &'static str = "";
    type Config = ();
    type Ports = Ports;

    fn new(_: &Ports, (): ()) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(SERVICE_STATUS, |_: Arc<Self>, asked: Asked, _: Ctx| async move {
            assert_eq!((&*asked.service, &*asked.kind), ("risk", "agent"));
            Ok::<_, ToolError>(Stands { status: Health::Healthy })
        });
    }
}

/// The first incident, as the recovery server has it.
async fn first(bench: &Bench) -> Option<Incident> {
    let entry = bench.world.store.get("incidents", "inc_00000001").await.unwrap()?;
    Some(serde_json::from_str(&entry.value).unwrap())
}

async fn until<T>(bench: &Bench, found: impl Fn(&Incident) -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        let incident = first(bench).await;
        if let Some(found) = incident.as_ref().and_then(&found) {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "{incident:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_playbook_runs_once_for_an_incident_whoever_asks_and_is_followed_to_its_end() {
    let config = Config { watch_seconds: 1, ..Config::default() };
    let one = Bench::new::<Recovery>(config.clone(), &["recovery", "orchestration"]).await;
    one.serve_this(Arc::new(Coordinator));
    let agent =
        kernel::fleet::Instance { kind: kernel::fleet::Kind::Agent, ..FakeFleet::server("risk", "http://a", 1) };
    one.world.fleet.set(agent);
    let began = Instant::now();
    while one.world.store.get("recovery", "events").await.unwrap().is_none() {
        assert!(began.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    one.start();
    tell(&one, "agent.given_up", json!({ "agent": "risk", "error": "no key" })).await;
    // Until it is time for the duty: the event may have come before the agent listened.
    while first(&one).await.is_none_or(|incident| incident.playbooks.is_empty()) {
        assert!(began.elapsed() < LIMIT);
        // As fast as the agent's own clock goes, by which it keeps its lead.
        one.pass(1).await;
    }
    // The run has restarted it, and waits.
    let run = until(&one, |incident| {
        let playbook = incident.playbooks.first()?;
        let restarted = incident.timeline.iter().any(|moment| moment.what == "recovery.restart");
        let waits = playbook.status == Some(flow::workflow::engine::Status::Waiting);
        (restarted && waits).then(|| playbook.run.clone())?
    });
    let run = run.await;
    one.stop().await;
    let two = Bench::beside::<Recovery>(config, &one.world, Arc::clone(&one.servers));
    two.start();
    one.world.clock.advance_ms(6_000);
    let ended = until(&one, |incident| incident.playbooks[0].ended_ms.is_some().then(|| incident.clone())).await;
    assert_eq!(ended.playbooks.len(), 1, "{ended:?}");
    assert_eq!(ended.playbooks[0].run, Some(run));
    tell(&one, "agent.started", json!({ "agent": "risk" })).await;
    let over = until(&one, |incident| incident.resolved_ms.is_some().then(|| incident.clone())).await;
    let what: Vec<&str> = over.timeline.iter().map(|moment| moment.what.as_str()).collect();
    assert_eq!(
        what,
        ["agent.given_up", "playbook.begun", "recovery.restart", "playbook.completed", "agent.started"],
        "{over:?}"
    );
    assert_eq!(one.world.fleet.restarts().len(), 1);

    // Asked for by somebody, it is the same work, under their name within the agent's role.
    let payload = json!({ "service": "agent:risk", "follow_seconds": 0 });
    let ann = Caller::new("ann", Role::Operator);
    let task = NewTask::new("recovery", "recover", payload, &ann);
    let id = one.world.queue.submit(vec![task]).await.unwrap()[0].id;
    let began = Instant::now();
    let task = loop {
        let task = one.world.queue.get(id).await.unwrap().unwrap();
        if task.state.is_ended() {
            break task;
        }
        assert!(began.elapsed() < LIMIT, "{task:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let result = task.result.unwrap();
    assert_eq!(
        (&result["started_by"], &result["workflow"]),
        (&json!("agent:recovery"), &json!("playbooks/incident-response/1.1.0")),
        "{result}"
    );
    two.stop().await;
}
