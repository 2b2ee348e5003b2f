//! A server with its types erased: lists, dispatch, documentation as a resource.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use kernel::health::{Report, worst};
use kernel::{Access, Clock, Fault, Ports, UnixMs};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::ctx::Ctx;
use crate::error::{RpcError, ToolError, codes};
use crate::handler::{CHANGES_MAX, Change, Handler, Identity};
use crate::listen::TASKS_EXTENSION;
use crate::mirror::{self, Mirrored};
use crate::phases::{CallSpec, Phases};
use crate::reply::Reply;
use crate::resource::{Contents, Resource};
use crate::rounds;
use crate::seal::Sealer;
use crate::server::{Features, McpServer};
use crate::tasks::{Job, TaskStore};
use crate::tool::{Entry, ToolDef, ToolSet, listing_text};
use crate::wire::{Params, Request};

/// Entries of one page of a list.
pub const PAGE: usize = 100;
/// How long lists stay good, in milliseconds.
pub const LIST_TTL_MS: u64 = 60_000;

/// What every service of a process shares.
#[derive(Clone)]
pub struct Shared {
    /// Authorise, limit, run, record.
    pub phases: Phases,
    /// Seals what travels through clients.
    pub sealer: Sealer,
    /// Time.
    pub clock: Clock,
    /// The binary's version.
    pub version: &'static str,
    /// Keeps calls that outlast their requests; without it there are none.
    pub tasks: Option<Arc<TaskStore>>,
}

/// A server, ready to answer.
pub struct Service {
    /// Its name in the catalog.
    pub name: &'static str,
    identity: Arc<Identity>,
    tools: BTreeMap<String, Entry>,
    mirrored: BTreeMap<String, Arc<[Mirrored]>>,
    listings: Vec<(Access, Box<RawValue>)>,
    features: Arc<dyn Features>,
    shared: Shared,
    changes: broadcast::Sender<Change>,
    has_tasks: bool,
    started_ms: UnixMs,
}

#[derive(Deserialize)]
struct CompleteParams {
    #[serde(rename = "ref")]
    reference: Value,
    argument: CompleteArgument,
}

#[derive(Deserialize)]
struct CompleteArgument {
    name: String,
    value: String,
}

impl Service {
    /// Builds `S` and erases its types. Does no I/O.
    pub fn build<S: McpServer>(ports: &S::Ports, config: S::Config, shared: Shared) -> Result<Arc<Self>, Fault> {
        Ok(Self::of(Arc::new(S::new(ports, config)?), shared))
    }

    /// Erases the types of a server built by hand.
    pub fn of<S: McpServer>(server: Arc<S>, shared: Shared) -> Arc<Self> {
        let mut set = ToolSet::new();
        S::tools(&mut set);
        let tools = set.finish(&server);
        let listings = tools.values().map(|entry| (entry.def.hints.access, listing_text(&entry.def, &entry.def.name)));
        let mut capabilities = json!({
            "tools": { "listChanged": true },
            "resources": { "listChanged": true, "subscribe": true },
            "prompts": { "listChanged": true },
            "completions": {},
            "logging": {},
        });
        let has_tasks = shared.tasks.is_some() && tools.values().any(|entry| entry.def.hints.long);
        if has_tasks {
            capabilities["extensions"] = json!({ TASKS_EXTENSION: {} });
        }
        let identity = Identity {
            name: S::NAME.into(),
            title: format!("Flotilla {}", S::NAME),
            version: shared.version.into(),
            instructions: Some(S::INSTRUCTIONS.into()),
            capabilities,
        };
        let changes = server.changes().unwrap_or_else(|| broadcast::channel(CHANGES_MAX).0);
        Arc::new(Self {
            name: S::NAME,
            identity: Arc::new(identity),
            listings: listings.collect(),
            mirrored: mirrored(tools.values()),
            tools,
            features: server,
            changes,
            has_tasks,
            started_ms: shared.clock.now_ms(),
            shared,
        })
    }

    /// Starts the server's standing work.
    pub async fn start(&self, ports: Ports) -> Result<(), Fault> {
        Arc::clone(&self.features).start(ports).await
    }

    /// The body of `/health`.
    pub async fn health(&self) -> Report {
        let checks = self.features.health().await;
        Report {
            status: worst(&checks),
            service: self.name.into(),
            version: self.shared.version.into(),
            uptime_seconds: u64::try_from(self.shared.clock.now_ms() - self.started_ms).unwrap_or(0) / 1_000,
            checks,
        }
    }

    /// Its tools, by name.
    pub fn tools(&self) -> impl Iterator<Item = &Arc<ToolDef>> {
        self.tools.values().map(|entry| &entry.def)
    }

    /// One tool.
    pub fn tool(&self, name: &str) -> Option<&Arc<ToolDef>> {
        self.tools.get(name).map(|entry| &entry.def)
    }

