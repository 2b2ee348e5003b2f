//! Sessions over HTTP: the id says everything another process needs; memory has what hangs on connections.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kernel::{Caller, Clock, Fault, OnEnd, Tasks, UnixMs};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::replay::Replay;
use crate::conversation::Conversation;
use crate::ctx::Client;
use crate::handler::Handler;
use crate::peer::QUEUE_MAX;
use crate::revision::Revision;
use crate::seal::{Binding, Sealer};

/// How long a session id stands, in milliseconds. A client whose session is over begins another.
const SESSION_MS: i64 = 24 * 3_600_000;
/// How long an unused session keeps its memory, in milliseconds. Its id stands for longer: the memory is made anew.
const IDLE_MS: i64 = 30 * 60_000;
/// How often idle ones are looked for, in milliseconds.
const SWEEP_MS: i64 = 60_000;
/// Sessions in memory at once.
const SESSIONS_MAX: usize = 20_000;
/// Ends of sessions remembered at once.
const ENDED_MAX: usize = 100_000;
/// Streams of one session that can be resumed.
const STREAMS_MAX: usize = 32;
/// Largest part of a client's own description that travels in its session id, in bytes.
const CLIENT_BYTES_MAX: usize = 2_048;

/// What a session id seals.
#[derive(Serialize, Deserialize)]
struct Sealed {
    id: String,
    revision: String,
    capabilities: Value,
    info: Value,
}

/// One session's memory.
pub(super) struct HttpSession {
    pub(super) conversation: Arc<Conversation>,
    /// The stream of what belongs to no request: GET reads it.
    pub(super) standing: Arc<Replay>,
    caller: String,
    server: String,
    streams: Mutex<VecDeque<Arc<Replay>>>,
    used_ms: AtomicI64,
}

impl HttpSession {
    /// A new stream for a request's events, kept for a while after its end.
    pub(super) fn stream(&self) -> Arc<Replay> {
        let stream = Replay::new();
        let mut streams = self.streams.lock();
        if streams.len() >= STREAMS_MAX {
            // The oldest that has ended; if none has, the oldest, which then cannot be resumed.
            let ended = streams.iter().position(|stream| stream.has_ended()).unwrap_or(0);
            streams.remove(ended);
        }
        streams.push_back(Arc::clone(&stream));
        stream
    }

    /// The stream that sent an event of this id, and the event's number.
    pub(super) fn stream_of(&self, event_id: &str) -> Option<(Arc<Replay>, u64)> {
        let streams = self.streams.lock();
        let all = streams.iter().chain([&self.standing]);
        all.into_iter().find_map(|stream| Some((Arc::clone(stream), stream.number(event_id)?)))
    }

    fn is_busy(&self) -> bool {
        self.conversation.is_busy()
            || self.standing.is_read()
            || self.streams.lock().iter().any(|stream| stream.is_read())
    }
}

/// The sessions of a door.
pub(super) struct Sessions {
    sealer: Sealer,
    clock: Clock,
    tasks: Tasks,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    by_id: HashMap<String, Arc<HttpSession>>,
    /// The sealed ids of those that their clients ended, and when each would have lapsed.
    ended: HashMap<Arc<str>, UnixMs>,
    swept_ms: UnixMs,
}

impl Live {
    fn remove(&mut self, id: &str) {
        if let Some(session) = self.by_id.remove(id) {
            session.conversation.ended().cancel();
        }
    }

    fn sweep(&mut self, now_ms: UnixMs, idle_ms: i64) {
        self.swept_ms = now_ms;
        let idle =
            |session: &HttpSession| session.used_ms.load(Ordering::Relaxed) + idle_ms < now_ms && !session.is_busy();
        let idle: Vec<_> = self.by_id.iter().filter(|(_, session)| idle(session)).map(|(id, _)| id.clone()).collect();
        idle.iter().for_each(|id| self.remove(id));
        self.ended.retain(|_, until| *until >= now_ms);
    }
}

impl Sessions {
    pub(super) fn new(sealer: Sealer, clock: Clock, tasks: Tasks) -> Self {
        Self { sealer, clock, tasks, live: Mutex::default() }
    }

