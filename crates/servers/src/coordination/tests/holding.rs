//! Locks, elections, barriers: who holds what, and several who want it at once.

use std::sync::atomic::{AtomicBool, Ordering};

use kernel::Fault;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::*;

fn acquire(name: &str, ttl_seconds: u64, wait_seconds: u64) -> AcquireLockRequest {
    AcquireLockRequest { name: name.into(), ttl_seconds, wait_seconds, owner: None }
}

fn release(lock: &Lock) -> ReleaseLockRequest {
    ReleaseLockRequest { name: lock.name.clone(), token: lock.token }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_at_once_hold_a_lock_one_after_the_other_with_growing_tokens() {
    let bench = Arc::new(bench());
    let inside = Arc::new(AtomicBool::new(false));
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let (bench, inside, tokens) = (Arc::clone(&bench), Arc::clone(&inside), Arc::clone(&tokens));
        clients.spawn(async move {
            let caller = operator(&format!("client-{client}"));
            for _ in 0..10 {
                let lock = bench.call(&caller, ACQUIRE_LOCK, acquire("ledger", 60, 120)).await.unwrap();
                assert!(!inside.swap(true, Ordering::SeqCst), "two hold it");
                tokens.lock().push(lock.token);
                tokio::task::yield_now().await;
                inside.store(false, Ordering::SeqCst);
                bench.call(&caller, RELEASE_LOCK, release(&lock)).await.unwrap();
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let tokens = tokens.lock();
    assert_eq!(tokens.len(), 80);
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[tokio::test]
async fn a_lock_belongs_to_its_key_and_its_workers() {
    let bench = bench();
    let (ann, bob) = (operator("ann"), operator("bob"));
    let request = AcquireLockRequest { owner: Some("worker-1".into()), ..acquire("ledger", 30, 0) };
    let lock = bench.call(&ann, ACQUIRE_LOCK, request).await.unwrap();
    assert_eq!(lock.owner, "ann/worker-1");
    bench
        .check_as(
            &bob,
            "acquire_lock",
            json!({ "name": "ledger" }),
            expect!["conflict: lock `ledger` is held by `ann/worker-1` (wait for it, or let its holder release it)"],
        )
        .await;
    bench
        .check_as(
            &ann,
            "acquire_lock",
            json!({ "name": "ledger", "owner": "worker-1" }),
            expect!["conflict: lock `ledger` is held by `ann/worker-1` (wait for it, or let its holder release it)"],
        )
        .await;
    let (release, renew) =
        (json!({ "name": "ledger", "token": lock.token }), json!({ "name": "ledger", "token": lock.token }));
    bench.check_as(&bob, "release_lock", release.clone(), expect!["permission_denied: lock `ledger` is held by `ann/worker-1`, not by `bob` (its holder gives it up, or an administrator)"]).await;
    bench.check_as(&operator("an"), "renew_lock", renew, expect!["permission_denied: lock `ledger` is held by `ann/worker-1`, not by `an` (its holder gives it up, or an administrator)"]).await;
    bench
        .check_as(
            &ann,
            "release_lock",
            json!({ "name": "ledger", "token": 99 }),
            expect!["conflict: lock `ledger` is held with token 1, not 99 (the holding of that token is over)"],
        )
        .await;
    bench
        .check_as(
            &ann,
            "list_locks",
            json!({}),
            expect![[r#"{"locks":[{"name":"ledger","owner":"ann/worker-1","token":1,"expires_ms":1794729630000}]}"#]],
        )
        .await;
    bench
        .check_as(
            &admin(),
            "release_lock",
            release.clone(),
            expect![[r#"{"name":"ledger","owner":"ann/worker-1","token":1}"#]],
        )
        .await;
    bench
        .check_as(
            &ann,
            "release_lock",
            release,
            expect![
                "conflict: lock `ledger` is not held (it ended or was given up; acquire it again, with a new token)"
            ],
        )
        .await;
    bench.check_as(&ann, "list_locks", json!({ "prefix": "led" }), expect![[r#"{"locks":[]}"#]]).await;
}

#[tokio::test]
async fn a_lock_ends_by_itself_and_its_old_token_is_worth_nothing() {
    let bench = bench();
    let (ann, bob) = (operator("ann"), operator("bob"));
    let first = bench.call(&ann, ACQUIRE_LOCK, acquire("ledger", 10, 0)).await.unwrap();
    bench.world.clock.advance_ms(9_999);
    let renew = |token| RenewLockRequest { name: "ledger".into(), token, ttl_seconds: 10 };
    let renewed = bench.call(&ann, RENEW_LOCK, renew(first.token)).await.unwrap();
    assert_eq!((renewed.token, renewed.expires_ms), (first.token, first.expires_ms + 9_999));
    bench.world.clock.advance_ms(9_999);
    assert_eq!(bench.call(&bob, ACQUIRE_LOCK, acquire("ledger", 10, 0)).await.unwrap_err().code, Code::Conflict);
    bench.world.clock.advance_ms(1);
    let second = bench.call(&bob, ACQUIRE_LOCK, acquire("ledger", 10, 0)).await.unwrap();
    assert!(second.token > first.token);
    let refused = bench.call(&ann, RENEW_LOCK, renew(first.token)).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    bench.call(&bob, RELEASE_LOCK, release(&second)).await.unwrap();
    let again = bench.call(&bob, ACQUIRE_LOCK, acquire("ledger", 10, 0)).await.unwrap();
    let refused = bench.call(&bob, RELEASE_LOCK, release(&second)).await.unwrap_err();
    assert_eq!((refused.code, again.token > second.token), (Code::Conflict, true));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_lock_has_an_end() {
    let bench = bench();
    bench.call(&operator("ann"), ACQUIRE_LOCK, acquire("ledger", 3_600, 0)).await.unwrap();
    let began = Instant::now();
    bench
        .check_as(
            &operator("bob"),
            "acquire_lock",
            json!({ "name": "ledger", "wait_seconds": 40 }),
            expect!["conflict: lock `ledger` is held by `ann` (wait for it, or let its holder release it)"],
        )
        .await;
    assert_eq!(began.elapsed().as_secs(), 40);
    bench
        .check(
            "acquire_lock",
            json!({ "name": "x", "ttl_seconds": 0 }),
            expect!["invalid_argument: ttl_seconds is 0 (1 to 86,400)"],
        )
        .await;
    bench
        .check(
            "acquire_lock",
            json!({ "name": "x", "ttl_seconds": 86401 }),
            expect!["invalid_argument: ttl_seconds is 86401 (1 to 86,400)"],
        )
        .await;
    bench
        .check(
            "acquire_lock",
            json!({ "name": "x", "wait_seconds": 301 }),
            expect!["invalid_argument: wait_seconds is 301 (at most 300)"],
        )
        .await;
}

fn campaign(seconds: u64, wait_seconds: u64) -> CampaignRequest {
    CampaignRequest { election: "arbiter".into(), ttl_seconds: seconds, wait_seconds, candidate: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn candidates_at_once_lead_one_at_a_time() {
    let bench = Arc::new(bench());
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let mut candidates = JoinSet::new();
    for candidate in 0..6 {
        let (bench, tokens) = (Arc::clone(&bench), Arc::clone(&tokens));
        candidates.spawn(async move {
            let caller = operator(&format!("candidate-{candidate}"));
            let lead = bench.call(&caller, CAMPAIGN, campaign(60, 120)).await.unwrap();
            let seen = bench.call(&caller, LEADER, LeaderRequest { election: "arbiter".into() }).await.unwrap();
            assert_eq!(seen.lead.as_ref(), Some(&lead));
            let stays = bench.call(&caller, CAMPAIGN, campaign(60, 0)).await.unwrap();
            assert_eq!((stays.token, &stays.leader), (lead.token, &caller.name));
            tokens.lock().push(lead.token);
            let request = ResignRequest { election: "arbiter".into(), token: lead.token };
            bench.call(&caller, RESIGN, request).await.unwrap();
        });
    }
    while let Some(ended) = candidates.join_next().await {
        ended.unwrap();
    }
    let tokens = tokens.lock();
    assert!(tokens.len() == 6 && tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[tokio::test]
async fn a_term_ends_and_nobody_deposes_but_an_administrator() {
    let bench = bench();
    let (ann, bob) = (operator("ann"), operator("bob"));
    bench.check("leader", json!({ "election": "arbiter" }), expect![[r#"{"lead":null}"#]]).await;
    let first = bench.call(&ann, CAMPAIGN, campaign(30, 0)).await.unwrap();
    bench
        .check_as(
            &bob,
            "campaign",
            json!({ "election": "arbiter" }),
            expect!["conflict: the lead of `arbiter` is held by `ann` (wait for it, or let its holder release it)"],
        )
        .await;
    bench.check_as(&bob, "resign", json!({ "election": "arbiter", "token": first.token }), expect!["permission_denied: the lead of `arbiter` is held by `ann`, not by `bob` (its holder gives it up, or an administrator)"]).await;
    bench.world.clock.advance_ms(30_000);
    bench.check_as(&ann, "resign", json!({ "election": "arbiter", "token": first.token }), expect!["conflict: the lead of `arbiter` is not held (it ended or was given up; acquire it again, with a new token)"]).await;
    let second = bench.call(&bob, CAMPAIGN, campaign(30, 0)).await.unwrap();
    assert!(second.token > first.token);
    bench
        .check_as(
            &admin(),
            "resign",
            json!({ "election": "arbiter", "token": second.token }),
            expect![[r#"{"name":"arbiter","owner":"bob","token":2}"#]],
        )
        .await;
    bench.check("leader", json!({ "election": "arbiter" }), expect![[r#"{"lead":null}"#]]).await;
}

fn barrier(parties: u32, wait_seconds: u64, party: u32) -> BarrierRequest {
    BarrierRequest { name: "start".into(), parties, wait_seconds, party: Some(format!("p{party}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parties_at_once_pass_together_generation_after_generation() {
    let bench = Arc::new(bench());
    let mut parties = JoinSet::new();
    for party in 0..5 {
        let bench = Arc::clone(&bench);
        parties.spawn(async move {
            let caller = operator("ann");
            let mut generations = Vec::new();
            for _ in 0..4 {
                let passed = bench.call(&caller, BARRIER, barrier(5, 120, party)).await.unwrap();
                assert!(passed.parties.is_empty() || passed.parties.len() == 5, "{passed:?}");
                generations.push(passed.generation);
            }
            generations
        });
    }
    while let Some(ended) = parties.join_next().await {
        assert_eq!(ended.unwrap(), [1, 2, 3, 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_barrier_that_is_not_reached_says_who_came() {
    let bench = Arc::new(bench());
    let other = Arc::clone(&bench);
    let waiting = spawned(async move { other.call(&operator("ann"), BARRIER, barrier(3, 20, 1)).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mismatch = json!({ "name": "start", "parties": 2 });
    bench
        .check_as(
            &operator("bob"),
            "barrier",
            mismatch,
            expect!["conflict: barrier `start` waits for 3 parties, not 2 (all parties say the same number)"],
        )
        .await;
    bench
        .check_as(
            &operator("bob"),
            "barrier",
            json!({ "name": "start", "parties": 3, "wait_seconds": 5 }),
            expect!["timeout: barrier `start`: 2 of 3 parties came in 5 s (come again, and wait longer if need be)"],
        )
        .await;
    let fault: Fault = waiting.await.unwrap().unwrap_err();
    expect!["timeout: barrier `start`: 1 of 3 parties came in 20 s (come again, and wait longer if need be)"]
        .assert_eq(&fault.to_string());
    expect![[r#"{"came":["ann/p1"],"parties":3}"#]].assert_eq(&fault.data.unwrap().to_string());
    bench
        .check(
            "barrier",
            json!({ "name": "start", "parties": 1 }),
            expect![[r#"{"name":"start","generation":1,"parties":["root"]}"#]],
        )
        .await;
    bench
        .check(
            "barrier",
            json!({ "name": "start", "parties": 0 }),
            expect!["invalid_argument: parties is 0 (1 to 1,000)"],
        )
        .await;
    bench
        .check(
            "barrier",
            json!({ "name": "start", "parties": 1001 }),
            expect!["invalid_argument: parties is 1001 (1 to 1,000)"],
        )
        .await;
    bench
        .check(
            "barrier",
            json!({ "name": "start", "parties": 2, "wait_seconds": 0 }),
            expect!["invalid_argument: wait_seconds is 0 (1 to 300)"],
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_party_that_comes_twice_counts_once_and_one_that_left_only_for_its_time() {
    let bench = Arc::new(bench());
    for _ in 0..2 {
        let other = Arc::clone(&bench);
        let left = spawned(async move { other.call(&operator("ann"), BARRIER, barrier(2, 20, 1)).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!left.is_finished());
        left.abort();
    }
    bench.world.clock.advance_ms(20_001);
    let fault = bench.call(&operator("ann"), BARRIER, barrier(2, 3, 2)).await.unwrap_err();
    expect!["timeout: barrier `start`: 1 of 2 parties came in 3 s (come again, and wait longer if need be)"]
        .assert_eq(&fault.to_string());
}
