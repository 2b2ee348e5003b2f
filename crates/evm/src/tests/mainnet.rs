//! The main net's pairs on the sandbox chain, with the pair's own bytecode: the best cycle that the search finds among them is paid for by the
//! cheapest lender and traded by the executor in one transaction, and what was predicted is simulated and realised to the last unit.

use std::collections::BTreeSet;

use alloy_primitives::{B256, U256, keccak256};
use flate2::read::GzDecoder;
use kernel::chain::{Address, Amount, BlockId, CallRequest, Chain, FlashSource, Log};
use market::executor::{self, Leg, Lender, Plan, Venue};
use market::lender::{Costs, Opportunity, evaluate};
use market::pool::{AnyPool, Event, Identity, Pool, Protocol, V2};
use market::search::Search;
use market::{Book, Rate};
use serde_json::{Value, json};

use super::world::{Sandbox, sandbox};
use crate::Encodings;

const POOLS: &[u8] = include_bytes!("../../../market/data/mainnet-17228k.json.gz");
/// Wrapped ether there; here it is the sandbox's, which is what is lent.
const WETH: &str = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2";
/// How many pairs there are.
const PAIRS: usize = 2_065;
/// How many cycles are traded, one after another, each the best of what the ones before have left.
const CYCLES: usize = 5;
/// How many candidates are sized to find the best of them.
const SIZED: usize = 50;
/// How many of the requests that put the pairs on the chain are under way at once.
const AT_ONCE: usize = 1_000;

/// A pair's storage: its tokens, its reserves, its lock.
const TOKEN_SLOTS: [u64; 2] = [6, 7];
const RESERVES_SLOT: u64 = 8;
const UNLOCKED_SLOT: u64 = 12;
/// Where wrapped ether's code, which all tokens have here, keeps balances.
const BALANCES_SLOT: u64 = 3;

fn put(at: Address, slot: U256, value: U256) -> (&'static str, Value) {
    ("anvil_setStorageAt", json!([at, slot, B256::from(value)]))
}

fn word(address: Address) -> U256 {
    address.0.into_word().into()
}

fn balance_slot(of: Address) -> U256 {
    keccak256([word(of).to_be_bytes::<32>(), U256::from(BALANCES_SLOT).to_be_bytes()].concat()).into()
}

/// The pair with the sandbox's wrapped ether in the place of the main net's. A pair's tokens are in the order of their addresses.
fn here(pair: &V2, weth: Address) -> V2 {
    let there: Address = WETH.parse().unwrap();
    let mut tokens = pair.tokens().map(|token| if token == there { weth } else { token });
    let mut reserves = pair.reserves();
    if tokens[0] > tokens[1] {
        tokens.reverse();
        reserves.reverse();
    }
    V2::new(Identity { tokens, ..*pair.identity() }, reserves).unwrap()
}

/// Puts all pairs with their tokens on the chain, and into a book.
async fn market(sandbox: &Sandbox) -> Book {
    let weth = sandbox.at("weth").await;
    let code = async |name: &str| sandbox.node.code(sandbox.at(name).await, BlockId::Latest).await.unwrap();
    let (token, uniswap) = (code("weth").await, code("uniswap-v2-pair-link-weth").await);
    let sushiswap = code("sushiswap-v2-pair-link-weth").await;
    let pools: Vec<AnyPool> = serde_json::from_reader(GzDecoder::new(POOLS)).unwrap();
    let (mut book, mut requests, mut tokens) = (Book::default(), Vec::new(), BTreeSet::from([weth]));
    for pool in pools {
        let AnyPool::ConstantProduct(pair) = pool else { continue };
        let pair = here(&pair, weth);
        let (at, reserves) = (pair.address(), pair.reserves().map(U256::from));
        let code = if pair.identity().protocol == Protocol::SushiswapV2 { &sushiswap } else { &uniswap };
        requests.push(("anvil_setCode", json!([at, code])));
        requests.push(put(at, U256::from(RESERVES_SLOT), reserves[0] | reserves[1] << 112));
        requests.push(put(at, U256::from(UNLOCKED_SLOT), U256::ONE));
        for ((of, slot), reserve) in pair.tokens().into_iter().zip(TOKEN_SLOTS).zip(reserves) {
            requests.push(put(at, U256::from(slot), word(of)));
            requests.push(put(of, balance_slot(at), reserve));
            if tokens.insert(of) {
                requests.push(("anvil_setCode", json!([of, token])));
            }
        }
        book.join(1, pair.into()).unwrap();
    }
    for some in requests.chunks(AT_ONCE) {
        sandbox.node.rpc.read_all::<Value>(some).await.unwrap();
    }
    sandbox.anvil("evm_mine", json!([])).await;
    book
}

