//! Reading the chain: contracts' answers as numbers, tokens that are known by symbol, and which chain it is.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use kernel::chain::{Abi, AbiValue, Address, BlockId, CallRequest, Chain, Data, Fork, Head, NextBlock};
use kernel::{Clock, Fault};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::pair::symbol;

/// Ethereum's tokens by symbol, as their issuers publish them. Only these, the sandbox's and the configuration's are trusted: a contract can
/// call itself anything.
const ETHEREUM_TOKENS: [(&str, &str); 6] = [
    ("ETH", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"),
    ("USDC", "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
    ("USDT", "0xdAC17F958D2ee523a2206206994597C13D831ec7"),
    ("DAI", "0x6B175474E89094C44Da98b954EedeAC495271d0F"),
    ("WBTC", "0x2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599"),
    ("LINK", "0x514910771AF9Ca656af840dff83E8264EcF986CA"),
];
/// Ethereum's number.
pub(super) const ETHEREUM: u64 = 1;

/// See the module.
pub(super) struct OnChain {
    pub(super) chain: Arc<dyn Chain>,
    pub(super) abi: Arc<dyn Abi>,
    pub(super) clock: Clock,
    chain_id: OnceCell<u64>,
    /// Tokens that the configuration knows.
    tokens: BTreeMap<String, Address>,
}

/// The chain after one block, as contracts are read.
#[derive(Clone)]
pub(super) struct Moment {
    pub(super) head: Head,
    /// Its state in this process, where much is read of the same block; else the node is asked for each.
    fork: Option<Arc<Mutex<Box<dyn Fork>>>>,
}

impl OnChain {
    pub(super) fn new(
        chain: Arc<dyn Chain>,
        abi: Arc<dyn Abi>,
        clock: Clock,
        tokens: BTreeMap<String, Address>,
    ) -> Result<Self, Fault> {
        let tokens = tokens.into_iter().map(|(name, address)| Ok((symbol(&name)?, address)));
        Ok(Self { chain, abi, clock, chain_id: OnceCell::new(), tokens: tokens.collect::<Result<_, Fault>>()? })
    }

    /// Whether this is the sandbox, whose money is play money. Known without asking, so false until it stands.
    pub(super) fn sandbox(&self) -> bool {
        !self.chain.deployments().is_empty()
    }

    pub(super) async fn chain_id(&self) -> Result<u64, Fault> {
        let read = async || Ok(self.chain.status().await?.chain_id);
        self.chain_id.get_or_try_init(read).await.copied()
    }

    /// The symbol of a token that is known, and no other's word for itself.
    pub(super) async fn symbol_of(&self, token: Address) -> Result<Option<String>, Fault> {
        Ok(self.known().await?.into_iter().find(|(_, address)| *address == token).map(|(symbol, _)| symbol))
    }

    /// The tokens that are known on this chain, by symbol.
    async fn known(&self) -> Result<BTreeMap<String, Address>, Fault> {
        let mut known = BTreeMap::new();
        let deployments = self.chain.deployments();
        if deployments.is_empty() && self.chain_id().await? == ETHEREUM {
            for (symbol, address) in ETHEREUM_TOKENS {
                known.insert(symbol.to_owned(), address.parse()?);
            }
        }
        // The sandbox's tokens are deployed under their symbols: `weth`, `usdc`.
        let named = deployments.into_iter().filter_map(|one| Some((symbol(&one.name).ok()?, one.address)));
        known.extend(named);
        known.extend(self.tokens.clone());
        Ok(known)
    }

    /// The newest block, as the node has it.
    pub(super) async fn now(&self) -> Result<Moment, Fault> {
        Ok(Moment { head: self.chain.block(BlockId::Latest).await?.head, fork: None })
    }

    /// This moment, else now.
    pub(super) async fn moment(&self, given: Option<&Moment>) -> Result<Moment, Fault> {
        match given {
            Some(moment) => Ok(moment.clone()),
            None => self.now().await,
        }
    }

    /// After this block, which head tracking saw, its state in this process.
    pub(super) async fn seen(&self, head: Head) -> Result<Moment, Fault> {
        let mut fork = self.chain.fork(BlockId::Hash(head.hash)).await?;
        // As nodes run calls: in the block that is there, not in the next.
        let (number, timestamp_seconds) = (head.number, head.timestamp_seconds);
        fork.set_block(NextBlock { number, timestamp_seconds, ..fork.block().clone() });
        Ok(Moment { head, fork: Some(Arc::new(Mutex::new(fork))) })
    }

    /// What a function of a contract returns.
    pub(super) async fn read(
        &self,
        contract: Address,
        function: &str,
        args: &[Value],
        at: BlockId,
    ) -> Result<Vec<AbiValue>, Fault> {
        let call = CallRequest::read(contract, self.abi.encode_call(function, args)?);
        let answer = self.chain.call(&call, at).await?;
        self.returned(contract, function, &answer)
    }

    /// What it returns at this moment.
    pub(super) async fn read_at(
        &self,
        moment: &Moment,
        contract: Address,
        function: &str,
        args: &[Value],
    ) -> Result<Vec<AbiValue>, Fault> {
        let Some(fork) = &moment.fork else {
            return self.read(contract, function, args, BlockId::Number(moment.head.number)).await;
        };
        let call = CallRequest::read(contract, self.abi.encode_call(function, args)?);
        let ran = fork.lock().await.attempt(&call.into()).await?;
        match ran.revert {
            None => self.returned(contract, function, &ran.return_data),
            Some(revert) => Err(revert.into_fault()),
        }
    }

    fn returned(&self, contract: Address, function: &str, answer: &Data) -> Result<Vec<AbiValue>, Fault> {
        if answer.is_empty() {
            return Err(Fault::not_found(format!("no contract at {contract}")));
        }
        self.abi.decode_output(function, answer)
    }
}

/// A returned value as a number or an address.
pub(super) fn value<T: FromStr>(values: &[AbiValue], place: usize) -> Result<T, Fault> {
    let found = values.get(place).map(|value| &value.value);
    found
        .and_then(read_value)
        .ok_or_else(|| Fault::upstream(format!("the contract's answer has no value {place} of its kind")))
}

/// Returned values that are an array of numbers.
pub(super) fn values<T: FromStr>(all: &[AbiValue], place: usize) -> Result<Vec<T>, Fault> {
    let found = all.get(place).and_then(|value| value.value.as_array());
    found
        .and_then(|array| array.iter().map(read_value).collect())
        .ok_or_else(|| Fault::upstream(format!("the contract's answer has no array of numbers at {place}")))
}

fn read_value<T: FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        Value::Bool(flag) => flag.to_string().parse().ok(),
        _ => None,
    }
}
