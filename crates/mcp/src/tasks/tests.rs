//! Long calls of one small server, on a store of memory and on time moved by hand.

use async_trait::async_trait;
use kernel::audit::Record as Row;
use kernel::fake::MemoryStore;
use kernel::metrics::Metrics;
use kernel::{Access, Caller, Ports, Role, Trace};
use serde::{Deserialize, Serialize};

use super::*;
use crate::ctx::{Client, Question};
use crate::phases::{LimitsConfig, Phases, Trail};
use crate::reply::ResultType;
use crate::seal::Sealer;
use crate::service::{Service, Shared};
use crate::wire::{Id, Params};
use crate::{Features, Handler, Hints, McpServer, Tool, ToolSet};

struct Nowhere;

#[async_trait]
impl Trail for Nowhere {
    async fn record(&self, _row: Row) -> Result<(), Fault> {
        Ok(())
    }
}

struct Works;

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
struct Load {
    #[serde(default)]
    seconds: u64,
    #[serde(default)]
    ask: bool,
}

#[derive(Serialize, Deserialize, schemars::JsonSchema)]
struct Done {
    text: String,
}

const HINTS: Hints = Hints { access: Access::Read, ..Hints::OPERATE }.within(Duration::from_secs(600)).long();
const WORK: Tool<Load, Done> = Tool::new(Works::NAME, "work", "works, and asks in the middle if told to", HINTS);

impl McpServer for Works {
    const NAME: &'static str = "works";
    const INSTRUCTIONS: &'static str = "Works.";
    type Config = ();
    type Ports = kernel::Ports;

    fn new(_ports: &Ports, _config: ()) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(WORK, |_, job: Load, ctx| async move {
            tokio::time::sleep(Duration::from_secs(job.seconds)).await;
            ctx.progress(1.0, None, Some("half way")).await;
            if job.ask {
                let answer = ctx.ask("name", Question::form("who?", json!({}))).await?;
                return Ok(Done { text: answer["content"]["name"].to_string() });
            }
            tokio::time::sleep(Duration::from_secs(job.seconds)).await;
            Ok(Done { text: "done".into() })
        });
    }
}

impl Features for Works {}

struct Bench {
    service: Arc<Service>,
    store: Arc<MemoryStore>,
    clock: Clock,
    tasks: Tasks,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::manual(1_000);
        Self::on(Arc::new(MemoryStore::new(clock.clone())), clock)
    }

    fn on(store: Arc<MemoryStore>, clock: Clock) -> Self {
        let tasks = Tasks::new();
        let shared = Shared {
            phases: Phases::new(clock.clone(), Metrics::default(), Arc::new(Nowhere), LimitsConfig::default()),
            sealer: Sealer::new(&[1; 32], clock.clone()),
            clock: clock.clone(),
            version: "1",
            tasks: Some(TaskStore::new(store.clone(), clock.clone(), tasks.clone())),
        };
        Self { service: Service::of(Arc::new(Works), shared), store, clock, tasks }
    }

    async fn send(&self, caller: &str, extension: bool, method: &str, params: Value) -> Result<Reply, RpcError> {
        let mut ctx = Ctx::internal(Caller::new(caller, Role::Operator), Trace::root());
        let extensions = if extension { json!({ TASKS_EXTENSION: {} }) } else { json!({}) };
        let capabilities = json!({ "elicitation": {}, "extensions": extensions });
        ctx.client = Arc::new(Client { capabilities, info: json!({}) });
        let request = Request { id: Id::Number(1), method: method.into(), params: Params::of(&params).unwrap() };
        self.service.handle(request, ctx).await
    }

    async fn call(&self, arguments: Value) -> (ResultType, Value) {
        let reply =
            self.send("ann", true, "tools/call", json!({ "name": "work", "arguments": arguments })).await.unwrap();
        (reply.kind, serde_json::from_str(reply.body.get()).unwrap())
    }

    async fn begin(&self, arguments: Value) -> String {
        let (kind, body) = self.call(arguments).await;
        assert_eq!((kind, body["status"].as_str()), (ResultType::Task, Some("working")));
        body["taskId"].as_str().unwrap().to_owned()
    }

    async fn get(&self, id: &str) -> Value {
        let reply = self.send("ann", true, "tasks/get", json!({ "taskId": id })).await.unwrap();
        serde_json::from_str(reply.body.get()).unwrap()
    }

    /// Asks until the task stands so.
    async fn until(&self, id: &str, status: &str) -> Value {
        loop {
            let task = self.get(id).await;
            if task["status"] == status {
                return task;
            }
            assert!(matches!(task["status"].as_str(), Some("working" | "input_required")), "{task}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_call_is_answered_at_once_and_a_slow_one_by_a_task() {
    let bench = Bench::new();
    let (kind, body) = bench.call(json!({})).await;
    assert_eq!((kind, &body["structuredContent"]["text"]), (ResultType::Complete, &json!("done")));

    let id = bench.begin(json!({ "seconds": 5 })).await;
    let mut changes = bench.service.changes();
    assert_eq!(bench.get(&id).await["status"], "working", "in the store before the client hears of it");
    let task = bench.until(&id, "completed").await;
    assert_eq!(task["result"]["structuredContent"]["text"], "done");
    assert_eq!(task["statusMessage"], "half way");
    assert_eq!(task["createdAt"], "1970-01-01T00:00:01.000Z");
    let mut last = changes.recv().await.unwrap();
    while let Ok(next) = changes.try_recv() {
        last = next;
    }
    let Change::Task { id: of, owner, body } = last else { panic!("{last:?}") };
    assert_eq!((of, owner.as_str()), (id, "ann"));
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), task, "listeners get what askers get");
}

