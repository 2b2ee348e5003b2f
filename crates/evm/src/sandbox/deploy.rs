//! The market on the sandbox: WETH, two tokens, Uniswap V2 with three pairs. Sent one after another without waiting, then checked.

use std::time::Duration;

use alloy_primitives::{U64, U256};
use futures_util::future::try_join_all;
use kernel::chain::{Abi, Address, Data, Deployment, Hash};
use kernel::{Fault, Result};
use serde_json::{Value, json};

use super::Record;
use super::rlp::created;
use super::tools::{self, Tools};
use crate::Encodings;
use crate::node::latest;
use crate::rpc::Rpc;
use crate::wire::{WireReceipt, quantity};

/// The deployment that lends in flash swaps.
pub(super) const FACTORY: &str = "uniswap-v2-factory";
/// The tokens, by their deployments' names.
pub(super) const TOKENS: [&str; 3] = ["weth", "usdc", "dai"];

/// Gas each transaction may use: enough for the largest contract, less than a block has.
const GAS: u64 = 8_000_000;
/// How often a receipt is asked for: anvil mines within a millisecond.
const POLL: Duration = Duration::from_millis(2);
/// How long the last receipt may take.
const MINED_WITHIN: Duration = Duration::from_secs(20);
/// A deadline that never comes.
const NEVER: U256 = U256::MAX;

/// One whole token of `decimals`, times `units`.
fn units(units: u64, decimals: u64) -> Value {
    json!((U256::from(units) * U256::from(10).pow(U256::from(decimals))).to_string())
}

/// Sends transactions from one account and remembers what they were for.
struct Sender<'a> {
    rpc: &'a Rpc,
    tools: &'a Tools,
    from: Address,
    nonce: u64,
    sent: Vec<(String, Hash)>,
    deployments: Vec<Deployment>,
}

