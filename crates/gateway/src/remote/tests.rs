use std::collections::HashMap;

use expect_test::expect;
use kernel::fake::FakeFleet;
use kernel::health::{Check, Report, Status};
use kernel::{Role, Trace};
use mcp::Revision;
use mcp::client::local::LocalLink;
use mcp::service::Shared;
use mcp::toolbox::Router;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::gateway::{Gateway, Setup};
use crate::selector::Selector;
use crate::testing::{Bench, caller, shared, toy};
use kernel::fleet::Instance;
use mcp::Link;

/// What a copy does with calls; lists are always answered.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Answers,
    Silent,
    Hangs,
}

/// A copy: a toy of its own behind a link with moods.
struct FakeLink {
    inner: LocalLink,
    mood: Mutex<Mood>,
    calls: Mutex<Vec<String>>,
    /// Lets calls that wait go on.
    gate: Semaphore,
}

#[async_trait]
impl Link for FakeLink {
    fn identity(&self) -> Arc<Identity> {
        self.inner.identity()
    }

    fn revision(&self) -> Revision {
        Revision::CURRENT
    }

    async fn request(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError> {
        if request.method != "tools/call" {
            return self.inner.request(request, ctx).await;
        }
        self.calls.lock().push(request.params.raw.as_ref().unwrap().get().to_owned());
        let mood = *self.mood.lock();
        match mood {
            Mood::Silent => return Err(Fault::unavailable("connection refused").into()),
            Mood::Hangs => self.gate.acquire().await.unwrap().forget(),
            Mood::Answers => {}
        }
        self.inner.request(request, ctx).await
    }

    async fn notify(&self, notification: &Notification, ctx: &Ctx) -> Result<(), LinkError> {
        self.inner.notify(notification, ctx).await
    }

    async fn watch(&self, uri: &str, ctx: &Ctx) -> Result<Watch, LinkError> {
        self.inner.watch(uri, ctx).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes()
    }

    async fn ended(&self) -> Fault {
        self.inner.ended().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// Makes a toy for every instance it is asked to reach.
struct FakeReach {
    links: Arc<Mutex<HashMap<String, Arc<FakeLink>>>>,
    shared: Shared,
}

#[async_trait]
impl Reach for FakeReach {
    fn link(&self, instance: &Instance, _: &Tasks) -> Result<Arc<dyn Link>, Fault> {
        let inner = LocalLink::new(toy(0, self.shared.clone()));
        let (mood, calls, gate) = (Mutex::new(Mood::Answers), Mutex::default(), Semaphore::new(0));
        let link = Arc::new(FakeLink { inner, mood, calls, gate });
        self.links.lock().insert(instance.id.clone(), Arc::clone(&link));
        Ok(link)
    }

    async fn health(&self, instance: &Instance, _: &Tasks) -> Result<Report, Fault> {
        Ok(Report {
            status: Status::Healthy,
            service: instance.service.clone(),
            version: String::new(),
            uptime_seconds: 0,
            checks: vec![Check::healthy("toy", "plays")],
        })
    }
}

/// A gateway whose registry knows copies of `utilities` in other processes.
struct Several {
    bench: Bench,
    links: Arc<Mutex<HashMap<String, Arc<FakeLink>>>>,
}

impl Several {
    /// With copies of these ids.
    async fn new(ids: &[&str]) -> Self {
        let world = kernel::fake::World::default();
        let links: Arc<Mutex<HashMap<String, Arc<FakeLink>>>> = Arc::default();
        let reach = Arc::new(FakeReach { links: Arc::clone(&links), shared: shared(&world) });
        let setup = Setup {
            config: crate::Config::default(),
            ports: world.ports(),
            shared: shared(&world),
            mode: "test".into(),
            expected: Vec::new(),
            process: "here".into(),
            reach,
            settings: Vec::new(),
        };
        let several = Self { bench: Bench { gateway: Gateway::new(setup), world }, links };
        several.bench.add(1);
        several.registry(ids.iter().map(|id| instance(id)).collect());
        several.until(|names| names.contains(&"utilities__echo".to_owned())).await;
        several
    }

    fn registry(&self, instances: Vec<Instance>) {
        self.bench.gateway.set_instances(instances);
    }

    async fn until(&self, done: impl Fn(&[String]) -> bool) {
        while !done(&self.bench.tools(Selector::All, Role::Admin).await) {
            tokio::task::yield_now().await;
        }
    }

    fn mood(&self, id: &str, mood: Mood) {
        *self.link(id).mood.lock() = mood;
    }

    fn link(&self, id: &str) -> Arc<FakeLink> {
        Arc::clone(&self.links.lock()[id])
    }

    fn calls(&self, id: &str) -> usize {
        self.link(id).calls.lock().len()
    }

    async fn call(&self, name: &str, arguments: Value) -> Value {
        let params = json!({ "name": name, "arguments": arguments });
        self.bench.ask(Selector::All, Role::Operator, "tools/call", params).await.unwrap()
    }

    async fn events(&self) -> Vec<String> {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let events = self.bench.world.ports().bus.read("fleet", 0, 100).await.unwrap();
        events.into_iter().map(|event| event.kind).collect()
    }
}

fn instance(id: &str) -> Instance {
    let url = format!("http://{id}.test:4017");
    Instance { id: id.into(), process: "elsewhere".into(), ..FakeFleet::server("utilities", &url, 0) }
}

#[tokio::test]
async fn what_runs_elsewhere_answers_as_if_it_ran_here() {
    let (several, here) = (Several::new(&["a"]).await, Bench::empty());
    here.add(1);
    here.add(0);
    assert_eq!(several.bench.tools(Selector::All, Role::Viewer).await, here.tools(Selector::All, Role::Viewer).await);
    for (method, params) in [
        ("tools/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("prompts/list", json!({})),
        ("tools/call", json!({ "name": "utilities__echo", "arguments": { "text": "hi" } })),
        ("tools/call", json!({ "name": "utilities__echo", "arguments": { "text": 3 } })),
        ("tools/call", json!({ "name": "utilities__trust", "arguments": {} })),
        ("resources/read", json!({ "uri": "utilities+loose://x" })),
        ("resources/read", json!({ "uri": "docs://utilities" })),
        ("prompts/get", json!({ "name": "utilities__greet", "arguments": { "who": "bob" } })),
        ("prompts/get", json!({ "name": "utilities__greet", "arguments": {} })),
    ] {
        let far = several.bench.ask(Selector::All, Role::Operator, method, params.clone()).await;
        let near = here.ask(Selector::All, Role::Operator, method, params).await;
        assert_eq!(far.map_err(|error| error.to_string()), near.map_err(|error| error.to_string()), "{method}");
    }
    assert_eq!(several.bench.trail().await, here.trail().await);
}

#[tokio::test]
async fn the_least_loaded_copy_gets_the_call_and_equals_take_turns() {
    let several = Several::new(&["a", "b"]).await;
    for _ in 0..4 {
        several.call("utilities__echo", json!({ "text": "x" })).await;
    }
    assert_eq!((several.calls("a"), several.calls("b")), (2, 2));
    several.mood("a", Mood::Hangs);
    let gateway = Arc::clone(&several.bench.gateway);
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            let arguments = mcp::wire::raw(&json!({ "text": "x" }));
            let ctx = Ctx::internal(caller(Role::Viewer), Trace::root());
            kernel::Tasks::new().spawn("call", kernel::OnEnd::Done, async move {
                gateway.call("utilities", "echo", arguments, ctx).await.unwrap();
            })
        })
        .collect();
    while several.calls("a") < 3 {
        tokio::task::yield_now().await;
    }
    let before = several.calls("b");
    for _ in 0..4 {
        several.call("utilities__echo", json!({ "text": "x" })).await;
    }
    assert_eq!(several.calls("b") - before, 4, "the busy copy is left alone");
    several.link("a").gate.add_permits(2);
    for call in hanging {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn only_what_may_be_done_twice_is_tried_elsewhere() {
    let several = Several::new(&["a", "b"]).await;
    several.mood("a", Mood::Silent);
    for _ in 0..4 {
        let answer = several.call("utilities__echo", json!({ "text": "x" })).await;
        assert_eq!(answer["structuredContent"]["text"], "x");
    }
    let mut codes = Vec::new();
    for _ in 0..2 {
        let answer = several.call("utilities__reset", json!({})).await;
        codes.push(answer["_meta"]["flotilla/error"]["code"].to_string());
    }
    codes.sort();
    assert_eq!(codes, ["\"unavailable\"", "null"], "one met the silent copy and was not repeated");
    assert_eq!(several.bench.trail().await.iter().filter(|row| row.contains("reset")).count(), 2, "both left a row");
}

#[tokio::test]
async fn a_breaker_opens_lets_one_through_and_closes() {
    let several = Several::new(&["a"]).await;
    several.mood("a", Mood::Silent);
    for _ in 0..8 {
        several.call("utilities__reset", json!({})).await;
    }
    assert_eq!(several.calls("a"), 5, "then nobody knocks any more");
    let refused = several.call("utilities__echo", json!({ "text": "x" })).await;
    expect!["unavailable: none of the 1 copies of utilities answers now (it is tried again by itself; service_status of utilities says more)"]
        .assert_eq(refused["content"][0]["text"].as_str().unwrap());
    assert_eq!(refused["_meta"]["flotilla/error"]["data"]["phase"], "route");
    let gauge = |several: &Several| {
        several.bench.world.metrics.render().contains(r#"breaker{target="utilities@a.test:4017"} 1.0"#)
    };
    assert!(gauge(&several), "{}", several.bench.world.metrics.render());
    several.bench.world.clock.advance_ms(1_000);
    several.call("utilities__reset", json!({})).await;
    assert_eq!(several.calls("a"), 6, "one probe");
    several.mood("a", Mood::Answers);
    several.bench.world.clock.advance_ms(1_000);
    several.call("utilities__reset", json!({})).await;
    assert_eq!(several.calls("a"), 6, "twice as long after a probe that failed");
    several.bench.world.clock.advance_ms(1_000);
    several.call("utilities__reset", json!({})).await;
    several.call("utilities__reset", json!({})).await;
    assert_eq!(several.calls("a"), 8);
    assert!(!gauge(&several));
    let events = several.events().await;
    assert_eq!(
        events.iter().filter(|kind| kind.starts_with("breaker")).collect::<Vec<_>>(),
        ["breaker.opened", "breaker.opened", "breaker.closed"]
    );
}

#[tokio::test]
async fn a_breaker_is_closed_by_whoever_asks_for_it() {
    let several = Several::new(&["a"]).await;
    several.bench.gateway.hear_resets();
    several.mood("a", Mood::Silent);
    for _ in 0..8 {
        several.call("utilities__reset", json!({})).await;
    }
    assert_eq!(several.calls("a"), 5, "then nobody knocks any more");
    several.mood("a", Mood::Answers);
    let bus = several.bench.world.ports().bus;
    // Only what is asked for from now on is heard: asked for again until it is.
    for wish in 1..10_000 {
        let event = kernel::bus::NewEvent {
            topic: kernel::fleet::CONTROL_TOPIC.into(),
            kind: kernel::breaker::RESET.into(),
            source: "test".into(),
            trace_id: None,
            data: json!({ "service": "utilities", "instance": "a" }),
        };
        bus.publish(event).await.unwrap();
        tokio::task::yield_now().await;
        if several.bench.world.metrics.render().contains(r#"breaker{target="utilities@a.test:4017"} 0.0"#) {
            break;
        }
        assert!(wish < 9_999, "not heard");
    }
    several.call("utilities__reset", json!({})).await;
    assert_eq!(several.calls("a"), 6, "let through at once, with no time gone by");
}

#[tokio::test]
async fn a_dead_server_hurts_no_other() {
    let several = Several::new(&["a"]).await;
    several.mood("a", Mood::Silent);
    several.call("utilities__echo", json!({ "text": "x" })).await;
    let answer = several.call("logging__echo", json!({ "text": "x" })).await;
    assert_eq!(answer["structuredContent"]["from"], "logging");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_hangs_is_given_up_after_the_tools_own_time() {
    let several = Several::new(&["a"]).await;
    several.mood("a", Mood::Hangs);
    let began = tokio::time::Instant::now();
    let answer = several.call("utilities__echo", json!({ "text": "x" })).await;
    assert_eq!(answer["_meta"]["flotilla/error"]["code"], "timeout");
    assert_eq!(began.elapsed().as_secs(), kernel::limits::TOOL_TIME.as_secs() + 2);
}

#[tokio::test]
async fn who_runs_here_is_called_here_and_copies_elsewhere_take_over() {
    let several = Several::new(&["a"]).await;
    several.bench.add(0);
    several.call("utilities__echo", json!({ "text": "x" })).await;
    assert_eq!(several.calls("a"), 0);
    several.bench.gateway.remove_local("utilities");
    several.until(|names| names.contains(&"utilities__echo".to_owned())).await;
    several.call("utilities__echo", json!({ "text": "x" })).await;
    assert_eq!(several.calls("a"), 1);
    let mut degraded = instance("a");
    degraded.status = Status::Down;
    several.registry(vec![degraded]);
    let refused = several.call("utilities__echo", json!({ "text": "x" })).await;
    assert_eq!(refused["_meta"]["flotilla/error"]["code"], "unavailable", "a copy that is down is not called");
    several.registry(Vec::new());
    assert_eq!(several.bench.tools(Selector::All, Role::Viewer).await, ["logging__echo"]);
    let mut own = instance("b");
    own.process = "here".into();
    several.registry(vec![own]);
    assert_eq!(
        several.bench.tools(Selector::All, Role::Viewer).await,
        ["logging__echo"],
        "not over the network to itself"
    );
}

#[tokio::test]
async fn the_clients_bytes_arrive() {
    let several = Several::new(&["a"]).await;
    let raw = "{ \"_meta\":{\"x/y\":[1.50, 1e400]},\"arguments\" : {\"text\":\"\\u0068i\"},\"name\":\"utilities__echo\", \"later\":00}";
    let raw = raw.replace("00}", "0.0}");
    let params: Box<serde_json::value::RawValue> = serde_json::from_str(&raw).unwrap();
    let params = mcp::wire::Params::parse(Some(&params)).unwrap();
    let request = Request { id: mcp::wire::Id::Number(1), method: "tools/call".into(), params };
    let ctx = Ctx::internal(caller(Role::Viewer), Trace::root());
    several.bench.handler(Selector::All).handle(request, ctx).await.unwrap();
    assert_eq!(several.link("a").calls.lock()[0], raw.replace("utilities__echo", "echo"));
}

/// Both at the same time, as far as two threads can; the second so many turns later.
fn at_once(one: impl FnOnce() + Send, other: impl FnOnce(), turns: usize) {
    let (runtime, both) = (tokio::runtime::Handle::current(), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _in = runtime.enter();
            both.wait();
            one();
        });
        both.wait();
        (0..turns).for_each(|_| std::hint::spin_loop());
        other();
    });
}

#[tokio::test]
async fn a_server_that_comes_or_goes_while_the_registry_tells_of_copies_is_in_its_place() {
    let several = Several::new(&["a"]).await;
    let gateway = &several.bench.gateway;
    let place = || Arc::as_ptr(&gateway.part("utilities").unwrap()).cast::<()>();
    for turns in (0..4_000).step_by(10) {
        several.registry(Vec::new());
        let here = toy(0, shared(&several.bench.world));
        at_once(|| several.registry(vec![instance("a")]), || gateway.add_local(Arc::clone(&here)), turns);
        assert_eq!(place(), Arc::as_ptr(&here).cast(), "what runs here is called here");
        at_once(|| several.registry(vec![instance("a")]), || gateway.remove_local("utilities"), turns);
        assert_eq!(place(), Arc::as_ptr(&gateway.remotes.lock()["utilities"]).cast(), "the copy elsewhere takes over");
    }
}
