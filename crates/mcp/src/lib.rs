//! What every MCP server here shares: how it is written, listed, called and reached.
//!
//! - A server is a struct that implements [`McpServer`]; its tools are typed ([`Tool`]) and declared with [`tools!`].
//! - [`Service`] erases it into a [`Handler`]: one request in, one [`Reply`] out, the same for every revision of the protocol.
//! - Doors (HTTP, stdio) speak the wire, in every revision, in front of any [`Handler`].
//! - [`phases`] stand around every tool call: authorise, limit, run, record.
//!
//! Invariants:
//! - A handler never knows which revision or transport its caller uses; it talks back through [`Ctx`].
//! - Payloads that are not ours stay raw JSON ([`RawValue`](serde_json::value::RawValue)): what comes in goes out byte for byte.
//! - Every refusal a model can act on is a tool result with `isError`; protocol errors are for protocol faults.

mod assertion;
pub mod auth;
pub mod client;
pub mod conversation;
pub mod ctx;
pub mod error;
pub mod handler;
pub mod http;
pub mod listen;
pub mod mirror;
pub mod peer;
pub mod phases;
mod pipe;
pub mod prompt;
pub mod reply;
pub mod resource;
pub mod revision;
pub mod rounds;
pub mod schema;
pub mod seal;
pub mod server;
pub mod service;
pub mod splice;
mod stateless;
pub mod stdio;
pub mod tasks;
pub mod tool;
pub mod toolbox;
pub mod typed;
pub mod wire;

pub use client::{Link, LinkError};
pub use ctx::Ctx;
pub use error::{RpcError, ToolError};
pub use handler::{Change, Handler, Identity, Watch};
pub use http::sse2024;
pub use reply::{Content, Outcome, Reply};
pub use revision::Revision;
pub use server::{Features, McpServer};
pub use service::Service;
pub use tool::{Hints, Tool, ToolSet};
pub use toolbox::Toolbox;

/// What a server file needs, in one line.
pub mod prelude {
    pub use std::sync::Arc;

    pub use kernel::{Access, Code, Fault, Ports};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};

    pub use crate::{Content, Ctx, Features, Hints, McpServer, Outcome, Tool, ToolError, ToolSet, tools};
}
