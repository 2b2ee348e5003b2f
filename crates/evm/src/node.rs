//! The `Chain` port on a node.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Bytes, U64, U256};
use async_trait::async_trait;
use kernel::chain::{
    AccountOverride, Address, Amount, Block, BlockId, CallRequest, Chain, ChainStatus, Data, Deployment, FeeHistory,
    FlashMarket, Fork, Ground, Hash, Head, Log, LogFilter, Receipt, Simulation, Token, Transaction, TransactionTrace,
};
use kernel::{Clock, Code, Fault, Result};
use parking_lot::RwLock;
use serde_json::{Value, json};

use crate::config::LendersConfig;
use crate::flash::Lent;
use crate::heads::Heads;
use crate::machine::{self, Cache};
use crate::rpc::SharedRpc;
use crate::sandbox::Market;
use crate::wire::{self, WireBlock, WireReceipt, WireTransaction};
use crate::{fees, flash, logs, simulate, token, trace};

/// A chain behind one or several endpoints.
#[derive(Clone)]
pub struct Node {
    pub(crate) rpc: SharedRpc,
    pub(crate) heads: Arc<Heads>,
    pub(crate) clock: Clock,
    /// Most blocks that one query for logs spans.
    pub(crate) log_blocks_max: u64,
    /// Lenders that the configuration adds.
    pub(crate) lenders: Arc<LendersConfig>,
    /// What forks of its state have read.
    pub(crate) cache: Arc<Cache>,
    /// Who lends, as last read.
    pub(crate) lent: Arc<Lent>,
    /// What stands on the sandbox; `None` on any other chain.
    pub(crate) market: Arc<RwLock<Option<Market>>>,
    /// What stands behind its money.
    pub(crate) ground: Ground,
}

impl Node {
    pub(crate) async fn wire_block(&self, at: BlockId) -> Result<Block> {
        let block: Option<WireBlock> = match at {
            BlockId::Hash(hash) => self.rpc.read("eth_getBlockByHash", json!([hash, false])).await?,
            BlockId::Pending => {
                return Err(Fault::invalid("the pending block has no number and no hash yet").hint("ask for latest"));
            }
            at => self.rpc.read("eth_getBlockByNumber", json!([wire::block(at), false])).await?,
        };
        block
            .map(Block::from)
            .ok_or_else(|| Fault::not_found(format!("no block {at}")).hint("chain_status says which is the newest"))
    }

    /// The height that `at` stands for now.
    pub(crate) async fn height(&self, at: BlockId) -> Result<u64> {
        match at {
            BlockId::Number(number) => Ok(number),
            BlockId::Earliest => Ok(0),
            BlockId::Latest => Ok(self.rpc.read::<U64>("eth_blockNumber", json!([])).await?.to()),
            at => Ok(self.wire_block(at).await?.head.number),
        }
    }

    async fn read_status(&self) -> Result<ChainStatus> {
        let none = || json!([]);
        let (chain_id, block, client_version, gas_price, priority, syncing) = tokio::try_join!(
            self.rpc.chain_id(),
            self.wire_block(BlockId::Latest),
            self.rpc.read::<String>("web3_clientVersion", none()),
            self.rpc.read::<U256>("eth_gasPrice", none()),
            self.optional("eth_maxPriorityFeePerGas"),
            self.rpc.read::<Value>("eth_syncing", none()),
        )?;
        let head = block.head;
        let market = self.market.read().clone();
        Ok(ChainStatus {
            chain_id,
            client_version,
            sandbox: market.is_some(),
            head_age_seconds: (self.clock.now_ms() / 1_000).saturating_sub_unsigned(head.timestamp_seconds).max(0)
                as u64,
            gas_price_wei: Amount(gas_price),
            base_fee_per_gas_wei: head.base_fee_per_gas_wei,
            priority_fee_per_gas_wei: priority.map(Amount),
            syncing: wire::syncing(&syncing),
            head,
            reorgs_seen: self.heads.reorgs_seen(),
            endpoints: self.rpc.endpoints(),
            deployments: market.iter().flat_map(|market| market.deployments.clone()).collect(),
            accounts: market.iter().flat_map(|market| market.accounts.clone()).collect(),
        })
    }

