//! The tools by which sinks are told: one says what is due, one does it. Who calls them, and when, is the monitoring agent's duty.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use kernel::health::Check;
use kernel::{Fault, UnixMs};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::due::{Seen, beginning, due, waiting};
use super::send::deliver;
use super::{Told, forget_others, load};
use crate::monitoring::sinks::SinkKind;
use crate::monitoring::{Monitoring, silences};

/// After how many failures in a row a sink is said to be away.
const FAILURES_MANY: u32 = 3;

/// What [`LIST_SINKS`](crate::monitoring::LIST_SINKS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListSinksRequest {
    /// When the rules were last evaluated, in milliseconds since the Unix epoch, if the caller knows: a heartbeat is due only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluated_ms: Option<UnixMs>,
}

/// A sink and how it fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkRow {
    /// Its name in the configuration.
    pub name: String,
    /// What is spoken there.
    pub kind: SinkKind,
    /// The host, unless the address is a secret.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// How many alerts it has not been told of as they stand.
    pub waiting: u64,
    /// Whether it would be told something now.
    pub due: bool,
    /// How many messages it has taken.
    pub messages: u64,
    /// When it took the last, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub told_ms: Option<UnixMs>,
    /// How often in a row it took none.
    pub failures: u32,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// When it is tried again, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_ms: Option<UnixMs>,
}

/// What [`LIST_SINKS`](crate::monitoring::LIST_SINKS) answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListSinksResponse {
    /// By name.
    pub sinks: Vec<SinkRow>,
}

/// What [`DELIVER_ALERTS`](crate::monitoring::DELIVER_ALERTS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliverAlertsRequest {
    /// When the rules were last evaluated, in milliseconds since the Unix epoch, if the caller knows: heartbeats are sent only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluated_ms: Option<UnixMs>,
}

/// What became of telling one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Its name.
    pub sink: String,
    /// Of how many alerts it was told.
    pub alerts: u64,
    /// Whether they were told before, and nobody took them up.
    pub repeated: bool,
    /// Why it did not take them; they will be told again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// What [`DELIVER_ALERTS`](crate::monitoring::DELIVER_ALERTS) answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliverAlertsResponse {
    /// Sinks that something was due for, by name.
    pub deliveries: Vec<Delivery>,
}

impl Monitoring {
    pub(in crate::monitoring) async fn list_sinks(
        &self,
        request: ListSinksRequest,
    ) -> Result<ListSinksResponse, ToolError> {
        let mut sinks = Vec::with_capacity(self.config.sinks.len());
        if !self.config.sinks.is_empty() {
            let (seen, now_ms) = (self.seen(request.evaluated_ms).await?, self.clock.now_ms());
            for (name, sink) in &self.config.sinks {
                let (revision, mut told) = load(&*self.store, name).await?;
                if revision.is_none() {
                    told = beginning(&seen);
                }
                sinks.push(SinkRow {
                    name: name.clone(),
                    kind: sink.kind,
                    host: sink.host(),
                    waiting: waiting(sink, &told, &seen, now_ms) as u64,
                    due: due(sink, &told, &seen, now_ms).is_some(),
                    messages: told.messages,
                    told_ms: told.told_ms,
                    failures: told.failures,
                    next_ms: told.error.is_some().then_some(told.next_ms),
                    error: told.error,
                });
            }
        }
        Ok(ListSinksResponse { sinks })
    }

    pub(in crate::monitoring) async fn deliver_alerts(
        &self,
        request: DeliverAlertsRequest,
    ) -> Result<DeliverAlertsResponse, ToolError> {
        let names: Vec<&str> = self.config.sinks.keys().map(String::as_str).collect();
        forget_others(&*self.store, &names).await?;
        let seen = self.seen(request.evaluated_ms).await?;
        let each = self.config.sinks.iter();
        let told = join_all(each.map(|(name, sink)| deliver(&*self.store, &self.clock, name, sink, &seen))).await;
        let mut deliveries = Vec::new();
        for one in told {
            deliveries.extend(one?);
        }
        Ok(DeliverAlertsResponse { deliveries })
    }

    /// How the alerts are.
    async fn seen(&self, evaluated_ms: Option<UnixMs>) -> Result<Seen, Fault> {
        // What is over last: an alert that ends in between is then seen in both, and told of as it is now.
        let open = self.evaluator.open().await?.into_iter().map(|open| open.alert).collect::<Vec<_>>();
        let over = self.evaluator.over().await?;
        let is_over: BTreeSet<&str> = over.iter().map(|(_, alert)| alert.id.as_str()).collect();
        let open = open.into_iter().filter(|alert| !is_over.contains(alert.id.as_str())).collect();
        Ok(Seen {
            open,
            over,
            silences: silences::list(&*self.store).await?,
            inhibitions: self.config.inhibit.clone(),
            evaluated_ms,
        })
    }

    /// Whether the sinks take what they are told; `None` when there are none.
    pub(in crate::monitoring) async fn sinks_take(&self) -> Option<Check> {
        let mut away = Vec::new();
        for name in self.config.sinks.keys() {
            match load(&*self.store, name).await {
                Ok((_, Told { failures, error, .. })) if failures >= FAILURES_MANY => {
                    away.push(format!("{name} ({})", error.unwrap_or_default()));
                }
                Ok(_) => {}
                Err(fault) => away.push(format!("{name} ({fault})")),
            }
        }
        match (self.config.sinks.len(), away.is_empty()) {
            (0, _) => None,
            (count, true) => Some(Check::healthy("alert sinks", format!("{count} told"))),
            (_, false) => Some(Check::degraded("alert sinks", format!("take no alerts: {}", away.join(", ")))),
        }
    }
}
