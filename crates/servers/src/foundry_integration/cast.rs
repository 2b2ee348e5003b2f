//! `cast`: looks at contracts on the fleet's chain or on a development node, decodes, and sends.
//!
//! What is sent to the fleet's chain is signed and sent by `execution` and nobody else, under the caller's own rights. A development node's accounts
//! are its own: what is sent there is signed by nobody.

use kernel::Result;
use kernel::chain::{AbiValue, Address, Amount, BlockId, CallRequest, Data, Hash};
use kernel::foundry::Program;
use mcp::prelude::*;
use serde_json::{Value, json};

use super::FoundryIntegration;

/// What [`CAST`](super::CAST) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CastRequest {
    /// What to do.
    pub action: Action,
    /// A development node that start_node started; the fleet's chain when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The contract or account: for call, send, storage, code, balance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The function with what it returns, `balanceOf(address)(uint256)`: for call, send, encode, decode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The function's arguments in order. Large integers as decimal text; tuples as arrays, or as objects by component name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Value>,
    /// Bytes: the calldata or the output to decode; the calldata to send in place of a function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// The slot, for storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Hash>,
    /// Who calls or sends; for a node's send, one of its accounts, its first when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Address>,
    /// Native coin sent along, in wei.
    #[serde(default)]
    pub value_wei: Amount,
    /// The idempotency key of a send to the fleet's chain: the same key is the same transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Runs a function without a transaction and tells what it returns.
    Call,
    /// Sends a transaction: to the fleet's chain through execution, to a node from one of its accounts.
    Send,
    /// Reads a storage slot.
    Storage,
    /// Reads a contract's code.
    Code,
    /// Reads an account's balance of the native coin, in wei.
    Balance,
    /// Makes calldata of a function and its arguments.
    Encode,
    /// Tells the arguments in calldata.
    Decode,
    /// Tells the values in what a function returned.
    DecodeOutput,
}

/// What [`CAST`](super::CAST) answers: what belongs to the action.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct CastResponse {
    /// The values returned or decoded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub values: Option<Vec<AbiValue>>,
    /// The bytes returned, read or encoded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data: Option<Data>,
    /// The balance, in wei.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wei: Option<Amount>,
    /// The transaction's hash.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transaction: Option<Hash>,
    /// The submission to execution, as it tells of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub submission: Option<Value>,
}

impl CastRequest {
    fn address(&self) -> Result<Address> {
        self.address.ok_or_else(|| missing("address"))
    }

    fn function(&self) -> Result<&str> {
        self.function.as_deref().ok_or_else(|| missing("function"))
    }

    fn data(&self) -> Result<&Data> {
        self.data.as_ref().ok_or_else(|| missing("data"))
    }
}

fn missing(field: &str) -> Fault {
    Fault::invalid(format!("{field} is missing")).hint(format!("this action needs `{field}`"))
}

impl FoundryIntegration {
    pub(super) async fn cast(&self, request: CastRequest, ctx: Ctx) -> Result<CastResponse> {
        let data = |data| Ok(CastResponse { data: Some(data), ..CastResponse::default() });
        let values = |values| Ok(CastResponse { values: Some(values), ..CastResponse::default() });
        match request.action {
            Action::Call => self.cast_call(&request).await,
            Action::Send => self.cast_send(&request, &ctx).await,
            Action::Storage => {
                let (address, slot) = (request.address()?, request.slot.ok_or_else(|| missing("slot"))?);
                let found = match &request.node {
                    None => self.chain.storage(address, slot, BlockId::Latest).await?,
                    Some(node) => self.rpc(node, "eth_getStorageAt", json!([address, slot, "latest"])).await?,
                };
                data(Data::from(found.0.0.to_vec()))
            }
            Action::Code => {
                let address = request.address()?;
                data(match &request.node {
                    None => self.chain.code(address, BlockId::Latest).await?,
                    Some(node) => self.rpc(node, "eth_getCode", json!([address, "latest"])).await?,
                })
            }
            Action::Balance => {
                let address = request.address()?;
                let wei = match &request.node {
                    None => self.chain.balance(address, BlockId::Latest).await?,
                    Some(node) => self.rpc(node, "eth_getBalance", json!([address, "latest"])).await?,
                };
                Ok(CastResponse { wei: Some(wei), ..CastResponse::default() })
            }
            Action::Encode => data(self.abi.encode_call(request.function()?, &request.arguments)?),
            Action::Decode => values(self.abi.decode_call(request.function()?, request.data()?.as_ref())?.args),
            Action::DecodeOutput => values(self.abi.decode_output(request.function()?, request.data()?.as_ref())?),
        }
    }

