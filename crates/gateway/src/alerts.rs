//! The alerts that fire, as the monitoring server tells them: counted for `/status`.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::{Caller, Fault, Role, Trace, UnixMs};
use mcp::toolbox::{Router, structured};
use mcp::{Ctx, wire};
use serde::Deserialize;
use serde_json::json;

use crate::gateway::Gateway;
use crate::names;

const SERVER: &str = "monitoring";
const TOOL: &str = "list_alerts";
/// How long a count is good, in milliseconds: the status is polled.
const GOOD_MS: i64 = 10_000;
/// How long it may take to be told.
const ASK_TIME: Duration = Duration::from_secs(2);
/// Most alerts asked for.
const ALERTS_MAX: u32 = 1_000;

/// A count and when it was made.
#[derive(Debug, Clone)]
pub(crate) struct AlertsSeen {
    at_ms: UnixMs,
    by_severity: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Answer {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    severity: String,
}

impl Gateway {
    /// How many alerts fire, by severity; `None` while nothing watches.
    pub(crate) async fn alerts(&self) -> Option<BTreeMap<String, u64>> {
        self.table().get(&names::tool(SERVER, TOOL))?;
        let now_ms = self.ports.clock.now_ms();
        let seen = self.alerts_seen.lock().clone();
        if let Some(seen) = seen.filter(|seen| (0..GOOD_MS).contains(&(now_ms - seen.at_ms))) {
            return Some(seen.by_severity);
        }
        let asked = tokio::time::timeout(ASK_TIME, self.ask_for_alerts()).await;
        match asked.unwrap_or_else(|_| Err(Fault::timeout(format!("{SERVER} did not tell its alerts")))) {
            Ok(by_severity) => {
                *self.alerts_seen.lock() = Some(AlertsSeen { at_ms: now_ms, by_severity: by_severity.clone() });
                Some(by_severity)
            }
            Err(fault) => {
                tracing::warn!(%fault, "alerts are not known");
                None
            }
        }
    }

    async fn ask_for_alerts(&self) -> Result<BTreeMap<String, u64>, Fault> {
        let ctx = Ctx::internal(Caller::standing("flotilla", Role::Viewer), Trace::root());
        let arguments = wire::raw(&json!({ "states": ["firing", "acknowledged"], "limit": ALERTS_MAX }));
        let reply = self.call(SERVER, TOOL, arguments, ctx).await?;
        let answer: Answer = serde_json::from_str(structured(&reply)?.get())
            .map_err(|error| Fault::upstream(format!("{SERVER}.{TOOL}: {error}")))?;
        let mut by_severity = BTreeMap::new();
        for alert in answer.alerts {
            *by_severity.entry(alert.severity).or_insert(0) += 1;
        }
        Ok(by_severity)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[tokio::test]
    async fn counted_now_and_then_and_only_while_something_watches() {
        let bench = Bench::real();
        let asked = || {
            let figures = bench.world.metrics.render();
            let count =
                figures.lines().find(|line| line.contains("mcp_commands_total") && line.contains("list_alerts"));
            count.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
        };
        assert_eq!(bench.gateway.status().await.alerts, Some(super::BTreeMap::new()));
        bench.gateway.status().await;
        assert_eq!(asked().as_deref(), Some("1"), "asked once for both");
        bench.world.clock.advance_ms(super::GOOD_MS);
        bench.gateway.status().await;
        assert_eq!(asked().as_deref(), Some("2"));
        assert_eq!(bench.trail().await, [""; 0], "whoever polls the status does not fill the audit trail");
        bench.gateway.remove_local("monitoring");
        assert_eq!(bench.gateway.status().await.alerts, None);
    }
}
