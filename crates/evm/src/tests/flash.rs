//! Who lends: on the sandbox, and from lenders put there for the test.

use std::sync::Arc;

use alloy_primitives::U256;
use kernel::Code;
use kernel::chain::{Abi, Amount, BlockId, Chain, FeeRule};
use serde_json::json;

use super::world::{Sandbox, ether, sandbox};
use crate::{Encodings, LendersConfig, Node};

#[tokio::test]
async fn pairs_lend_all_but_one_unit_of_their_reserve() {
    let Some(sandbox) = sandbox() else { return };
    let (weth, dai) = (sandbox.at("weth").await, sandbox.at("dai").await);
    let market = sandbox.node.flash_sources(weth, 0).await.unwrap();
    assert!(market.unread.is_empty() && market.block_number > 0);
    assert!(market.sources.is_sorted_by_key(|source| source.fee.millionths()), "the cheapest first");
    let lent = |units: u64| ether(units).parse::<U256>().unwrap() - U256::ONE;
    let pairs: Vec<_> = market.sources.iter().filter(|source| source.provider == "uniswap-v2").collect();
    let found: Vec<_> = pairs[..2].iter().map(|source| (source.paired_with, source.liquidity.0)).collect();
    assert_eq!(found, [(Some(sandbox.at("usdc").await), lent(1_000)), (Some(dai), lent(500))]);
    for source in pairs {
        assert_eq!(source.fee, FeeRule::PairPerMille { per_mille: 3 });
        assert_eq!(source.fee.fee(Amount::from(1_000_000)), Some(Amount::from(3_010)));
    }
}

#[tokio::test]
async fn what_nobody_lends_has_no_source_and_what_is_no_contract_is_refused() {
    let Some(sandbox) = sandbox() else { return };
    let unlent = sandbox.node.flash_sources(sandbox.at("uniswap-v2-router").await, 0).await.unwrap();
    assert!(unlent.sources.is_empty());
    let account = sandbox.account(1).await;
    assert_eq!(sandbox.node.flash_sources(account, 0).await.unwrap_err().code, Code::NotFound);
}

async fn on_sandbox(sandbox: &Sandbox, lenders: LendersConfig) -> Node {
    sandbox.node.status().await.unwrap();
    Node { lenders: Arc::new(lenders), ..sandbox.node.clone() }
}

#[tokio::test]
async fn a_uniswap_v3_pool_lends_what_it_holds() {
    let Some(sandbox) = sandbox() else { return };
    let (usdc, pool) = (sandbox.at("usdc").await, sandbox.at("uniswap-v3-pool-usdc-weth-500").await);
    let market = sandbox.node.flash_sources(usdc, 0).await.unwrap();
    let lender = market.sources.iter().find(|source| source.contract == pool).unwrap();
    let held = sandbox.node.token_balance(usdc, pool, BlockId::Latest).await.unwrap();
    assert_eq!(
        (lender.provider.as_str(), lender.paired_with, lender.liquidity, lender.fee),
        ("uniswap-v3", Some(sandbox.at("weth").await), held, FeeRule::MillionthsUp { millionths: 500 })
    );
}

#[tokio::test]
async fn all_lenders_of_the_sandbox_lend_every_token() {
    let Some(sandbox) = sandbox() else { return };
    for token in ["weth", "usdc", "wbtc"] {
        let market = sandbox.node.flash_sources(sandbox.at(token).await, 0).await.unwrap();
        assert!(market.unread.is_empty(), "{market:?}");
        for provider in ["balancer-v2", "uniswap-v4", "aave-v3", "uniswap-v3", "uniswap-v2", "sushiswap-v2"] {
            let lends = market.sources.iter().any(|source| source.provider == provider);
            assert!(lends || (token, provider) == ("wbtc", "uniswap-v4"), "{provider} lends no {token}");
        }
        let free = market.sources[0].fee.fee(Amount::from(1_000_000)).unwrap();
        assert!(free.is_zero(), "the cheapest asks nothing: {market:?}");
    }
}

