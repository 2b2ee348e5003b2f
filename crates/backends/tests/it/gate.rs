//! The risk gate, on every store: what one replica may do, and that no sequence of trades, changes, crashes and two replicas at once makes
//! a reservation that breaks a limit.

use kernel::Code;
use kernel::chain::{Address, Amount, Ground};
use kernel::store::{Expect, Write};
use market::Signed;
use market::gate::{Fill, Gate, Mode, ModeChange, Outcome};
use market::ledger::{Account, Unit};
use market::risk::{LimitsChange, Money, OracleFacts, PoolFacts, Proposal, Rule, TradingState};

use crate::kit::{Kit, on_every_backend};

mod machine;

on_every_backend!(
    a_trade_is_reserved_and_settled_once,
    a_refusal_reserves_nothing_and_names_every_rule,
    the_intent_is_written_with_the_reservation_or_not_at_all,
    the_last_look_sees_what_changed_since,
    what_a_reorganisation_undid_is_taken_back,
    limits_have_versions_and_loosening_is_asked_for,
    live_needs_limits_and_a_confirmation,
    failures_in_a_row_wait_for_a_person,
    a_day_of_losses_ends_at_midnight,
);

const STRATEGY: &str = "flash-arbitrage";

fn token(number: u8) -> Address {
    Address::from([number; 20])
}

pub(crate) fn trade(notional: i64, number: u8) -> Proposal {
    Proposal {
        strategy: STRATEGY.into(),
        pair: format!("T{number}/WETH"),
        notional: Money::whole(notional),
        at_risk: Money::whole(10),
        gross: Money::whole(20),
        gas_cost: Money::whole(5),
        gas_price_wei: Amount::from(1_000_000_000),
        slippage_bps: 10,
        tokens: [token(100), token(number)].into(),
        protocols: [format!("venue-{}", number % 3), "lender".into()].into(),
        pools: vec![PoolFacts { address: token(200), age_seconds: None, age_unknown: None, liquidity: None }],
        oracle: Some(OracleFacts { deviation_bps: 5, age_ms: 1_000 }),
        reduces: false,
        atomic: true,
        upkeep: false,
    }
}

pub(crate) fn fill(gross: i64, gas: i64) -> Fill {
    let units = Signed::difference(Amount::from(gross.unsigned_abs()).0, Amount::from(0).0);
    Fill {
        asset: token(100),
        units: if gross < 0 { units.negated() } else { units },
        predicted: None,
        simulated: None,
        fee_units: Amount::from(0),
        gas_wei: Amount::from(gas.unsigned_abs()),
        tip_wei: Amount::from(0),
        gross: Money::whole(gross),
        fee: Money::ZERO,
        gas: Money::whole(gas),
        tip: Money::ZERO,
        transaction: None,
        block: Some(7),
    }
}

/// The gate as two processes have it, its strategy started.
async fn two(kit: &Kit) -> (Gate, Gate) {
    let here = Gate::new(kit.store.clone(), kit.clock.clone(), Ground::Real);
    here.set_strategy(STRATEGY, true, "ann", None).await.unwrap();
    (here, Gate::new(kit.other.store.clone(), kit.clock.clone(), Ground::Real))
}

/// What the wallet holds of the funding asset, by the ledger.
async fn held(gate: &Gate) -> Signed {
    gate.balances(Mode::Paper).await.unwrap().of(&Account::Wallet, Unit::Token(token(100))).amount
}

