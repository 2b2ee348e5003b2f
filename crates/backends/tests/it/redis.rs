//! What only holds for Redis: it dies and comes back, stands still, refuses, and fleets on it do not meet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::redis::{Place, Redis};
use kernel::fanout::{self, Fanout, Signals};
use kernel::meters::{Buckets, Drawn, Meters, Rate, Shared};
use kernel::metrics::Metrics;
use kernel::reach::Reach;
use kernel::{Clock, Code, Tasks};

use crate::kit::soon;
use crate::real;

pub(crate) fn open(url: &str, fleet: &str) -> Redis {
    Redis::new(Place { url, password: None }, fleet).unwrap()
}

/// A process of a fleet: its meters, its signals, and how both ways stand.
struct Process {
    meters: Meters,
    signals: Signals,
    limits: Arc<Reach>,
    news: Arc<Reach>,
    tasks: Tasks,
}

fn process(url: &str, name: &str) -> Process {
    let (redis, metrics, tasks) = (Arc::new(open(url, "fleet")), Metrics::default(), Tasks::new());
    let limits = Reach::new("limits", redis.place(), "alone", &metrics);
    let shared = Shared { buckets: redis.clone(), reach: limits.clone() };
    shared.start(&tasks);
    let (news, signals) = (Reach::new("fanout", redis.place(), "alone", &metrics), Signals::default());
    fanout::start(redis, news.clone(), name, &signals, &tasks);
    Process { meters: Meters::new(Clock::system(), Some(shared)), signals, limits, news, tasks }
}

impl Process {
    /// Until both ways are open, or neither is.
    async fn until(&self, open: bool) {
        soon(async {
            while self.signals.bus.hears_others() != open
                || [&self.limits, &self.news].iter().any(|reach| reach.standing().is_ok() != open)
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// How many of so many calls at once are admitted, at a token in an hour.
    async fn admits(&self, calls: usize, name: &str, burst: u32) -> usize {
        let mut admitted = 0;
        for _ in 0..calls {
            let rate = Rate { per_second: 1.0 / 3_600.0, burst };
            admitted += usize::from(self.meters.take(name.to_owned(), rate).await.is_ok());
        }
        admitted
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_done_without_and_found_again() {
    let Some((mut server, url)) = real::redis() else { return };
    let (one, two) = (process(&url, "one"), process(&url, "two"));
    for round in 0..3 {
        one.until(true).await;
        two.until(true).await;
        let name = format!("together {round}");
        assert_eq!((one.admits(7, &name, 10).await, two.admits(7, &name, 10).await), (7, 3));
        // Who finds nothing by looking is woken by what the other tells.
        let woken = two.signals.bus.wait(|| async { Ok(0) });
        one.signals.bus.announce();
        soon(woken).await;
        server.kill();
        one.until(false).await;
        two.until(false).await;
        let fault = one.limits.standing().unwrap_err();
        assert!(fault.code == Code::Unavailable && fault.message.starts_with("Redis at /"), "{fault}");
        let (name, began) = (format!("alone {round}"), Instant::now());
        assert_eq!((one.admits(12, &name, 10).await, two.admits(12, &name, 10).await), (10, 10));
        assert!(began.elapsed() < Duration::from_secs(10), "nobody waits for what is known to be away");
        server.again();
    }
    one.until(true).await;
    for process in [one, two] {
        assert_eq!(process.tasks.drain(Duration::from_secs(5)).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_holds_nobody_up() {
    let Some((server, url)) = real::redis() else { return };
    let one = process(&url, "one");
    one.until(true).await;
    server.stand_still(true);
    let began = Instant::now();
    assert_eq!(one.admits(30, "a", 20).await, 20, "the process's own limit");
    assert!(began.elapsed() < Duration::from_secs(10));
    soon(async {
        while one.limits.standing().is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    server.stand_still(false);
    one.until(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_says_why_and_shows_no_secret() {
    let Some((_server, url)) = real::redis() else { return };
    let ask = async |command: &[&str]| {
        let client = ::redis::Client::open(&*url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut asked = ::redis::cmd(command[0]);
        asked.arg(&command[1..]);
        asked.query_async::<()>(&mut connection).await.unwrap();
    };
    ask(&["ACL", "SETUSER", "narrow", "on", ">open sesame", "~*", "&*", "+ping"]).await;
    ask(&["CONFIG", "SET", "requirepass", "open sesame"]).await;
    let login = |user: &str, password: &str| format!("{url}?user={user}&pass={password}");
    for (url, password, code, part) in [
        (url.clone(), None, Code::NotConfigured, "refuses the login"),
        (url.clone(), Some("hunter2"), Code::NotConfigured, "refuses the login"),
        (login("default", "hunter2"), Some("open sesame"), Code::NotConfigured, "refuses the login"),
        ("postgres://root:hunter2@localhost/x".into(), None, Code::InvalidArgument, "is not Redis'"),
        ("redis://root:hunter2@localhost:port/x".into(), None, Code::InvalidArgument, "REDIS_URL"),
        ("redis://root:hunter2@localhost:1/0".into(), None, Code::Unavailable, "Redis at localhost:1 cannot be"),
    ] {
        let fault = Place { url: &url, password }.look().await.unwrap_err();
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.message.contains(part) && fault.hint.is_some(), "{fault}");
        assert!(!fault.to_string().contains("hunter2") && !fault.to_string().contains("sesame"), "{fault}");
    }
    let place = Place { url: &url, password: Some("open sesame") };
    assert!(place.look().await.unwrap().starts_with("Redis at /"));
    Redis::new(place, "f").unwrap().tell("news").await.unwrap();
    let narrow = login("narrow", "open%20sesame");
    let narrow = Redis::new(Place { url: &narrow, password: None }, "f").unwrap();
    let fault = narrow.tell("news").await.unwrap_err();
    assert!(fault.code == Code::NotConfigured && fault.message.contains("refuses"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleets_on_one_server_do_not_meet_and_leave_nothing_behind() {
    let Some((_server, url)) = real::redis() else { return };
    let (one, two) = (open(&url, "one"), open(&url, "two"));
    let rate = Rate { per_second: 1_000.0, burst: 100 };
    assert_eq!(one.draw("a", rate, 100).await.unwrap(), Drawn::Tokens(100));
    assert_eq!(two.draw("a", rate, 100).await.unwrap(), Drawn::Tokens(100));
    let mut heard = two.listen().await.unwrap();
    one.tell("of one").await.unwrap();
    two.tell("of two").await.unwrap();
    assert_eq!(soon(futures_util::StreamExt::next(&mut heard)).await.unwrap(), "of two");
    let client = ::redis::Client::open(&*url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    soon(async {
        while ::redis::cmd("DBSIZE").query_async::<u64>(&mut connection).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
