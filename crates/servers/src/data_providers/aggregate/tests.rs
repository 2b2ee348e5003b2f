//! The rules by example, and what holds of them whatever the answers.

use proptest::prelude::*;

use super::*;

const NOW_MS: UnixMs = 1_000_000_000;
const BOUND_BPS: u64 = 200;

fn given(price: &str, weight: u32, age_ms: i64) -> Given {
    Given { price: price.parse().unwrap(), at_ms: NOW_MS - age_ms, weight, stale_after_ms: 60_000, sound: true }
}

/// `price@weight-age`, shown as the price, the verdicts' first letters, and what is said of it.
fn check(answers: &[(&str, u32, i64)], want: &str) {
    let given: Vec<Given> = answers.iter().map(|(price, weight, age_ms)| given(price, *weight, *age_ms)).collect();
    let judged = judge(&given, NOW_MS, BOUND_BPS, 0);
    let letters: String = judged.verdicts.iter().map(|verdict| format!("{verdict:?}").remove(0)).collect();
    let price = judged.price.map_or("none".into(), |price| price.to_string());
    let said = [(judged.lone, " lone"), (judged.disputed, " disputed")];
    let said: String = said.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    assert_eq!(format!("{price} {letters}{said} {:.2}", judged.confidence), want, "{answers:?}");
}

#[test]
fn rules_by_example() {
    check(&[("100", 1, 0), ("101", 1, 0), ("100.5", 1, 0)], "100.5 UUU 0.88");
    check(&[("100", 1, 0), ("101", 1, 0)], "100.5 UU 0.88");
    check(&[("100", 3, 0), ("101", 1, 0)], "100 UU 0.75");
    check(&[("100", 1, 0)], "100 U lone 0.50");
    check(&[("100", 1, 0), ("100", 1, 60_001)], "100 US lone 0.25");
    check(&[("100", 1, 60_000), ("100", 1, -60_000)], "100 UU 1.00");
    check(&[("100", 1, -60_001)], "none S 0.00");
    check(&[("100", 1, 0), ("100.1", 1, 0), ("150", 1, 0)], "100.05 UUO 0.66");
    check(&[("100", 1, 0), ("150", 1, 0)], "125 UU disputed 0.00");
    check(&[("100", 1, 0), ("100", 1, 0), ("150", 1, 0), ("150", 1, 0)], "125 UUUU disputed 0.00");
    check(&[("100", 1, 0), ("100", 1, 0), ("150", 3, 0)], "150 OOU lone 0.30");
    check(&[("100", 2, 0), ("90", 1, 0), ("110", 1, 0)], "100 UOO lone disputed 0.25");
    check(&[("0", 1, 0), ("100", 0, 0)], "none UU 0.00");
    check(&[], "none  0.00");
}

#[test]
fn sources_that_failed_lower_the_confidence() {
    let answers = [given("100", 1, 0), given("100", 1, 0)];
    assert_eq!(judge(&answers, NOW_MS, BOUND_BPS, 2).confidence, 0.5);
}

fn answers() -> impl Strategy<Value = Vec<Given>> {
    let one = (1u64..2_000_000, 1u32..5, -70_000i64..120_000, proptest::bool::weighted(0.9));
    proptest::collection::vec(one, 0..9).prop_map(|all| {
        let read = |(cents, weight, age_ms, sound)| Given {
            price: format!("{cents}e-2").parse().unwrap(),
            at_ms: NOW_MS - age_ms,
            weight,
            stale_after_ms: 60_000,
            sound,
        };
        all.into_iter().map(read).collect()
    })
}

proptest! {
    #[test]
    fn the_price_lies_among_what_counts_and_what_counts_is_fresh(given in answers()) {
        let judged = judge(&given, NOW_MS, BOUND_BPS, 0);
        let used: Vec<&Given> =
            given.iter().zip(&judged.verdicts).filter(|(_, verdict)| **verdict == Verdict::Used).map(|(one, _)| one).collect();
        prop_assert_eq!(judged.price.is_some(), !used.is_empty());
        prop_assert!((0.0..=1.0).contains(&judged.confidence));
        if let Some(price) = judged.price {
            prop_assert!(used.iter().any(|one| one.price <= price) && used.iter().any(|one| one.price >= price));
            prop_assert!(used.iter().all(|one| one.sound && NOW_MS - one.at_ms <= 60_000 && one.at_ms - NOW_MS <= 60_000));
            prop_assert_eq!(judged.at_ms, used.iter().map(|one| one.at_ms).min().unwrap());
            prop_assert!(judged.disputed || used.iter().all(|one| one.price.deviation_bps(price) <= BOUND_BPS));
        }
    }

    #[test]
    fn the_order_of_the_answers_does_not_matter(given in answers()) {
        let (mut reversed, forward) = (given.clone(), judge(&given, NOW_MS, BOUND_BPS, 0));
        reversed.reverse();
        let mut backward = judge(&reversed, NOW_MS, BOUND_BPS, 0);
        backward.verdicts.reverse();
        prop_assert_eq!(forward, backward);
    }

    #[test]
    fn a_minority_however_wrong_moves_the_price_no_further_than_the_honest_answers_lie(
        honest in proptest::collection::vec(100_000u64..100_500, 3..7), lies in proptest::collection::vec(1u64..10_000_000, 0..3),
    ) {
        prop_assume!(lies.len() < honest.len());
        let given: Vec<Given> = honest.iter().chain(&lies).map(|cents| given(&format!("{cents}e-2"), 1, 0)).collect();
        let judged = judge(&given, NOW_MS, BOUND_BPS, 0);
        let bounds = (honest.iter().min().unwrap(), honest.iter().max().unwrap());
        let at_least = format!("{}e-2", bounds.0).parse::<Decimal>().unwrap();
        let at_most = format!("{}e-2", bounds.1).parse::<Decimal>().unwrap();
        let price = judged.price.unwrap();
        prop_assert!(at_least <= price && price <= at_most, "{}", price);
    }

    #[test]
    fn weight_is_as_good_as_repetition(prices in proptest::collection::vec((1u64..1_000_000, 1u32..5), 1..6)) {
        let weighted: Vec<Given> = prices.iter().map(|(cents, weight)| given(&format!("{cents}e-2"), *weight, 0)).collect();
        let repeated: Vec<Given> = prices
            .iter()
            .flat_map(|(cents, weight)| (0..*weight).map(move |_| given(&format!("{cents}e-2"), 1, 0)))
            .collect();
        let all = |given: &[Given]| median(given, &(0..given.len()).collect::<Vec<_>>());
        prop_assert_eq!(all(&weighted), all(&repeated));
    }
}
