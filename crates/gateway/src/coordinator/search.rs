//! Three tools for all others: find, describe, call. A client that sees only these keeps its context small.

use std::time::Duration;

use mcp::prelude::*;
use mcp::reply::ResultType;
use mcp::toolbox::Router;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Coordinator;
use crate::names;
use crate::table::{Entry, Table};
use mcp::splice;

/// The tool called has its own limit; this one only ends what has none.
const CALL_TIME: Duration = Duration::from_secs(3_600);

tools! { kernel::catalog::COORDINATOR;
    /// Finds the tools that do a job, the best first: give a few words of what you want to do. Searches names, descriptions and parameters of every tool of the fleet and its upstreams that you may use.
    FIND_TOOLS = "find_tools": fn(FindToolsRequest) -> FindToolsResponse, Hints::READ;
    /// One tool in full: what it does, the JSON Schemas of its input and output, what it may change, and which role it needs.
    DESCRIBE_TOOL = "describe_tool": fn(DescribeToolRequest) -> DescribeToolResponse, Hints::READ;
    /// Calls any tool by the name find_tools gave, under your own permissions; the answer is the tool's own.
    CALL_TOOL = "call_tool": fn(CallToolRequest) -> (), Hints { destructive: true, idempotent: false, open_world: true, ..Hints::READ }.within(CALL_TIME);
}

/// Binds the tools of this file.
pub(super) fn tools(set: &mut ToolSet<Coordinator>) {
    set.add(FIND_TOOLS, Coordinator::find_tools);
    set.add(DESCRIBE_TOOL, Coordinator::describe_tool);
    set.add_content(CALL_TOOL, Coordinator::call_tool);
}

/// What [`FIND_TOOLS`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindToolsRequest {
    /// What you want to do, in a few words: `balance of an account`, `why did it revert`.
    pub query: String,
    /// Only tools of this server or upstream.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server: Option<String>,
    /// At most this many, 1 to 50.
    #[serde(default = "find_limit")]
    #[schemars(range(min = 1, max = 50))]
    pub limit: usize,
}

fn find_limit() -> usize {
    8
}

/// What [`FIND_TOOLS`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FindToolsResponse {
    /// The tools, the best first.
    pub tools: Vec<FoundTool>,
    /// How many fit in all.
    pub total: u64,
}

/// A tool found.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundTool {
    /// Its name, for describe_tool and call_tool.
    pub name: String,
    /// What it does.
    pub description: String,
    /// What it takes: `name: type`, with `?` where it may be left out.
    pub parameters: String,
}

/// What [`DESCRIBE_TOOL`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DescribeToolRequest {
    /// The tool's name: `server__tool`.
    pub name: String,
}

/// What [`DESCRIBE_TOOL`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DescribeToolResponse {
    /// Its name.
    pub name: String,
    /// The server or upstream that has it.
    pub server: String,
    /// What a caller's role must allow.
    pub access: Access,
    /// Its entry in `tools/list`, whole: description, inputSchema, outputSchema, annotations.
    pub definition: Value,
}

/// What [`CALL_TOOL`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallToolRequest {
    /// The tool's name: `server__tool`.
    pub name: String,
    /// Its arguments, as its inputSchema says.
    #[serde(default)]
    pub arguments: serde_json::Map<String, Value>,
}

impl Coordinator {
    async fn find_tools(self: Arc<Self>, request: FindToolsRequest, ctx: Ctx) -> Result<FindToolsResponse, ToolError> {
        if !(1..=50).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint("1 to 50").into());
        }
        let table = self.gateway()?.table();
        let hits = table.index().search(&request.query, |place| {
            let entry = &table.entries[place];
            let of_server = request.server.as_ref().is_none_or(|server| entry.part.name() == server);
            of_server && may_use(entry, &ctx)
        });
        let tools = hits.iter().take(request.limit).map(|hit| found(&table.entries[hit.place])).collect();
        Ok(FindToolsResponse { tools, total: hits.len() as u64 })
    }

    async fn describe_tool(
        self: Arc<Self>,
        request: DescribeToolRequest,
        ctx: Ctx,
    ) -> Result<DescribeToolResponse, ToolError> {
        let table = self.gateway()?.table();
        let entry = usable(&table, &request.name, &ctx)?;
        let definition = serde_json::from_str(entry.listing.get())
            .map_err(|error| Fault::upstream(format!("the entry of {} cannot be read: {error}", entry.name)))?;
        let (name, server) = (entry.name.clone(), entry.part.name().to_owned());
        Ok(DescribeToolResponse { name, server, access: entry.access, definition })
    }

    /// The gateway unwraps calls of this tool before they come here ([`crate::route`]); this is for those who call the server itself.
    async fn call_tool(self: Arc<Self>, request: CallToolRequest, ctx: Ctx) -> Result<Outcome, ToolError> {
        let gateway = self.gateway()?;
        let table = gateway.table();
        let entry = usable(&table, &request.name, &ctx)?;
        let arguments = mcp::wire::raw(&request.arguments);
        let reply = gateway.call(entry.part.name(), &entry.own, arguments, ctx).await?;
        if reply.kind != ResultType::Complete {
            return Err(Fault::unsupported(format!("{} asks or goes on for long", entry.name))
                .hint("call it through the coordinator's own endpoint, or directly")
                .into());
        }
        Ok(Outcome::forwarded(reply))
    }
}

fn may_use(entry: &Entry, ctx: &Ctx) -> bool {
    entry.held.is_none() && ctx.caller.allows(entry.access)
}

/// The tool of this name, for this caller.
fn usable<'a>(table: &'a Table, name: &str, ctx: &Ctx) -> Result<&'a Entry, Fault> {
    table.get(name).filter(|entry| may_use(entry, ctx)).ok_or_else(|| {
        let known: Vec<&str> =
            table.entries.iter().filter(|entry| may_use(entry, ctx)).map(|entry| entry.name.as_str()).collect();
        let hint = match kernel::limits::nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names::split(name).is_none() => "tools are named server__tool; find_tools finds them".into(),
            None => "find_tools finds the tools you may use".into(),
        };
        Fault::not_found(format!("no tool `{name}`")).hint(hint)
    })
}

/// A tool in short, from its entry.
fn found(entry: &Entry) -> FoundTool {
    let listing = &entry.listing;
    FoundTool { name: entry.name.clone(), description: summary(listing), parameters: signature(listing) }
}

/// Longest description in a list of tools found, in characters.
const SUMMARY_MAX: usize = 240;

fn summary(listing: &RawValue) -> String {
    let text: String =
        splice::get(listing.get(), "description").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    match text.char_indices().nth(SUMMARY_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// `address: string, block?: string | integer`.
fn signature(listing: &RawValue) -> String {
    let schema: Value = splice::get(listing.get(), "inputSchema")
        .and_then(|schema| serde_json::from_str(schema).ok())
        .unwrap_or(Value::Null);
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.contains(&json!(name)));
    let properties = schema["properties"].as_object();
    let parts: Vec<String> = properties
        .into_iter()
        .flatten()
        .map(|(name, inner)| format!("{name}{}: {}", if required(name) { "" } else { "?" }, kind(inner)))
        .collect();
    parts.join(", ")
}

fn kind(schema: &Value) -> String {
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("[{}]", kind_of_items(schema)),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
            kinds.join(" | ")
        }
        _ if schema.get("enum").is_some() => "string".into(),
        _ => "any".into(),
    }
}

fn kind_of_items(schema: &Value) -> String {
    schema.get("items").map_or("any".into(), kind)
}
