//! `production`: strategies, paper and live modes, what trading brought, the kill switch.
//!
//! It keeps nothing: all of it is the [risk gate](market::gate) over the store, which whoever trades asks in its own process. Invariants:
//! - A strategy that is not started, a mode that is not live, a kill switch that is on: each is a rule of the gate, so that it holds wherever
//!   a trade is reserved or sent, from the next look at the store on.
//! - Live mode takes limits that a person set, and a confirmation that is bound to them, used once, and void after five minutes.
//! - What lets more be risked than before (a strategy's start, live mode, resume) is a person's: no agent does it, also one that trades.
//! - Profit and loss is what was booked: realised, with fees, gas and tips apart. Nothing here is an estimate. It is the values of the
//!   [journal](market::ledger), and the wallet's balances on the chain change by the journal's amounts.

mod control;
mod look;
mod profit;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use kernel::Clock;
use kernel::bus::{Bus, NewEvent};
use kernel::chain::Chain;
use kernel::health::Check;
use market::gate::{Gate, Mode, RISK_TOPIC};
use mcp::prelude::*;

use crate::MarketPorts;

pub use control::{
    GetModeRequest, KillSwitchRequest, KillSwitchResponse, ListStrategiesRequest, ListStrategiesResponse, ModeResponse,
    ResumeRequest, ResumeResponse, SetModeRequest, SetModeResponse, Strategy, StrategyRequest,
};
pub use look::{Position, PositionsRequest, PositionsResponse, TradeRow, TradesRequest, TradesResponse};
pub use profit::{Grouping, PnlRequest, PnlResponse, PnlRow, ReportRequest, ReportResponse};

/// `[servers.production]` in `flotilla.toml`. The currency is in `[market]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

/// The server.
pub struct Production {
    gate: Gate,
    clock: Clock,
    bus: Arc<dyn Bus>,
    chain: Arc<dyn Chain>,
    currency: String,
}

impl McpServer for Production {
    const NAME: &'static str = "production";
    const INSTRUCTIONS: &'static str = "What trades, with what funds, and what it brought. report first. The fleet is in paper mode until set_mode makes it live, \
        which takes limits (risk-management) and a confirmation. start_strategy and stop_strategy let a strategy's trades through or not. kill_switch stops all \
        sends everywhere until resume. pnl is realised profit by strategy, pair and day, fees and gas apart; trades are the rows it is made of, with journal=true the \
        double-entry journal; positions is what is open and what the ledger holds: the wallet's balances on the chain have changed by just that. Paper and live are counted apart: figures are of the fleet's mode unless mode is given.";
    type Config = Config;
    type Ports = MarketPorts;

    fn new(ports: &MarketPorts, _: Config) -> Result<Self, Fault> {
        let (currency, ports) = (ports.market.currency.clone(), &ports.kernel);
        let gate = Gate::new(Arc::clone(&ports.store), ports.clock.clone(), ports.chain.ground());
        let (clock, bus, chain) = (ports.clock.clone(), Arc::clone(&ports.bus), Arc::clone(&ports.chain));
        Ok(Self { gate, clock, bus, chain, currency })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(LIST_STRATEGIES, |server, _, _| async move { server.list_strategies().await });
        set.add(START_STRATEGY, |server, request, ctx| async move { server.set_strategy(request, true, &ctx).await });
        set.add(STOP_STRATEGY, |server, request, ctx| async move { server.set_strategy(request, false, &ctx).await });
        set.add(GET_MODE, |server, _, _| async move { server.get_mode().await });
        set.add(SET_MODE, |server, request, ctx| async move { server.set_mode(request, &ctx).await });
        set.add(POSITIONS, |server, request, _| async move { server.positions(request).await });
        set.add(TRADES, |server, request, _| async move { server.trades(request).await });
        set.add(PNL, |server, request, _| async move { server.pnl(request).await });
        set.add(KILL_SWITCH, |server, request, ctx| async move { server.kill_switch(request, &ctx).await });
        set.add(RESUME, |server, request, ctx| async move { server.resume(request, &ctx).await });
        set.add(REPORT, |server, request, _| async move { server.report(request).await });
    }
}

/// Lets funds be moved, or more of them.
const TRADE: Hints = Hints { access: Access::Trade, destructive: true, ..Hints::OPERATE };

tools! { Production::NAME;
    /// Lists the strategies that there are, whether each is started, and what it holds open.
    LIST_STRATEGIES = "list_strategies": fn(ListStrategiesRequest) -> ListStrategiesResponse, Hints::READ;
    /// Starts a trading strategy: from now on the risk gate lets its trades through, if they pass every other rule.
    START_STRATEGY = "start_strategy": fn(StrategyRequest) -> Strategy, Hints { idempotent: true, ..TRADE };
    /// Stops a trading strategy: from now on the risk gate lets none of its trades through, and none that is reserved is sent.
    STOP_STRATEGY = "stop_strategy": fn(StrategyRequest) -> Strategy, Hints::SET;
    /// Whether the fleet trades on paper or with real funds, who decided that, and what stands in the way of live mode.
    GET_MODE = "get_mode": fn(GetModeRequest) -> ModeResponse, Hints::READ;
    /// Switches to paper or live mode. Live answers a confirmation first; called again with its token within five minutes, best by a second person, it is done.
    SET_MODE = "set_mode": fn(SetModeRequest) -> SetModeResponse, TRADE;
    /// The open positions: what is open now, by how much trades have changed each balance of the wallet, and the ledger's balances account by account.
    POSITIONS = "positions": fn(PositionsRequest) -> PositionsResponse, Hints::READ_WORLD;
    /// Lists trades that ended, with what was predicted, simulated and realised, the oldest first; or the double-entry journal of what they moved.
    TRADES = "trades": fn(TradesRequest) -> TradesResponse, Hints::READ;
    /// What was earned or lost: realised profit and loss by strategy, pair or day, with fees, gas and tips apart.
    PNL = "pnl": fn(PnlRequest) -> PnlResponse, Hints::READ;
    /// Stops all trading at once: nothing is sent, anywhere, until resume; latched, and read last before each send.
    KILL_SWITCH = "kill_switch": fn(KillSwitchRequest) -> KillSwitchResponse, Hints::SET;
    /// Resumes trading: releases the kill switch, sets trading ACTIVE and forgets failures in a row.
    RESUME = "resume": fn(ResumeRequest) -> ResumeResponse, TRADE;
    /// The whole in one answer: states, strategies, what is open, realised profit of today, seven and thirty days.
    REPORT = "report": fn(ReportRequest) -> ReportResponse, Hints::READ;
}

#[async_trait]
impl Features for Production {
    async fn health(&self) -> Vec<Check> {
        vec![match self.gate.desk().await {
            Ok(desk) => Check::healthy("gate", format!("{} mode", desk.mode.as_str())),
            Err(fault) => Check::down("gate", fault.to_string()),
        }]
    }
}

impl Production {
    async fn mode(&self, asked: Option<Mode>) -> Result<Mode, Fault> {
        match asked {
            Some(mode) => Ok(mode),
            None => Ok(self.gate.desk().await?.mode),
        }
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

/// A reason as people give it.
fn check_reason(reason: &str) -> Result<&str, Fault> {
    const BYTES_MAX: usize = 1_000;
    let reason = reason.trim();
    match reason.len() {
        0 => Err(Fault::invalid("no reason").hint("say why: others will read it")),
        1..=BYTES_MAX => Ok(reason),
        _ => Err(Fault::too_large("the reason is long").hint(format!("at most {BYTES_MAX} bytes"))),
    }
}
