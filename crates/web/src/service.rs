//! The doors every service has on its own port: `/mcp`, `/health*`, `/metrics`, `/execute`.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{Request, StatusCode, Uri, header};
use kernel::aliases::Aliases;
use kernel::deprecations::Deprecations;
use kernel::health::{Check, Report, Status};
use kernel::metrics::Metrics;
use kernel::{Fault, Tasks};
use mcp::http::Door;
use mcp::http::sse2024::SseDoor;
use mcp::{Handler, Service};

use crate::a2a::AgentDoors;
use crate::access::Guard;
use crate::intake::Intake;
use crate::problem::Problem;

/// How a server or an agent stands while its supervisor starts, restarts or gives it up.
#[async_trait]
pub trait Standing: Send + Sync + 'static {
    /// What it says of itself, when it runs.
    async fn report(&self) -> Option<Report>;
    /// Its state and what last went wrong.
    fn state(&self) -> (Status, Option<String>);
}

/// Where a server stands.
pub trait Slot: Standing {
    /// The server, when it runs.
    fn current(&self) -> Option<Arc<Service>>;
}

/// What the doors stand on that servers and agents alike have: health and figures.
#[derive(Clone)]
pub struct HealthDoors {
    /// The name.
    pub name: &'static str,
    /// The binary's version.
    pub version: &'static str,
    /// How it stands.
    pub standing: Arc<dyn Standing>,
    /// Figures.
    pub metrics: Metrics,
}

/// The doors of callers that have not moved.
#[derive(Clone)]
pub struct Past {
    /// The transport of revision 2024-11-05.
    pub sse: Arc<SseDoor>,
    /// What things used to be called.
    pub aliases: Aliases,
    /// Who still uses what.
    pub deprecations: Deprecations,
    /// The whole fleet, where old names may lead to any server: on the coordinator.
    pub fleet: Option<Arc<dyn Handler>>,
}

/// What a service's doors stand on.
#[derive(Clone)]
pub struct ServiceDoors {
    /// The service's name.
    pub name: &'static str,
    /// The binary's version.
    pub version: &'static str,
    /// Where it stands.
    pub slot: Arc<dyn Slot>,
    /// Speaks MCP.
    pub door: Arc<Door>,
    /// Checks callers.
    pub guard: Guard,
    /// Figures.
    pub metrics: Metrics,
    /// What callers that have not moved still use.
    pub past: Past,
    /// What takes other programs' log lines in, on the service that has it.
    pub intake: Option<Intake>,
    /// Stops streams when the process stops.
    pub tasks: Tasks,
}

impl ServiceDoors {
    /// The service, or why it does not answer.
    pub fn service(&self) -> Result<Arc<Service>, Fault> {
        self.slot.current().ok_or_else(|| {
            let (status, error) = self.slot.state();
            let why = error.map(|error| format!(": {error}")).unwrap_or_default();
            Fault::unavailable(format!("{} is {}{why}", self.name, status_word(status)))
                .hint("its supervisor restarts it; try again in a second")
        })
    }

    fn health(&self) -> HealthDoors {
        let Self { name, version, metrics, slot, .. } = self.clone();
        HealthDoors { name, version, metrics, standing: slot }
    }
}

impl HealthDoors {
    async fn report(&self) -> Report {
        if let Some(report) = self.standing.report().await {
            return report;
        }
        let (status, error) = self.standing.state();
        let detail = error.unwrap_or_else(|| status_word(status).to_owned());
        Report {
            status,
            service: self.name.into(),
            version: self.version.into(),
            uptime_seconds: 0,
            checks: vec![Check { name: "process".into(), status, detail }],
        }
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Healthy => "healthy",
        Status::Degraded => "degraded",
        Status::Starting => "starting",
        Status::Stopping => "stopping",
        Status::Down => "down",
        Status::Failed => "given up",
    }
}

/// All routes of a service's own port.
pub fn routes(doors: ServiceDoors) -> Router {
    Router::new()
        .route("/mcp", any(mcp))
        .route("/sse", any(sse))
        .route("/messages", any(sse))
        .with_state(Arc::new(doors.clone()))
        .merge(health_routes(&doors))
        .merge(crate::intake::routes(&doors))
        .merge(crate::v1::routes(doors))
        .fallback(not_found)
}

/// `/health`, `/health/live`, `/health/ready` and `/metrics`: open to all, as probes and Prometheus need.
pub fn health_routes(doors: &ServiceDoors) -> Router {
    probes(doors.health())
}

/// All routes of an agent's own port.
pub fn agent_routes(doors: HealthDoors, a2a: AgentDoors) -> Router {
    probes(doors).merge(crate::a2a::routes(a2a)).fallback(not_found)
}

fn probes(doors: HealthDoors) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(health))
        .route("/metrics", get(metrics))
        .with_state(doors)
}

async fn mcp(
    State(doors): State<Arc<ServiceDoors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    request: Request<axum::body::Body>,
) -> Result<Response, Problem> {
    let service = doors.service()?;
    Ok(doors.door.serve(service, request, remote).await.map(axum::body::Body::new))
}

async fn sse(
    State(doors): State<Arc<ServiceDoors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    request: Request<axum::body::Body>,
) -> Result<Response, Problem> {
    let service = doors.service()?;
    Ok(doors.past.sse.serve(service, request, remote, "/messages").await.map(axum::body::Body::new))
}

async fn health(State(doors): State<HealthDoors>) -> Response {
    let report = doors.report().await;
    let code = if report.status.serves() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(report)).into_response()
}

async fn live(State(doors): State<HealthDoors>) -> Response {
    axum::Json(serde_json::json!({ "status": "alive", "service": doors.name, "version": doors.version }))
        .into_response()
}

async fn metrics(State(doors): State<HealthDoors>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], doors.metrics.render()).into_response()
}

/// The answer where nothing is.
pub async fn not_found(uri: Uri) -> Problem {
    Problem(
        Fault::not_found(format!("nothing at {}", uri.path()))
            .hint("`/` on the coordinator's port lists what there is"),
    )
}
