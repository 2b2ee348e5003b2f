//! The executor on the sandbox: with every lender, what the pools' own contracts predict is simulated and realised to the last unit.

use alloy_primitives::U256;
use kernel::chain::{Abi, Address, Amount, BlockId, CallRequest, Chain, FlashSource, RevertKind, Tracing};
use serde_json::{Value, json};

use super::world::{Sandbox, sandbox};
use market::executor::{self, Leg, Lender, Plan, Venue};

use crate::Encodings;

/// A leg by its pool's deployment and the token that it buys.
type Named = (&'static str, &'static str);

const TWO: [Named; 2] = [("uniswap-v2-pair-link-weth", "link"), ("sushiswap-v2-pair-link-weth", "weth")];
const THREE: [Named; 3] = [
    ("sushiswap-v2-pair-usdc-weth", "usdc"),
    ("uniswap-v3-pool-usdt-usdc-100", "usdt"),
    ("uniswap-v2-pair-usdt-weth", "weth"),
];
const FOUR: [Named; 4] = [
    ("uniswap-v3-pool-dai-weth-3000", "dai"),
    ("uniswap-v2-pair-dai-usdc", "usdc"),
    ("sushiswap-v2-pair-usdt-usdc", "usdt"),
    ("uniswap-v3-pool-usdt-weth-500", "weth"),
];
/// The lenders: their names in answers, and the deployment that lends.
const LENDERS: [(&str, &str); 6] = [
    ("balancer-v2", "balancer-v2-vault"),
    ("uniswap-v4", "uniswap-v4-pool-manager"),
    ("aave-v3", "aave-v3-pool"),
    ("uniswap-v3", "uniswap-v3-pool-wbtc-weth-3000"),
    ("uniswap-v2", "uniswap-v2-pair-wbtc-weth"),
    ("sushiswap-v2", "sushiswap-v2-pair-wbtc-weth"),
];

/// What a leg gives, by the contracts' own word.
async fn quoted(sandbox: &Sandbox, pool: &str, from: Address, to: Address, amount: U256) -> U256 {
    let amount = json!(amount.to_string());
    let answer = if pool.starts_with("uniswap-v3") {
        let fee: u32 = pool.rsplit('-').next().unwrap().parse().unwrap();
        let quoter = sandbox.at("uniswap-v3-quoter").await;
        let function =
            "quoteExactInputSingle((address,address,uint256,uint24,uint160))(uint256,uint160,uint32,uint256)";
        sandbox.view(quoter, function, &[json!([from, to, amount, fee, 0])]).await.unwrap().remove(0)
    } else {
        let exchange = pool.split("-pair-").next().unwrap();
        let router = sandbox.at(&format!("{exchange}-router")).await;
        let function = "getAmountsOut(uint256,address[])(uint256[])";
        sandbox.view(router, function, &[amount, json!([from, to])]).await.unwrap()[0][1].clone()
    };
    serde_json::from_value::<Amount>(answer).unwrap().0
}

struct Cycle {
    legs: Vec<Leg>,
    /// What comes out of the last leg.
    output: U256,
}

async fn cycle(sandbox: &Sandbox, legs: &[Named], amount: U256) -> Cycle {
    let (mut from, mut output, mut made) = (sandbox.at("weth").await, amount, Vec::new());
    for (pool, to) in legs {
        let token_out = sandbox.at(to).await;
        output = quoted(sandbox, pool, from, token_out, output).await;
        let venue = if pool.contains("-pool-") { Venue::V3 } else { Venue::V2 { fee_millionths: 3_000 } };
        made.push(Leg { pool: sandbox.at(pool).await, venue, token_out });
        from = token_out;
    }
    Cycle { legs: made, output }
}

async fn source(sandbox: &Sandbox, (provider, deployment): (&str, &str)) -> FlashSource {
    let (weth, at) = (sandbox.at("weth").await, sandbox.at(deployment).await);
    let market = sandbox.node.flash_sources(weth, 0).await.unwrap();
    let found = market.sources.into_iter().find(|source| source.provider == provider && source.contract == at);
    found.unwrap_or_else(|| panic!("{deployment} does not lend"))
}

fn plan(source: &FlashSource, asset: Address, amount: U256, legs: Vec<Leg>, min_profit: U256) -> Plan {
    Plan {
        lender: Lender::of(source).unwrap(),
        source: source.contract,
        asset,
        amount: Amount(amount),
        min_profit: Amount(min_profit),
        deadline_s: u64::MAX,
        legs,
    }
}

/// A token's price is pushed: `units` of it are put into a pair, which counts them in.
async fn push(sandbox: &Sandbox, pair: &str, token: &str, units: u64, decimals: u64) {
    let (me, pair, token) = (sandbox.account(1).await, sandbox.at(pair).await, sandbox.at(token).await);
    let amount = U256::from(units) * U256::from(10).pow(U256::from(decimals));
    let mint = Encodings.encode_call("mint(address,uint256)", &[json!(pair), json!(amount.to_string())]).unwrap();
    assert!(sandbox.send(json!({ "from": me, "to": token, "input": mint })).await.success);
    let sync = Encodings.encode_call("sync()", &[]).unwrap();
    assert!(sandbox.send(json!({ "from": me, "to": pair, "input": sync })).await.success);
}

