//! A fleet with Redis beside its database: processes keep to limits together and tell each other news, and do without it while it is away.

use serde_json::json;

use crate::etcd::machine;
use crate::harness::postgres::schema;
use crate::harness::{Fleet, LIMIT, Mcp, Process, http, real, wait_for};

/// How one part of what the fleet stands on is said to be.
pub(crate) fn part(fleet: &Fleet, name: &str) -> (String, String) {
    let status = fleet.get("/status").ok();
    let text = |field: &str| status["infrastructure"][name][field].as_str().unwrap_or("-").to_owned();
    (text("status"), text("backend"))
}

#[test]
fn a_redis_that_dies_is_told_of_done_without_and_found_again() {
    let Some((mut server, url)) = real::redis() else { return };
    let home = machine(&[("REDIS_URL", &url)], "");
    let process = home.start(&["up", "--no-sandbox"]);
    let fleet = Fleet { process, home };
    let said = fleet.process.screen["storage"].as_str().unwrap();
    assert!(said.contains("Redis at /") && said.contains(": limits"), "{said}");
    let all = |state: &str| {
        ["limits", "fanout"].iter().all(|name| {
            let (status, backend) = part(&fleet, name);
            status == state && backend.starts_with("Redis at /")
        })
    };
    let health = || http::send("GET", &format!("{}/health", fleet.url_of("utilities")), &[], b"").ok();
    let figure = |value: &str| {
        let figures = fleet.get("/metrics").body;
        ["limits", "fanout"]
            .iter()
            .all(|port| figures.contains(&format!("flotilla_backend_up{{port=\"{port}\"}} {value}")))
    };
    let digest = || fleet.mcp("/mcp").call("utilities__keccak256", json!({ "data": "x" }));
    for _ in 0..2 {
        wait_for("it is said that Redis is there", LIMIT, || (all("healthy") && figure("1.0")).then_some(()));
        assert!(fleet.cli(&["doctor"]).out.contains("✓ redis: Redis at /"));
        digest().unwrap();
        server.kill();
        wait_for("it is said that Redis is away", LIMIT, || (all("down") && figure("0.0")).then_some(()));
        assert_eq!(fleet.get("/status").ok()["status"], "degraded");
        let (said, checks) = (health(), health()["checks"].to_string());
        assert!(said["status"] == "degraded" && checks.contains("each process keeps to the limits alone"), "{said}");
        let doctor = fleet.cli(&["doctor"]);
        assert!(doctor.code == Some(1) && doctor.out.contains("✗ redis: Redis at /"), "{doctor:?}");
        digest().unwrap();
        server.again();
    }
    wait_for("every service stands as before", LIMIT, || (health()["status"] == "healthy").then_some(()));
    let lost = fleet.process.log().lines().filter(|line| line.contains("does not answer")).count();
    assert!((4..8).contains(&lost), "each part says it once each time, not at every try: {lost}");
}

/// The endpoint of a service that runs in this process, for who has that key.
fn mcp(process: &Process, service: &str, key: &str) -> Mcp {
    let services = process.screen["services"].as_array().unwrap();
    let found = services.iter().find(|row| row["service"] == service).unwrap();
    Mcp::new(&format!("{}/mcp", found["url"].as_str().unwrap()), Some(key.to_owned()))
}

#[test]
fn machines_that_share_postgres_and_redis_keep_to_limits_together() {
    const LIMITS: &str = "[limits]\ncalls_per_second = 0.001\nburst = 20\n";
    let Some(database) = schema() else { return };
    let Some((mut server, redis)) = real::redis() else { return };
    let variables = [("DATABASE_URL", &*database), ("REDIS_URL", &*redis)];
    let (here, there) = (machine(&variables, LIMITS), machine(&variables, LIMITS));
    let serve = ["serve", "utilities", "coordination", "--no-sandbox"];
    let (one, two) = (here.start(&serve), there.start(&serve));
    let key = here.key();
    let (one, two) = (|service: &str| mcp(&one, service, &key), |service: &str| mcp(&two, service, &key));
    let digest = |mcp: &Mcp| mcp.call("keccak256", json!({ "data": "x" }));
    let admitted = |mcp: &Mcp, calls: usize| (0..calls).filter(|_| digest(mcp).is_ok()).count();
    let (first, second) = (one("utilities"), two("utilities"));
    assert_eq!((admitted(&first, 15), admitted(&second, 15)), (15, 5), "twenty of both together");
    let refused = digest(&first).unwrap_err();
    assert!(refused.starts_with("rate_limited: too many calls of utilities.keccak256"), "{refused}");
    // One that stands still holds no call up, and without it each machine keeps to the limits alone.
    server.stand_still(true);
    first.call("convert_units", json!({ "amount": "1", "from": "ether", "to": "wei" })).unwrap();
    server.kill();
    for mcp in [&first, &second] {
        let hash = |_: &usize| mcp.call("hash", json!({ "data": "x" }));
        let refused: Vec<String> = (0..25).filter_map(|call| hash(&call).err()).collect();
        assert!(refused.len() == 5 && refused.iter().all(|why| why.starts_with("rate_limited: ")), "{refused:?}");
    }
    server.again();
    // What one publishes the other reads.
    let event = json!({ "topic": "t", "kind": "a.b", "data": { "n": 1 } });
    let published = one("coordination").call("publish", event).unwrap();
    let read = two("coordination").call("read_topic", json!({ "topic": "t" })).unwrap();
    assert_eq!(read["events"][0]["seq"], published["seq"], "{read}");
}
