//! Simulations and traces.

use kernel::chain::{
    AbiValue, AccountOverride, BalanceChange, BlockId, Data, DecodedCall, Frame, Hash, Log, Revert, Simulation,
    TokenChange, Tracing,
};
use mcp::prelude::*;

use super::BlockchainIntegration;
use super::call::TransactionInput;
use super::logs::LogView;

/// Calls shown when the request does not say how many.
const SHOWN: usize = 100;
/// Most accounts that one simulation changes.
const OVERRIDES_MAX: usize = 100;

/// What [`SIMULATE_TRANSACTION`](super::SIMULATE_TRANSACTION) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulateTransaction {
    /// The transaction.
    pub transaction: TransactionInput,
    /// Accounts as the simulation should find them, instead of as they are: balance, nonce, code, storage.
    #[serde(default)]
    pub state_overrides: Vec<AccountOverride>,
    /// On which block's state; the newest when absent.
    #[serde(default)]
    pub block: BlockId,
    /// Custom errors of the contract, to decode a revert: `error Paused(uint256 until)`.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// What [`SIMULATE_TRANSACTION`](super::SIMULATE_TRANSACTION) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SimulationAnswer {
    /// Whether it would succeed.
    pub success: bool,
    /// Why it would fail; absent when it succeeds.
    pub revert: Option<Revert>,
    /// The block on whose state it was run.
    pub block_number: u64,
    /// By which of the node's methods it was found out. With `eth_call`, logs and balance changes are not known and are absent.
    pub method: Tracing,
    /// Gas it would use.
    pub gas_used: u64,
    /// What it would return, decoded; absent where the function's outputs are not given, or when it would fail.
    pub returned: Option<Vec<AbiValue>>,
    /// The bytes it would return.
    pub return_data: Data,
    /// The logs it would write, decoded where widely known.
    pub logs: Option<Vec<LogView>>,
    /// Net changes of native balances by transfers; gas is not counted.
    pub native_changes: Option<Vec<BalanceChange>>,
    /// Net changes of ERC-20 balances, as the tokens' own events tell them.
    pub token_changes: Option<Vec<TokenChange>>,
}

/// What [`TRACE_TRANSACTION`](super::TRACE_TRANSACTION) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceTransaction {
    /// The mined transaction's hash.
    pub hash: Hash,
    /// How many calls to show; 100 when absent.
    #[serde(default = "shown")]
    pub limit: usize,
}

fn shown() -> usize {
    SHOWN
}

/// One call, and what it says.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FrameView {
    /// The call.
    #[serde(flatten)]
    pub frame: Frame,
    /// The function and its arguments; absent where the function is not widely known.
    pub call: Option<DecodedCall>,
}

/// What [`TRACE_TRANSACTION`](super::TRACE_TRANSACTION) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TraceAnswer {
    /// The transaction.
    pub transaction_hash: Hash,
    /// Its calls in the order they began; the first is the transaction itself.
    pub frames: Vec<FrameView>,
    /// Calls left out here.
    pub frames_omitted: u64,
}

impl BlockchainIntegration {
    pub(super) async fn simulate_transaction(&self, request: SimulateTransaction) -> Result<SimulationAnswer, Fault> {
        let call = self.request(&request.transaction)?;
        check_overrides(&request.state_overrides)?;
        let simulation = self.chain.simulate(&call, &request.state_overrides, request.block).await?;
        let Simulation { success, block_number, method, gas_used, return_data, native_changes, token_changes, .. } =
            simulation;
        let returned = match &request.transaction.function {
            Some(function) if success && !self.abi.signature(function)?.outputs.is_empty() => {
                Some(self.abi.decode_output(function, &return_data)?)
            }
            _ => None,
        };
        let revert = simulation.revert.map(|revert| self.with_errors(revert, &request.errors)).transpose()?;
        let view = |logs: Vec<Log>| logs.into_iter().map(|log| self.view(log)).collect();
        Ok(SimulationAnswer {
            success,
            revert,
            block_number,
            method,
            gas_used,
            returned,
            return_data,
            logs: simulation.logs.map(view),
            native_changes,
            token_changes,
        })
    }

    pub(super) async fn trace_transaction(&self, request: TraceTransaction) -> Result<TraceAnswer, Fault> {
        if request.limit == 0 {
            return Err(Fault::invalid("limit is 0").hint("at least 1"));
        }
        let trace = self.chain.trace(request.hash).await?;
        let beyond = trace.frames.len().saturating_sub(request.limit) as u64;
        let view = |frame: Frame| {
            let creates = frame.kind.starts_with("CREATE");
            let call = if creates { None } else { self.known().call(self.abi.as_ref(), &frame.input) };
            FrameView { frame, call }
        };
        Ok(TraceAnswer {
            transaction_hash: trace.transaction_hash,
            frames: trace.frames.into_iter().take(request.limit).map(view).collect(),
            frames_omitted: trace.frames_omitted + beyond,
        })
    }
}

fn check_overrides(overrides: &[AccountOverride]) -> Result<(), Fault> {
    if overrides.len() > OVERRIDES_MAX {
        return Err(Fault::too_large(format!("{} accounts to change", overrides.len()))
            .hint(format!("at most {OVERRIDES_MAX}")));
    }
    for (i, account) in overrides.iter().enumerate() {
        if overrides[..i].iter().any(|before| before.address == account.address) {
            return Err(Fault::invalid(format!("state_overrides names {} twice", account.address))
                .hint("put its changes together"));
        }
    }
    Ok(())
}
