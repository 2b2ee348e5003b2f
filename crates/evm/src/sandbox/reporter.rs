//! The reporter: an account that tells Chainlink's feeds what the pools' prices are, as those who run feeds do, so that no answer grows old and none
//! stays behind a market that moves.
//!
//! A coin's price is that of its Uniswap V2 pair with the wrapped coin, whose own is that of its pair with USDC, which stands for a dollar.

use std::time::Duration;

use alloy_primitives::U256;
use kernel::chain::{Abi, Address, Data, Deployment, Hash};
use kernel::{Fault, Result};
use serde_json::json;

use super::deploy::{self, Coin, number};
use crate::Encodings;
use crate::node::latest;
use crate::rpc::Rpc;
use crate::wire::quantity;

/// How many swaps of the trader's it lets pass between two reports.
const SWAPS: u32 = 20;
/// A dollar in a feed's units.
const DOLLAR: u64 = 100_000_000;
/// Gas an answer may use.
const GAS: u64 = 200_000;

pub(super) struct Reporter {
    account: Address,
    deployments: Vec<Deployment>,
    every: Duration,
}

impl Reporter {
    /// For a market whose trader swaps every `swap`. None where there is no account for it.
    pub(super) fn new(accounts: &[Address], deployments: &[Deployment], swap: Duration) -> Option<Self> {
        let (account, deployments) = (deploy::reporter(accounts)?, deployments.to_vec());
        Some(Self { account, deployments, every: swap * SWAPS })
    }

    /// Reports for as long as it is let.
    pub(super) async fn report(&self, rpc: &Rpc) {
        loop {
            tokio::time::sleep(self.every).await;
            if let Err(fault) = self.report_once(rpc).await {
                tracing::debug!(error = %fault, "the sandbox's prices could not be reported");
            }
        }
    }

    async fn report_once(&self, rpc: &Rpc) -> Result<()> {
        // Per unit of the wrapped coin in units of USDC, with a feed's decimals: 10^(18 − 6 + 8).
        let [usdc, weth] = self.held(rpc, Coin::Usdc).await?;
        let native = quotient(usdc * power(20), weth)?;
        for coin in Coin::ALL {
            let answer = match coin {
                Coin::Usdc => U256::from(DOLLAR),
                Coin::Weth => native,
                other => {
                    let [coin, weth] = self.held(rpc, other).await?;
                    quotient(weth * native * power(other.decimals().into()), coin * power(18))?
                }
            };
            let input = Encodings.encode_call("updateAnswer(int256)", &[number(answer)])?;
            let to = self.at(&format!("chainlink-answer-{}-usd", coin.name()))?;
            let report = json!({ "from": self.account, "to": to, "input": input, "gas": quantity(GAS) });
            rpc.once::<Hash>("eth_sendTransaction", json!([report])).await?;
        }
        Ok(())
    }

    /// What a coin's pair with the wrapped coin holds of either.
    async fn held(&self, rpc: &Rpc, coin: Coin) -> Result<[U256; 2]> {
        let pair = self.at(&format!("uniswap-v2-pair-{}-weth", coin.name()))?;
        let mut held = [U256::ZERO; 2];
        for (place, coin) in [coin, Coin::Weth].into_iter().enumerate() {
            let input = Encodings.encode_call("balanceOf(address)", &[json!(pair)])?;
            let call = json!([{ "to": self.at(coin.name())?, "input": input }, latest()]);
            let answer: Data = rpc.read("eth_call", call).await?;
            held[place] = U256::try_from_be_slice(&answer).ok_or_else(|| Fault::upstream("a balance is no number"))?;
        }
        Ok(held)
    }

    fn at(&self, name: &str) -> Result<Address> {
        let found = self.deployments.iter().find(|deployment| deployment.name == name);
        found.map(|found| found.address).ok_or_else(|| Fault::internal(format!("the sandbox has no {name}")))
    }
}

fn power(exponent: u64) -> U256 {
    U256::from(10).pow(U256::from(exponent))
}

fn quotient(over: U256, under: U256) -> Result<U256> {
    over.checked_div(under).ok_or_else(|| Fault::upstream("a pair of the sandbox is empty"))
}
