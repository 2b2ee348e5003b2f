//! A server that speaks as Discord does: its gateway and its REST interface, on one port of this machine, with Discord's limits.
//!
//! It keeps all that it is asked and told. A message that Discord would refuse is refused and kept as such. A test speaks as people do
//! ([`Discord::say`], [`Discord::slash`], [`Discord::press`]), and makes trouble: connections cut, refusals, silence, nonsense.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use futures_util::{SinkExt, StreamExt};
use kernel::{OnEnd, Tasks};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_websockets::{CloseCode, Message, ServerBuilder};

use super::{LIMIT, wait_for};

/// The bot's token.
pub(crate) const TOKEN: &str = "MTIzNDU2.t0ps3cret";
/// The Discord server, its channel, and the bot's application.
pub(crate) const GUILD: &str = "3000";
pub(crate) const CHANNEL: &str = "4000";
const APPLICATION: &str = "1000";
/// The role of operators and that of those who look.
pub(crate) const OPS: &str = "7001";
pub(crate) const LOOKERS: &str = "7002";

/// A request to the REST interface.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// After `/api/v10`.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    /// Its JSON; of one with a file, that beside the file.
    pub(crate) body: Value,
    /// The file.
    pub(crate) file: Option<String>,
    /// What it was answered with.
    pub(crate) status: u16,
}

/// An answer in place of the usual one.
struct Instead {
    part: String,
    status: u16,
    headers: String,
    body: Value,
    left: usize,
}

enum Out {
    Text(String),
    Close(u16),
    Cut,
}

#[derive(Default)]
struct Inner {
    port: u16,
    requests: Vec<Request>,
    /// What came by the gateway, in order.
    told: Vec<Value>,
    links: Vec<UnboundedSender<Out>>,
    opened: usize,
    /// Events of the session, by their numbers, for who resumes.
    events: Vec<Value>,
    session: u64,
    instead: Vec<Instead>,
    deaf: bool,
    refuses_texts: bool,
    refuses_sessions: bool,
    beat_ms: u64,
}

/// The server. Its thread ends with the tests.
pub(crate) struct Discord {
    inner: Arc<Mutex<Inner>>,
    ids: AtomicU64,
}

