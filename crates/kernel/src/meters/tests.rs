//! Meters of several processes over one set of buckets, in time that is moved by hand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::fake::MemoryBuckets;
use crate::metrics::Metrics;

const RATE: Rate = Rate { per_second: 10.0, burst: 20 };

/// Buckets that can be away, and count how often they were asked.
struct Flaky {
    buckets: MemoryBuckets,
    away: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait]
impl Buckets for Flaky {
    async fn draw(&self, name: &str, rate: Rate, most: u32) -> Result<Drawn> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err(Fault::unavailable("the buckets are away"));
        }
        self.buckets.draw(name, rate, most).await
    }

    async fn look(&self) -> Result<()> {
        if self.away.load(Ordering::Relaxed) { Err(Fault::unavailable("the buckets are away")) } else { Ok(()) }
    }
}

/// Two processes, their clock, and what they share.
fn two() -> (Meters, Meters, Clock, Arc<Flaky>) {
    let clock = Clock::manual(1_000_000);
    let flaky = Arc::new(Flaky {
        buckets: MemoryBuckets::new(clock.clone()),
        away: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
    });
    let process = || {
        let reach = Reach::new("limits", "fake", "each process keeps to the limits alone", &Metrics::default());
        Meters::new(clock.clone(), Some(Shared { buckets: flaky.clone(), reach }))
    };
    (process(), process(), clock.clone(), flaky)
}

/// How many of `calls` a process admits.
async fn admitted(meters: &Meters, calls: usize, rate: Rate) -> usize {
    let mut through = 0;
    for _ in 0..calls {
        through += usize::from(meters.take("a".into(), rate).await.is_ok());
    }
    through
}

#[tokio::test]
async fn processes_that_share_buckets_admit_together_what_one_may_alone() {
    let (one, two, clock, _) = two();
    assert_eq!((admitted(&one, 15, RATE).await, admitted(&two, 15, RATE).await), (15, 5));
    assert_eq!(two.take("a".into(), RATE).await, Err(100), "and it says when to come again");
    assert_eq!(two.take("b".into(), RATE).await, Ok(()), "names have buckets of their own");
    clock.advance_ms(500);
    assert_eq!((admitted(&two, 3, RATE).await, admitted(&one, 9, RATE).await), (3, 2), "five came back");
    let alone = Meters::new(clock.clone(), None);
    assert_eq!(admitted(&alone, 30, RATE).await, 20);
}

#[tokio::test]
async fn fast_buckets_are_drawn_from_in_slices_and_what_is_not_used_lapses() {
    let fast = Rate { per_second: 12_800.0, burst: 25_600 };
    let (one, two, clock, flaky) = two();
    assert_eq!(admitted(&one, 1_000, fast).await, 1_000);
    assert_eq!(flaky.asked.load(Ordering::Relaxed), 10, "a hundred at once");
    assert_eq!(admitted(&one, 1, fast).await, 1);
    assert_eq!(admitted(&two, 30_000, fast).await, 25_600 - 1_100, "the other holds 99 that it has not used");
    // What lapses is not used later, beside what came back.
    clock.advance_ms(2_000);
    let asked = flaky.asked.load(Ordering::Relaxed);
    assert_eq!(admitted(&one, 100, fast).await, 100);
    assert_eq!(flaky.asked.load(Ordering::Relaxed), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn without_the_buckets_each_process_keeps_to_the_limits_alone_until_they_are_back() {
    let (one, two, clock, flaky) = two();
    assert_eq!(admitted(&one, 5, RATE).await, 5);
    flaky.away.store(true, Ordering::Relaxed);
    let asked = flaky.asked.load(Ordering::Relaxed);
    assert_eq!((admitted(&one, 30, RATE).await, admitted(&two, 30, RATE).await), (15, 20), "its own bucket each");
    assert_eq!(flaky.asked.load(Ordering::Relaxed), asked + 2, "nobody waits for what is known to be away");
    flaky.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    clock.advance_ms(2_000);
    // All three buckets are full by now.
    assert_eq!((admitted(&one, 10, RATE).await, admitted(&two, 10, RATE).await), (10, 10));
    assert_eq!((admitted(&one, 10, RATE).await, admitted(&two, 10, RATE).await), (0, 0), "together again");
}

#[tokio::test]
async fn callers_who_come_together_draw_once() {
    let fast = Rate { per_second: 12_800.0, burst: 25_600 };
    let (one, _, _, flaky) = two();
    let calls = (0..100).map(|_| one.take("a".into(), fast));
    assert!(futures_util::future::join_all(calls).await.into_iter().all(|taken| taken.is_ok()));
    assert_eq!(flaky.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_hears_that_they_are_away_and_that_they_are_back() {
    let (one, _, _, flaky) = two();
    let (shared, tasks) = (one.shared.unwrap(), Tasks::new());
    shared.start(&tasks);
    for away in [true, false, true, false] {
        flaky.away.store(away, Ordering::Relaxed);
        while shared.reach.standing().is_err() != away {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    tasks.drain(Duration::from_secs(1)).await;
}
