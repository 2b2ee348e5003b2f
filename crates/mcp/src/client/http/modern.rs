//! An upstream of the current revision over HTTP: every request stands alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kernel::{Fault, Tasks};
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::changes;
use super::super::end::End;
use super::super::handshake::{Discovered, is_offered_again};
use super::super::outgoing::{self, AboutUs};
use super::super::patience::Patience;
use super::super::rounds::Rounds;
use super::super::watches::Watches;
use super::super::{Link, LinkError, answer, side, unless_cancelled};
use super::listen::{self, Listening};
use super::{Endpoint, Events, PROTOCOL_VERSION, Posted, Target, sort};
use crate::ctx::Ctx;
use crate::error::{RpcError, codes};
use crate::handler::{CHANGES_MAX, Change, Identity, Watch};
use crate::mirror::{self, Mirrored};
use crate::reply::Reply;
use crate::revision::Revision;
use crate::wire::{self, Id, Message, Notification, Params, Request, Response};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Pages of a tool list that are read to learn which arguments are mirrored.
const PAGES_MAX: usize = 100;

/// The link.
pub struct ModernLink {
    endpoint: Endpoint,
    identity: Arc<Identity>,
    about_us: AboutUs,
    next_id: AtomicI64,
    mirrored: RwLock<HashMap<String, Arc<[Mirrored]>>>,
    changes: broadcast::Sender<Change>,
    watches: Watches,
    tasks: Tasks,
    end: Arc<End>,
}

impl ModernLink {
    /// A link to a server that is known to speak the current revision, without asking it. Nothing is sent before the first request.
    ///
    /// # Errors
    /// When the target's URL is none.
    pub fn to_known(
        target: &Target,
        identity: Arc<Identity>,
        about_us: AboutUs,
        tasks: Tasks,
    ) -> Result<Arc<Self>, Fault> {
        let endpoint = Endpoint::new(target, tasks.clone())?;
        Ok(Self::open(endpoint, &Discovered { identity, versions: Vec::new() }, about_us, tasks))
    }

    /// A link to whoever was discovered; hears of its lists' changes from now on.
    pub(super) fn open(endpoint: Endpoint, discovered: &Discovered, about_us: AboutUs, tasks: Tasks) -> Arc<Self> {
        let link = Arc::new(Self {
            endpoint,
            identity: discovered.identity.clone(),
            about_us,
            next_id: AtomicI64::new(1),
            mirrored: RwLock::default(),
            changes: broadcast::channel(CHANGES_MAX).0,
            watches: Watches::default(),
            tasks,
            end: Arc::default(),
        });
        if let Some(filter) = changes::lists(&link.identity.capabilities) {
            link.listen(filter, link.tasks.stopping());
        }
        link
    }

    fn listen(&self, filter: Value, over: tokio_util::sync::CancellationToken) -> Listening {
        let (endpoint, about_us) = (self.endpoint.clone(), self.about_us.clone());
        listen::start(endpoint, about_us, filter, self.changes.clone(), over, &self.tasks)
    }

