//! What durable tasks cost: the embedded queue in a folder of its own, in this process, written as a fleet writes it (WAL, `normal`).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backends::sqlite;
use flow::worker::{Done, Handler, Job, Means, Worker};
use kernel::metrics::Metrics;
use kernel::queue::{CLAIM_MAX, Claim, Ending, Holding, NewTask, Outcome, Policy, Queue, SUBMIT_MAX, Task};
use kernel::{Caller, Clock, Fault, OnEnd, Role, Tasks};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::Fallible;
use crate::table::Table;

/// Tasks of each measurement that goes one by one.
const ONE_BY_ONE: usize = 3_000;
/// Tasks of each measurement in batches, and of each end to end.
const MANY: usize = 20_000;
/// Tasks of a batch.
const BATCH: usize = 20;
/// Rounds of which the best is told: whatever else a machine does only adds.
const ROUNDS: usize = 3;
/// Starts measured on an idle queue.
const STARTS: usize = 200;
/// Rows of the large table.
const ROWS: usize = 1_000_000;

/// Measures and tells.
pub(crate) async fn run() -> Fallible<String> {
    let mut table = Table::new(&["durable tasks, one file, WAL, synchronous normal", "measured", "target"]);
    let mut row = |what: String, measured: String, target: &str| table.row(vec![what, measured, target.into()]);
    let folder = tempfile::tempdir()?;
    let queue = open(folder.path()).await?;

    let mut times = Vec::with_capacity(ONE_BY_ONE);
    for n in 0..ONE_BY_ONE {
        let began = Instant::now();
        queue.submit(vec![task(n)]).await?;
        times.push(began.elapsed());
    }
    row("enqueue, p50".into(), ms(part(&mut times, 50)), "");
    row("enqueue, p99".into(), ms(part(&mut times, 99)), "");
    drain(&queue, 1, ONE_BY_ONE).await?;
    row("claim and complete, one by one".into(), best(&queue, 1, ONE_BY_ONE).await?, "> 7000/s");
    row(format!("claim and complete, in batches of {BATCH}"), best(&queue, BATCH, MANY).await?, "> 49000/s");
    for workers in [1, 8] {
        row(format!("end to end, workers: {workers}"), end_to_end(&queue, workers).await?, "");
    }
    let mut starts = starts(&queue).await?;
    row("enqueue to start on an idle queue, p50".into(), ms(part(&mut starts, 50)), "< 5 ms");
    row("enqueue to start on an idle queue, p99".into(), ms(part(&mut starts, 99)), "");

    let folder = tempfile::tempdir()?;
    let queue = open(folder.path()).await?;
    for rows in [10, ROWS] {
        let had = queue.counts().await?.iter().map(|of| of.done).sum::<u64>() as usize;
        fill(&queue, rows.saturating_sub(had)).await?;
        row(format!("cost of a task, submitted and done one by one, {rows} in the table"), cost(&queue).await?, "flat");
    }
    let other = crate::other_queue::run(ONE_BY_ONE, MANY, ROUNDS)?;
    let missing = || "huey is not installed and not measured: `pip install huey`\n".to_owned();
    Ok(format!("{}\n{}", table.text(), other.unwrap_or_else(missing)))
}

async fn open(folder: &Path) -> Fallible<Arc<dyn Queue>> {
    let config = sqlite::Config { queue_depth_max: 2 * ROWS as u64, ..sqlite::Config::default() };
    Ok(sqlite::open(&config, folder, Clock::system()).await?.queue)
}

fn task(n: usize) -> NewTask {
    NewTask::new(
        "bench",
        "count",
        json!({ "n": n, "why": "to see what it costs" }),
        &Caller::new("bench", Role::Operator),
    )
}

fn claim(limit: usize) -> Claim {
    Claim { queue: "bench".into(), types: vec!["count".into()], limit, lease_ms: 60_000, worker: "bench".into() }
}

async fn submit_many(queue: &Arc<dyn Queue>, count: usize) -> Fallible<()> {
    let all: Vec<NewTask> = (0..count).map(task).collect();
    for some in all.chunks(SUBMIT_MAX) {
        queue.submit(some.to_vec()).await?;
    }
    Ok(())
}

fn done(task: &Task) -> Ending {
    let outcome = Outcome::Done { result: json!({ "counted": true }), then: Vec::new() };
    Ending { holding: Holding { id: task.id, attempt: task.attempts }, outcome }
}

