//! What goes wrong has a name, and ends as it should.

use std::sync::Arc;

use kernel::bus::Bus;
use kernel::chain::{BlockId, Chain};
use kernel::intents::{Engine, Purpose, Request, State, Trouble};
use kernel::metrics::Metrics;
use serde_json::{Value, json};

use super::super::proxy::{Act, Proxy};
use super::{Desk, desk, parts};
use crate::{Config, Node, Places, SandboxConfig};

/// The engine on a node that misbehaves as told.
async fn through_a_proxy(desk: &Desk) -> (Proxy, Engine) {
    let proxy = Proxy::start(&desk.sandbox).await;
    let node = node(desk, &proxy);
    let engine = Engine::new(parts(&desk.sandbox, &node, &desk.gate)).unwrap();
    engine.reconcile().await.unwrap();
    (proxy, engine)
}

fn node(desk: &Desk, proxy: &Proxy) -> Node {
    let world = &desk.sandbox.world;
    let sandbox = SandboxConfig { enabled: false, ..SandboxConfig::default() };
    let config = Config { request_time_ms: 300, poll_ms: 3_600_000, sandbox, ..Config::default() };
    let places =
        Places { endpoints: vec![proxy.url.clone()], tools: "".into(), data: desk.sandbox.data.path().join("other") };
    let (clock, tasks, metrics) = (world.clock.clone(), desk.sandbox.tasks.child(), Metrics::default());
    crate::open_node(&config, &places, &crate::Parts { clock, tasks, metrics, bus: Arc::clone(&world.bus) as _ })
        .unwrap()
}

#[tokio::test]
async fn a_reorganisation_takes_it_back_and_it_is_sent_again() {
    let Some(desk) = desk().await else { return };
    desk.mine(2).await;
    desk.engine.submit(desk.deposit("one", 5)).await.unwrap();
    desk.mined("one").await;
    desk.anvil("anvil_reorg", json!([1, []])).await;
    assert_eq!(desk.done().await, (0.into(), 0));
    let back = desk.look("one").await;
    assert_eq!((back.state, back.trouble, back.mined), (State::Sent, Some(Trouble::Reorganised), None));
    let again = desk.look("one").await;
    assert_eq!((again.state, again.trouble, again.attempts.len()), (State::Sent, None, 1));
    desk.mined("one").await;
    let next = desk.engine.submit(desk.deposit("two", 1)).await.unwrap();
    assert_eq!(next.nonce, Some(1));
    desk.mined("two").await;
    desk.mine(3).await;
    for key in ["one", "two"] {
        desk.until(&desk.engine, key, State::Settled).await;
    }
    assert_eq!(desk.done().await, (6.into(), 2));
}

#[tokio::test]
async fn what_had_settled_in_blocks_that_the_chain_lost_is_taken_back_and_sent_again() {
    let Some(desk) = desk().await else { return };
    let mut blocks = Vec::new();
    for key in ["one", "two"] {
        desk.engine.submit(desk.deposit(key, 5)).await.unwrap();
        blocks.push(desk.mined(key).await.mined.unwrap().block_number);
        desk.mine(3).await;
        desk.until(&desk.engine, key, State::Settled).await;
    }
    // As a chain that was killed and comes back as it was saved before: first without the second, then without both.
    for (left, lost) in [(1, 1), (0, 2)] {
        let head = desk.sandbox.node.block(BlockId::Latest).await.unwrap().head.number;
        let first = blocks[blocks.len() - lost];
        desk.anvil("anvil_rollback", json!([head + 1 - first])).await;
        assert_eq!(desk.done().await, ((5 * left).into(), left));
        // A process that begins looks as well as one that goes on.
        let fresh = Engine::new(parts(&desk.sandbox, &desk.sandbox.node, &desk.gate)).unwrap();
        fresh.reconcile().await.unwrap();
        let states = async |key: &str| desk.engine.get(key).await.unwrap().state;
        assert_eq!((states("one").await == State::Settled, states("two").await), (left == 1, State::Sent));
        blocks = Vec::from_iter(blocks.into_iter().take(left as usize));
        for key in ["one", "two"].into_iter().skip(left as usize) {
            desk.until(&desk.engine, key, State::Mined).await;
        }
        desk.mine(3).await;
        for key in ["one", "two"] {
            let settled = desk.until(&desk.engine, key, State::Settled).await;
            blocks.push(settled.mined.unwrap().block_number);
        }
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!(desk.done().await, (10.into(), 2), "once each");
    }
    let told = desk.sandbox.world.bus.read(kernel::intents::INTENTS_TOPIC, 0, 100).await.unwrap();
    let reorganised = told.iter().filter(|event| event.data["trouble"] == "reorganised").count();
    assert_eq!(reorganised, 3);
}

