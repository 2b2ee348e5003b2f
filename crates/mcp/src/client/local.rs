//! A link to a handler in this process: no bytes, no copies.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::Fault;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{Link, LinkError, unless_cancelled};
use crate::ctx::Ctx;
use crate::handler::{Change, Handler, Identity, Watch};
use crate::reply::Reply;
use crate::revision::Revision;
use crate::wire::{Notification, Request};

/// The link.
pub struct LocalLink {
    handler: Arc<dyn Handler>,
    closed: CancellationToken,
}

impl LocalLink {
    /// A link to `handler`.
    pub fn new(handler: Arc<dyn Handler>) -> Self {
        Self { handler, closed: CancellationToken::new() }
    }

    fn gone(&self) -> Fault {
        Fault::unavailable(format!("the link to {} was closed", self.handler.identity().name))
    }
}

#[async_trait]
impl Link for LocalLink {
    fn identity(&self) -> Arc<Identity> {
        self.handler.identity()
    }

    fn revision(&self) -> Revision {
        Revision::CURRENT
    }

    async fn request(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError> {
        let work = async {
            tokio::select! {
                reply = self.handler.handle(request.clone(), ctx.clone()) => reply.map_err(LinkError::from),
                () = self.closed.cancelled() => Err(self.gone().into()),
            }
        };
        unless_cancelled(ctx, &request.method, work).await
    }

    async fn notify(&self, notification: &Notification, ctx: &Ctx) -> Result<(), LinkError> {
        self.handler.notified(notification.clone(), ctx.clone()).await;
        Ok(())
    }

    async fn watch(&self, uri: &str, ctx: &Ctx) -> Result<Watch, LinkError> {
        Ok(self.handler.watch(uri, ctx).await?)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.handler.changes()
    }

    async fn ended(&self) -> Fault {
        self.closed.cancelled().await;
        self.gone()
    }

    async fn close(&self) {
        self.closed.cancel();
    }
}
