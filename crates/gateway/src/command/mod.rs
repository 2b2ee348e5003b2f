//! One command for many services: an answer per target, never all or nothing.
//!
//! A command is a word every service understands (`status`, `health`, `tools`, `restart`) or the name of a tool of the target, which gets
//! the arguments. This is the v1 form that `POST /command`, `POST /execute` and the bot's `!execute` use.

mod arguments;

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use kernel::catalog::COORDINATOR;
use kernel::fleet::Kind;
use kernel::health::Status;
use kernel::{Caller, Fault};
use mcp::toolbox::{Router, structured};
use mcp::{Ctx, wire};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::names;
use crate::part::Origin;
use crate::status::ServiceRow;

pub use arguments::arguments_for;

/// Targets worked on at the same time.
const AT_ONCE: usize = 8;
/// How long one target may take unless the command says otherwise.
const TARGET_TIME: Duration = Duration::from_secs(10);
/// The longest a command may give a target.
pub const TARGET_TIME_MAX: Duration = Duration::from_secs(300);

/// Who a command is for: one name, several, or a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Target {
    /// A service, a label (`all`, `servers`, `agents`, `upstreams`, `healthy`, `degraded`, `down`, a toolset's name), or several of these
    /// separated by commas.
    One(String),
    /// Several services or labels.
    Several(Vec<String>),
}

/// A command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Who it is for.
    pub target: Target,
    /// `status`, `health`, `tools`, `restart`, or the name of a tool that the target has.
    pub command: String,
    /// The tool's arguments: an object, or a list of `name=value` and bare values in the order of the tool's parameters.
    #[serde(default)]
    pub args: Value,
    /// How long each target may take, in milliseconds, 1 to 300,000; 10,000 when not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(range(min = 1, max = 300_000))]
    pub time_limit_ms: Option<u64>,
}

/// What one target answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetAnswer {
    /// The service.
    pub target: String,
    /// Server or agent; absent for an upstream.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
    /// Whether it did it.
    pub ok: bool,
    /// What it answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Value>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Refusal>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Why a target did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The stable code.
    pub code: kernel::Code,
    /// What went wrong.
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { code: fault.code, message: fault.message, hint: fault.hint }
    }
}

/// One target, found.
#[derive(Debug, Clone)]
struct Found {
    name: String,
    kind: Option<Kind>,
    row: Option<ServiceRow>,
}

