//! A sandbox of the test's own, from the tools that `cargo xtask test` fetched.

use std::path::PathBuf;
use std::sync::Arc;

use kernel::chain::{Abi, Address, BlockId, CallRequest, Chain, Data, Hash, Receipt};
use kernel::fake::World;
use kernel::{Result, Tasks};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Config, Encodings, Node, Parts, Places, SandboxConfig, open_node};

/// The tools folder, or `None`, said aloud, where a developer has not fetched it. On a build server that is a failure.
pub(super) fn tools() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    let (named, ci) = (std::env::var_os("FLOTILLA_TOOLS_DIR"), std::env::var_os("CI").is_some());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tools = named.map_or_else(|| root.join(".tools"), |named| root.join(named));
    match crate::sandbox::Tools::find(&tools) {
        Ok(_) => Some(tools),
        Err(fault) if ci => panic!("{fault}"),
        Err(fault) => {
            let mut aloud = std::io::stderr().lock();
            std::io::Write::write_all(&mut aloud, format!("SKIPPED: {fault}\n").as_bytes()).unwrap();
            None
        }
    }
}

pub(super) struct Sandbox {
    pub(super) node: Node,
    pub(super) world: World,
    pub(super) tasks: Tasks,
    pub(super) data: TempDir,
}

/// A sandbox that is being started, or `None` without the tools.
pub(super) fn sandbox() -> Option<Sandbox> {
    sandbox_in(tempfile::tempdir().unwrap(), 0)
}

pub(super) fn sandbox_in(data: TempDir, port: u16) -> Option<Sandbox> {
    sandbox_at(data.path().into(), data, port)
}

/// With its state in `folder`; `data` is removed with it.
pub(super) fn sandbox_at(folder: PathBuf, data: TempDir, port: u16) -> Option<Sandbox> {
    let sandbox = SandboxConfig { port, trader_ms: 0, ..SandboxConfig::default() };
    sandbox_with(Config { sandbox, ..Config::default() }, folder, data)
}

pub(super) fn sandbox_with(config: Config, folder: PathBuf, data: TempDir) -> Option<Sandbox> {
    let (tools, world) = (tools()?, World::default());
    let parts = Parts { tasks: world.tasks.child(), ..parts(&world) };
    let places = Places { endpoints: Vec::new(), tools, data: folder };
    let node = open_node(&config, &places, &parts).unwrap();
    Some(Sandbox { node, tasks: parts.tasks, world, data })
}

pub(super) fn parts(world: &World) -> Parts {
    let (clock, tasks, metrics) = (world.clock.clone(), world.tasks.clone(), world.metrics.clone());
    Parts { clock, tasks, metrics, bus: Arc::clone(&world.bus) as _ }
}

impl Sandbox {
    pub(super) async fn at(&self, name: &str) -> Address {
        let status = self.node.status().await.unwrap();
        let found = status.deployments.iter().find(|deployment| deployment.name == name);
        found.unwrap_or_else(|| panic!("no {name} among {:?}", status.deployments)).address
    }

    pub(super) async fn account(&self, index: usize) -> Address {
        self.node.status().await.unwrap().accounts[index]
    }

    /// A request of anvil's own.
    pub(super) async fn anvil(&self, method: &'static str, params: Value) -> Value {
        self.node.rpc.once(method, params).await.unwrap()
    }

    /// Sends a transaction from an unlocked account and waits until it is mined. Its gas is not estimated: what a pair does in a second that
    /// it has not seen yet costs more than what the estimate is made of.
    pub(super) async fn send(&self, mut transaction: Value) -> Receipt {
        if transaction.get("gas").is_none() {
            transaction["gas"] = json!("0x2dc6c0");
        }
        let hash: Hash = self.node.rpc.once("eth_sendTransaction", json!([transaction])).await.unwrap();
        self.mined(hash).await
    }

    pub(super) async fn mined(&self, hash: Hash) -> Receipt {
        loop {
            match self.node.receipt(hash).await {
                // For a moment anvil has the receipt and still takes the transaction for pending.
                Ok(receipt) if self.node.transaction(hash).await.unwrap().block_number.is_some() => return receipt,
                Ok(_) => tokio::task::yield_now().await,
                Err(fault) if fault.message.contains("not mined yet") => tokio::task::yield_now().await,
                Err(fault) => panic!("{fault}"),
            }
        }
    }

    pub(super) async fn view(&self, to: Address, function: &str, args: &[Value]) -> Result<Vec<Value>> {
        let data = Encodings.encode_call(function, args)?;
        let answer = self.node.call(&CallRequest::read(to, data), BlockId::Latest).await?;
        Ok(Encodings.decode_output(function, &answer)?.into_iter().map(|value| value.value).collect())
    }

    /// Code that reverts with `data`, put at an address of its own.
    pub(super) async fn reverting(&self, address: Address, data: &Data) {
        self.anvil("anvil_setCode", json!([address, reverts_with(data)])).await;
    }
}

/// A contract that does nothing but revert with `data`: CODECOPY of what follows the code, then REVERT.
pub(super) fn reverts_with(data: &[u8]) -> Data {
    let size = u8::try_from(data.len()).unwrap();
    // PUSH1 size, PUSH1 12, PUSH1 0, CODECOPY, PUSH1 size, PUSH1 0, REVERT
    let mut code = vec![0x60, size, 0x60, 12, 0x60, 0, 0x39, 0x60, size, 0x60, 0, 0xfd];
    code.extend_from_slice(data);
    code.into()
}

pub(super) fn ether(count: u64) -> String {
    format!("{count}000000000000000000")
}
