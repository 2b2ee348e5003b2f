//! On a sandbox with the protocols' own bytecode: what is predicted is simulated, realised and booked, or refused in words.

mod world;

use expect_test::expect;
use kernel::bus::Bus;
use kernel::chain::{Amount, BlockId};
use market::Signed;
use market::gate::{Gate, Mode, RISK_TOPIC};
use market::ledger::{Account, Unit};
use market::risk::{LimitsChange, Money, Rule};
use serde_json::json;

use self::world::{CYCLE, online, real_chain, with_relay};
use super::*;
use crate::testing::{Bench, admin, operator, viewer};

fn trader() -> kernel::Caller {
    kernel::Caller::new("tina", kernel::Role::Trader)
}

async fn gate(bench: &Bench) -> Gate {
    Gate::new(bench.world.store.clone(), bench.world.clock.clone(), bench.world.chain.ground())
}

#[tokio::test]
async fn what_is_predicted_is_simulated_realised_and_booked_to_the_last_unit() {
    let Some(online) = online().await else { return };
    online.push_apart().await;
    let before = online.balances().await;
    let built = online.build().await;
    assert!(built.verdict.allowed, "{:?}", built.verdict.reasons);
    let simulated = online
        .bench
        .call(&viewer("v"), SIMULATE, SimulateRequest { plan: built.plan.clone(), fees: None })
        .await
        .unwrap();
    assert!(simulated.success && !simulated.rehearsed);
    assert_eq!(simulated.simulated_profit.map(|profit| Signed::gain(profit.0)), Some(built.predicted_profit));

    let sent = online.submit("one", &built.plan).await.unwrap();
    assert_eq!((sent.mode, sent.nonce), (Mode::Live, Some(0)));
    // The same again is the same submission; another plan under its key is none.
    assert_eq!(online.submit("one", &built.plan).await.unwrap().transaction, sent.transaction);
    let other = PlanView { min_profit: Amount::from(1), ..built.plan.clone() };
    assert_eq!(online.submit("one", &other).await.unwrap_err().code, Code::Conflict);

    let done = online.mined("one").await;
    let trade = done.trade.unwrap();
    assert_eq!(trade.predicted, Some(built.predicted_profit));
    assert_eq!((trade.simulated, trade.realised, trade.agrees), (trade.predicted, trade.predicted, Some(true)));
    let after = online.balances().await;
    let gate = gate(&online.bench).await;
    let ledger = gate.balances(Mode::Live).await.unwrap();
    let (weth, holds) = (Unit::Token(online.weth().await), |unit| ledger.of(&Account::Wallet, unit).amount);
    assert_eq!(Signed::difference(after.weth.0, before.weth.0), holds(weth));
    assert_eq!(Signed::difference(after.ether.0, before.ether.0), holds(Unit::Native));
    assert_eq!(Some(holds(Unit::Native).negated()), done.fee_wei.map(|fee| Signed::gain(fee.0)));
    let (_, entry) = gate.journal(Mode::Live, None, 10).await.unwrap().pop().unwrap();
    assert_eq!((entry.postings, entry.transaction, entry.block), (ledger, done.transaction, Some(done.block)));
    let desk = gate.desk().await.unwrap();
    assert_eq!((desk.live.open.trades, desk.live.marks.total_net), (0, trade.net));
    assert_eq!(desk.paper.marks.total_net, Money::ZERO);
    let figures = online.bench.world.metrics.render();
    assert!(figures.contains(r#"flotilla_trades_total{strategy="flash-arbitrage",mode="live",outcome="filled"} 1"#));
    assert!(figures.contains("flotilla_trade_differences_total 0"));
}

#[tokio::test]
async fn paper_does_everything_but_send() {
    let Some(online) = online().await else { return };
    online.push_apart().await;
    let gate = gate(&online.bench).await;
    gate.set_mode(Mode::Paper, "ann", None, None).await.unwrap();
    let built = online.build().await;
    let kept = online.submit("one", &built.plan).await.unwrap();
    assert_eq!((kept.mode, kept.nonce, kept.open, kept.attempts.len()), (Mode::Paper, None, false, 0));
    let trade = kept.trade.unwrap();
    assert_eq!((trade.realised, trade.agrees), (Some(built.predicted_profit), Some(true)));
    let desk = gate.desk().await.unwrap();
    assert_eq!((desk.paper.open.trades, desk.paper.marks.total_net), (0, trade.net));
    assert_eq!(online.nonce().await, 0);
    // Under the same key it is booked once.
    online.submit("one", &built.plan).await.unwrap();
    assert_eq!(gate.desk().await.unwrap().paper.marks.total_net, trade.net);
    let refused = online.bench.shown(&trader(), "deploy_executor", json!({ "key": "d" })).await;
    expect!["permission_denied: the fleet is in paper mode (paper trades pretend an executor, and nothing else is sent; set_mode of production)"]
        .assert_eq(&refused);
}

#[tokio::test]
async fn on_a_chain_where_nothing_is_deployed_paper_trades_pretend_wallet_and_executor() {
    let Some(online) = real_chain().await else { return };
    let wallet = online.bench.call(&viewer("v"), WALLET, WalletRequest {}).await.unwrap();
    assert_eq!(
        (wallet.key.as_str(), wallet.executor.origin, wallet.executor.owner),
        ("none", deploy::Origin::Pretended, None)
    );
    online.push_apart().await;
    gate(&online.bench).await.set_strategy("flash-arbitrage", true, "ann", None).await.unwrap();
    let built = online.build().await;
    let simulated = online
        .bench
        .call(&viewer("v"), SIMULATE, SimulateRequest { plan: built.plan.clone(), fees: None })
        .await
        .unwrap();
    assert!(simulated.rehearsed && simulated.success, "{:?}", simulated.reason);
    assert_eq!(simulated.simulated_profit.map(|profit| Signed::gain(profit.0)), Some(built.predicted_profit));
    let kept = online.submit("one", &built.plan).await.unwrap();
    assert_eq!((kept.mode, kept.trade.unwrap().realised), (Mode::Paper, Some(built.predicted_profit)));
}

#[tokio::test]
async fn the_kill_switch_and_the_limits_hold_a_submission_back() {
    let Some(online) = online().await else { return };
    online.push_apart().await;
    let (gate, built) = (gate(&online.bench).await, online.build().await);
    gate.kill("ann", Some("drill")).await.unwrap();
    let refused = online.submit("one", &built.plan).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    assert_eq!(refused.data.unwrap()["reasons"], json!(["kill_switch"]));
    gate.resume("ann", None, false).await.unwrap();
    let tight = LimitsChange { trade_notional_max: Some(Money::whole(1)), ..LimitsChange::default() };
    gate.set_limits(&tight, ("ann", None), None, true).await.unwrap();
    let refused = online.submit("one", &built.plan).await.unwrap_err();
    assert_eq!(refused.data.unwrap()["reasons"], json!(["trade_notional"]));
    assert_eq!((online.nonce().await, gate.all_open().await.unwrap().len()), (0, 0));
    let unknown = online.bench.shown(&viewer("v"), "status", json!({ "key": "one" })).await;
    expect!["not_found: no intent `one` (keys are per wallet)"].assert_eq(&unknown);
}

#[tokio::test]
async fn a_reorganisation_takes_the_booking_back_and_the_next_one_works() {
    let Some(online) = online().await else { return };
    online.push_apart().await;
    let built = online.build().await;
    online.submit("one", &built.plan).await.unwrap();
    let booked = online.mined("one").await;
    online.anvil("anvil_reorg", json!([1, []])).await;
    let gate = gate(&online.bench).await;
    online.until(async || gate.trade("one").await.unwrap().is_none()).await;
    let desk = gate.desk().await.unwrap();
    assert_eq!((desk.live.marks.total_net, desk.live.open.trades), (Money::ZERO, 1));
    let told = online.bench.world.bus.read(RISK_TOPIC, 0, 100).await.unwrap();
    assert!(told.iter().any(|event| event.kind == "trade.taken_back" && event.data["key"] == "one"));
    // Its bytes are sent again, and it is booked again.
    let again = online.mined("one").await;
    let realised = |view: &IntentView| view.trade.as_ref().map(|trade| (trade.outcome.clone(), trade.realised));
    assert_eq!(realised(&again), realised(&booked));
    // Nothing is deleted from the journal: the first booking and its reversal are nothing together.
    let journal = gate.journal(Mode::Live, None, 10).await.unwrap();
    let [(_, first), (_, back), (_, last)] = journal.as_slice() else { panic!("{journal:?}") };
    assert_eq!((first.reverses, back.reverses, last.reverses), (None, Some(first.number), None));
    assert_eq!(back.postings, first.postings.reversed());
    assert_eq!(gate.balances(Mode::Live).await.unwrap(), last.postings);
    online.push_apart().await;
    let next = online.build().await;
    online.submit("two", &next.plan).await.unwrap();
    assert_eq!(online.mined("two").await.nonce, Some(1));
    assert_eq!(online.nonce().await, 2);
    // What the alert on trades that were taken back looks at.
    assert!(online.bench.world.metrics.render().contains("flotilla_trades_taken_back_total 1"));
}

#[tokio::test]
async fn what_the_pools_no_longer_give_is_refused_or_costs_its_gas_and_is_told() {
    let Some(online) = online().await else { return };
    online.push_apart().await;
    let built = online.build().await;
    // Somebody else takes it first.
    online.submit("other", &built.plan).await.unwrap();
    online.mined("other").await;
    let refused = online.submit("late", &built.plan).await.unwrap_err();
    assert_eq!(refused.code, Code::Reverted);
    assert!(refused.message.contains("Unprofitable(profit: -"), "{refused}");

    // Two that are sent before either is in a block: the second fails there.
    online.push_apart().await;
    let built = online.build().await;
    online.anvil("evm_setAutomine", json!([false])).await;
    online.submit("first", &built.plan).await.unwrap();
    online.submit("second", &built.plan).await.unwrap();
    online.anvil("anvil_mine", json!(["0x1"])).await;
    online.mined("first").await;
    let failed = online.mined("second").await;
    let trade = failed.trade.unwrap();
    assert_eq!((trade.outcome.as_str(), trade.realised, trade.agrees), ("failed", Some(Signed::ZERO), Some(false)));
    assert!(trade.net.is_loss());
    let told = online.bench.world.bus.read(RISK_TOPIC, 0, 100).await.unwrap();
    assert!(told.iter().any(|event| event.kind == "trade.differs" && event.data["key"] == "second"));
    assert!(online.bench.world.metrics.render().contains("flotilla_trade_differences_total 1"));
}

#[tokio::test]
async fn a_pool_is_as_old_as_the_chain_says_and_one_that_nobody_saw_made_is_not_traded() {
    let Some(online) = online().await else { return };
    // Some seconds old, however fast the market was made: a bound of none lets everything pass.
    online.anvil("evm_increaseTime", json!([5])).await;
    online.push_apart().await;
    let pool_age = async || {
        let rules = online.build().await.verdict.rules;
        rules.into_iter().find(|finding| finding.rule == Rule::PoolAge).unwrap()
    };
    let chain = &online.bench.world.chain;
    let now = chain.block(BlockId::Latest).await.unwrap().head.timestamp_seconds;
    let born = online.made_in(CYCLE[0]).await.max(online.made_in(CYCLE[1]).await);
    let youngest = now - chain.block(BlockId::Number(born)).await.unwrap().head.timestamp_seconds;
    let found = pool_age().await;
    assert_eq!((found.figure, found.unknown), (Some(youngest.to_string()), None));

    let gate = gate(&online.bench).await;
    let older_than = async |seconds: u64| {
        let change = LimitsChange { pool_age_min_seconds: Some(seconds), ..LimitsChange::default() };
        gate.set_limits(&change, ("ann", None), None, true).await.unwrap();
    };
    older_than(youngest + 3_600).await;
    let plan = online.build().await.plan;
    assert_eq!(online.submit("one", &plan).await.unwrap_err().data.unwrap()["reasons"], json!(["pool_age"]));
    older_than(youngest).await;
    online.submit("one", &plan).await.unwrap();
    online.mined("one").await;

    online.push_apart().await;
    online.forget_origins();
    let found = pool_age().await;
    let why = "no factory's event told of it to this process";
    assert_eq!((found.passed, found.figure, found.unknown.as_deref()), (false, None, Some(why)));
}

#[tokio::test]
async fn an_executor_is_deployed_once_booked_and_used() {
    let Some(online) = online().await else { return };
    let before = online.balances().await;
    let asked = DeployRequest { key: "deploy".into(), fees: None };
    online.bench.call(&trader(), DEPLOY_EXECUTOR, asked.clone()).await.unwrap();
    let done = online.mined("deploy").await;
    online.bench.call(&trader(), DEPLOY_EXECUTOR, asked).await.unwrap();
    let wallet = online.bench.call(&viewer("v"), WALLET, WalletRequest {}).await.unwrap();
    assert_eq!((wallet.executor.origin, wallet.nonce), (deploy::Origin::Deployed, 1));
    assert_eq!((wallet.executor.owner, wallet.executor.paused), (Some(wallet.address), Some(false)));
    let spent = Signed::difference(before.ether.0, online.balances().await.ether.0);
    assert_eq!(done.fee_wei.map(|fee| Signed::gain(fee.0)), Some(spent));
    assert!(gate(&online.bench).await.desk().await.unwrap().live.marks.total_net.is_loss());
    online.push_apart().await;
    let built = online.build().await;
    assert_eq!(built.to, wallet.executor.address);
    online.submit("one", &built.plan).await.unwrap();
    assert_eq!(online.mined("one").await.trade.unwrap().agrees, Some(true));
}

#[tokio::test]
async fn a_submission_that_waits_is_sped_up_and_taken_back() {
    let Some(online) = online().await else { return };
    online.push_apart().await;
    let built = online.build().await;
    online.anvil("evm_setAutomine", json!([false])).await;
    let sent = online.submit("one", &built.plan).await.unwrap();
    let offered = sent.attempts[0].fees;
    let more = |fee: Amount| Amount(fee.saturating_add(fee.0 / Amount::from(5).0));
    let fees = kernel::chain::Fees {
        max_fee_per_gas_wei: more(offered.max_fee_per_gas_wei),
        max_priority_fee_per_gas_wei: more(offered.max_priority_fee_per_gas_wei),
    };
    let faster = online.bench.call(&trader(), SPEED_UP, SpeedUpRequest { key: "one".into(), fees }).await.unwrap();
    assert_eq!((faster.attempts.len(), faster.attempts[1].fees), (2, fees));
    let open =
        online.bench.call(&viewer("v"), HISTORY, HistoryRequest { open: true, ..Default::default() }).await.unwrap();
    assert_eq!((open.submissions.len(), open.submissions[0].pools.len()), (1, CYCLE.len()));
    let back = online.bench.call(&trader(), CANCEL, CancelRequest { key: "one".into() }).await.unwrap();
    assert_eq!(back.attempts.len(), 3);
    online.anvil("anvil_mine", json!(["0x1"])).await;
    let ended = online.mined("one").await;
    assert_eq!(ended.state, kernel::intents::State::Cancelled);
    let trade = ended.trade.unwrap();
    assert_eq!((trade.outcome.as_str(), trade.realised), ("failed", Some(Signed::ZERO)));
    let desk = gate(&online.bench).await.desk().await.unwrap();
    assert_eq!((desk.live.open.trades, desk.live.marks.total_net), (0, trade.net));
}

#[tokio::test]
async fn a_bundle_is_run_by_the_relay_first_and_what_would_fail_is_not_sent() {
    let Some((online, relay)) = with_relay().await else { return };
    online.push_apart().await;
    let plan = online.build().await.plan;
    let bundle = async |key: &str| {
        let request = BundleRequest { key: key.into(), plan: plan.clone(), blocks: 2, fees: None };
        online.bench.call(&trader(), BUNDLE, request).await.unwrap()
    };
    relay.fails.store(true, std::sync::atomic::Ordering::Relaxed);
    let dropped = bundle("one").await;
    assert_eq!(dropped.why.as_deref(), Some("by the relay it would fail: reverted: too late"));
    assert_eq!((dropped.state, online.nonce().await), (kernel::intents::State::Dropped, 0));
    relay.fails.store(false, std::sync::atomic::Ordering::Relaxed);
    bundle("two").await;
    let mined = online.mined("two").await;
    let told = mined.attempts[0].rehearsed.as_ref().unwrap();
    assert_eq!((told.success, told.gas_used, mined.trade.unwrap().agrees), (true, 7, Some(true)));
    assert_eq!(online.nonce().await, 1);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_in_words() {
    let Some(online) = online().await else { return };
    online.push_apart().await;
    let built = online.build().await;
    let plan = serde_json::to_value(&built.plan).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut plan = plan.clone();
        change(&mut plan);
        json!({ "key": "k", "plan": plan })
    };
    let check = async |arguments: serde_json::Value, want: expect_test::Expect| {
        want.assert_eq(&online.plain(&online.bench.shown(&admin(), "submit", arguments).await).await);
    };
    check(
        with(&|plan| plan["amount"] = json!("0")),
        expect!["invalid_argument: amount is 0 (build_arbitrage finds the best)"],
    )
    .await;
    check(
        with(&|plan| plan["source"] = plan["legs"][0]["pool"].clone()),
        expect!["invalid_argument: <pool 0> lends and is on the way (a lender is locked for the time of the loan)"],
    )
    .await;
    check(
        with(&|plan| plan["source"] = plan["asset"].clone()),
        expect![
            "not_found: <weth> does not lend <weth> now (flash_loan_providers of blockchain-integration lists who does)"
        ],
    )
    .await;
    check(
        with(&|plan| plan["legs"][0]["token_out"] = plan["asset"].clone()),
        expect!["invalid_argument: legs[0]: pool <pool 0> gives <link> there, not <weth> (each pool takes what the one before it gave)"],
    )
    .await;
    check(
        with(&|plan| plan["legs"] = json!([plan["legs"][0]])),
        expect!["invalid_argument: the path ends at <link>, not at <weth> (one more pool, or another last one)"],
    )
    .await;
    let mut late = with(&|_| ());
    late["valid_blocks"] = json!(1_001);
    check(late, expect!["invalid_argument: valid_blocks is 1001 (1 to 1000)"]).await;
    let mut bad = with(&|_| ());
    bad["key"] = json!("a b");
    check(
        bad,
        expect!["invalid_argument: the idempotency key cannot be used (1 to 200 characters of A-Z a-z 0-9 . _ : -)"],
    )
    .await;
    let low = json!({ "max_fee_per_gas_wei": "1", "max_priority_fee_per_gas_wei": "1" });
    let mut cheap = with(&|_| ());
    cheap["fees"] = low;
    let refused = online.bench.shown(&admin(), "submit", cheap).await;
    assert!(
        refused.starts_with("invalid_argument: max_fee_per_gas_wei is 1, below the next block's base fee"),
        "{refused}"
    );
    let mut bundle = with(&|_| ());
    bundle["blocks"] = json!(2);
    expect!["not_configured: there is no private relay (configure one, or use the public route)"]
        .assert_eq(&online.bench.shown(&trader(), "bundle", bundle).await);
    // Who may only operate may not trade.
    let denied = online.bench.shown(&operator("bob"), "submit", with(&|_| ())).await;
    assert!(denied.starts_with("permission_denied: role operator may not use"), "{denied}");
    assert_eq!(online.nonce().await, 0);
}

#[tokio::test]
async fn gas_is_offered_for_some_full_blocks_and_has_a_ceiling() {
    let Some(online) = online().await else { return };
    let answer = online.bench.call(&viewer("v"), GAS_STRATEGY, GasStrategyRequest {}).await.unwrap();
    let base = answer.next_base_fee_per_gas_wei.0;
    let offered = answer.offered.max_fee_per_gas_wei.0;
    assert_eq!(offered, base + base + answer.offered.max_priority_fee_per_gas_wei.0);
    assert_eq!(answer.ceiling_wei.0, offered + offered);
    assert_eq!(online.bench.world.chain.block(BlockId::Latest).await.unwrap().head.number, answer.block);
}

#[tokio::test]
async fn configurations_that_cannot_be_meant_are_refused() {
    for (config, want) in [
        (Config { min_profit_bps: 10_001, ..Config::default() }, "servers.execution.min_profit_bps is 10001"),
        (Config { bump_percent: 9, ..Config::default() }, "servers.execution.bump_percent is 9"),
        (Config { confirmations: 0, ..Config::default() }, "servers.execution.confirmations is 0"),
        (Config { valid_blocks: 0, ..Config::default() }, "servers.execution.valid_blocks is 0"),
    ] {
        let ports = MarketPorts::without_pools(kernel::fake::World::default().ports());
        let fault = Execution::new(&ports, config).err().unwrap();
        assert_eq!(fault.message, want);
    }
}
