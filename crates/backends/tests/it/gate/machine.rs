//! Two replicas do anything at once, and either may die at any step: no reservation and no send ever breaks a limit, and the sums are always
//! right.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::chain::Ground;
use kernel::signal::Nudge;
use kernel::store::{Change, Entries, Entry, Store, Write};
use kernel::{Clock, Code, Result};
use market::gate::{Desk, Gate, LedgerRow, Mode, Outcome, Reservation, Trade};
use market::ledger::{Account, Postings};
use market::risk::{Exposure, Limits, LimitsChange, Money, TradingState};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::Notify;

use super::{STRATEGY, fill, trade};
use crate::kit::{self, Kit};

/// What a replica does.
#[derive(Debug, Clone)]
enum Act {
    Reserve { id: u8, notional: i64, token: u8 },
    Settle { id: u8, gross: i64, gas: i64 },
    Fail { id: u8, gas: i64 },
    Release { id: u8 },
    TakeBack { id: u8 },
    Limit(Box<LimitsChange>),
    Kill,
    Resume,
    Trading(TradingState),
    Start(bool),
    ClearToSend { id: u8 },
}

/// Where a replica dies, if it does: at which of its steps towards the store, and whether the step was still made.
type Death = Option<(u8, bool)>;

/// What happens: both at once, then time passes.
#[derive(Debug, Clone)]
struct Round {
    first: (Act, Death),
    second: Option<(Act, Death)>,
    hours: u8,
}

