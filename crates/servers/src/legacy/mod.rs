//! `legacy`: for callers that have not moved: old names, old messages, old revisions, and who still uses what.
//!
//! The old surfaces themselves are served where the new ones are (doors, the v1 form, the gateway's names); they consult
//! [`kernel::aliases`] and report to [`kernel::deprecations`]. This server is how people see and change that.

#[cfg(test)]
mod tests;
mod translate;
mod versions;

use async_trait::async_trait;
use kernel::UnixMs;
use kernel::aliases::{Alias, Aliases};
use kernel::deprecations::{self, Surface, Use};
use kernel::health::Check;
use kernel::store::Store;
use kernel::{Clock, catalog};
use mcp::prelude::*;
use serde_json::Value;

pub use translate::{Step, Translated};
pub use versions::Version;

/// `[servers.legacy]` in `flotilla.toml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

/// The server.
pub struct Legacy {
    clock: Clock,
    store: Arc<dyn Store>,
    aliases: Aliases,
}

impl McpServer for Legacy {
    const NAME: &'static str = "legacy";
    const INSTRUCTIONS: &'static str = "For callers that have not moved. translate says what to send today in place of an old message; \
        deprecations says who still uses what.";
    type Config = Config;
    type Ports = kernel::Ports;

    fn new(ports: &Ports, _config: Config) -> Result<Self, Fault> {
        let aliases = Aliases::new(ports.store.clone(), ports.clock.clone());
        Ok(Self { clock: ports.clock.clone(), store: ports.store.clone(), aliases })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(LIST_ALIASES, |server, request, _| async move { server.list_aliases(request).await });
        set.add(ADD_ALIAS, |server, request, ctx| async move { server.add_alias(request, &ctx).await });
        set.add(REMOVE_ALIAS, |server, request, _| async move { server.remove_alias(request).await });
        set.add(TRANSLATE, |server, request, _| async move { server.translate(request).await });
        set.add(DEPRECATIONS, |server, request, _| async move { server.deprecations(request).await });
        set.add_pure(PROTOCOL_VERSIONS, |_, _| Ok(ProtocolVersionsResponse { versions: versions::versions() }));
    }
}

tools! { Legacy::NAME;
    /// Lists old names of services and tools and what they are called now.
    LIST_ALIASES = "list_aliases": fn(ListAliasesRequest) -> ListAliasesResponse, Hints::READ;
    /// Lets an old name of a service or tool lead to its new one.
    ADD_ALIAS = "add_alias": fn(AddAliasRequest) -> Alias, Hints { idempotent: true, ..Hints::ADMIN };
    /// Removes an alias; callers of the old name are refused from then on.
    REMOVE_ALIAS = "remove_alias": fn(RemoveAliasRequest) -> Alias, Hints::ADMIN;
    /// Says what to send today in place of a v1 command, a chat command or a message of an older MCP revision, and why.
    TRANSLATE = "translate": fn(TranslateRequest) -> Translated, Hints::READ;
    /// Lists who still uses which deprecated surface, how often and when last.
    DEPRECATIONS = "deprecations": fn(DeprecationsRequest) -> DeprecationsResponse, Hints::READ;
    /// Lists the revisions of MCP that are served, with what each demands.
    PROTOCOL_VERSIONS = "protocol_versions": fn(ProtocolVersionsRequest) -> ProtocolVersionsResponse, Hints::READ;
}

/// What [`LIST_ALIASES`] takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListAliasesRequest {
    /// Only aliases whose old or new name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether to leave out those that came with the system.
    pub added_only: bool,
}

/// What [`LIST_ALIASES`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListAliasesResponse {
    /// By old name.
    pub aliases: Vec<Alias>,
}

/// What [`ADD_ALIAS`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAliasRequest {
    /// The old name: a service, or service__tool.
    pub name: String,
    /// The new name, of the same kind.
    pub target: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What [`REMOVE_ALIAS`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveAliasRequest {
    /// The old name.
    pub name: String,
}

/// What [`TRANSLATE`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TranslateRequest {
    /// What is sent until now: {"command", "args"}, a JSON-RPC message of an older revision (or a batch of them), or a chat command like
    /// "!logs mcp-execution 50".
    pub message: Value,
    /// The server it is sent to, where the message does not say; old names are understood. The coordinator unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// What [`DEPRECATIONS`] takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeprecationsRequest {
    /// Only this caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Only surfaces that start with this: http+sse, v1-execute, json-rpc-batch, revision:, alias:.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surface: Option<String>,
    /// Only what was seen in the last so many days: 1 to 90, 90 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 90))]
    pub days: Option<u32>,
}