#[tokio::test]
async fn stuck_then_sped_up_until_the_ceiling() {
    let Some(desk) = desk().await else { return };
    desk.by_hand().await;
    desk.engine.submit(desk.deposit("one", 5)).await.unwrap();
    assert_eq!(desk.look("one").await.attempts.len(), 1, "it is not old yet");
    let mut seen = 1;
    for _ in 0..12 {
        desk.sandbox.world.clock.advance_ms(60_000);
        seen = desk.look("one").await.attempts.len();
    }
    let stuck = desk.look("one").await;
    assert_eq!((stuck.attempts.len(), stuck.trouble), (seen, Some(Trouble::CeilingReached)));
    let last = stuck.attempts.last().unwrap();
    assert!(last.fees.max_fee_per_gas_wei <= stuck.request.fee_ceiling_wei && seen > 5, "{seen}");
    desk.mine(1).await;
    assert_eq!((desk.look("one").await.state, desk.done().await), (State::Mined, (5.into(), 1)));
}

#[tokio::test]
async fn a_base_fee_that_rises_over_the_offer_is_outbid() {
    let Some(desk) = desk().await else { return };
    desk.by_hand().await;
    desk.engine.submit(desk.deposit("one", 5)).await.unwrap();
    desk.anvil("anvil_setNextBlockBaseFeePerGas", json!([format!("{:#x}", 12_000_000_000u64)])).await;
    desk.mine(1).await;
    assert_eq!(desk.done().await, (0.into(), 0), "no block of such a fee can hold it");
    let outbid = desk.look("one").await;
    assert_eq!((outbid.state, outbid.attempts.last().unwrap().purpose), (State::Sent, Purpose::SpeedUp));
    while desk.look("one").await.state == State::Sent {
        desk.mine(1).await;
    }
    assert_eq!(desk.done().await, (5.into(), 1));
}

#[tokio::test]
async fn forgotten_by_the_pool_is_sent_again_and_too_late_is_cancelled() {
    let Some(desk) = desk().await else { return };
    desk.by_hand().await;
    let sent = desk.engine.submit(desk.deposit("one", 5)).await.unwrap();
    desk.anvil("anvil_dropTransaction", json!([sent.attempts[0].hash])).await;
    let again = desk.look("one").await;
    assert_eq!((again.state, again.attempts.len()), (State::Sent, 1));
    let head = desk.sandbox.node.block(BlockId::Latest).await.unwrap().head.number;
    let late = Request { valid_until_block: Some(head + 1), ..desk.deposit("late", 9) };
    let late = desk.engine.submit(late).await.unwrap();
    desk.anvil("anvil_dropTransaction", json!([late.attempts[0].hash])).await;
    desk.mine(1).await;
    assert_eq!(desk.look("one").await.state, State::Mined);
    assert_eq!(desk.look("late").await.attempts.last().unwrap().purpose, Purpose::Cancel);
    desk.mine(1).await;
    assert_eq!(desk.look("late").await.state, State::Cancelled);
    assert_eq!(desk.done().await, (5.into(), 2));
}

#[tokio::test]
async fn another_transaction_that_takes_the_nonce_replaces_it() {
    let Some(desk) = desk().await else { return };
    desk.by_hand().await;
    let sent = desk.engine.submit(desk.deposit("one", 5)).await.unwrap();
    desk.anvil("anvil_dropTransaction", json!([sent.attempts[0].hash])).await;
    let foreign = json!({ "from": desk.wallet, "to": desk.wallet, "nonce": "0x0", "gas": "0x5208" });
    desk.anvil("eth_sendTransaction", json!([foreign])).await;
    desk.mine(1).await;
    let taken = desk.look("one").await;
    assert_eq!(
        (taken.state, taken.trouble),
        (State::Sent, Some(Trouble::NonceTaken)),
        "it may yet be reorganised away"
    );
    desk.mine(2).await;
    assert_eq!(desk.look("one").await.state, State::Replaced);
    let next = desk.engine.submit(desk.deposit("two", 1)).await.unwrap();
    desk.mine(1).await;
    assert_eq!((next.nonce, desk.look("two").await.state), (Some(1), State::Mined));
    assert_eq!(desk.done().await, (1.into(), 2));
}

