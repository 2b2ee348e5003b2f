use proptest::prelude::*;

use super::*;
use crate::fixtures::{address, v2_between};
use crate::pool::{Event, Identity, Protocol, V3, V3State};

/// A pool of a cycle: a pair, or concentrated liquidity of two ranges around a price near one.
#[derive(Debug, Clone)]
enum Spec {
    Pair([u128; 2]),
    Ranges { tick: i32, inner: u128, outer: u128 },
}

fn pool(number: u8, tokens: [u8; 2], spec: &Spec) -> AnyPool {
    match *spec {
        Spec::Pair(reserves) => v2_between(number, tokens, reserves).into(),
        Spec::Ranges { tick, inner, outer } => {
            let identity = Identity {
                address: address(100 + number),
                tokens: tokens.map(address),
                protocol: Protocol::UniswapV3,
                fee_millionths: 500,
            };
            let mut pool = V3::new(identity, 10, V3State::default()).unwrap();
            let sqrt_price = crate::math::tick::sqrt_price_at(tick).unwrap();
            pool.apply(&Event::Initialize { sqrt_price, tick }).unwrap();
            let middle = tick.div_euclid(10) * 10;
            for (width, amount) in [(100, inner), (3_000, outer)] {
                let range = (middle - width, middle + width);
                pool.apply(&Event::Mint { tick_lower: range.0, tick_upper: range.1, amount }).unwrap();
            }
            pool.into()
        }
    }
}

/// A cycle through these pools: token 0 to 1 to 2 and back to 0.
fn cycle(specs: &[Spec]) -> (Book, Vec<Hop>) {
    let mut book = Book::default();
    let mut hops = Vec::new();
    for (number, spec) in specs.iter().enumerate() {
        let (from, to) = (number as u8, (number + 1) as u8 % specs.len() as u8);
        let id = book.join(1, pool(number as u8, [from, to], spec)).unwrap();
        hops.push(Hop { pool: id, way: Way::ZeroForOne });
    }
    (book, hops)
}

/// What the best of all inputs leaves.
fn brute_force(path: &Path<'_>, fee: &FeeRule, cap: u64) -> Signed {
    let leaves = (1..=cap).filter_map(|input| {
        let input = U256::from(input);
        let trade = path.trade(input).ok()?;
        Some(Signed::difference(trade.output, fee.repayment(Amount(input))?.0))
    });
    leaves.max().unwrap_or_default()
}

/// What one unit more at every hop is worth at the end, rounded up.
fn one_step(path: &Path<'_>) -> U256 {
    let mut worth = U256::ONE;
    for (pool, way) in &path.legs {
        worth = pool.spot_price(*way).unwrap().of(worth).unwrap() + U256::from(2);
    }
    worth
}

fn check(specs: &[Spec], fee: &FeeRule, cap: u64) -> std::result::Result<(), TestCaseError> {
    let (book, hops) = cycle(specs);
    let path = Path::new(&book, &hops).unwrap();
    let top = brute_force(&path, fee, cap);
    let found = best(&path, fee, U256::from(cap), U256::from(cap / 7));
    let gain = found.as_ref().map_or(Signed::ZERO, |sized| Signed::gain(sized.gain));
    prop_assert!(gain.plus(Signed::gain(one_step(&path))) >= top.max(Signed::ZERO), "{gain} is not {top}: {specs:?}");
    prop_assert!(gain <= top.max(Signed::ZERO));
    if let Some(sized) = found {
        prop_assert_eq!(path.trade(sized.trade.input).unwrap(), sized.trade.clone());
        let owed = fee.repayment(Amount(sized.trade.input)).unwrap().0;
        prop_assert_eq!((owed, sized.trade.output - owed), (sized.repayment, sized.gain));
    }
    Ok(())
}

fn pair() -> impl Strategy<Value = Spec> {
    (20u128..6_000, 20u128..6_000).prop_map(|(a, b)| Spec::Pair([a, b]))
}

fn ranges() -> impl Strategy<Value = Spec> {
    (-1_500i32..1_500, 0u128..40_000, 1_000u128..40_000).prop_map(|(tick, inner, outer)| Spec::Ranges {
        tick,
        inner,
        outer,
    })
}

