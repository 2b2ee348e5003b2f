//! The chain that is not there: every method says what to set or to install.

use async_trait::async_trait;

use super::{
    AccountOverride, Address, Amount, Block, BlockId, CallRequest, Chain, ChainStatus, Data, Deployment, FeeHistory,
    FlashMarket, Fork, Hash, Head, Log, LogFilter, Receipt, Sender, Simulation, Token, Transaction, TransactionTrace,
    Verdict,
};
use crate::{Fault, Result};

/// Answers every method with the same fault.
#[derive(Debug, Clone)]
pub struct Unconfigured(Fault);

impl Default for Unconfigured {
    fn default() -> Self {
        Self(
            Fault::not_configured("no EVM node is configured and no sandbox chain runs")
                .hint("set ETHEREUM_RPC_URL to a node's URL, or install Node.js and run `cargo xtask up` to get the sandbox chain"),
        )
    }
}

impl Unconfigured {
    /// With the reason why there is none: a sandbox that did not start, say.
    pub fn because(fault: Fault) -> Self {
        Self(fault)
    }

    fn no<T>(&self) -> Result<T> {
        Err(self.0.clone())
    }
}

#[async_trait]
impl Chain for Unconfigured {
    async fn status(&self) -> Result<ChainStatus> {
        self.no()
    }

    fn deployments(&self) -> Vec<Deployment> {
        Vec::new()
    }

    fn head(&self) -> Option<Head> {
        None
    }

    async fn block(&self, _: BlockId) -> Result<Block> {
        self.no()
    }

    async fn transaction(&self, _: Hash) -> Result<Transaction> {
        self.no()
    }

    async fn receipt(&self, _: Hash) -> Result<Receipt> {
        self.no()
    }

    async fn logs(&self, _: &LogFilter) -> Result<Vec<Log>> {
        self.no()
    }

    async fn balance(&self, _: Address, _: BlockId) -> Result<Amount> {
        self.no()
    }

    async fn nonce(&self, _: Address, _: BlockId) -> Result<u64> {
        self.no()
    }

    async fn token_balance(&self, _: Address, _: Address, _: BlockId) -> Result<Amount> {
        self.no()
    }

    async fn token(&self, _: Address, _: BlockId) -> Result<Token> {
        self.no()
    }

    async fn code(&self, _: Address, _: BlockId) -> Result<Data> {
        self.no()
    }

    async fn storage(&self, _: Address, _: Hash, _: BlockId) -> Result<Hash> {
        self.no()
    }

    async fn call(&self, _: &CallRequest, _: BlockId) -> Result<Data> {
        self.no()
    }

    async fn estimate_gas(&self, _: &CallRequest, _: BlockId) -> Result<u64> {
        self.no()
    }

    async fn fee_history(&self, _: u64, _: &[u8]) -> Result<FeeHistory> {
        self.no()
    }

    async fn simulate(&self, _: &CallRequest, _: &[AccountOverride], _: BlockId) -> Result<Simulation> {
        self.no()
    }

    async fn fork(&self, _: BlockId) -> Result<Box<dyn Fork>> {
        self.no()
    }

    async fn trace(&self, _: Hash) -> Result<TransactionTrace> {
        self.no()
    }

    async fn flash_sources(&self, _: Address, _: u64) -> Result<FlashMarket> {
        self.no()
    }
}

#[async_trait]
impl Sender for Unconfigured {
    async fn send(&self, _: &Data) -> Result<Verdict> {
        self.no()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[tokio::test]
    async fn says_what_to_set_and_what_to_install() {
        let fault = Unconfigured::default().status().await.unwrap_err();
        let hint = fault.hint.unwrap();
        assert_eq!(fault.code, Code::NotConfigured);
        assert!(
            hint.contains("ETHEREUM_RPC_URL") && hint.contains("Node.js") && hint.contains("cargo xtask up"),
            "{hint}"
        );
    }
}