impl Discord {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner { beat_ms: 5_000, ..Inner::default() }));
        let (serving, listener) = (Arc::clone(&inner), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        inner.lock().port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (tasks, listener) = (Tasks::new(), TcpListener::from_std(listener).unwrap());
                while let Ok((stream, _)) = listener.accept().await {
                    let inner = Arc::clone(&serving);
                    tasks.spawn("a client of Discord", OnEnd::Done, async move { serve(stream, inner).await });
                }
            });
        });
        Self { inner, ids: AtomicU64::new(1_300_000_000_000_000_000) }
    }

    /// What the bot is configured with, and who may do what; `more` are lines of its own table.
    pub(crate) fn config(&self, more: &str) -> String {
        format!(
            "[agents.discord]\napi = \"http://127.0.0.1:{}/api/v10\"\nguild = \"{GUILD}\"\n{more}\n\
             [agents.discord.roles]\n\"{OPS}\" = \"operator\"\n\"{LOOKERS}\" = \"viewer\"\n",
            self.inner.lock().port
        )
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    fn id(&self) -> String {
        self.ids.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Asks for a heartbeat this often, from the next connection on.
    pub(crate) fn beats_every_ms(&self, beat_ms: u64) {
        self.inner().beat_ms = beat_ms;
    }

    /// Answers no heartbeat, or does so again.
    pub(crate) fn deaf(&self, deaf: bool) {
        self.inner().deaf = deaf;
    }

    /// Gives no texts of messages.
    pub(crate) fn refuses_texts(&self) {
        self.inner().refuses_texts = true;
    }

    /// Knows no session that is resumed, or does again.
    pub(crate) fn refuses_sessions(&self, refuses: bool) {
        self.inner().refuses_sessions = refuses;
    }

    /// Answers the next `times` requests whose method and path have `part` in them with this.
    pub(crate) fn answers(&self, part: &str, times: usize, status: u16, headers: &str, body: Value) {
        let (part, headers) = (part.to_owned(), headers.to_owned());
        self.inner().instead.push(Instead { part, status, headers, body, left: times });
    }

    /// Answers everything as usual again.
    pub(crate) fn answers_as_usual(&self) {
        self.inner().instead.clear();
    }

    /// Its address, for headers that name it.
    pub(crate) fn port(&self) -> u16 {
        self.inner().port
    }

    fn out(&self, make: impl Fn() -> Out) {
        // A connection that has ended hears nothing more.
        self.inner().links.retain(|link| link.send(make()).is_ok());
    }

    /// Sends a text as it is.
    pub(crate) fn sends(&self, text: &str) {
        self.out(|| Out::Text(text.to_owned()));
    }

    /// Closes every connection with this code.
    pub(crate) fn closes(&self, code: u16) {
        self.out(|| Out::Close(code));
    }

    /// Cuts every connection without a word.
    pub(crate) fn cuts(&self) {
        self.out(|| Out::Cut);
    }

    fn event(&self, kind: &str, data: Value) {
        let text = {
            let mut inner = self.inner();
            let event = json!({ "op": 0, "t": kind, "s": inner.events.len() + 2, "d": data });
            inner.events.push(event.clone());
            event.to_string()
        };
        self.sends(&text);
    }

    /// Somebody writes a message. Returns its id.
    pub(crate) fn say(&self, user: &str, roles: &[&str], text: &str) -> String {
        let id = self.id();
        self.event(
            "MESSAGE_CREATE",
            json!({
                "id": id, "channel_id": CHANNEL, "guild_id": GUILD, "content": text, "author": { "id": user, "username": name(user) },
                "member": { "roles": roles }, "embeds": [], "attachments": [], "future_field": { "x": 1 },
            }),
        );
        id
    }

    fn interaction(&self, kind: u32, user: &str, roles: &[&str], data: Value) -> String {
        let (id, token) = (self.id(), format!("itok{}", self.id()));
        self.event(
            "INTERACTION_CREATE",
            json!({
                "id": id, "application_id": APPLICATION, "token": token, "type": kind, "version": 1, "guild_id": GUILD, "channel_id": CHANNEL,
                "member": { "user": { "id": user, "username": name(user) }, "roles": roles, "permissions": "0" }, "data": data,
            }),
        );
        token
    }

    /// Somebody uses a slash command. Returns the interaction's token.
    pub(crate) fn slash(&self, user: &str, roles: &[&str], command: &str, options: &[(&str, Value)]) -> String {
        let options: Vec<Value> = options.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.interaction(2, user, roles, json!({ "id": "9", "name": command, "type": 1, "options": options }))
    }

    /// Somebody presses a button. Returns the interaction's token.
    pub(crate) fn press(&self, user: &str, roles: &[&str], button: &str) -> String {
        self.interaction(3, user, roles, json!({ "custom_id": button, "component_type": 2 }))
    }

    /// Waits for a request.
    #[track_caller]
    pub(crate) fn asked(&self, what: &str, is: impl Fn(&Request) -> bool) -> Request {
        wait_for(what, LIMIT, || self.inner().requests.iter().find(|request| is(request)).cloned())
    }

    /// Waits for what was answered to a message: the newest form of it.
    #[track_caller]
    pub(crate) fn reply(&self, message: &str) -> Request {
        self.asked(&format!("an answer to {message}"), |request| {
            request.status == 200 && request.body["message_reference"]["message_id"] == *message
        })
    }

    /// Waits for what an interaction shows in the end.
    #[track_caller]
    pub(crate) fn shown(&self, token: &str) -> Request {
        self.asked(&format!("what {token} shows"), |request| {
            request.status == 200 && request.method == "PATCH" && request.path.contains(token)
        })
    }

    /// Waits for how an interaction is answered at first.
    #[track_caller]
    pub(crate) fn responded(&self, token: &str) -> Value {
        self.asked(&format!("an answer to {token}"), |request| {
            request.method == "POST" && request.path.contains(token) && request.path.ends_with("/callback")
        })
        .body
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.inner().requests.clone()
    }

    /// Waits until something was told by the gateway, so often.
    #[track_caller]
    pub(crate) fn told(&self, what: &str, op: u64, times: usize) -> Vec<Value> {
        wait_for(what, LIMIT, || {
            let told: Vec<Value> = self.inner().told.iter().filter(|told| told["op"] == op).cloned().collect();
            (told.len() >= times).then_some(told)
        })
    }

    /// How many connections there have been.
    pub(crate) fn opened(&self) -> usize {
        self.inner().opened
    }

    /// The messages that Discord would have refused.
    pub(crate) fn refused(&self) -> Vec<Request> {
        self.inner().requests.iter().filter(|request| request.status == 400).cloned().collect()
    }
}

fn name(user: &str) -> String {
    format!("user{user}")
}

async fn serve(mut stream: TcpStream, inner: Arc<Mutex<Inner>>) {
    let mut start = [0; 8];
    while stream.peek(&mut start).await.is_ok_and(|seen| (1..8).contains(&seen)) {
        tokio::task::yield_now().await;
    }
    if start.starts_with(b"GET /gw") {
        gateway(stream, inner).await;
    } else if let Some((head, body)) = request(&mut stream).await {
        let answer = rest(&head, &body, &inner);
        stream.write_all(answer.as_bytes()).await.ok();
    }
}

/// A request's head and body.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn rest(head: &str, body: &[u8], inner: &Mutex<Inner>) -> String {
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default());
    let path = path.trim_start_matches("/api/v10").to_owned();
    let text = String::from_utf8_lossy(body).into_owned();
    let (body, file) = match text.split_once("name=\"payload_json\"") {
        None => (serde_json::from_str(&text).unwrap_or(Value::Null), None),
        Some((_, parts)) => multipart(parts),
    };
    let mut inner = inner.lock();
    let about = format!("{method} {path}");
    let instead = inner.instead.iter_mut().find(|instead| instead.left > 0 && about.contains(&instead.part));
    let (status, headers, said) = match instead {
        Some(instead) => {
            instead.left -= 1;
            (instead.status, instead.headers.clone(), instead.body.clone())
        }
        None => usual(&about, &body, file.as_deref(), inner.port, inner.requests.len()),
    };
    inner.requests.push(Request { method, path, authorization: header(head, "authorization"), body, file, status });
    let said = if said.is_null() { String::new() } else { said.to_string() };
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{said}",
        said.len()
    )
}

