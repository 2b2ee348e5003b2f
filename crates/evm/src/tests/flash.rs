//! Who lends on the sandbox.

use alloy_primitives::U256;
use kernel::Code;
use kernel::chain::{Amount, Chain, FeeRule};

use super::world::{ether, sandbox};

#[tokio::test]
async fn pairs_lend_all_but_one_unit_of_their_reserve() {
    let Some(sandbox) = sandbox() else { return };
    let (weth, dai) = (sandbox.at("weth").await, sandbox.at("dai").await);
    let market = sandbox.node.flash_sources(weth).await.unwrap();
    assert!(market.unread.is_empty() && market.block_number > 0);
    let liquidity: Vec<_> = market.sources.iter().map(|source| (source.paired_with, source.liquidity.0)).collect();
    let lent = |units: u64| ether(units).parse::<U256>().unwrap() - U256::ONE;
    assert_eq!(liquidity, [(Some(sandbox.at("usdc").await), lent(1_000)), (Some(dai), lent(500))]);
    for source in &market.sources {
        assert_eq!((source.provider.as_str(), source.fee), ("uniswap-v2", FeeRule::PairPerMille { per_mille: 3 }));
        assert_eq!(source.fee.fee(Amount::from(1_000_000)), Some(Amount::from(3_010)));
    }
}

#[tokio::test]
async fn what_nobody_lends_has_no_source_and_what_is_no_contract_is_refused() {
    let Some(sandbox) = sandbox() else { return };
    let unlent = sandbox.node.flash_sources(sandbox.at("uniswap-v2-router").await).await.unwrap();
    assert!(unlent.sources.is_empty());
    let account = sandbox.account(1).await;
    assert_eq!(sandbox.node.flash_sources(account).await.unwrap_err().code, Code::NotFound);
}