async fn a_trade_is_reserved_and_settled_once(kit: Kit) {
    let (here, there) = two(&kit).await;
    let first = here.reserve("a", &trade(100, 1), &[]).await.unwrap().reservation.unwrap();
    let again = there.reserve("a", &trade(100, 1), &[]).await.unwrap().reservation.unwrap();
    assert_eq!(first, again);
    assert_eq!(there.reserve("a", &trade(101, 1), &[]).await.unwrap_err().code, Code::AlreadyExists);
    assert_eq!(there.desk().await.unwrap().paper.open.notional, Money::whole(100));
    let end = Outcome::Filled(fill(20, 5));
    let booked = there.settle("a", &end, &[]).await.unwrap();
    assert_eq!(booked.net, Money::whole(15));
    assert_eq!(here.settle("a", &end, &[]).await.unwrap(), booked);
    let other = Outcome::Released { why: "no".into() };
    assert_eq!(here.settle("a", &other, &[]).await.unwrap_err().code, Code::Conflict);
    assert_eq!(here.reserve("a", &trade(100, 1), &[]).await.unwrap_err().code, Code::AlreadyExists);
    assert_eq!(here.settle("never", &end, &[]).await.unwrap_err().code, Code::NotFound);
    let desk = here.desk().await.unwrap();
    assert_eq!((desk.paper.open.trades, desk.paper.marks.total_net), (0, Money::whole(15)));
    assert!(desk.paper.open.by_token.is_empty());
    assert_eq!(here.trades(None, 10).await.unwrap()[0].1, booked);
    assert_eq!(held(&there).await, Signed::gain(Amount::from(20).0));
    assert_eq!(here.reserve("../a", &trade(1, 1), &[]).await.unwrap_err().code, Code::InvalidArgument);
}

async fn a_refusal_reserves_nothing_and_names_every_rule(kit: Kit) {
    let (here, there) = two(&kit).await;
    there.set_strategy(STRATEGY, false, "ben", None).await.unwrap();
    let refused = here.reserve("a", &trade(10_001, 1), &[]).await.unwrap();
    assert!(refused.reservation.is_none());
    assert_eq!(refused.verdict.reasons, [Rule::StrategyRunning, Rule::TradeNotional]);
    assert_eq!(here.desk().await.unwrap().paper.open.trades, 0);
    assert_eq!(here.open("a").await.unwrap_err().code, Code::NotFound);
}

async fn the_intent_is_written_with_the_reservation_or_not_at_all(kit: Kit) {
    let (here, _) = two(&kit).await;
    let intent = [Write::put("intents", "a", "send it").expecting(Expect::Absent)];
    here.reserve("a", &trade(1, 1), &intent).await.unwrap();
    assert_eq!(kit.store.get("intents", "a").await.unwrap().unwrap().value, "send it");
    // The same intent under another id: the whole commit is refused.
    assert_eq!(here.reserve("b", &trade(1, 1), &intent).await.unwrap_err().code, Code::Conflict);
    assert_eq!(here.desk().await.unwrap().paper.open.trades, 1);
    let gone = [Write::delete("intents", "a")];
    here.settle("a", &Outcome::Released { why: "too late".into() }, &gone).await.unwrap();
    assert!(kit.store.get("intents", "a").await.unwrap().is_none());
}

async fn the_last_look_sees_what_changed_since(kit: Kit) {
    let (here, there) = two(&kit).await;
    here.reserve("a", &trade(1_000, 1), &[]).await.unwrap();
    here.clear_to_send("a").await.unwrap();
    let reasons = async || match here.clear_to_send("a").await {
        Ok(_) => Vec::<Rule>::new(),
        Err(fault) => {
            assert_eq!(fault.code, Code::PermissionDenied);
            serde_json::from_value(fault.data.unwrap()["reasons"].clone()).unwrap()
        }
    };
    let kill = there.kill("ben", Some("smoke")).await.unwrap();
    assert_eq!(reasons().await, [Rule::KillSwitch]);
    // Latched: who pulls it again is not who pulled it.
    assert_eq!(here.kill("ann", None).await.unwrap(), kill);
    assert_eq!(there.reserve("b", &trade(1, 1), &[]).await.unwrap().verdict.reasons, [Rule::KillSwitch]);
    there.resume("ben", None, false).await.unwrap();
    assert_eq!(reasons().await, []);
    let tight = LimitsChange { open_notional_max: Some(Money::whole(999)), ..LimitsChange::default() };
    there.set_limits(&tight, ("ben", None), None, false).await.unwrap();
    assert_eq!(reasons().await, [Rule::OpenExposure]);
    there.set_trading(TradingState::Halted, "ben", None, false).await.unwrap();
    assert_eq!(reasons().await, [Rule::TradingState, Rule::OpenExposure]);
    assert_eq!(
        there.set_trading(TradingState::Active, "ben", None, false).await.unwrap_err().code,
        Code::PermissionDenied
    );
}

