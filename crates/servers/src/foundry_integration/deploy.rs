//! `deploy` and `verify`: from a project to a contract on the fleet's chain, and whether what is there is what the project compiles to.

use std::time::Duration;

use kernel::Result;
use kernel::chain::{Address, Amount, BlockId, Data, Hash};
use mcp::prelude::*;
use serde_json::{Value, json};

use super::artefacts::{self, Artefact, Code as Compiled};
use super::{FoundryIntegration, check_profile};

/// How long a deployment may take to be in a block, and how often execution is asked.
const MINED_TIME: Duration = Duration::from_secs(180);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What [`DEPLOY`](super::DEPLOY) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
    /// The contract: `Vault`, or `src/Vault.sol:Vault` where several have that name.
    pub contract: String,
    /// The constructor's arguments in order. Large integers as decimal text; tuples as arrays, or as objects by component name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constructor_arguments: Vec<Value>,
    /// Native coin that the constructor is paid, in wei.
    #[serde(default)]
    pub value_wei: Amount,
    /// The same key is the same deployment, however often it is asked for.
    pub idempotency_key: String,
    /// A profile of the project's foundry.toml; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// What [`DEPLOY`](super::DEPLOY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeployResponse {
    /// The contract, by file and name.
    pub contract: String,
    /// Where it is.
    pub address: Address,
    /// The transaction that created it.
    pub transaction: Hash,
    /// Its block.
    pub block: u64,
    /// The gas it took.
    pub gas_used: u64,
    /// What was paid for that, in wei.
    pub fee_wei: Option<Amount>,
    /// The key of the submission, for execution's `status`.
    pub key: String,
}

/// What [`VERIFY`](super::VERIFY) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
    /// The contract: `Vault`, or `src/Vault.sol:Vault` where several have that name.
    pub contract: String,
    /// Where it is.
    pub address: Address,
    /// A development node that start_node started; the fleet's chain when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// A profile of the project's foundry.toml; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// What [`VERIFY`](super::VERIFY) answers when the code is the project's.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VerifyResponse {
    /// The contract, by file and name.
    pub contract: String,
    /// Where it is.
    pub address: Address,
    /// The compiler.
    pub compiler: Option<String>,
    /// How many bytes of code were compared.
    pub bytes: usize,
    /// The immutable values that were set when it was deployed, in the order of their places in the code: what the sources do not tell.
    pub immutables: Vec<Data>,
}

/// What execution tells of a submission.
#[derive(Deserialize)]
struct Submission {
    open: bool,
    state: Value,
    why: Option<String>,
    transaction: Option<Hash>,
    block: u64,
    gas_used: u64,
    fee_wei: Option<Amount>,
}

impl FoundryIntegration {
    pub(super) async fn deploy(&self, request: DeployRequest, ctx: Ctx) -> Result<DeployResponse> {
        check_profile(request.profile.as_deref())?;
        let artefact = self.artefact(&request.project, &request.contract, request.profile, &ctx).await?;
        let contract = named(&artefact);
        let data = self.creation(&artefact, &contract, &request.constructor_arguments)?;
        ctx.progress(1.0, None, Some("handing it to execution")).await;
        let arguments = json!({ "key": request.idempotency_key, "data": data, "value_wei": request.value_wei });
        let told = self.execution("transact", &arguments, &ctx).await?;
        let done = self.settled(&request.idempotency_key, told, &ctx).await?;
        let transaction = done.transaction.ok_or_else(|| Fault::internal("a deployment without a transaction"))?;
        let receipt = self.chain.receipt(transaction).await?;
        let address = receipt.contract_address.filter(|_| receipt.success).ok_or_else(|| {
            Fault::new(Code::Reverted, format!("the deployment of {contract} failed in block {}", done.block))
                .hint("execution's status has the transaction; another idempotency_key tries again")
        })?;
        let Submission { block, gas_used, fee_wei, .. } = done;
        Ok(DeployResponse { contract, address, transaction, block, gas_used, fee_wei, key: request.idempotency_key })
    }

    /// Waits until a submission is in a block.
    async fn settled(&self, key: &str, mut told: Value, ctx: &Ctx) -> Result<Submission> {
        let waiting = async {
            loop {
                let now: Submission = serde_json::from_value(told)
                    .map_err(|error| Fault::upstream(format!("execution's word on `{key}`: {error}")))?;
                if now.transaction.is_some() {
                    return Ok(now);
                }
                if !now.open {
                    let why = now.why.unwrap_or_else(|| now.state.to_string());
                    return Err(Fault::upstream(format!("the deployment was not made: {why}"))
                        .hint("execution's status tells more"));
                }
                tokio::time::sleep(ASK_EVERY).await;
                told = self.execution("status", &json!({ "key": key }), ctx).await?;
            }
        };
        tokio::select! {
            done = waiting => done,
            () = ctx.cancel.cancelled() => Err(Fault::cancelled(format!("the deployment `{key}` goes on without you"))
                .hint("the same idempotency_key waits for it again")),
            () = tokio::time::sleep(MINED_TIME) => {
                Err(Fault::timeout(format!("`{key}` was in no block within {} s, and goes on", MINED_TIME.as_secs()))
                    .hint("the same idempotency_key waits for it again"))
            }
        }
    }

