//! The doors of workers in other programs: they register, ask for tasks, say that they live, and say how tasks ended.
//!
//! What is recorded of this work is the tasks themselves, which name their worker, their caller and their ending; a row of the audit trail for each
//! sign of life would bury the rest.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Request, State};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use flow::remote::{Finish, Finished, Heard, Heartbeat, Lease, Leased, Leave, Register, Registered};
use http::StatusCode;
use kernel::{Access, Caller, Fault};
use serde::de::DeserializeOwned;
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

/// What a worker that may operate says, to the agent whose name is in the path.
struct Said<T> {
    agent: String,
    caller: Caller,
    body: T,
}

impl<T: DeserializeOwned> FromRequest<Arc<Doors>> for Said<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, doors: &Arc<Doors>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let Path(agent) = Path::<String>::from_request_parts(&mut parts, doors)
            .await
            .map_err(|error| Fault::invalid(format!("path: {}", error.body_text())))?;
        let ConnectInfo(remote) = ConnectInfo::<SocketAddr>::from_request_parts(&mut parts, doors)
            .await
            .map_err(|error| Fault::internal(error.to_string()))?;
        let what = parts.uri.path().rsplit('/').next().unwrap_or_default();
        let caller = doors.guard.admit(&parts.headers, remote, Access::Operate, what).await?;
        let body = Bytes::from_request(Request::from_parts(parts, body), doors).await.map_err(|error| {
            let what = format!("body: {}", error.body_text());
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE { Fault::too_large(what) } else { Fault::invalid(what) }
        })?;
        Ok(Self { agent, caller, body: read_json(&body)? })
    }
}

type Answer<T> = Result<Json<T>, Problem>;

async fn register(State(doors): State<Arc<Doors>>, said: Said<Register>) -> Answer<Registered> {
    Ok(Json(doors.workers.register(&said.agent, said.body).await?))
}

async fn lease(State(doors): State<Arc<Doors>>, said: Said<Lease>) -> Answer<Leased> {
    Ok(Json(doors.workers.lease(&said.agent, said.body, &doors.service.tasks.stopping()).await?))
}

async fn heartbeat(State(doors): State<Arc<Doors>>, said: Said<Heartbeat>) -> Answer<Heard> {
    Ok(Json(doors.workers.heartbeat(&said.agent, said.body).await?))
}

async fn finish(State(doors): State<Arc<Doors>>, said: Said<Finish>) -> Answer<Finished> {
    Ok(Json(doors.workers.finish(&said.agent, said.body, &said.caller).await?))
}

async fn leave(State(doors): State<Arc<Doors>>, said: Said<Leave>) -> Answer<Value> {
    doors.workers.leave(&said.agent, &said.body).await?;
    Ok(Json(json!({})))
}
