//! A sandbox chain of the test's own.

use std::path::PathBuf;
use std::sync::Arc;

use evm::{Config, Encodings, LendersConfig, Parts, Places, SandboxConfig, open_node};
use kernel::Secret;
use kernel::chain::{Address, Chain, Sender};
use kernel::fake::World;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The chain, and where its files are for as long as this lives.
pub(crate) struct Sandbox {
    pub(crate) chain: Arc<dyn Chain>,
    _data: TempDir,
}

/// The folder of fetched tools. `None`, said aloud, where a developer has not fetched them; on a build server that is a failure.
pub(crate) fn tools() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    let (named, ci) = (std::env::var_os("FLOTILLA_TOOLS_DIR"), std::env::var_os("CI").is_some());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tools = named.map_or_else(|| root.join(".tools"), |named| root.join(named));
    match evm::anvil_in(&tools) {
        Ok(_) => Some(tools),
        Err(fault) if ci => panic!("{fault}"),
        Err(fault) => {
            let mut aloud = std::io::stderr().lock();
            std::io::Write::write_all(&mut aloud, format!("SKIPPED: {fault}\n").as_bytes()).unwrap();
            None
        }
    }
}

/// What analyses projects: the fetched tools, and the Rust that the tests are built with. `None`, said aloud, where a developer has not fetched them; on a
/// build server that is a failure.
pub(crate) fn programs(tools: &std::path::Path) -> Option<crate::quality::Programs> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = variable("HOME");
    let of_home = |name: &str, folder: &str| variable(name).or_else(|| Some(home.as_ref()?.join(folder)));
    let analysis = tools.join("analysis").canonicalize().ok();
    if analysis.is_none() {
        assert!(variable("CI").is_none(), "no analysis in {}", tools.display());
        let mut aloud = std::io::stderr().lock();
        std::io::Write::write_all(&mut aloud, b"SKIPPED: cargo xtask fetch analysis\n").unwrap();
        return None;
    }
    let registry = of_home("CARGO_HOME", ".cargo").map(|folder| folder.join("registry"));
    Some(crate::quality::Programs { analysis, rustup: of_home("RUSTUP_HOME", ".rustup"), registry })
}

/// A world with a sandbox chain in it. `None`, said aloud, where a developer has not fetched the tools; on a build server that is a
/// failure.
pub(crate) fn sandbox() -> Option<(World, Sandbox)> {
    sandbox_of(SandboxConfig::default()).map(|(world, sandbox, _)| (world, sandbox))
}

/// The same, and what sends to it, by a configuration of the test's: the port is free, and nobody trades there but the test.
pub(crate) fn sandbox_of(config: SandboxConfig) -> Option<(World, Sandbox, Arc<dyn Sender>)> {
    let tools = tools()?;
    let (world, data) = (World::default(), tempfile::tempdir().unwrap());
    let (clock, tasks, metrics) = (world.clock.clone(), world.tasks.clone(), world.metrics.clone());
    let parts = Parts { clock, tasks, metrics, bus: Arc::clone(&world.bus) as _ };
    let config = Config { sandbox: SandboxConfig { port: 0, trader_ms: 0, ..config }, ..Config::default() };
    let places = Places { endpoints: Vec::new(), tools, data: data.path().into() };
    let node = open_node(&config, &places, &parts).unwrap();
    let (chain, sender): (Arc<dyn Chain>, Arc<dyn Sender>) = (Arc::new(node.clone()), Arc::new(node));
    let world = world.chain(Arc::clone(&chain)).abi(Arc::new(Encodings));
    Some((world, Sandbox { chain, _data: data }, sender))
}

impl Sandbox {
    /// The same chain as a node that somebody else runs, of which only lenders are known.
    pub(crate) async fn as_a_node(&self, world: &World) -> Arc<dyn Chain> {
        let endpoint = &self.chain.status().await.unwrap().endpoints[0].endpoint;
        let lenders =
            LendersConfig { balancer_v2_vault: Some(self.at("balancer-v2-vault").await), ..LendersConfig::default() };
        let places = Places {
            endpoints: vec![Secret::new(format!("http://{endpoint}"))],
            tools: PathBuf::new(),
            data: self._data.path().join("node"),
        };
        std::fs::create_dir(&places.data).unwrap();
        let (clock, tasks, metrics) = (world.clock.clone(), world.tasks.clone(), world.metrics.clone());
        let parts = Parts { clock, tasks, metrics, bus: Arc::clone(&world.bus) as _ };
        let config = Config { lenders, poll_ms: 50, ..Config::default() };
        Arc::new(open_node(&config, &places, &parts).unwrap())
    }

    /// Where something was deployed.
    pub(crate) async fn at(&self, name: &str) -> Address {
        let status = self.chain.status().await.unwrap();
        status.deployments.into_iter().find(|deployment| deployment.name == name).unwrap().address
    }

    /// A request of anvil's own, which no server has a tool for.
    pub(crate) async fn anvil(&self, method: &str, params: Value) -> Value {
        let endpoint = self.chain.status().await.unwrap().endpoints[0].endpoint.clone();
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let head =
            format!("POST / HTTP/1.1\r\nhost: {endpoint}\r\nconnection: close\r\ncontent-type: application/json");
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut stream = tokio::net::TcpStream::connect(endpoint).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }
}
