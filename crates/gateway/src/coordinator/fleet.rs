//! The tools about services: how they stand, what to do to them, what happened.

use std::time::Duration;

use kernel::bus::{Event, FLEET_TOPIC, READ_MAX};
use kernel::fleet::{Instance, Kind};
use kernel::health::Status;
use mcp::prelude::*;

use super::Coordinator;
use crate::command::{Command, TARGET_TIME_MAX, TargetAnswer};
use crate::status::{ServiceDetail, ServiceRow, SystemStatus};

tools! { kernel::catalog::COORDINATOR;
    /// How the whole fleet stands: servers, agents and infrastructure counted by state, version, mode and uptime.
    SYSTEM_STATUS = "system_status": fn(SystemStatusRequest) -> SystemStatus, Hints::READ;
    /// Lists the fleet's servers, running or down: port, address, state, copies, version, uptime, last error and tools of each.
    LIST_SERVICES = "list_services": fn(ListServicesRequest) -> ListServicesResponse, Hints::READ;
    /// One service in full: its state and why it is unhealthy, the checks it made of what it depends on, and every running copy.
    SERVICE_STATUS = "service_status": fn(ServiceStatusRequest) -> ServiceDetail, Hints::READ;
    /// Gives one command to one service, several, a label, or all; each target answers for itself, so some may fail while others succeed.
    ROUTE_COMMAND = "route_command": fn(Command) -> RouteCommandResponse, Hints { open_world: true, destructive: true, ..Hints::OPERATE }.within(TARGET_TIME_MAX);
    /// Stops and starts a service; calls it has under way are finished or get a clear error.
    RESTART_SERVICE = "restart_service": fn(RestartServiceRequest) -> RestartServiceResponse, Hints { destructive: true, ..Hints::OPERATE };
    /// Sets how many copies of a service run.
    SCALE_SERVICE = "scale_service": fn(ScaleServiceRequest) -> ScaleServiceResponse, Hints::SET;
    /// What happened in the fleet or on any topic of the bus: services joined, left, restarted; upstreams quarantined; new blocks. Oldest first, read on by cursor.
    LIST_EVENTS = "list_events": fn(ListEventsRequest) -> ListEventsResponse, Hints::READ;
}

/// Binds the tools of this file.
pub(super) fn tools(set: &mut ToolSet<Coordinator>) {
    set.add(SYSTEM_STATUS, Coordinator::system_status);
    set.add(LIST_SERVICES, Coordinator::list_services);
    set.add(SERVICE_STATUS, Coordinator::service_status);
    set.add(ROUTE_COMMAND, Coordinator::route_command);
    set.add(RESTART_SERVICE, Coordinator::restart_service);
    set.add(SCALE_SERVICE, Coordinator::scale_service);
    set.add(LIST_EVENTS, Coordinator::list_events);
}

/// What [`SYSTEM_STATUS`] takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemStatusRequest {}

/// What [`LIST_SERVICES`] takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListServicesRequest {
    /// Only services in this state.
    pub status: Option<Status>,
}

/// What [`LIST_SERVICES`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListServicesResponse {
    /// The servers, by port.
    pub services: Vec<ServiceRow>,
}

/// What [`SERVICE_STATUS`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceStatusRequest {
    /// The service's name.
    pub service: String,
    /// Server or agent: the two share some names. A server when not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
}

/// What [`ROUTE_COMMAND`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RouteCommandResponse {
    /// One answer per target, in the fleet's order.
    pub answers: Vec<TargetAnswer>,
    /// How many did it.
    pub succeeded: u64,
    /// How many did not.
    pub failed: u64,
}

/// What [`RESTART_SERVICE`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartServiceRequest {
    /// The service's name.
    pub service: String,
    /// Server or agent: the two share some names. A server when not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
    /// Why, for the logs and the events.
    #[serde(default = "no_reason")]
    pub reason: String,
}

fn no_reason() -> String {
    "asked for without a reason".into()
}

/// What [`RESTART_SERVICE`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RestartServiceResponse {
    /// The copies as they stand after it.
    pub instances: Vec<Instance>,
}

/// What [`SCALE_SERVICE`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleServiceRequest {
    /// The service's name.
    pub service: String,
    /// How many copies should run, 0 to 64.
    #[schemars(range(min = 0, max = 64))]
    pub replicas: u32,
}

/// What [`SCALE_SERVICE`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScaleServiceResponse {
    /// The copies as they stand after it.
    pub instances: Vec<Instance>,
}