#[tokio::test]
async fn a_replacement_that_a_pool_finds_too_low_offers_more() {
    let Some(desk) = desk().await else { return };
    let (proxy, engine) = through_a_proxy(&desk).await;
    desk.by_hand().await;
    proxy.rule(|method, _| match method {
        "eth_sendRawTransaction" => Act::Error(-32_000, "replacement transaction underpriced"),
        _ => Act::Pass,
    });
    let sent = engine.submit(desk.deposit("one", 5)).await.unwrap();
    assert_eq!((sent.state, sent.trouble), (State::Sent, Some(Trouble::ReplacementUnderpriced)));
    proxy.rule(|_, _| Act::Pass);
    engine.reconcile().await.unwrap();
    let more = engine.get("one").await.unwrap();
    assert_eq!((more.attempts.len(), more.trouble), (2, None));
    desk.mine(1).await;
    engine.reconcile().await.unwrap();
    assert_eq!((engine.get("one").await.unwrap().state, desk.done().await), (State::Mined, (5.into(), 1)));
}

#[tokio::test]
async fn a_node_that_takes_it_and_falls_silent_has_it_once() {
    let Some(desk) = desk().await else { return };
    let (proxy, engine) = through_a_proxy(&desk).await;
    for (number, act) in [(1u64, true), (2, false)] {
        proxy.rule(move |method, _| match method {
            "eth_sendRawTransaction" if act => Act::PassAndStall,
            "eth_sendRawTransaction" => Act::Stall,
            _ => Act::Pass,
        });
        let key = format!("n{number}");
        let unknown = engine.submit(desk.deposit(&key, 5)).await.unwrap();
        assert_eq!((unknown.state, unknown.trouble), (State::Signed, Some(Trouble::NodeSilent)));
        proxy.rule(|_, _| Act::Pass);
        let found = desk.until(&engine, &key, State::Mined).await;
        assert_eq!(found.attempts.len(), 1);
        assert_eq!(desk.done().await, ((5 * number).into(), number));
    }
    proxy.rule(
        |method, _| if method == "eth_getTransactionReceipt" { Act::Error(-32_000, "db is sick") } else { Act::Pass },
    );
    engine.reconcile().await.unwrap();
    assert_eq!(engine.get("n2").await.unwrap().trouble, Some(Trouble::NodeFailing));
}

#[tokio::test]
async fn a_node_that_lies_of_its_head_or_of_receipts_settles_nothing() {
    let Some(desk) = desk().await else { return };
    let (proxy, engine) = through_a_proxy(&desk).await;
    engine.submit(desk.deposit("one", 5)).await.unwrap();
    desk.until(&engine, "one", State::Mined).await;
    proxy.rule(|method, _| if method == "eth_blockNumber" { Act::Answer(json!("0xffffff")) } else { Act::Pass });
    engine.reconcile().await.unwrap();
    let one = engine.get("one").await.unwrap();
    assert_eq!((one.state, one.trouble), (State::Mined, None), "no block that deep is there");
    proxy.rule(|method, _| match method {
        "eth_getTransactionReceipt" | "eth_getTransactionByHash" => Act::Answer(Value::Null),
        _ => Act::Pass,
    });
    engine.reconcile().await.unwrap();
    let one = engine.get("one").await.unwrap();
    assert_eq!((one.state, one.trouble), (State::Mined, Some(Trouble::NodeUnsure)));
    proxy.rule(|_, _| Act::Pass);
    desk.mine(2).await;
    engine.reconcile().await.unwrap();
    assert_eq!(engine.get("one").await.unwrap().state, State::Settled);
}

#[tokio::test]
async fn a_halt_holds_back_what_may_have_left_and_lets_it_go_on_after() {
    let Some(desk) = desk().await else { return };
    desk.by_hand().await;
    let sent = desk.engine.submit(desk.deposit("one", 5)).await.unwrap();
    desk.anvil("anvil_dropTransaction", json!([sent.attempts[0].hash])).await;
    *desk.gate.shut.lock() = Some(kernel::Fault::denied("trading is halted"));
    let held = desk.look("one").await;
    assert_eq!((held.state, held.trouble), (State::Sent, Some(Trouble::HeldBack)));
    desk.mine(1).await;
    assert_eq!(desk.done().await, (0.into(), 0));
    *desk.gate.shut.lock() = None;
    assert_eq!(desk.look("one").await.trouble, None);
    desk.mine(1).await;
    assert_eq!(desk.look("one").await.state, State::Mined);
    assert!(desk.gate.asked.lock().len() >= 3, "asked before each send");
}
