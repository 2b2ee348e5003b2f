//! The tools of silences.

use kernel::Fault;
use kernel::bus::NewEvent;
use mcp::{Ctx, ToolError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Monitoring;
use super::silences::{self, Comparison, Matcher, Silence};
use crate::when::When;

/// What [`SILENCE`](super::SILENCE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SilenceRequest {
    /// Silence exactly this alert, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// Or: every alert of this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// And: alerts for which all of this is true, like {"label":"server","value":"utilities"}.
    pub matchers: Vec<Matcher>,
    /// Why: others will read it.
    pub reason: String,
    /// For how long, in minutes; 60 unless this or `until` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u32>,
    /// Until when: 2026-11-15T08:00:00Z or milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
}

/// What [`LIST_SILENCES`](super::LIST_SILENCES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListSilencesRequest {
    /// Whether to list those of the last week that are over, too.
    pub ended: bool,
}

/// A silence and what it hides.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SilenceRow {
    /// The silence.
    #[serde(flatten)]
    pub silence: Silence,
    /// Whether it holds now.
    pub active: bool,
    /// How many alerts are under it now.
    pub alerts: u64,
}

/// What [`LIST_SILENCES`](super::LIST_SILENCES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListSilencesResponse {
    /// The last to end first.
    pub silences: Vec<SilenceRow>,
}

/// What [`EXPIRE_SILENCE`](super::EXPIRE_SILENCE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireSilenceRequest {
    /// Its id.
    pub id: String,
}

impl Monitoring {
    pub(super) async fn silence(&self, request: SilenceRequest, ctx: &Ctx) -> Result<Silence, ToolError> {
        let now_ms = self.clock.now_ms();
        let mut matchers = request.matchers;
        let is = |label: &str, value: &str| Matcher { label: label.into(), op: Comparison::Is, value: value.into() };
        if let Some(rule) = &request.rule {
            matchers.push(is("alertname", rule));
        }
        if let Some(id) = &request.alert {
            let open = self.evaluator.open().await?;
            let open = open.iter().find(|open| open.alert.id == *id);
            let open =
                open.ok_or_else(|| Fault::not_found(format!("no alert `{id}`")).hint("list_alerts names them"))?;
            matchers.extend(open.alert.labels.iter().map(|(label, value)| is(label, value)));
        }
        let until_ms = match (request.until, request.minutes) {
            (Some(_), Some(_)) => return Err(Fault::invalid("both minutes and until").hint("give one of them").into()),
            (Some(when), None) => when.resolve(now_ms),
            (None, minutes) => now_ms + i64::from(minutes.unwrap_or(60)) * 60_000,
        };
        let silence = Silence {
            id: kernel::ids::new_id("silence"),
            matchers,
            by: ctx.caller.name.clone(),
            reason: request.reason,
            from_ms: now_ms,
            until_ms,
            ended_by: None,
        };
        silence.check()?;
        silences::add(&*self.store, &silence).await?;
        self.tell_of_silence("alert.silenced", &silence).await;
        Ok(silence)
    }

    async fn tell_of_silence(&self, kind: &str, silence: &Silence) {
        tracing::info!(kind, id = silence.id, by = silence.by, reason = silence.reason);
        // What is written down stands even if nobody can be told.
        if let Err(fault) = self.bus.publish(NewEvent::fleet(kind, "monitoring", json!({ "silence": silence }))).await {
            tracing::warn!(%fault, kind, id = silence.id, "silence event not published");
        }
    }

    pub(super) async fn list_silences(&self, request: ListSilencesRequest) -> Result<ListSilencesResponse, ToolError> {
        let now_ms = self.clock.now_ms();
        let open = self.evaluator.open().await?;
        let row = |silence: Silence| SilenceRow {
            active: silence.active(now_ms),
            alerts: open.iter().filter(|open| silence.active(now_ms) && silence.covers(&open.alert.labels)).count()
                as u64,
            silence,
        };
        let mut silences: Vec<SilenceRow> = silences::list(&*self.store).await?.into_iter().map(row).collect();
        silences.retain(|row| row.active || request.ended);
        Ok(ListSilencesResponse { silences })
    }

    pub(super) async fn expire_silence(&self, request: ExpireSilenceRequest, ctx: &Ctx) -> Result<Silence, ToolError> {
        let silence = silences::expire(&*self.store, &request.id, &ctx.caller.name, self.clock.now_ms()).await?;
        self.tell_of_silence("alert.unsilenced", &silence).await;
        Ok(silence)
    }
}