async fn what_a_reorganisation_undid_is_taken_back(kit: Kit) {
    let (here, there) = two(&kit).await;
    here.reserve("a", &trade(100, 1), &[]).await.unwrap();
    here.settle("a", &Outcome::Filled(fill(20, 5)), &[]).await.unwrap();
    let back = there.take_back("a", &[]).await.unwrap();
    assert_eq!(back.trade, trade(100, 1));
    assert_eq!(there.take_back("a", &[]).await.unwrap_err().code, Code::NotFound);
    let desk = here.desk().await.unwrap();
    assert_eq!((desk.paper.open.notional, desk.paper.marks.total_net), (Money::whole(100), Money::ZERO));
    assert_eq!(here.trades(None, 10).await.unwrap(), []);
    assert!(here.balances(Mode::Paper).await.unwrap().is_empty());
    let rows = here.days(Mode::Paper, 0, 9_999_999).await.unwrap();
    assert_eq!((rows.len(), rows[0].sums), (1, market::gate::LedgerRow::default()));
    here.settle("a", &Outcome::Filled(fill(21, 5)), &[]).await.unwrap();
    assert_eq!(here.days(Mode::Paper, 0, 9_999_999).await.unwrap()[0].sums.net, Money::whole(16));
    // The journal forgets nothing: what was booked, its reversal, what was booked then.
    let journal = there.journal(Mode::Paper, None, 10).await.unwrap();
    let [(_, booked), (_, reversed), (_, again)] = journal.as_slice() else { panic!("{journal:?}") };
    assert_eq!((booked.number, reversed.number, again.number), (1, 2, 3));
    assert_eq!((booked.reverses, reversed.reverses, again.reverses), (None, Some(1), None));
    assert_eq!(reversed.postings, booked.postings.reversed());
    assert_eq!((reversed.trade.as_str(), reversed.block), ("a", Some(7)));
    assert_eq!(there.balances(Mode::Paper).await.unwrap(), again.postings);
    assert_eq!(held(&here).await, Signed::gain(Amount::from(21).0));
    assert!(here.journal(Mode::Live, None, 10).await.unwrap().is_empty());
}

async fn limits_have_versions_and_loosening_is_asked_for(kit: Kit) {
    let (here, there) = two(&kit).await;
    let to = |value: i64| LimitsChange { daily_loss_max: Some(Money::whole(value)), ..LimitsChange::default() };
    let code = async |change, version, may| {
        here.set_limits(&change, ("ann", None), version, may).await.err().map(|fault| fault.code)
    };
    assert_eq!(code(to(201), None, false).await, Some(Code::PermissionDenied));
    assert_eq!(code(to(-1), None, true).await, Some(Code::InvalidArgument));
    assert_eq!(code(to(100), Some(1), false).await, Some(Code::Conflict));
    assert_eq!(code(to(100), Some(0), false).await, None);
    assert_eq!(code(to(150), Some(1), true).await, None);
    let history = there.limits_history(10).await.unwrap();
    let shown: Vec<_> = history.iter().map(|one| (one.version, one.limits.daily_loss_max)).collect();
    assert_eq!(shown, [(2, Money::whole(150)), (1, Money::whole(100))]);
    assert_eq!(there.limits_history(1).await.unwrap()[0].version, 2);
}

