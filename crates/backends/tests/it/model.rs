//! Any sequence of operations does to a store what it does to a simple model of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::Code;
use kernel::store::{Expect, LIST_MAX, Store, Write};
use proptest::prelude::*;

use crate::kit::{self, Kit};

/// The model: what is there, and since which revision.
#[derive(Default)]
struct Model {
    revision: u64,
    entries: BTreeMap<String, Held>,
}

struct Held {
    value: String,
    revision: u64,
    expires_ms: Option<i64>,
}

#[derive(Debug, Clone)]
enum Op {
    Commit(Vec<(String, Option<u8>, Guess, Option<u8>)>),
    Advance(u8),
    List(String, Option<String>, usize),
    Changes,
}

/// What a write expects; `Right` is what the model says.
#[derive(Debug, Clone, Copy)]
enum Guess {
    Any,
    Absent,
    Right,
    Wrong,
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a%", "a_", "ab", "b", "é", "éa", "\u{d7ff}", "\u{10ffff}"]).prop_map(str::to_owned)
}

fn op() -> impl Strategy<Value = Op> {
    let guess =
        prop_oneof![4 => Just(Guess::Any), 1 => Just(Guess::Absent), 2 => Just(Guess::Right), 1 => Just(Guess::Wrong)];
    let write = (key(), prop::option::weighted(0.7, any::<u8>()), guess, prop::option::weighted(0.3, 1u8..20));
    prop_oneof![
        6 => prop::collection::vec(write, 1..4).prop_map(Op::Commit),
        2 => (1u8..15).prop_map(Op::Advance),
        2 => (prop::option::of(key()), prop::option::of(key()), 0usize..5)
            .prop_map(|(prefix, after, limit)| Op::List(prefix.unwrap_or_default(), after, limit)),
        2 => Just(Op::Changes),
    ]
}

impl Model {
    fn expire(&mut self, now_ms: i64) {
        self.entries.retain(|_, held| held.expires_ms.is_none_or(|end| now_ms < end));
    }

    fn writes(&self, plan: &[(String, Option<u8>, Guess, Option<u8>)], now_ms: i64) -> Vec<Write> {
        let write = |(key, value, guess, ttl): &(String, Option<u8>, Guess, Option<u8>)| {
            let held = self.entries.get(key).map(|held| held.revision);
            let expect = match guess {
                Guess::Any => Expect::Any,
                Guess::Absent => Expect::Absent,
                Guess::Right => held.map_or(Expect::Absent, Expect::Revision),
                Guess::Wrong => Expect::Revision(held.unwrap_or(0) + 1_000),
            };
            Write {
                space: "s".into(),
                key: key.clone(),
                value: value.map(|value| value.to_string()),
                expect,
                expires_ms: ttl.map(|ttl| now_ms + i64::from(ttl)),
            }
        };
        plan.iter().map(write).collect()
    }

    /// What a commit should answer, done.
    fn commit(&mut self, writes: &[Write]) -> Result<(), Code> {
        let mut keys: Vec<&str> = writes.iter().map(|write| write.key.as_str()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Code::InvalidArgument);
        }
        let holds = |write: &Write| {
            let held = self.entries.get(&write.key).map(|held| held.revision);
            match write.expect {
                Expect::Any => true,
                Expect::Absent => held.is_none(),
                Expect::Revision(revision) => held == Some(revision),
            }
        };
        if writes.iter().all(holds) { Ok(()) } else { Err(Code::Conflict) }
    }

    fn apply(&mut self, writes: Vec<Write>, revision: u64) {
        self.revision = revision;
        for write in writes {
            let Write { key, value, expires_ms, .. } = write;
            match value {
                Some(value) => drop(self.entries.insert(key, Held { value, revision, expires_ms })),
                None => drop(self.entries.remove(&key)),
            }
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(String, String, u64)> {
        let fits = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let all = self.entries.iter().filter(|(key, _)| fits(key));
        all.map(|(key, held)| (key.clone(), held.value.clone(), held.revision)).take(limit).collect()
    }
}

/// A follower that learns of the store by its changes alone.
#[derive(Default)]
struct Follower {
    revision: u64,
    entries: BTreeMap<String, String>,
}

impl Follower {
    async fn catch_up(&mut self, store: &Arc<dyn Store>) {
        while let page = store.changes("s", "", self.revision, 2).await.unwrap()
            && !page.is_empty()
        {
            for change in page {
                assert!(change.revision >= self.revision);
                self.revision = change.revision;
                match change.value {
                    Some(value) => drop(self.entries.insert(change.key, value)),
                    None => drop(self.entries.remove(&change.key)),
                }
            }
        }
    }
}

async fn run(kit: &Kit, ops: Vec<Op>) {
    let (mut model, mut follower) = (Model::default(), Follower::default());
    for (index, op) in ops.into_iter().enumerate() {
        let store = if index % 3 == 0 { &kit.other.store } else { &kit.store };
        let now_ms = kit.clock.now_ms();
        model.expire(now_ms);
        match op {
            Op::Commit(plan) => {
                let writes = model.writes(&plan, now_ms);
                let done = store.commit(writes.clone()).await;
                assert_eq!(done.as_ref().map(|_| ()).map_err(|fault| fault.code), model.commit(&writes));
                if let Ok(revision) = done {
                    assert!(revision > model.revision);
                    model.apply(writes, revision);
                }
            }
            Op::Advance(ms) => kit.clock.advance_ms(i64::from(ms)),
            Op::List(prefix, after, limit) => {
                let entries = store.list("s", &prefix, after.as_deref(), limit).await.unwrap();
                let seen: Vec<_> = entries.into_iter().map(|entry| (entry.key, entry.value, entry.revision)).collect();
                assert_eq!(seen, model.list(&prefix, after.as_deref(), limit));
            }
            Op::Changes => {
                follower.catch_up(store).await;
                let held: BTreeMap<_, _> =
                    model.entries.iter().map(|(k, held)| (k.clone(), held.value.clone())).collect();
                assert_eq!(follower.entries, held);
            }
        }
    }
    let listed = kit.store.list("s", "", None, LIST_MAX).await.unwrap();
    model.expire(kit.clock.now_ms());
    assert_eq!(listed.len(), model.entries.len());
    for entry in listed {
        assert_eq!(kit.store.get("s", &entry.key).await.unwrap().as_ref(), Some(&entry));
    }
}

fn on_a_runtime<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn memory_does_what_the_model_does(ops in prop::collection::vec(op(), 1..40)) {
        on_a_runtime(async { run(&kit::memory().await, ops).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn sqlite_does_what_the_model_does(ops in prop::collection::vec(op(), 1..40)) {
        on_a_runtime(async { run(&kit::sqlite().await, ops).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn postgres_does_what_the_model_does(ops in prop::collection::vec(op(), 1..40)) {
        on_a_runtime(async {
            if let Some(kit) = kit::postgres().await {
                run(&kit, ops).await;
            }
        });
    }
}
