//! Simulations, held against what the chain then does, and every way to fail.

use kernel::Code;
use kernel::chain::{
    Abi, AccountOverride, Address, Amount, BlockId, CallRequest, Chain, Data, Hash, RevertKind, SlotValue, Tracing,
};
use serde_json::{Value, json};

use super::world::{Sandbox, ether, reverts_with, sandbox};
use crate::Encodings;

const SWAP: &str = "swapExactETHForTokens(uint256,address[],address,uint256)(uint256[])";

fn call(from: Address, to: Address, data: Data) -> CallRequest {
    CallRequest { from: Some(from), to: Some(to), data, ..CallRequest::default() }
}

async fn swap(sandbox: &Sandbox, from: Address, least: Value) -> CallRequest {
    let path = json!([sandbox.at("weth").await, sandbox.at("usdc").await]);
    let data = Encodings.encode_call(SWAP, &[least, path, json!(from), json!(u64::MAX)]).unwrap();
    CallRequest { value_wei: ether(1).parse().unwrap(), ..call(from, sandbox.at("uniswap-v2-router").await, data) }
}

/// A pair works more on the first swap of a later second: makes it one for whoever swaps next.
async fn later(sandbox: &Sandbox) {
    sandbox.anvil("evm_increaseTime", json!([10])).await;
    sandbox.anvil("evm_mine", json!([])).await;
}

#[tokio::test]
async fn a_swap_moves_what_the_chain_then_moves() {
    let Some(sandbox) = sandbox() else { return };
    let (me, router, pair) = (
        sandbox.account(1).await,
        sandbox.at("uniswap-v2-router").await,
        sandbox.at("uniswap-v2-pair-usdc-weth").await,
    );
    let (weth, usdc) = (sandbox.at("weth").await, sandbox.at("usdc").await);
    later(&sandbox).await;
    let swap = swap(&sandbox, me, json!(0)).await;
    let simulation = sandbox.node.simulate(&swap, &[], BlockId::Latest).await.unwrap();
    assert_eq!((simulation.success, simulation.method, &simulation.revert), (true, Tracing::DebugTraceCall, &None));
    let bought = Encodings.decode_output(SWAP, &simulation.return_data).unwrap()[0].value[1]
        .as_str()
        .unwrap()
        .parse::<u64>()
        .unwrap();

    let native: Vec<_> = simulation.native_changes.unwrap().into_iter().map(|c| (c.account, c.change_wei)).collect();
    assert_eq!(native.len(), 2, "the router passes the coin on: {native:?}");
    assert!(native.contains(&(me, format!("-{}", ether(1)))) && native.contains(&(weth, ether(1))), "{native:?}");
    let tokens: Vec<_> =
        simulation.token_changes.unwrap().into_iter().map(|c| (c.token, c.account, c.change)).collect();
    assert_eq!(tokens.len(), 3, "{tokens:?}");
    for change in [(usdc, me, bought.to_string()), (usdc, pair, format!("-{bought}")), (weth, pair, ether(1))] {
        assert!(tokens.contains(&change), "{change:?} is not among {tokens:?}");
    }
    assert!(!tokens.iter().any(|(_, account, _)| *account == router));

    let receipt =
        sandbox.send(json!({ "from": me, "to": router, "input": swap.data, "value": "0xde0b6b3a7640000" })).await;
    assert_eq!(sandbox.node.token_balance(usdc, me, BlockId::Latest).await.unwrap(), Amount::from(bought));
    assert_eq!(receipt.gas_used, simulation.gas_used);
    let bare = |logs: Vec<kernel::chain::Log>| {
        logs.into_iter().map(|log| (log.address, log.topics, log.data)).collect::<Vec<_>>()
    };
    assert_eq!(bare(receipt.logs), bare(simulation.logs.unwrap()));

    let trace = sandbox.node.trace(receipt.transaction_hash).await.unwrap();
    assert_eq!((trace.frames[0].depth, trace.frames[0].kind.as_str(), trace.frames_omitted), (0, "CALL", 0));
    assert_eq!((trace.frames[0].from, trace.frames[0].to), (me, Some(router)));
    let depths: Vec<_> = trace.frames.iter().map(|frame| frame.depth).collect();
    assert!(depths.contains(&2) && trace.frames.iter().any(|frame| frame.kind == "STATICCALL"), "{depths:?}");
    assert_eq!(trace.frames.iter().map(|frame| frame.logs.len()).sum::<usize>(), 5);
}