    /// The id of a new session of `caller` with `server`.
    ///
    /// # Errors
    /// When what the client says of itself is too long.
    pub(super) fn mint(
        &self,
        caller: &Caller,
        server: &str,
        revision: Revision,
        client: &Client,
    ) -> Result<String, Fault> {
        let mut capabilities = client.capabilities.clone();
        if let Some(fields) = capabilities.as_object_mut() {
            // Nothing here knows experiments; they only would make the id long.
            fields.remove("experimental");
        }
        let info = json!({ "name": client.info.get("name"), "version": client.info.get("version") });
        if capabilities.to_string().len() + info.to_string().len() > CLIENT_BYTES_MAX {
            let hint = format!("capabilities, name and version may take {CLIENT_BYTES_MAX} bytes together");
            return Err(Fault::invalid("the client's description is too long").hint(hint));
        }
        let sealed =
            Sealed { id: kernel::ids::new_id("session"), revision: revision.as_str().into(), capabilities, info };
        self.sealer.seal(binding(&caller.name, server), SESSION_MS, json!(sealed))
    }

    /// The session of this id, with memory made anew if this process has none of it.
    ///
    /// `None` when it has ended or lapsed, or belongs to another caller or server.
    pub(super) fn find(&self, id: &str, caller: &Caller, handler: &Arc<dyn Handler>) -> Option<Arc<HttpSession>> {
        let now_ms = self.clock.now_ms();
        let identity = handler.identity();
        {
            let mut live = self.live.lock();
            if live.swept_ms + SWEEP_MS < now_ms {
                live.sweep(now_ms, IDLE_MS);
            }
            if let Some(session) = live.by_id.get(id) {
                session.used_ms.store(now_ms, Ordering::Relaxed);
                let same = session.caller == caller.name && session.server == identity.name;
                return same.then(|| Arc::clone(session));
            }
        }
        let sealed = self.sealer.open(binding(&caller.name, &identity.name), id).ok()?;
        let sealed: Sealed = serde_json::from_value(sealed).ok()?;
        let mut live = self.live.lock();
        if live.ended.contains_key(sealed.id.as_str()) {
            return None;
        }
        if let Some(session) = live.by_id.get(id) {
            // Another request of the session was faster.
            return Some(Arc::clone(session));
        }
        if live.by_id.len() >= SESSIONS_MAX {
            live.sweep(now_ms, 0);
        }
        let session = self.remember(&sealed, &caller.name, &identity.name, handler)?;
        live.by_id.insert(id.to_owned(), Arc::clone(&session));
        Some(session)
    }

    fn remember(
        &self,
        sealed: &Sealed,
        caller: &str,
        server: &str,
        handler: &Arc<dyn Handler>,
    ) -> Option<Arc<HttpSession>> {
        let revision = Revision::parse(&sealed.revision)?;
        let client = Client { capabilities: sealed.capabilities.clone(), info: sealed.info.clone() };
        let (out, messages) = mpsc::channel(QUEUE_MAX);
        let conversation = Arc::new(Conversation::new(&sealed.id, revision, client, out));
        let standing = Replay::new();
        let stand =
            stand(Arc::clone(&conversation), Arc::clone(&standing), messages, handler.changes(), self.tasks.stopping());
        self.tasks.spawn("session", OnEnd::Done, stand);
        Some(Arc::new(HttpSession {
            conversation,
            standing,
            caller: caller.into(),
            server: server.into(),
            streams: Mutex::default(),
            used_ms: AtomicI64::new(self.clock.now_ms()),
        }))
    }

    /// Ends a session for good.
    pub(super) fn end(&self, id: &str, session: &HttpSession) {
        let mut live = self.live.lock();
        live.remove(id);
        if live.ended.len() >= ENDED_MAX
            && let Some(soonest) = live.ended.iter().min_by_key(|(_, until)| **until).map(|(id, _)| Arc::clone(id))
        {
            live.ended.remove(&soonest);
        }
        live.ended.insert(session.conversation.id(), self.clock.now_ms() + SESSION_MS);
    }
}

fn binding<'a>(caller: &'a str, server: &'a str) -> Binding<'a> {
    Binding { caller, purpose: "session", subject: server }
}

/// Feeds a session's standing stream until the session or the door ends.
async fn stand(
    conversation: Arc<Conversation>,
    standing: Arc<Replay>,
    mut messages: mpsc::Receiver<String>,
    mut changes: tokio::sync::broadcast::Receiver<crate::Change>,
    stopping: CancellationToken,
) {
    let feed = async {
        loop {
            standing.room().await;
            let texts = tokio::select! {
                Some(message) = messages.recv() => vec![message],
                change = changes.recv() => match change {
                    Ok(change) => conversation.news(&change).into_iter().collect(),
                    Err(RecvError::Lagged(_)) => conversation.missed(),
                    Err(RecvError::Closed) => std::future::pending().await,
                },
            };
            texts.into_iter().for_each(|text| standing.append(text));
        }
    };
    tokio::select! {
        () = feed => {}
        () = conversation.ended().cancelled() => {}
        () = stopping.cancelled() => {}
    }
    standing.end();
}
