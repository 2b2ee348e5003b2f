//! The connection to Discord's gateway: identifies or resumes, keeps its heart beating, reads events leniently, connects again when it ends.
//!
//! Invariants:
//! - A heartbeat that is not acknowledged until the next one is due ends the connection: it is resumed on another.
//! - An event that is none is counted and passed over. What is heard goes into a bounded queue, and is dropped and counted when that is full.
//! - The token is sent over TLS to a host of Discord's ([`check_gateway`]), in `identify` and `resume`, and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Uri;
use kernel::{Fault, Secret};
use mcp::client::http::tls_config;
use rand::Rng;
use serde_json::{Value, json};
use servers::outbound::Reach;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_websockets::{ClientBuilder, CloseCode, Limits, Message, WebSocketStream};

use super::events::{self, Heard};
use super::rest::{Body, Rest, Route, check_gateway};
use super::session::{End, Memory, Next, Session};
use super::state::{Link, State};

/// How long connecting may take, and the gateway's first word.
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// Largest event, in bytes.
const EVENT_BYTES_MAX: usize = 4 << 20;
/// Deepest nesting of an event.
const EVENT_DEPTH_MAX: usize = 64;
/// How often a heart may be asked to beat, in milliseconds.
const BEAT_MS: std::ops::RangeInclusive<u64> = 100..=600_000;
/// Longest wait for the day's identifications to be allowed anew.
const STARTS_WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Messages in servers, and their texts, which Discord must have allowed the bot. Interactions come without asking.
const MESSAGES: u64 = 1 << 9;
const TEXTS: u64 = 1 << 15;

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Socket = WebSocketStream<Box<dyn Wire>>;

/// The bot's connection.
pub(super) struct Gateway {
    pub(super) rest: Arc<Rest>,
    pub(super) token: Secret,
    pub(super) state: Arc<State>,
}

impl Gateway {
    /// Connects, again and again, and tells `heard` of what comes. Ends when connecting cannot help.
    pub(super) async fn run(&self, heard: mpsc::Sender<Heard>) {
        let (mut memory, mut texts) = (Memory::default(), true);
        loop {
            let end = match self.open(&memory).await {
                Ok(socket) => self.live(socket, &mut memory, texts, &heard).await,
                Err(fault) => End::Unreached(fault),
            };
            match memory.after(&end, texts) {
                Next::After(wait) => {
                    self.state.link(Link::Away(words(&end)));
                    tracing::info!(
                        why = words(&end),
                        wait_ms = wait.as_millis() as u64,
                        "discord: the connection ended"
                    );
                    sleep(wait).await;
                }
                Next::WithoutTexts => {
                    tracing::warn!("discord: the bot is not allowed the texts of messages: slash commands alone work");
                    texts = false;
                    self.state.without_texts();
                }
                Next::Never(fault) => {
                    tracing::error!(%fault, "discord: the bot is refused");
                    self.state.link(Link::Refused(fault.to_string()));
                    return;
                }
            }
        }
    }

    /// Opens a connection: where the session is resumed, or where Discord says.
    async fn open(&self, memory: &Memory) -> Result<Socket, Fault> {
        let url = match &memory.session {
            Some(session) => session.url.clone(),
            None => self.ask_where().await?,
        };
        let url: Uri = url.parse().map_err(|_| Fault::upstream("the gateway's address is none"))?;
        check_gateway(&self.rest.base()?, &url)?;
        let slow =
            |_| Fault::timeout(format!("the gateway did not take a connection within {} s", CONNECT_TIME.as_secs()));
        timeout(CONNECT_TIME, connect(&url)).await.map_err(slow)?
    }

    async fn ask_where(&self) -> Result<String, Fault> {
        let told = self.rest.call(&Route::gateway(), Body::None).await?;
        let starts = &told["session_start_limit"];
        if starts["remaining"] == 0 {
            let wait = Duration::from_millis(starts["reset_after"].as_u64().unwrap_or(0)).min(STARTS_WAIT_MAX);
            self.state
                .link(Link::Away(format!("the bot has identified too often today: {} s to wait", wait.as_secs())));
            sleep(wait).await;
        }
        told["url"]
            .as_str()
            .map(ToOwned::to_owned)
            .ok_or_else(|| Fault::upstream("discord does not say where its gateway is"))
    }

