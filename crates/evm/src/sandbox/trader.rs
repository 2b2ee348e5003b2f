//! The trader: an account that swaps at random through the routers, so that prices drift apart.
//!
//! Invariants:
//! - What its swap number `n` is, the seed and `n` alone decide; `n` is the account's transaction count, so a chain that comes back goes on
//!   where it stopped, and a run with the same seed makes the same swaps in the same order.
//! - One swap at a time, and none before the time between two is over. A swap that fails changes nothing, and the next is another.

use std::time::Duration;

use alloy_primitives::{B256, U64, U256, keccak256};
use kernel::Result;
use kernel::chain::{Abi, Address, Data, Deployment, Hash};
use serde_json::{Value, json};

use super::deploy::{self, Coin, Venue, number};
use crate::Encodings;
use crate::node::latest;
use crate::rpc::Rpc;
use crate::wire::quantity;

/// The shortest time between two swaps.
const EVERY_MIN: Duration = Duration::from_millis(20);
/// The smallest and the largest swap, in hundredths of a percent of what a side of its pool began with.
const SIZE_BPS: [u64; 2] = [2, 60];
/// Gas a swap may use: the largest cross a few ticks.
const GAS: u64 = 1_000_000;

pub(super) struct Trader {
    account: Address,
    venues: Vec<Venue>,
    seed: u64,
    every: Duration,
}

impl Trader {
    /// Swaps every `every_ms`; none when that is 0, or when there is nowhere to.
    pub(super) fn new(accounts: &[Address], deployments: &[Deployment], seed: u64, every_ms: u64) -> Option<Self> {
        let (account, venues) = (deploy::trader(accounts)?, deploy::venues(deployments));
        let every = Duration::from_millis(every_ms).max(EVERY_MIN);
        (every_ms > 0 && !venues.is_empty()).then_some(Self { account, venues, seed, every })
    }

    /// Swaps for as long as it is let.
    pub(super) async fn trade(&self, rpc: &Rpc) {
        loop {
            tokio::time::sleep(self.every).await;
            if let Err(fault) = self.swap_once(rpc).await {
                tracing::debug!(error = %fault, "the sandbox's trader could not swap");
            }
        }
    }

    async fn swap_once(&self, rpc: &Rpc) -> Result<()> {
        let count: U64 = rpc.read("eth_getTransactionCount", json!([self.account, latest()])).await?;
        let (to, input) = self.swap(count.to())?;
        let transaction = json!({
            "from": self.account, "to": to, "input": input, "nonce": quantity(count.to()), "gas": quantity(GAS),
        });
        rpc.once::<Hash>("eth_sendTransaction", json!([transaction])).await.map(|_| ())
    }

    /// Swap number `count`: the router and the call.
    fn swap(&self, count: u64) -> Result<(Address, Data)> {
        let dice = keccak256([self.seed.to_be_bytes(), count.to_be_bytes()].concat());
        let roll = |at: usize, sides: u64| u64::from_be_bytes(word(&dice, at)) % sides;
        let venue = &self.venues[roll(0, self.venues.len() as u64) as usize];
        let [first, second] = venue.sides;
        let (from, to) = if roll(1, 2) == 0 { (first, second) } else { (second, first) };
        let bps = SIZE_BPS[0] + roll(2, SIZE_BPS[1] - SIZE_BPS[0] + 1);
        // A basis point of a dollar is a hundredth of a cent.
        let amount = number(Coin::worth(from.0, U256::from(venue.dollars * bps / 100)));
        let (receiver, never) = (json!(self.account), number(U256::MAX));
        let input = match venue.fee {
            None => Encodings.encode_call(
                "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)",
                &[amount, json!(0), json!([from.1, to.1]), receiver, never],
            ),
            Some(fee) => Encodings.encode_call(
                "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))",
                &[Value::Array(vec![
                    json!(from.1),
                    json!(to.1),
                    json!(fee),
                    receiver,
                    never,
                    amount,
                    json!(0),
                    json!(0),
                ])],
            ),
        };
        Ok((venue.router, input?))
    }
}

/// Eight bytes of a hash.
fn word(hash: &B256, at: usize) -> [u8; 8] {
    let mut word = [0; 8];
    word.copy_from_slice(&hash[at * 8..at * 8 + 8]);
    word
}
