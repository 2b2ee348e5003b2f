//! Chainlink's feeds: for each token its price in dollars, behind the proxy that readers use.

use kernel::Result;
use kernel::chain::Address;
use serde_json::json;

use super::super::artefact;
use super::super::plan::Plan;
use super::coins::Coin;

/// Decimals of an answer in dollars.
const DECIMALS: u8 = 8;
/// An answer's units in a cent.
const PER_CENT: u64 = 1_000_000;

/// Deploys one for each token; where their proxies are, in the order of [`Coin::ALL`].
pub(super) fn chainlink(plan: &mut Plan<'_>) -> Result<Vec<Address>> {
    let feed = |coin: &Coin| {
        let pair = format!("{}-usd", coin.name());
        let args = [("uint8", json!(DECIMALS)), ("int256", json!(coin.cents() * PER_CENT))];
        let what = format!("what {pair} answers: anyone may set it with updateAnswer(int256), from @chainlink/abi");
        let answer = plan.deploy(&format!("chainlink-answer-{pair}"), &what, artefact::FEED_ANSWER, &args)?;
        let args = [("address", json!(answer)), ("address", json!(Address::default()))];
        let what = format!("Chainlink feed {pair} of {DECIMALS} decimals, from @chainlink/abi");
        plan.deploy(&format!("chainlink-feed-{pair}"), &what, artefact::FEED_PROXY, &args)
    };
    Coin::ALL.iter().map(feed).collect()
}
