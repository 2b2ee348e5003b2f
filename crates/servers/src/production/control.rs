//! Strategies, modes, the kill switch.

use market::gate::{Confirmation, Desk, Kill, Mode, ModeChange, STRATEGIES, Set, StrategyState};
use market::risk::{Money, TradingState};
use mcp::{Ctx, ToolError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Production, check_reason};

/// What [`LIST_STRATEGIES`](super::LIST_STRATEGIES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListStrategiesRequest {}

/// A strategy.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Strategy {
    /// Its name.
    pub name: String,
    /// What it does.
    pub about: String,
    /// Whether it was started, by whom, when and why; by nobody when it never was.
    #[serde(flatten)]
    pub state: StrategyState,
    /// What its trades hold open in the fleet's mode.
    pub open_notional: Money,
}

/// What [`LIST_STRATEGIES`](super::LIST_STRATEGIES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListStrategiesResponse {
    /// The fleet's mode.
    pub mode: Mode,
    /// By name.
    pub strategies: Vec<Strategy>,
}

/// What [`START_STRATEGY`](super::START_STRATEGY) and [`STOP_STRATEGY`](super::STOP_STRATEGY) take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StrategyRequest {
    /// Its name, as list_strategies has it.
    pub strategy: String,
    /// Why.
    pub reason: String,
}

/// What [`GET_MODE`](super::GET_MODE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetModeRequest {}

/// The fleet's mode.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModeResponse {
    /// `paper` or `live`.
    pub mode: Mode,
    /// Who set it, when and why; by nobody when it is as it came.
    pub set: Set,
    /// What stands in the way of live mode.
    pub missing_for_live: Vec<String>,
}

/// What [`SET_MODE`](super::SET_MODE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetModeRequest {
    /// `paper` or `live`.
    pub mode: Mode,
    /// Why.
    pub reason: String,
    /// The token of the confirmation that an earlier call for live mode answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirmation: Option<String>,
}

/// What [`SET_MODE`](super::SET_MODE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SetModeResponse {
    /// The mode in force now.
    pub mode: Mode,
    /// Whether the change was made.
    pub done: bool,
    /// What must be handed back for it to be made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirmation: Option<Confirmation>,
}

/// What [`KILL_SWITCH`](super::KILL_SWITCH) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillSwitchRequest {
    /// Why.
    pub reason: String,
}

/// What [`KILL_SWITCH`](super::KILL_SWITCH) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct KillSwitchResponse {
    /// Who pulled it first, when and why.
    pub kill: Kill,
    /// How many trades are reserved and not settled, paper and live: none of them is sent any more; what was sent before is followed to its
    /// end.
    pub open: u64,
}

/// What [`RESUME`](super::RESUME) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// Why it is safe again.
    pub reason: String,
    /// Whether the drawdown is counted anew from here: without it a drawdown beyond its limit goes on to stop trades.
    #[serde(default)]
    pub accept_drawdown: bool,
}

/// What [`RESUME`](super::RESUME) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ResumeResponse {
    /// The trading state.
    pub trading: TradingState,
    /// The fleet's mode.
    pub mode: Mode,
    /// Who resumed, when and why.
    pub set: Set,
    /// How far realised profit is below its peak.
    pub drawdown: Money,
    /// What was lost since midnight UTC; the day's limit still holds.
    pub lost_today: Money,
}

pub(super) fn strategies(desk: &Desk) -> Vec<Strategy> {
    let open = &desk.book(desk.mode).open.by_strategy;
    let strategy = |(name, about): &(&str, &str)| Strategy {
        name: (*name).into(),
        about: (*about).into(),
        state: desk.strategies.get(*name).cloned().unwrap_or_default(),
        open_notional: open.get(*name).copied().unwrap_or_default(),
    };
    STRATEGIES.iter().map(strategy).collect()
}

