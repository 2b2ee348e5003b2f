//! Calls: encoding, decoding, running without a transaction, estimating.

use kernel::chain::{AbiValue, Address, Amount, BlockId, CallRequest, Data, DecodedCall, Revert};
use mcp::prelude::*;
use serde_json::Value;

use super::BlockchainIntegration;

/// What [`CALL_CONTRACT`](super::CALL_CONTRACT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallContract {
    /// The contract.
    pub contract: Address,
    /// The function with what it returns: `getReserves()(uint112,uint112,uint32)`, `function balanceOf(address owner) view returns (uint256)`.
    pub function: String,
    /// Its arguments in order. Large integers as decimal text; tuples as arrays, or as objects by component name.
    #[serde(default)]
    pub args: Vec<Value>,
    /// Who calls; the zero address when absent.
    #[serde(default)]
    pub from: Option<Address>,
    /// Native coin sent along, in wei.
    #[serde(default)]
    pub value_wei: Amount,
    /// At which block; the newest when absent.
    #[serde(default)]
    pub block: BlockId,
    /// Custom errors of the contract, to decode a revert: `error Paused(uint256 until)`.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// What [`CALL_CONTRACT`](super::CALL_CONTRACT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CallContractAnswer {
    /// The values returned; absent where the signature names no outputs.
    pub returned: Option<Vec<AbiValue>>,
    /// The bytes returned.
    pub data: Data,
}

/// A transaction to be.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransactionInput {
    /// Who sends it; the zero address when absent.
    #[serde(default)]
    pub from: Option<Address>,
    /// The account or contract called; a contract's creation when absent.
    #[serde(default)]
    pub to: Option<Address>,
    /// The function called: `transfer(address to, uint256 amount)(bool)`. Either this with `args`, or `data`, or neither for a plain payment.
    #[serde(default)]
    pub function: Option<String>,
    /// The function's arguments in order.
    #[serde(default)]
    pub args: Vec<Value>,
    /// Calldata, or the code that creates a contract.
    #[serde(default)]
    pub data: Option<Data>,
    /// Native coin sent along, in wei.
    #[serde(default)]
    pub value_wei: Amount,
    /// Gas it may use at most; the node's own limit when absent.
    #[serde(default)]
    pub gas_limit: Option<u64>,
}

/// What [`ESTIMATE_GAS`](super::ESTIMATE_GAS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EstimateGas {
    /// The transaction.
    pub transaction: TransactionInput,
    /// On which block's state; the newest when absent.
    #[serde(default)]
    pub block: BlockId,
    /// Custom errors of the contract, to decode a revert.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// What [`ESTIMATE_GAS`](super::ESTIMATE_GAS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GasAnswer {
    /// Gas it would need.
    pub gas: u64,
    /// The newest block's base fee per gas, in wei; absent on chains without one. A priority fee comes on top.
    pub base_fee_per_gas_wei: Option<Amount>,
    /// What the gas would cost at the base fee, in wei.
    pub cost_at_base_fee_wei: Option<Amount>,
}

/// What [`ENCODE_CALL`](super::ENCODE_CALL) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodeCall {
    /// The function: `transfer(address to, uint256 amount)`.
    pub function: String,
    /// Its arguments in order.
    #[serde(default)]
    pub args: Vec<Value>,
}

/// What [`ENCODE_CALL`](super::ENCODE_CALL) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct EncodedCall {
    /// The calldata.
    pub data: Data,
    /// Its first 4 bytes.
    pub selector: Data,
    /// The form of the signature that is hashed.
    pub function: String,
}

/// What [`DECODE_CALL`](super::DECODE_CALL) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeCall {
    /// The calldata.
    pub data: Data,
    /// The function's signature; the widely known ones are tried when absent.
    #[serde(default)]
    pub function: Option<String>,
}

