//! The execution server on a sandbox, its pools read anew whenever the test moved them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use kernel::Fault;
use kernel::chain::{
    Abi, Address, Amount, BlockId, Bundle, BundleSimulation, Ground, Hash, Relay, Sender, Signer, Verdict,
};
use kernel::fake::World;
use kernel::prices::Asset;
use market::feed::Pools;
use serde_json::{Value, json};

use super::super::{
    BUILD_ARBITRAGE, BuildAnswer, BuildRequest, Config, Execution, IntentView, PlanView, STATUS, SUBMIT, StatusRequest,
    SubmitRequest,
};
use super::trader;
use crate::testing::pools::{Still, book};
use crate::testing::sandbox::{Sandbox, sandbox_of};
use crate::testing::{Bench, shared, viewer};
use crate::{MarketPorts, Wallet};

/// The pools that the tests trade round: bought where it is cheap, sold where it is dear.
pub(super) const CYCLE: [&str; 2] = ["uniswap-v2-pair-link-weth", "uniswap-v3-pool-link-weth-3000"];

pub(super) struct Online {
    pub(super) bench: Bench,
    pools: Arc<Still>,
    sandbox: Sandbox,
    wallet: Address,
}

/// What the wallet has.
pub(super) struct Balances {
    pub(super) weth: Amount,
    pub(super) ether: Amount,
}

/// With the sandbox's wallet, which owns the executor, trading from the start.
pub(super) async fn online() -> Option<Online> {
    with(|_| None).await
}

async fn with(relay: impl FnOnce(&Arc<dyn Sender>) -> Option<Arc<dyn Relay>>) -> Option<Online> {
    let signer = evm::sandbox_signer().unwrap();
    let owned = evm::SandboxConfig { executor_owner: Some(signer.address()), ..evm::SandboxConfig::default() };
    let (world, sandbox, sender) = sandbox_of(owned)?;
    let wallet = Wallet { signer: Some(signer), origin: "sandbox", relay: relay(&sender), sender };
    Some(Online::new(world, sandbox, wallet).await)
}

/// A relay whose bundles go straight into a block, or would fail there.
pub(super) struct Straight {
    sender: Arc<dyn Sender>,
    pub(super) fails: AtomicBool,
}

#[async_trait]
impl Relay for Straight {
    async fn simulate(&self, bundle: &Bundle) -> Result<BundleSimulation, Fault> {
        let success = !self.fails.load(Ordering::Relaxed);
        let error = (!success).then(|| "reverted: too late".to_owned());
        Ok(BundleSimulation { success, gas_used: 7, error, state_block: bundle.block_number - 1 })
    }

    async fn send(&self, bundle: &Bundle) -> Result<Hash, Fault> {
        assert_eq!(self.sender.send(&bundle.transactions[0]).await?, Verdict::Taken);
        Ok(Hash::default())
    }

    async fn cancel(&self, _: &str) -> Result<(), Fault> {
        Ok(())
    }
}

/// With a private relay.
pub(super) async fn with_relay() -> Option<(Online, Arc<Straight>)> {
    let mut made = None;
    let online = with(|sender| {
        let relay = Arc::new(Straight { sender: Arc::clone(sender), fails: AtomicBool::new(false) });
        made = Some(Arc::clone(&relay));
        Some(relay)
    });
    Some((online.await?, made?))
}

/// The same chain as somebody else's node has it: no key, no executor, nothing known of it.
pub(super) async fn real_chain() -> Option<Online> {
    let (world, sandbox, _) = sandbox_of(evm::SandboxConfig::default())?;
    let node = sandbox.as_a_node(&world).await;
    let world = world.chain(node);
    assert_eq!(world.chain.ground(), Ground::Real);
    Some(Online::new(world, sandbox, Wallet::none()).await)
}

impl Online {
    async fn new(world: World, sandbox: Sandbox, wallet: Wallet) -> Self {
        let pools = book(&sandbox).await;
        for (symbol, price) in [("weth", "3000"), ("link", "15")] {
            world.prices.set(Asset::Token(sandbox.at(symbol).await), "USD", price.parse().unwrap());
        }
        let config = Config {
            tokens: [("WETH".to_owned(), sandbox.at("weth").await)].into(),
            confirmations: 3,
            ..Config::default()
        };
        let address = wallet
            .signer
            .as_ref()
            .map_or_else(super::super::paper::wallet, |signer: &Arc<dyn Signer>| signer.address());
        let feed = Arc::clone(&pools) as Arc<dyn Pools>;
        let ports = MarketPorts { pools: feed, wallet, ..MarketPorts::without_pools(world.ports()) };
        let service = mcp::Service::build::<Execution>(&ports, config, shared(&world)).unwrap();
        let bench = Bench::of(world, service);
        bench.start().await;
        Self { bench, pools, sandbox, wallet: address }
    }

