use std::sync::Arc;
use std::time::Duration;

use kernel::chain::EndpointState;
use kernel::fake::World;
use kernel::{Code, OnEnd, Secret, Tasks};
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// How an endpoint made for a test behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Manner {
    /// Serves this chain; `eth_blockNumber` answers the endpoint's own number.
    Chain(u64),
    Hangs,
    Body(&'static str),
    Status(u16),
    /// An error to everything but `eth_chainId`.
    Error(i64, &'static str),
}

struct Fake {
    url: String,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start(tasks: &Tasks, number: u64, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v3/s3cretkey", listener.local_addr().unwrap());
        let (manner, asked) = (Arc::new(Mutex::new(manner)), Arc::<Mutex<Vec<String>>>::default());
        let fake = Self { url, manner: Arc::clone(&manner), asked: Arc::clone(&asked) };
        let spawner = tasks.clone();
        tasks.spawn("endpoint", OnEnd::Done, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = Self::answer(stream, number, Arc::clone(&manner), Arc::clone(&asked));
                spawner.spawn("endpoint's connection", OnEnd::Done, answer);
            }
        });
        fake
    }

    async fn answer(mut stream: TcpStream, number: u64, manner: Arc<Mutex<Manner>>, asked: Arc<Mutex<Vec<String>>>) {
        let mut buffer = Vec::new();
        loop {
            let Some(method) = next_method(&mut stream, &mut buffer).await else { return };
            asked.lock().push(method.clone());
            let manner = *manner.lock();
            let ok = |result: Value| (200, json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string());
            let (status, body) = match manner {
                Manner::Hangs => std::future::pending().await,
                Manner::Chain(id) if method == "eth_chainId" => ok(json!(format!("{id:#x}"))),
                Manner::Error(..) if method == "eth_chainId" => ok(json!("0x1")),
                Manner::Chain(_) => ok(json!(format!("{number:#x}"))),
                Manner::Body(body) => (200, body.to_owned()),
                Manner::Status(status) => (status, "no".to_owned()),
                Manner::Error(code, message) => (
                    200,
                    json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": code, "message": message } }).to_string(),
                ),
            };
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn set(&self, manner: Manner) {
        *self.manner.lock() = manner;
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }
}

/// Reads one request; returns the JSON-RPC method asked for.
async fn next_method(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            let length: usize = length.unwrap().parse().unwrap();
            if body.len() >= length {
                let request: Value = serde_json::from_str(&body[..length]).unwrap();
                buffer.drain(..head.len() + 4 + length);
                return Some(request["method"].as_str().unwrap().to_owned());
            }
        }
        let mut chunk = [0; 4_096];
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => buffer.extend(&chunk[..read]),
            _ => return None,
        }
    }
}

fn rpc(world: &World, urls: &[&str]) -> Rpc {
    rpc_for(world, urls, None)
}

fn rpc_for(world: &World, urls: &[&str], chain_id: Option<u64>) -> Rpc {
    let parts = Parts {
        urls: urls.iter().map(|url| Secret::new(*url)).collect(),
        chain_id,
        request_time: Duration::from_millis(200),
        door: open_door(),
        clock: world.clock.clone(),
        metrics: world.metrics.clone(),
    };
    Rpc::new(parts).unwrap()
}

/// A URL at which nobody listens.
fn dead() -> String {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/v3/s3cretkey", taken.local_addr().unwrap())
}

async fn number(rpc: &Rpc) -> Result<u64> {
    Ok(rpc.read::<U64>("eth_blockNumber", json!([])).await?.to())
}

fn states(rpc: &Rpc) -> Vec<EndpointState> {
    rpc.endpoints().into_iter().map(|endpoint| endpoint.state).collect()
}

