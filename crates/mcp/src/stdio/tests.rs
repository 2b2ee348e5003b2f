//! Both eras over one pair of streams in memory.

use async_trait::async_trait;
use kernel::Role;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, DuplexStream, ReadHalf, WriteHalf, split};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::*;
use crate::ctx::Question;
use crate::wire::Request;
use crate::{Change, Ctx, Identity, Reply};

struct Shop(broadcast::Sender<Change>);

#[async_trait]
impl Handler for Shop {
    fn identity(&self) -> Arc<Identity> {
        let (name, title, version) = ("shop".into(), "Shop".into(), "1".into());
        let capabilities = json!({ "tools": { "listChanged": true } });
        Arc::new(Identity { name, title, version, instructions: None, capabilities })
    }

    async fn handle(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        let text = match request.params.name.as_deref() {
            Some("ask") => ctx.ask("name", Question::form("who?", json!({}))).await?["content"]["name"].to_string(),
            Some("hang") => {
                ctx.cancel.cancelled().await;
                "cancelled".into()
            }
            _ => {
                ctx.progress(1.0, None, None).await;
                format!("{}\n", ctx.revision)
            }
        };
        Ok(Reply::complete(&json!({ "text": text })))
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }
}

struct Bench {
    to: WriteHalf<DuplexStream>,
    from: BufReader<ReadHalf<DuplexStream>>,
    changes: broadcast::Sender<Change>,
    tasks: Tasks,
    served: JoinHandle<()>,
}

impl Bench {
    fn new() -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (from, to) = split(ours);
        let (input, output) = split(theirs);
        let (tasks, changes) = (Tasks::new(), broadcast::channel(8).0);
        let (owner, shop) = (tasks.clone(), Arc::new(Shop(changes.clone())));
        let served = tasks.spawn("stdio", kernel::OnEnd::Done, async move {
            serve(shop, Caller::new("ann", Role::Viewer), &owner, input, output).await.unwrap();
        });
        Self { to, from: BufReader::new(from), changes, tasks, served }
    }

    async fn send(&mut self, message: Value) {
        self.to.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn shake_hands(&mut self, revision: &str) {
        let params = json!({ "protocolVersion": revision, "capabilities": { "elicitation": {} } });
        self.send(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })).await;
        assert_eq!(self.next().await["result"]["protocolVersion"], revision);
    }
}

fn call(id: i64, tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "_meta": { "progressToken": 1 } } })
}

fn alone(id: i64, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[tokio::test]
async fn both_eras_on_one_channel() {
    let mut bench = Bench::new();
    bench.send(alone(1, "server/discover", json!({}))).await;
    assert_eq!(bench.next().await["result"]["resultType"], "complete");
    bench.send(call(2, "say")).await;
    assert_eq!(bench.next().await["error"]["code"], -32600, "not before the handshake");
    bench.shake_hands("2025-06-18").await;
    bench.send(call(3, "say")).await;
    assert_eq!(bench.next().await["method"], "notifications/progress");
    assert_eq!(bench.next().await["result"]["text"], "2025-06-18\n");
    bench.send(alone(4, "tools/call", json!({ "name": "say" }))).await;
    assert_eq!(bench.next().await["result"]["text"], "2026-07-28\n");
    bench.send(alone(5, "ping", json!({}))).await;
    assert_eq!(bench.next().await["error"]["code"], -32601);
}

#[tokio::test]
async fn questions_changes_and_cancellations() {
    let mut bench = Bench::new();
    bench.shake_hands("2025-06-18").await;
    bench.send(call(1, "ask")).await;
    let question = bench.next().await;
    assert_eq!(question["method"], "elicitation/create");
    bench.send(json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "content": { "name": "bob" } } })).await;
    assert_eq!(bench.next().await["result"]["text"], "\"bob\"");
    bench.changes.send(Change::Tools).unwrap();
    assert_eq!(bench.next().await["method"], "notifications/tools/list_changed");
    for hang in [call(2, "hang"), alone(3, "tools/call", json!({ "name": "hang" }))] {
        let cancelled =
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": hang["id"] } });
        bench.send(hang).await;
        bench.send(cancelled).await;
    }
    bench.send(json!({ "jsonrpc": "2.0", "id": 4, "method": "ping" })).await;
    assert_eq!(bench.next().await["id"], 4, "what was taken back is not answered");
}

#[tokio::test]
async fn a_subscription_ends_with_the_door() {
    let mut bench = Bench::new();
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    bench.send(alone(1, "subscriptions/listen", filter)).await;
    assert_eq!(bench.next().await["method"], "notifications/subscriptions/acknowledged");
    bench.changes.send(Change::Tools).unwrap();
    assert_eq!(bench.next().await["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    bench.tasks.stop_because("test over");
    assert_eq!(bench.next().await["result"]["resultType"], "complete");
    assert_eq!(bench.next().await["params"]["requestId"], 1);
    bench.served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_answered_and_the_next_message_taken() {
    let mut bench = Bench::new();
    bench.to.write_all(b"{]\n\xff\n\n[1]\n").await.unwrap();
    bench.to.write_all(&vec![b' '; BODY_BYTES_MAX + 1]).await.unwrap();
    bench.to.write_all(b"\n").await.unwrap();
    for code in [-32700, -32700, -32600, -32600] {
        assert_eq!(bench.next().await["error"]["code"], code);
    }
    bench.shake_hands("2025-03-26").await;
    bench.send(json!([{ "jsonrpc": "2.0", "id": 1, "method": "ping" }, { "jsonrpc": "2.0", "method": "x" }])).await;
    assert_eq!(bench.next().await, json!([{ "jsonrpc": "2.0", "id": 1, "result": {} }]));
    bench.send(call(9, "hang")).await;
    bench.send(json!({ "jsonrpc": "2.0", "id": 10, "method": "ping" })).await;
    assert_eq!(bench.next().await["id"], 10);
    bench.to.shutdown().await.unwrap();
    bench.served.await.unwrap();
    let mut rest = String::new();
    bench.from.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "", "what hangs is cancelled once the client has closed its side");
}

#[tokio::test]
async fn lines_are_bounded_and_the_last_needs_no_end() {
    let mut input: &[u8] = b"one\ntoo long by far\n\nlast";
    let mut line = Vec::new();
    let mut seen = Vec::new();
    loop {
        line.clear();
        match read_line(&mut input, &mut line, 5).await.unwrap() {
            Line::Whole => seen.push(String::from_utf8(line.clone()).unwrap()),
            Line::TooLong => seen.push("-".into()),
            Line::End => break,
        }
    }
    assert_eq!(seen, ["one", "-", "", "last"]);
}
