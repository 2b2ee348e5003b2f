//! Who lends: on the sandbox, and from lenders put there for the test.

use std::sync::Arc;

use alloy_primitives::{U256, hex};
use kernel::Code;
use kernel::chain::{Abi, Address, Amount, BlockId, Chain, Data, FeeRule, Hash};
use serde_json::{Value, json};

use super::world::{Sandbox, ether, sandbox, tools};
use crate::{Encodings, LendersConfig, Node};

#[tokio::test]
async fn pairs_lend_all_but_one_unit_of_their_reserve() {
    let Some(sandbox) = sandbox() else { return };
    let (weth, dai) = (sandbox.at("weth").await, sandbox.at("dai").await);
    let market = sandbox.node.flash_sources(weth).await.unwrap();
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
    let unlent = sandbox.node.flash_sources(sandbox.at("uniswap-v2-router").await).await.unwrap();
    assert!(unlent.sources.is_empty());
    let account = sandbox.account(1).await;
    assert_eq!(sandbox.node.flash_sources(account).await.unwrap_err().code, Code::NotFound);
}

/// A field of an artefact: its code, with libraries that are never called left blank.
fn code(artefact: &str, field: &str) -> String {
    let path = tools().unwrap().join("npm/node_modules").join(artefact);
    let artefact: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let linked = artefact[field].as_str().unwrap().split("__$");
    linked
        .enumerate()
        .map(|(i, part)| if i == 0 { part.to_owned() } else { format!("{:0<40}{}", "", &part[37..]) })
        .collect()
}

async fn on_sandbox(sandbox: &Sandbox, lenders: LendersConfig) -> Node {
    sandbox.node.status().await.unwrap();
    Node { lenders: Arc::new(lenders), ..sandbox.node.clone() }
}

#[tokio::test]
async fn a_uniswap_v3_pool_lends_what_it_holds() {
    let Some(sandbox) = sandbox() else { return };
    let (usdc, pool) = (sandbox.at("usdc").await, sandbox.at("uniswap-v3-pool-usdc-weth-500").await);
    let market = sandbox.node.flash_sources(usdc).await.unwrap();
    let lender = market.sources.iter().find(|source| source.contract == pool).unwrap();
    let held = sandbox.node.token_balance(usdc, pool, BlockId::Latest).await.unwrap();
    assert_eq!(
        (lender.provider.as_str(), lender.paired_with, lender.liquidity, lender.fee),
        ("uniswap-v3", Some(sandbox.at("weth").await), held, FeeRule::MillionthsUp { millionths: 500 })
    );
}

#[tokio::test]
async fn an_aave_v3_pool_lends_what_its_reserve_holds_while_it_may() {
    let Some(sandbox) = sandbox() else { return };
    let (usdc, pool) = (sandbox.at("usdc").await, Address::from([0xaa; 20]));
    let holder = Address::from([0xa7; 20]);
    let deployed = code("@aave/core-v3/artifacts/contracts/protocol/pool/Pool.sol/Pool.json", "deployedBytecode");
    sandbox.node.status().await.unwrap();
    sandbox.anvil("anvil_setCode", json!([pool, deployed])).await;
    // The pool keeps its reserves in the mapping of slot 52 (first the flags, four further the token that holds the liquidity) and its
    // premium in slot 58.
    let mut key = usdc.into_word().to_vec();
    key.extend(U256::from(52).to_be_bytes::<32>());
    let reserve = U256::from_be_bytes(Encodings.keccak256(&key).0.0);
    let put = |slot: U256, content: U256| json!([pool, Hash(slot.into()), Hash(content.into())]);
    let (active, paused, flash) = (U256::ONE << 56, U256::ONE << 60, U256::ONE << 63);
    sandbox.anvil("anvil_setStorageAt", put(reserve + U256::from(4), U256::from_be_bytes(holder.into_word().0))).await;
    sandbox.anvil("anvil_setStorageAt", put(U256::from(58), U256::from(9))).await;
    let mint: Data = Encodings.encode_call("mint(address,uint256)", &[json!(holder), json!(1_000)]).unwrap();
    assert!(sandbox.send(json!({ "from": sandbox.account(1).await, "to": usdc, "input": mint })).await.success);

    let node = on_sandbox(&sandbox, LendersConfig { aave_v3_pool: Some(pool), ..LendersConfig::default() }).await;
    for (flags, lends) in [(active | flash, true), (active, false), (flash, false), (active | flash | paused, false)] {
        sandbox.anvil("anvil_setStorageAt", put(reserve, flags)).await;
        let market = node.flash_sources(usdc).await.unwrap();
        assert!(market.unread.is_empty(), "{market:?}");
        let aave = market.sources.iter().find(|source| source.provider == "aave-v3");
        assert_eq!(aave.is_some(), lends, "{}", hex::encode(flags.to_be_bytes::<32>()));
        if let Some(aave) = aave {
            assert_eq!((aave.liquidity, aave.fee), (Amount::from(1_000), FeeRule::BpsHalfUp { bps: 9 }));
        }
    }
    // An asset that it does not list is none of its business.
    let unlisted = node.flash_sources(sandbox.at("dai").await).await.unwrap();
    assert!(
        unlisted.unread.is_empty() && unlisted.sources.iter().all(|source| source.provider != "aave-v3"),
        "{unlisted:?}"
    );
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
    let market = node.flash_sources(usdc).await.unwrap();
    assert_eq!(market.sources, sandbox.node.flash_sources(usdc).await.unwrap().sources);
    let mut unread: Vec<_> = market.unread.into_iter().map(|unread| unread.provider).collect();
    unread.sort();
    assert_eq!(unread, ["aave-v3", "balancer-v2"]);
}