#[tokio::test]
async fn the_methods_of_lesser_nodes_agree_with_the_trace() {
    let Some(sandbox) = sandbox() else { return };
    let me = sandbox.account(1).await;
    later(&sandbox).await;
    let good = swap(&sandbox, me, json!(0)).await;
    let traced = sandbox.node.simulate(&good, &[], BlockId::Latest).await.unwrap();
    let at = BlockId::Number(traced.block_number);
    let block = crate::simulate::by_block(&sandbox.node, &good, &[], at).await.unwrap();
    assert_eq!(block.method, Tracing::SimulateV1);
    assert_eq!(kernel::chain::Simulation { method: Tracing::DebugTraceCall, ..block }, traced);
    let plain = crate::simulate::by_call(&sandbox.node, &good, &[], at).await.unwrap();
    assert_eq!((plain.success, plain.return_data, plain.logs), (true, traced.return_data, None));
    assert!(plain.gas_used >= traced.gas_used);

    let bad = swap(&sandbox, me, json!(ether(1))).await;
    let traced = sandbox.node.simulate(&bad, &[], BlockId::Latest).await.unwrap();
    assert_eq!(traced.revert.as_ref().unwrap().reason, "UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT");
    let plain = crate::simulate::by_call(&sandbox.node, &bad, &[], at).await.unwrap();
    assert_eq!((plain.success, plain.revert), (false, traced.revert.clone()));
    let block = crate::simulate::by_block(&sandbox.node, &bad, &[], at).await.unwrap();
    assert_eq!((block.success, block.native_changes), (false, Some(Vec::new())));
}

#[tokio::test]
async fn every_way_to_fail_is_told_apart_by_calls_simulations_and_estimates() {
    let Some(sandbox) = sandbox() else { return };
    let (me, stub) = (sandbox.account(1).await, Address::from(alloy_primitives::Address::repeat_byte(0x77)));
    let paused = Encodings.encode_call("Paused(uint256)", &[json!(12)]).unwrap();
    let overflows = Address::from(alloy_primitives::Address::repeat_byte(0x79));
    sandbox.reverting(overflows, &Encodings.encode_call("Panic(uint256)", &[json!(0x11)]).unwrap()).await;
    let withdraw = Encodings.encode_call("withdraw(uint256)", &[json!(5)]).unwrap();
    let weth = sandbox.at("weth").await;
    sandbox.reverting(stub, &paused).await;
    let invalid = Address::from(alloy_primitives::Address::repeat_byte(0x78));
    sandbox.anvil("anvil_setCode", json!([invalid, "0xfe"])).await;
    let deposit = Encodings.encode_call("deposit()", &[]).unwrap();
    let hungry = CallRequest { gas_limit: Some(25_000), value_wei: 1.into(), ..call(me, weth, deposit) };
    for (call, kind, reason) in [
        (swap(&sandbox, me, json!(ether(1))).await, RevertKind::Message, "UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT"),
        (call(me, overflows, Data::default()), RevertKind::Panic, "panic 0x11: arithmetic overflow or underflow"),
        (call(me, stub, Data::default()), RevertKind::Unknown, "custom error 0x"),
        (call(me, weth, withdraw), RevertKind::Empty, "reverted without a reason"),
        (hungry, RevertKind::OutOfGas, "out of gas"),
        (call(me, invalid, Data::default()), RevertKind::Halt, "the machine stopped"),
    ] {
        let simulation = sandbox.node.simulate(&call, &[], BlockId::Latest).await.unwrap();
        let revert = simulation.revert.unwrap();
        assert!(!simulation.success && simulation.logs.unwrap().is_empty() && simulation.gas_used > 21_000);
        assert_eq!(revert.kind, kind, "{revert:?}");
        assert!(revert.reason.starts_with(reason), "{revert:?}");
        let called = sandbox.node.call(&call, BlockId::Latest).await.unwrap_err();
        let estimated = sandbox.node.estimate_gas(&call, BlockId::Latest).await.unwrap_err();
        for fault in [called, estimated] {
            assert_eq!(fault.code, Code::Reverted, "{fault}");
            let told = &fault.data.as_ref().unwrap()["revert"];
            assert_eq!(told["kind"], json!(kind), "{fault} {told}");
            assert!(fault.message.contains(reason), "{fault}");
        }
    }
}