fn fee() -> impl Strategy<Value = FeeRule> {
    prop_oneof![
        Just(FeeRule::WadUp { wad: Amount::from(0) }),
        Just(FeeRule::BpsHalfUp { bps: 5 }),
        Just(FeeRule::MillionthsUp { millionths: 3_000 }),
        Just(FeeRule::PairPerMille { per_mille: 3 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn pairs_alone_are_within_a_step_of_brute_force(specs in prop::collection::vec(pair(), 2..=4), fee in fee()) {
        check(&specs, &fee, 12_000)?;
    }

    #[test]
    fn mixed_cycles_are_within_a_step_of_brute_force(
        specs in prop::collection::vec(prop_oneof![pair(), ranges(), ranges()], 2..=3), fee in fee(),
    ) {
        check(&specs, &fee, 3_000)?;
    }
}

/// A hill of few units: a golden section whose cut rounds to nothing ended nine units below its top.
#[test]
fn a_low_hill_is_climbed_to_its_top() {
    let specs = [Spec::Pair([809, 4_851]), Spec::Ranges { tick: -933, inner: 1_811, outer: 13_313 }];
    check(&specs, &FeeRule::MillionthsUp { millionths: 3_000 }, 3_000).unwrap();
    let specs = [Spec::Ranges { tick: 178, inner: 29_999, outer: 26_974 }, Spec::Pair([897, 1_141])];
    check(&specs, &FeeRule::WadUp { wad: Amount::from(0) }, 3_000).unwrap();
}

/// Where looking begins changes nothing that matters.
#[test]
fn the_guess_decides_the_speed_and_not_the_size() {
    let (book, hops) = cycle(&[
        Spec::Pair([10u128.pow(9), 2 * 10u128.pow(9)]),
        Spec::Ranges { tick: -600, inner: 10u128.pow(10), outer: 10u128.pow(11) },
    ]);
    let path = Path::new(&book, &hops).unwrap();
    let gain = |guess: u64| {
        let sized = best(&path, &FeeRule::BpsHalfUp { bps: 5 }, U256::from(10u64.pow(9)), U256::from(guess)).unwrap();
        sized.gain
    };
    let gains: Vec<U256> = [1, 1_000, 1_000_000, 400_000_000, 10u64.pow(9)].map(gain).to_vec();
    let (least, most) = (gains.iter().min().unwrap(), gains.iter().max().unwrap());
    assert!(*most - *least <= one_step(&path), "{gains:?}");
}

#[test]
fn the_closed_form_by_hand() {
    // Two pairs at 1.000 and 1.300: √(A·B) − B over C, as a pocket calculator has it.
    let (book, hops) =
        cycle(&[Spec::Pair([10u128.pow(24), 10u128.pow(24)]), Spec::Pair([10u128.pow(24), 13 * 10u128.pow(23)])]);
    let path = Path::new(&book, &hops).unwrap();
    let free = FeeRule::WadUp { wad: Amount::from(0) };
    let sized = best(&path, &free, U256::MAX, U256::ONE).unwrap();
    let input = f64::from(sized.trade.input) / 1e24;
    let (a, b, c) = (0.997f64 * 0.997 * 1.3, 1.0, 0.997 + 0.997 * 0.997);
    assert!((input - ((a * b).sqrt() - b) / c).abs() < 1e-12, "{input}");
    // No neighbour leaves more.
    for step in [1u64, 1_000, 1 << 40] {
        for input in [sized.trade.input + U256::from(step), sized.trade.input - U256::from(step)] {
            let other = path.trade(input).unwrap();
            assert!(Signed::difference(other.output, input) <= Signed::gain(sized.gain));
        }
    }
    // A loan's limit holds, and a loan that costs more than the cycle gains leaves nothing.
    let capped = best(&path, &free, U256::from(1_000_000), U256::ONE).unwrap();
    assert!(capped.trade.input <= U256::from(1_000_000) && capped.gain > U256::from(280_000));
    assert_eq!(best(&path, &FeeRule::MillionthsUp { millionths: 300_000 }, U256::MAX, U256::ONE), None);
}

#[test]
fn a_path_must_join() {
    let (book, mut hops) = cycle(&[Spec::Pair([9, 9]), Spec::Pair([9, 9]), Spec::Pair([9, 9])]);
    hops.swap(0, 1);
    assert_eq!(Path::new(&book, &hops).unwrap_err(), Error::UnknownWay);
    assert_eq!(Path::new(&book, &[]).unwrap_err(), Error::UnknownWay);
}
