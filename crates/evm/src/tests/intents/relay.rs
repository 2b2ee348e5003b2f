//! A relay that checks signatures and speaks the documented protocol, and intents that go through it.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address as RawAddress, U64, hex, keccak256};
use http::HeaderMap;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use kernel::Secret;
use kernel::chain::{Bundle, Chain, Data, Relay};
use kernel::intents::{Request, Route, State};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::super::proxy::serve;
use super::{Desk, desk};
use crate::{HttpRelay, new_signer};

/// A bundle's name, its block and its transactions.
type Kept = (String, u64, Vec<String>);

/// What the relay keeps, and what it says of the bundles that it is to run.
#[derive(Clone, Default)]
struct Bundles {
    kept: Arc<Mutex<Vec<Kept>>>,
    run: Arc<Mutex<Run>>,
}

/// How a bundle comes out that the relay runs.
#[derive(Clone, Copy, Default)]
enum Run {
    #[default]
    Succeeds,
    Reverts,
    Unknown,
}

impl Bundles {
    fn will(&self, run: Run) {
        *self.run.lock() = run;
    }
}

/// The address in the header, if its signature of the body holds.
fn searcher(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let (address, signature) = headers.get("x-flashbots-signature")?.to_str().ok()?.split_once(':')?;
    let bytes = hex::decode(signature).ok()?;
    let text = keccak256(body).to_string();
    let signed = keccak256(format!("\x19Ethereum Signed Message:\n{}{text}", text.len()));
    let recovery = RecoveryId::from_byte(bytes.last()?.checked_sub(27)?)?;
    let key =
        VerifyingKey::recover_from_prehash(signed.as_slice(), &Signature::from_slice(&bytes[..64]).ok()?, recovery);
    let found = RawAddress::from_raw_public_key(&key.ok()?.to_encoded_point(false).as_bytes()[1..]);
    (found.to_checksum(None) == address).then(|| address.to_owned())
}

async fn relay(desk: &Desk) -> (Arc<HttpRelay>, Bundles) {
    let bundles = Bundles::default();
    let (kept, signer) = (bundles.clone(), new_signer().unwrap());
    let (expected, url_of) = (signer.address().to_string(), desk.sandbox.tasks.clone());
    let url = serve(&url_of, move |headers, body| {
        let (kept, expected) = (kept.clone(), expected.clone());
        async move {
            let refuse = |why: &str| json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32_600, "message": why } });
            if searcher(&headers, &body).as_ref() != Some(&expected) {
                return refuse("invalid flashbots signature");
            }
            let request: Value = serde_json::from_slice(&body).unwrap();
            let bundle = &request["params"][0];
            let uuid = bundle["replacementUuid"].as_str().unwrap_or_default().to_owned();
            let result = match request["method"].as_str().unwrap() {
                "eth_sendBundle" => {
                    let block: U64 = serde_json::from_value(bundle["blockNumber"].clone()).unwrap();
                    let txs: Vec<String> = serde_json::from_value(bundle["txs"].clone()).unwrap();
                    kept.kept.lock().push((uuid, block.to(), txs));
                    json!({ "bundleHash": keccak256(&body) })
                }
                "eth_callBundle" => {
                    let last = match *kept.run.lock() {
                        Run::Succeeds => json!({ "gasUsed": 21_000 }),
                        Run::Reverts => {
                            json!({ "gasUsed": 21_000, "error": "execution reverted", "revert": "too late" })
                        }
                        Run::Unknown => return refuse("method not found"),
                    };
                    json!({
                        "bundleHash": keccak256(&body), "totalGasUsed": 42_000, "stateBlockNumber": 7,
                        "results": [{ "gasUsed": 21_000 }, last],
                    })
                }
                "eth_cancelBundle" => {
                    kept.kept.lock().retain(|(named, ..)| *named != uuid);
                    Value::Null
                }
                _ => return refuse("no such method"),
            };
            json!({ "jsonrpc": "2.0", "id": 1, "result": result })
        }
    });
    (Arc::new(HttpRelay::new(&url.await, signer, Duration::from_secs(5)).unwrap()), bundles)
}

