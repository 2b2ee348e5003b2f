//! From the wish to the block and deep below it; twice at once; taken back; never begun.

use kernel::Code;
use kernel::bus::Bus;
use kernel::chain::{Abi, Amount, Chain};
use kernel::intents::{Engine, INTENTS_TOPIC, Purpose, Request, State};
use serde_json::json;

use super::{desk, fees, parts};
use crate::Encodings;

#[tokio::test]
async fn an_intent_goes_from_wish_to_settled_and_is_the_same_when_asked_again() {
    let Some(desk) = desk().await else { return };
    let wish = desk.deposit("one", 5);
    let sent = desk.engine.submit(wish.clone()).await.unwrap();
    assert_eq!((sent.state, sent.nonce, sent.trouble), (State::Sent, Some(0), None));
    assert!(desk.sandbox.world.store.get("reserved", "one").await.unwrap().is_some());
    assert_eq!(desk.engine.submit(wish.clone()).await.unwrap().attempts.len(), 1);
    let other = desk.engine.submit(Request { value_wei: 6.into(), ..wish }).await.unwrap_err();
    assert_eq!(other.code, Code::Conflict, "{other}");

    let mined = desk.mined("one").await;
    let receipt = desk.sandbox.node.receipt(sent.attempts[0].hash).await.unwrap();
    assert_eq!(mined.mined.as_ref().unwrap().fee_wei, receipt.fee_wei);
    desk.mine(1).await;
    assert_eq!(desk.look("one").await.state, State::Mined, "two confirmations are not three");
    desk.mine(1).await;
    assert_eq!(desk.look("one").await.state, State::Settled);
    assert_eq!(desk.engine.reconcile().await.unwrap(), 0);
    assert!(desk.sandbox.world.store.get("reserved", "one").await.unwrap().is_none());
    assert_eq!(desk.done().await, (5.into(), 1));
    let told = desk.sandbox.world.bus.read(INTENTS_TOPIC, 0, 100).await.unwrap();
    let states: Vec<_> = told.iter().map(|event| event.data["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["sent", "mined", "settled"]);
}

#[tokio::test]
async fn what_would_fail_what_is_refused_and_what_is_pretended_sends_nothing() {
    let Some(desk) = desk().await else { return };
    let wish = desk.deposit("one", 5);
    let fails = Request {
        value_wei: Amount::default(),
        data: Encodings.encode_call("withdraw(uint256)", &[json!(7)]).unwrap(),
        ..wish.clone()
    };
    assert_eq!(desk.engine.submit(fails).await.unwrap_err().code, Code::Reverted);
    assert_eq!(desk.engine.get("one").await.unwrap_err().code, Code::NotFound);
    let paper = desk.engine.submit(Request { paper: true, ..wish.clone() }).await.unwrap();
    assert_eq!((paper.state, paper.nonce, paper.attempts.len()), (State::Paper, None, 0));
    assert!(paper.simulated.gas_used > 21_000);

    *desk.gate.shut.lock() = Some(kernel::Fault::denied("trading is halted"));
    let refused = desk.engine.submit(desk.deposit("two", 5)).await.unwrap();
    assert_eq!((refused.state, refused.why.as_deref()), (State::Refused, Some("trading is halted")));
    *desk.gate.shut.lock() = None;
    let next = desk.engine.submit(desk.deposit("three", 1)).await.unwrap();
    assert_eq!((next.state, next.nonce), (State::Sent, Some(0)), "the nonce was given back");
    desk.mined("three").await;
    assert_eq!(desk.done().await, (1.into(), 1));

    let fresh = Engine::new(parts(&desk.sandbox, &desk.sandbox.node, &desk.gate)).unwrap();
    assert_eq!(fresh.submit(desk.deposit("four", 1)).await.unwrap_err().code, Code::Unavailable);
    for bad in [
        Request { key: "a b".into(), ..desk.deposit("", 1) },
        Request { gas_limit: Some(16_777_217), ..desk.deposit("x", 1) },
        Request { fees: fees(1, 2), ..desk.deposit("x", 1) },
        Request { fee_ceiling_wei: 1.into(), ..desk.deposit("x", 1) },
    ] {
        assert_eq!(desk.engine.submit(bad).await.unwrap_err().code, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn two_replicas_share_a_wallet_without_a_hole_or_a_double() {
    let Some(desk) = desk().await else { return };
    let other = Engine::new(parts(&desk.sandbox, &desk.sandbox.node, &desk.gate)).unwrap();
    other.reconcile().await.unwrap();
    let wishes: Vec<_> = (0..12).map(|number| desk.deposit(&format!("n{number}"), 1)).collect();
    // Each wish is wished of both at once.
    let both = wishes.iter().flat_map(|wish| [desk.engine.submit(wish.clone()), other.submit(wish.clone())]);
    let sent: Vec<_> = futures_util::future::join_all(both).await.into_iter().map(Result::unwrap).collect();
    let mut nonces: Vec<_> = sent.iter().map(|intent| intent.nonce.unwrap()).collect();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces, (0..12).collect::<Vec<_>>());
    let (one, two) = tokio::join!(desk.engine.reconcile(), other.reconcile());
    assert_eq!((one.unwrap(), two.unwrap()), (12, 12));
    desk.mine(3).await;
    for wish in &wishes {
        desk.until(&other, &wish.key, State::Settled).await;
    }
    assert_eq!(desk.done().await, (12.into(), 12));
}

#[tokio::test]
async fn speeding_up_and_cancelling_keep_the_rules_and_end_in_one_transaction() {
    let Some(desk) = desk().await else { return };
    desk.by_hand().await;
    desk.engine.submit(desk.deposit("fast", 5)).await.unwrap();
    for (fees, why) in [(fees(10_900_000_000, 1_100_000), "10 %"), (fees(50_000_000_000, 2_000_000), "cancel")] {
        let fault = desk.engine.speed_up("fast", fees).await.unwrap_err();
        assert!(fault.code == Code::InvalidArgument && fault.hint.as_ref().unwrap().contains(why), "{fault}");
    }
    let faster = desk.engine.speed_up("fast", fees(11_000_000_000, 1_100_000)).await.unwrap();
    assert_eq!((faster.state, faster.attempts.len(), faster.trouble), (State::Sent, 2, None));
    desk.engine.submit(desk.deposit("unwanted", 7)).await.unwrap();
    let cancelling = desk.engine.cancel("unwanted").await.unwrap();
    assert_eq!(cancelling.attempts[1].purpose, Purpose::Cancel);
    assert_eq!(desk.engine.cancel("unwanted").await.unwrap_err().code, Code::Conflict);
    desk.mine(1).await;
    assert_eq!((desk.look("fast").await.state, desk.look("unwanted").await.state), (State::Mined, State::Cancelled));
    desk.mine(2).await;
    let settled = desk.look("unwanted").await;
    assert_eq!((settled.state, settled.mined.unwrap().purpose), (State::Settled, Purpose::Cancel));
    assert_eq!(desk.done().await, (5.into(), 2));
    assert_eq!(desk.engine.cancel("fast").await.unwrap_err().code, Code::Conflict);
}
