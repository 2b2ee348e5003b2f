//! What a page sees of the fleet: its tools' answers, as this caller gets them.
//!
//! A page that is open looks over and over, so its looks are standing ones ([`Caller::standing`]): they pass every phase, are counted, and are
//! recorded where they are refused. What somebody does is called under the caller as it is ([`crate::dashboard::act`]).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Caller, Fault, Trace, UnixMs};
use mcp::Ctx;
use mcp::toolbox::{Router, structured};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::query::Query;

/// How long one look may take: a page is there for somebody who waits, and a feed that says nothing for five seconds is taken for dead.
pub const LOOK_TIME: Duration = Duration::from_secs(3);
/// The coordinator, whose tools tell of the fleet.
pub const COORDINATOR: &str = kernel::catalog::COORDINATOR;

/// A view of the fleet for one caller at one moment.
pub struct Look {
    router: Arc<dyn Router>,
    caller: Caller,
    /// What the forms of this caller carry.
    pub token: String,
    /// What the page is of: its path and query.
    pub here: String,
    /// Now.
    pub now_ms: UnixMs,
    status: OnceCell<Result<Value, Fault>>,
}

impl Look {
    /// A look for `caller`.
    pub fn new(router: Arc<dyn Router>, caller: &Caller, token: String, here: &str, now_ms: UnixMs) -> Self {
        let caller = Caller { standing: true, ..caller.clone() };
        Self { router, caller, token, here: here.to_owned(), now_ms, status: OnceCell::new() }
    }

    /// What a tool that only reads answers.
    ///
    /// # Errors
    /// What it refuses or fails with, and that it takes too long.
    pub async fn read(&self, server: &str, tool: &str, arguments: Value) -> Result<Value, Fault> {
        let ctx = Ctx::internal(self.caller.clone(), Trace::root());
        let call = async {
            let reply = self.router.call(server, tool, mcp::wire::raw(&arguments), ctx).await?;
            let content = structured(&reply)?;
            serde_json::from_str(content.get())
                .map_err(|error| Fault::upstream(format!("{server}.{tool}: answer is not JSON: {error}")))
        };
        within(&format!("{server}.{tool}"), call).await
    }

    /// How the whole fleet stands; asked once for all that a page says of it.
    pub async fn status(&self) -> &Result<Value, Fault> {
        self.status.get_or_init(|| self.read(COORDINATOR, "system_status", json!({}))).await
    }

    /// Whether this caller may use a tool; why not, otherwise.
    ///
    /// # Errors
    /// In words for people.
    pub fn may(&self, server: &str, tool: &str) -> Result<(), String> {
        let Some(access) = self.router.asks(server, tool) else { return Err(format!("{server} is not there now")) };
        let needed = format!("{server}.{tool}");
        self.caller.require(access, &needed).map_err(|fault| match fault.hint {
            Some(_) => format!("needs another role than {}", self.caller.role),
            None => fault.message,
        })
    }

    /// The name of whoever looks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The query of the page.
    pub fn query(&self) -> Query {
        Query::of(self.here.split_once('?').map_or("", |(_, query)| query))
    }
}

async fn within(what: &str, looking: impl Future<Output = Result<Value, Fault>>) -> Result<Value, Fault> {
    tokio::time::timeout(LOOK_TIME, looking)
        .await
        .unwrap_or_else(|_| Err(Fault::timeout(format!("{what} did not answer within {} s", LOOK_TIME.as_secs()))))
}
