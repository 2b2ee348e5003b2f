//! A worker on the queue of memory: what it does with what handlers do.

use kernel::fake::World;
use kernel::queue::{Filter, NewTask, State, TaskId};
use kernel::{Caller, Code, Fault, Role};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;

/// Does what the payload says.
struct Doer(Arc<Semaphore>);

#[async_trait::async_trait]
impl Handler for Doer {
    async fn run(&self, job: Job) -> Result<Done, Fault> {
        match job.task.payload["do"].as_str().unwrap() {
            "echo" => Ok(job.task.payload["say"].clone().into()),
            "follow" => Ok(Done { result: Value::Null, then: vec![task("echo")] }),
            "fail" => Err(Fault::upstream("no answer")),
            "refuse" => Err(Fault::invalid("no such pair")),
            "once" if job.task.attempts == 1 => Err(Fault::unavailable("not yet")),
            "panic" => panic!("out of luck"),
            "wait" => {
                job.progress(0.5, "half");
                job.cancelled.cancelled().await;
                Err(Fault::cancelled("stopped"))
            }
            "deaf" => std::future::pending().await,
            "gate" => {
                self.0.acquire().await.unwrap().forget();
                Ok(json!("through").into())
            }
            _ => Ok(Value::Null.into()),
        }
    }
}

fn task(what: &str) -> NewTask {
    NewTask {
        attempts_max: Some(2),
        ..NewTask::new("agent", "do", json!({ "do": what, "say": 7 }), &Caller::new("ann", Role::Operator))
    }
}

struct Bench {
    world: World,
    gate: Arc<Semaphore>,
    tasks: Tasks,
}

impl Bench {
    fn start(at_once: usize) -> Self {
        let bench = Self { world: World::default(), gate: Arc::new(Semaphore::new(0)), tasks: Tasks::new() };
        let policy = Policy { attempts_max: 2, backoff_first_ms: 10, backoff_max_ms: 10, running_max: 100 };
        let worker = Worker::new("agent", "w1").at_once(at_once).lease(Duration::from_secs(3)).takes(
            "do",
            policy,
            Duration::from_secs(60),
            Doer(Arc::clone(&bench.gate)),
        );
        let means = Means {
            queue: bench.world.queue.clone(),
            clock: bench.world.clock.clone(),
            metrics: bench.world.metrics.clone(),
            tasks: bench.tasks.clone(),
        };
        bench.tasks.spawn("worker", OnEnd::Done, async move { worker.run(means).await.unwrap() });
        bench
    }

    async fn submit(&self, what: &str) -> TaskId {
        self.world.queue.submit(vec![task(what)]).await.unwrap()[0].id
    }

    async fn until(&self, id: TaskId, wanted: impl Fn(&Task) -> bool) -> Task {
        loop {
            let task = self.world.queue.get(id).await.unwrap().unwrap();
            if wanted(&task) {
                return task;
            }
            tokio::time::advance(Duration::from_millis(5)).await;
            self.world.clock.advance_ms(5);
        }
    }

