//! What is open, how it is spread, and the states.

use market::gate::{Kill, Mode, Reservation, Set};
use market::risk::{Exposure, Limits, Money, Rule, TradingState, check, share_bps};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RiskManagement;

/// Which mode's figures are wanted.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModeRequest {
    /// `paper` or `live`; the fleet's own unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// How much of a limit is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// The limit's name, as in get_limits.
    pub limit: String,
    /// What counts against it now, what is open counted as lost where the limit is of losses.
    pub figure: Money,
    /// The limit.
    pub bound: Money,
    /// The figure as a share of the limit, in basis points; absent when the limit is nothing.
    pub used_bps: Option<u64>,
    /// The token or protocol with most, where the limit is of each.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<String>,
}

/// What [`EXPOSURE`](super::EXPOSURE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExposureResponse {
    /// Of which mode.
    pub mode: Mode,
    /// The currency that values are in.
    pub currency: String,
    /// What is held open.
    #[serde(flatten)]
    pub exposure: Exposure,
    /// How much of each limit is used.
    pub limits: Vec<Usage>,
    /// The trades that hold it.
    pub open: Vec<OpenTrade>,
}

/// A trade under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenTrade {
    /// What is reserved for it.
    #[serde(flatten)]
    pub reservation: Reservation,
    /// The rules that it would not pass now, its own reservation set aside: while there are any it is not sent.
    pub reasons: Vec<Rule>,
}

/// One part of what is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// The token, protocol or strategy.
    pub name: String,
    /// Its open notional.
    pub notional: Money,
    /// Its share of the open notional of all trades, in basis points rounded up. A trade counts whole for each token and protocol it goes
    /// through, so those shares add up to more than all.
    pub share_bps: u64,
}

/// How what is open is spread over names of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Concentrated {
    /// The Herfindahl–Hirschman index in basis points: 10,000 when all is in one, less the more evenly it is spread; absent when nothing
    /// is open.
    pub index_bps: Option<u64>,
    /// The largest first.
    pub shares: Vec<Share>,
}

/// What [`CONCENTRATION`](super::CONCENTRATION) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConcentrationResponse {
    /// Of which mode.
    pub mode: Mode,
    /// By token.
    pub tokens: Concentrated,
    /// By protocol.
    pub protocols: Concentrated,
    /// By strategy.
    pub strategies: Concentrated,
}

/// What [`KILL_SWITCH_STATE`](super::KILL_SWITCH_STATE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillSwitchStateRequest {}

/// The states that decide whether anything is sent.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KillSwitchStateResponse {
    /// Whether the kill switch is on: nothing is reserved, nothing is sent, anywhere.
    pub on: bool,
    /// Who pulled it, when and why.
    pub kill: Option<Kill>,
    /// The trading state.
    pub trading: TradingState,
    /// Who set that.
    pub trading_set: Set,
    /// Whether real funds move.
    pub mode: Mode,
    /// Who set that.
    pub mode_set: Set,
}

impl RiskManagement {
    pub(super) async fn exposure(&self, request: ModeRequest) -> Result<ExposureResponse, ToolError> {
        let desk = self.desk(request.mode).await?;
        let open = self.gate.all_open().await?.into_iter().filter(|one| one.mode == desk.mode);
        let judge = |reservation: Reservation| {
            let mut standing = desk.standing(&reservation.trade.strategy);
            standing.open.remove(&reservation.trade);
            let reasons = check(&reservation.trade, desk.limits(), &standing).reasons;
            OpenTrade { reservation, reasons }
        };
        let open = open.map(judge).collect();
        let exposure = desk.book(desk.mode).open.clone();
        let limits = held(&exposure, desk.limits());
        Ok(ExposureResponse { mode: desk.mode, currency: self.currency.clone(), exposure, limits, open })
    }

    pub(super) async fn concentration(&self, request: ModeRequest) -> Result<ConcentrationResponse, ToolError> {
        let desk = self.desk(request.mode).await?;
        let open = &desk.book(desk.mode).open;
        Ok(ConcentrationResponse {
            mode: desk.mode,
            tokens: concentrated(open.notional, open.by_token.iter()),
            protocols: concentrated(open.notional, open.by_protocol.iter()),
            strategies: concentrated(open.notional, open.by_strategy.iter()),
        })
    }

    pub(super) async fn kill_switch_state(&self) -> Result<KillSwitchStateResponse, ToolError> {
        let desk = self.gate.desk().await?;
        Ok(KillSwitchStateResponse {
            on: desk.kill.is_some(),
            kill: desk.kill,
            trading: desk.trading,
            trading_set: desk.trading_set,
            mode: desk.mode,
            mode_set: desk.mode_set,
        })
    }
}

/// How much of the limits of exposure is used.
pub(super) fn held(open: &Exposure, limits: &Limits) -> Vec<Usage> {
    let most = |held: Option<(String, Money)>| held.map_or((Money::ZERO, None), |(name, value)| (value, Some(name)));
    let token = open.by_token.iter().max_by_key(|(_, value)| **value).map(|(name, value)| (name.to_string(), *value));
    let protocol = open.by_protocol.iter().max_by_key(|(_, value)| **value).map(|(name, value)| (name.clone(), *value));
    let ((token, token_name), (protocol, protocol_name)) = (most(token), most(protocol));
    vec![
        used("open_notional_max", open.notional, limits.open_notional_max, None),
        used("token_notional_max", token, limits.token_notional_max, token_name),
        used("protocol_notional_max", protocol, limits.protocol_notional_max, protocol_name),
    ]
}

pub(super) fn used(limit: &str, figure: Money, bound: Money, about: Option<String>) -> Usage {
    Usage { limit: limit.into(), figure, bound, used_bps: figure.share_bps(bound), about }
}

fn concentrated<'a, K: ToString + 'a>(
    whole: Money,
    values: impl Iterator<Item = (&'a K, &'a Money)> + Clone,
) -> Concentrated {
    let share = |(name, value): (&K, &Money)| Share {
        name: name.to_string(),
        notional: *value,
        share_bps: value.share_bps(whole).unwrap_or_default(),
    };
    let mut shares: Vec<Share> = values.clone().map(share).collect();
    shares.sort_by(|a, b| b.notional.cmp(&a.notional).then_with(|| a.name.cmp(&b.name)));
    Concentrated { index_bps: share_bps(values.map(|(_, value)| *value)), shares }
}