    /// What a method that not every chain has says, `None` where it is not there.
    async fn optional(&self, method: &'static str) -> Result<Option<U256>> {
        match self.rpc.read::<U256>(method, json!([])).await {
            Ok(value) => Ok(Some(value)),
            Err(fault) if fault.code == Code::Unsupported => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

#[async_trait]
impl Chain for Node {
    async fn status(&self) -> Result<ChainStatus> {
        // When nothing answers, how each endpoint stands is all the more wanted.
        self.read_status().await.map_err(|fault| {
            let data = json!({ "endpoints": self.rpc.endpoints() });
            if fault.data.is_none() { fault.data(data) } else { fault }
        })
    }

    fn deployments(&self) -> Vec<Deployment> {
        self.market.read().as_ref().map(|market| market.deployments.clone()).unwrap_or_default()
    }

    fn ground(&self) -> Ground {
        self.ground
    }

    fn origin(&self) -> Option<Hash> {
        self.market.read().as_ref().map(|market| market.origin)
    }

    fn head(&self) -> Option<Head> {
        self.heads.tip()
    }

    fn seen(&self, block: u64) -> Option<Duration> {
        self.heads.seen(block)
    }

    async fn block(&self, at: BlockId) -> Result<Block> {
        self.wire_block(at).await
    }

    async fn transaction(&self, hash: Hash) -> Result<Transaction> {
        let found: Option<WireTransaction> = self.rpc.read("eth_getTransactionByHash", json!([hash])).await?;
        found.map(Transaction::from).ok_or_else(|| {
            Fault::not_found(format!("no transaction {hash}"))
                .hint("is it of this chain? the node may also have dropped it")
        })
    }

    async fn receipt(&self, hash: Hash) -> Result<Receipt> {
        let (found, head) = tokio::try_join!(
            self.rpc.read::<Option<WireReceipt>>("eth_getTransactionReceipt", json!([hash])),
            self.height(BlockId::Latest)
        )?;
        match found {
            Some(receipt) => Ok(receipt.at_head(head)),
            None => {
                self.transaction(hash).await?;
                Err(Fault::not_found(format!("transaction {hash} is not mined yet"))
                    .hint("ask again after the next block"))
            }
        }
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>> {
        logs::read(self, filter).await
    }

    async fn balance(&self, account: Address, at: BlockId) -> Result<Amount> {
        self.rpc.read::<U256>("eth_getBalance", json!([account, wire::block(at)])).await.map(Amount)
    }

    async fn nonce(&self, account: Address, at: BlockId) -> Result<u64> {
        let nonce = self.rpc.read::<U64>("eth_getTransactionCount", json!([account, wire::block(at)])).await?;
        Ok(nonce.to())
    }

    async fn token_balance(&self, token: Address, account: Address, at: BlockId) -> Result<Amount> {
        token::balance(self, token, account, at).await
    }

    async fn token(&self, token: Address, at: BlockId) -> Result<Token> {
        token::read(self, token, at).await
    }

    async fn code(&self, account: Address, at: BlockId) -> Result<Data> {
        self.rpc.read::<Bytes>("eth_getCode", json!([account, wire::block(at)])).await.map(Data)
    }

    async fn storage(&self, account: Address, slot: Hash, at: BlockId) -> Result<Hash> {
        // Some nodes leave out leading zeros.
        let content: U256 = self.rpc.read("eth_getStorageAt", json!([account, slot, wire::block(at)])).await?;
        Ok(Hash(content.into()))
    }

    async fn call(&self, call: &CallRequest, at: BlockId) -> Result<Data> {
        self.rpc.read::<Bytes>("eth_call", json!([wire::call(call), wire::block(at)])).await.map(Data)
    }

    async fn estimate_gas(&self, call: &CallRequest, at: BlockId) -> Result<u64> {
        self.rpc.read::<U64>("eth_estimateGas", json!([wire::call(call), wire::block(at)])).await.map(|gas| gas.to())
    }

    async fn fee_history(&self, blocks: u64, percentiles: &[u8]) -> Result<FeeHistory> {
        fees::read(self, blocks, percentiles).await
    }

    async fn simulate(&self, call: &CallRequest, overrides: &[AccountOverride], at: BlockId) -> Result<Simulation> {
        simulate::run(self, call, overrides, at).await
    }

    async fn fork(&self, at: BlockId) -> Result<Box<dyn Fork>> {
        machine::open(self, at).await
    }

    async fn trace(&self, hash: Hash) -> Result<TransactionTrace> {
        trace::read(self, hash).await
    }

    async fn flash_sources(&self, asset: Address, blocks_old_max: u64) -> Result<FlashMarket> {
        flash::read(self, asset, blocks_old_max).await
    }
}

/// Parameters of a request on the newest block.
pub(crate) fn latest() -> Value {
    wire::block(BlockId::Latest)
}
