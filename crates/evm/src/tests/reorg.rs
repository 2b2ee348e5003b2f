//! Heads and reorganisations, published as they happen.

use kernel::bus::{Bus, Event};
use kernel::chain::{BlockId, CHAIN_TOPIC, Chain, HEAD_EVENT, Head, REORG_EVENT, Reorg};
use serde_json::json;

use super::world::{Sandbox, sandbox};

/// Reads the bus until the tracker has published block `number`, by an event from place `after` on.
async fn events_until(sandbox: &Sandbox, after: u64, done: impl Fn(&Event) -> bool) -> Vec<Event> {
    loop {
        let changed = sandbox.world.bus.published(&[CHAIN_TOPIC]);
        let events = sandbox.world.bus.read(CHAIN_TOPIC, after, 1_000).await.unwrap();
        if events.iter().any(&done) {
            return events;
        }
        changed.await;
    }
}

fn head(event: &Event) -> Option<Head> {
    (event.kind == HEAD_EVENT).then(|| serde_json::from_value(event.data.clone()).unwrap())
}

fn reorg(event: &Event) -> Option<Reorg> {
    (event.kind == REORG_EVENT).then(|| serde_json::from_value(event.data.clone()).unwrap())
}

/// The tracker has seen the chain's head as it is now; returns it and the place of its event.
async fn settled(sandbox: &Sandbox) -> (Head, u64) {
    let tip = sandbox.node.block(BlockId::Latest).await.unwrap().head;
    let events = events_until(sandbox, 0, |event| head(event).is_some_and(|head| head.hash == tip.hash)).await;
    (tip, events.last().unwrap().seq)
}

#[tokio::test]
async fn every_new_block_is_published_in_order() {
    let Some(sandbox) = sandbox() else { return };
    let (before, after) = settled(&sandbox).await;
    sandbox.anvil("anvil_mine", json!(["0x5"])).await;
    let events =
        events_until(&sandbox, after, |event| head(event).is_some_and(|head| head.number == before.number + 5)).await;
    let heads: Vec<_> = events.iter().filter_map(head).collect();
    assert_eq!(heads.iter().map(|head| head.number - before.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(heads[0].parent_hash, before.hash);
    assert!(heads.windows(2).all(|two| two[1].parent_hash == two[0].hash));
    // The event is out before the tip is moved, so the tip may still be on its way.
    assert!(sandbox.node.head().is_some_and(|tip| tip.number >= before.number));
}

#[tokio::test]
async fn a_reorganisation_names_what_went_and_what_came() {
    let Some(sandbox) = sandbox() else { return };
    let me = sandbox.account(1).await;
    let receipt = sandbox.send(json!({ "from": me, "to": me, "value": "0x1" })).await;
    sandbox.anvil("anvil_mine", json!(["0x2"])).await;
    let (before, after) = settled(&sandbox).await;
    // Anvil makes the blocks' times afresh, so their hashes differ from the old ones.
    sandbox.anvil("anvil_reorg", json!([3, []])).await;
    let events = events_until(&sandbox, after, |event| reorg(event).is_some()).await;
    let reorg = events.iter().find_map(reorg).unwrap();
    assert_eq!((reorg.depth, reorg.ancestor), (3, Some(before.number - 3)));
    assert_eq!((reorg.removed[0], reorg.removed[2]), (receipt.block_hash, before.hash));
    let tip = sandbox.node.block(BlockId::Latest).await.unwrap().head;
    assert_eq!((reorg.added.len(), reorg.added[2], tip.number), (3, tip.hash, before.number));
    // What was published is remembered a moment later.
    while sandbox.node.heads.reorgs_seen() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(sandbox.world.metrics.render().contains("flotilla_chain_reorgs_total 1"));
}

#[tokio::test]
async fn a_rollback_of_a_development_node_is_one_too() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.node.status().await.unwrap();
    sandbox.anvil("anvil_mine", json!(["0x3"])).await;
    let (before, after) = settled(&sandbox).await;
    sandbox.anvil("anvil_rollback", json!([2])).await;
    let events = events_until(&sandbox, after, |event| reorg(event).is_some()).await;
    let reorg = events.iter().find_map(reorg).unwrap();
    assert_eq!((reorg.depth, reorg.ancestor, reorg.added.len()), (2, Some(before.number - 2), 0));
    assert_eq!(reorg.removed[1], before.hash);
    sandbox.anvil("anvil_mine", json!(["0x1"])).await;
    let last = events.last().unwrap().seq;
    let events = events_until(&sandbox, last, |event| head(event).is_some()).await;
    assert_eq!(events.iter().find_map(head).unwrap().number, before.number - 1);
    assert!(!events.iter().any(reorg_kind), "the new block follows the rollback without another");
}

fn reorg_kind(event: &Event) -> bool {
    event.kind == REORG_EVENT
}

#[tokio::test]
async fn a_change_deeper_than_is_remembered_has_no_ancestor() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.node.status().await.unwrap();
    sandbox.anvil("anvil_mine", json!(["0x12c"])).await;
    let (_, after) = settled(&sandbox).await;
    sandbox.anvil("anvil_reorg", json!([299, []])).await;
    let events = events_until(&sandbox, after, |event| reorg(event).is_some()).await;
    let reorg = events.iter().find_map(reorg).unwrap();
    assert_eq!((reorg.depth, reorg.ancestor), (256, None));
}
