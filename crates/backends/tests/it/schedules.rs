//! Two replicas of the scheduler in time that is moved by hand: every time fires exactly once.

use std::collections::HashSet;

use flow::schedules::{Missed, Schedules, Spec, Template};
use kernel::queue::{Filter, LIST_MAX};
use kernel::store::Write;
use kernel::{Caller, Role};
use serde_json::json;

use crate::kit::{self, Kit};

/// How many schedules there are.
const SCHEDULES: usize = 20;

fn replicas(kit: &Kit) -> [Schedules; 2] {
    [
        Schedules::new(kit.store.clone(), kit.queue.clone(), kit.clock.clone()),
        Schedules::new(kit.other.store.clone(), kit.other.queue.clone(), kit.clock.clone()),
    ]
}

/// Fires `steps` times of each schedule, from two replicas at once; every so often one dies after it has submitted, before it moved on.
async fn fire(kit: Kit, steps: usize) {
    let [here, there] = replicas(&kit);
    for n in 0..SCHEDULES {
        let name = format!("s{n}");
        let template: Template = serde_json::from_value(json!({ "queue": name, "task_type": "t" })).unwrap();
        let spec = match n % 2 {
            0 => Spec::Every { seconds: 10, from_ms: None },
            _ => Spec::Cron { expression: "*/10 * * * * *".into(), zone: "Asia/Kathmandu".into() },
        };
        here.put(&name, spec, Missed::All, template, &Caller::new("ann", Role::Operator)).await.unwrap();
    }
    // What the cron expressions have at the very start.
    here.fire().await.unwrap();
    let began_ms = kit.clock.now_ms();
    for step in 1..=steps {
        kit.clock.advance_ms(10_000);
        // Both see that it is time.
        let before = kit.store.list("schedules", "", None, 1_000).await.unwrap();
        let (one, two) = tokio::join!(here.fire(), there.fire());
        assert_eq!(
            (one.unwrap(), two.unwrap()),
            (Some(kit.clock.now_ms() + 10_000), Some(kit.clock.now_ms() + 10_000))
        );
        if step % 50 == 0 {
            // One that had submitted and died leaves the schedules as they were.
            let back = before.into_iter().map(|entry| Write::put("schedules", &entry.key, entry.value));
            kit.other.store.commit(back.collect()).await.unwrap();
            there.fire().await.unwrap();
        }
    }
    for n in 0..SCHEDULES {
        let name = format!("s{n}");
        let due: Vec<i64> = due(&kit, &name).await.into_iter().filter(|due_ms| *due_ms > began_ms).collect();
        let unique: HashSet<i64> = due.iter().copied().collect();
        assert_eq!((due.len(), unique.len()), (steps, steps), "{name}");
        assert!((1..=steps as i64).all(|step| unique.contains(&(began_ms + step * 10_000))), "{name}");
    }
}

async fn due(kit: &Kit, queue: &str) -> Vec<i64> {
    let filter = Filter { queue: Some(queue.into()), ..Filter::default() };
    let (mut due, mut before) = (Vec::new(), None);
    while let page = kit.queue.list(&filter, before, LIST_MAX).await.unwrap()
        && !page.is_empty()
    {
        before = page.last().map(|task| task.id);
        due.extend(
            page.iter().map(|task| task.key.as_ref().unwrap().rsplit(':').next().unwrap().parse::<i64>().unwrap()),
        );
    }
    due
}

#[tokio::test]
async fn ten_thousand_times_fire_once_each() {
    fire(kit::memory().await, 10_000 / SCHEDULES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_fire_once_each_from_two_processes() {
    fire(kit::sqlite().await, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_fire_once_each_from_two_processes_on_postgres() {
    let Some(kit) = kit::postgres().await else { return };
    fire(kit, 50).await;
}
