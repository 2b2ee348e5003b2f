//! Port: the services that run, as their supervisor sees them; and the registry's words for where they are.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::health::Status;
use crate::{Result, UnixMs};

/// The topic on which processes of a fleet ask each other for what each can do only to its own.
pub const CONTROL_TOPIC: &str = "_control";

/// What kind of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An MCP server.
    Server,
    /// An agent.
    Agent,
}

/// One running copy of a service, as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Unique among all instances.
    pub id: String,
    /// Which service.
    pub service: String,
    /// Server or agent.
    pub kind: Kind,
    /// Where it answers, without a path: `http://127.0.0.1:4017`. Empty of a worker in another program: it asks and is never asked.
    pub url: String,
    /// The process it lives in: unique per process start.
    pub process: String,
    /// The binary's version.
    pub version: String,
    /// How it stands.
    pub status: Status,
    /// When it was started, in milliseconds since the Unix epoch.
    pub started_ms: UnixMs,
    /// How often its supervisor has restarted it.
    pub restarts: u32,
    /// Why it last stopped or failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
    /// Set when it is lost: its last sign of life, in milliseconds since the Unix epoch. It is the last of its service that was seen, and
    /// its process ended without a word.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost_ms: Option<UnixMs>,
}

/// Port: what runs the fleet's processes and can be asked to start one anew, or more of them. It is asked about services and answers for
/// their containers; the processes in them enter and leave the registry by themselves.
#[async_trait]
pub trait Containers: Send + Sync {
    /// What it is and where, for people.
    fn about(&self) -> &str;

    /// Starts every container of a service anew.
    ///
    /// # Errors
    /// [`Code::NotFound`](crate::Code::NotFound) when it has none; [`Code::Conflict`](crate::Code::Conflict) when none of them runs;
    /// [`Code::NotConfigured`](crate::Code::NotConfigured) when we may not.
    async fn restart(&self, kind: Kind, service: &str) -> Result<()>;

    /// Has `replicas` containers of the server `service` run.
    ///
    /// # Errors
    /// Those of [`Containers::restart`]; [`Code::Unsupported`](crate::Code::Unsupported) when there are not as many and it can make none.
    async fn scale(&self, service: &str, replicas: u32) -> Result<()>;
}

/// The port: what can be done to the services of this fleet. Implemented by the supervisor.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// The process that asks: what [`Instance::process`] says of the instances that live in it.
    fn process(&self) -> &str;

    /// Every instance of every service, by service and id.
    async fn instances(&self) -> Result<Vec<Instance>>;

    /// Stops and starts every instance of `service` this process can reach; calls in flight are finished or get a clear error.
    async fn restart(&self, kind: Kind, service: &str, reason: &str) -> Result<Vec<Instance>>;

    /// Makes every instance of `service` fail as if it had by itself: its standing work is torn down, and its supervisor brings it back as it does
    /// after any failure. Returns at once.
    async fn fail(&self, kind: Kind, service: &str, reason: &str) -> Result<()>;

    /// Runs `replicas` copies of the server `service`.
    ///
    /// # Errors
    /// [`Code::Unsupported`](crate::Code::Unsupported) where nothing here can start copies; the hint says what can.
    async fn scale(&self, service: &str, replicas: u32) -> Result<Vec<Instance>>;
}
