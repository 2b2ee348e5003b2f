//! What one client sees of the fleet, as a [`Handler`]: lists put together, requests sent on to the part they belong to.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Fault, catalog};
use mcp::handler::{Identity, Watch};
use mcp::listen::TASKS_EXTENSION;
use mcp::mirror::Mirrored;
use mcp::service::{Shared, page};
use mcp::wire::{Notification, Request};
use mcp::{Change, Ctx, Handler, Reply, RpcError};
use serde_json::json;
use tokio::sync::broadcast;

use crate::gateway::Gateway;
use crate::gather;
use crate::part::Part;
use crate::route::{self, unknown_tool};
use crate::selector::{Selector, Toolset};
use crate::table::{Entry, Table};
use crate::{long, names, readdress};
use mcp::splice;

/// The tools of search mode, on the coordinator.
pub(crate) const SEARCH_TOOLS: [&str; 3] = ["find_tools", "describe_tool", "call_tool"];

/// A client's view.
pub(crate) struct View {
    gateway: Arc<Gateway>,
    scope: Scope,
    identity: Arc<Identity>,
}

enum Scope {
    All,
    One(String),
    Toolset(Toolset),
    Search,
}

impl View {
    pub(crate) fn of(gateway: &Arc<Gateway>, selector: Selector) -> Result<Self, Fault> {
        let scope = match selector {
            Selector::All => Scope::All,
            Selector::Search => Scope::Search,
            Selector::One(name) => {
                gateway.part(&name).ok_or_else(|| unknown("server", &name, &part_names(gateway)))?;
                Scope::One(name)
            }
            Selector::Toolset(name) => {
                let sets = gateway.toolsets();
                let known: Vec<&str> = sets.keys().map(String::as_str).collect();
                Scope::Toolset(sets.get(&name).cloned().ok_or_else(|| unknown("toolset", &name, &known))?)
            }
        };
        let make = || Arc::new(identity_of(&scope, &gateway.shared));
        let identity =
            if matches!(scope, Scope::All) { Arc::clone(gateway.identity.get_or_init(make)) } else { make() };
        Ok(Self { gateway: Arc::clone(gateway), scope, identity })
    }

    /// The tool that this client knows by `name`.
    fn resolve<'a>(&self, table: &'a Table, name: &str) -> Option<&'a Entry> {
        match &self.scope {
            Scope::All => table.get(name),
            Scope::Toolset(_) => table.get(name).filter(|entry| self.shows(entry)),
            Scope::One(part) => table.get(&names::tool(part, name)),
            Scope::Search if SEARCH_TOOLS.contains(&name) => table.get(&names::tool(catalog::COORDINATOR, name)),
            Scope::Search => None,
        }
    }

    fn shows(&self, entry: &Entry) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::One(part) => entry.part.name() == part,
            Scope::Toolset(set) => set.has(&entry.name) || entry.part.is_in_toolset(&set.name),
            Scope::Search => entry.part.name() == catalog::COORDINATOR && SEARCH_TOOLS.contains(&entry.own.as_str()),
        }
    }

    /// The parts whose resources and prompts this client sees.
    fn parts(&self, table: &Table) -> Vec<Arc<dyn Part>> {
        let shown = |part: &&Arc<dyn Part>| match &self.scope {
            Scope::All => true,
            Scope::One(name) => part.name() == name,
            Scope::Toolset(_) => {
                table.entries.iter().any(|entry| entry.part.name() == part.name() && self.shows(entry))
            }
            Scope::Search => false,
        };
        table.parts.iter().filter(shown).cloned().collect()
    }

    fn list_tools(&self, request: &Request, ctx: &Ctx) -> Result<Reply, RpcError> {
        let table = self.gateway.table();
        let seen = |entry: &&Entry| entry.held.is_none() && ctx.caller.allows(entry.access) && self.shows(entry);
        let cursor = request.params.cursor.as_deref();
        if matches!(self.scope, Scope::Search) {
            let listings: Result<Vec<_>, _> = table
                .entries
                .iter()
                .filter(seen)
                .map(|entry| splice::set_raw(&entry.listing, &[("name", &splice::quoted(&entry.own))]))
                .collect();
            return page("tools", listings?.iter().map(AsRef::as_ref), cursor);
        }
        page("tools", table.entries.iter().filter(seen).map(|entry| &*entry.listing), cursor)
    }

    async fn call(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        let table = self.gateway.table();
        let name = request.params.name.as_deref();
        let name = name.ok_or_else(|| RpcError::invalid_params("params.name is missing"))?;
        let entry = self.resolve(&table, name).ok_or_else(|| {
            let known = table.entries.iter().filter(|entry| self.shows(entry) && ctx.caller.allows(entry.access));
            unknown_tool(&self.gateway, &table, name, &known.map(|entry| entry.name.as_str()).collect::<Vec<_>>())
        })?;
        let reply = route::call(&self.gateway, &table, entry, request, ctx).await?;
        Ok(match &self.scope {
            Scope::One(_) => reply,
            _ => long::handle_of(&*entry.part, readdress::tool_result(&*entry.part, reply)),
        })
    }

    /// The part of a view of one server.
    fn one(&self, name: &str) -> Result<Arc<dyn Part>, Fault> {
        let gone = || Fault::unavailable(format!("{name} is not there now")).hint("it may be back soon: try again");
        self.gateway.part(name).ok_or_else(gone)
    }

    async fn aggregate(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        let table = self.gateway.table();
        let parts = self.parts(&table);
        match request.method.as_str() {
            "resources/list" => gather::list(gather::RESOURCES, &parts, &request, &ctx).await,
            "resources/templates/list" => gather::list(gather::TEMPLATES, &parts, &request, &ctx).await,
            "prompts/list" => gather::list(gather::PROMPTS, &parts, &request, &ctx).await,
            "resources/read" => gather::resource(&parts, request, ctx).await,
            "prompts/get" => gather::prompt(&parts, request, ctx).await,
            "completion/complete" => gather::complete(&parts, request, ctx).await,
            "tasks/get" | "tasks/update" | "tasks/cancel" => long::task(&self.gateway, &parts, request, ctx).await,
            other => Err(RpcError::method_not_found(other)),
        }
    }
}

