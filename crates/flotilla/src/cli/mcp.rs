//! `mcp`: the fleet, or one server, on stdin and stdout.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::mcp::client::http::{HttpServer, Target};
use ::mcp::client::{AboutUs, Link};
use ::mcp::handler::Watch;
use ::mcp::wire::{Notification, Request};
use ::mcp::{Change, Ctx, Handler, Identity, Reply, RpcError};
use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use kernel::{Caller, Fault, Role, Tasks};
use tokio::sync::broadcast;

use super::{Global, api::Api};

/// How long the fleet may be silent on a call.
const SILENCE: Duration = Duration::from_secs(3_600);

/// Speak MCP on stdin and stdout, for clients that start commands.
#[derive(Debug, clap::Args)]
pub struct Mcp {
    /// One server; the whole fleet when absent
    server: Option<String>,
    /// A named part of the tools
    #[arg(long, conflicts_with = "server")]
    toolset: Option<String>,
    /// Three tools that find and call all others, to keep a model's context small
    #[arg(long, conflicts_with_all = ["server", "toolset"])]
    search: bool,
}

impl Mcp {
    /// Runs the command: a bridge to the running fleet, under the caller's own key.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        let path = match (&self.server, &self.toolset, self.search) {
            (Some(server), _, _) => format!("/mcp/{server}"),
            (_, Some(toolset), _) => format!("/mcp?toolset={toolset}"),
            (_, _, true) => "/mcp?mode=search".to_owned(),
            _ => "/mcp".to_owned(),
        };
        let tasks = Tasks::new();
        let target = target(&api, &path)?;
        let server =
            HttpServer::probe(&target, AboutUs::new(crate::VERSION), tasks.child()).await.map_err(|error| {
                Fault::unavailable(format!("{}{path}: {error}", api.url)).hint("start the fleet with `flotilla up`")
            })?;
        let link =
            server.modern().ok_or_else(|| Fault::upstream(format!("{} is not a Flotilla of this age", api.url)))?;
        // What the caller may do, the fleet decides by the key; here its name only tells sessions apart.
        let caller = Caller::new("stdio", Role::Viewer);
        let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
        ::mcp::stdio::serve(Arc::new(Bridge(link)), caller, &tasks, input, output).await?;
        // A blocked read of stdin would hold the runtime's shutdown up.
        std::process::exit(0);
    }
}

fn target(api: &Api, path: &str) -> Result<Target, Fault> {
    let url = format!("{}{path}", api.url);
    let url = url.parse().map_err(|_| Fault::invalid(format!("`{url}` is not a URL")))?;
    let mut headers = HeaderMap::new();
    if let Some(key) = &api.key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
            .map_err(|_| Fault::invalid("the key has characters that no header can carry"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(Target { url, headers, allow_private: true, timeout: SILENCE, credentials: None })
}

/// A link as a handler: what comes in goes out, and back.
struct Bridge<L>(Arc<L>);

#[async_trait]
impl<L: Link> Handler for Bridge<L> {
    fn identity(&self) -> Arc<Identity> {
        self.0.identity()
    }

    async fn handle(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        self.0.request(&request, &ctx).await.map_err(Into::into)
    }

    async fn watch(&self, uri: &str, ctx: &Ctx) -> Result<Watch, RpcError> {
        self.0.watch(uri, ctx).await.map_err(Into::into)
    }

    async fn notified(&self, notification: Notification, ctx: Ctx) {
        if let Err(error) = self.0.notify(&notification, &ctx).await {
            tracing::debug!(%error, method = notification.method, "notification not passed on");
        }
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes()
    }
}