    /// What creates a contract.
    fn creation(&self, artefact: &Artefact, contract: &str, arguments: &[Value]) -> Result<Data> {
        let mut code = bytes(&artefact.bytecode, contract)?;
        let items = artefact.abi.as_array().into_iter().flatten();
        let mut inputs = items.filter(|item| item["type"] == "constructor").flat_map(|item| item["inputs"].as_array());
        let types: Vec<String> = inputs.next().into_iter().flatten().map(type_of).collect();
        if types.len() != arguments.len() {
            return Err(Fault::invalid(format!(
                "{contract} is made with {} arguments, not {}",
                types.len(),
                arguments.len()
            ))
            .hint(format!("constructor({})", types.join(", "))));
        }
        code.extend_from_slice(self.abi.encode(&types, arguments)?.as_ref());
        Ok(Data::from(code))
    }

    pub(super) async fn verify(&self, request: VerifyRequest, ctx: Ctx) -> Result<VerifyResponse> {
        check_profile(request.profile.as_deref())?;
        let artefact = self.artefact(&request.project, &request.contract, request.profile, &ctx).await?;
        let (contract, address) = (named(&artefact), request.address);
        let found: Data = match &request.node {
            None => self.chain.code(address, BlockId::Latest).await?,
            Some(node) => self.rpc(node, "eth_getCode", json!([address, "latest"])).await?,
        };
        if found.is_empty() {
            return Err(Fault::not_found(format!("there is no contract at {address}")).hint("the right chain, or node"));
        }
        let immutables = same_code(&artefact.deployed_bytecode, &contract, found.as_ref())
            .map_err(|fault| fault.context(format!("the code at {address} is not what {contract} compiles to")))?;
        let compiler = artefact.compiler().map(str::to_owned);
        Ok(VerifyResponse { contract, address, compiler, bytes: found.len(), immutables })
    }

    /// A contract of a project that is built for it.
    async fn artefact(&self, project: &str, contract: &str, profile: Option<String>, ctx: &Ctx) -> Result<Artefact> {
        let project = self.places.project(project)?;
        let kept = self.places.keep(&project).await?;
        self.built(&project, &kept, (profile, None), ctx).await?.check()?;
        artefacts::find(&kept.folder, contract)
    }
}

fn named(artefact: &Artefact) -> String {
    let (file, name) = artefact.target().unwrap_or_default();
    format!("{file}:{name}")
}

/// An input's type, tuples spelled out.
fn type_of(input: &Value) -> String {
    let ty = input["type"].as_str().unwrap_or_default();
    match ty.strip_prefix("tuple") {
        None => ty.to_owned(),
        Some(rest) => {
            let parts: Vec<String> = input["components"].as_array().into_iter().flatten().map(type_of).collect();
            format!("({}){rest}", parts.join(","))
        }
    }
}

fn bytes(code: &Compiled, contract: &str) -> Result<Vec<u8>> {
    if !code.link_references.is_empty() {
        let files: Vec<&str> = code.link_references.keys().map(String::as_str).collect();
        return Err(Fault::unsupported(format!("{contract} needs libraries that are deployed apart"))
            .hint(format!("name their addresses as `libraries` in foundry.toml: {}", files.join(", "))));
    }
    let bytes: Data = code.object.parse()?;
    if bytes.is_empty() {
        return Err(Fault::invalid(format!("{contract} has no code: an interface, or an abstract contract")));
    }
    Ok(bytes.as_ref().to_vec())
}

/// Holds the code that is deployed against what was compiled, but for immutable values, which are returned.
fn same_code(compiled: &Compiled, contract: &str, found: &[u8]) -> Result<Vec<Data>> {
    let mut expected = bytes(compiled, contract)?;
    if expected.len() != found.len() {
        return Err(Fault::conflict(format!("{} bytes, not {}", found.len(), expected.len()))
            .hint("the same sources, compiler and settings make the same code"));
    }
    let mut ranges: Vec<_> = compiled.immutable_references.values().flatten().copied().collect();
    ranges.sort_by_key(|range| range.start);
    let mut immutables: Vec<Data> = Vec::new();
    for range in ranges {
        let end = range.start.saturating_add(range.length);
        let (Some(part), Some(value)) = (expected.get_mut(range.start..end), found.get(range.start..end)) else {
            return Err(Fault::upstream("what was built says of immutable values outside the code"));
        };
        part.copy_from_slice(value);
        let value = Data::from(value.to_vec());
        if !immutables.contains(&value) {
            immutables.push(value);
        }
    }
    match expected.iter().zip(found).position(|(one, other)| one != other) {
        None => Ok(immutables),
        Some(at) => Err(Fault::conflict(format!("it differs from byte {at} on"))
            .hint("the same sources, compiler and settings make the same code")),
    }
}
