//! The other end of the wire: how requests reach MCP servers that are not ours, over HTTP, stdio, or inside the process.
//!
//! - A [`Link`] is one way to one server, in one revision. It carries requests and brings back replies byte for byte.
//! - What happens on the way to an answer (progress, log messages, questions to the client) goes to the peer of the request's [`Ctx`].
//! - A link does not repair itself beyond its session: whoever holds it watches [`Link::ended`] and makes a new one.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Code, Fault};
use tokio::sync::broadcast;

use crate::ctx::{Client, Ctx, Session};
use crate::error::{RpcError, ToolError};
use crate::handler::{Change, Identity, Watch};
use crate::reply::Reply;
use crate::revision::Revision;
use crate::wire::{Notification, Request};

mod answer;
mod ask;
mod changes;
mod channel;
mod end;
mod handshake;
pub mod http;
pub mod local;
mod outgoing;
mod patience;
mod rounds;
mod side;
pub mod sse;
pub mod stdio;
mod watches;

pub use channel::ChannelLink;
pub use outgoing::AboutUs;

/// For whom a session with an upstream is begun. The default is nobody in particular: the session is shared.
#[derive(Debug, Clone, Default)]
pub struct User {
    /// The client as it described itself.
    pub client: Option<Arc<Client>>,
    /// The revision it speaks: the one to ask for.
    pub revision: Option<Revision>,
    /// Its session here: the upstream's questions go there.
    pub session: Option<Session>,
}

/// Why there is no reply.
#[derive(Debug, Clone)]
pub enum LinkError {
    /// The upstream answered with an error of the protocol, in its own words.
    Rpc(Box<RpcError>),
    /// There is no answer, or what came is not one: gone, unreachable, too slow, too large, nonsense.
    Fault(Box<Fault>),
}

impl LinkError {
    /// The stable code, as metrics and the trail keep it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rpc(_) => "protocol_error",
            Self::Fault(fault) => fault.code.as_str(),
        }
    }

    /// Whether another try, perhaps elsewhere, may work: nobody answered and the cause may pass. What was asked for may have been done
    /// all the same, unless [`LinkError::is_unsent`].
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.code == Code::Unavailable)
    }

    /// Whether the request certainly never left.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.data.as_ref().is_some_and(|data| data["sent"] == false))
    }

    /// Marks a fault that came before the request left.
    pub fn unsent(fault: Fault) -> Fault {
        fault.data(serde_json::json!({ "sent": false }))
    }
}

impl From<RpcError> for LinkError {
    fn from(error: RpcError) -> Self {
        Self::Rpc(Box::new(error))
    }
}

impl From<Fault> for LinkError {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl From<LinkError> for RpcError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Rpc(error) => *error,
            LinkError::Fault(fault) => (*fault).into(),
        }
    }
}

impl From<LinkError> for ToolError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Rpc(error) => Self::Rpc(error),
            LinkError::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rpc(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// One way to one server.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Who is there.
    fn identity(&self) -> Arc<Identity>;

    /// The revision spoken with it.
    fn revision(&self) -> Revision;

    /// Sends a request and waits for its reply. Ends early, and tells the upstream, when `ctx` is cancelled or this future is dropped.
    async fn request(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError>;

    /// Sends a notification.
    async fn notify(&self, notification: &Notification, ctx: &Ctx) -> Result<(), LinkError>;

    /// Has the upstream tell of changes of the resource `uri` for as long as the watch is held.
    async fn watch(&self, uri: &str, ctx: &Ctx) -> Result<Watch, LinkError>;

    /// Changes from now on. A subscriber that is too slow misses some and is told how many.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Waits until the link is of no more use, and says why. A link that was closed ended too.
    async fn ended(&self) -> Fault;

    /// Ends the link: what is under way fails, the upstream is told where the protocol can say it.
    async fn close(&self);
}

/// Waits for `work` unless the caller takes its request back first.
pub(crate) async fn unless_cancelled<T>(
    ctx: &Ctx,
    what: &str,
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    tokio::select! {
        done = work => done,
        () = ctx.cancel.cancelled() => Err(Fault::cancelled(format!("{what} was cancelled by its caller")).into()),
    }
}
