//! One endpoint and its health.

use std::time::Duration;

use kernel::UnixMs;
use kernel::chain::{EndpointState, EndpointStatus};
use parking_lot::{Mutex, RwLock};

use super::http::Target;

/// How much the newest answer weighs in the average latency.
const NEWEST: f64 = 0.2;

pub(super) struct Endpoint {
    target: RwLock<Target>,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    /// Whether it answers for the right chain; unknown again after every failure, since another node may answer next.
    verified: bool,
    wrong_chain: bool,
    latency_ms: Option<f64>,
    requests: u64,
    failures: u64,
    failures_in_a_row: u32,
    last_failure: Option<String>,
    left_alone_until_ms: UnixMs,
}

impl Health {
    fn state(&self) -> EndpointState {
        match self {
            Self { wrong_chain: true, .. } => EndpointState::WrongChain,
            Self { requests: 0, .. } => EndpointState::Untried,
            Self { failures_in_a_row: 0, .. } => EndpointState::Healthy,
            _ => EndpointState::Down,
        }
    }
}

impl Endpoint {
    pub(super) fn new(target: Target) -> Self {
        Self { target: RwLock::new(target), health: Mutex::default() }
    }

    pub(super) fn retarget(&self, target: Target) {
        *self.target.write() = target;
        let mut health = self.health.lock();
        (health.verified, health.wrong_chain, health.failures_in_a_row) = (false, false, 0);
    }

    pub(super) fn target(&self) -> Target {
        self.target.read().clone()
    }

    pub(super) fn label(&self) -> String {
        self.target.read().label.clone()
    }

    pub(super) fn is_well(&self) -> bool {
        matches!(self.health.lock().state(), EndpointState::Untried | EndpointState::Healthy)
    }

    pub(super) fn is_down(&self) -> bool {
        self.health.lock().state() == EndpointState::Down
    }

    pub(super) fn verified(&self) -> bool {
        self.health.lock().verified
    }

    pub(super) fn set_verified(&self) {
        let mut health = self.health.lock();
        (health.verified, health.wrong_chain) = (true, false);
    }

    pub(super) fn set_wrong_chain(&self, why: &str, until_ms: UnixMs) {
        let mut health = self.health.lock();
        (health.wrong_chain, health.verified, health.left_alone_until_ms) = (true, false, until_ms);
        health.failures += 1;
        health.last_failure = Some(why.to_owned());
    }

    pub(super) fn answered(&self, took: Duration) {
        let took_ms = took.as_secs_f64() * 1_000.0;
        let mut health = self.health.lock();
        health.requests += 1;
        health.failures_in_a_row = 0;
        health.latency_ms = Some(health.latency_ms.map_or(took_ms, |before| before + NEWEST * (took_ms - before)));
    }

    /// Counts a failure; returns how many there were in a row.
    pub(super) fn failed(&self, why: &str) -> u32 {
        let mut health = self.health.lock();
        health.requests += 1;
        health.failures += 1;
        health.failures_in_a_row += 1;
        health.verified = false;
        health.last_failure = Some(why.to_owned());
        health.failures_in_a_row
    }

    pub(super) fn leave_alone_until(&self, until_ms: UnixMs) {
        self.health.lock().left_alone_until_ms = until_ms;
    }

    pub(super) fn probe_due(&self, now_ms: UnixMs) -> bool {
        let health = self.health.lock();
        matches!(health.state(), EndpointState::Down | EndpointState::WrongChain)
            && health.left_alone_until_ms <= now_ms
    }

    pub(super) fn status(&self) -> EndpointStatus {
        let health = self.health.lock();
        EndpointStatus {
            endpoint: self.label(),
            state: health.state(),
            latency_ms: health.latency_ms.map(|ms| (ms * 1_000.0).round() / 1_000.0),
            requests: health.requests,
            failures: health.failures,
            failures_in_a_row: health.failures_in_a_row,
            last_failure: health.last_failure.clone(),
        }
    }
}