#[tokio::test]
async fn requests_are_signed_and_answers_read() {
    let Some(desk) = desk().await else { return };
    let (relay, bundles) = relay(&desk).await;
    let bundle = Bundle { transactions: vec![Data::from(vec![1, 2])], block_number: 9, uuid: "u".into() };
    let simulated = relay.simulate(&bundle).await.unwrap();
    assert_eq!((simulated.success, simulated.error), (true, None));
    bundles.will(Run::Reverts);
    let simulated = relay.simulate(&bundle).await.unwrap();
    assert_eq!((simulated.success, simulated.gas_used, simulated.state_block), (false, 42_000, 7));
    assert_eq!(simulated.error.as_deref(), Some("execution reverted: too late"));
    relay.send(&bundle).await.unwrap();
    assert_eq!(*bundles.kept.lock(), [("u".to_owned(), 9, vec!["0x0102".to_owned()])]);
    relay.cancel("u").await.unwrap();
    assert!(bundles.kept.lock().is_empty());
    assert!(HttpRelay::new(&Secret::new("no url"), new_signer().unwrap(), Duration::from_secs(1)).is_err());
}

#[tokio::test]
async fn a_private_intent_is_offered_to_each_block_asked_for_and_to_no_pool() {
    let Some(desk) = desk().await else { return };
    desk.by_hand().await;
    let (relay, bundles) = relay(&desk).await;
    let engine = desk.with_relay(relay);
    engine.reconcile().await.unwrap();
    let private = |key: &str| Request { route: Route::Private { blocks: 2 }, ..desk.deposit(key, 5) };
    let head = desk.sandbox.node.block(kernel::chain::BlockId::Latest).await.unwrap().head.number;

    let sent = engine.submit(private("one")).await.unwrap();
    assert_eq!((sent.state, sent.attempts[0].target_block), (State::Sent, Some(head + 1)));
    let told = sent.attempts[0].rehearsed.as_ref().unwrap();
    assert_eq!((told.success, told.gas_used, told.state_block), (true, 42_000, 7));
    engine.reconcile().await.unwrap();
    assert_eq!(bundles.kept.lock().len(), 1, "once for each block");
    desk.mine(1).await;
    engine.reconcile().await.unwrap();
    assert_eq!(bundles.kept.lock().iter().map(|(_, block, _)| *block).collect::<Vec<_>>(), [head + 1, head + 2]);
    desk.mine(1).await;
    engine.reconcile().await.unwrap();
    assert_eq!(engine.get("one").await.unwrap().state, State::Dropped);
    assert_eq!(desk.done().await, (0.into(), 0));

    // The next one has the same nonce; the relay's block has it.
    let next = engine.submit(private("two")).await.unwrap();
    assert_eq!(next.nonce, Some(0));
    let raw = bundles.kept.lock().last().unwrap().2[0].clone();
    desk.anvil("eth_sendRawTransaction", json!([raw])).await;
    desk.mine(1).await;
    engine.reconcile().await.unwrap();
    assert_eq!(engine.get("two").await.unwrap().state, State::Mined);
    desk.mine(2).await;
    engine.reconcile().await.unwrap();
    assert_eq!(
        (engine.get("one").await.unwrap().state, engine.get("two").await.unwrap().state),
        (State::Replaced, State::Settled)
    );

    engine.submit(private("three")).await.unwrap();
    let back = engine.cancel("three").await.unwrap();
    assert_eq!(back.state, State::Dropped);
    assert_eq!(bundles.kept.lock().len(), 3, "its bundle is gone from the relay");
}

#[tokio::test]
async fn what_would_fail_at_the_relay_is_not_sent_there() {
    let Some(desk) = desk().await else { return };
    desk.by_hand().await;
    let (relay, bundles) = relay(&desk).await;
    let engine = desk.with_relay(relay);
    engine.reconcile().await.unwrap();
    let private = |key: &str| Request { route: Route::Private { blocks: 2 }, ..desk.deposit(key, 5) };
    bundles.will(Run::Reverts);
    let dropped = engine.submit(private("one")).await.unwrap();
    let why = "by the relay it would fail: execution reverted: too late";
    assert_eq!((dropped.state, dropped.why.as_deref()), (State::Dropped, Some(why)));
    assert!(!dropped.attempts[0].rehearsed.as_ref().unwrap().success);
    // The relay has seen its bytes, so it is watched; its nonce is the next one's.
    assert!(dropped.is_open() && bundles.kept.lock().is_empty());
    // A relay that runs no bundles is sent them all the same.
    bundles.will(Run::Unknown);
    let sent = engine.submit(private("two")).await.unwrap();
    assert_eq!((sent.state, sent.nonce, sent.attempts[0].rehearsed.clone()), (State::Sent, dropped.nonce, None));
    assert_eq!(bundles.kept.lock().len(), 1);
    // The gate holds back what the relay was to run only, too.
    *desk.gate.shut.lock() = Some(kernel::Fault::denied("trading is halted"));
    let held = engine.submit(private("three")).await.unwrap();
    assert_eq!((held.state, bundles.kept.lock().len()), (State::Refused, 1));
}