#[tokio::test]
async fn a_custom_error_is_decoded_where_its_signature_is_given() {
    let Some(sandbox) = sandbox() else { return };
    let (me, stub) = (sandbox.account(1).await, Address::from(alloy_primitives::Address::repeat_byte(0x77)));
    let data = Encodings.encode_call("Paused(uint256)", &[json!(12)]).unwrap();
    sandbox.reverting(stub, &data).await;
    let simulation = sandbox.node.simulate(&call(me, stub, Data::default()), &[], BlockId::Latest).await.unwrap();
    let revert =
        Encodings.decode_revert(&simulation.revert.unwrap().data, &["error Paused(uint256 until)".into()]).unwrap();
    assert_eq!((revert.kind, revert.reason.as_str()), (RevertKind::Custom, "Paused(until: 12)"));
}

#[tokio::test]
async fn overrides_change_the_simulation_and_nothing_else() {
    let Some(sandbox) = sandbox() else { return };
    let (weth, stranger, stub) = (
        sandbox.at("weth").await,
        Address::from(alloy_primitives::Address::repeat_byte(0x11)),
        Address::from(alloy_primitives::Address::repeat_byte(0x77)),
    );
    let gift = CallRequest { from: Some(stranger), to: Some(stub), value_wei: 7.into(), ..CallRequest::default() };
    let poor = sandbox.node.simulate(&gift, &[], BlockId::Latest).await.unwrap_err();
    assert_eq!(poor.code, Code::InvalidArgument, "{poor}");
    let account =
        |address| AccountOverride { address, balance_wei: None, nonce: None, code: None, storage: Vec::new() };
    let rich = AccountOverride { balance_wei: Some(ether(1).parse().unwrap()), ..account(stranger) };
    let simulation = sandbox.node.simulate(&gift, std::slice::from_ref(&rich), BlockId::Latest).await.unwrap();
    assert_eq!(simulation.native_changes.unwrap().len(), 2);
    assert_eq!(sandbox.node.balance(stranger, BlockId::Latest).await.unwrap(), Amount::from(0));

    let refuses = AccountOverride { code: Some(reverts_with(&[])), ..account(stub) };
    let simulation = sandbox.node.simulate(&gift, &[rich, refuses], BlockId::Latest).await.unwrap();
    assert_eq!(simulation.revert.unwrap().kind, RevertKind::Empty);

    // WETH keeps balances in the mapping of slot 3.
    let mut key = stranger.into_word().to_vec();
    key.extend(alloy_primitives::B256::with_last_byte(3));
    let holding = AccountOverride {
        storage: vec![SlotValue {
            slot: Encodings.keccak256(&key),
            value: Hash(alloy_primitives::B256::with_last_byte(9)),
        }],
        ..account(weth)
    };
    let send = Encodings.encode_call("transfer(address,uint256)", &[json!(stub), json!(9)]).unwrap();
    let simulation = sandbox.node.simulate(&call(stranger, weth, send), &[holding], BlockId::Latest).await.unwrap();
    let changes: Vec<_> = simulation.token_changes.unwrap().into_iter().map(|c| (c.account, c.change)).collect();
    assert_eq!(changes, [(stranger, "-9".into()), (stub, "9".into())]);
}