/// Claims and completes `count` tasks, `batch` at a time.
async fn drain(queue: &Arc<dyn Queue>, batch: usize, count: usize) -> Fallible<()> {
    let mut left = count;
    while left > 0 {
        let claimed = queue.claim(&claim(batch.min(left))).await?.tasks;
        if claimed.is_empty() {
            return Err("the queue is empty too early".into());
        }
        left -= claimed.len();
        for ended in queue.finish(claimed.iter().map(done).collect()).await? {
            ended?;
        }
    }
    Ok(())
}

async fn best(queue: &Arc<dyn Queue>, batch: usize, count: usize) -> Fallible<String> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        submit_many(queue, count).await?;
        let began = Instant::now();
        drain(queue, batch, count).await?;
        best = best.min(began.elapsed());
    }
    Ok(rate(count, best))
}

async fn fill(queue: &Arc<dyn Queue>, mut count: usize) -> Fallible<()> {
    while count > 0 {
        let some = count.min(10 * SUBMIT_MAX);
        submit_many(queue, some).await?;
        drain(queue, CLAIM_MAX, some).await?;
        count -= some;
    }
    Ok(())
}

/// The best of a few rounds of a thousand tasks, each submitted, claimed and completed by itself.
async fn cost(queue: &Arc<dyn Queue>) -> Fallible<String> {
    const COUNT: usize = 1_000;
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for n in 0..COUNT {
            queue.submit(vec![task(n)]).await?;
            drain(queue, 1, 1).await?;
        }
        best = best.min(began.elapsed());
    }
    Ok(format!("{:.0} µs", best.as_secs_f64() * 1e6 / COUNT as f64))
}

/// Says when it begins.
struct Tell(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl Handler for Tell {
    async fn run(&self, _job: Job) -> Result<Done, Fault> {
        // An error means that nobody counts any more.
        self.0.send(Instant::now()).ok();
        Ok(Value::Null.into())
    }
}

fn start(queue: &Arc<dyn Queue>, workers: usize, tasks: &Tasks) -> mpsc::UnboundedReceiver<Instant> {
    let (told, begins) = mpsc::unbounded_channel();
    for number in 0..workers {
        let worker = Worker::new("bench", format!("w{number}")).at_once(BATCH).takes(
            "count",
            Policy::default(),
            Duration::from_secs(60),
            Tell(told.clone()),
        );
        let means = Means {
            queue: Arc::clone(queue),
            clock: Clock::system(),
            metrics: Metrics::default(),
            tasks: tasks.clone(),
        };
        tasks.spawn("worker", OnEnd::Done, async move {
            if let Err(fault) = worker.run(means).await {
                crate::say(&format!("worker: {fault}"));
            }
        });
    }
    begins
}

/// From the first submission until the last task is done, both at once.
async fn end_to_end(queue: &Arc<dyn Queue>, workers: usize) -> Fallible<String> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let tasks = Tasks::new();
        let before: u64 = queue.counts().await?.iter().map(|of| of.done).sum();
        let mut begins = start(queue, workers, &tasks);
        let began = Instant::now();
        submit_many(queue, MANY).await?;
        for _ in 0..MANY {
            begins.recv().await.ok_or("the workers are gone")?;
        }
        while queue.counts().await?.iter().map(|of| of.done).sum::<u64>() < before + MANY as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        best = best.min(began.elapsed());
        tasks.drain(Duration::from_secs(10)).await;
    }
    Ok(rate(MANY, best))
}

async fn starts(queue: &Arc<dyn Queue>) -> Fallible<Vec<Duration>> {
    let tasks = Tasks::new();
    let mut begins = start(queue, 1, &tasks);
    let mut times = Vec::with_capacity(STARTS);
    for n in 0..STARTS {
        // Until it is idle again.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let submitted = Instant::now();
        queue.submit(vec![task(n)]).await?;
        let begun = begins.recv().await.ok_or("the worker is gone")?;
        times.push(begun.saturating_duration_since(submitted));
    }
    tasks.drain(Duration::from_secs(10)).await;
    Ok(times)
}

fn part(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn rate(count: usize, time: Duration) -> String {
    format!("{:.0}/s", count as f64 / time.as_secs_f64())
}