#[tokio::test(start_paused = true)]
async fn only_who_knows_the_extension_gets_tasks_and_only_its_owner_sees_one() {
    let bench = Bench::new();
    let call = json!({ "name": "work", "arguments": { "seconds": 5 } });
    assert_eq!(bench.send("ann", false, "tools/call", call).await.unwrap().kind, ResultType::Complete);
    let id = bench.begin(json!({ "seconds": 5 })).await;
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        let params = json!({ "taskId": id, "inputResponses": {} });
        assert_eq!(bench.send("ann", false, method, params.clone()).await.unwrap_err().code, -32021);
        assert_eq!(bench.send("bob", true, method, params).await.unwrap_err().code, -32602);
        let unknown = json!({ "taskId": "../lease/x", "inputResponses": {} });
        assert_eq!(bench.send("ann", true, method, unknown).await.unwrap_err().code, -32602);
    }
    assert_eq!(bench.send("ann", true, "tasks/list", json!({})).await.unwrap_err().code, -32601);
}

#[tokio::test(start_paused = true)]
async fn questions_go_the_ordinary_way_first_and_through_the_task_later() {
    let bench = Bench::new();
    let (kind, body) = bench.call(json!({ "ask": true })).await;
    assert_eq!(kind, ResultType::InputRequired);
    assert!(body["requestState"].is_string() && body["taskId"].is_null());

    let id = bench.begin(json!({ "seconds": 5, "ask": true })).await;
    let task = bench.until(&id, "input_required").await;
    assert_eq!(task["inputRequests"]["name"]["method"], "elicitation/create");
    let answers = json!({ "stranger": {}, "name": { "action": "accept", "content": { "name": "ann" } } });
    let update = json!({ "taskId": id, "inputResponses": answers });
    let reply = bench.send("ann", true, "tasks/update", update).await.unwrap();
    assert_eq!(reply.body.get(), "{}");
    assert_ne!(bench.get(&id).await["status"], "input_required");
    assert_eq!(bench.until(&id, "completed").await["result"]["structuredContent"]["text"], r#""ann""#);
}

#[tokio::test(start_paused = true)]
async fn another_process_can_take_a_task_back() {
    let bench = Bench::new();
    let other = Bench::on(bench.store.clone(), bench.clock.clone());
    let id = bench.begin(json!({ "seconds": 300 })).await;
    other.send("ann", true, "tasks/cancel", json!({ "taskId": id })).await.unwrap();
    other.until(&id, "cancelled").await;
    other.send("ann", true, "tasks/cancel", json!({ "taskId": id })).await.unwrap();
    assert_eq!(bench.get(&id).await["status"], "cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_process_died_reads_as_failed_and_stays_so() {
    let bench = Bench::new();
    let id = bench.begin(json!({ "seconds": 30 })).await;
    // Nobody renews the lease: real time stands still while the clock moves.
    bench.clock.advance_ms(LEASE_MS + 1);
    let task = bench.get(&id).await;
    assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!(-32603)));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(bench.get(&id).await, task, "a worker that comes back changes nothing");

    let id = bench.begin(json!({ "seconds": 30 })).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    bench.clock.advance_ms(LEASE_MS - 1);
    assert_eq!(bench.get(&id).await["status"], "working", "a worker that lives renews it");

    assert_eq!(bench.tasks.drain(Duration::from_secs(10)).await, 0);
    assert_eq!(bench.get(&id).await["error"]["message"], "the server stopped before the task ended");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_forgotten_in_the_end() {
    let bench = Bench::new();
    let id = bench.begin(json!({ "seconds": 5 })).await;
    let task = bench.until(&id, "completed").await;
    bench.clock.advance_ms(task["ttlMs"].as_i64().unwrap());
    let gone = bench.send("ann", true, "tasks/get", json!({ "taskId": id })).await.unwrap_err();
    assert_eq!(gone.code, -32602);
}
