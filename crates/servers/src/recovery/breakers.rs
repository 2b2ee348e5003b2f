//! The breakers of calls between processes. Whoever routes calls has them, each for itself; what opens and closes is told on the fleet's topic, and
//! what is asked of them on the topic on which processes ask each other.

use std::collections::BTreeMap;

use kernel::UnixMs;
use kernel::breaker::RESET;
use kernel::bus::{Event, FLEET_TOPIC, NewEvent, READ_MAX};
use kernel::fleet::CONTROL_TOPIC;
use mcp::prelude::*;
use serde_json::json;

use super::Recovery;

/// How many of the fleet's newest events are looked through.
const EVENTS_MAX: u64 = 10_000;

/// What [`CIRCUIT_BREAKERS`](super::CIRCUIT_BREAKERS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreakersRequest {}

/// The breaker of a copy of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerRow {
    /// The service.
    pub service: String,
    /// The copy.
    pub instance: String,
    /// Where it answers.
    pub url: String,
    /// Whether calls to it are held back. One goes through now and then, to see whether it answers again.
    pub open: bool,
    /// Since when it stands so, in milliseconds since the Unix epoch.
    pub since_ms: UnixMs,
    /// How often it has opened, as far as the events go back.
    pub opened: u32,
    /// Whether the copy still runs.
    pub present: bool,
}

/// What [`CIRCUIT_BREAKERS`](super::CIRCUIT_BREAKERS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CircuitBreakersResponse {
    /// The breakers that have ever opened, as far as the events go back, by service and copy. All others are closed.
    pub breakers: Vec<BreakerRow>,
}

/// What [`RESET_CIRCUIT_BREAKER`](super::RESET_CIRCUIT_BREAKER) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetCircuitBreakerRequest {
    /// The service.
    pub service: String,
    /// Only of this copy.
    #[serde(default)]
    pub instance: Option<String>,
}

/// What [`RESET_CIRCUIT_BREAKER`](super::RESET_CIRCUIT_BREAKER) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ResetCircuitBreakerResponse {
    /// The breakers that were open and are asked to close, as they stood. Whoever has one closes it as soon as it hears of it.
    pub asked: Vec<BreakerRow>,
}

impl Recovery {
    async fn breakers(&self) -> Result<Vec<BreakerRow>, Fault> {
        let topics = self.bus.topics().await?;
        let newest = topics.iter().find(|topic| topic.name == FLEET_TOPIC).map_or(0, |topic| topic.last_seq);
        let mut after = newest.saturating_sub(EVENTS_MAX);
        let mut rows: BTreeMap<(String, String), BreakerRow> = BTreeMap::new();
        loop {
            let events = self.bus.read(FLEET_TOPIC, after, READ_MAX).await?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            events.iter().for_each(|event| take(&mut rows, event));
        }
        let running = self.fleet.instances().await?;
        for row in rows.values_mut() {
            row.present = running.iter().any(|instance| instance.id == row.instance && instance.lost_ms.is_none());
        }
        Ok(rows.into_values().collect())
    }

    pub(super) async fn circuit_breakers(
        self: Arc<Self>,
        _request: CircuitBreakersRequest,
        _ctx: Ctx,
    ) -> Result<CircuitBreakersResponse, ToolError> {
        Ok(CircuitBreakersResponse { breakers: self.breakers().await? })
    }

    pub(super) async fn reset_circuit_breaker(
        self: Arc<Self>,
        request: ResetCircuitBreakerRequest,
        ctx: Ctx,
    ) -> Result<ResetCircuitBreakerResponse, ToolError> {
        let ResetCircuitBreakerRequest { service, instance } = request;
        let wanted = |row: &BreakerRow| {
            row.service == service && instance.as_ref().is_none_or(|instance| *instance == row.instance)
        };
        let of_it: Vec<BreakerRow> = self.breakers().await?.into_iter().filter(wanted).collect();
        if of_it.is_empty() {
            let shown: String = service.chars().take(60).flat_map(char::escape_debug).collect();
            return Err(Fault::not_found(format!("no breaker to `{shown}` has opened"))
                .hint("circuit_breakers lists those that have")
                .into());
        }
        let asked: Vec<BreakerRow> = of_it.into_iter().filter(|row| row.open && row.present).collect();
        for row in &asked {
            let by = format!("by {}", ctx.caller.name);
            self.note(&format!("copy:{}", row.instance), "recovery.reset", &by).await?;
            let event = NewEvent {
                topic: CONTROL_TOPIC.into(),
                kind: RESET.into(),
                source: Self::NAME.into(),
                trace_id: Some(ctx.trace.id()),
                data: json!({ "service": row.service, "instance": row.instance, "by": ctx.caller.name }),
            };
            self.bus.publish(event).await?;
        }
        Ok(ResetCircuitBreakerResponse { asked })
    }
}

fn take(rows: &mut BTreeMap<(String, String), BreakerRow>, event: &Event) {
    let open = match &*event.kind {
        "breaker.opened" => true,
        "breaker.closed" => false,
        _ => return,
    };
    let text = |name: &str| event.data[name].as_str().unwrap_or_default().to_owned();
    let (service, instance, url) = (text("name"), text("instance"), text("url"));
    let row = rows.entry((service.clone(), instance.clone())).or_insert(BreakerRow {
        service,
        instance,
        url,
        open,
        since_ms: event.at_ms,
        opened: 0,
        present: false,
    });
    row.opened += u32::from(open);
    if row.open != open {
        (row.open, row.since_ms) = (open, event.at_ms);
    }
}
