//! What the tests stand on: fleets in folders of their own, a plain HTTP client, and the official tools.
//!
//! Invariants:
//! - A test sees only its own folder: own data, own configuration, own `HOME`, an environment of a few named variables.
//! - Nothing sleeps for a fixed time: a state is waited for, with a limit, by [`wait_for`].
//! - Whatever a test starts is ended with it, with all its children.

pub(crate) mod browser;
pub(crate) mod command;
pub(crate) mod daemon;
pub(crate) mod discord;
pub(crate) mod fleet;
pub(crate) mod home;
pub(crate) mod http;
pub(crate) mod mcp;
#[path = "../../../../backends/tests/it/server.rs"]
pub(crate) mod postgres;
pub(crate) mod process;
#[path = "../../../../backends/tests/it/real.rs"]
pub(crate) mod real;
pub(crate) mod receiver;
pub(crate) mod stream;
pub(crate) mod tools;

use std::time::{Duration, Instant};

pub(crate) use command::Ran;
pub(crate) use fleet::Fleet;
pub(crate) use home::Home;
pub(crate) use mcp::Mcp;
pub(crate) use process::Process;

/// How long anything of the fleet may take before a test calls it hung.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// The pause between two looks at a state.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something, and fails with `what` when it does not come within `limit`.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "{what}: not within {} s", limit.as_secs_f32());
        std::thread::sleep(PAUSE);
    }
}

/// An environment variable of the tests themselves.
#[expect(clippy::disallowed_methods, reason = "the tests are told by the environment where the fetched tools are")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
