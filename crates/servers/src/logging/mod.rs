//! `logging`: the lines of every service and of whatever else sends its own here: search, tail, statistics, patterns, export,
//! retention.
//!
//! Stands on the port [`Logs`]; keeps nothing itself but the retention, which is in the store. What other programs send is read by
//! [`intake`]. A duty forgets what is older than the retention, once an hour and whenever the retention changes.

mod export;
pub mod intake;
mod look;
pub mod patterns;
mod retention;
mod tail;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use async_trait::async_trait;
use kernel::fleet::Fleet;
use kernel::health::Check;
use kernel::logs::Logs;
use kernel::store::Store;
use kernel::{Clock, OnEnd};
use mcp::prelude::*;
use mcp::prompt::{Argument, Arguments, Message, Prompt};
use mcp::resource::{Contents, Resource, Template};

pub use words::*;

/// `[servers.logging]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many days of lines to keep beside today, until `set_retention` says otherwise: 1 to 3,650.
    pub retention_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { retention_days: 14 }
    }
}

/// The server.
pub struct Logging {
    clock: Clock,
    logs: Arc<dyn Logs>,
    store: Arc<dyn Store>,
    fleet: Arc<dyn Fleet>,
    config: Config,
}

impl McpServer for Logging {
    const NAME: &'static str = "logging";
    const INSTRUCTIONS: &'static str = "The fleet's log lines. Start with error_summary or patterns to see what is going on, \
        search to find lines (a trace id gives one request's whole story), context to read around one, tail to follow.";
    type Config = Config;
    type Ports = kernel::Ports;

    fn new(ports: &Ports, config: Config) -> Result<Self, Fault> {
        retention::check_days(config.retention_days)?;
        let (logs, store, fleet) = (ports.logs.clone(), ports.store.clone(), ports.fleet.clone());
        Ok(Self { clock: ports.clock.clone(), logs, store, fleet, config })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(SEARCH, |server, request, _| async move { server.search(request).await });
        set.add(TAIL, |server, request, ctx| async move { server.tail(request, &ctx).await });
        set.add(CONTEXT, |server, request, _| async move { server.context(request).await });
        set.add(STATS, |server, request, _| async move { server.stats(request).await });
        set.add(PATTERNS, |server, request, _| async move { server.patterns(request).await });
        set.add(ERROR_SUMMARY, |server, request, _| async move { server.error_summary(request).await });
        set.add_content(EXPORT, |server, request, _| async move { server.export(request).await });
        set.add(SET_RETENTION, |server, request, _| async move { server.set_retention(request).await });
        set.add(SOURCES, |server, request, _| async move { server.sources(request).await });
    }
}

/// How long a tail may take: what it may wait, and a little.
const TAIL_TIME: Duration = Duration::from_secs(tail::WAIT_SECONDS_MAX as u64 + 15);

tools! { Logging::NAME;
    /// Finds log lines by words, service, level, trace and time, newest first, in pages.
    SEARCH = "search": fn(SearchRequest) -> SearchResponse, Hints::READ;
    /// The newest lines, and with the cursor of the last call what came since; can wait for new lines.
    TAIL = "tail": fn(TailRequest) -> TailResponse, Hints::READ.within(TAIL_TIME);
    /// What was said around a line.
    CONTEXT = "context": fn(ContextRequest) -> ContextResponse, Hints::READ;
    /// Counts lines by service and level over a time, in parts if wanted; says what is kept and for how long.
    STATS = "stats": fn(StatsRequest) -> StatsResponse, Hints::READ;
    /// Groups similar lines into templates with counts: what is said most, without reading it all.
    PATTERNS = "patterns": fn(PatternsRequest) -> PatternsResponse, Hints::READ;
    /// Errors of a time by service and kind, beside the time before: the first look when something is wrong.
    ERROR_SUMMARY = "error_summary": fn(ErrorSummaryRequest) -> ErrorSummaryResponse, Hints::READ;
    /// Writes matching lines as NDJSON or CSV, inside the answer or as a linked resource.
    EXPORT = "export": fn(ExportRequest) -> (), Hints::READ;
    /// Sets how many days of lines are kept; older ones are removed at once and for good.
    SET_RETENTION = "set_retention": fn(SetRetentionRequest) -> SetRetentionResponse,
        Hints { idempotent: true, ..Hints::ADMIN };
    /// Lists who says lines, how many, and when last; and the doors for other programs' lines.
    SOURCES = "sources": fn(SourcesRequest) -> SourcesResponse, Hints::READ;
}

#[async_trait]
impl Features for Logging {
    async fn start(self: Arc<Self>, ports: Ports) -> Result<(), Fault> {
        let tasks = ports.tasks.clone();
        ports.tasks.spawn("log retention", OnEnd::StopOwner, async move { self.keep_forgetting(&tasks).await });
        Ok(())
    }

    async fn health(&self) -> Vec<Check> {
        vec![match self.logs.usage().await {
            Ok(usage) => Check::healthy("log store", format!("{} lines, {} bytes", usage.lines, usage.bytes)),
            Err(fault) => Check::down("log store", fault.to_string()),
        }]
    }

    async fn resources(&self, _ctx: &Ctx) -> Result<Vec<Resource>, Fault> {
        Ok(vec![Resource {
            uri: export::RECENT.into(),
            name: "recent log lines".into(),
            description: Some(format!("the newest {} lines of all services, as NDJSON", export::RECENT_LINES)),
            mime_type: Some("application/x-ndjson".into()),
        }])
    }

    fn resource_templates(&self) -> Vec<Template> {
        vec![Template {
            uri_template: format!(
                "{}{{?format,text,service,level,trace_id,from,until,limit,before}}",
                export::EXPORTED
            ),
            name: "exported log lines".into(),
            description: Some(
                "matching lines as NDJSON or CSV, newest first; the parameters are those of the tool export".into(),
            ),
            mime_type: None,
        }]
    }

    async fn read_resource(&self, uri: &str, _ctx: &Ctx) -> Result<Option<Vec<Contents>>, ToolError> {
        Ok(self.read_export(uri).await?)
    }

    fn prompts(&self) -> Vec<Prompt> {
        let argument =
            |name: &str, about: &str| Argument { name: name.into(), description: Some(about.into()), required: false };
        vec![Prompt {
            name: "explain_errors".into(),
            description: Some("What went wrong lately, why, and what to do about it".into()),
            arguments: vec![argument("service", "only this service"), argument("since", "how far back, like -1h")],
        }]
    }

    async fn prompt(&self, _name: &str, arguments: Arguments, _ctx: &Ctx) -> Result<Vec<Message>, ToolError> {
        let service = arguments.get("service").map_or(String::new(), |name| format!(" of the service `{name}`"));
        let since = arguments.get("since").map_or("-1h", String::as_str);
        Ok(vec![Message::user(format!(
            "Explain the errors{service} since {since}. Call error_summary first; for each frequent pattern follow one of its traces with \
             search (trace_id) and read around it with context. Then say for each: what failed, the most likely cause with the lines that \
             show it, whether it goes on, and what to do next. Say plainly what the logs do not show."
        ))])
    }
}