    /// Tells subscribers of a change.
    pub fn announce(&self, change: Change) {
        // An error means that nobody listens.
        self.changes.send(change).ok();
    }

    fn list_tools(&self, params: &Params, ctx: &Ctx) -> Result<Reply, RpcError> {
        let visible = self.listings.iter().filter(|(access, _)| ctx.caller.allows(*access));
        page("tools", visible.map(|(_, listing)| listing.as_ref()), params.cursor.as_deref())
    }

    async fn call_tool(&self, params: &Params, ctx: &Ctx) -> Result<Reply, ToolError> {
        let name = params.name.as_deref().ok_or_else(|| RpcError::invalid_params("params.name is missing"))?;
        let entry = self.tools.get(name).ok_or_else(|| self.unknown_tool(name))?;
        let hints = &entry.def.hints;
        let spec = CallSpec { server: self.name, tool: name, access: hints.access, time: hints.time };
        if let Some(tasks) = self.shared.tasks.as_ref().filter(|_| hints.long && may_become_task(ctx)) {
            return self.call_long(tasks, entry, params, ctx).await;
        }
        let work = (entry.run)(params.arguments.clone(), ctx.clone());
        self.shared.phases.run(&spec, params.arguments.as_deref(), ctx, work).await
    }

    /// A call that goes on by itself if it takes long.
    async fn call_long(
        &self,
        tasks: &Arc<TaskStore>,
        entry: &Entry,
        params: &Params,
        ctx: &Ctx,
    ) -> Result<Reply, ToolError> {
        let running = tasks.prepare(&ctx.caller.name, entry.def.hints.time, self.changes.clone());
        let leaving = ctx.cancel.clone();
        let ctx = Ctx { cancel: running.cancellation(), task: Some(Arc::clone(&running)), ..ctx.clone() };
        let (phases, server, def) = (self.shared.phases.clone(), self.name, Arc::clone(&entry.def));
        let arguments = params.arguments.clone();
        let call = (entry.run)(arguments.clone(), ctx.clone());
        let work = async move {
            let spec = CallSpec { server, tool: &def.name, access: def.hints.access, time: def.hints.time };
            phases.run(&spec, arguments.as_deref(), &ctx, call).await
        };
        tasks.run(Job { running, work: work.boxed(), leaving }).await
    }

    fn unknown_tool(&self, name: &str) -> RpcError {
        let known: Vec<&str> = self.tools.keys().map(String::as_str).collect();
        let hint = kernel::limits::nearest(name, &known).map(|near| format!("; did you mean `{near}`?"));
        RpcError::invalid_params(format!("unknown tool: {name}{}", hint.unwrap_or_default()))
    }

    async fn list_resources(&self, params: &Params, ctx: &Ctx) -> Result<Reply, RpcError> {
        let mut all = vec![self.documentation_entry()];
        all.extend(self.features.resources(ctx).await?);
        let all: Vec<_> = all.iter().map(crate::wire::raw).collect();
        page("resources", all.iter().map(AsRef::as_ref), params.cursor.as_deref())
    }

    async fn read_resource(&self, params: &Params, ctx: &Ctx) -> Result<Reply, ToolError> {
        let uri = params.uri.as_deref().ok_or_else(|| RpcError::invalid_params("params.uri is missing"))?;
        let contents = if uri == self.documentation_entry().uri {
            Some(vec![Contents::text(uri, "text/markdown", self.documentation())])
        } else {
            self.features.read_resource(uri, ctx).await?
        };
        match contents {
            Some(contents) => Ok(Reply::complete(&json!({ "contents": contents })).cached(0, false)),
            None => {
                let code =
                    if ctx.revision.is_modern() { codes::INVALID_PARAMS } else { codes::LEGACY_RESOURCE_NOT_FOUND };
                Err(RpcError::new(code, "resource not found").data(json!({ "uri": uri })).into())
            }
        }
    }

    async fn get_prompt(&self, params: &Params, ctx: &Ctx) -> Result<Reply, ToolError> {
        let name = params.name.as_deref().ok_or_else(|| RpcError::invalid_params("params.name is missing"))?;
        let prompts = self.features.prompts();
        let prompt = prompts
            .iter()
            .find(|prompt| prompt.name == name)
            .ok_or_else(|| RpcError::invalid_params(format!("unknown prompt: {name}")))?;
        let given = params.arguments.as_deref().map_or("{}", RawValue::get);
        let arguments: crate::prompt::Arguments = serde_json::from_str(given)
            .map_err(|_| RpcError::invalid_params("params.arguments must be an object of strings"))?;
        let missing = prompt.arguments.iter().find(|wanted| wanted.required && !arguments.contains_key(&wanted.name));
        if let Some(missing) = missing {
            return Err(RpcError::invalid_params(format!("prompt {name} needs the argument `{}`", missing.name)).into());
        }
        let messages = self.features.prompt(name, arguments, ctx).await?;
        Ok(Reply::complete(&json!({ "description": prompt.description, "messages": messages })))
    }