async fn live_needs_limits_and_a_confirmation(kit: Kit) {
    let (here, there) = two(&kit).await;
    let live =
        async |gate: &Gate, token: Option<String>| gate.set_mode(Mode::Live, "ann", None, token.as_deref()).await;
    assert_eq!(live(&here, None).await.unwrap_err().code, Code::PermissionDenied);
    let tight = LimitsChange { daily_loss_max: Some(Money::whole(50)), ..LimitsChange::default() };
    here.set_limits(&tight, ("ann", None), None, false).await.unwrap();
    let ask = async || match live(&here, None).await.unwrap() {
        ModeChange::Asked(confirmation) => confirmation.token,
        ModeChange::Done(_) => panic!("live without a confirmation"),
    };
    let (late, stale, good) = (ask().await, ask().await, ask().await);
    assert_eq!(here.desk().await.unwrap().mode, Mode::Paper);
    assert_eq!(live(&there, Some("live_x/../y".into())).await.unwrap_err().code, Code::NotFound);
    assert!(matches!(live(&there, Some(good.clone())).await.unwrap(), ModeChange::Done(_)));
    assert_eq!(here.desk().await.unwrap().mode, Mode::Live);
    assert_eq!(live(&there, Some(good)).await.unwrap_err().code, Code::NotFound);
    // Paper trades do not count against live ones, and the other way round.
    let reserved = here.reserve("a", &trade(100, 1), &[]).await.unwrap().reservation.unwrap();
    assert_eq!(reserved.mode, Mode::Live);
    there.set_mode(Mode::Paper, "ben", None, None).await.unwrap();
    assert_eq!(here.clear_to_send("a").await.unwrap_err().code, Code::PermissionDenied);
    let desk = here.desk().await.unwrap();
    assert_eq!((desk.paper.open.trades, desk.live.open.trades), (0, 1));
    // A confirmation is of the limits it was asked under, and for five minutes.
    let tighter = LimitsChange { daily_loss_max: Some(Money::whole(40)), ..LimitsChange::default() };
    here.set_limits(&tighter, ("ann", None), None, false).await.unwrap();
    assert_eq!(live(&here, Some(stale)).await.unwrap_err().code, Code::Conflict);
    kit.clock.advance_ms(market::gate::CONFIRMATION_MS);
    assert_eq!(live(&here, Some(late)).await.unwrap_err().code, Code::NotFound);
}

async fn failures_in_a_row_wait_for_a_person(kit: Kit) {
    let (here, there) = two(&kit).await;
    for n in 0..5 {
        let id = format!("f{n}");
        here.reserve(&id, &trade(1, 1), &[]).await.unwrap().reservation.unwrap();
        there.settle(&id, &Outcome::Failed(fill(0, 1)), &[]).await.unwrap();
    }
    let refused = here.reserve("g", &trade(1, 1), &[]).await.unwrap();
    assert_eq!(refused.verdict.reasons, [Rule::ConsecutiveFailures]);
    there.resume("ben", Some("looked at it"), false).await.unwrap();
    let desk = here.desk().await.unwrap();
    assert_eq!((desk.paper.marks.failures, desk.paper.marks.drawdown()), (0, Money::whole(5)));
    assert!(here.reserve("g", &trade(1, 1), &[]).await.unwrap().reservation.is_some());
    there.resume("ben", None, true).await.unwrap();
    assert_eq!(here.desk().await.unwrap().paper.marks.drawdown(), Money::ZERO);
}

async fn a_day_of_losses_ends_at_midnight(kit: Kit) {
    let (here, _) = two(&kit).await;
    let tight = LimitsChange { daily_loss_max: Some(Money::whole(15)), ..LimitsChange::default() };
    here.set_limits(&tight, ("ann", None), None, false).await.unwrap();
    here.reserve("a", &trade(1, 1), &[]).await.unwrap();
    // What is open counts as lost: 10 at risk now, 10 more would be 20.
    assert_eq!(here.reserve("b", &trade(1, 1), &[]).await.unwrap().verdict.reasons, [Rule::DailyLoss]);
    here.settle("a", &Outcome::Failed(fill(0, 6)), &[]).await.unwrap();
    assert_eq!(here.reserve("b", &trade(1, 1), &[]).await.unwrap().verdict.reasons, [Rule::DailyLoss]);
    kit.clock.advance_ms(86_400_000);
    assert!(here.reserve("b", &trade(1, 1), &[]).await.unwrap().reservation.is_some());
    here.settle("b", &Outcome::Filled(fill(9, 1)), &[]).await.unwrap();
    let daily = here.daily_net(Mode::Paper, 0, kit.clock.now_ms() / 86_400_000 + 1).await.unwrap();
    let nets: Vec<Money> = daily.iter().map(|(_, net)| *net).collect();
    assert_eq!(nets, [Money::whole(-6), Money::whole(8), Money::ZERO]);
}