/// Borrows `amount` from each lender and takes it along `legs`; every time the chain is put back.
async fn predicted_is_realised(sandbox: &Sandbox, legs: &[Named], amount: U256) {
    let (owner, weth, at) = (sandbox.account(0).await, sandbox.at("weth").await, sandbox.at("flash-executor").await);
    for lender in LENDERS {
        let snapshot: Value = sandbox.anvil("evm_snapshot", json!([])).await;
        let source = source(sandbox, lender).await;
        let cycle = cycle(sandbox, legs, amount).await;
        let owed = source.fee.repayment(Amount(amount)).unwrap().0;
        let predicted = cycle.output.checked_sub(owed).unwrap_or_else(|| panic!("{lender:?} {legs:?}: a loss"));
        let request = |least: U256| CallRequest {
            from: Some(owner),
            ..CallRequest::read(
                at,
                plan(&source, weth, amount, cycle.legs.clone(), least).calldata(&Encodings).unwrap(),
            )
        };

        let simulated = sandbox.node.simulate(&request(predicted), &[], BlockId::Latest).await.unwrap();
        assert!(simulated.success, "{lender:?}: {:?}", simulated.revert);
        assert_eq!(executor::profit(&simulated.return_data), Some(Amount(predicted)), "{lender:?}");
        let more = sandbox.node.simulate(&request(predicted + U256::ONE), &[], BlockId::Latest).await.unwrap();
        let refusal = executor::refusal(&Encodings, &more.revert.unwrap().data).unwrap();
        let reason = format!("Unprofitable(profit: {predicted}, minimum: {})", predicted + U256::ONE);
        assert_eq!((refusal.kind, refusal.reason), (RevertKind::Custom, reason), "{lender:?}");

        let before = sandbox.node.token_balance(weth, owner, BlockId::Latest).await.unwrap().0;
        let sent = request(predicted);
        let receipt = sandbox.send(json!({ "from": owner, "to": at, "input": sent.data, "gas": "0x2dc6c0" })).await;
        assert!(receipt.success, "{lender:?}");
        let after = sandbox.node.token_balance(weth, owner, BlockId::Latest).await.unwrap().0;
        assert_eq!(after - before, predicted, "{lender:?}: the owner got it, to the last unit");
        let told: Vec<_> = receipt
            .logs
            .iter()
            .filter(|log| log.address == at)
            .filter_map(|log| executor::executed(&Encodings, log))
            .collect();
        let (amount, owed, profit) = (Amount(amount), Amount(owed), Amount(predicted));
        assert_eq!(told, [executor::Executed { asset: weth, source: source.contract, amount, owed, profit }]);
        assert!(sandbox.node.token_balance(weth, at, BlockId::Latest).await.unwrap().is_zero());
        assert_eq!(simulated.method, Tracing::DebugTraceCall);
        assert_eq!(sandbox.anvil("evm_revert", json!([snapshot])).await, json!(true));
    }
}

#[tokio::test]
async fn two_hops_with_every_lender() {
    let Some(sandbox) = sandbox() else { return };
    predicted_is_realised(&sandbox, &TWO, U256::from(30_000_000_000_000_123_u64)).await;
}

#[tokio::test]
async fn three_hops_of_v2_and_v3_with_every_lender() {
    let Some(sandbox) = sandbox() else { return };
    push(&sandbox, "sushiswap-v2-pair-usdc-weth", "usdc", 30_000, 6).await;
    predicted_is_realised(&sandbox, &THREE, U256::from(2_000_000_000_000_000_007_u64)).await;
}

#[tokio::test]
async fn four_hops_of_v2_and_v3_that_cross_ticks_with_every_lender() {
    let Some(sandbox) = sandbox() else { return };
    push(&sandbox, "sushiswap-v2-pair-usdt-usdc", "usdt", 1_000_000, 6).await;
    // Enough for the first pool to leave the range that it begins in.
    let amount = U256::from(100) * U256::from(10).pow(U256::from(18)) + U256::from(11);
    predicted_is_realised(&sandbox, &FOUR, amount).await;
    let pool = sandbox.at("uniswap-v3-pool-dai-weth-3000").await;
    let liquidity = sandbox.view(pool, "liquidity()(uint128)", &[]).await.unwrap();
    let source = source(&sandbox, LENDERS[0]).await;
    let cycle = cycle(&sandbox, &FOUR, amount).await;
    let call = plan(&source, sandbox.at("weth").await, amount, cycle.legs, U256::ZERO).calldata(&Encodings).unwrap();
    let (owner, at) = (sandbox.account(0).await, sandbox.at("flash-executor").await);
    assert!(sandbox.send(json!({ "from": owner, "to": at, "input": call, "gas": "0x2dc6c0" })).await.success);
    assert_ne!(sandbox.view(pool, "liquidity()(uint128)", &[]).await.unwrap(), liquidity, "a tick was crossed");
}

#[tokio::test]
async fn a_stranger_is_refused_and_a_source_of_another_kind_is_told() {
    let Some(sandbox) = sandbox() else { return };
    let (stranger, weth, at) = (sandbox.account(3).await, sandbox.at("weth").await, sandbox.at("flash-executor").await);
    let mut source = source(&sandbox, LENDERS[0]).await;
    let call = plan(&source, weth, U256::from(1_000), Vec::new(), U256::ZERO).calldata(&Encodings).unwrap();
    let request = CallRequest { from: Some(stranger), ..CallRequest::read(at, call) };
    let revert = sandbox.node.simulate(&request, &[], BlockId::Latest).await.unwrap().revert.unwrap();
    assert_eq!(executor::refusal(&Encodings, &revert.data).unwrap().reason, format!("NotOwner(caller: {stranger})"));
    source.provider = "maker".into();
    assert!(Lender::of(&source).unwrap_err().message.contains("cannot borrow from maker"));
    let dear = Leg { pool: at, venue: Venue::V2 { fee_millionths: 1_000_000 }, token_out: weth };
    source.provider = "balancer-v2".into();
    let fault = plan(&source, weth, U256::ONE, vec![dear], U256::ZERO).calldata(&Encodings).unwrap_err();
    assert_eq!(fault.code, kernel::Code::InvalidArgument);
}
