//! Runs in this process, held against the node's own, and against what the chain then does.

use kernel::Code;
use kernel::chain::{
    Abi, AccountOverride, Address, Amount, BlockId, CallRequest, Chain, Data, Fees, Fork, RevertKind, Simulation,
    Tracing, Trial,
};
use serde_json::{Value, json};

use super::proxy::{Act, Proxy};
use super::world::{Sandbox, ether, parts, reverts_with, sandbox, sandbox_with};
use crate::{Config, Encodings, Node, Places, SandboxConfig};

const SWAP: &str = "swapExactETHForTokens(uint256,address[],address,uint256)(uint256[])";
const SELL: &str = "swapExactTokensForETH(uint256,uint256,address[],address,uint256)(uint256[])";

fn call(from: Address, to: Address, function: &str, args: &[Value]) -> CallRequest {
    let data = Encodings.encode_call(function, args).unwrap();
    CallRequest { from: Some(from), to: Some(to), data, ..CallRequest::default() }
}

async fn buy(sandbox: &Sandbox, from: Address, least: Value) -> CallRequest {
    let path = json!([sandbox.at("weth").await, sandbox.at("usdc").await]);
    let router = sandbox.at("uniswap-v2-router").await;
    let call = call(from, router, SWAP, &[least, path, json!(from), json!(u64::MAX)]);
    CallRequest { value_wei: ether(1).parse().unwrap(), ..call }
}

/// A pair works more on the first swap of a later second: makes it one for whoever swaps next.
async fn later(sandbox: &Sandbox) {
    sandbox.anvil("evm_increaseTime", json!([10])).await;
    sandbox.anvil("evm_mine", json!([])).await;
}

fn requests(sandbox: &Sandbox) -> u64 {
    sandbox.node.rpc.endpoints()[0].requests
}

async fn fork(sandbox: &Sandbox) -> Box<dyn Fork> {
    let mut fork = sandbox.node.fork(BlockId::Latest).await.unwrap();
    // As the node does it: in the block that is there, not in the next.
    let block = kernel::chain::NextBlock {
        timestamp_seconds: fork.base().timestamp_seconds,
        number: fork.base().number,
        ..fork.block().clone()
    };
    fork.set_block(block);
    fork
}

fn told_by_the_node(simulation: Simulation) -> Simulation {
    assert_eq!(simulation.method, Tracing::InProcess);
    Simulation { method: Tracing::DebugTraceCall, ..simulation }
}

#[tokio::test]
async fn what_the_node_says_of_swaps_and_of_every_way_to_fail_is_said_here() {
    let Some(sandbox) = sandbox() else { return };
    let (me, weth) = (sandbox.account(1).await, sandbox.at("weth").await);
    let at = |byte| Address::from(alloy_primitives::Address::repeat_byte(byte));
    sandbox.reverting(at(0x77), &Encodings.encode_call("Paused(uint256)", &[json!(12)]).unwrap()).await;
    sandbox.reverting(at(0x79), &Encodings.encode_call("Panic(uint256)", &[json!(0x11)]).unwrap()).await;
    sandbox.anvil("anvil_setCode", json!([at(0x78), "0xfe"])).await;
    later(&sandbox).await;
    let mut fork = fork(&sandbox).await;
    let to = |to| CallRequest { from: Some(me), to: Some(to), ..CallRequest::default() };
    let deposit = CallRequest { value_wei: 1.into(), ..call(me, weth, "deposit()", &[]) };
    for (call, kind) in [
        (buy(&sandbox, me, json!(0)).await, None),
        (deposit.clone(), None),
        (call(me, weth, "withdraw(uint256)", &[json!(0)]), None),
        (CallRequest { value_wei: 5.into(), ..to(at(0x11)) }, None),
        (buy(&sandbox, me, json!(ether(1))).await, Some(RevertKind::Message)),
        (to(at(0x79)), Some(RevertKind::Panic)),
        (to(at(0x77)), Some(RevertKind::Unknown)),
        (call(me, weth, "withdraw(uint256)", &[json!(5)]), Some(RevertKind::Empty)),
        (CallRequest { gas_limit: Some(25_000), ..deposit }, Some(RevertKind::OutOfGas)),
        (CallRequest { gas_limit: Some(100_000), ..to(at(0x78)) }, Some(RevertKind::Halt)),
    ] {
        let here = fork.attempt(&call.clone().into()).await.unwrap();
        assert_eq!(here.revert.as_ref().map(|revert| revert.kind), kind);
        let mut there = sandbox.node.simulate(&call, &[], BlockId::Latest).await.unwrap();
        if kind == Some(RevertKind::Halt) {
            // The reasons for stops are each machine's own words.
            there.revert.clone_from(&here.revert);
        }
        assert_eq!(told_by_the_node(here), there);
    }
    let poor = CallRequest { from: Some(at(0x12)), value_wei: 5.into(), ..to(at(0x11)) };
    let fault = fork.attempt(&poor.into()).await.unwrap_err();
    assert_eq!(fault.code, Code::InvalidArgument, "{fault}");
    let greedy = CallRequest { gas_limit: Some(16_777_217), ..to(at(0x11)) };
    assert_eq!(fork.attempt(&greedy.into()).await.unwrap_err().code, Code::InvalidArgument);
}

