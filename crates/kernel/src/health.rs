//! What a service says of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How well a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Serves.
    Healthy,
    /// Serves, with something missing.
    Degraded,
    /// Is being started.
    Starting,
    /// Was asked to stop and finishes what it has.
    Stopping,
    /// Does not serve; the supervisor is at it.
    Down,
    /// Does not serve and was given up after too many restarts.
    Failed,
}

impl Status {
    /// The value of the `mcp_server_health` gauge: 1 healthy, 0.5 degraded, 0 down.
    pub fn gauge(self) -> f64 {
        match self {
            Self::Healthy => 1.0,
            Self::Degraded => 0.5,
            _ => 0.0,
        }
    }

    /// Whether calls may be sent there.
    pub fn serves(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }
}

/// One thing a service depends on, looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// What was seen, for people.
    pub detail: String,
}

impl Check {
    /// A check that passed.
    pub fn healthy(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Healthy, detail: detail.into() }
    }

    /// A check that found something missing.
    pub fn degraded(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Degraded, detail: detail.into() }
    }

    /// A check that failed.
    pub fn down(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Down, detail: detail.into() }
    }
}

/// The body of `/health`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The worst of the checks.
    pub status: Status,
    /// Which service.
    pub service: String,
    /// The binary's version.
    pub version: String,
    /// Seconds since the service was started.
    pub uptime_seconds: u64,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// The worst status among `checks`; healthy when there are none.
pub fn worst(checks: &[Check]) -> Status {
    checks.iter().map(|check| check.status).max().unwrap_or(Status::Healthy)
}
