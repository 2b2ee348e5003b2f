//! One request in, one reply out: what stands behind every door.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::ctx::Ctx;
use crate::error::RpcError;
use crate::mirror::Mirrored;
use crate::reply::Reply;
use crate::wire::{self, Notification, Request};

/// Who answers, as `server/discover` and `initialize` tell it.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The server's name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The binary's version.
    pub version: String,
    /// What it is for and how to use it, for a model.
    pub instructions: Option<String>,
    /// What it can do, in the current revision's words.
    pub capabilities: Value,
}

impl Identity {
    /// `serverInfo`.
    pub fn server_info(&self) -> Value {
        json!({ "name": self.name, "title": self.title, "version": self.version })
    }

    /// [`Identity::server_info`] as text.
    pub fn server_info_text(&self) -> Box<RawValue> {
        #[derive(Serialize)]
        struct ServerInfo<'a> {
            name: &'a str,
            title: &'a str,
            version: &'a str,
        }
        wire::raw(&ServerInfo { name: &self.name, title: &self.title, version: &self.version })
    }
}

/// Something a client may have subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The list of tools changed.
    Tools,
    /// The list of prompts changed.
    Prompts,
    /// The list of resources changed.
    Resources,
    /// A resource's content changed.
    Resource(String),
    /// A task changed: its id, and its owner, who alone may hear of it.
    Task {
        /// Which task.
        id: String,
        /// The name of the caller it belongs to.
        owner: String,
        /// The body of `notifications/tasks`.
        body: String,
    },
}

/// Keeps a resource watched for as long as it is held.
#[must_use = "dropping it ends the watch"]
#[derive(Default)]
pub struct Watch(Option<Box<dyn std::any::Any + Send + Sync>>);

impl Watch {
    /// A watch that ends when `guard` is dropped.
    pub fn held_by(guard: impl std::any::Any + Send + Sync) -> Self {
        Self(Some(Box::new(guard)))
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Watch(held)" } else { "Watch" })
    }
}

/// How many changes may wait for a slow subscriber before it is told that it missed some.
pub const CHANGES_MAX: usize = 256;

/// What stands behind a door: one of our servers, the gateway, or an upstream.
///
/// Doors deal with `initialize`, `server/discover`, `ping`, sessions, subscriptions and log levels; everything else comes here.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Who answers. Every answer of the current revision names its server, so it is shared rather than made.
    fn identity(&self) -> Arc<Identity>;

    /// Works on a request.
    async fn handle(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError>;

    /// A client wants to hear of changes of the resource `uri`; doors hold what this returns until it no longer does. Whoever learns of
    /// changes by himself needs nothing; a handler in front of another server subscribes there.
    async fn watch(&self, _uri: &str, _ctx: &Ctx) -> Result<Watch, RpcError> {
        Ok(Watch::default())
    }

    /// The arguments of `tool` that must stand in headers too, when it has such (`x-mcp-header` in its input schema).
    fn mirrored(&self, _tool: &str) -> Option<Arc<[Mirrored]>> {
        None
    }

    /// Hears a notification that is not the door's own affair.
    async fn notified(&self, _notification: Notification, _ctx: Ctx) {}

    /// Changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;
}