#[tokio::test]
async fn runs_build_on_each_other_and_the_chain_then_does_the_same() {
    let Some(sandbox) = sandbox() else { return };
    let (me, router) = (sandbox.account(1).await, sandbox.at("uniswap-v2-router").await);
    let (weth, usdc) = (sandbox.at("weth").await, sandbox.at("usdc").await);
    later(&sandbox).await;
    let mut fork = sandbox.node.fork(BlockId::Latest).await.unwrap();
    let buy = buy(&sandbox, me, json!(0)).await;
    let bought = fork.apply(&buy.clone().into()).await.unwrap();
    let got = Encodings.decode_output(SWAP, &bought.return_data).unwrap()[0].value[1].clone();
    let sell = call(me, router, SELL, &[got.clone(), json!(0), json!([usdc, weth]), json!(me), json!(u64::MAX)]);
    let refused = fork.attempt(&sell.clone().into()).await.unwrap();
    assert!(!refused.success, "nothing is approved yet");
    let approve = call(me, usdc, "approve(address,uint256)(bool)", &[json!(router), got]);
    assert!(fork.apply(&approve.clone().into()).await.unwrap().success);
    let sold = fork.apply(&sell.clone().into()).await.unwrap();
    assert!(sold.success, "{sold:?}");

    for (call, simulation) in [(buy, bought), (sell, sold)] {
        if call.value_wei.is_zero() {
            sandbox.send(json!({ "from": me, "to": usdc, "input": approve.data })).await;
        }
        let sent = json!({ "from": me, "to": router, "input": call.data, "value": format!("{:#x}", call.value_wei.0) });
        let receipt = sandbox.send(sent).await;
        let bare = |logs: &[kernel::chain::Log]| {
            logs.iter().map(|log| (log.address, log.topics.clone(), log.data.clone())).collect::<Vec<_>>()
        };
        // The pair's clock runs on between blocks, so its gas is the node's only where the same second is; the logs tell the rest.
        assert_eq!(bare(&receipt.logs), bare(simulation.logs.as_ref().unwrap()));
    }
}

/// A sandbox whose head nobody looks at, so that all requests are the test's.
fn unwatched() -> Option<Sandbox> {
    let sandbox = SandboxConfig { port: 0, trader_ms: 0, poll_ms: 3_600_000, ..SandboxConfig::default() };
    let data = tempfile::tempdir().unwrap();
    sandbox_with(Config { sandbox, ..Config::default() }, data.path().into(), data)
}

#[tokio::test]
async fn a_warm_run_asks_nothing_and_a_new_block_is_asked_once() {
    let Some(sandbox) = unwatched() else { return };
    let (me, other) = (sandbox.account(1).await, sandbox.account(2).await);
    later(&sandbox).await;
    let trial = Trial::from(buy(&sandbox, me, json!(0)).await);
    let mut first = fork(&sandbox).await;
    let cold = requests(&sandbox);
    let before = first.attempt(&trial).await.unwrap();
    let read = requests(&sandbox) - cold;
    assert!((3..12).contains(&read), "{read} requests for a swap on cold state");
    let warm = requests(&sandbox);
    assert_eq!(first.attempt(&trial).await.unwrap(), before);
    assert_eq!(requests(&sandbox), warm);

    // A block later all that the swap asks for is read in one exchange, whether or not it changed.
    sandbox.send(json!({ "from": other, "to": other, "value": "0x1" })).await;
    let mut second = fork(&sandbox).await;
    let began = requests(&sandbox);
    let same = second.attempt(&trial).await.unwrap();
    assert_eq!(requests(&sandbox) - began, 1);
    assert_eq!((same.return_data, same.gas_used > 0), (before.return_data.clone(), true));

    // A block that changed the pair: the same answer as the node's, and the old fork still stands where it stood.
    let swap = buy(&sandbox, other, json!(0)).await;
    sandbox.send(json!({ "from": other, "to": swap.to, "input": swap.data, "value": "0xde0b6b3a7640000" })).await;
    later(&sandbox).await;
    let third = fork(&sandbox).await.attempt(&trial).await.unwrap();
    assert_ne!(third.return_data, before.return_data);
    let node = sandbox.node.simulate(&trial.call, &[], BlockId::Latest).await.unwrap();
    assert_eq!(told_by_the_node(third), node);
    assert_eq!(first.attempt(&trial).await.unwrap(), before);

    sandbox.anvil("anvil_rollback", json!([2])).await;
    let back = fork(&sandbox).await.attempt(&trial).await.unwrap();
    assert_eq!(back.return_data, before.return_data);
}

