//! What is remembered of a client that shook hands (every revision before 2026-07-28), whatever transport it came by.

use std::collections::HashMap;
use std::sync::Arc;

use kernel::Trace;
use kernel::logs::Level;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ctx::{Client, Ctx, Session};
use crate::error::RpcError;
use crate::handler::{Change, Handler, Identity, Watch};
use crate::peer::{Calls, Peer};
use crate::reply::Reply;
use crate::revision::Revision;
use crate::wire::{self, Id, Meta, Notification, Params, Request};

/// Resources one client may subscribe to.
const SUBSCRIPTIONS_MAX: usize = 1_000;

/// One client's state.
#[derive(Debug)]
pub struct Conversation {
    /// The revision agreed on.
    pub revision: Revision,
    /// Requests of ours that the client has not answered yet.
    pub calls: Arc<Calls>,
    client: Arc<Client>,
    session: Session,
    log_level: Mutex<Option<Level>>,
    watched: Mutex<HashMap<String, Watch>>,
    under_way: Mutex<HashMap<Id, CancellationToken>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeParams {
    protocol_version: String,
    #[serde(default)]
    capabilities: Value,
    #[serde(default)]
    client_info: Value,
}

/// Reads `initialize`: the revision to speak (the one asked for, or the newest that has a handshake) and the client.
pub fn negotiate(params: &Params) -> Result<(Revision, Client), RpcError> {
    let asked: InitializeParams = params.read()?;
    let revision = Revision::parse(&asked.protocol_version).filter(|revision| !revision.is_modern());
    let client = Client { capabilities: asked.capabilities, info: asked.client_info };
    Ok((revision.unwrap_or(Revision::NEWEST_LEGACY), client))
}

/// The answer to `initialize`.
pub fn welcome(identity: &Identity, revision: Revision) -> Reply {
    let mut capabilities = identity.capabilities.clone();
    if let Some(fields) = capabilities.as_object_mut() {
        // Extensions came with the current revision.
        fields.remove("extensions");
    }
    let mut body = json!({
        "protocolVersion": revision.as_str(),
        "capabilities": capabilities,
        "serverInfo": identity.server_info(),
    });
    if let Some(instructions) = &identity.instructions {
        body["instructions"] = instructions.as_str().into();
    }
    Reply::complete(&body)
}

impl Conversation {
    /// A client that speaks `revision`, known as `id`; `out` carries what belongs to none of its requests.
    pub fn new(id: &str, revision: Revision, client: Client, out: mpsc::Sender<String>) -> Self {
        let calls = Arc::<Calls>::default();
        let peer = Peer::with_calls(out, Arc::clone(&calls));
        Self {
            revision,
            calls,
            client: Arc::new(client),
            session: Session { id: id.into(), ended: CancellationToken::new(), peer },
            // What the client gets until it says otherwise.
            log_level: Mutex::new(Some(Level::Info)),
            watched: Mutex::default(),
            under_way: Mutex::default(),
        }
    }

    /// What it is known as.
    pub fn id(&self) -> Arc<str> {
        Arc::clone(&self.session.id)
    }

    /// Cancelled when the conversation ends.
    pub fn ended(&self) -> &CancellationToken {
        &self.session.ended
    }

    /// Whether a request of the client is being worked on.
    pub fn is_busy(&self) -> bool {
        !self.under_way.lock().is_empty()
    }

    /// The context of one of the client's requests, which can be taken back as long as the second part is held.
    ///
    /// # Errors
    /// When a request of the same id is under way.
    pub fn begin(self: &Arc<Self>, request: &Request, seat: Seat) -> Result<(Ctx, UnderWay), RpcError> {
        let ctx = self.context(&request.params.meta, seat);
        let mut under_way = self.under_way.lock();
        if under_way.contains_key(&request.id) {
            return Err(RpcError::invalid_request(format!("a request with id {} is under way", request.id)));
        }
        under_way.insert(request.id.clone(), ctx.cancel.clone());
        Ok((ctx, UnderWay { conversation: Arc::clone(self), id: request.id.clone() }))
    }

    fn context(&self, meta: &Meta, seat: Seat) -> Ctx {
        let log_level = *self.log_level.lock();
        let session = Some(self.session.clone());
        context(meta, seat, Made { revision: self.revision, client: Arc::clone(&self.client), session, log_level })
    }

    /// Works on a request of the client: the door's own affairs here, everything else in `handler`.
    pub async fn answer(&self, handler: &dyn Handler, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        match request.method.as_str() {
            "ping" => {}
            "initialize" => return Err(RpcError::invalid_request("this session has been initialized already")),
            "logging/setLevel" => {
                #[derive(Deserialize)]
                struct SetLevel {
                    level: String,
                }
                let asked: SetLevel = request.params.read()?;
                *self.log_level.lock() = log_floor(&asked.level)?;
            }
            "resources/subscribe" => self.subscribe(handler, &request.params, &ctx).await?,
            "resources/unsubscribe" => {
                self.watched.lock().remove(uri(&request.params)?);
            }
            _ => return handler.handle(request, ctx).await,
        }
        Ok(Reply::complete(&json!({})))
    }

