//! Who may see what over REST: everything is authenticated but health, and the read-only pages on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use kernel::{Access, Caller, Fault, Role};
use mcp::auth::Authenticate;
use mcp::http::Door;

use crate::problem::Problem;

/// The guard of a REST door.
#[derive(Clone)]
pub struct Guard {
    /// Checks keys.
    pub auth: Arc<dyn Authenticate>,
}

impl Guard {
    /// The caller, if it may do what needs `access`.
    ///
    /// Reading needs no key from this machine itself: such a caller is `local`, a viewer.
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        remote: SocketAddr,
        access: Access,
        what: &str,
    ) -> Result<Caller, Fault> {
        let caller = match self.auth.authenticate(headers, remote.ip()).await {
            Ok(caller) => caller,
            Err(_) if access == Access::Read && remote.ip().is_loopback() && !carries_key(headers) => {
                Caller::new("local", Role::Viewer)
            }
            Err(fault) => return Err(fault),
        };
        caller.require(access, what)?;
        Ok(caller)
    }

    /// The caller, who must be known, whatever it may do: what it calls looks at that.
    pub async fn known(&self, headers: &HeaderMap, remote: SocketAddr) -> Result<Caller, Fault> {
        self.auth.authenticate(headers, remote.ip()).await
    }
}

/// A wrong key is refused even where none is needed: its owner should know.
fn carries_key(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::AUTHORIZATION) || headers.contains_key("x-api-key")
}

/// Refuses requests under host names that are not ours and from pages of other origins, as the MCP doors do: a page on the web must not
/// reach a fleet on somebody's machine by a name that it resolves to loopback.
pub async fn known_hosts(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    match door.check(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(fault) => Problem(fault).into_response(),
    }
}