/// A use and the way out of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Deprecated {
    /// Who uses what, how often, and when last.
    #[serde(flatten)]
    pub seen: Use,
    /// What to use instead.
    pub instead: String,
}

/// What [`DEPRECATIONS`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeprecationsResponse {
    /// Last seen first.
    pub uses: Vec<Deprecated>,
    /// Since when is looked, in milliseconds since the Unix epoch.
    pub since_ms: UnixMs,
}

/// What [`PROTOCOL_VERSIONS`] takes: nothing.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtocolVersionsRequest {}

/// What [`PROTOCOL_VERSIONS`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProtocolVersionsResponse {
    /// Newest first.
    pub versions: Vec<Version>,
}

#[async_trait]
impl Features for Legacy {
    async fn health(&self) -> Vec<Check> {
        vec![match self.aliases.list().await {
            Ok(aliases) => Check::healthy("aliases", format!("{} names", aliases.len())),
            Err(fault) => Check::down("aliases", fault.to_string()),
        }]
    }

    async fn complete(&self, _reference: &str, argument: &str, typed: &str) -> Result<Vec<String>, Fault> {
        let names = catalog::servers().map(|service| service.name).filter(|name| name.starts_with(typed));
        Ok(if argument == "server" { names.map(ToOwned::to_owned).collect() } else { Vec::new() })
    }
}

impl Legacy {
    async fn list_aliases(&self, request: ListAliasesRequest) -> Result<ListAliasesResponse, ToolError> {
        let mut aliases = self.aliases.list().await?;
        let wanted = request.name.unwrap_or_default();
        aliases.retain(|alias| alias.name.contains(&wanted) || alias.target.contains(&wanted));
        aliases.retain(|alias| !request.added_only || alias.by != kernel::aliases::BUILT_IN);
        Ok(ListAliasesResponse { aliases })
    }

    async fn add_alias(&self, request: AddAliasRequest, ctx: &Ctx) -> Result<Alias, ToolError> {
        let note = request.note.filter(|note| !note.trim().is_empty());
        let alias = self.aliases.add(&request.name, &request.target, note, &ctx.caller.name).await?;
        tracing::info!(name = alias.name, target = alias.target, by = alias.by, "alias added");
        Ok(alias)
    }

    async fn remove_alias(&self, request: RemoveAliasRequest) -> Result<Alias, ToolError> {
        let alias = self.aliases.remove(&request.name).await?;
        tracing::info!(name = alias.name, target = alias.target, "alias removed");
        Ok(alias)
    }

    async fn translate(&self, request: TranslateRequest) -> Result<Translated, ToolError> {
        Ok(translate::translate(&self.aliases, &request.message, request.server.as_deref()).await?)
    }

    async fn deprecations(&self, request: DeprecationsRequest) -> Result<DeprecationsResponse, ToolError> {
        const DAYS_MAX: u32 = 90;
        let days = request.days.unwrap_or(DAYS_MAX);
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(Fault::invalid(format!("days is {days}")).hint(format!("1 to {DAYS_MAX}")).into());
        }
        let since_ms = self.clock.now_ms() - i64::from(days) * 86_400_000;
        let mut uses = deprecations::list(&*self.store, request.surface.as_deref().unwrap_or_default()).await?;
        uses.retain(|seen| seen.last_ms >= since_ms);
        uses.retain(|seen| request.caller.as_ref().is_none_or(|caller| *caller == seen.caller));
        let mut answer = Vec::with_capacity(uses.len());
        for seen in uses {
            answer.push(Deprecated { instead: self.instead(&seen.surface).await?, seen });
        }
        Ok(DeprecationsResponse { uses: answer, since_ms })
    }

    async fn instead(&self, surface: &str) -> Result<String, Fault> {
        if let Some(alias) = surface.strip_prefix("alias:") {
            let target = self.aliases.resolve(alias).await?;
            return Ok(
                target.map_or_else(|| "the alias is gone; ask list_aliases".into(), |name| format!("call it `{name}`"))
            );
        }
        let current = mcp::Revision::CURRENT;
        let fixed = [
            (Surface::HttpSse, format!("Streamable HTTP: POST /mcp, revision {current}")),
            (Surface::V1Execute, "tools/call on POST /mcp; translate shows the message".to_owned()),
            (Surface::Batch, "one request a POST".to_owned()),
        ];
        let known = fixed.into_iter().find(|(known, _)| known.to_string() == surface).map(|(_, instead)| instead);
        Ok(known.unwrap_or_else(|| format!("revision {current}; protocol_versions says what it demands")))
    }
}
