//! The contract of buckets that processes share. Real servers have clocks of their own, so nothing here moves time: what must not have come
//! back would take an hour to, and what must is waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kernel::Clock;
use kernel::fake::MemoryBuckets;
use kernel::meters::{Buckets, Drawn, Rate};

use crate::kit::{on_memory_and_redis, soon};
use crate::real::Real;
use crate::redis::open;

/// The buckets as two processes see them.
struct Kit {
    here: Arc<dyn Buckets>,
    there: Arc<dyn Buckets>,
    _server: Option<Real>,
}

fn memory() -> Kit {
    let buckets = Arc::new(MemoryBuckets::new(Clock::system()));
    Kit { here: buckets.clone(), there: buckets, _server: None }
}

fn redis() -> Option<Kit> {
    let (server, url) = crate::real::redis()?;
    Some(Kit { here: Arc::new(open(&url, "fleet")), there: Arc::new(open(&url, "fleet")), _server: Some(server) })
}

on_memory_and_redis!(
    a_bucket_gives_what_it_has_and_says_when_there_is_more,
    nobody_is_given_what_another_has_taken,
    a_bucket_fills_no_faster_than_it_should_and_is_full_at_last,
);

/// A token in an hour.
const SLOW: f64 = 1.0 / 3_600.0;

async fn a_bucket_gives_what_it_has_and_says_when_there_is_more(kit: Kit) {
    let rate = Rate { per_second: SLOW, burst: 5 };
    assert_eq!(kit.here.draw("a", rate, 3).await.unwrap(), Drawn::Tokens(3));
    assert_eq!(kit.there.draw("a", rate, 3).await.unwrap(), Drawn::Tokens(2), "what there is");
    let Drawn::WaitMs(wait_ms) = kit.here.draw("a", rate, 1).await.unwrap() else { panic!("it is empty") };
    assert!((3_000_000..=3_600_000).contains(&wait_ms), "{wait_ms}");
    assert_eq!(kit.here.draw("b", rate, 9).await.unwrap(), Drawn::Tokens(5), "names have buckets of their own");
    assert_eq!(kit.here.draw("a\nb", rate, 1).await.unwrap(), Drawn::Tokens(1));
    let none = Rate { per_second: SLOW, burst: 0 };
    assert!(matches!(kit.here.draw("none", none, 1).await.unwrap(), Drawn::WaitMs(1..)), "it never holds any");
    kit.here.look().await.unwrap();
}

async fn nobody_is_given_what_another_has_taken(kit: Kit) {
    let rate = Rate { per_second: SLOW, burst: 1_000 };
    let draws = (0..60).map(|turn| {
        let buckets = if turn % 2 == 0 { &kit.here } else { &kit.there };
        async move { buckets.draw("a", rate, 23).await.unwrap() }
    });
    let mut drawn: Vec<u32> = Vec::new();
    for one in join_all(draws).await {
        drawn.extend(if let Drawn::Tokens(tokens) = one { Some(tokens) } else { None });
    }
    assert_eq!(drawn.iter().sum::<u32>(), 1_000);
    // 43 times 23 are 989, and what was left is given as well.
    assert_eq!(drawn.len(), 44);
}

async fn a_bucket_fills_no_faster_than_it_should_and_is_full_at_last(kit: Kit) {
    const BURST: u32 = 10;
    let rate = Rate { per_second: 100.0, burst: BURST };
    let began = Instant::now();
    let mut taken = 0;
    soon(async {
        while taken < BURST + 20 {
            match kit.here.draw("a", rate, 3).await.unwrap() {
                Drawn::Tokens(tokens) => taken += tokens,
                Drawn::WaitMs(wait_ms) => tokio::time::sleep(Duration::from_millis(wait_ms.min(10))).await,
            }
        }
    })
    .await;
    // Clocks are read in whole milliseconds, twice.
    assert!(began.elapsed() >= Duration::from_millis(200 - 2), "{:?}", began.elapsed());
    // Untouched for long it is full, and no more than that.
    let rate = Rate { per_second: 10_000.0, burst: BURST };
    assert_eq!(kit.here.draw("b", rate, BURST).await.unwrap(), Drawn::Tokens(BURST));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(kit.there.draw("b", rate, 100).await.unwrap(), Drawn::Tokens(BURST));
}