#[tokio::test]
async fn whatever_ails_the_first_the_second_answers_and_the_first_is_left_alone() {
    for manner in [
        None,
        Some(Manner::Hangs),
        Some(Manner::Body("<html>502</html>")),
        Some(Manner::Body("")),
        Some(Manner::Body(r#"{"jsonrpc":"2.0","id":1}"#)),
        Some(Manner::Body(r#"{"jsonrpc":"2.0","id":1,"result":{"not":"a number"}}"#)),
        Some(Manner::Status(500)),
        Some(Manner::Status(429)),
        Some(Manner::Status(401)),
        Some(Manner::Error(429, "slow down, s3cretkey")),
    ] {
        let world = World::default();
        let good = Fake::start(&world.tasks, 7, Manner::Chain(1)).await;
        let bad = Fake::start(&world.tasks, 1, manner.unwrap_or(Manner::Hangs)).await;
        let first = if manner.is_some() { bad.url.clone() } else { dead() };
        let rpc = rpc(&world, &[&first, &good.url]);
        assert_eq!(number(&rpc).await.unwrap(), 7, "{manner:?}");
        assert_eq!(states(&rpc), [EndpointState::Down, EndpointState::Healthy], "{manner:?}");
        let tried = bad.asked();
        assert_eq!(number(&rpc).await.unwrap(), 7);
        assert_eq!(bad.asked(), tried, "{manner:?}: it is left alone");
        let said = format!("{:?}", rpc.endpoints());
        assert!(!said.contains("s3cretkey"), "{said}");
        world.tasks.stop_because("done");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_well_again_is_preferred_again() {
    let world = World::default();
    let (first, second) =
        (Fake::start(&world.tasks, 1, Manner::Status(503)).await, Fake::start(&world.tasks, 2, Manner::Chain(1)).await);
    let rpc = rpc(&world, &[&first.url, &second.url]);
    assert_eq!(number(&rpc).await.unwrap(), 2);
    first.set(Manner::Chain(1));
    rpc.probe().await;
    assert_eq!(number(&rpc).await.unwrap(), 2, "its time has not come");
    world.clock.advance_ms(1_000);
    rpc.probe().await;
    assert_eq!(number(&rpc).await.unwrap(), 1);
    assert_eq!(states(&rpc), [EndpointState::Healthy, EndpointState::Healthy]);
}

#[tokio::test]
async fn an_endpoint_of_another_chain_is_never_used() {
    let world = World::default();
    let (good, other) =
        (Fake::start(&world.tasks, 1, Manner::Chain(1)).await, Fake::start(&world.tasks, 2, Manner::Chain(5)).await);
    let rpc = rpc_for(&world, &[&other.url, &good.url], Some(1));
    assert_eq!(number(&rpc).await.unwrap(), 1);
    assert_eq!(states(&rpc), [EndpointState::WrongChain, EndpointState::Healthy]);
    good.set(Manner::Status(500));
    let fault = number(&rpc).await.unwrap_err();
    assert_eq!(fault.code, Code::Upstream, "{fault}");
    assert_eq!(other.asked.lock().as_slice(), ["eth_chainId"]);
    // It says otherwise: it is an endpoint again.
    other.set(Manner::Chain(1));
    world.clock.advance_ms(60_000);
    rpc.probe().await;
    assert_eq!(number(&rpc).await.unwrap(), 2);
}

#[tokio::test]
async fn one_that_comes_back_as_another_chain_is_found_out() {
    let world = World::default();
    let (first, second) =
        (Fake::start(&world.tasks, 1, Manner::Chain(1)).await, Fake::start(&world.tasks, 2, Manner::Chain(1)).await);
    let rpc = rpc(&world, &[&first.url, &second.url]);
    assert_eq!(number(&rpc).await.unwrap(), 1);
    first.set(Manner::Status(500));
    assert_eq!(number(&rpc).await.unwrap(), 2);
    first.set(Manner::Chain(99));
    world.clock.advance_ms(60_000);
    rpc.probe().await;
    assert_eq!(states(&rpc), [EndpointState::WrongChain, EndpointState::Healthy]);
    assert_eq!(number(&rpc).await.unwrap(), 2);
}

#[tokio::test]
async fn what_one_does_not_know_another_may_but_a_revert_is_final() {
    let world = World::default();
    let (first, second) =
        (Fake::start(&world.tasks, 1, Manner::Chain(1)).await, Fake::start(&world.tasks, 2, Manner::Chain(1)).await);
    let rpc = rpc(&world, &[&first.url, &second.url]);
    for (code, message, other_asked) in [
        (-32601, "the method debug_traceCall does not exist/is not available", true),
        (-32000, "header not found", true),
        (-32000, "missing trie node 12 (path )", true),
        (-32603, "internal error", true),
        (3, "execution reverted: no", false),
        (-32000, "out of gas", false),
        (-32602, "invalid argument 0", false),
    ] {
        first.set(Manner::Error(code, message));
        let answer = number(&rpc).await;
        assert_eq!(answer.is_ok(), other_asked, "{message}: {answer:?}");
        assert_eq!(states(&rpc), [EndpointState::Healthy; 2], "{message}: an answer is no illness");
    }
    second.set(Manner::Error(-32601, "method not found"));
    first.set(Manner::Error(-32601, "method not found"));
    assert_eq!(number(&rpc).await.unwrap_err().code, Code::Unsupported);
}

#[tokio::test]
async fn when_all_fail_each_is_named_and_what_changes_something_is_asked_once() {
    let world = World::default();
    let (first, second) = (
        Fake::start(&world.tasks, 1, Manner::Status(500)).await,
        Fake::start(&world.tasks, 2, Manner::Status(502)).await,
    );
    let rpc = rpc_for(&world, &[&first.url, &second.url], Some(1));
    let fault = number(&rpc).await.unwrap_err();
    assert!(
        fault.message.contains("all 2 endpoints failed")
            && fault.message.contains("500")
            && fault.message.contains("502"),
        "{fault}"
    );
    assert!(!fault.to_string().contains("s3cretkey"), "{fault}");
    let asked = (first.asked(), second.asked());
    assert!(rpc.once::<U64>("eth_sendRawTransaction", json!([])).await.is_err());
    assert_eq!((first.asked(), second.asked()), (asked.0 + 1, asked.1));
    let figures = world.metrics.render();
    assert!(figures.contains(r#"outcome="upstream""#) && !figures.contains("s3cretkey"), "{figures}");
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_cut_off() {
    let world = World::default();
    let huge: &'static str = Box::leak("9".repeat(kernel::limits::ANSWER_BYTES_MAX + 1).into_boxed_str());
    let fake = Fake::start(&world.tasks, 1, Manner::Body(huge)).await;
    let rpc = Rpc { request_time: Duration::from_secs(20), ..rpc_for(&world, &[&fake.url], Some(1)) };
    let fault = rpc.read::<U64>("eth_blockNumber", json!([])).await.unwrap_err();
    assert_eq!(fault.code, Code::TooLarge, "{fault}");
    assert_eq!(states(&rpc), [EndpointState::Healthy]);
}

proptest! {
    #[test]
    fn foreign_bodies_never_break_the_reader(body in any::<Vec<u8>>(), text in "\\PC{0,60}", code in any::<i64>()) {
        let _ = answer::parse::<U64>(&body, "h:1", "eth_call");
        let error = json!({ "error": { "code": code, "message": text, "data": text } }).to_string();
        prop_assert!(answer::parse::<Value>(error.as_bytes(), "h:1", "eth_call").is_err());
    }
}