    /// Asks; once more if the tool has changed since its schema was read.
    async fn ask_anew(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError> {
        match self.ask(request, ctx).await {
            Err(LinkError::Rpc(error)) if error.code == codes::HEADER_MISMATCH && request.method == "tools/call" => {
                Box::pin(self.learn_all(ctx)).await?;
                Box::pin(self.ask(request, ctx)).await
            }
            Err(LinkError::Rpc(error)) if is_offered_again(&error) => Box::pin(self.ask(request, ctx)).await,
            done => done,
        }
    }

    async fn ask(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let params = outgoing::modern(&request.params, ctx, id, &self.about_us)?;
        let text = wire::request_text(&Id::Number(id), &request.method, Some(&params));
        let mut headers = self.headers(&request.method, &request.params)?;
        self.endpoint.sign(&mut headers, &ctx.caller)?;
        let limit = self.endpoint.timeout;
        let deadline = Instant::now() + limit;
        let slow = |_| self.slow(&request.method);
        let exchange = timeout_at(deadline, self.endpoint.post(text, headers)).await.map_err(slow)??;
        match timeout_at(deadline, sort(&self.endpoint, exchange)).await.map_err(slow)?? {
            Posted::Message(_, message) => match *message {
                Message::Response(response) => self.reply(request, response, id),
                _ => Err(self.no_answer(&request.method).into()),
            },
            Posted::Stream(events) => Box::pin(self.follow(request, events, id, ctx)).await,
            Posted::Accepted => Err(self.no_answer(&request.method).into()),
            Posted::Refused(_, fault) => Err(fault.into()),
        }
    }

    /// Reads a stream until the answer comes; what comes before it goes to the caller.
    async fn follow(&self, request: &Request, mut events: Box<Events>, id: i64, ctx: &Ctx) -> Result<Reply, LinkError> {
        let patience = Patience::new(self.endpoint.timeout);
        loop {
            let message = timeout_at(patience.until(), events.message(&self.endpoint.host))
                .await
                .map_err(|_| self.slow(&request.method))??;
            match message {
                Some(Message::Response(response)) => return self.reply(request, response, id),
                Some(Message::Notification(notification)) => side::pass_on(&notification, id, ctx).await,
                Some(Message::Request(asked)) => {
                    tracing::debug!(
                        host = self.endpoint.host,
                        method = asked.method,
                        "a request where the revision has none"
                    );
                }
                None => {
                    let text = format!("{} ended its answer to {} too early", self.endpoint.host, request.method);
                    return Err(Fault::unavailable(text).into());
                }
            }
        }
    }

    fn reply(&self, request: &Request, response: Response, id: i64) -> Result<Reply, LinkError> {
        // A refusal may come without an id: the upstream could not read ours.
        if response.id.as_ref().is_some_and(|given| *given != Id::Number(id)) {
            return Err(self.no_answer(&request.method).into());
        }
        let reply = answer::modern(response.outcome?).map_err(|fault| fault.context(&self.endpoint.host))?;
        if request.method == "tools/list" {
            self.learn(&reply.body);
        }
        Ok(reply)
    }

    fn slow(&self, method: &str) -> Fault {
        Fault::timeout(format!(
            "{} did not answer {method} in {} s",
            self.endpoint.host,
            self.endpoint.timeout.as_secs_f32()
        ))
    }

    fn no_answer(&self, method: &str) -> Fault {
        Fault::upstream(format!("{}: not an answer to {method}", self.endpoint.host))
    }

    /// What the body says, where those who do not read it can see it.
    fn headers(&self, method: &str, params: &Params) -> Result<HeaderMap, RpcError> {
        let mut headers = modern_headers(method)?;
        let name = match method {
            "tools/call" | "prompts/get" => params.name.as_deref(),
            "resources/read" => params.uri.as_deref(),
            "tasks/get" | "tasks/update" | "tasks/cancel" => params.task_id.as_deref(),
            _ => None,
        };
        if let Some(name) = name {
            headers.insert(NAME, header_value(name)?);
        }
        if method == "tools/call"
            && let Some(mirrored) = name.and_then(|tool| self.mirrored.read().get(tool).cloned())
        {
            let arguments = params.arguments.as_deref().map_or("{}", RawValue::get);
            let arguments: Value =
                serde_json::from_str(arguments).map_err(|error| RpcError::invalid_params(error.to_string()))?;
            for mirrored in mirrored.iter() {
                if let Some(value) = mirrored.value(&arguments).map_err(RpcError::invalid_params)? {
                    let name = HeaderName::from_bytes(mirrored.header.as_bytes())
                        .map_err(|_| RpcError::internal(format!("not a header: {}", mirrored.header)))?;
                    headers.insert(name, header_value(&value)?);
                }
            }
        }
        Ok(headers)
    }

    /// Notes which arguments of the tools in a list are mirrored into headers.
    fn learn(&self, list: &RawValue) {
        if !list.get().contains("x-mcp-header") && self.mirrored.read().is_empty() {
            return;
        }
        let Ok(page) = serde_json::from_str::<ToolPage>(list.get()) else { return };
        let mut known = self.mirrored.write();
        for tool in page.tools {
            match mirror::mirrored(&tool.input_schema) {
                Ok(mirrored) if mirrored.is_empty() => known.remove(&tool.name),
                Ok(mirrored) => known.insert(tool.name, mirrored.into()),
                // Whoever lists the tools leaves such a one out.
                Err(_) => known.remove(&tool.name),
            };
        }
    }

    /// Reads the tool list anew, for the headers its schemas ask for.
    async fn learn_all(&self, ctx: &Ctx) -> Result<(), LinkError> {
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let params =
                cursor.take().map(|cursor| serde_json::json!({ "cursor": cursor })).unwrap_or(serde_json::json!({}));
            let request = Request { id: Id::Number(0), method: "tools/list".into(), params: Params::of(&params)? };
            let reply = self.ask(&request, ctx).await?;
            cursor = serde_json::from_str::<ToolPage>(reply.body.get()).ok().and_then(|page| page.next_cursor);
            if cursor.is_none() {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolPage {
    tools: Vec<ToolEntry>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolEntry {
    name: String,
    #[serde(default)]
    input_schema: Value,
}

/// The headers every request of the current revision has.
pub(super) fn modern_headers(method: &str) -> Result<HeaderMap, RpcError> {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(Revision::CURRENT.as_str()));
    let method = HeaderValue::from_str(method).map_err(|_| RpcError::method_not_found(method))?;
    headers.insert(METHOD, method);
    Ok(headers)
}

fn header_value(text: &str) -> Result<HeaderValue, RpcError> {
    HeaderValue::from_str(&mirror::encode(text)).map_err(|_| RpcError::internal("a name that no header can carry"))
}

#[async_trait]
impl Link for ModernLink {
    fn identity(&self) -> Arc<Identity> {
        self.identity.clone()
    }

    fn revision(&self) -> Revision {
        Revision::CURRENT
    }

    async fn request(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError> {
        if let Some(fault) = self.end.reason() {
            return Err(LinkError::unsent(fault).into());
        }
        let work = async {
            let mut reply = self.ask_anew(request, ctx).await?;
            let mut rounds = Rounds::default();
            while let Some(again) = rounds.next(request, &reply, ctx).await? {
                reply = Box::pin(self.ask_anew(&again, ctx)).await?;
            }
            Ok(reply)
        };
        tokio::select! {
            done = unless_cancelled(ctx, &request.method, work) => done,
            fault = self.end.wait() => Err(fault.into()),
        }
    }

    async fn notify(&self, notification: &Notification, ctx: &Ctx) -> Result<(), LinkError> {
        let mut headers = modern_headers(&notification.method)?;
        if let Some(name) = &notification.params.name {
            headers.insert(NAME, header_value(name)?);
        }
        self.endpoint.sign(&mut headers, &ctx.caller)?;
        let params = outgoing::modern(&notification.params, ctx, 0, &self.about_us)?;
        let text = wire::notification_text(&notification.method, Some(&params));
        let sent = async { sort(&self.endpoint, self.endpoint.post(text, headers).await?).await };
        match timeout(self.endpoint.timeout, sent).await.map_err(|_| self.slow(&notification.method))?? {
            Posted::Refused(_, fault) => Err(fault.into()),
            Posted::Message(status, message) if status != StatusCode::OK => match *message {
                Message::Response(Response { outcome: Err(error), .. }) => Err(error.into()),
                _ => Err(self.no_answer(&notification.method).into()),
            },
            _ => Ok(()),
        }
    }

    async fn watch(&self, uri: &str, _ctx: &Ctx) -> Result<Watch, LinkError> {
        let (watch, begun) = self.watches.add(uri)?;
        if let Some(over) = begun {
            self.listen(changes::resource(uri), over).acknowledged().await?;
        }
        Ok(watch)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn ended(&self) -> Fault {
        self.end.wait().await
    }

    async fn close(&self) {
        self.end.because(Fault::unavailable(format!("the link to {} was closed", self.endpoint.host)));
        self.tasks.stop_because("the link was closed");
    }
}