    /// Lives on a connection until it ends.
    async fn live(&self, mut socket: Socket, memory: &mut Memory, texts: bool, heard: &mpsc::Sender<Heard>) -> End {
        let beat = match timeout(CONNECT_TIME, hello(&mut socket)).await {
            Err(_) => return End::Unreached(Fault::timeout("the gateway said nothing")),
            Ok(Err(end)) => return end,
            Ok(Ok(beat)) => beat,
        };
        let first = self.introduction(memory, texts);
        if let Err(end) = send(&mut socket, &first).await {
            return end;
        }
        let start = Instant::now() + beat.mul_f64(rand::rng().random_range(0.0..1.0));
        let mut beats = interval_at(start, beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answered = true;
        loop {
            let ended = tokio::select! {
                _ = beats.tick() => {
                    if !std::mem::take(&mut answered) {
                        close(&mut socket).await;
                        return End::Dropped("a heartbeat was not answered".into());
                    }
                    send(&mut socket, &json!({ "op": 1, "d": memory.seq })).await
                }
                came = socket.next() => match read(came) {
                    Err(end) => Err(end),
                    Ok(None) => Ok(()),
                    Ok(Some(text)) => match self.event(&text, memory, heard) {
                        Did::Nothing => Ok(()),
                        Did::Beat => send(&mut socket, &json!({ "op": 1, "d": memory.seq })).await,
                        Did::Answered => {
                            answered = true;
                            Ok(())
                        }
                        Did::End(end) => {
                            close(&mut socket).await;
                            Err(end)
                        }
                    },
                },
            };
            if let Err(end) = ended {
                return end;
            }
        }
    }

    fn introduction(&self, memory: &Memory, texts: bool) -> Value {
        if let Some(session) = &memory.session {
            let (token, seq) = (self.token.expose(), memory.seq.unwrap_or(0));
            return json!({ "op": 6, "d": { "token": token, "session_id": session.id, "seq": seq } });
        }
        let intents = MESSAGES | if texts { TEXTS } else { 0 };
        let properties = json!({ "os": std::env::consts::OS, "browser": "flotilla", "device": "flotilla" });
        json!({ "op": 2, "d": { "token": self.token.expose(), "intents": intents, "properties": properties } })
    }

    /// Takes an event in.
    fn event(&self, text: &str, memory: &mut Memory, heard: &mpsc::Sender<Heard>) -> Did {
        let deep = kernel::limits::check_json_depth(text.as_bytes(), EVENT_DEPTH_MAX).is_err();
        let Some(event) = (!deep).then(|| serde_json::from_str::<Value>(text).ok()).flatten() else {
            self.state.malformed();
            return Did::Nothing;
        };
        match event["op"].as_u64() {
            Some(0) => self.dispatch(&event, memory, heard),
            Some(1) => return Did::Beat,
            Some(7) => return Did::End(End::Dropped("discord asked for another connection".into())),
            Some(9) if event["d"] == true => return Did::End(End::Dropped("the session is to be resumed".into())),
            Some(9) => return Did::End(End::Invalid("the session is not valid".into())),
            Some(11) => return Did::Answered,
            Some(_) => {}
            None => self.state.malformed(),
        }
        Did::Nothing
    }

    fn dispatch(&self, event: &Value, memory: &mut Memory, heard: &mpsc::Sender<Heard>) {
        if let Some(seq) = event["s"].as_u64() {
            memory.seq = Some(seq);
        }
        let (kind, data) = (event["t"].as_str().unwrap_or_default(), &event["d"]);
        match kind {
            "READY" => {
                let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
                let place = text(&data["session_id"]).zip(text(&data["resume_gateway_url"]));
                if let Some((id, url)) = place {
                    memory.session = Some(Session { id, url });
                    memory.stands();
                    let name = events::plain(data["user"]["username"].as_str().unwrap_or("a bot"));
                    tracing::info!(name, "discord: connected");
                    self.state.link(Link::Connected(name));
                }
            }
            "RESUMED" => {
                memory.stands();
                self.state.resumed();
            }
            _ => {}
        }
        match events::heard(kind, data) {
            Ok(None) => {}
            Ok(Some(one)) => {
                if heard.try_send(one).is_err() {
                    self.state.dropped();
                }
            }
            Err(why) => {
                tracing::debug!(kind, why, "discord: an event that is none");
                self.state.malformed();
            }
        }
    }
}

/// What an event asks for.
enum Did {
    Nothing,
    Beat,
    Answered,
    End(End),
}

fn words(end: &End) -> String {
    match end {
        End::Dropped(why) | End::Invalid(why) => why.clone(),
        End::Closed(code, why) => format!("closed by discord with {code} {why}").trim_end().to_owned(),
        End::Unreached(fault) => fault.to_string(),
    }
}

async fn connect(url: &Uri) -> Result<Socket, Fault> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let secure = url.scheme_str() == Some("wss");
    let addresses = Reach::ANYWHERE.resolve(&host, url.port_u16().unwrap_or(if secure { 443 } else { 80 })).await?;
    let lost = |error: &dyn std::fmt::Display| Fault::unavailable(format!("the gateway at {host}: {error}"));
    let stream = TcpStream::connect(&*addresses).await.map_err(|error| lost(&error))?;
    let wire: Box<dyn Wire> = match secure {
        false => Box::new(stream),
        true => {
            let name = ServerName::try_from(host.clone()).map_err(|error| lost(&error))?;
            let connector = TlsConnector::from(tls_config()?);
            Box::new(connector.connect(name, stream).await.map_err(|error| lost(&error))?)
        }
    };
    let authority = url.authority().map_or("", http::uri::Authority::as_str);
    let path = url.path().trim_end_matches('/');
    let at = format!("{}://{authority}{path}/?v=10&encoding=json", url.scheme_str().unwrap_or("wss"));
    let at: Uri = at.parse().map_err(|_| Fault::upstream("the gateway's address is none"))?;
    let limits = Limits::default().max_payload_len(Some(EVENT_BYTES_MAX));
    let opened = ClientBuilder::from_uri(at).limits(limits).connect_on(wire).await;
    opened.map(|(socket, _)| socket).map_err(|error| lost(&error))
}

