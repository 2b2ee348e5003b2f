//! Limits, the trading state, and the judgement of a trade.

use kernel::{Access, Fault};
use market::gate::{LimitsRecord, Mode};
use market::risk::{LimitsChange, Proposal, TradingState, Verdict};
use mcp::{Ctx, ToolError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{KillSwitchStateResponse, RiskManagement};

/// Longest reason, in bytes.
pub(super) const REASON_BYTES_MAX: usize = 1_000;

/// What [`GET_LIMITS`](super::GET_LIMITS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GetLimitsRequest {
    /// How many versions to list, the newest first: 0 to 100, none unless given.
    #[schemars(range(max = 100))]
    pub history: u32,
}

/// The limits in force.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LimitsResponse {
    /// The currency that values are in.
    pub currency: String,
    /// The limits, their version, and who set them; version 0 are the defaults, with which there is no live mode.
    #[serde(flatten)]
    pub record: LimitsRecord,
    /// Versions, the newest first, if asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub history: Vec<LimitsRecord>,
}

/// What [`SET_LIMITS`](super::SET_LIMITS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimitsRequest {
    /// The limits to change; what is absent stays as it is.
    pub limits: LimitsChange,
    /// Why: it is kept with the version.
    pub reason: String,
    /// Only if this is the version in force: refuses when others changed them meanwhile.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub if_version: Option<u64>,
}

/// What [`SET_TRADING_STATE`](super::SET_TRADING_STATE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetTradingStateRequest {
    /// ACTIVE, REDUCING or HALTED.
    pub state: TradingState,
    /// Why.
    pub reason: String,
}

/// What [`CHECK_TRADE`](super::CHECK_TRADE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckTradeRequest {
    /// The trade.
    pub trade: Proposal,
}

/// What [`CHECK_TRADE`](super::CHECK_TRADE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CheckTradeResponse {
    /// Whether it would be let through, and what every rule says.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// In which mode it was judged.
    pub mode: Mode,
    /// The version of the limits by which it was judged.
    pub limits_version: u64,
}

impl RiskManagement {
    pub(super) async fn get_limits(&self, request: GetLimitsRequest) -> Result<LimitsResponse, ToolError> {
        if request.history > 100 {
            return Err(Fault::invalid(format!("history is {}", request.history)).hint("0 to 100").into());
        }
        let record = self.gate.desk().await?.limits;
        let history = match request.history {
            0 => Vec::new(),
            count => self.gate.limits_history(count as usize).await?,
        };
        Ok(LimitsResponse { currency: self.currency.clone(), record, history })
    }

    pub(super) async fn set_limits(&self, request: SetLimitsRequest, ctx: &Ctx) -> Result<LimitsResponse, ToolError> {
        let reason = check_reason(&request.reason)?;
        let may_loosen = ctx.caller.allows(Access::Admin);
        let set = (ctx.caller.name.as_str(), Some(reason));
        let record = self.gate.set_limits(&request.limits, set, request.if_version, may_loosen).await?;
        self.tell(
            "risk.limits",
            ctx,
            json!({ "version": record.version, "by": record.set.by, "changed": request.limits }),
        )
        .await;
        Ok(LimitsResponse { currency: self.currency.clone(), record, history: Vec::new() })
    }

    pub(super) async fn set_trading_state(
        &self,
        request: SetTradingStateRequest,
        ctx: &Ctx,
    ) -> Result<KillSwitchStateResponse, ToolError> {
        let reason = check_reason(&request.reason)?;
        let may_loosen = ctx.caller.allows(Access::Admin);
        self.gate.set_trading(request.state, &ctx.caller.name, Some(reason), may_loosen).await?;
        self.tell(
            "risk.trading_state",
            ctx,
            json!({ "state": request.state, "by": ctx.caller.name, "reason": reason }),
        )
        .await;
        self.kill_switch_state().await
    }

    pub(super) async fn check_trade(&self, request: CheckTradeRequest) -> Result<CheckTradeResponse, ToolError> {
        let desk = self.gate.desk().await?;
        let verdict = market::risk::check(&request.trade, desk.limits(), &desk.standing(&request.trade.strategy));
        Ok(CheckTradeResponse { verdict, mode: desk.mode, limits_version: desk.limits.version })
    }
}

fn check_reason(reason: &str) -> Result<&str, Fault> {
    let reason = reason.trim();
    match reason.len() {
        0 => Err(Fault::invalid("no reason").hint("say why: others will read it")),
        1..=REASON_BYTES_MAX => Ok(reason),
        _ => Err(Fault::too_large("the reason is long").hint(format!("at most {REASON_BYTES_MAX} bytes"))),
    }
}