#[tokio::test]
async fn fees_are_charged_checked_and_not_taken_for_transfers() {
    let Some(sandbox) = sandbox() else { return };
    let me = sandbox.account(1).await;
    later(&sandbox).await;
    let mut fork = sandbox.node.fork(BlockId::Latest).await.unwrap();
    let free = Trial::from(buy(&sandbox, me, json!(0)).await);
    let base_fee = fork.block().base_fee_per_gas_wei;
    let fees = Fees { max_fee_per_gas_wei: base_fee.times(2).unwrap(), max_priority_fee_per_gas_wei: 1.into() };
    let paid = Trial { fees: Some(fees), ..free.clone() };
    let (free, dear) = (fork.attempt(&free).await.unwrap(), fork.apply(&paid).await.unwrap());
    assert_eq!(free, dear, "gas is no transfer");

    let below = Amount(base_fee.0 - alloy_primitives::U256::from(1));
    let low = Fees { max_fee_per_gas_wei: below, max_priority_fee_per_gas_wei: 0.into() };
    let fault = fork.attempt(&Trial { fees: Some(low), ..paid.clone() }).await.unwrap_err();
    assert!(fault.message.contains("no block could hold") && fault.hint.unwrap().contains("base fee"));
    let account = AccountOverride {
        address: me,
        balance_wei: Some(ether(1).parse().unwrap()),
        nonce: None,
        code: None,
        storage: Vec::new(),
    };
    fork.change(&[account]);
    let fault = fork.attempt(&paid).await.unwrap_err();
    assert!(fault.hint.as_ref().unwrap().contains("cannot pay"), "{fault}");
}

#[tokio::test]
async fn the_next_blocks_base_fee_is_what_the_chain_then_has() {
    let Some(sandbox) = sandbox() else { return };
    let me = sandbox.account(1).await;
    for _ in 0..3 {
        let fork = sandbox.node.fork(BlockId::Latest).await.unwrap();
        sandbox.send(json!({ "from": me, "to": me, "value": "0x1" })).await;
        let made = sandbox.node.block(BlockId::Number(fork.block().number)).await.unwrap();
        assert_eq!(made.head.base_fee_per_gas_wei, Some(fork.block().base_fee_per_gas_wei));
    }
}

#[tokio::test]
async fn contracts_are_created_destroyed_and_overridden_on_a_fork() {
    let Some(sandbox) = sandbox() else { return };
    let me = sandbox.account(1).await;
    let mut fork = sandbox.node.fork(BlockId::Latest).await.unwrap();
    // Returns code that returns 7: PUSH1 7 PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN, put in place by the code before it.
    let seven: Data = "0x600a600c600039600a6000f3600760005260206000f3".parse().unwrap();
    let made = fork.apply(&CallRequest { from: Some(me), data: seven, ..CallRequest::default() }.into()).await.unwrap();
    assert!(made.success);
    let at = Address(me.0.create(0));
    let read = Trial::from(CallRequest::read(at, Data::default()));
    assert_eq!(fork.attempt(&read).await.unwrap().return_data.0.last(), Some(&7));
    assert!(sandbox.node.code(at, BlockId::Latest).await.unwrap().is_empty(), "the chain knows nothing of it");
    let refuses = AccountOverride {
        address: at,
        balance_wei: None,
        nonce: None,
        code: Some(reverts_with(&[])),
        storage: Vec::new(),
    };
    fork.change(&[refuses]);
    assert!(!fork.attempt(&read).await.unwrap().success);
}