    async fn complete(&self, params: &Params) -> Result<Reply, RpcError> {
        /// The protocol's own bound.
        const VALUES_MAX: usize = 100;
        let asked: CompleteParams = params.read()?;
        let name = asked.reference.get("name").or_else(|| asked.reference.get("uri")).and_then(Value::as_str);
        let name = name.ok_or_else(|| RpcError::invalid_params("params.ref needs a name or a uri"))?;
        let mut values = self.features.complete(name, &asked.argument.name, &asked.argument.value).await?;
        let total = values.len();
        values.truncate(VALUES_MAX);
        let completion = json!({ "values": values, "total": total, "hasMore": total > VALUES_MAX });
        Ok(Reply::complete(&json!({ "completion": completion })))
    }

    fn documentation_entry(&self) -> Resource {
        Resource {
            uri: format!("docs://{}", self.name),
            name: format!("{} documentation", self.name),
            description: Some("what this server is for and every tool it has".into()),
            mime_type: Some("text/markdown".into()),
        }
    }

    /// The server's documentation, in Markdown.
    pub fn documentation(&self) -> String {
        let mut text = format!("# {}\n\n{}\n", self.name, self.identity.instructions.as_deref().unwrap_or_default());
        for def in self.tools() {
            text.push_str(&format!("\n## `{}`\n\n{}\n", def.name, def.about));
        }
        text
    }
}

#[async_trait]
impl Handler for Service {
    fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    async fn handle(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        if let Some(tasks) =
            self.shared.tasks.as_ref().filter(|_| self.has_tasks && TaskStore::has_method(&request.method))
        {
            return tasks.answer(&request, &ctx).await;
        }
        let Request { method, params, .. } = request;
        match method.as_str() {
            "tools/list" => self.list_tools(&params, &ctx),
            "resources/list" => self.list_resources(&params, &ctx).await,
            "resources/templates/list" => {
                let all: Vec<_> = self.features.resource_templates().iter().map(crate::wire::raw).collect();
                page("resourceTemplates", all.iter().map(AsRef::as_ref), params.cursor.as_deref())
            }
            "prompts/list" => {
                let all: Vec<_> = self.features.prompts().iter().map(crate::wire::raw).collect();
                page("prompts", all.iter().map(AsRef::as_ref), params.cursor.as_deref())
            }
            "completion/complete" => self.complete(&params).await,
            "tools/call" | "resources/read" | "prompts/get" => {
                let (params, ctx) = rounds::open(&self.shared.sealer, &method, params, ctx)?;
                let outcome = match method.as_str() {
                    "tools/call" => self.call_tool(&params, &ctx).await,
                    "prompts/get" => self.get_prompt(&params, &ctx).await,
                    _ => self.read_resource(&params, &ctx).await,
                };
                rounds::close(&self.shared.sealer, &method, &params, &ctx, outcome)
            }
            _ => Err(RpcError::method_not_found(&method)),
        }
    }

    fn mirrored(&self, tool: &str) -> Option<Arc<[Mirrored]>> {
        self.mirrored.get(tool).cloned()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

/// Whether the client takes a task for an answer.
fn may_become_task(ctx: &Ctx) -> bool {
    ctx.revision.is_modern() && ctx.client.has_extension(TASKS_EXTENSION)
}

/// The tools that have arguments mirrored into headers.
fn mirrored<'a>(tools: impl Iterator<Item = &'a Entry>) -> BTreeMap<String, Arc<[Mirrored]>> {
    let read = |entry: &Entry| match mirror::mirrored(&entry.def.input) {
        Ok(found) => (!found.is_empty()).then(|| (entry.def.name.clone(), found.into())),
        Err(error) => {
            tracing::error!(tool = entry.def.name, %error, "headers of a tool of ours are not checked: its schema is wrong");
            None
        }
    };
    tools.filter_map(read).collect()
}

/// One page of a list that is JSON already. A cursor is the place of the next entry.
pub fn page<'a>(
    field: &str,
    entries: impl Iterator<Item = &'a RawValue>,
    cursor: Option<&str>,
) -> Result<Reply, RpcError> {
    let from: usize = cursor.map_or(Ok(0), str::parse).map_err(|_| RpcError::invalid_params("unknown cursor"))?;
    let mut entries = entries.skip(from).peekable();
    let mut text = format!(r#"{{"{field}":["#);
    for (place, entry) in entries.by_ref().take(PAGE).enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(entry.get());
    }
    text.push(']');
    if entries.peek().is_some() {
        text.push_str(&format!(r#","nextCursor":"{}""#, from + PAGE));
    }
    text.push('}');
    let body = RawValue::from_string(text).map_err(|error| RpcError::internal(format!("list: {error}")))?;
    // What is listed depends on the caller's role, so no cache may share it.
    Ok(Reply::raw(body).cached(LIST_TTL_MS, false))
}
