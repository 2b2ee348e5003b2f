//! Locks and elections, on everything that keeps entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kernel::locks::{Elections, Held, Locks};
use kernel::{Code, Fault, OnEnd};

use crate::kit::{EntriesKit as Kit, START_MS, on_everything_that_keeps_entries, soon};

on_everything_that_keeps_entries!(
    a_lock_is_held_by_one,
    tokens_grow_with_every_holding,
    renewing_keeps_the_token_and_moves_the_end,
    what_is_lost_cannot_be_renewed_or_released,
    a_waiter_gets_the_lock_when_it_is_released,
    a_waiter_gets_the_lock_when_it_expires,
    contended_locks_exclude,
    out_of_range_arguments_are_refused,
    elections_have_one_leader,
);

const TTL: Duration = Duration::from_millis(1_000);
const NOW: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(60);

fn both(kit: &Kit) -> (Locks, Locks) {
    let here = Locks::new(kit.store.clone(), kit.clock.clone());
    (here, Locks::new(kit.other.store.clone(), kit.clock.clone()))
}

fn holder(fault: &Fault) -> Held {
    serde_json::from_value(*fault.data.clone().unwrap()).unwrap()
}

async fn a_lock_is_held_by_one(kit: Kit) {
    let (here, there) = both(&kit);
    let held = here.acquire("l", "a", TTL, NOW).await.unwrap();
    assert_eq!(held.expires_ms, START_MS + 1_000);
    for owner in ["a", "b"] {
        let fault = there.acquire("l", owner, TTL, NOW).await.unwrap_err();
        assert_eq!((fault.code, holder(&fault)), (Code::Conflict, held.clone()), "not re-entrant either");
    }
    assert_eq!(there.get("l").await.unwrap(), Some(held.clone()));
    let other = there.acquire("m", "b", TTL, NOW).await.unwrap();
    assert_eq!(here.list("", None).await.unwrap(), [held.clone(), other]);
    here.release("l", "a", held.token).await.unwrap();
    assert_eq!(there.get("l").await.unwrap(), None);
    there.acquire("l", "b", TTL, NOW).await.unwrap();
}

async fn tokens_grow_with_every_holding(kit: Kit) {
    let (here, there) = both(&kit);
    let mut last = 0;
    for round in 0..6 {
        let locks = if round % 2 == 0 { &here } else { &there };
        let held = locks.acquire("l", "a", TTL, NOW).await.unwrap();
        assert!(held.token > last);
        last = held.token;
        if round % 3 == 0 {
            locks.release("l", "a", held.token).await.unwrap();
        }
        // Past the memory of deletions too.
        kit.clock.advance_ms(if round == 3 { 8_000_000 } else { 1_000 });
    }
}

async fn renewing_keeps_the_token_and_moves_the_end(kit: Kit) {
    let (here, there) = both(&kit);
    let held = here.acquire("l", "a", TTL, NOW).await.unwrap();
    for round in 1..=3 {
        kit.clock.advance_ms(900);
        let renewed = there.renew("l", "a", held.token, TTL).await.unwrap();
        assert_eq!((renewed.token, renewed.expires_ms), (held.token, START_MS + round * 900 + 1_000));
        assert_eq!(here.get("l").await.unwrap(), Some(renewed));
    }
    here.release("l", "a", held.token).await.unwrap();
}

async fn what_is_lost_cannot_be_renewed_or_released(kit: Kit) {
    let (here, there) = both(&kit);
    let lost = here.acquire("l", "a", TTL, NOW).await.unwrap();
    kit.clock.advance_ms(1_000);
    let fault = here.renew("l", "a", lost.token, TTL).await.unwrap_err();
    assert_eq!((fault.code, fault.data), (Code::Conflict, None));
    let held = there.acquire("l", "b", TTL, NOW).await.unwrap();
    let fault = here.renew("l", "a", lost.token, TTL).await.unwrap_err();
    assert_eq!(holder(&fault), held);
    for (owner, token) in [("a", lost.token), ("b", lost.token), ("a", held.token)] {
        assert_eq!(here.release("l", owner, token).await.unwrap_err().code, Code::Conflict);
    }
    assert_eq!(here.get("l").await.unwrap(), Some(held));
}

