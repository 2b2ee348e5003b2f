use proptest::prelude::*;

use super::*;
use crate::pool::fixtures::v2;

fn amount(number: u128) -> U256 {
    U256::from(number)
}

fn out(reserves: V2Reserves, amount_in: u128) -> Result<u64> {
    v2(1, reserves).quote_exact_in(Way::ZeroForOne, amount(amount_in)).map(|quote| quote.amount_out.to())
}

fn input(reserves: V2Reserves, amount_out: u128) -> Result<u64> {
    v2(1, reserves).quote_exact_out(Way::ZeroForOne, amount(amount_out)).map(|quote| quote.amount_in.to())
}

#[test]
fn edges() {
    let even = [1_000_000, 1_000_000];
    assert_eq!([out(even, 0), input(even, 0)], [Err(Error::ZeroAmount); 2]);
    assert_eq!([out([0, 5], 1), input([5, 0], 1)], [Err(Error::NoLiquidity); 2]);
    assert_eq!(out(even, 1), Err(Error::NoOutput));
    assert_eq!([out(even, 2), out(even, 1_000), out(even, 1_000_000)], [Ok(1), Ok(996), Ok(499_248)]);
    assert_eq!([input(even, 1), input(even, 996), input(even, 999_999)], [Ok(2), Ok(1_000), Ok(1_003_008_024_073)]);
    assert_eq!([input(even, 1_000_000), input(even, 2_000_000)], [Err(Error::InsufficientLiquidity); 2]);
    assert_eq!(out([RESERVE_MAX, RESERVE_MAX], 2), Err(Error::Overflow));
    assert_eq!(out([RESERVE_MAX - 1, RESERVE_MAX], 1), Err(Error::NoOutput));
    assert_eq!(out([RESERVE_MAX - 2, RESERVE_MAX], 2), Ok(1));
    assert_eq!(out(even, u128::MAX), Err(Error::Overflow));
    assert_eq!(V2::new(*v2(1, even).identity(), [RESERVE_MAX + 1, 1]), Err(Error::Overflow));
}

#[test]
fn a_forks_own_fee() {
    let mut identity = *v2(1, [1, 1]).identity();
    identity.fee_millionths = 2_500;
    let pool = V2::new(identity, [1_000_000, 1_000_000]).unwrap();
    // 9975/10000: ⌊10000·9975·10^6 / (10^6·10^4 + 10000·9975)⌋.
    assert_eq!(pool.quote_exact_in(Way::ZeroForOne, amount(10_000)).unwrap().amount_out, amount(9_876));
    identity.fee_millionths = 1_000_000;
    assert_eq!(V2::new(identity, [1, 1]), Err(Error::BadState("the fee is all of the input")));
}

fn reserve() -> impl Strategy<Value = u128> {
    (0u32..111).prop_flat_map(|bits| (1u128 << bits)..=(2u128 << bits).min(RESERVE_MAX))
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::ZeroForOne), Just(Way::OneForZero)]
}

fn product(pool: &V2) -> U256 {
    let [first, second] = pool.reserves.map(U256::from);
    first * second
}

proptest! {
    #[test]
    fn a_trade_takes_no_more_than_the_price_and_never_lowers_the_product(
        reserves in [reserve(), reserve()], way in way(), asked in reserve(),
    ) {
        let mut pool = v2(1, reserves);
        let before = pool;
        let price = pool.spot_price(way).unwrap();
        if let Ok((quote, undo)) = pool.swap_exact_in(way, amount(asked)) {
            prop_assert!(quote.amount_out <= price.of(quote.amount_in).unwrap());
            prop_assert!(product(&pool) >= product(&before));
            prop_assert!(before.quote_exact_in(way, amount(asked + 1)).is_ok_and(|more| more.amount_out >= quote.amount_out)
                || asked == RESERVE_MAX || before.quote_exact_in(way, amount(asked + 1)) == Err(Error::Overflow));
            pool.apply(&undo).unwrap();
            prop_assert_eq!(pool, before);
        }
    }

    #[test]
    fn what_exact_out_asks_is_enough_and_hardly_more(
        reserves in [reserve(), reserve()], way in way(), asked in reserve(),
    ) {
        let pool = v2(1, reserves);
        if let Ok(quote) = pool.quote_exact_out(way, amount(asked)) {
            let got = pool.quote_exact_in(way, quote.amount_in).unwrap();
            prop_assert!(got.amount_out >= amount(asked));
            if let Ok(less) = pool.quote_exact_in(way, quote.amount_in.saturating_sub(amount(2))) {
                prop_assert!(less.amount_out < amount(asked));
            }
        }
    }
}