fn missing_for_live(desk: &Desk) -> Vec<String> {
    let mut missing = Vec::new();
    if desk.limits.version == 0 {
        missing.push("limits: set_limits of risk-management".into());
    }
    if desk.kill.is_some() {
        missing.push("the kill switch is on: resume".into());
    }
    missing
}

impl Production {
    pub(super) async fn list_strategies(&self) -> Result<ListStrategiesResponse, ToolError> {
        let desk = self.gate.desk().await?;
        Ok(ListStrategiesResponse { mode: desk.mode, strategies: strategies(&desk) })
    }

    pub(super) async fn set_strategy(
        &self,
        request: StrategyRequest,
        running: bool,
        ctx: &Ctx,
    ) -> Result<Strategy, ToolError> {
        let (name, reason) = (request.strategy, check_reason(&request.reason)?);
        if running {
            ctx.caller.require_person("production.start_strategy")?;
        }
        let state = self.gate.set_strategy(&name, running, &ctx.caller.name, Some(reason)).await?;
        let kind = if running { "strategy.started" } else { "strategy.stopped" };
        self.tell(kind, ctx, json!({ "strategy": name, "by": state.set.by, "reason": reason })).await;
        let found = strategies(&self.gate.desk().await?).into_iter().find(|strategy| strategy.name == name);
        found.ok_or_else(|| kernel::Fault::internal(format!("the strategy `{name}` went missing")).into())
    }

    pub(super) async fn get_mode(&self) -> Result<ModeResponse, ToolError> {
        let desk = self.gate.desk().await?;
        let missing_for_live = missing_for_live(&desk);
        Ok(ModeResponse { mode: desk.mode, set: desk.mode_set, missing_for_live })
    }

    pub(super) async fn set_mode(&self, request: SetModeRequest, ctx: &Ctx) -> Result<SetModeResponse, ToolError> {
        let reason = check_reason(&request.reason)?;
        if request.mode == Mode::Live {
            ctx.caller.require_person("production.set_mode to live")?;
        }
        let token = request.confirmation.as_deref();
        match self.gate.set_mode(request.mode, &ctx.caller.name, Some(reason), token).await? {
            ModeChange::Done(set) => {
                self.tell("mode", ctx, json!({ "mode": request.mode, "by": set.by, "reason": reason })).await;
                Ok(SetModeResponse { mode: request.mode, done: true, confirmation: None })
            }
            ModeChange::Asked(confirmation) => {
                let mode = self.gate.desk().await?.mode;
                // The token itself is for who asked, and for whom that one chooses.
                let asked = json!({ "mode": request.mode, "by": confirmation.asked.by, "reason": reason });
                self.tell("mode.asked", ctx, asked).await;
                Ok(SetModeResponse { mode, done: false, confirmation: Some(confirmation) })
            }
        }
    }

    pub(super) async fn kill_switch(
        &self,
        request: KillSwitchRequest,
        ctx: &Ctx,
    ) -> Result<KillSwitchResponse, ToolError> {
        let reason = check_reason(&request.reason)?;
        let kill = self.gate.kill(&ctx.caller.name, Some(reason)).await?;
        self.tell("kill_switch", ctx, json!({ "by": ctx.caller.name, "reason": reason })).await;
        let desk = self.gate.desk().await?;
        Ok(KillSwitchResponse { kill, open: desk.paper.open.trades + desk.live.open.trades })
    }

    pub(super) async fn resume(&self, request: ResumeRequest, ctx: &Ctx) -> Result<ResumeResponse, ToolError> {
        let reason = check_reason(&request.reason)?;
        ctx.caller.require_person("production.resume")?;
        let desk = self.gate.resume(&ctx.caller.name, Some(reason), request.accept_drawdown).await?;
        self.tell("resumed", ctx, json!({ "by": ctx.caller.name, "reason": reason })).await;
        let marks = &desk.book(desk.mode).marks;
        Ok(ResumeResponse {
            trading: desk.trading,
            mode: desk.mode,
            drawdown: marks.drawdown(),
            lost_today: marks.day_net.loss(),
            set: desk.trading_set,
        })
    }
}