/// The JSON and the file of a message that has one.
fn multipart(parts: &str) -> (Value, Option<String>) {
    let inside =
        |text: &str| text.split_once("\r\n\r\n").and_then(|(_, rest)| Some(rest.split_once("\r\n--")?.0.to_owned()));
    let json = inside(parts).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
    let file = parts.split_once("name=\"files[0]\"").and_then(|(_, rest)| inside(rest));
    (json, file)
}

/// What Discord answers when nothing is wrong; and what when a message is.
fn usual(about: &str, body: &Value, file: Option<&str>, port: u16, number: usize) -> (u16, String, Value) {
    if about.starts_with("GET /gateway/bot") {
        let start = json!({ "total": 1_000, "remaining": 999, "reset_after": 0, "max_concurrency": 1 });
        let said = json!({ "url": format!("ws://127.0.0.1:{port}/gw"), "shards": 1, "session_start_limit": start });
        return (200, String::new(), said);
    }
    let message = if body["data"].is_object() { &body["data"] } else { body };
    let callback = about.ends_with("/callback");
    if let Err(why) = taken(message, file, callback) {
        return (400, String::new(), json!({ "code": 50_035, "message": format!("Invalid Form Body: {why}") }));
    }
    if callback {
        return (204, String::new(), Value::Null);
    }
    let limits = "x-ratelimit-bucket: b\r\nx-ratelimit-remaining: 4\r\nx-ratelimit-reset-after: 0.1\r\n";
    (200, limits.to_owned(), json!({ "id": (9_000 + number).to_string(), "channel_id": CHANNEL }))
}

