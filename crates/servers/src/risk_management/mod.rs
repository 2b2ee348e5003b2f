//! `risk-management`: limits, what is at stake, and whether a trade may be made.
//!
//! It keeps nothing: all of it is the [risk gate](market::gate) over the store, the same that whoever sends asks in its own process. Invariants:
//! - What is judged here is judged by the very rules and figures that a reservation is.
//! - Tightening is an operator's, loosening an administrator's. Every version of the limits is kept, with who set it and why.
//! - Figures say of which mode they are: paper never counts against live.

mod limits;
mod look;
mod measure;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use kernel::Clock;
use kernel::bus::{Bus, NewEvent};
use kernel::health::Check;
use market::gate::{Desk, Gate, Mode, RISK_TOPIC};
use mcp::prelude::*;

use crate::MarketPorts;

pub use limits::{
    CheckTradeRequest, CheckTradeResponse, GetLimitsRequest, LimitsResponse, SetLimitsRequest, SetTradingStateRequest,
};
pub use look::{
    Concentrated, ConcentrationResponse, ExposureResponse, KillSwitchStateRequest, KillSwitchStateResponse,
    ModeRequest, OpenTrade, Share, Usage,
};
pub use measure::{
    DayMark, DrawdownRequest, DrawdownResponse, RiskReport, StressRequest, StressResponse, ValueAtRiskRequest,
    ValueAtRiskResponse,
};

/// `[servers.risk-management]` in `flotilla.toml`. The currency is in `[market]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

/// The server.
pub struct RiskManagement {
    gate: Gate,
    clock: Clock,
    bus: Arc<dyn Bus>,
    currency: String,
}

impl McpServer for RiskManagement {
    const NAME: &'static str = "risk-management";
    const INSTRUCTIONS: &'static str = "What trading may risk and what it does. risk_report first. check_trade judges a trade by every rule, with figure \
        and bound, and reserves nothing; get_limits and set_limits are what the rules hold to. exposure, concentration, drawdown, value_at_risk and stress \
        are figures of one mode, the fleet's unless mode is given: paper and live are counted apart. Values are in the reference currency, as decimal text.";
    type Config = Config;
    type Ports = MarketPorts;

    fn new(ports: &MarketPorts, _: Config) -> Result<Self, Fault> {
        let (currency, ports) = (ports.market.currency.clone(), &ports.kernel);
        let gate = Gate::new(Arc::clone(&ports.store), ports.clock.clone(), ports.chain.ground());
        Ok(Self { gate, clock: ports.clock.clone(), bus: Arc::clone(&ports.bus), currency })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(GET_LIMITS, |server, request, _| async move { server.get_limits(request).await });
        set.add(SET_LIMITS, |server, request, ctx| async move { server.set_limits(request, &ctx).await });
        set.add(SET_TRADING_STATE, |server, request, ctx| async move { server.set_trading_state(request, &ctx).await });
        set.add(CHECK_TRADE, |server, request, _| async move { server.check_trade(request).await });
        set.add(EXPOSURE, |server, request, _| async move { server.exposure(request).await });
        set.add(CONCENTRATION, |server, request, _| async move { server.concentration(request).await });
        set.add(VALUE_AT_RISK, |server, request, _| async move { server.value_at_risk(request).await });
        set.add(DRAWDOWN, |server, request, _| async move { server.drawdown(request).await });
        set.add(STRESS, |server, request, _| async move { server.stress(request).await });
        set.add(KILL_SWITCH_STATE, |server, _, _| async move { server.kill_switch_state().await });
        set.add(RISK_REPORT, |server, request, _| async move { server.risk_report(request).await });
    }
}

tools! { RiskManagement::NAME;
    /// Reads the risk limits in force, who set them, when and why, and earlier versions.
    GET_LIMITS = "get_limits": fn(GetLimitsRequest) -> LimitsResponse, Hints::READ;
    /// Changes the risk limits, raising or lowering them; what is not named stays. A looser limit needs an administrator.
    SET_LIMITS = "set_limits": fn(SetLimitsRequest) -> LimitsResponse, Hints { idempotent: false, ..Hints::SET };
    /// Sets whether trades are made: ACTIVE, REDUCING (only those that reduce exposure) or HALTED. A looser state needs an administrator.
    SET_TRADING_STATE = "set_trading_state": fn(SetTradingStateRequest) -> KillSwitchStateResponse, Hints::SET;
    /// Checks a trade before it is sent: judges it by every rule, each with its figure and bound, as a reservation would be judged now; reserves nothing.
    CHECK_TRADE = "check_trade": fn(CheckTradeRequest) -> CheckTradeResponse, Hints::READ;
    /// What trades that are under way hold open, by token, protocol and strategy, beside its limits.
    EXPOSURE = "exposure": fn(ModeRequest) -> ExposureResponse, Hints::READ;
    /// How much of what is open is in one token, protocol or strategy.
    CONCENTRATION = "concentration": fn(ModeRequest) -> ConcentrationResponse, Hints::READ;
    /// The loss of a day that, by the days in the ledger, is not exceeded with some confidence; says on how many days that stands.
    VALUE_AT_RISK = "value_at_risk": fn(ValueAtRiskRequest) -> ValueAtRiskResponse, Hints::READ;
    /// How far realised profit is below its peak, now and day by day.
    DRAWDOWN = "drawdown": fn(DrawdownRequest) -> DrawdownResponse, Hints::READ;
    /// What a price shock, a gas shock and a failure of the oracles would cost what is open now.
    STRESS = "stress": fn(StressRequest) -> StressResponse, Hints::READ;
    /// Whether the kill switch is on, who pulled it and why, and the trading state and mode.
    KILL_SWITCH_STATE = "kill_switch_state": fn(KillSwitchStateRequest) -> KillSwitchStateResponse, Hints::READ;
    /// All of it in one answer: states, use of every limit, drawdown, value at risk, stress.
    RISK_REPORT = "risk_report": fn(ModeRequest) -> RiskReport, Hints::READ;
}

#[async_trait]
impl Features for RiskManagement {
    async fn health(&self) -> Vec<Check> {
        vec![match self.gate.desk().await {
            Ok(desk) => Check::healthy("gate", summary(&desk)),
            Err(fault) => Check::down("gate", fault.to_string()),
        }]
    }
}

impl RiskManagement {
    /// The desk as it would be in `mode`, the fleet's unless given.
    async fn desk(&self, mode: Option<Mode>) -> Result<Desk, Fault> {
        let mut desk = self.gate.desk().await?;
        desk.mode = mode.unwrap_or(desk.mode);
        Ok(desk)
    }

    fn today(&self) -> i64 {
        self.clock.now_ms().div_euclid(86_400_000)
    }

    /// Tells a change on the bus. It is in the store already, so that a bus that is away loses the telling and not the change.
    async fn tell(&self, kind: &str, ctx: &Ctx, data: serde_json::Value) {
        let event = NewEvent {
            topic: RISK_TOPIC.into(),
            kind: kind.into(),
            source: Self::NAME.into(),
            trace_id: Some(ctx.trace.id()),
            data,
        };
        if let Err(fault) = self.bus.publish(event).await {
            tracing::warn!(%fault, kind, "a change of the risk gate could not be told");
        }
    }
}

fn summary(desk: &Desk) -> String {
    let kill = if desk.kill.is_some() { "on" } else { "off" };
    let state = serde_json::to_value(desk.trading).ok();
    let state = state.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    format!("{} mode, trading {state}, kill switch {kill}, limits version {}", desk.mode.as_str(), desk.limits.version)
}