    async fn cast_call(&self, request: &CastRequest) -> Result<CastResponse> {
        let function = request.function()?;
        let (to, input) = (request.address()?, self.abi.encode_call(function, &request.arguments)?);
        let returned: Data = match &request.node {
            None => {
                let (from, value_wei) = (request.from, request.value_wei);
                self.chain
                    .call(&CallRequest { from, value_wei, ..CallRequest::read(to, input) }, BlockId::Latest)
                    .await?
            }
            Some(node) => {
                let mut call = json!({ "to": to, "data": input, "value": hexadecimal(request.value_wei) });
                if let Some(from) = request.from {
                    call["from"] = json!(from);
                }
                self.rpc(node, "eth_call", json!([call, "latest"])).await?
            }
        };
        let told = !self.abi.signature(function)?.outputs.is_empty();
        let values = told.then(|| self.abi.decode_output(function, returned.as_ref())).transpose()?;
        Ok(CastResponse { values, data: Some(returned), ..CastResponse::default() })
    }

    async fn cast_send(&self, request: &CastRequest, ctx: &Ctx) -> Result<CastResponse> {
        let to = request.address()?;
        let input = match (&request.function, &request.data) {
            (Some(function), None) => self.abi.encode_call(function, &request.arguments)?,
            (None, data) => data.clone().unwrap_or_default(),
            (Some(_), Some(_)) => return Err(Fault::invalid("both function and data").hint("one of them")),
        };
        let Some(node) = &request.node else {
            return self.send_through_execution(request, to, input, ctx).await;
        };
        self.own_node(&self.nodes.row(node)?, ctx)?;
        let from = match request.from {
            Some(from) => from,
            None => {
                let accounts: Vec<Address> = self.rpc(node, "eth_accounts", json!([])).await?;
                *accounts.first().ok_or_else(|| Fault::upstream("the node has no accounts"))?
            }
        };
        let transaction = json!({ "from": from, "to": to, "data": input, "value": hexadecimal(request.value_wei) });
        let transaction = self.rpc(node, "eth_sendTransaction", json!([transaction])).await?;
        Ok(CastResponse { transaction: Some(transaction), ..CastResponse::default() })
    }

    async fn send_through_execution(
        &self,
        request: &CastRequest,
        to: Address,
        data: Data,
        ctx: &Ctx,
    ) -> Result<CastResponse> {
        let key = request.key.as_ref().ok_or_else(|| missing("key"))?;
        if request.from.is_some() {
            return Err(Fault::invalid("from on the fleet's chain").hint("the fleet's wallet sends there"));
        }
        let arguments = json!({ "key": key, "to": to, "data": data, "value_wei": request.value_wei });
        let submission = self.execution("transact", &arguments, ctx).await?;
        let transaction = serde_json::from_value(submission["transaction"].clone()).unwrap_or_default();
        Ok(CastResponse { transaction, submission: Some(submission), ..CastResponse::default() })
    }

    /// Calls a tool of execution as whoever called here.
    pub(super) async fn execution(&self, tool: &str, arguments: &Value, ctx: &Ctx) -> Result<Value> {
        let inner = Ctx::internal((*ctx.caller).clone(), ctx.trace.child());
        let reply = self.router.call("execution", tool, mcp::wire::raw(arguments), inner).await?;
        let answer = mcp::toolbox::structured(&reply)?;
        serde_json::from_str(answer.get()).map_err(|error| Fault::upstream(format!("execution's answer: {error}")))
    }

    /// Asks a development node, by cast.
    pub(super) async fn rpc<T: serde::de::DeserializeOwned>(
        &self,
        node: &str,
        method: &str,
        params: Value,
    ) -> Result<T> {
        let url = self.nodes.url(node)?;
        let arguments = ["rpc", "--rpc-url", &url, method, "--raw", &params.to_string()].map(str::to_owned);
        let said = self.foundry.answer(Program::Cast, &arguments).await?;
        serde_json::from_str(&said)
            .map_err(|error| Fault::upstream(format!("the node's answer to {method} cannot be read: {error}")))
    }
}

/// A quantity as nodes take it.
fn hexadecimal(amount: Amount) -> String {
    format!("{:#x}", amount.0)
}
