//! The door without a socket: requests in, responses out.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use expect_test::{Expect, expect};
use http_body_util::{BodyExt, Full};
use kernel::{Fault, Role};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::*;
use crate::ctx::Question;
use crate::{Change, Ctx, Identity, Reply, RpcError};

/// Has one tool: `say` progresses twice if told to, `ask` asks, `hang` waits until it is cancelled.
struct Shop {
    changes: broadcast::Sender<Change>,
    cancelled: Arc<AtomicBool>,
}

#[async_trait]
impl Handler for Shop {
    fn identity(&self) -> Arc<Identity> {
        let capabilities = json!({ "tools": { "listChanged": true }, "extensions": {} });
        let (name, title, version) = ("shop".into(), "Shop".into(), "1".into());
        Arc::new(Identity { name, title, version, instructions: None, capabilities })
    }

    async fn handle(&self, request: crate::wire::Request, ctx: Ctx) -> Result<Reply, RpcError> {
        let text = match request.params.name.as_deref() {
            Some("say") => {
                ctx.progress(1.0, None, None).await;
                "said".to_owned()
            }
            Some("later") => {
                ctx.progress(1.0, None, None).await;
                tokio::task::yield_now().await;
                ctx.progress(2.0, None, None).await;
                "said later".to_owned()
            }
            Some("ask") => ctx.ask("name", Question::form("who?", json!({}))).await?["content"]["name"].to_string(),
            Some("hang") => {
                ctx.progress(1.0, None, None).await;
                ctx.cancel.cancelled().await;
                self.cancelled.store(true, Ordering::SeqCst);
                return Err(Fault::cancelled("hang").into());
            }
            _ => return Err(RpcError::method_not_found(&request.method)),
        };
        Ok(Reply::complete(&json!({ "text": text })))
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

struct Bench {
    door: Arc<Door>,
    shop: Arc<Shop>,
    tasks: Tasks,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        let (clock, tasks) = (Clock::manual(1_000_000), Tasks::new());
        let auth = Arc::new(auth::Anonymous::on(Ipv4Addr::LOCALHOST.into(), Role::Operator).unwrap());
        let sealer = Sealer::new(&[3; 32], clock.clone());
        let door = Arc::new(Door::new(DoorConfig::new(auth, sealer, tasks.clone(), clock.clone())));
        let shop = Arc::new(Shop { changes: broadcast::channel(8).0, cancelled: Arc::default() });
        Self { door, shop, tasks, clock }
    }

    async fn send(&self, method: Method, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Body> {
        let mut request = Request::builder().method(method).uri("/mcp").header("host", "localhost:4000");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        self.door.serve(Arc::clone(&self.shop) as Arc<dyn Handler>, request, remote).await
    }

    async fn post(&self, headers: &[(&str, &str)], body: &Value) -> Response<Body> {
        let all = [&[("content-type", "application/json")], headers].concat();
        self.send(Method::POST, &all, body.to_string()).await
    }

    /// A tool call of the current revision.
    async fn call(&self, tool: &str) -> Response<Body> {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)];
        self.post(&headers, &modern("tools/call", json!({ "name": tool }))).await
    }

    async fn begin(&self, revision: &str) -> String {
        let params = json!({ "protocolVersion": revision, "capabilities": { "elicitation": {} }, "clientInfo": { "name": "t" } });
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        let response = self.post(&[], &hello).await;
        assert_eq!(response.status(), 200);
        response.headers()[SESSION_ID].to_str().unwrap().to_owned()
    }
}

fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": 5,
    });
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