/// Whether Discord takes a message, by the limits that it documents.
fn taken(message: &Value, file: Option<&str>, may_be_empty: bool) -> Result<(), &'static str> {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.encode_utf16().count());
    if message.is_array() || message.is_null() {
        return Ok(());
    }
    if length(&message["content"]) > 2_000 {
        return Err("content");
    }
    let embeds: Vec<&Value> = message["embeds"].as_array().into_iter().flatten().collect();
    let mut all = 0;
    for embed in &embeds {
        let sizes = [(&embed["title"], 256), (&embed["description"], 4_096), (&embed["footer"]["text"], 2_048)];
        if sizes.iter().any(|(value, most)| length(value) > *most) {
            return Err("embed");
        }
        let fields: Vec<&Value> = embed["fields"].as_array().into_iter().flatten().collect();
        if fields.len() > 25
            || fields.iter().any(|field| length(&field["name"]) > 256 || length(&field["value"]) > 1_024)
        {
            return Err("fields");
        }
        all += sizes.iter().map(|(value, _)| length(value)).sum::<usize>();
        all += fields.iter().map(|field| length(&field["name"]) + length(&field["value"])).sum::<usize>();
    }
    let rows: Vec<&Value> = message["components"].as_array().into_iter().flatten().collect();
    let buttons = rows.iter().flat_map(|row| row["components"].as_array().into_iter().flatten());
    let names: Vec<&Value> = buttons.clone().map(|button| &button["custom_id"]).collect();
    let twice = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
    if all > 6_000 || embeds.len() > 10 || twice || names.iter().any(|name| !(1..=100).contains(&length(name))) {
        return Err("embeds or components");
    }
    let empty = length(&message["content"]) == 0 && embeds.is_empty() && file.is_none();
    if empty && !may_be_empty { Err("empty message") } else { Ok(()) }
}

async fn gateway(stream: TcpStream, inner: Arc<Mutex<Inner>>) {
    let Ok((_, mut socket)) = ServerBuilder::new().accept(stream).await else { return };
    let (link, mut out): (_, UnboundedReceiver<Out>) = unbounded_channel();
    let hello = {
        let mut inner = inner.lock();
        inner.opened += 1;
        json!({ "op": 10, "d": { "heartbeat_interval": inner.beat_ms } })
    };
    if socket.send(Message::text(hello.to_string())).await.is_err() {
        return;
    }
    let close = |code: u16| Message::close(Some(CloseCode::try_from(code).unwrap()), "");
    loop {
        tokio::select! {
            Some(out) = out.recv() => match out {
                Out::Text(text) => drop(socket.send(Message::text(text)).await),
                Out::Close(code) => drop(socket.send(close(code)).await),
                Out::Cut => return,
            },
            came = socket.next() => {
                let Some(Ok(came)) = came else { return };
                let Some(text) = came.as_text() else { continue };
                let told: Value = serde_json::from_str(text).unwrap();
                for out in answers(&told, &inner, &link) {
                    let message = match out {
                        Out::Text(text) => Message::text(text),
                        Out::Close(code) => close(code),
                        Out::Cut => return,
                    };
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn answers(told: &Value, inner: &Mutex<Inner>, link: &UnboundedSender<Out>) -> Vec<Out> {
    let mut inner = inner.lock();
    inner.told.push(told.clone());
    let text = |value: Value| Out::Text(value.to_string());
    let data = &told["d"];
    match told["op"].as_u64() {
        Some(1) if inner.deaf => Vec::new(),
        Some(1) => vec![text(json!({ "op": 11 }))],
        Some(2 | 6) if data["token"] != TOKEN => vec![Out::Close(4_004)],
        Some(2) if inner.refuses_texts && data["intents"].as_u64().unwrap() & (1 << 15) != 0 => vec![Out::Close(4_014)],
        Some(2) => {
            inner.session += 1;
            inner.events.clear();
            inner.links.push(link.clone());
            let (session, port) = (format!("session{}", inner.session), inner.port);
            let ready = json!({
                "v": 10, "user": { "id": APPLICATION, "username": "opsbot", "bot": true }, "guilds": [{ "id": GUILD, "unavailable": true }],
                "session_id": session, "resume_gateway_url": format!("ws://127.0.0.1:{port}/gw"), "application": { "id": APPLICATION, "flags": 0 },
            });
            vec![text(json!({ "op": 0, "t": "READY", "s": 1, "d": ready }))]
        }
        Some(6) => {
            let known = data["session_id"] == format!("session{}", inner.session) && !inner.refuses_sessions;
            if !known {
                return vec![text(json!({ "op": 9, "d": false }))];
            }
            inner.links.push(link.clone());
            let seq = data["seq"].as_u64().unwrap();
            let missed = inner.events.iter().filter(|event| event["s"].as_u64().unwrap() > seq).cloned();
            let resumed = json!({ "op": 0, "t": "RESUMED", "s": inner.events.len() + 1, "d": {} });
            missed.chain([resumed]).map(text).collect()
        }
        _ => Vec::new(),
    }
}