impl Gateway {
    /// Gives a command to its targets, each under the caller's own role. The order of the answers is the fleet's order.
    ///
    /// # Errors
    /// Only when the command itself is wrong: no such target at all, or arguments of no form. What a target refuses is its answer.
    pub async fn command(&self, command: &Command, ctx: &Ctx) -> Result<Vec<TargetAnswer>, Fault> {
        let wanted = match &command.target {
            Target::One(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
            Target::Several(names) => names.clone(),
        };
        let found = self.targets(&wanted).await?;
        let limit = command.time_limit_ms.map_or(TARGET_TIME, Duration::from_millis).min(TARGET_TIME_MAX);
        let answers = found.into_iter().map(|target| async move {
            let began = Instant::now();
            let done = match tokio::time::timeout(limit, self.command_one(&target, command, ctx)).await {
                Ok(done) => done,
                Err(_) => Err(Fault::timeout(format!("{} took longer than {} ms", target.name, limit.as_millis()))),
            };
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (result, error) = match done {
                Ok(result) => (Some(result), None),
                Err(fault) => (None, Some(fault.into())),
            };
            TargetAnswer { target: target.name, kind: target.kind, ok: error.is_none(), result, error, took_ms }
        });
        Ok(stream::iter(answers).buffered(AT_ONCE).collect().await)
    }

    async fn command_one(&self, target: &Found, command: &Command, ctx: &Ctx) -> Result<Value, Fault> {
        let has_args = !matches!(&command.args, Value::Null) && command.args != json!({}) && command.args != json!([]);
        let tool = names::tool(&target.name, &command.command);
        let is_tool = target.kind != Some(Kind::Agent) && self.table().get(&tool).is_some();
        // A word of all services comes before a tool of that name, unless it has arguments, which only a tool takes.
        match command.command.as_str() {
            _ if is_tool && has_args => {}
            "status" => return Ok(json!(target.row)),
            "health" => return self.health_of(target).await,
            "tools" => return Ok(self.tools_of(target, &ctx.caller)),
            "restart" => return self.restart_one(target, &command.args, ctx).await,
            _ => {}
        }
        if target.kind == Some(Kind::Agent) {
            return Err(Fault::unsupported(format!("the agent {} has no tools", target.name))
                .hint("status, health or restart; agents take tasks, not commands"));
        }
        let table = self.table();
        let entry = table.get(&tool).ok_or_else(|| {
            Fault::not_found(format!("{} has no tool `{}`", target.name, command.command))
                .hint("the command `tools` lists what it has; status, health, tools and restart work everywhere")
        })?;
        let arguments = arguments_for(&entry.listing, &command.args)?;
        let reply = self.call(&target.name, &entry.own, wire::raw(&arguments), ctx.clone()).await?;
        let body: Value = serde_json::from_str(reply.body.get())
            .map_err(|error| Fault::upstream(format!("{}: not a tool result: {error}", target.name)))?;
        match (body.get("structuredContent"), body["isError"] == true) {
            (_, true) => Err(structured(&reply).err().unwrap_or_else(|| Fault::upstream("refused without a reason"))),
            (Some(structured), false) => Ok(structured.clone()),
            (None, false) => Ok(body["content"].clone()),
        }
    }

    async fn health_of(&self, target: &Found) -> Result<Value, Fault> {
        let Some(kind) = target.kind else {
            return Err(Fault::unsupported("an upstream has no health of ours").hint("list_upstreams tells its state"));
        };
        let detail = self.service(kind, &target.name).await?;
        Ok(json!({ "status": detail.row.status, "uptime_seconds": detail.row.uptime_seconds, "checks": detail.checks }))
    }

    fn tools_of(&self, target: &Found, caller: &Caller) -> Value {
        let table = self.table();
        let of_it = table.entries.iter().filter(|entry| entry.part.name() == target.name && entry.held.is_none());
        let tools: Vec<&str> =
            of_it.filter(|entry| caller.allows(entry.access)).map(|entry| entry.own.as_str()).collect();
        json!({ "tools": tools })
    }

    /// Goes through the coordinator's own tool, so that role, limits and the audit trail see it as they see any restart.
    async fn restart_one(&self, target: &Found, args: &Value, ctx: &Ctx) -> Result<Value, Fault> {
        let reason = args.get("reason").and_then(Value::as_str).unwrap_or("asked for by a command");
        let arguments = wire::raw(&json!({ "service": target.name, "kind": target.kind, "reason": reason }));
        let reply = self.call(COORDINATOR, "restart_service", arguments, ctx.clone()).await?;
        serde_json::from_str(structured(&reply)?.get()).map_err(|error| Fault::internal(format!("restart: {error}")))
    }

    /// The services that names and labels stand for, each once, in the fleet's order.
    async fn targets(&self, wanted: &[String]) -> Result<Vec<Found>, Fault> {
        let (servers, agents) = tokio::join!(self.services(Kind::Server), self.services(Kind::Agent));
        let rows = servers.into_iter().chain(agents);
        let mut all: Vec<Found> =
            rows.map(|row| Found { name: row.name.clone(), kind: Some(row.kind), row: Some(row) }).collect();
        let table = self.table();
        let upstreams = table.parts.iter().filter(|part| part.origin() == Origin::Upstream);
        all.extend(upstreams.map(|part| Found { name: part.name().to_owned(), kind: None, row: None }));

        let mut chosen = vec![false; all.len()];
        for want in wanted.iter().filter(|want| !want.is_empty()) {
            let hits: Vec<bool> = all.iter().map(|found| self.is_meant(want, found)).collect();
            if !hits.contains(&true) && !self.is_label(want) {
                let known: Vec<&str> = all.iter().map(|found| found.name.as_str()).collect();
                let near = kernel::limits::nearest(want, &known).map(|near| format!("did you mean `{near}`?"));
                let hint = near.unwrap_or_else(|| "a service, or all, servers, agents, upstreams, a toolset".into());
                return Err(Fault::not_found(format!("no target `{want}`")).hint(hint));
            }
            chosen.iter_mut().zip(hits).for_each(|(chosen, hit)| *chosen |= hit);
        }
        Ok(all.into_iter().zip(chosen).filter_map(|(found, chosen)| chosen.then_some(found)).collect())
    }

    fn is_label(&self, label: &str) -> bool {
        matches!(label, "all" | "servers" | "agents" | "upstreams" | "healthy" | "degraded" | "down")
            || self.toolsets().contains_key(label)
    }

    fn is_meant(&self, want: &str, found: &Found) -> bool {
        if want == found.name {
            return true;
        }
        let status = found.row.as_ref().map(|row| row.status);
        match want {
            // Upstreams are others' servers: they understand none of the words and are named on purpose.
            "all" => found.kind.is_some(),
            "servers" => found.kind == Some(Kind::Server),
            "agents" => found.kind == Some(Kind::Agent),
            "upstreams" => found.kind.is_none(),
            "healthy" => status == Some(Status::Healthy),
            "degraded" => status == Some(Status::Degraded),
            "down" => status.is_some_and(|status| !status.serves()),
            _ => self.toolsets().get(want).is_some_and(|set| {
                found.kind != Some(Kind::Agent) && {
                    let table = self.table();
                    table.entries.iter().any(|entry| {
                        entry.part.name() == found.name && (set.has(&entry.name) || entry.part.is_in_toolset(&set.name))
                    })
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests;
