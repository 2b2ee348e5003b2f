//! How an upstream stands.

use std::collections::BTreeSet;

use kernel::UnixMs;
use kernel::health::Status;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tools::HeldTool;

/// Where an upstream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is being started or reached.
    Starting,
    /// It serves.
    Ready,
    /// It serves, but some of its tools are held until a person approves them.
    Quarantined,
    /// It failed and is tried again soon.
    BackingOff,
    /// It failed too often and is tried again only now and then.
    Failed,
    /// It was told to stop.
    Stopped,
}

impl State {
    /// Whether calls go there.
    pub fn serves(self) -> bool {
        matches!(self, Self::Ready | Self::Quarantined)
    }

    /// In the words of the fleet's health.
    pub fn health(self) -> Status {
        match self {
            Self::Starting => Status::Starting,
            Self::Ready => Status::Healthy,
            Self::Quarantined => Status::Degraded,
            Self::BackingOff => Status::Down,
            Self::Failed => Status::Failed,
            Self::Stopped => Status::Stopping,
        }
    }
}

/// An upstream, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// The program or URL.
    pub place: String,
    /// Where it is in its life.
    pub state: State,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: UnixMs,
    /// The revision spoken with it, once it was reached.
    pub revision: Option<String>,
    /// What it calls itself: nothing to rely on.
    pub server: Option<String>,
    /// The process, when it is a child of ours.
    pub pid: Option<u32>,
    /// Failures in a row.
    pub failures: u32,
    /// How often it was started or reached again.
    pub restarts: u32,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// Tools that may be used.
    pub tools: u32,
    /// Tools that are held.
    pub held: Vec<HeldTool>,
    /// Callers with a session of their own there.
    pub sessions: u32,
    /// Toolsets its tools belong to.
    pub toolsets: BTreeSet<String>,
}