async fn a_waiter_gets_the_lock_when_it_is_released(kit: Kit) {
    let (here, there) = both(&kit);
    let held = here.acquire("l", "a", LONG, NOW).await.unwrap();
    let waiter = there.acquire("l", "b", LONG, LONG);
    let release = async { here.release("l", "a", held.token).await.unwrap() };
    let (got, ()) = soon(async { tokio::join!(waiter, release) }).await;
    assert_eq!(got.unwrap().owner, "b");
}

async fn a_waiter_gets_the_lock_when_it_expires(kit: Kit) {
    let (here, there) = both(&kit);
    here.acquire("l", "a", LONG, NOW).await.unwrap();
    let waiter = there.acquire("l", "b", LONG, LONG);
    let expire = async { kit.clock.advance_ms(60_000) };
    let (got, ()) = soon(async { tokio::join!(waiter, expire) }).await;
    assert_eq!(got.unwrap().owner, "b");
}

async fn contended_locks_exclude(kit: Kit) {
    let (here, there) = both(&kit);
    let inside = Arc::new(AtomicU64::new(0));
    let newest = Arc::new(AtomicU64::new(0));
    for task in 0..6 {
        let locks = if task % 2 == 0 { here.clone() } else { there.clone() };
        let (inside, newest) = (inside.clone(), newest.clone());
        kit.tasks.spawn("locker", OnEnd::Done, async move {
            for _ in 0..5 {
                let held = locks.acquire("l", &format!("task-{task}"), LONG, LONG).await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "alone");
                assert!(newest.swap(held.token, Ordering::SeqCst) < held.token);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                locks.release("l", &held.owner, held.token).await.unwrap();
            }
        });
    }
    assert_eq!(kit.tasks.drain(Duration::from_secs(30)).await, 0);
    assert_eq!(here.list("", None).await.unwrap(), []);
}

async fn out_of_range_arguments_are_refused(kit: Kit) {
    let (here, _) = both(&kit);
    let code =
        async |name: &str, owner: &str, ttl, wait| here.acquire(name, owner, ttl, wait).await.map_err(|f| f.code);
    let long = "n".repeat(257);
    for (name, owner, ttl, wait) in [
        ("", "a", TTL, NOW),
        ("l", "", TTL, NOW),
        (&long, "a", TTL, NOW),
        ("l\0", "a", TTL, NOW),
        ("l", "a", Duration::from_millis(99), NOW),
        ("l", "a", Duration::MAX, NOW),
        ("l", "a", TTL, Duration::from_secs(601)),
    ] {
        assert_eq!(code(name, owner, ttl, wait).await, Err(Code::InvalidArgument), "{name} {owner} {ttl:?} {wait:?}");
    }
}

async fn elections_have_one_leader(kit: Kit) {
    let here = Elections::new(kit.store.clone(), kit.clock.clone());
    let there = Elections::new(kit.other.store.clone(), kit.clock.clone());
    let first = here.campaign("e", "a", TTL, NOW).await.unwrap();
    assert_eq!(there.campaign("e", "b", TTL, NOW).await.unwrap_err().code, Code::Conflict);
    kit.clock.advance_ms(900);
    let still = here.campaign("e", "a", TTL, NOW).await.unwrap();
    assert_eq!((still.token, still.expires_ms), (first.token, START_MS + 1_900), "a leader's campaign keeps its term");
    assert_eq!(there.leader("e").await.unwrap(), Some(still.clone()));
    here.resign("e", "a", still.token).await.unwrap();
    assert_eq!(there.leader("e").await.unwrap(), None);
    let second = there.campaign("e", "b", TTL, NOW).await.unwrap();
    assert!(second.token > first.token);
    kit.clock.advance_ms(1_000);
    let third = here.campaign("e", "a", TTL, LONG).await.unwrap();
    assert!(third.token > second.token);
    let locks = Locks::new(kit.store.clone(), kit.clock.clone());
    assert_eq!(locks.get("e").await.unwrap(), None, "locks and elections are apart");
}
