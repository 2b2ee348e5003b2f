//! The coordinator's REST over the gateway.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use flow::remote::{Finished, Heard, Leased, Registered};
use gateway::command::Command;
use gateway::coordinator::{RESTART_SERVICE, RestartServiceRequest, RestartServiceResponse};
use gateway::status::{ServiceRow, SystemStatus, UpstreamRow};
use gateway::{Gateway, Selector};
use kernel::fleet::{Instance, Kind};
use kernel::{Caller, Fault, Role, Trace};
use mcp::toolbox::{Router, structured};
use mcp::{Ctx, Handler, typed};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use servers::task_management::{GET_TASK, SUBMIT_TASK, SubmitTaskResponse, TaskName};
use web::coordinator::{Coordinator, Endpoint};

/// The implementation of [`Coordinator`].
pub struct Rest {
    gateway: Arc<Gateway>,
    anonymous: Option<Role>,
}

impl Rest {
    /// REST over `gateway`.
    pub fn new(gateway: &Arc<Gateway>, anonymous: Option<Role>) -> Arc<Self> {
        Arc::new(Self { gateway: Arc::clone(gateway), anonymous })
    }
}

/// What everybody is told while callers need no key.
pub(super) fn anonymous_notice(role: &Role) -> String {
    format!("callers without a key are let in as {role} (auth.anonymous_role)")
}

impl Rest {
    /// Calls a tool, so that what is done is authorised and recorded whichever door it came in by.
    async fn call<O: DeserializeOwned>(
        &self,
        server: &str,
        tool: &str,
        arguments: &impl serde::Serialize,
        caller: Caller,
    ) -> Result<O, Fault> {
        let (arguments, ctx) = (mcp::wire::raw(arguments), Ctx::internal(caller, Trace::root()));
        let reply = Router::call(&*self.gateway, server, tool, arguments, ctx).await?;
        serde_json::from_str(structured(&reply)?.get())
            .map_err(|error| Fault::internal(format!("answer of {server}.{tool}: {error}")))
    }
}

fn json_of(value: &impl serde::Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|error| Fault::internal(error.to_string()))
}

#[async_trait]
impl Coordinator for Rest {
    async fn status(&self) -> Result<Value, Fault> {
        let mut status = json_of(&self.gateway.status().await)?;
        if let Some(role) = &self.anonymous {
            status["notice"] = anonymous_notice(role).into();
        }
        Ok(status)
    }

    async fn servers(&self) -> Result<Value, Fault> {
        json_of(&self.gateway.services(Kind::Server).await)
    }

    async fn agents(&self) -> Result<Value, Fault> {
        json_of(&self.gateway.services(Kind::Agent).await)
    }

    async fn upstreams(&self) -> Result<Value, Fault> {
        json_of(&self.gateway.upstream_rows())
    }

    async fn command(&self, body: Value, caller: Caller) -> Result<Value, Fault> {
        let command: Command = typed::read_as(&body.to_string(), "body")
            .map_err(|fault| fault.hint("{\"target\", \"command\", \"args\"}"))?;
        json_of(&self.gateway.command(&command, &Ctx::internal(caller, Trace::root())).await?)
    }

    async fn restart(&self, kind: Kind, name: &str, reason: &str, caller: Caller) -> Result<Value, Fault> {
        // The tool, not the supervisor: so a restart is authorised and recorded whichever door it came in by.
        let request = RestartServiceRequest { service: name.to_owned(), kind: Some(kind), reason: reason.to_owned() };
        let answer: RestartServiceResponse =
            self.call(RESTART_SERVICE.server, RESTART_SERVICE.name, &request, caller).await?;
        json_of(&answer.instances)
    }

    async fn submit_task(&self, agent: &str, mut body: Value, caller: Caller) -> Result<Value, Fault> {
        let Value::Object(fields) = &mut body else {
            return Err(Fault::invalid("body: not an object").hint("{\"task_type\", \"payload\"}"));
        };
        // A task for nobody would wait for ever.
        self.gateway.offered().need(agent).await?;
        if fields.insert("queue".into(), agent.into()).is_some() {
            return Err(Fault::invalid("body.queue: the path names the agent").hint("leave it out"));
        }
        self.call(SUBMIT_TASK.server, SUBMIT_TASK.name, &body, caller).await
    }

    async fn task(&self, id: &str, caller: Caller) -> Result<Value, Fault> {
        self.call(GET_TASK.server, GET_TASK.name, &TaskName { id: id.to_owned() }, caller).await
    }

    fn endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Handler>, Fault> {
        let Endpoint { server, toolset, mode } = endpoint;
        self.gateway.handler(Selector::read(server.as_deref(), toolset.as_deref(), mode.as_deref())?)
    }

    fn schemas(&self) -> HashMap<&'static str, Value> {
        let services = json!({ "type": "array", "items": mcp::schema::output::<ServiceRow>() });
        let copies = json!({ "type": "array", "items": mcp::schema::output::<Instance>() });
        HashMap::from([
            ("/status", mcp::schema::output::<SystemStatus>()),
            ("/servers", services.clone()),
            ("/agents", services),
            ("/upstreams", json!({ "type": "array", "items": mcp::schema::output::<UpstreamRow>() })),
            ("/servers/{name}/restart", copies.clone()),
            ("/agents/{name}/restart", copies),
            ("/agents/{name}/tasks", mcp::schema::output::<SubmitTaskResponse>()),
            ("/agents/{name}/register", mcp::schema::output::<Registered>()),
            ("/agents/{name}/lease", mcp::schema::output::<Leased>()),
            ("/agents/{name}/heartbeat", mcp::schema::output::<Heard>()),
            ("/agents/{name}/finish", mcp::schema::output::<Finished>()),
            ("/tasks/{name}", mcp::schema::output::<kernel::queue::Task>()),
            ("/sign-in-links", mcp::schema::output::<web::dashboard::links::Link>()),
            ("/health", mcp::schema::output::<kernel::health::Report>()),
        ])
    }
}