    async fn ended(&self, what: &str) -> Task {
        let id = self.submit(what).await;
        self.until(id, |task| task.state.is_ended()).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_handlers_do_becomes_of_tasks() {
    let bench = Bench::start(3);
    let failure = |task: Task| task.failure.map(|failure| (failure.code, failure.message)).unwrap();
    assert_eq!(bench.ended("echo").await.result, Some(json!(7)));
    let once = bench.ended("once").await;
    assert_eq!((once.state, once.attempts), (State::Done, 2));
    let failed = bench.ended("fail").await;
    assert_eq!((failed.state, failed.attempts), (State::Dead, 2));
    assert_eq!(failure(failed), (Code::Upstream, "no answer".into()));
    let refused = bench.ended("refuse").await;
    assert_eq!((refused.state, refused.attempts), (State::Dead, 1));
    let panicked = bench.ended("panic").await;
    assert_eq!((panicked.attempts, failure(panicked)), (2, (Code::Internal, "panicked: out of luck".into())));
    let late = bench.ended("deaf").await;
    assert_eq!((late.attempts, failure(late)), (2, (Code::Timeout, "not done within 60000 ms".into())));
    let parent = bench.ended("follow").await;
    let newest = bench.world.queue.list(&Filter::default(), None, 1).await.unwrap();
    assert_eq!(newest[0].parent, Some(parent.id));
    bench.until(newest[0].id, |task| task.state == State::Done).await;
    let text = bench.world.metrics.render();
    for line in [
        r#"agent_tasks_total{agent="agent",type="do",outcome="ok"} 4"#,
        r#"agent_tasks_total{agent="agent",type="do",outcome="internal"} 2"#,
        r#"agent_task_duration_seconds_count{agent="agent",type="do"} 12"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_reaches_the_handler_and_one_that_is_deaf_is_dropped() {
    let bench = Bench::start(3);
    for what in ["wait", "deaf"] {
        let id = bench.submit(what).await;
        bench.until(id, |task| task.state == State::Running).await;
        bench.world.queue.cancel(id).await.unwrap();
        let ended = bench.until(id, |task| task.state.is_ended()).await;
        assert_eq!((ended.state, ended.attempts), (State::Cancelled, 1), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_with_progress_as_long_as_it_takes() {
    let bench = Bench::start(3);
    let id = bench.submit("wait").await;
    let began_ms = bench.world.clock.now_ms();
    bench.until(id, |_| bench.world.clock.now_ms() > began_ms + 20_000).await;
    let task = bench.world.queue.get(id).await.unwrap().unwrap();
    assert_eq!((task.state, task.attempts, task.progress.unwrap().message.as_str()), (State::Running, 1, "half"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_taken_over_is_let_go() {
    let bench = Bench::start(1);
    let id = bench.submit("wait").await;
    bench.until(id, |task| task.state == State::Running).await;
    bench.world.clock.advance_ms(3_000);
    let claim =
        Claim { queue: "agent".into(), types: vec!["do".into()], limit: 1, lease_ms: 60_000, worker: "w2".into() };
    let taken = bench.world.queue.claim(&claim).await.unwrap().tasks.remove(0);
    assert_eq!((taken.id, taken.attempts), (id, 2));
    // The worker has a hand free again, and says nothing of what it lost.
    assert_eq!(bench.ended("echo").await.state, State::Done);
    let task = bench.world.queue.get(id).await.unwrap().unwrap();
    assert_eq!((task.state, task.worker.as_deref()), (State::Running, Some("w2")));
}

#[tokio::test(start_paused = true)]
async fn no_more_at_once_than_it_has_hands_and_each_in_order() {
    let bench = Bench::start(2);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(bench.submit("gate").await);
    }
    for id in ids {
        bench.until(id, |task| task.state == State::Running).await;
        let counts = bench.world.queue.counts().await.unwrap();
        assert!(counts[0].running <= 2);
        bench.gate.add_permits(1);
        bench.until(id, |task| task.state == State::Done).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_ends_what_it_can_and_gives_the_rest_back() {
    let bench = Bench::start(3);
    let (quick, polite, deaf) = (bench.submit("gate").await, bench.submit("wait").await, bench.submit("deaf").await);
    for id in [quick, polite, deaf] {
        bench.until(id, |task| task.state == State::Running).await;
    }
    bench.tasks.stopping().cancel();
    bench.gate.add_permits(1);
    assert_eq!(bench.tasks.drain(Duration::from_secs(30)).await, 0);
    let state =
        async |id| bench.world.queue.get(id).await.unwrap().map(|task| (task.state, task.attempts, task.attempts_max));
    assert_eq!(state(quick).await.unwrap().0, State::Done);
    assert_eq!(state(polite).await, Some((State::Queued, 1, 3)));
    assert_eq!(state(deaf).await, Some((State::Queued, 1, 3)));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_be_is_refused() {
    let world = World::default();
    let means = Means {
        queue: world.queue.clone(),
        clock: world.clock.clone(),
        metrics: world.metrics.clone(),
        tasks: Tasks::new(),
    };
    for worker in [
        Worker::new("agent", "w"),
        Worker::new("", "w").takes("do", Policy::default(), GRACE, Doer(Arc::new(Semaphore::new(0)))),
        Worker::new("agent", "w").lease(Duration::ZERO).takes(
            "do",
            Policy::default(),
            GRACE,
            Doer(Arc::new(Semaphore::new(0))),
        ),
    ] {
        assert_eq!(worker.run(means.clone()).await.unwrap_err().code, Code::InvalidArgument);
    }
}
