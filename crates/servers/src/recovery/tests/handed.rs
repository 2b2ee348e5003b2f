//! What is handed on: incidents to people, playbooks to workflows.

use flow::workflow::walk::DATA_BYTES_MAX;

use super::*;

#[tokio::test]
async fn an_incident_is_handed_to_people_once_and_closed_by_hand() {
    let bench = bench().await;
    tell(&bench, "breaker.opened", json!({ "name": "ui", "instance": "ui@p1", "url": "http://x" })).await;
    incidents(&bench).await;
    let ann = operator("ann");
    let request = |reason: &str| ReasonedRequest { id: "inc_00000001".into(), reason: reason.into() };
    for reason in ["it hangs", "it still hangs"] {
        let told: Incident = bench.call(&ann, ESCALATE_INCIDENT, request(reason)).await.unwrap();
        let moments = told.timeline.iter().filter(|moment| moment.what == "incident.escalated");
        assert_eq!(moments.map(|moment| &*moment.detail).collect::<Vec<_>>(), ["by ann: it hangs"]);
    }
    let events = bench.world.bus.read("fleet", 0, 100).await.unwrap();
    let told: Vec<&Value> = events.iter().filter(|e| e.kind == "incident.escalated").map(|e| &e.data).collect();
    assert_eq!(
        told,
        [&json!({ "incident": "inc_00000001", "subject": "copy:ui@p1", "reason": "it hangs", "by": "ann" })]
    );
    bench.world.clock.advance_ms(50);
    for reason in ["it was taken out of use", "again"] {
        let over: Incident = bench.call(&ann, RESOLVE_INCIDENT, request(reason)).await.unwrap();
        assert_eq!((over.recovery_ms, over.timeline.len()), (Some(50), 3), "{over:?}");
    }
    bench
        .check(
            "escalate_incident",
            json!({ "id": "inc_00000001", "reason": "x" }),
            expect!["conflict: inc_00000001 is over (incidents lists those that are open)"],
        )
        .await;
    for tool in ["escalate_incident", "resolve_incident"] {
        let said = bench.shown(&viewer("eve"), tool, json!({ "id": "inc_00000001", "reason": "x" })).await;
        assert!(said.starts_with("permission_denied"), "{said}");
        let said = bench.shown(&ann, tool, json!({ "id": "inc_00000001", "reason": "x".repeat(1_001) })).await;
        assert!(said.starts_with("too_large: reason has 1001 bytes"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn playbooks_run_as_workflows_under_the_callers_role() {
    let world = World::default();
    let ports = MarketPorts::without_pools(world.ports());
    let orchestration =
        Service::build::<crate::orchestration::Orchestration>(&ports, Default::default(), shared(&world)).unwrap();
    orchestration.start(world.ports()).await.unwrap();
    let bench = bench_with(ToWorkflows(AtomicUsize::new(0), Some(orchestration)), world, Config::default());
    bench.start().await;
    while bench.world.store.get("recovery", "events").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    let listed: PlaybooksResponse = bench.call(&viewer("eve"), PLAYBOOKS, PlaybooksRequest {}).await.unwrap();
    assert!(listed.playbooks.iter().any(|row| row.name == "incident-response"), "{listed:?}");
    let request = json!({ "name": "incident-response", "input": { "service": "logging" } });
    let ran = async |request: Value| -> Value {
        serde_json::from_str(&bench.shown(&operator("ann"), "run_playbook", request).await).unwrap()
    };
    let said = ran(request.clone()).await;
    assert_eq!(
        (&said["run"]["workflow"], &said["run"]["started_by"], &said["incident"]),
        (&json!("playbooks/incident-response/1.1.0"), &json!("ann"), &Value::Null),
        "nothing has failed: {said}"
    );
    // While the service has an open incident, it is its incident that tells of the run; twice with one key is once.
    tell(&bench, "service.failed", json!({ "service": "logging", "error": "x" })).await;
    incidents(&bench).await;
    let mut keyed = request;
    keyed["key"] = json!("k");
    let (once, twice) = (ran(keyed.clone()).await, ran(keyed).await);
    assert_eq!((&once["incident"], &once["run"]["run"]), (&json!("inc_00000001"), &twice["run"]["run"]), "{once}");
    let incident = incidents(&bench).await.remove(0);
    assert_eq!((incident.playbooks.len(), incident.playbooks[0].key.as_str()), (1, "k"), "{incident:?}");
    // What is refused stands there too, and does not count as going on.
    let long = json!({ "service": "logging", "why": "x".repeat(DATA_BYTES_MAX) });
    let wrong = json!({ "name": "incident-response", "incident": "inc_00000001", "key": "l", "input": long.clone() });
    let said = bench.shown(&operator("ann"), "run_playbook", wrong).await;
    assert!(said.starts_with("too_large: orchestration.start: the input has "), "{said}");
    let incident: Incident =
        bench.call(&viewer("eve"), INCIDENT, IncidentRequest { id: "inc_00000001".into() }).await.unwrap();
    assert!(incident.playbooks[1].ended_ms.is_some() && incident.playbooks[1].run.is_none(), "{incident:?}");
    let what = |what: &str| incident.timeline.iter().filter(|moment| moment.what == what).count();
    assert_eq!((what("playbook.begun"), what("playbook.refused")), (2, 1), "{incident:?}");
    // Asked for once more in a way that is refused, what was begun goes on.
    let again = json!({ "name": "incident-response", "incident": "inc_00000001", "key": "k", "input": long });
    let said = bench.shown(&operator("ann"), "run_playbook", again).await;
    assert!(said.starts_with("too_large: orchestration.start: the input has "), "{said}");
    let after: Incident =
        bench.call(&viewer("eve"), INCIDENT, IncidentRequest { id: "inc_00000001".into() }).await.unwrap();
    assert_eq!((&after.playbooks, &after.timeline), (&incident.playbooks, &incident.timeline));
    assert!(after.playbooks[0].run.is_some() && after.playbooks[0].ended_ms.is_none(), "{after:?}");
    let gone = json!({ "name": "incident-response", "input": {}, "incident": "inc_9" });
    let said = bench.shown(&operator("ann"), "run_playbook", gone).await;
    assert!(said.starts_with("not_found: no incident `inc_9`"), "{said}");
    let said = bench.shown(&operator("ann"), "run_playbook", json!({ "name": "none" })).await;
    assert!(said.starts_with("not_found: orchestration.define_workflow: no playbook `none`"), "{said}");
}

#[tokio::test]
async fn where_there_are_no_workflows_playbooks_say_so() {
    let bench = bench().await;
    bench.check("playbooks", json!({}), expect!["unavailable: no orchestration here"]).await;
}
