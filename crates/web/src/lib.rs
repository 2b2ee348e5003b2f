//! Every HTTP door of the fleet: MCP endpoints, REST, health, metrics, the dashboard.
//!
//! Invariants:
//! - What is served comes through ports ([`kernel`]), handlers ([`mcp::Handler`]), tools ([`mcp::toolbox::Router`]) and [`Coordinator`]; this crate knows no server.
//! - Every listener sets TCP_NODELAY, bounds heads, bodies and connections, and drains when its [`Tasks`](kernel::Tasks) stop.
//! - Every error body is an RFC 9457 problem with our stable code.

pub mod a2a;
pub mod access;
pub mod coordinator;
pub mod dashboard;
pub mod intake;
pub mod listener;
pub mod openapi;
pub mod plain;
pub mod problem;
pub mod service;
pub mod tls;
pub mod v1;
pub mod workers;

pub use coordinator::Coordinator;
pub use listener::{Bound, bind};
pub use tls::Tls;
