//! The server on a sandbox chain.

use std::path::PathBuf;
use std::sync::Arc;

use evm::{Config as ChainConfig, Encodings, Parts, Places, SandboxConfig, open_node};
use kernel::chain::{Address, Chain};
use kernel::fake::World;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BOB, anyone};
use crate::blockchain_integration::{BlockchainIntegration, Config};
use crate::testing::Bench;

/// The server on a sandbox chain of the test's own.
pub(super) struct Online {
    pub(super) bench: Bench,
    pub(super) chain: Arc<dyn Chain>,
    _data: TempDir,
}

/// `None`, said aloud, where a developer has not fetched the tools. On a build server that is a failure.
pub(super) fn online() -> Option<Online> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    let (named, ci) = (std::env::var_os("FLOTILLA_TOOLS_DIR"), std::env::var_os("CI").is_some());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tools = named.map_or_else(|| root.join(".tools"), |named| root.join(named));
    let (world, data) = (World::default(), tempfile::tempdir().unwrap());
    let (clock, tasks, metrics) = (world.clock.clone(), world.tasks.clone(), world.metrics.clone());
    let parts = Parts { clock, tasks, metrics, bus: Arc::clone(&world.bus) as _ };
    let config = ChainConfig {
        sandbox: SandboxConfig { port: 0, trader_ms: 0, ..SandboxConfig::default() },
        ..ChainConfig::default()
    };
    let places = Places { endpoints: Vec::new(), tools, data: data.path().into() };
    let chain: Arc<dyn Chain> = match open_node(&config, &places, &parts) {
        Ok(node) => Arc::new(node),
        Err(fault) if ci => panic!("{fault}"),
        Err(fault) => {
            let mut aloud = std::io::stderr().lock();
            std::io::Write::write_all(&mut aloud, format!("SKIPPED: {fault}\n").as_bytes()).unwrap();
            return None;
        }
    };
    let world = world.chain(Arc::clone(&chain)).abi(Arc::new(Encodings));
    let bench = Bench::on::<BlockchainIntegration>(world, Config::default());
    Some(Online { bench, chain, _data: data })
}

impl Online {
    pub(super) async fn at(&self, name: &str) -> Address {
        let status = self.chain.status().await.unwrap();
        status.deployments.into_iter().find(|deployment| deployment.name == name).unwrap().address
    }

    /// A tool's answer as a client gets it, held to its schema.
    pub(super) async fn answer(&self, tool: &str, arguments: Value) -> Value {
        let shown = self.bench.shown(&anyone(), tool, arguments).await;
        serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{tool} refused: {shown}"))
    }

    pub(super) async fn refusal(&self, tool: &str, arguments: Value) -> String {
        let shown = self.bench.shown(&anyone(), tool, arguments).await;
        assert!(serde_json::from_str::<Value>(&shown).is_err(), "{tool} answered {shown}");
        shown
    }

    /// A request of anvil's own, which the server has no tool for.
    pub(super) async fn anvil(&self, method: &str, params: Value) -> Value {
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

    pub(super) async fn mined(&self, hash: &Value) -> Value {
        loop {
            let shown = self.bench.shown(&anyone(), "get_receipt", json!({ "hash": hash })).await;
            if !shown.contains("not mined yet") {
                return serde_json::from_str(&shown).unwrap();
            }
        }
    }

    pub(super) async fn swap(&self, least: &str) -> Value {
        let path = json!([self.at("weth").await, self.at("usdc").await]);
        json!({
            "from": BOB,
            "to": self.at("uniswap-v2-router").await,
            "function": "swapExactETHForTokens(uint256 amountOutMin,address[] path,address to,uint256 deadline)(uint256[] amounts)",
            "args": [least, path, BOB, "0xffffffffffffffff"],
            "value_wei": "1000000000000000000",
        })
    }
}