    async fn subscribe(&self, handler: &dyn Handler, params: &Params, ctx: &Ctx) -> Result<(), RpcError> {
        let uri = uri(params)?;
        if self.watched.lock().len() >= SUBSCRIPTIONS_MAX {
            return Err(RpcError::invalid_params(format!("more than {SUBSCRIPTIONS_MAX} subscriptions")));
        }
        let watch = handler.watch(uri, ctx).await?;
        self.watched.lock().insert(uri.to_owned(), watch);
        Ok(())
    }

    /// Hears a notification of the client.
    pub async fn hear(&self, handler: &dyn Handler, notification: Notification, seat: Seat) {
        match notification.method.as_str() {
            "notifications/initialized" => {}
            "notifications/cancelled" => self.take_back(&notification.params),
            _ => {
                let ctx = self.context(&notification.params.meta, seat);
                handler.notified(notification, ctx).await;
            }
        }
    }

    /// Takes one of its requests back. One that is unknown or has ended is none of our concern.
    fn take_back(&self, params: &Params) {
        if let Some(id) = cancelled_id(params)
            && let Some(cancel) = self.under_way.lock().get(&id)
        {
            cancel.cancel();
        }
    }

    /// Takes all of its requests back.
    pub fn take_all_back(&self) {
        self.under_way.lock().values().for_each(CancellationToken::cancel);
    }

    /// The notification by which the client learns of a change, if it is to learn of it.
    pub fn news(&self, change: &Change) -> Option<String> {
        let (method, params) = match change {
            Change::Tools => ("notifications/tools/list_changed", None),
            Change::Prompts => ("notifications/prompts/list_changed", None),
            Change::Resources => ("notifications/resources/list_changed", None),
            Change::Resource(uri) if self.watched.lock().contains_key(uri) => {
                ("notifications/resources/updated", Some(wire::raw(&json!({ "uri": uri }))))
            }
            Change::Resource(_) | Change::Task { .. } => return None,
        };
        Some(wire::notification_text(method, params.as_deref()))
    }

    /// The notifications for a client that missed some changes: everything may be different.
    pub fn missed(&self) -> Vec<String> {
        let watched: Vec<_> = self.watched.lock().keys().cloned().map(Change::Resource).collect();
        let lists = [Change::Tools, Change::Prompts, Change::Resources];
        lists.iter().chain(&watched).filter_map(|change| self.news(change)).collect()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.session.ended.cancel();
    }
}

fn uri(params: &Params) -> Result<&str, RpcError> {
    params.uri.as_deref().ok_or_else(|| RpcError::invalid_params("params.uri is missing"))
}

/// Which request `notifications/cancelled` is about; one that is malformed is to be ignored.
pub(crate) fn cancelled_id(params: &Params) -> Option<Id> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cancelled {
        request_id: Id,
    }
    params.read::<Cancelled>().ok().map(|cancelled| cancelled.request_id)
}

/// A request of a client while it is being worked on.
#[derive(Debug)]
pub struct UnderWay {
    conversation: Arc<Conversation>,
    id: Id,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.conversation.under_way.lock().remove(&self.id);
    }
}

/// What a transport knows of a request beside its text.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Who asks.
    pub caller: Arc<kernel::Caller>,
    /// The way back.
    pub peer: Peer,
    /// `traceparent`, where the transport has one of its own.
    pub traceparent: Option<String>,
}

/// What a request is made in.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) revision: Revision,
    pub(crate) client: Arc<Client>,
    pub(crate) session: Option<Session>,
    pub(crate) log_level: Option<Level>,
}

/// Puts a context together.
pub(crate) fn context(meta: &Meta, seat: Seat, made: Made) -> Ctx {
    let traceparent = meta.traceparent.as_ref().and_then(Value::as_str).or(seat.traceparent.as_deref());
    let progress_token = meta.progress_token.clone().filter(|token| token.is_string() || token.is_number());
    Ctx {
        caller: seat.caller,
        trace: Trace::continue_from(traceparent),
        revision: made.revision,
        client: made.client,
        session: made.session,
        cancel: CancellationToken::new(),
        peer: seat.peer,
        progress_token,
        log_level: made.log_level,
        answers: Arc::default(),
        progress_made: Arc::new(Mutex::new(f64::NEG_INFINITY)),
        task: None,
    }
}

/// From which of our levels on a client that asked for `level` hears of us; `None` when it asked for graver than we ever say.
pub(crate) fn log_floor(level: &str) -> Result<Option<Level>, RpcError> {
    Ok(match level {
        "debug" => Some(Level::Debug),
        "info" => Some(Level::Info),
        "notice" | "warning" => Some(Level::Warn),
        "error" => Some(Level::Error),
        "critical" | "alert" | "emergency" => None,
        _ => {
            let levels = "debug, info, notice, warning, error, critical, alert, emergency";
            return Err(RpcError::invalid_params(format!("unknown log level `{level}`: one of {levels}")));
        }
    })
}