fn act() -> impl Strategy<Value = Act> {
    let id = 0u8..8;
    let limit = (0u8..5, 1i64..500).prop_map(|(which, value)| {
        let (value, mut change) = (Some(Money::whole(value)), LimitsChange::default());
        match which {
            0 => change.open_notional_max = value,
            1 => change.token_notional_max = value,
            2 => change.protocol_notional_max = value,
            3 => change.daily_loss_max = value,
            _ => change.drawdown_max = value,
        }
        Act::Limit(Box::new(change))
    });
    prop_oneof![
        8 => (id.clone(), 1i64..200, 1u8..4).prop_map(|(id, notional, token)| Act::Reserve { id, notional, token }),
        4 => (id.clone(), 0i64..15, 0i64..10).prop_map(|(id, gross, gas)| Act::Settle { id, gross, gas }),
        2 => (id.clone(), 0i64..10).prop_map(|(id, gas)| Act::Fail { id, gas }),
        2 => id.clone().prop_map(|id| Act::Release { id }),
        1 => id.clone().prop_map(|id| Act::TakeBack { id }),
        3 => limit,
        1 => Just(Act::Kill),
        2 => Just(Act::Resume),
        1 => prop_oneof![Just(TradingState::Halted), Just(TradingState::Reducing), Just(TradingState::Active)].prop_map(Act::Trading),
        1 => any::<bool>().prop_map(Act::Start),
        4 => id.prop_map(|id| Act::ClearToSend { id }),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    let doing = || (act(), prop::option::weighted(0.25, (0u8..9, any::<bool>())));
    (doing(), prop::option::weighted(0.8, doing()), prop_oneof![4 => Just(0u8), 1 => 1u8..30])
        .prop_map(|(first, second, hours)| Round { first, second, hours })
}

/// A store whose user dies at some step.
struct Brittle {
    inner: Arc<dyn Store>,
    left: Mutex<Death>,
    died: Notify,
}

impl Brittle {
    /// Does a step, unless this is where the user dies. Others get their turn around each step.
    async fn step<T>(&self, step: impl Future<Output = T> + Send) -> T {
        tokio::task::yield_now().await;
        let now = {
            let mut left = self.left.lock();
            match &mut *left {
                Some((0, made)) => Some(*made),
                Some((steps, _)) => {
                    *steps -= 1;
                    None
                }
                None => None,
            }
        };
        match now {
            None => {
                let answer = step.await;
                tokio::task::yield_now().await;
                return answer;
            }
            Some(true) => drop(step.await),
            Some(false) => {}
        }
        self.died.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Entries for Brittle {
    async fn get(&self, space: &str, key: &str) -> Result<Option<Entry>> {
        self.step(self.inner.get(space, key)).await
    }

    async fn list(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.step(self.inner.list(space, prefix, after, limit)).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64> {
        self.step(self.inner.commit(writes)).await
    }

    fn changed<'a>(&'a self, spaces: &[&str]) -> Nudge<'a> {
        self.inner.changed(spaces)
    }
}

#[async_trait]
impl Store for Brittle {
    async fn changes(&self, space: &str, prefix: &str, revision: u64, limit: usize) -> Result<Vec<Change>> {
        self.step(self.inner.changes(space, prefix, revision, limit)).await
    }
}

/// One act by a replica of its own, which dies when its time has come. Answers what it may send.
async fn perform(store: &Arc<dyn Store>, clock: &Clock, act: &Act, death: Death) -> Option<String> {
    let brittle = Arc::new(Brittle { inner: store.clone(), left: Mutex::new(death), died: Notify::new() });
    let gate = Gate::new(brittle.clone(), clock.clone(), Ground::Real);
    tokio::select! {
        fault = attempt(&gate, act) => {
            // What may be said no to; anything else is a bug.
            let expected = [Code::NotFound, Code::AlreadyExists, Code::Conflict, Code::PermissionDenied];
            assert!(fault.is_none_or(|code| expected.contains(&code)), "{act:?}: {fault:?}");
            match act {
                Act::ClearToSend { id } if fault.is_none() => Some(name(*id)),
                _ => None,
            }
        }
        () = brittle.died.notified() => None,
    }
}

fn name(id: u8) -> String {
    format!("t{id}")
}

async fn attempt(gate: &Gate, act: &Act) -> Option<Code> {
    let settle = async |id: u8, outcome: Outcome| gate.settle(&name(id), &outcome, &[]).await.err();
    let fault = match act {
        Act::Reserve { id, notional, token } => gate.reserve(&name(*id), &trade(*notional, *token), &[]).await.err(),
        Act::Settle { id, gross, gas } => settle(*id, Outcome::Filled(fill(*gross, *gas))).await,
        Act::Fail { id, gas } => settle(*id, Outcome::Failed(fill(0, *gas))).await,
        Act::Release { id } => settle(*id, Outcome::Released { why: "test".into() }).await,
        Act::TakeBack { id } => gate.take_back(&name(*id), &[]).await.err(),
        Act::Limit(change) => gate.set_limits(change, ("ann", None), None, true).await.err(),
        Act::Kill => gate.kill("ann", None).await.err(),
        Act::Resume => gate.resume("ann", None, false).await.err(),
        Act::Trading(state) => gate.set_trading(*state, "ann", None, true).await.err(),
        Act::Start(running) => gate.set_strategy(STRATEGY, *running, "ann", None).await.err(),
        Act::ClearToSend { id } => gate.clear_to_send(&name(*id)).await.err(),
    };
    fault.map(|fault| fault.code)
}

fn breaks(exposure: &Exposure, lost: Money, drawdown: Money, limits: &Limits) -> Vec<&'static str> {
    let over = |most: Option<&Money>, bound: Money| most.is_some_and(|value| *value > bound);
    let checks = [
        ("open", exposure.notional > limits.open_notional_max),
        ("token", over(exposure.by_token.values().max(), limits.token_notional_max)),
        ("protocol", over(exposure.by_protocol.values().max(), limits.protocol_notional_max)),
        ("daily loss", lost.plus(exposure.at_risk) > limits.daily_loss_max),
        ("drawdown", drawdown.plus(exposure.at_risk) > limits.drawdown_max),
    ];
    checks.into_iter().filter(|(_, broken)| *broken).map(|(name, _)| name).collect()
}

/// Whether a desk lets what is reserved on it be sent.
fn lets_send(desk: &Desk) -> bool {
    let marks = &desk.paper.marks;
    let broken = breaks(&desk.paper.open, marks.day_net.loss(), marks.drawdown(), desk.limits());
    let running = desk.strategies.get(STRATEGY).is_some_and(|strategy| strategy.running);
    desk.kill.is_none() && desk.trading == TradingState::Active && running && broken.is_empty()
}

/// What is true after every round, by the store alone.
async fn hold(kit: &Kit, before: &BTreeMap<String, Reservation>, round: &Round) -> BTreeMap<String, Reservation> {
    let gate = Gate::new(kit.other.store.clone(), kit.clock.clone(), Ground::Real);
    let desk = gate.desk().await.unwrap();
    let open: BTreeMap<_, _> = gate.all_open().await.unwrap().into_iter().map(|one| (one.id.clone(), one)).collect();
    let mut summed = Exposure::default();
    open.values().for_each(|reservation| summed.add(&reservation.trade));
    assert_eq!(desk.paper.open, summed, "the desk is not the sum of what is open");

    // Someone who was let in this round fits the limits that it was judged by, everything open counted. What a reorganisation brought
    // back may stand above them.
    let acts = [Some(&round.first), round.second.as_ref()];
    let taken_back = acts.iter().flatten().any(|(act, _)| matches!(act, Act::TakeBack { .. }));
    let newest = open.iter().filter(|(id, _)| !before.contains_key(*id)).map(|(_, one)| one).next_back();
    if let Some(newest) = newest.filter(|_| !taken_back) {
        let history = gate.limits_history(100).await.unwrap();
        let judged_by = history.into_iter().find(|one| one.version == newest.limits_version);
        let limits = judged_by.map(|one| one.limits).unwrap_or_default();
        let marks = &desk.paper.marks;
        let broken = breaks(&desk.paper.open, marks.day_net.loss(), marks.drawdown(), &limits);
        assert!(broken.is_empty(), "{broken:?} broken by {}", newest.id);
    }

    let trades = gate.trades(None, 1_000).await.unwrap();
    let ids: BTreeSet<_> = trades.iter().map(|(_, trade)| trade.id.clone()).collect();
    assert_eq!(ids.len(), trades.len(), "a trade ended twice");
    assert!(ids.iter().all(|id| !open.contains_key(id)), "a trade is open and ended");
    let net = trades.iter().map(|(_, trade)| trade.net).fold(Money::ZERO, Money::plus);
    assert_eq!(desk.paper.marks.total_net, net);
    let mut rows = LedgerRow::default();
    gate.days(Mode::Paper, 0, 9_999_999).await.unwrap().iter().for_each(|row| rows.add(&row.sums));
    assert_eq!(rows.net, net);
    ledger_holds(&gate, &trades, &rows, desk.paper.entries).await;
    if desk.kill.is_some() {
        for id in open.keys() {
            assert_eq!(gate.clear_to_send(id).await.unwrap_err().code, Code::PermissionDenied);
        }
    }
    open
}

/// The journal adds up to the balances, and both to the trades and to the sums of profit and loss.
async fn ledger_holds(gate: &Gate, trades: &[(String, Trade)], rows: &LedgerRow, entries: u64) {
    let journal = gate.journal(Mode::Paper, None, 1_000).await.unwrap();
    let numbers: Vec<u64> = journal.iter().map(|(_, entry)| entry.number).collect();
    assert_eq!(numbers, (1..=entries).collect::<Vec<_>>(), "an entry is missing");
    let (mut all, mut standing) = (Postings::default(), BTreeMap::new());
    for (_, entry) in &journal {
        assert!(!entry.postings.is_empty() && entry.postings.unbalanced().is_empty(), "{entry:?}");
        all.add(&entry.postings);
        match entry.reverses {
            None => standing.insert(entry.number, entry),
            Some(number) => standing.remove(&number),
        };
    }
    assert_eq!(all, gate.balances(Mode::Paper).await.unwrap());
    let moved: Vec<_> = trades.iter().filter(|(_, trade)| !Postings::of_trade(trade).unwrap().is_empty()).collect();
    assert_eq!(moved.len(), standing.len(), "what stands in the journal is not what was traded");
    for entry in standing.values() {
        let (_, trade) = moved.iter().find(|(_, trade)| trade.id == entry.trade).unwrap();
        assert_eq!(entry.postings, Postings::of_trade(trade).unwrap());
    }
    let value = |account: Account| all.value(|one| *one == account);
    assert_eq!(value(Account::Gains(STRATEGY.into())), Money::ZERO.minus(rows.gross));
    let of = [value(Account::Fees), value(Account::Gas), value(Account::Tips), value(Account::Wallet)];
    assert_eq!(of, [rows.fees, rows.gas, rows.tips, rows.net]);
}

async fn run(kit: &Kit, rounds: Vec<Round>) {
    let gate = Gate::new(kit.store.clone(), kit.clock.clone(), Ground::Real);
    gate.set_strategy(STRATEGY, true, "ann", None).await.unwrap();
    let small = LimitsChange {
        open_notional_max: Some(Money::whole(300)),
        token_notional_max: Some(Money::whole(250)),
        protocol_notional_max: Some(Money::whole(250)),
        daily_loss_max: Some(Money::whole(40)),
        ..LimitsChange::default()
    };
    gate.set_limits(&small, ("ann", None), None, true).await.unwrap();
    let mut open = BTreeMap::new();
    for round in rounds {
        let desk = gate.desk().await.unwrap();
        let one = perform(&kit.store, &kit.clock, &round.first.0, round.first.1);
        let sent = match &round.second {
            Some((act, death)) => {
                let two = perform(&kit.other.store, &kit.clock, act, *death);
                <[_; 2]>::from(tokio::join!(one, two))
            }
            None => [one.await, None],
        };
        let before = std::mem::take(&mut open);
        open = hold(kit, &before, &round).await;
        // A clearance changes nothing, so what it was given by is the desk before the round or the one after.
        let lets = [(lets_send(&desk), &before), (lets_send(&gate.desk().await.unwrap()), &open)];
        for id in sent.into_iter().flatten() {
            assert!(lets.iter().any(|(lets, open)| *lets && open.contains_key(&id)), "{id} may be sent past a limit");
        }
        kit.clock.advance_ms(i64::from(round.hours) * 3_600_000);
    }
}

fn on_a_runtime<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn no_limit_is_broken_on_memory(rounds in prop::collection::vec(round(), 1..40)) {
        on_a_runtime(async { run(&kit::memory().await, rounds).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn no_limit_is_broken_on_sqlite(rounds in prop::collection::vec(round(), 1..30)) {
        on_a_runtime(async { run(&kit::sqlite().await, rounds).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn no_limit_is_broken_on_postgres(rounds in prop::collection::vec(round(), 1..30)) {
        on_a_runtime(async {
            if let Some(kit) = kit::postgres().await {
                run(&kit, rounds).await;
            }
        });
    }
}
