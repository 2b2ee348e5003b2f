//! A fleet with a RabbitMQ: it passes its events on, says when the broker is away, and loses nothing meanwhile.

use serde_json::json;

use crate::etcd::machine;
use crate::harness::{Fleet, LIMIT, http, real, wait_for};
use crate::redis::part;

/// What this figure of the fleet is.
fn figure(fleet: &Fleet, name: &str) -> u64 {
    let figures = fleet.get("/metrics").body;
    let value = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name}: {figures}")).parse().unwrap()
}

#[test]
fn a_rabbitmq_that_refuses_stops_the_start_and_one_that_dies_is_told_of_while_events_wait() {
    let Some((mut server, url)) = real::rabbitmq() else { return };
    let refused = machine(&[("RABBITMQ_URL", &url.replace("guest@", "hunter2@"))], "");
    let refused = refused.cli(&["serve", "utilities", "--no-sandbox"]);
    assert!(refused.err.contains("refuses us") && refused.err.contains("RABBITMQ_URL"), "{refused:?}");
    assert!(refused.code == Some(3) && !refused.err.contains("hunter2"), "{refused:?}");
    // The queue is of other events: RabbitMQ 3.10 sometimes leaves a quorum queue without a leader when it was killed.
    let home = machine(&[("RABBITMQ_URL", &url)], "[rabbitmq.queues]\nbilling = [\"invoices.#\"]\n");
    let process = home.start(&["up", "--no-sandbox"]);
    let fleet = Fleet { process, home };
    let said = fleet.process.screen["storage"].as_str().unwrap();
    assert!(said.contains("RabbitMQ at 127.") && said.ends_with(": fanout"), "{said}");
    let all = |state: &str, up: &str| {
        let figures = fleet.get("/metrics").body;
        ["events", "fanout"].iter().all(|port| {
            let (status, backend) = part(&fleet, port);
            let gauge = format!("flotilla_backend_up{{port=\"{port}\"}} {up}");
            status == state && backend.starts_with("RabbitMQ at 127.") && figures.contains(&gauge)
        })
    };
    let health = || http::send("GET", &format!("{}/health", fleet.url_of("utilities")), &[], b"").ok();
    let orders = |count: u64| {
        let mcp = fleet.mcp("/mcp");
        for n in 0..count {
            let order = json!({ "topic": "orders", "kind": "order.made", "data": { "n": n } });
            mcp.call("coordination__publish", order).unwrap();
        }
    };
    let (waiting, passed_on) = ("flotilla_events_waiting", "flotilla_events_passed_on_total");
    wait_for("it is said that RabbitMQ is there", LIMIT, || all("healthy", "1.0").then_some(()));
    assert!(fleet.cli(&["doctor"]).out.contains("✓ rabbitmq: RabbitMQ at 127."));
    orders(5);
    wait_for("it took them", LIMIT, || (figure(&fleet, waiting) == 0 && figure(&fleet, passed_on) >= 5).then_some(()));
    server.kill();
    wait_for("it is said that RabbitMQ is away", LIMIT, || all("down", "0.0").then_some(()));
    let (said, checks) = (health(), health()["checks"].to_string());
    assert!(said["status"] == "degraded" && checks.contains("events wait in the database"), "{said}");
    let doctor = fleet.cli(&["doctor"]);
    assert!(doctor.code == Some(1) && doctor.out.contains("✗ rabbitmq: RabbitMQ at 127."), "{doctor:?}");
    let before = figure(&fleet, passed_on);
    orders(7);
    wait_for("they wait", LIMIT, || (figure(&fleet, waiting) >= 7).then_some(()));
    server.again();
    wait_for("it is found again, and took what waited", LIMIT, || {
        (all("healthy", "1.0") && figure(&fleet, waiting) == 0).then_some(())
    });
    assert!(figure(&fleet, passed_on) >= before + 7);
    wait_for("every service stands as before", LIMIT, || (health()["status"] == "healthy").then_some(()));
    let lost = fleet.process.log().lines().filter(|line| line.contains("does not answer")).count();
    assert!((2..=4).contains(&lost), "each part says it once, not at every try: {lost}");
}
