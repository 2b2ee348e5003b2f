//! A fleet with all its real backends: processes find each other, lock and elect on etcd, and go on while it is away.

use serde_json::{Value, json};

use crate::harness::postgres::schema;
use crate::harness::{Home, LIMIT, Mcp, Process, http, real, wait_for};

/// A machine that is told this in its environment.
pub(crate) fn machine(variables: &[(&str, &str)], config: &str) -> Home {
    let home = Home::new(config);
    let lines: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    std::fs::write(home.path(".env"), lines).unwrap();
    home
}

fn coordinator(process: &Process) -> &str {
    process.screen["coordinator"].as_str().unwrap()
}

/// How the registry is said to stand, and on what.
fn registry(process: &Process) -> (String, String) {
    let status = http::send("GET", &format!("{}/status", coordinator(process)), &[], b"").ok();
    let text = |field: &str| status["infrastructure"]["registry"][field].as_str().unwrap_or("-").to_owned();
    (text("status"), text("backend"))
}

#[test]
fn machines_that_share_all_four_are_one_fleet_and_go_on_while_etcd_is_away() {
    let Some(database) = schema() else { return };
    let Some((_redis, redis)) = real::redis() else { return };
    let Some((_broker, broker)) = real::rabbitmq() else { return };
    let Some((mut etcd, endpoints)) = real::etcd() else { return };
    let variables = [
        ("DATABASE_URL", &*database),
        ("REDIS_URL", &*redis),
        ("RABBITMQ_URL", &*broker),
        ("ETCD_ENDPOINTS", &*endpoints),
    ];
    let (here, there) = (machine(&variables, ""), machine(&variables, ""));
    let one = here.start(&["serve", "master-coordinator", "utilities", "--no-sandbox"]);
    let mut two = there.start(&["serve", "coordination", "--no-sandbox"]);
    let storage = one.screen["storage"].as_str().unwrap();
    for part in ["queue, audit; SQLite: logs; etcd at 127.", ": registry; Redis at /", ": fanout; RabbitMQ at 127."] {
        assert!(storage.contains(part) && storage.ends_with(": events"), "{storage}");
    }
    let mcp = Mcp::new(&format!("{}/mcp", coordinator(&one)), Some(here.key()));
    let put = |value: u32| mcp.call("coordination__kv_put", json!({ "key": "k", "value": value }));
    wait_for("the other machine's service is found", LIMIT, || put(1).ok());
    let (status, backend) = registry(&one);
    assert!(status == "healthy" && backend.starts_with("etcd at 127."), "{status} {backend}");
    let doctor = here.cli(&["doctor"]).out;
    for part in ["✓ redis: Redis at /", "✓ rabbitmq: RabbitMQ at 127.", "✓ etcd: etcd 3."] {
        assert!(doctor.contains(part), "{doctor}");
    }
    let lock = |owner: &str| {
        mcp.call("coordination__acquire_lock", json!({ "name": "l", "owner": owner, "ttl_seconds": 600 }))
    };
    let token = |held: &Value| held["token"].as_u64().unwrap();
    let first = lock("a").unwrap();
    // Who is known is called on; a lock cannot be had.
    etcd.kill();
    wait_for("it is said that etcd is away", LIMIT, || (registry(&one).0 == "down").then_some(()));
    put(2).unwrap();
    let refused = lock("b").unwrap_err();
    assert!(refused.starts_with("unavailable: etcd at 127."), "{refused}");
    etcd.again();
    wait_for("it is found again", LIMIT, || (registry(&one).0 == "healthy").then_some(()));
    let refused =
        wait_for("locks answer again", LIMIT, || lock("b").err().filter(|refused| !refused.starts_with("unav")));
    assert!(refused.starts_with("conflict: lock `l` is held by `cli-"), "what was held still is: {refused}");
    let release = json!({ "name": "l", "token": token(&first) });
    mcp.call("coordination__release_lock", release).unwrap();
    assert!(token(&lock("b").unwrap()) > token(&first), "a token that fences");
    // A copy that ends without a word is missed, and one that comes is found.
    put(3).unwrap();
    two.kill();
    wait_for("it is missed", LIMIT, || put(4).err().filter(|refused| refused.starts_with("unavailable")));
    let _again = there.start(&["serve", "coordination", "--no-sandbox"]);
    wait_for("it is found again", LIMIT, || put(5).ok());
}
