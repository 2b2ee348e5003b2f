//! The doors of workers in other programs: they register, ask for tasks, say that they live, and say how tasks ended.
//!
//! What is recorded of this work is the tasks themselves, which name their worker, their caller and their ending; a row of the audit trail for each
//! sign of life would bury the rest.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::routing::post;
use bytes::Bytes;
use flow::remote::{Finished, Heard, Leased, Registered};
use http::HeaderMap;
use kernel::Access;
use serde_json::{Value, json};

use crate::coordinator::{Doors, read_json};
use crate::problem::Problem;

/// The routes, to be put among the coordinator's.
pub fn routes() -> Router<Arc<Doors>> {
    Router::new()
        .route("/agents/{name}/register", post(register))
        .route("/agents/{name}/lease", post(lease))
        .route("/agents/{name}/heartbeat", post(heartbeat))
        .route("/agents/{name}/finish", post(finish))
        .route("/agents/{name}/leave", post(leave))
}

type Answer<T> = Result<axum::Json<T>, Problem>;

async fn register(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Registered> {
    doors.guard.admit(&headers, remote, Access::Operate, "register").await?;
    Ok(axum::Json(doors.workers.register(&name, read_json(&body)?).await?))
}

async fn lease(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Leased> {
    doors.guard.admit(&headers, remote, Access::Operate, "lease").await?;
    let leased = doors.workers.lease(&name, read_json(&body)?, &doors.service.tasks.stopping()).await?;
    Ok(axum::Json(leased))
}

async fn heartbeat(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Heard> {
    doors.guard.admit(&headers, remote, Access::Operate, "heartbeat").await?;
    Ok(axum::Json(doors.workers.heartbeat(&name, read_json(&body)?).await?))
}

async fn finish(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Finished> {
    let caller = doors.guard.admit(&headers, remote, Access::Operate, "finish").await?;
    Ok(axum::Json(doors.workers.finish(&name, read_json(&body)?, &caller).await?))
}

async fn leave(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Value> {
    doors.guard.admit(&headers, remote, Access::Operate, "leave").await?;
    doors.workers.leave(&name, &read_json(&body)?).await?;
    Ok(axum::Json(json!({})))
}
