//! Pools followed on the sandbox: what the book holds is what the contracts' storage is, after anything.

use std::path::Path;
use std::sync::Arc;

use kernel::bus::Bus;
use kernel::chain::{Abi, Address, BlockId, Chain};
use market::feed::{Applied, POOLS_TOPIC, Pools};
use market::pool::{AnyPool, Pool, V2};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::world::{Sandbox, sandbox};
use crate::Encodings;
use crate::config::PoolsConfig;
use crate::pools::Follower;

const EXACT_IN: &str = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))";
const INCREASE: &str = "increaseLiquidity((uint256,uint256,uint256,uint256,uint256,uint256))";
const DECREASE: &str = "decreaseLiquidity((uint256,uint128,uint256,uint256,uint256))";
const SWAP: &str = "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)";

fn follower(sandbox: &Sandbox, folder: &Path) -> Follower {
    let config = PoolsConfig { audit_every_blocks: 1_000, ..PoolsConfig::default() };
    Follower::new(sandbox.node.clone(), config, Arc::clone(&sandbox.world.bus) as _, folder.to_owned())
}

fn status(follower: &Follower) -> market::feed::FeedStatus {
    let status = follower.status();
    assert_eq!(status.last_failure, None);
    status
}

fn book(follower: &Follower) -> Vec<AnyPool> {
    (follower as &dyn Pools).read(|_, book| book.iter().map(|(_, pool)| pool.clone()).collect()).unwrap()
}

/// Sends from the first account, whose are the tokens; whether it succeeded.
async fn act(sandbox: &Sandbox, to: Address, function: &str, args: &[Value]) -> bool {
    let from = sandbox.account(0).await;
    let input = Encodings.encode_call(function, args).unwrap();
    let sent = json!({ "from": from, "to": to, "input": input, "gas": "0xe4e1c0" });
    sandbox.send(sent).await.success
}

/// Swaps, mints and burns, whichever come; some fail, as they do.
async fn trade(sandbox: &Sandbox, random: &mut StdRng, pools: &[AnyPool], times: usize) -> usize {
    let me = json!(sandbox.account(0).await);
    let (v2, sushi) = (sandbox.at("uniswap-v2-router").await, sandbox.at("sushiswap-v2-router").await);
    let (v3, positions) = (sandbox.at("uniswap-v3-router").await, sandbox.at("uniswap-v3-positions").await);
    let never = json!(u64::MAX);
    let mut done = 0;
    for _ in 0..times {
        let pool = pools.choose(random).unwrap();
        let [mut from, mut to] = pool.tokens();
        if random.random() {
            (from, to) = (to, from);
        }
        for router in [v2, sushi, v3, positions] {
            assert!(
                act(sandbox, from, "approve(address,uint256)", &[json!(router), json!(u128::MAX.to_string())]).await
            );
        }
        let decimals = sandbox.node.token(from, BlockId::Latest).await.unwrap().decimals.unwrap();
        let amount = (10u128.pow(u32::from(decimals)) / 100 * random.random_range(1..2_000)).to_string();
        let position = random.random_range(1..=50u64);
        done += usize::from(match (pool, random.random_range(0..4)) {
            (AnyPool::ConstantProduct(pair), 0) => {
                let given =
                    act(sandbox, from, "transfer(address,uint256)", &[json!(pair.address()), json!(amount)]).await;
                given && act(sandbox, pair.address(), "sync()", &[]).await
            }
            (AnyPool::ConstantProduct(pair), _) => {
                let router = if pair.identity().protocol == market::pool::Protocol::UniswapV2 { v2 } else { sushi };
                let args = [json!(amount), json!(0), json!([from, to]), me.clone(), never.clone()];
                act(sandbox, router, SWAP, &args).await
            }
            (_, 0) => act(sandbox, positions, INCREASE, &[json!([position, amount, amount, 0, 0, never])]).await,
            (_, 1) => {
                let liquidity = random.random_range(1..1_000_000_000_000u64).to_string();
                act(sandbox, positions, DECREASE, &[json!([position, liquidity, 0, 0, never])]).await
            }
            (pool, _) => {
                let args = json!([from, to, pool.fee_millionths(), me, never, amount, 0, 0]);
                act(sandbox, v3, EXACT_IN, &[args]).await
            }
        });
    }
    done
}

/// The book must be what a reading of everything says.
async fn same_as_read(sandbox: &Sandbox, followed: &Follower) {
    let fresh = follower(sandbox, &tempfile::tempdir().unwrap().keep());
    fresh.catch_up().await;
    assert_eq!(status(&fresh).at, status(followed).at);
    let sorted = |mut pools: Vec<AnyPool>| {
        pools.sort_by_key(|pool| pool.address());
        pools
    };
    for (held, read) in sorted(book(followed)).into_iter().zip(sorted(book(&fresh))) {
        assert_eq!(held, read);
    }
    assert_eq!(book(followed).len(), book(&fresh).len());
}

