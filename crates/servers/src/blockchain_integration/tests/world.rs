//! The server on a sandbox chain.

use std::sync::Arc;

use kernel::chain::{Address, Chain};
use serde_json::{Value, json};

use super::{BOB, anyone};
use crate::blockchain_integration::{BlockchainIntegration, Config};
use crate::testing::Bench;
use crate::testing::sandbox::{Sandbox, sandbox};

/// The server on a sandbox chain of the test's own.
pub(super) struct Online {
    pub(super) bench: Bench,
    pub(super) chain: Arc<dyn Chain>,
    sandbox: Sandbox,
}

pub(super) fn online() -> Option<Online> {
    let (world, sandbox) = sandbox()?;
    let bench = Bench::on::<BlockchainIntegration>(world, Config::default());
    Some(Online { bench, chain: Arc::clone(&sandbox.chain), sandbox })
}

impl Online {
    pub(super) async fn at(&self, name: &str) -> Address {
        self.sandbox.at(name).await
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
        self.sandbox.anvil(method, params).await
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