impl Sender<'_> {
    async fn send(&mut self, what: String, to: Option<Address>, data: Data, value: U256) -> Result<()> {
        let mut transaction = json!({
            "from": self.from, "input": data, "nonce": quantity(self.nonce), "gas": quantity(GAS), "value": format!("{value:#x}"),
        });
        if let Some(to) = to {
            transaction["to"] = json!(to);
        }
        let hash = self.rpc.once::<alloy_primitives::B256>("eth_sendTransaction", json!([transaction])).await;
        self.sent.push((what.clone(), Hash(hash.map_err(|fault| fault.context(what))?)));
        self.nonce += 1;
        Ok(())
    }

    /// Deploys an artefact with these constructor arguments; returns where it will be.
    async fn deploy(
        &mut self,
        name: &str,
        what: &str,
        artefact: &str,
        types: &[&str],
        args: &[Value],
    ) -> Result<Address> {
        let types: Vec<String> = types.iter().map(|ty| (*ty).to_owned()).collect();
        let mut code = self.tools.code(artefact)?;
        code.extend_from_slice(&Encodings.encode(&types, args)?);
        let address = Address(created(self.from.0, self.nonce));
        self.send(format!("deploy {name}"), None, code.into(), U256::ZERO).await?;
        self.deployments.push(Deployment { name: name.into(), address, what: what.into() });
        Ok(address)
    }

    async fn call(&mut self, to: Address, function: &str, args: &[Value], value: U256) -> Result<()> {
        let data = Encodings.encode_call(function, args)?;
        self.send(function.to_owned(), Some(to), data, value).await
    }

    /// Waits until all are mined; the first that failed is the fault.
    async fn confirm(&self) -> Result<()> {
        let Some((_, last)) = self.sent.last() else { return Ok(()) };
        let mined = async {
            loop {
                if self.rpc.read::<Option<WireReceipt>>("eth_getTransactionReceipt", json!([last])).await?.is_some() {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let late = || Err(Fault::timeout(format!("not mined within {} s", MINED_WITHIN.as_secs())));
        tokio::time::timeout(MINED_WITHIN, mined).await.unwrap_or_else(|_| late())?;
        try_join_all(self.sent.iter().map(|(what, hash)| async move {
            let receipt: Option<WireReceipt> = self.rpc.read("eth_getTransactionReceipt", json!([hash])).await?;
            match receipt.map(|receipt| receipt.at_head(0).success) {
                Some(true) => Ok(()),
                Some(false) => Err(Fault::upstream(format!("{what} reverted"))),
                None => Err(Fault::upstream(format!("{what} was not mined, but what follows it was"))),
            }
        }))
        .await
        .map(|_| ())
    }
}

/// Deploys the market from the first unlocked account.
pub(super) async fn market(rpc: &Rpc, tools: &Tools) -> Result<Record> {
    let accounts: Vec<Address> = rpc.read("eth_accounts", json!([])).await?;
    let from = *accounts.first().ok_or_else(|| Fault::upstream("the development node has no unlocked account"))?;
    let nonce = rpc.read::<U64>("eth_getTransactionCount", json!([from, latest()])).await?.to();
    let mut sender = Sender { rpc, tools, from, nonce, sent: Vec::new(), deployments: Vec::new() };
    let (router, usdc, dai, factory) = contracts(&mut sender).await?;
    liquidity(&mut sender, router, usdc, dai).await?;
    sender.confirm().await?;
    let mut deployments = sender.deployments;
    let weth = deployments[0].address;
    for (name, a, b) in [("usdc-weth", usdc, weth), ("dai-weth", dai, weth), ("dai-usdc", dai, usdc)] {
        let address = pair(rpc, factory, a, b).await?;
        let what = format!("Uniswap V2 pair {name}, from @uniswap/v2-core");
        deployments.push(Deployment { name: format!("uniswap-v2-pair-{name}"), address, what });
    }
    let chain_id = rpc.chain_id().await?;
    Ok(Record { url: String::new(), chain_id, deployments, accounts })
}

async fn contracts(sender: &mut Sender<'_>) -> Result<(Address, Address, Address, Address)> {
    let token = ["string", "string", "uint8"];
    let named = |name: &str, symbol: &str, decimals: u8| [json!(name), json!(symbol), json!(decimals)];
    let weth = sender.deploy("weth", "Wrapped Ether, from canonical-weth", tools::WETH, &[], &[]).await?;
    let what = "a token of 6 decimals that anyone may mint, from @aave/core-v3";
    let usdc = sender.deploy("usdc", what, tools::TOKEN, &token, &named("USD Coin (sandbox)", "USDC", 6)).await?;
    let what = "a token of 18 decimals that anyone may mint, from @aave/core-v3";
    let dai = sender.deploy("dai", what, tools::TOKEN, &token, &named("Dai Stablecoin (sandbox)", "DAI", 18)).await?;
    let what = "Uniswap V2 factory, from @uniswap/v2-core";
    let factory = sender.deploy(FACTORY, what, tools::FACTORY, &["address"], &[json!(sender.from)]).await?;
    let (what, args) = ("Uniswap V2 router 02, from @uniswap/v2-periphery", [json!(factory), json!(weth)]);
    let router = sender.deploy("uniswap-v2-router", what, tools::ROUTER, &["address", "address"], &args).await?;
    // Some wrapped coin in the first account, so that every token has a holder.
    sender.call(weth, "deposit()", &[], U256::from(100) * U256::from(10).pow(U256::from(18))).await?;
    Ok((router, usdc, dai, factory))
}

/// Fills three pairs at 2,500 dollars a coin, the third deeper than it is priced apart.
async fn liquidity(sender: &mut Sender<'_>, router: Address, usdc: Address, dai: Address) -> Result<()> {
    let from = json!(sender.from);
    for (token, decimals) in [(usdc, 6), (dai, 18)] {
        sender.call(token, "mint(address,uint256)", &[from.clone(), units(20_000_000, decimals)], U256::ZERO).await?;
        let all = [json!(router), json!(U256::MAX.to_string())];
        sender.call(token, "approve(address,uint256)", &all, U256::ZERO).await?;
    }
    let zero = || json!(0);
    let never = json!(NEVER.to_string());
    for (token, decimals, coins) in [(usdc, 6, 1_000u64), (dai, 18, 500)] {
        let wanted = units(coins * 2_500, decimals);
        let args = [json!(token), wanted, zero(), zero(), from.clone(), never.clone()];
        let value = U256::from(coins) * U256::from(10).pow(U256::from(18));
        sender.call(router, "addLiquidityETH(address,uint256,uint256,uint256,address,uint256)", &args, value).await?;
    }
    let (dais, usdcs) = (units(5_000_000, 18), units(5_000_000, 6));
    let args = [json!(dai), json!(usdc), dais, usdcs, zero(), zero(), from, never];
    let function = "addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)";
    sender.call(router, function, &args, U256::ZERO).await
}

async fn pair(rpc: &Rpc, factory: Address, a: Address, b: Address) -> Result<Address> {
    let function = "getPair(address,address)(address)";
    let call = json!({ "to": factory, "input": Encodings.encode_call(function, &[json!(a), json!(b)])? });
    let answer: Data = rpc.read("eth_call", json!([call, latest()])).await?;
    let value = Encodings.decode_output(function, &answer)?.into_iter().next().map(|value| value.value);
    value
        .and_then(|value| serde_json::from_value(value).ok())
        .ok_or_else(|| Fault::upstream("the factory named no pair"))
}