#[tokio::test]
async fn a_node_that_can_less_serves_too() {
    let Some(sandbox) = sandbox() else { return };
    let me = sandbox.account(1).await;
    later(&sandbox).await;
    let trial = Trial::from(buy(&sandbox, me, json!(0)).await);
    let block = fork(&sandbox).await.block().clone();
    let answer = async |node: &Node| {
        let mut fork = node.fork(BlockId::Latest).await.unwrap();
        fork.set_block(block.clone());
        fork.attempt(&trial).await.unwrap()
    };
    let want = answer(&sandbox.node).await;
    assert!(want.success);
    fn lends(params: &Value) -> bool {
        params.as_array().is_some_and(|params| params.len() > 2)
    }
    let rules: [fn(&str, &Value) -> Act; 4] = [
        |method, _| if method == "eth_createAccessList" { Act::Error(-32_601, "method not found") } else { Act::Pass },
        |method, params| match method {
            "eth_call" if lends(params) => Act::Error(-32_602, "too many arguments, want at most 2"),
            _ => Act::Pass,
        },
        // Takes no notice of what it is to lend: nothing is there.
        |method, params| match method {
            "eth_call" if lends(params) => Act::Answer(json!("0x")),
            _ => Act::Pass,
        },
        |method, _| if method == "batch" { Act::Error(-32_600, "one request at a time") } else { Act::Pass },
    ];
    for rule in rules {
        let proxy = Proxy::start(&sandbox).await;
        proxy.rule(rule);
        let data = tempfile::tempdir().unwrap();
        let places = Places { endpoints: vec![proxy.url.clone()], tools: data.path().into(), data: data.path().into() };
        let lesser = crate::open_node(&Config::default(), &places, &parts(&sandbox.world)).unwrap();
        assert_eq!(answer(&lesser).await, want);
    }
}

/// Stores the second word of its input in the slot that the first names; with one word or none, returns that slot:
/// `if (CALLDATASIZE > 32) SSTORE(CALLDATALOAD(0), CALLDATALOAD(32)) else RETURN(SLOAD(CALLDATALOAD(0)))`.
const KEEPER: &str = "0x602036116013576000355460005260206000f35b6020356000355500";

#[tokio::test]
async fn every_account_and_slot_is_as_the_node_has_it_block_after_block() {
    let Some(sandbox) = sandbox() else { return };
    let me = sandbox.account(1).await;
    let keepers: Vec<Address> =
        (1..=7).map(|byte| Address::from(alloy_primitives::Address::repeat_byte(0xa0 + byte))).collect();
    for keeper in &keepers {
        sandbox.anvil("anvil_setCode", json!([keeper, KEEPER])).await;
    }
    // Tells the balance and the code's hash of each account in its input.
    let teller = Address::from(alloy_primitives::Address::repeat_byte(0x99));
    let code = "0x60005b803614602157803580318260011b523f8160011b602001526020016002565b60011b6000f3";
    sandbox.anvil("anvil_setCode", json!([teller, code])).await;
    sandbox.anvil("evm_mine", json!([])).await;
    let nobody = Address::from(alloy_primitives::Address::repeat_byte(0x5a));
    let word = |number: u64| alloy_primitives::B256::from(alloy_primitives::U256::from(number));
    let mut slots = std::collections::BTreeSet::new();
    for round in 0..6_u64 {
        for (place, keeper) in keepers.iter().enumerate().skip(usize::try_from(round).unwrap() % 3).step_by(2) {
            let (slot, value) = (word(round + place as u64), word(round * 1_000 + place as u64));
            slots.extend((0..3).map(|near| (*keeper, word(round + place as u64 + near))));
            let input = alloy_primitives::hex::encode_prefixed([slot.0, value.0].concat());
            assert!(sandbox.send(json!({ "from": me, "to": keeper, "input": input })).await.success);
        }
        sandbox.send(json!({ "from": me, "to": keepers[round as usize], "value": "0x0" })).await;
        if round == 3 {
            sandbox.send(json!({ "from": me, "to": nobody, "value": "0x7" })).await;
        }
        if round == 4 {
            sandbox.anvil("anvil_rollback", json!([2])).await;
        }
        let mut fork = fork(&sandbox).await;
        let at = BlockId::Hash(fork.base().hash);
        let accounts: Vec<u8> =
            keepers.iter().chain([&me, &nobody, &teller]).flat_map(|account| account.0.into_word().0).collect();
        let mut calls = vec![CallRequest::read(teller, accounts.into())];
        calls.extend(slots.iter().map(|(keeper, slot)| CallRequest::read(*keeper, slot.0.to_vec().into())));
        for call in calls {
            let here = fork.attempt(&call.clone().into()).await.unwrap();
            assert_eq!(here.return_data, sandbox.node.call(&call, at).await.unwrap(), "round {round}: {call:?}");
        }
    }
}