    /// Makes the cycle gain, by what somebody gives one pair for nothing.
    pub(super) async fn push_apart(&self) {
        let (token, pair) = (self.sandbox.at("link").await, self.sandbox.at(CYCLE[0]).await);
        let owner = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        let data = |function: &str, args: &[Value]| evm::Encodings.encode_call(function, args).unwrap();
        let amount = json!(format!("400{}", "0".repeat(18)));
        for (to, input) in [(token, data("mint(address,uint256)", &[json!(pair), amount])), (pair, data("sync()", &[]))]
        {
            // Gas enough for any second: what was estimated in the one before may be too little.
            self.transact(json!({ "from": owner, "to": to, "input": input, "gas": "0x7a120" })).await;
        }
        self.read_pools().await;
    }

    async fn transact(&self, transaction: Value) {
        let hash = self.anvil("eth_sendTransaction", json!([transaction])).await;
        loop {
            let receipt = self.anvil("eth_getTransactionReceipt", json!([hash])).await;
            if let Some(status) = receipt.get("status") {
                assert_eq!(status, "0x1", "{receipt}");
                return;
            }
        }
    }

    pub(super) async fn read_pools(&self) {
        self.pools.become_of(&*book(&self.sandbox).await);
    }

    /// The block in which a pool was made.
    pub(super) async fn made_in(&self, pool: &str) -> u64 {
        self.pools.made_in(self.sandbox.at(pool).await).unwrap().block
    }

    /// From now on nobody knows when pools were made.
    pub(super) fn forget_origins(&self) {
        self.pools.forget_origins();
    }

    pub(super) async fn anvil(&self, method: &str, params: Value) -> Value {
        self.sandbox.anvil(method, params).await
    }

    /// The best plan round the cycle.
    pub(super) async fn build(&self) -> BuildAnswer {
        let mut pools = Vec::new();
        for name in CYCLE {
            pools.push(self.sandbox.at(name).await);
        }
        // The other way round where that gains.
        for pools in [pools.clone(), pools.into_iter().rev().collect()] {
            let request = BuildRequest {
                funding: self.sandbox.at("weth").await.to_string(),
                pools,
                amount: None,
                source: None,
                min_profit: None,
                near: None,
                within_limits: true,
                good_for_seconds: None,
            };
            match self.bench.call(&viewer("v"), BUILD_ARBITRAGE, request).await {
                Ok(built) => return built,
                Err(fault) => assert_eq!(fault.code, kernel::Code::NotFound, "{fault}"),
            }
        }
        panic!("the cycle gains neither way");
    }

    pub(super) async fn submit(&self, key: &str, plan: &PlanView) -> Result<IntentView, Fault> {
        let request =
            SubmitRequest { key: key.into(), plan: plan.clone(), fees: None, valid_blocks: Some(50), found_in: None };
        self.bench.call(&trader(), SUBMIT, request).await
    }

    /// Looks until it is in a block; then the pools are read anew.
    pub(super) async fn mined(&self, key: &str) -> IntentView {
        let look = async || self.bench.call(&viewer("v"), STATUS, StatusRequest { key: key.into() }).await;
        self.until(async || look().await.unwrap().transaction.is_some()).await;
        self.read_pools().await;
        look().await.unwrap()
    }

    /// Waits for a state: the server looks at its intents by itself.
    pub(super) async fn until(&self, reached: impl AsyncFn() -> bool) {
        while !reached().await {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn nonce(&self) -> u64 {
        self.bench.world.chain.nonce(self.wallet, BlockId::Latest).await.unwrap()
    }

    pub(super) async fn weth(&self) -> Address {
        self.sandbox.at("weth").await
    }

    pub(super) async fn balances(&self) -> Balances {
        let (chain, weth) = (&self.bench.world.chain, self.weth().await);
        Balances {
            weth: chain.token_balance(weth, self.wallet, BlockId::Latest).await.unwrap(),
            ether: chain.balance(self.wallet, BlockId::Latest).await.unwrap(),
        }
    }

    /// A text with names for the addresses that the tests know.
    pub(super) async fn plain(&self, text: &str) -> String {
        let built = self.build().await;
        let mut plain = text.to_owned();
        for (place, leg) in built.plan.legs.iter().enumerate() {
            plain = plain.replace(&leg.pool.to_string(), &format!("<pool {place}>"));
        }
        for name in ["weth", "link"] {
            plain = plain.replace(&self.sandbox.at(name).await.to_string(), &format!("<{name}>"));
        }
        plain
    }
}
