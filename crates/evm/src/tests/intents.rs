//! Intents against a real node: once each, whatever breaks.

mod crash;
mod life;
mod relay;
mod trouble;

use std::sync::Arc;

use async_trait::async_trait;
use kernel::chain::{Abi, Address, Amount, BlockId, Chain, Fees, Relay, Simulation};
use kernel::intents::{Engine, Gate, Intent, Parts, Policy, Purpose, Request, Route, State};
use kernel::store::Write;
use kernel::{Fault, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::world::{Sandbox, sandbox};
use crate::{Encodings, Node, sandbox_signer};

/// Lets all through, or what the test says.
#[derive(Default)]
pub(super) struct TestGate {
    shut: Mutex<Option<Fault>>,
    asked: Mutex<Vec<Purpose>>,
}

#[async_trait]
impl Gate for TestGate {
    async fn admit(&self, intent: &Intent, simulation: &Simulation) -> Result<Vec<Write>> {
        assert!(simulation.success);
        Ok(vec![Write::put("reserved", &intent.request.key, "1")])
    }

    async fn allow(&self, _: &Intent, purpose: Purpose) -> Result<()> {
        self.asked.lock().push(purpose);
        self.shut.lock().clone().map_or(Ok(()), Err)
    }

    async fn change(&self, was: &Intent, now: &Intent) -> Result<Vec<Write>> {
        let ends = was.is_open() && !now.is_open();
        Ok(ends.then(|| Write::delete("reserved", &now.request.key)).into_iter().collect())
    }
}

struct Desk {
    sandbox: Sandbox,
    gate: Arc<TestGate>,
    engine: Engine,
    weth: Address,
    wallet: Address,
}

fn parts(sandbox: &Sandbox, node: &Node, gate: &Arc<TestGate>) -> Parts {
    let signer = sandbox_signer().unwrap();
    Parts {
        store: Arc::clone(&sandbox.world.store) as _,
        bus: Arc::clone(&sandbox.world.bus) as _,
        clock: sandbox.world.clock.clone(),
        chain: Arc::new(node.clone()),
        chain_id: 31_337,
        realm: String::new(),
        sender: Arc::new(node.clone()),
        relay: None,
        wallet: signer.address(),
        signer: Some(signer),
        gate: Arc::clone(gate) as _,
        policy: Policy { confirmations: 3, ..Policy::default() },
    }
}

async fn desk() -> Option<Desk> {
    let sandbox = sandbox()?;
    let weth = sandbox.at("weth").await;
    let gate = Arc::<TestGate>::default();
    let engine = Engine::new(parts(&sandbox, &sandbox.node, &gate)).unwrap();
    engine.reconcile().await.unwrap();
    let wallet = sandbox.account(9).await;
    Some(Desk { sandbox, gate, engine, weth, wallet })
}

fn fees(max: u64, priority: u64) -> Fees {
    Fees { max_fee_per_gas_wei: max.into(), max_priority_fee_per_gas_wei: priority.into() }
}

/// A deposit of `wei` into the wrapped coin: what was done can be counted by the balance.
fn deposit(weth: Address, key: &str, wei: u64) -> Request {
    Request {
        key: key.into(),
        to: Some(weth),
        value_wei: wei.into(),
        data: Encodings.encode_call("deposit()", &[]).unwrap(),
        gas_limit: None,
        access_list: Vec::new(),
        fees: fees(10_000_000_000, 1_000_000),
        fee_ceiling_wei: 40_000_000_000.into(),
        route: Route::Public,
        valid_until_block: None,
        paper: false,
        rehearsal: None,
        memo: json!({ "for": key }),
    }
}

impl Desk {
    fn deposit(&self, key: &str, wei: u64) -> Request {
        deposit(self.weth, key, wei)
    }

    async fn anvil(&self, method: &'static str, params: Value) -> Value {
        self.sandbox.anvil(method, params).await
    }

    async fn mine(&self, blocks: u64) {
        self.anvil("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// Blocks are made when the test says so.
    async fn by_hand(&self) {
        self.anvil("evm_setAutomine", json!([false])).await;
    }

    async fn look(&self, key: &str) -> Intent {
        self.engine.reconcile().await.unwrap();
        self.engine.get(key).await.unwrap()
    }

    /// Coins wrapped, and transactions of the wallet that are on the chain.
    async fn done(&self) -> (Amount, u64) {
        let (node, at) = (&self.sandbox.node, BlockId::Latest);
        (node.token_balance(self.weth, self.wallet, at).await.unwrap(), node.nonce(self.wallet, at).await.unwrap())
    }

    /// Looks until it is in this state: a node that mines by itself takes a moment.
    async fn until(&self, engine: &Engine, key: &str, state: State) -> Intent {
        loop {
            engine.reconcile().await.unwrap();
            let intent = engine.get(key).await.unwrap();
            if intent.state == state {
                return intent;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn mined(&self, key: &str) -> Intent {
        self.until(&self.engine, key, State::Mined).await
    }

    fn with_relay(&self, relay: Arc<dyn Relay>) -> Engine {
        let parts = parts(&self.sandbox, &self.sandbox.node, &self.gate);
        Engine::new(Parts { relay: Some(relay), ..parts }).unwrap()
    }
}