fn older(id: i64, tool: &str) -> Value {
    let params = json!({ "name": tool, "_meta": { "progressToken": 5 } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

async fn whole(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn next(body: &mut Body) -> String {
    String::from_utf8(body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap()
}

async fn check(response: Response<Body>, expected: Expect) {
    let status = response.status();
    expected.assert_eq(&format!("{status} {}", whole(response).await));
}

#[tokio::test]
async fn an_answer_is_json_and_a_stream_only_when_something_came_first() {
    let bench = Bench::new();
    let response = bench
        .post(
            &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "server/discover")],
            &modern("server/discover", json!({})),
        )
        .await;
    assert_eq!(response.headers()["content-type"], "application/json");
    check(response, expect![[r#"200 OK {"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","ttlMs":300000,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"shop","title":"Shop","version":"1"}},"supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"capabilities":{"tools":{"listChanged":true},"extensions":{}}}}"#]]).await;
    for tool in ["say", "later"] {
        let response = bench.call(tool).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let text = whole(response).await;
        let first = text.lines().nth(1).unwrap();
        assert_eq!(
            first,
            r#"data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":1.0}}"#
        );
        assert!(text.trim_end().lines().last().unwrap().contains("said"), "{text}");
    }
}

#[tokio::test]
async fn headers_are_held_to_the_body() {
    let bench = Bench::new();
    let body = modern("tools/call", json!({ "name": "say" }));
    let version = ("mcp-protocol-version", "2026-07-28");
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "say"));
    for headers in [
        vec![method, name],
        vec![version, name],
        vec![version, method],
        vec![version, ("mcp-method", "TOOLS/CALL"), name],
        vec![version, method, ("mcp-name", "hang")],
        vec![version, method, ("mcp-name", "=?base64?c2F5")],
        vec![("mcp-protocol-version", "2025-11-25"), method, name],
    ] {
        let response = bench.post(&headers, &body).await;
        assert_eq!(response.status(), 400, "{headers:?}");
        assert!(whole(response).await.contains(r#""code":-32020"#), "{headers:?}");
    }
    assert_eq!(bench.post(&[version, method, ("mcp-name", "=?base64?c2F5?=")], &body).await.status(), 200);
    let bare = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {} });
    check(bench.post(&[version, method], &bare).await, expect![[r#"400 Bad Request {"jsonrpc":"2.0","error":{"code":-32602,"message":"params._meta must have \"io.modelcontextprotocol/protocolVersion\", a string"},"id":3}"#]]).await;
    check(bench.post(&[("mcp-protocol-version", "v9")], &bare).await, expect![[r#"400 Bad Request {"jsonrpc":"2.0","error":{"code":-32022,"message":"unsupported protocol version","data":{"supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"requested":"v9"}},"id":3}"#]]).await;
    check(
        bench.post(&[version, ("mcp-method", "ping")], &modern("ping", json!({}))).await,
        expect![[
            r#"404 Not Found {"jsonrpc":"2.0","error":{"code":-32601,"message":"method not found: ping"},"id":1}"#
        ]],
    )
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_back_in_the_current_revision_only() {
    let bench = Bench::new();
    let mut response = bench.call("hang").await;
    next(response.body_mut()).await;
    drop(response);
    while !bench.shop.cancelled.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }

    let bench = Bench::new();
    let session = bench.begin("2025-06-18").await;
    let session = ("mcp-session-id", session.as_str());
    let mut response = bench.post(&[session], &older(1, "hang")).await;
    next(response.body_mut()).await;
    drop(response);
    tokio::task::yield_now().await;
    assert!(!bench.shop.cancelled.load(Ordering::SeqCst));
    let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    assert_eq!(bench.post(&[session], &cancelled).await.status(), 202);
    while !bench.shop.cancelled.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_session_lasts_from_handshake_to_delete() {
    let bench = Bench::new();
    let session = bench.begin("2025-06-18").await;
    let headers = [("mcp-session-id", session.as_str())];
    let ping = json!({ "jsonrpc": "2.0", "id": "p", "method": "ping" });
    check(bench.post(&headers, &ping).await, expect![[r#"200 OK {"jsonrpc":"2.0","id":"p","result":{}}"#]]).await;
    check(bench.post(&[], &ping).await, expect![[r#"400 Bad Request {"jsonrpc":"2.0","error":{"code":-32600,"message":"no session: send `initialize` first and then its Mcp-Session-Id with every request, or make requests of revision 2026-07-28, which stand alone"},"id":"p"}"#]]).await;

    // Another process with the same key goes on with it.
    let replica = Bench::new();
    assert_eq!(replica.post(&headers, &ping).await.status(), 200);

    assert_eq!(bench.send(Method::DELETE, &headers, "").await.status(), 204);
    check(bench.post(&headers, &ping).await, expect![[r#"404 Not Found {"jsonrpc":"2.0","error":{"code":-32600,"message":"the session is unknown or over: send `initialize` again"},"id":"p"}"#]]).await;
    replica.clock.advance_ms(24 * 3_600_000 + 1);
    assert_eq!(replica.post(&headers, &ping).await.status(), 404, "memory goes when it is idle, and the id has lapsed");
}

#[tokio::test]
async fn a_question_travels_on_the_requests_own_stream() {
    let bench = Bench::new();
    let session = bench.begin("2025-06-18").await;
    let session = ("mcp-session-id", session.as_str());
    let mut response = bench.post(&[session], &older(1, "ask")).await;
    let question = next(response.body_mut()).await;
    let question: Value = serde_json::from_str(question.trim_end().rsplit_once("data: ").unwrap().1).unwrap();
    assert_eq!(question["method"], "elicitation/create");
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept", "content": { "name": "ann" } } });
    assert_eq!(bench.post(&[session], &answer).await.status(), 202);
    assert!(whole(response).await.contains(r#""text":"\"ann\"""#));
}

#[tokio::test]
async fn a_lost_stream_is_resumed_where_it_was() {
    let bench = Bench::new();
    let session = bench.begin("2025-11-25").await;
    let session = ("mcp-session-id", session.as_str());
    let mut response = bench.post(&[session], &older(1, "later")).await;
    let first = next(response.body_mut()).await;
    assert!(first.contains("retry: ") && first.ends_with("data:\n\n"), "{first}");
    let id = first.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    drop(response);
    let response = bench.send(Method::GET, &[session, ("last-event-id", &id)], "").await;
    let text = whole(response).await;
    assert_eq!(text.matches("notifications/progress").count(), 2, "{text}");
    assert!(text.contains("said later"), "{text}");
}

#[tokio::test]
async fn the_standing_stream_tells_of_changes_until_the_door_closes() {
    let bench = Bench::new();
    let session = bench.begin("2025-06-18").await;
    let mut standing = bench.send(Method::GET, &[("mcp-session-id", &session)], "").await;
    tokio::task::yield_now().await;
    bench.shop.changes.send(Change::Tools).unwrap();
    assert!(next(standing.body_mut()).await.contains("notifications/tools/list_changed"));
    bench.tasks.stop_because("test over");
    assert_eq!(whole(standing).await, "");
}

#[tokio::test]
async fn a_subscription_begins_with_what_is_heard_of_and_ends_in_good_order() {
    let bench = Bench::new();
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let listen = modern("subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }));
    let mut response = bench.post(&headers, &listen).await;
    assert!(next(response.body_mut()).await.contains("notifications/subscriptions/acknowledged"));
    bench.shop.changes.send(Change::Tools).unwrap();
    assert!(next(response.body_mut()).await.contains(r#""io.modelcontextprotocol/subscriptionId":1"#));
    bench.tasks.stop_because("test over");
    let last = whole(response).await;
    assert!(last.contains(r#""resultType":"complete""#), "{last}");
}

#[tokio::test]
async fn batches_belong_to_the_revision_that_has_them() {
    let bench = Bench::new();
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "ping" },
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        { "jsonrpc": "2.0", "id": 2, "method": "nope" },
        { "id": 3 },
    ]);
    let session = bench.begin("2025-03-26").await;
    check(bench.post(&[("mcp-session-id", &session)], &batch).await, expect![[r#"200 OK [{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","error":{"code":-32601,"message":"method not found: nope"},"id":2},{"jsonrpc":"2.0","error":{"code":-32600,"message":"jsonrpc must be \"2.0\""},"id":3}]"#]]).await;
    let session = bench.begin("2025-06-18").await;
    check(bench.post(&[("mcp-session-id", &session)], &batch).await, expect![[r#"400 Bad Request {"jsonrpc":"2.0","error":{"code":-32600,"message":"revision 2025-06-18 has no batches: send one message at a time"}}"#]]).await;
}

#[tokio::test]
async fn says_what_is_wrong_before_the_protocol() {
    let bench = Bench::new();
    check(bench.send(Method::PUT, &[], "").await, expect![[r#"405 Method Not Allowed {"type":"urn:flotilla:error:invalid_argument","title":"invalid argument","status":405,"detail":"this endpoint takes POST, GET and DELETE","code":"invalid_argument"}"#]]).await;
    check(bench.send(Method::POST, &[("content-type", "text/plain")], "{}").await, expect![[r#"415 Unsupported Media Type {"type":"urn:flotilla:error:invalid_argument","title":"invalid argument","status":415,"detail":"the body's content type is `text/plain`","code":"invalid_argument","hint":"send application/json"}"#]]).await;
    let only_html = [("content-type", "application/json"), ("accept", "text/html")];
    assert_eq!(bench.send(Method::POST, &only_html, "{}").await.status(), 406);
    assert_eq!(
        bench.send(Method::POST, &[("content-type", "application/json")], vec![b' '; 5 << 20]).await.status(),
        413
    );
    let evil = [("content-type", "application/json"), ("origin", "http://evil.example")];
    assert_eq!(bench.send(Method::POST, &evil, "{}").await.status(), 403);
    let page = bench.send(Method::OPTIONS, &[("origin", "http://localhost:6274")], "").await;
    assert_eq!(
        (page.status().as_u16(), &page.headers()["access-control-allow-origin"]),
        (204, &"http://localhost:6274".parse().unwrap())
    );
}

#[tokio::test]
async fn the_oldest_transport_answers_on_its_stream() {
    let bench = Bench::new();
    let door = super::sse2024::SseDoor::new(bench.door.config.clone());
    let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let send = |request: http::request::Builder, body: String| {
        let request = request.header("host", "localhost").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        door.serve(Arc::clone(&bench.shop) as Arc<dyn Handler>, request, remote, "/messages")
    };
    let mut events = send(Request::get("/sse"), String::new()).await;
    let first = next(events.body_mut()).await;
    let messages = first.strip_prefix("event: endpoint\ndata: ").unwrap().trim().to_owned();
    assert!(messages.starts_with("/messages?sessionId="));
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": { "protocolVersion": "2024-11-05", "capabilities": {} } });
    assert_eq!(send(Request::post(&messages), hello.to_string()).await.status(), 202);
    assert!(next(events.body_mut()).await.contains(r#""protocolVersion":"2024-11-05""#));
    assert_eq!(send(Request::post(&messages), older(1, "later").to_string()).await.status(), 202);
    for expected in ["notifications/progress", "notifications/progress", "said later"] {
        assert!(next(events.body_mut()).await.contains(expected));
    }
    drop(events);
    assert_eq!(send(Request::post(&messages), hello.to_string()).await.status(), 404);
}
