//! Schedules on memory, in time that the tests move.

use kernel::clock::timestamp;
use kernel::fake::World;
use kernel::queue::{Filter, Task};
use serde_json::json;

use super::*;

fn schedules(world: &World) -> Schedules {
    Schedules::new(world.store.clone(), world.queue.clone(), world.clock.clone())
}

fn caller(name: &str) -> Caller {
    Caller::new(name, Role::Operator)
}

fn template() -> Template {
    serde_json::from_value(json!({ "queue": "agent", "task_type": "report", "payload": { "deep": true } })).unwrap()
}

fn ms(text: &str) -> UnixMs {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn cron(expression: &str, zone: &str) -> Spec {
    Spec::Cron { expression: expression.into(), zone: zone.into() }
}

fn every(seconds: u64) -> Spec {
    Spec::Every { seconds, from_ms: None }
}

async fn fired(world: &World) -> Vec<Task> {
    let mut tasks = world.queue.list(&Filter::default(), None, 500).await.unwrap();
    tasks.reverse();
    tasks
}

#[test]
fn the_times_after_a_time() {
    let after = |spec: &Spec, at: &str| spec.after(ms(at)).map(timestamp);
    for (spec, at, wanted) in [
        (cron("30 6 * * *", "UTC"), "2026-11-28T06:29:59.999Z", Some("2026-11-28T06:30:00.000Z")),
        (cron("30 6 * * *", "UTC"), "2026-11-28T06:30:00Z", Some("2026-11-29T06:30:00.000Z")),
        (cron("30 6 * * *", "Europe/Berlin"), "2026-11-28T05:00:00Z", Some("2026-11-28T05:30:00.000Z")),
        (cron("30 6 * * *", "Europe/Berlin"), "2026-07-01T00:00:00Z", Some("2026-07-01T04:30:00.000Z")),
        (cron("30 9 * * MON-FRI", "America/New_York"), "2026-11-28T00:00:00Z", Some("2026-11-30T14:30:00.000Z")),
        (cron("*/10 * * * * *", "UTC"), "2026-11-28T00:00:00.001Z", Some("2026-11-28T00:00:10.000Z")),
        (cron("0 0 29 2 *", "UTC"), "2026-11-28T00:00:00Z", Some("2028-02-29T00:00:00.000Z")),
        (cron("0 0 30 2 *", "UTC"), "2026-11-28T00:00:00Z", None),
        (Spec::Once { at_ms: ms("2026-12-01T00:00:00Z") }, "2026-11-28T00:00:00Z", Some("2026-12-01T00:00:00.000Z")),
        (Spec::Once { at_ms: ms("2026-12-01T00:00:00Z") }, "2026-12-01T00:00:00Z", None),
    ] {
        assert_eq!(after(&spec, at).as_deref(), wanted, "{spec:?} after {at}");
    }
    let spec = Spec::Every { seconds: 90, from_ms: Some(ms("2026-11-28T00:00:00Z")) };
    assert_eq!(after(&spec, "2026-11-28T00:01:30Z").as_deref(), Some("2026-11-28T00:03:00.000Z"));
    assert_eq!(after(&spec, "2026-01-01T00:00:00Z").as_deref(), Some("2026-11-28T00:00:00.000Z"));
}

#[tokio::test]
async fn it_fires_at_its_times_and_says_the_next() {
    let world = World::default();
    let schedules = schedules(&world);
    let start_ms = world.clock.now_ms();
    let made = schedules.put("report", every(600), Missed::Once, template(), &caller("ann")).await.unwrap();
    assert_eq!(made.upcoming(2), [start_ms + 600_000, start_ms + 1_200_000]);
    assert_eq!(schedules.fire().await.unwrap(), Some(start_ms + 600_000));
    assert_eq!(fired(&world).await, []);
    world.clock.advance_ms(600_000);
    for _ in 0..2 {
        assert_eq!(schedules.fire().await.unwrap(), Some(start_ms + 1_200_000));
    }
    let tasks = fired(&world).await;
    assert_eq!(
        (tasks.len(), tasks[0].caller.as_str(), &tasks[0].role, &tasks[0].payload),
        (1, "ann", &Role::Operator, &json!({ "deep": true }))
    );
    let now = schedules.get("report").await.unwrap();
    assert_eq!((now.fired, now.last_ms, now.next_ms), (1, Some(start_ms + 600_000), Some(start_ms + 1_200_000)));
    // Made anew it is another one: the same time fires again.
    let once = Spec::Once { at_ms: start_ms + 600_001 };
    schedules.put("report", once, Missed::Once, template(), &caller("bob")).await.unwrap();
    world.clock.advance_ms(1);
    assert_eq!(schedules.fire().await.unwrap(), None, "once is once");
    assert_eq!(fired(&world).await.len(), 2);
}

#[tokio::test]
async fn what_was_missed_is_skipped_or_made_up_for() {
    for (missed, minutes, wanted) in [
        (Missed::Skip, 10, vec![10]),
        (Missed::Once, 10, vec![10]),
        (Missed::All, 10, (1..=10).collect::<Vec<i64>>()),
        (Missed::All, 1_000, (901..=1_000).collect()),
    ] {
        let world = World::default();
        let schedules = schedules(&world);
        let start_ms = world.clock.now_ms();
        schedules.put("s", cron("* * * * *", "UTC"), missed, template(), &caller("ann")).await.unwrap();
        // From the first, which is now.
        schedules.fire().await.unwrap();
        world.clock.advance_ms(minutes * 60_000 + 5_000);
        assert_eq!(schedules.fire().await.unwrap(), Some(start_ms + (minutes + 1) * 60_000));
        let tasks = fired(&world).await;
        let due = |task: &Task| task.key.as_ref().unwrap().rsplit(':').next().unwrap().parse::<i64>().unwrap();
        let seen: Vec<i64> = tasks[1..].iter().map(|task| (due(task) - start_ms) / 60_000).collect();
        assert_eq!(seen, wanted, "{missed:?} after {minutes} minutes");
    }
    let world = World::default();
    let schedules = schedules(&world);
    schedules.put("s", every(3_600), Missed::Skip, template(), &caller("ann")).await.unwrap();
    world.clock.advance_ms(3_600_000 + LATE_MS);
    schedules.fire().await.unwrap();
    assert_eq!(fired(&world).await, [], "a minute late is missed");
    assert_eq!(schedules.get("s").await.unwrap().next_ms, Some(world.clock.now_ms() - LATE_MS + 3_600_000));
}

#[tokio::test]
async fn one_that_rests_does_not_fire_and_does_not_make_up_for_it() {
    let world = World::default();
    let schedules = schedules(&world);
    schedules.put("s", every(60), Missed::All, template(), &caller("ann")).await.unwrap();
    assert!(schedules.pause("s", true).await.unwrap().upcoming(3).is_empty());
    world.clock.advance_ms(600_000);
    assert_eq!(schedules.fire().await.unwrap(), None);
    let resumed = schedules.pause("s", false).await.unwrap();
    assert_eq!(resumed.next_ms, Some(world.clock.now_ms()));
    schedules.fire().await.unwrap();
    assert_eq!(fired(&world).await.len(), 1);
    schedules.delete("s").await.unwrap();
    for fault in
        [schedules.get("s").await.err(), schedules.delete("s").await.err(), schedules.pause("", true).await.err()]
    {
        assert_eq!(fault.unwrap().code, Code::NotFound);
    }
}

#[tokio::test]
async fn what_could_never_fire_is_refused() {
    let world = World::default();
    let schedules = schedules(&world);
    let past = Spec::Once { at_ms: world.clock.now_ms() - 1 };
    for (name, spec) in [
        ("", every(60)),
        ("s", every(0)),
        ("s", every(u64::MAX)),
        ("s", past),
        ("s", cron("61 * * * *", "UTC")),
        ("s", cron("* * * *", "UTC")),
        ("s", cron("", "UTC")),
        ("s", cron(&"1,".repeat(200), "UTC")),
        ("s", cron("* * * * *", "Mars/Olympus")),
        ("s", cron("0 0 30 2 *", "UTC")),
    ] {
        let refused = schedules.put(name, spec.clone(), Missed::Once, template(), &caller("ann")).await;
        assert_eq!(refused.map_err(|fault| fault.code), Err(Code::InvalidArgument), "{name} {spec:?}");
    }
    let bad = Template { priority: 10, ..template() };
    assert!(schedules.put("s", every(60), Missed::Once, bad, &caller("ann")).await.is_err());
    assert_eq!(schedules.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_full_queue_only_delays_it() {
    let mut world = World::default();
    world.queue = Arc::new(kernel::fake::MemoryQueue::new(world.clock.clone()).depth_max(0));
    let full = schedules(&world);
    full.put("s", every(60), Missed::Once, template(), &caller("ann")).await.unwrap();
    world.clock.advance_ms(60_000);
    full.fire().await.unwrap();
    assert_eq!(full.get("s").await.unwrap().fired, 0);
    world.queue = Arc::new(kernel::fake::MemoryQueue::new(world.clock.clone()));
    schedules(&world).fire().await.unwrap();
    assert_eq!(full.get("s").await.unwrap().fired, 1);
}