/// The candidate that leaves most after the lender and the gas.
fn best(book: &Book, search: &Search, sources: &[FlashSource]) -> Opportunity {
    let costs = Costs {
        gas_price_wei: U256::from(20_000_000_000_u64),
        gas_overhead: 60_000,
        tip_wei: U256::ZERO,
        wei_in_asset: Rate { numerator: U256::ONE, denominator: U256::ONE },
        asset_in_reference: None,
    };
    let sized = search.candidates().iter().take(SIZED).filter_map(|candidate| {
        let guess = U256::from(candidate.input.max(1.0) as u128);
        let found = evaluate(book, candidate.cycle.hops(), sources, &costs, guess).unwrap()?;
        // No lender alone leaves more.
        for source in sources {
            let alone = evaluate(book, candidate.cycle.hops(), std::slice::from_ref(source), &costs, guess).unwrap();
            assert!(alone.is_none_or(|alone| alone.net <= found.net), "{source:?}");
        }
        Some(found)
    });
    sized.max_by_key(|found| found.net).expect("something gains")
}

fn plan(book: &Book, found: &Opportunity, asset: Address, min_profit: U256) -> Plan {
    let leg = |hop: &market::search::Hop| {
        let pool = book.get(hop.pool).unwrap();
        let venue = Venue::V2 { fee_millionths: pool.fee_millionths() };
        Leg { pool: pool.address(), venue, token_out: pool.identity().ends(hop.way).1 }
    };
    Plan {
        lender: Lender::of(&found.lender).unwrap(),
        source: found.lender.contract,
        asset,
        amount: Amount(found.trade.input),
        min_profit: Amount(min_profit),
        deadline_s: u64::MAX,
        legs: found.hops.iter().map(leg).collect(),
    }
}

/// The pairs follow what the chain says happened to them, and are then what the chain's storage says.
async fn follow(sandbox: &Sandbox, book: &mut Book, block: u64, logs: &[Log], found: &Opportunity) {
    for log in logs {
        if let (Some(event), Some(_)) = (Event::from_log(&log.topics, &log.data), book.find(log.address)) {
            book.apply(block, log.address, &event).unwrap();
        }
    }
    for id in found.pools() {
        let Some(AnyPool::ConstantProduct(pair)) = book.get(id) else { panic!("no pair") };
        let slot = kernel::chain::Hash(B256::from(U256::from(RESERVES_SLOT)));
        let packed = sandbox.node.storage(pair.address(), slot, BlockId::Latest).await.unwrap();
        let packed = U256::from_be_bytes(packed.0.0);
        let held = pair.reserves().map(U256::from);
        assert_eq!(packed << 32 >> 32, held[0] | held[1] << 112, "{}", pair.address());
    }
}

#[tokio::test]
async fn the_best_cycles_of_the_main_nets_pairs_are_borrowed_for_and_traded_in_one_transaction() {
    let Some(sandbox) = sandbox() else { return };
    let (owner, weth, at) = (sandbox.account(0).await, sandbox.at("weth").await, sandbox.at("flash-executor").await);
    let mut book = market(&sandbox).await;
    assert_eq!(book.len(), PAIRS);
    let mut search = Search::new(&[(weth, 1.0)], 4);
    let mut last = None;
    for _ in 0..CYCLES {
        let changed = book.take_changed();
        search.follow(&book, &changed);
        // What the lenders have changes with what is traded.
        let sources = sandbox.node.flash_sources(weth, 0).await.unwrap().sources;
        let found = best(&book, &search, &sources);
        let predicted = found.trade.output - found.trade.input - found.flash_fee.0;
        assert!(!predicted.is_zero() && last.is_none_or(|last| found.net <= last), "{:?} after {last:?}", found.net);
        last = Some(found.net);

        let data = plan(&book, &found, weth, predicted).calldata(&Encodings).unwrap();
        let call = CallRequest { from: Some(owner), ..CallRequest::read(at, data.clone()) };
        let mut fork = sandbox.node.fork(BlockId::Latest).await.unwrap();
        let simulated = fork.attempt(&call.into()).await.unwrap();
        assert_eq!(executor::profit(&simulated.return_data), Some(Amount(predicted)), "{:?}", simulated.revert);
        let dear = plan(&book, &found, weth, predicted + U256::ONE).calldata(&Encodings).unwrap();
        let dear = CallRequest { from: Some(owner), ..CallRequest::read(at, dear) };
        assert!(!fork.attempt(&dear.into()).await.unwrap().success, "a unit more cannot be had");

        let before = sandbox.node.token_balance(weth, owner, BlockId::Latest).await.unwrap().0;
        let sent = json!({ "from": owner, "to": at, "input": data, "gas": "0x4c4b40" });
        let receipt = sandbox.send(sent).await;
        assert!(receipt.success);
        let after = sandbox.node.token_balance(weth, owner, BlockId::Latest).await.unwrap().0;
        assert_eq!(after - before, predicted, "realised: {:?}", found.hops);
        assert_eq!(receipt.gas_used, simulated.gas_used);
        follow(&sandbox, &mut book, receipt.block_number, &receipt.logs, &found).await;
    }
}