/// How often the heart is to beat.
async fn hello(socket: &mut Socket) -> Result<Duration, End> {
    loop {
        let Some(text) = read(socket.next().await)? else { continue };
        let event: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if let (Some(10), Some(beat_ms)) = (event["op"].as_u64(), event["d"]["heartbeat_interval"].as_u64()) {
            return Ok(Duration::from_millis(beat_ms.clamp(*BEAT_MS.start(), *BEAT_MS.end())));
        }
    }
}

/// The text of what came; nothing of what is no text.
fn read(came: Option<Result<Message, tokio_websockets::Error>>) -> Result<Option<String>, End> {
    match came {
        None => Err(End::Dropped("the connection was cut".into())),
        Some(Err(error)) => Err(End::Dropped(format!("the connection was cut: {error}"))),
        Some(Ok(message)) => match message.as_close() {
            Some((code, why)) => Err(End::Closed(code.into(), why.chars().take(100).collect())),
            None => Ok(message.as_text().map(ToOwned::to_owned)),
        },
    }
}

async fn send(socket: &mut Socket, what: &Value) -> Result<(), End> {
    let sent = timeout(CONNECT_TIME, socket.send(Message::text(what.to_string()))).await;
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(End::Dropped(format!("the connection was cut: {error}"))),
        Err(_) => Err(End::Dropped("nothing can be sent".into())),
    }
}

/// Says goodbye with a code after which the session stays.
async fn close(socket: &mut Socket) {
    if let Ok(code) = CloseCode::try_from(4_000) {
        // What cannot be said to a connection that ended need not be.
        timeout(Duration::from_secs(1), socket.send(Message::close(Some(code), ""))).await.ok();
    }
}