impl BlockchainIntegration {
    pub(super) async fn call_contract(&self, request: CallContract) -> Result<CallContractAnswer, Fault> {
        let data = self.abi.encode_call(&request.function, &request.args)?;
        let returns = !self.abi.signature(&request.function)?.outputs.is_empty();
        let (from, value_wei) = (request.from, request.value_wei);
        let call = CallRequest { from, value_wei, ..CallRequest::read(request.contract, data) };
        let data = self.chain.call(&call, request.block).await.map_err(|fault| self.decoded(fault, &request.errors))?;
        if data.is_empty() && returns {
            // Calls of what is no contract succeed and return nothing: a trap worth a look.
            return Err(self.nothing_returned(request.contract, request.block).await);
        }
        let returned = returns.then(|| self.abi.decode_output(&request.function, &data)).transpose()?;
        Ok(CallContractAnswer { returned, data })
    }

    async fn nothing_returned(&self, contract: Address, block: BlockId) -> Fault {
        match self.chain.code(contract, block).await {
            Ok(code) if code.is_empty() => {
                Fault::not_found(format!("no contract at {contract}")).hint("is it on this chain, and at this block?")
            }
            Ok(_) => Fault::invalid(format!("the contract at {contract} returned nothing"))
                .hint("it may not have this function; resolve_contract lists those it has"),
            Err(fault) => fault,
        }
    }

    pub(super) async fn estimate_gas(&self, request: EstimateGas) -> Result<GasAnswer, Fault> {
        let call = self.request(&request.transaction)?;
        let gas = self.chain.estimate_gas(&call, request.block);
        let gas = gas.await.map_err(|fault| self.decoded(fault, &request.errors))?;
        let base_fee_per_gas_wei = self.chain.block(BlockId::Latest).await?.head.base_fee_per_gas_wei;
        let cost_at_base_fee_wei = base_fee_per_gas_wei.and_then(|fee| fee.times(gas));
        Ok(GasAnswer { gas, base_fee_per_gas_wei, cost_at_base_fee_wei })
    }

    pub(super) fn encode_call(&self, request: EncodeCall) -> Result<EncodedCall, Fault> {
        let data = self.abi.encode_call(&request.function, &request.args)?;
        let signature = self.abi.signature(&request.function)?;
        Ok(EncodedCall { data, selector: signature.selector().to_vec().into(), function: signature.canonical })
    }

    pub(super) fn decode_call(&self, request: DecodeCall) -> Result<DecodedCall, Fault> {
        if let Some(function) = request.function {
            return self.abi.decode_call(&function, &request.data);
        }
        self.known().call(self.abi.as_ref(), &request.data).ok_or_else(|| {
            let selector = Data::from(request.data.iter().take(4).copied().collect::<Vec<_>>());
            Fault::not_found(format!("no widely known function fits the calldata, which begins with {selector}"))
                .hint("give the function's signature")
        })
    }

    /// A transaction as the port takes it.
    pub(super) fn request(&self, input: &TransactionInput) -> Result<CallRequest, Fault> {
        let data = match (&input.function, &input.data) {
            (Some(_), Some(_)) => return Err(Fault::invalid("both a function and data").hint("give one of them")),
            (Some(_), None) if input.to.is_none() => {
                return Err(Fault::invalid("a function to call, but no contract").hint("give `to`"));
            }
            (Some(function), None) => self.abi.encode_call(function, &input.args)?,
            (None, _) if !input.args.is_empty() => {
                return Err(Fault::invalid("arguments without a function").hint("give `function`"));
            }
            (None, data) => data.clone().unwrap_or_default(),
        };
        if input.to.is_none() && data.is_empty() {
            return Err(Fault::invalid("neither a receiver nor a contract's code")
                .hint("give `to`, or `data` to create a contract"));
        }
        Ok(CallRequest { from: input.from, to: input.to, data, value_wei: input.value_wei, gas_limit: input.gas_limit })
    }

    /// A revert's fault, its reason decoded by the contract's own errors.
    fn decoded(&self, fault: Fault, errors: &[String]) -> Fault {
        match Revert::of(&fault) {
            Some(revert) if !errors.is_empty() => {
                self.with_errors(revert, errors).map_or_else(|fault| fault, Revert::into_fault)
            }
            _ => fault,
        }
    }

    /// A revert, decoded by the contract's own errors where it reverted with bytes.
    pub(super) fn with_errors(&self, revert: Revert, errors: &[String]) -> Result<Revert, Fault> {
        if errors.is_empty() || revert.data.is_empty() {
            Ok(revert)
        } else {
            self.abi.decode_revert(&revert.data, errors)
        }
    }
}