#[tokio::test]
async fn the_book_is_the_storage_after_trades_reorganisations_and_restarts() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.node.status().await.unwrap();
    let folder = sandbox.data.path().join("followed");
    let followed = follower(&sandbox, &folder);
    followed.catch_up().await;
    let pools = book(&followed);
    assert_eq!(pools.len(), 21, "6 pairs, 5 more, 10 pools with ticks");
    let mut random = StdRng::seed_from_u64(7);
    let done = trade(&sandbox, &mut random, &pools, 12).await;
    assert!(done >= 6, "{done} of 12 were done");
    followed.catch_up().await;
    same_as_read(&sandbox, &followed).await;

    // Everything since is taken back, and other trades come in the place of it.
    let before = sandbox.node.block(BlockId::Latest).await.unwrap().head.number;
    trade(&sandbox, &mut random, &pools, 3).await;
    followed.catch_up().await;
    let depth = sandbox.node.block(BlockId::Latest).await.unwrap().head.number - before;
    sandbox.anvil("anvil_reorg", json!([depth, []])).await;
    trade(&sandbox, &mut random, &pools, 2).await;
    followed.catch_up().await;
    same_as_read(&sandbox, &followed).await;
    let told = sandbox.world.bus.read(POOLS_TOPIC, 0, 1_000).await.unwrap();
    let applied = told.iter().filter_map(|event| serde_json::from_value::<Applied>(event.data.clone()).ok());
    assert!(
        applied.clone().any(|applied| applied.rolled_back == depth)
            && applied.clone().any(|applied| !applied.changed.is_empty())
    );

    // A restart reads what happened since, and no pool.
    followed.save().unwrap();
    drop(followed);
    trade(&sandbox, &mut random, &pools, 2).await;
    let again = follower(&sandbox, &folder);
    let began = sandbox.node.rpc.endpoints()[0].requests;
    again.catch_up().await;
    let asked = sandbox.node.rpc.endpoints()[0].requests - began;
    assert!(asked < 15, "{asked} requests after a restart");
    same_as_read(&sandbox, &again).await;
}

#[tokio::test]
async fn a_pool_is_as_old_as_the_block_that_made_it() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.node.status().await.unwrap();
    let folder = sandbox.data.path().join("followed");
    let followed = follower(&sandbox, &folder);
    followed.catch_up().await;
    let made = |followed: &Follower| {
        let addresses: Vec<Address> = book(followed).iter().map(Pool::address).collect();
        addresses.iter().map(|pool| (*pool, followed.made_in(*pool).unwrap())).collect::<Vec<_>>()
    };
    let known = made(&followed);
    for (pool, at) in &known {
        let head = sandbox.node.block(BlockId::Number(at.block)).await.unwrap().head;
        assert_eq!(head.hash, at.hash, "{pool}");
    }

    // One more, seen while it is followed: its code is there from that block on.
    let factory = sandbox.at("uniswap-v2-factory").await;
    let tokens = [json!(sandbox.account(3).await), json!(sandbox.account(4).await)];
    assert!(act(&sandbox, factory, "createPair(address,address)", &tokens).await);
    followed.catch_up().await;
    let [(pool, at)] = made(&followed).into_iter().filter(|one| !known.contains(one)).collect::<Vec<_>>()[..] else {
        panic!("one new pool")
    };
    assert_eq!(at.hash, sandbox.node.block(BlockId::Latest).await.unwrap().head.hash);
    let code = async |block| sandbox.node.code(pool, BlockId::Number(block)).await.unwrap();
    assert!(code(at.block - 1).await.is_empty() && !code(at.block).await.is_empty());

    // A restart knows it from the file; what the chain takes back was never made.
    followed.save().unwrap();
    drop(followed);
    let again = follower(&sandbox, &folder);
    again.catch_up().await;
    assert_eq!(again.made_in(pool), Some(at));
    sandbox.anvil("anvil_reorg", json!([1, []])).await;
    again.catch_up().await;
    assert_eq!((again.made_in(pool), made(&again)), (None, known));
}

#[tokio::test]
async fn what_an_audit_finds_otherwise_leaves_and_comes_back_as_it_was_read() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.node.status().await.unwrap();
    let followed = follower(&sandbox, &sandbox.data.path().join("followed"));
    followed.catch_up().await;
    let pair = book(&followed).into_iter().find(|pool| matches!(pool, AnyPool::ConstantProduct(_))).unwrap();
    // The pair's reserves are changed as no event ever told: slot 8 has both, and the time.
    let reserves = json!("0x000000000000000000000000000000000064000000000000000000000000007b");
    sandbox.anvil("anvil_setStorageAt", json!([pair.address(), format!("0x{:064x}", 8), reserves])).await;
    sandbox.anvil("anvil_mine", json!(["0x1"])).await;
    followed.catch_up().await;
    followed.audit().await.unwrap();
    let [out] = status(&followed).quarantined.try_into().unwrap();
    assert!(out.pool == pair.address() && out.why.contains("[123, 100] on the chain"), "{out:?}");
    assert!(!book(&followed).iter().any(|pool| pool.address() == pair.address()));
    followed.audit().await.unwrap();
    assert!(status(&followed).quarantined.is_empty());
    let back = book(&followed).into_iter().find(|pool| pool.address() == pair.address()).unwrap();
    assert_eq!(back, V2::new(*pair.identity(), [123, 100]).unwrap().into());
}