#[tokio::test]
async fn an_aave_v3_pool_lends_what_its_reserve_holds_while_it_may() {
    let Some(sandbox) = sandbox() else { return };
    let (admin, usdc, pool) = (sandbox.account(0).await, sandbox.at("usdc").await, sandbox.at("aave-v3-pool").await);
    let registry = sandbox.at("aave-v3-addresses").await;
    let configurator = sandbox.view(registry, "getPoolConfigurator()(address)", &[]).await.unwrap().remove(0);
    let rules = [
        ("setReserveFlashLoaning(address,bool)", false, false),
        ("setReserveFlashLoaning(address,bool)", true, true),
        ("setReservePause(address,bool)", true, false),
        ("setReservePause(address,bool)", false, true),
    ];
    for (function, value, lends) in rules {
        let rule = Encodings.encode_call(function, &[json!(usdc), json!(value)]).unwrap();
        assert!(sandbox.send(json!({ "from": admin, "to": configurator, "input": rule })).await.success);
        let market = sandbox.node.flash_sources(usdc, 0).await.unwrap();
        assert!(market.unread.is_empty(), "{market:?}");
        let aave = market.sources.iter().find(|source| source.provider == "aave-v3");
        assert_eq!(aave.is_some(), lends, "{function} {value}");
        if let Some(aave) = aave {
            let supplied = Amount::from(1_250_000_000_000);
            assert_eq!((aave.contract, aave.liquidity, aave.fee), (pool, supplied, FeeRule::BpsHalfUp { bps: 5 }));
        }
    }
    // An asset that it does not list is none of its business.
    let unlisted = sandbox.node.flash_sources(sandbox.at("uniswap-v2-pair-usdc-weth").await, 0).await.unwrap();
    assert!(unlisted.unread.is_empty() && unlisted.sources.is_empty(), "{unlisted:?}");
}

#[tokio::test]
async fn a_lender_that_is_none_is_told_as_unread_and_hides_no_other() {
    let Some(sandbox) = sandbox() else { return };
    let (usdc, router) = (sandbox.at("usdc").await, sandbox.at("uniswap-v2-router").await);
    let node = on_sandbox(
        &sandbox,
        LendersConfig { aave_v3_pool: Some(usdc), balancer_v2_vault: Some(router), ..LendersConfig::default() },
    )
    .await;
    let market = node.flash_sources(usdc, 0).await.unwrap();
    assert_eq!(market.sources, sandbox.node.flash_sources(usdc, 0).await.unwrap().sources);
    let mut unread: Vec<_> = market.unread.into_iter().map(|unread| unread.provider).collect();
    unread.sort();
    assert_eq!(unread, ["aave-v3", "balancer-v2"]);
}

/// How often functions of contracts were called.
fn calls(sandbox: &Sandbox) -> u64 {
    let figures = sandbox.world.metrics.render();
    let of_calls = |line: &&str| line.starts_with("flotilla_rpc_seconds_count") && line.contains("\"eth_call\"");
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64;
    figures.lines().filter(of_calls).map(count).sum()
}

#[tokio::test]
async fn factories_are_not_asked_again_where_their_pools_are() {
    let Some(sandbox) = sandbox() else { return };
    let weth = sandbox.at("weth").await;
    let before = calls(&sandbox);
    let first = sandbox.node.flash_sources(weth, 0).await.unwrap();
    sandbox.anvil("anvil_mine", json!(["0x2"])).await;
    // What is kept is of a block that is too old, once the new ones are seen.
    while sandbox.node.head().is_none_or(|head| head.number < first.block_number + 2) {
        sandbox.node.height(BlockId::Latest).await.unwrap();
    }
    let between = calls(&sandbox);
    let second = sandbox.node.flash_sources(weth, 1).await.unwrap();
    let (once, again) = (between - before, calls(&sandbox) - between);
    assert_eq!(first.sources, second.sources);
    assert!(again > 0 && again * 2 < once, "{once} calls, then {again}");
}
