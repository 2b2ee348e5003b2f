//! What only holds for etcd: it dies and comes back, stands still, refuses, and does not pile leases up.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::etcd::{Etcd, Place};
use kernel::fake::FakeFleet;
use kernel::locks::Locks;
use kernel::metrics::Metrics;
use kernel::registry::Registry;
use kernel::store::{Entries, Expect, Write};
use kernel::{Clock, Code, Tasks};
use serde_json::Value;

use crate::kit::{answering, soon};
use crate::real;

/// Longer than any test may take.
const TTL: Duration = Duration::from_secs(3_600);
const WAIT: Duration = Duration::from_secs(60);
const NOW: Duration = Duration::ZERO;

pub(crate) fn open(url: &str, fleet: &str, clock: Clock) -> Arc<Etcd> {
    Etcd::new(Place { endpoints: url }, fleet, clock, &Metrics::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_and_is_found_again() {
    let Some((mut server, url)) = real::etcd() else { return };
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let (here, there) = (open(&url, "fleet", clock.clone()), open(&url, "fleet", clock.clone()));
    here.start(&tasks);
    there.start(&tasks);
    let (locks, others) = (Locks::new(here.clone(), clock.clone()), Locks::new(there.clone(), clock.clone()));
    let registry = Registry::new(here.clone(), clock.clone());
    let mut lease = registry.register(FakeFleet::server("a", "http://127.0.0.1:1", 0), TTL).await.unwrap();
    let mut newest = 0;
    for round in 0..2 {
        let held = answering(async || locks.acquire("l", "a", TTL, NOW).await).await;
        assert!(held.token > newest, "round {round}");
        newest = held.token;
        server.kill();
        let fault = locks.renew("l", "a", held.token, TTL).await.unwrap_err();
        assert!(fault.code == Code::Unavailable && fault.message.starts_with("etcd at 127."), "{fault}");
        let began = Instant::now();
        locks.get("l").await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(5), "nobody waits for what is known to be away");
        assert_eq!(here.reach().standing().unwrap_err().code, Code::Unavailable);
        server.again();
        assert_eq!(
            answering(async || others.get("l").await).await.unwrap().token,
            held.token,
            "what was held still is"
        );
        answering(async || registry.renew(&mut lease).await).await;
        assert_eq!(answering(async || registry.list().await).await.len(), 1);
        // A waiter of the other process is woken by the watch, which was opened again.
        let ((), got) = tokio::join!(
            answering(async || locks.release("l", "a", held.token).await),
            answering(async || others.acquire("l", "b", TTL, WAIT).await)
        );
        assert!(got.token > newest);
        newest = got.token;
        others.release("l", "b", got.token).await.unwrap();
        soon(async {
            while here.reach().standing().is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    assert_eq!(tasks.drain(Duration::from_secs(5)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_said_to() {
    let Some((server, url)) = real::etcd() else { return };
    let etcd = open(&url, "fleet", Clock::system());
    etcd.commit(vec![Write::put("s", "k", "v")]).await.unwrap();
    server.stand_still(true);
    let fault = soon(etcd.get("s", "k")).await.unwrap_err();
    assert!(fault.code == Code::Unavailable && fault.message.contains("gave no answer"), "{fault}");
    server.stand_still(false);
    assert_eq!(answering(async || etcd.get("s", "k").await).await.unwrap().value, "v");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_do_not_answer_are_passed_over_and_what_is_wrong_is_said() {
    let Some((_server, url)) = real::etcd() else { return };
    let place = Place { endpoints: &format!("http://127.0.0.1:1, {url}/") };
    assert!(place.look().await.unwrap().starts_with("etcd 3."));
    let etcd = open(place.endpoints, "fleet", Clock::system());
    for round in 0..3 {
        etcd.commit(vec![Write::put("s", "k", round.to_string())]).await.unwrap();
    }
    for (endpoints, code, part) in [
        ("", Code::InvalidArgument, "names 0 members"),
        ("etcd:2379", Code::InvalidArgument, "neither http:// nor https://"),
        ("http://root:hunter2@etcd:2379", Code::InvalidArgument, "has a login in it"),
        ("http://127.0.0.1:1,http://127.0.0.1:2", Code::Unavailable, "etcd at 127.0.0.1:1,127.0.0.1:2 cannot be"),
    ] {
        let fault = Place { endpoints }.look().await.unwrap_err();
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.message.contains(part) && fault.hint.is_some(), "{fault}");
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }
}

/// Asks the server by hand.
fn by_hand(url: &str, path: &str, body: &str) -> Value {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    write!(stream, "POST /v3/{path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let (from, to) = (said.find('{').unwrap(), said.rfind('}').unwrap());
    serde_json::from_str(&said[from..=to]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_ends_has_a_lease_and_renewals_share_it() {
    let Some((_server, url)) = real::etcd() else { return };
    let (clock, one) = (Clock::system(), "registry");
    let etcd = open(&url, "fleet", clock.clone());
    let began = Instant::now();
    for _ in 0..50 {
        let end = clock.now_ms() + 6_000;
        etcd.commit(vec![Write::put(one, "k", "v").expiring_at(end)]).await.unwrap();
    }
    etcd.commit(vec![Write::put(one, "stays", "v")]).await.unwrap();
    let leases = by_hand(&url, "lease/leases", "{}")["leases"].as_array().unwrap().len();
    // One is shared for four seconds.
    let most = 1 + began.elapsed().as_secs() as usize / 4;
    assert!((1..=most).contains(&leases), "{leases}");
    let all = by_hand(&url, "kv/range", r#"{"key":"AA==","range_end":"AA=="}"#);
    let leased = all["kvs"].as_array().unwrap().iter().filter(|kv| kv.get("lease").is_some()).count();
    assert_eq!(leased, 1, "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_on_one_key_exclude_and_fleets_do_not_meet() {
    const EACH: u64 = 25;
    let Some((_server, url)) = real::etcd() else { return };
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let counters: Vec<_> = (0..4).map(|_| open(&url, "fleet", clock.clone())).collect();
    for etcd in counters.clone() {
        tasks.spawn("counter", kernel::OnEnd::Done, async move {
            let mut counted = 0;
            while counted < EACH {
                let entry = etcd.get("s", "n").await.unwrap();
                let (value, expect) = match &entry {
                    None => (0, Expect::Absent),
                    Some(entry) => (entry.value.parse::<u64>().unwrap(), Expect::Revision(entry.revision)),
                };
                match etcd.commit(vec![Write::put("s", "n", (value + 1).to_string()).expecting(expect)]).await {
                    Ok(_) => counted += 1,
                    Err(fault) => assert_eq!(fault.code, Code::Conflict, "{fault}"),
                }
            }
        });
    }
    assert_eq!(tasks.drain(Duration::from_secs(60)).await, 0);
    assert_eq!(counters[0].get("s", "n").await.unwrap().unwrap().value, (4 * EACH).to_string());
    let other = open(&url, "other", clock);
    assert_eq!(other.list("s", "", None, 10).await.unwrap(), []);
    // Pages of a list whose entries have partly ended.
    let far = Clock::system().now_ms() + 3_600_000;
    for number in 0..30u32 {
        let end = if number % 3 == 0 { 1 } else { far };
        other.commit(vec![Write::put("p", &format!("k{number:02}"), "v").expiring_at(end)]).await.unwrap();
    }
    let keys = |page: Vec<kernel::store::Entry>| page.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    assert_eq!(keys(other.list("p", "k0", None, 10).await.unwrap()), ["k01", "k02", "k04", "k05", "k07", "k08"]);
    assert_eq!(keys(other.list("p", "", Some("k08"), 3).await.unwrap()), ["k10", "k11", "k13"]);
}