/// What [`LIST_EVENTS`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEventsRequest {
    /// The topic; `fleet` when not given.
    #[serde(default = "fleet_topic")]
    pub topic: String,
    /// Events after this place: the `next_after` of the answer before. The newest ones when not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<u64>,
    /// Only events whose kind begins with this: `service.`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<String>,
    /// At most this many, 1 to 1,000.
    #[serde(default = "events_limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: usize,
}

fn fleet_topic() -> String {
    FLEET_TOPIC.into()
}

fn events_limit() -> usize {
    50
}

/// What [`LIST_EVENTS`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListEventsResponse {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Where to read on.
    pub next_after: u64,
}

/// Most copies one service may be asked to have.
const REPLICAS_MAX: u32 = 64;
/// How long a supervisor may take for what it is asked.
const FLEET_TIME: Duration = Duration::from_secs(45);

impl Coordinator {
    async fn system_status(self: Arc<Self>, _: SystemStatusRequest, _ctx: Ctx) -> Result<SystemStatus, ToolError> {
        Ok(self.gateway()?.status().await)
    }

    async fn list_services(
        self: Arc<Self>,
        request: ListServicesRequest,
        _ctx: Ctx,
    ) -> Result<ListServicesResponse, ToolError> {
        let mut services = self.gateway()?.services(Kind::Server).await;
        services.retain(|row| request.status.is_none_or(|status| row.status == status));
        Ok(ListServicesResponse { services })
    }

    async fn service_status(
        self: Arc<Self>,
        request: ServiceStatusRequest,
        _ctx: Ctx,
    ) -> Result<ServiceDetail, ToolError> {
        Ok(self.gateway()?.service(request.kind.unwrap_or(Kind::Server), &request.service).await?)
    }

    async fn route_command(self: Arc<Self>, request: Command, ctx: Ctx) -> Result<RouteCommandResponse, ToolError> {
        let answers = self.gateway()?.command(&request, &ctx).await?;
        let succeeded = answers.iter().filter(|answer| answer.ok).count() as u64;
        Ok(RouteCommandResponse { failed: answers.len() as u64 - succeeded, succeeded, answers })
    }

    async fn restart_service(
        self: Arc<Self>,
        request: RestartServiceRequest,
        _ctx: Ctx,
    ) -> Result<RestartServiceResponse, ToolError> {
        let gateway = self.gateway()?;
        let kind = request.kind.unwrap_or(Kind::Server);
        gateway.service(kind, &request.service).await?;
        let restart = gateway.ports.fleet.restart(kind, &request.service, &request.reason);
        let instances = within(&format!("restarting {}", request.service), restart).await?;
        Ok(RestartServiceResponse { instances })
    }

    async fn scale_service(
        self: Arc<Self>,
        request: ScaleServiceRequest,
        _ctx: Ctx,
    ) -> Result<ScaleServiceResponse, ToolError> {
        if request.replicas > REPLICAS_MAX {
            return Err(Fault::invalid(format!("replicas is {}", request.replicas)).hint("0 to 64").into());
        }
        let gateway = self.gateway()?;
        gateway.service(Kind::Server, &request.service).await?;
        let scale = gateway.ports.fleet.scale(&request.service, request.replicas);
        Ok(ScaleServiceResponse { instances: within(&format!("scaling {}", request.service), scale).await? })
    }

    async fn list_events(
        self: Arc<Self>,
        request: ListEventsRequest,
        _ctx: Ctx,
    ) -> Result<ListEventsResponse, ToolError> {
        if !(1..=READ_MAX).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint("1 to 1,000").into());
        }
        let gateway = self.gateway()?;
        let bus = &gateway.ports.bus;
        let after = match request.after {
            Some(after) => after,
            None => {
                let topics = bus.topics().await?;
                let newest = topics.iter().find(|topic| topic.name == request.topic).map_or(0, |topic| topic.last_seq);
                newest.saturating_sub(request.limit as u64)
            }
        };
        let mut events = bus.read(&request.topic, after, request.limit).await?;
        let next_after = events.last().map_or(after, |event| event.seq);
        events.retain(|event| request.kind.as_ref().is_none_or(|kind| event.kind.starts_with(kind)));
        Ok(ListEventsResponse { events, next_after })
    }
}

async fn within<T>(doing: &str, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(FLEET_TIME, work).await.unwrap_or_else(|_| {
        Err(Fault::timeout(format!("{doing} takes longer than {} s", FLEET_TIME.as_secs()))
            .hint("it goes on; service_status shows when it is done"))
    })
}
