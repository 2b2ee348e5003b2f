use std::collections::BTreeSet;

use kernel::chain::Amount;
use proptest::prelude::*;

use super::*;
use crate::fixtures::address;
use crate::gate::{Fill, Mode};

fn trade(outcome: Outcome) -> Trade {
    Trade {
        id: "a".into(),
        strategy: "flash-arbitrage".into(),
        pair: "WETH/LINK".into(),
        mode: Mode::Live,
        notional: Money::whole(100),
        tokens: BTreeSet::new(),
        protocols: BTreeSet::new(),
        reserved_ms: 1,
        ended_ms: 2,
        net: match &outcome {
            Outcome::Filled(fill) | Outcome::Failed(fill) => fill.net(),
            Outcome::Released { .. } => Money::ZERO,
        },
        outcome,
    }
}

fn fill(units: Signed, fee_units: u64, gas_wei: u64, tip_wei: u64) -> Fill {
    let money = |units: u64| Money::millionths(i128::from(units));
    Fill {
        asset: address(1),
        units,
        predicted: None,
        simulated: None,
        fee_units: Amount::from(fee_units),
        gas_wei: Amount::from(gas_wei),
        tip_wei: Amount::from(tip_wei),
        gross: Money::millionths(7 * i128::try_from(units.0).unwrap()).plus(money(fee_units)),
        fee: money(fee_units),
        gas: money(3 * gas_wei),
        tip: money(3 * tip_wei),
        transaction: None,
        block: None,
    }
}

fn signed(value: i64) -> Signed {
    let size = Signed::gain(U256::from(value.unsigned_abs()));
    if value < 0 { size.negated() } else { size }
}

fn shown(postings: &Postings) -> String {
    let line = |one: Posting| format!("{} {} {} {}\n", one.account, one.unit, one.amount, one.value);
    postings.list().into_iter().map(line).collect()
}

#[test]
fn a_trade_is_a_gain_a_fee_gas_and_a_tip() {
    let postings = Postings::of_trade(&trade(Outcome::Filled(fill(signed(1_000), 9, 21, 4)))).unwrap();
    let token = address(1);
    let want = format!(
        "wallet native -25 -0.000075\nwallet {token} 1000 0.007\ngains:flash-arbitrage {token} -1009 -0.007009\nfees {token} 9 0.000009\n\
         gas native 21 0.000063\ntips native 4 0.000012\n"
    );
    assert_eq!(shown(&postings), want);
    let text = serde_json::to_string(&postings).unwrap();
    assert!(text.starts_with(r#"[{"account":"wallet","unit":"native","amount":"-25","value":"-0.000075"},"#), "{text}");
    assert_eq!(serde_json::from_str::<Postings>(&text).unwrap(), postings);

    let failed = Postings::of_trade(&trade(Outcome::Failed(fill(Signed::ZERO, 0, 21, 0)))).unwrap();
    assert_eq!(shown(&failed), "wallet native -21 -0.000063\ngas native 21 0.000063\n");
    let released = Postings::of_trade(&trade(Outcome::Released { why: "late".into() })).unwrap();
    assert!(released.is_empty());
}

#[test]
fn what_no_chain_has_is_refused() {
    let mut postings = Postings::default();
    let most = Signed::gain(AMOUNT_MAX - U256::ONE);
    postings.transfer(Unit::Native, Account::Gas, Account::Wallet, most, Money::ZERO).unwrap();
    for over in [Signed::gain(AMOUNT_MAX), Signed::gain(AMOUNT_MAX).negated(), Signed::gain(U256::MAX)] {
        let refused = postings.transfer(Unit::Native, Account::Gas, Account::Wallet, over, Money::ZERO).unwrap_err();
        assert_eq!(refused.code, kernel::Code::TooLarge);
    }
    assert_eq!(postings.of(&Account::Wallet, Unit::Native).amount, most);
    for bad in ["Wallet", "gains", "", "fees "] {
        assert!(bad.parse::<Account>().is_err(), "{bad:?}");
    }
}

fn accounts() -> impl Strategy<Value = Account> {
    prop_oneof![
        Just(Account::Wallet),
        "[a-z:/-]{0,8}".prop_map(Account::Gains),
        Just(Account::Fees),
        Just(Account::Gas),
        Just(Account::Tips)
    ]
}

fn units() -> impl Strategy<Value = Unit> {
    prop_oneof![Just(Unit::Native), (0u8..3).prop_map(|number| Unit::Token(address(number)))]
}

/// Any postings at all, up to the largest amounts.
fn postings() -> impl Strategy<Value = Postings> {
    let amount = prop_oneof![
        any::<i64>().prop_map(signed),
        any::<[u64; 4]>().prop_map(|limbs| Signed::gain(U256::from_limbs(limbs) % AMOUNT_MAX)),
    ];
    let value = any::<i64>().prop_map(|value| Money::millionths(value.into()));
    prop::collection::vec((units(), accounts(), accounts(), amount, value), 0..8).prop_map(|transfers| {
        let mut postings = Postings::default();
        for (unit, from, to, amount, value) in transfers {
            postings.transfer(unit, from, to, amount, value).unwrap();
        }
        postings
    })
}

proptest! {
    #[test]
    fn every_sum_of_entries_balances(entries in prop::collection::vec(postings(), 0..20)) {
        let (mut all, mut apart) = (Postings::default(), BTreeMap::<Unit, Postings>::new());
        for entry in &entries {
            prop_assert!(entry.unbalanced().is_empty());
            prop_assert_eq!(entry.value(|_| true), Money::ZERO);
            all.add(entry);
            for (unit, part) in entry.by_unit() {
                prop_assert!(part.unbalanced().is_empty());
                apart.entry(unit).or_default().add(&part);
            }
        }
        prop_assert!(all.unbalanced().is_empty());
        // Kept unit by unit, it is the same.
        let mut joined = Postings::default();
        apart.values().for_each(|part| joined.add(part));
        prop_assert_eq!(&joined, &all);
        // Reversed one by one, in any order, nothing is left.
        entries.iter().for_each(|entry| all.add(&entry.reversed()));
        prop_assert!(all.is_empty());
    }

    #[test]
    fn postings_are_text_and_back(entry in postings()) {
        let text = serde_json::to_string(&entry).unwrap();
        prop_assert_eq!(serde_json::from_str::<Postings>(&text).unwrap(), entry);
    }

    #[test]
    fn a_trade_moves_what_its_fill_says(units in any::<i64>(), fee in any::<u32>(), gas in any::<u32>(), tip in any::<u32>()) {
        let fill = fill(signed(units), fee.into(), gas.into(), tip.into());
        let trade = trade(Outcome::Filled(fill.clone()));
        let postings = Postings::of_trade(&trade).unwrap();
        let (asset, gains) = (Unit::Token(fill.asset), Account::Gains(trade.strategy.clone()));
        prop_assert!(postings.unbalanced().is_empty());
        prop_assert_eq!(postings.of(&Account::Wallet, asset).amount, fill.units);
        let spent = U256::from(u64::from(gas) + u64::from(tip));
        prop_assert_eq!(postings.of(&Account::Wallet, Unit::Native).amount, Signed::gain(spent).negated());
        prop_assert_eq!(postings.of(&gains, asset).value, Money::ZERO.minus(fill.gross));
        for (account, value) in [(Account::Fees, fill.fee), (Account::Gas, fill.gas), (Account::Tips, fill.tip), (Account::Wallet, trade.net)] {
            prop_assert_eq!(postings.value(|one| *one == account), value);
        }
    }
}