/// Who answers for a scope; for one server that left, what can still be said.
fn identity_of(scope: &Scope, shared: &Shared) -> Identity {
    let mut capabilities = json!({ "tools": { "listChanged": true }, "logging": {} });
    if !matches!(scope, Scope::Search) {
        capabilities["resources"] = json!({ "listChanged": true, "subscribe": true });
        capabilities["prompts"] = json!({ "listChanged": true });
        capabilities["completions"] = json!({});
    }
    if shared.tasks.is_some() {
        capabilities["extensions"] = json!({ TASKS_EXTENSION: {} });
    }
    let instructions = match scope {
        Scope::Search => "A whole fleet of servers behind three tools: find_tools says which tool does a job, describe_tool what it \
            takes, call_tool calls it."
            .into(),
        Scope::Toolset(set) => format!("The toolset `{}`: {}. Tools are named server__tool.", set.name, set.about),
        Scope::One(_) | Scope::All => {
            "A whole fleet of servers. Tools are named server__tool; master-coordinator__find_tools finds the right one by words; \
                the resource docs://SERVER explains a server."
                .into()
        }
    };
    Identity {
        name: "flotilla".into(),
        title: "Flotilla".into(),
        version: shared.version.into(),
        instructions: Some(instructions),
        capabilities,
    }
}

#[async_trait]
impl Handler for View {
    fn identity(&self) -> Arc<Identity> {
        match &self.scope {
            Scope::One(name) => {
                self.gateway.part(name).map_or_else(|| Arc::clone(&self.identity), |part| part.identity())
            }
            _ => Arc::clone(&self.identity),
        }
    }

    async fn handle(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        match (request.method.as_str(), &self.scope) {
            ("tools/call", _) => self.call(request, ctx).await,
            // One server alone says everything itself.
            (_, Scope::One(name)) => self.one(name)?.handle(request, ctx).await,
            ("tools/list", _) => self.list_tools(&request, &ctx),
            _ => Box::pin(self.aggregate(request, ctx)).await,
        }
    }

    async fn watch(&self, uri: &str, ctx: &Ctx) -> Result<Watch, RpcError> {
        if let Scope::One(name) = &self.scope {
            return self.one(name)?.watch(uri, ctx).await;
        }
        gather::watch(&self.parts(&self.gateway.table()), uri, ctx).await
    }

    fn mirrored(&self, tool: &str) -> Option<Arc<[Mirrored]>> {
        let table = self.gateway.table();
        let entry = self.resolve(&table, tool)?;
        entry.part.mirrored(&entry.own)
    }

    async fn notified(&self, notification: Notification, ctx: Ctx) {
        if let Scope::One(name) = &self.scope
            && let Some(part) = self.gateway.part(name)
        {
            part.notified(notification, ctx).await;
        }
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        match &self.scope {
            Scope::One(name) => self.gateway.changes_of(name),
            _ => self.gateway.changes(),
        }
    }
}

fn part_names(gateway: &Gateway) -> Vec<String> {
    gateway.table().parts.iter().map(|part| part.name().to_owned()).collect()
}

fn unknown(what: &str, name: &str, known: &[impl AsRef<str>]) -> Fault {
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    let hint = match kernel::limits::nearest(name, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of {}", known.join(", ")),
    };
    Fault::not_found(format!("no {what} `{name}`")).hint(hint)
}

#[cfg(test)]
mod tests;
