use proptest::prelude::*;

use super::*;
use crate::math::tick::{MAX_SQRT_PRICE, MIN_SQRT_PRICE};
use crate::pool::fixtures::{identity, tick, v3};
use crate::pool::{AnyPool, Protocol};

const ONE: U256 = U256::from_limbs([0, 1 << 32, 0, 0]);

fn amount(number: u128) -> U256 {
    U256::from(number)
}

fn quote(pool: &V3, way: Way, number: u128) -> Result<(u64, u64, bool)> {
    pool.quote_exact_in(way, amount(number)).map(|q| (q.amount_in.to(), q.amount_out.to(), q.filled))
}

#[test]
fn edges() {
    let pool = v3(1, &[(-600, 600, 1_000_000_000)]);
    let down = Way::ZeroForOne;
    assert_eq!(pool.quote_exact_in(down, U256::ZERO), Err(Error::ZeroAmount));
    assert_eq!(pool.quote_exact_out(down, U256::ZERO), Err(Error::ZeroAmount));
    assert_eq!(pool.quote_exact_in(down, U256::MAX), Err(Error::Overflow));
    // One unit is all fee, and the contract takes it.
    assert_eq!(quote(&pool, down, 1), Ok((1, 0, true)));
    assert_eq!(quote(&pool, down, 1_000_000), Ok((1_000_000, 996_006, true)));
    // Liquidity ends at −600: what is over is not taken.
    let all = pool.quote_exact_in(down, U256::MAX >> 1).unwrap();
    assert!(!all.filled && all.ticks_crossed == 1);
    assert_eq!(quote(&pool, down, u128::MAX), Ok((all.amount_in.to(), all.amount_out.to(), false)));
    let out = pool.quote_exact_out(down, U256::MAX >> 1).unwrap();
    assert_eq!((out.amount_in, out.amount_out, out.filled), (all.amount_in, all.amount_out, false));
    let new = V3::new(identity(1, Protocol::UniswapV3), 60, V3State::default()).unwrap();
    assert_eq!(new.quote_exact_in(down, amount(5)), Err(Error::NoLiquidity));
    let empty = v3(1, &[]);
    assert_eq!(quote(&empty, down, 5), Ok((0, 0, false)));
}

#[test]
fn a_limit_stops_a_swap_and_must_lie_ahead() {
    let pool = v3(1, &[(-600, 600, 1_000_000_000)]);
    let at = |tick| sqrt_price_at(tick).unwrap();
    let trade = |way, limit| pool.trade(way, Remaining::In(amount(1 << 60)), Some(limit));
    let stopped = trade(Way::ZeroForOne, at(-7)).unwrap();
    assert_eq!((stopped.sqrt_price, stopped.tick()), (at(-7), Ok(-7)));
    assert_eq!(trade(Way::OneForZero, at(600)).unwrap().tick(), Ok(600));
    assert_eq!(trade(Way::ZeroForOne, at(-600)).unwrap().tick(), Ok(-601));
    for (way, limit) in [
        (Way::ZeroForOne, ONE),
        (Way::OneForZero, ONE),
        (Way::ZeroForOne, MIN_SQRT_PRICE),
        (Way::OneForZero, MAX_SQRT_PRICE),
    ] {
        assert_eq!(trade(way, limit), Err(Error::PriceLimit));
    }
}

#[test]
fn the_protocols_share_changes_no_amount() {
    let mut pool = v3(1, &[(-600, 600, 1_000_000_000)]);
    let asked = Remaining::In(amount(1_000_000));
    let without = pool.trade(Way::ZeroForOne, asked, None).unwrap();
    pool.apply(&Event::SetFeeProtocol { fee_protocol0: 4, fee_protocol1: 0 }).unwrap();
    let with = pool.trade(Way::ZeroForOne, asked, None).unwrap();
    assert_eq!((with.fee, with.protocol_fee), (amount(3_000), amount(750)));
    assert_eq!(without.protocol_fee, U256::ZERO);
    assert_eq!(
        (with.amount_in, with.amount_out, with.event()),
        (without.amount_in, without.amount_out, without.event())
    );
    assert_eq!(pool.apply(&Event::SetFeeProtocol { fee_protocol0: 3, fee_protocol1: 0 }), Err(Error::EventMismatch));
}

#[test]
fn states_that_cannot_be_are_refused() {
    let good = v3(1, &[(-60, 60, 5)]).state();
    let check = |change: fn(&mut V3State)| {
        let mut state = good.clone();
        change(&mut state);
        V3::new(identity(1, Protocol::UniswapV3), 60, state).err()
    };
    assert_eq!(check(|_| ()), None);
    assert!(check(|state| state.tick = 1).is_some());
    assert!(check(|state| state.liquidity = 6).is_some());
    assert!(check(|state| state.sqrt_price = U256::ZERO).is_some());
    assert!(check(|state| state.ticks.reverse()).is_some());
    assert!(check(|state| state.ticks[0].index = -61).is_some());
    assert!(check(|state| state.ticks.push(tick(120, 1))).is_some());
    assert!(check(|state| state.ticks[1].liquidity_gross = 1).is_some());
    assert!(check(|state| state.fee_protocol = [0, 3]).is_some());
}

#[test]
fn the_bitmap_follows_from_the_ticks() {
    let pool = v3(1, &[(-60, 60, 5), (-60 * 257, 60 * 256, 5)]);
    let bit = |bit: usize| U256::ONE << bit;
    assert_eq!([-2, -1, 0, 1].map(|place| pool.bitmap_word(place)), [bit(255), bit(255), bit(1), bit(0)]);
}

#[test]
fn text_and_back() {
    let pool = AnyPool::from(v3(1, &[(-60, 60, 5)]));
    let text = serde_json::to_string(&pool).unwrap();
    assert_eq!(serde_json::from_str::<AnyPool>(&text).unwrap(), pool);
    assert!(serde_json::from_str::<AnyPool>(&text.replace("\"tick\":0", "\"tick\":9")).is_err());
}

/// Up to six ranges in multiples of the spacing, around price one.
fn ranges() -> impl Strategy<Value = Vec<(i32, i32, u128)>> {
    let range =
        (-400i32..400, 1i32..400, 0u32..80).prop_map(|(low, width, bits)| (60 * low, 60 * (low + width), 3 << bits));
    prop::collection::vec(range, 1..6)
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::ZeroForOne), Just(Way::OneForZero)]
}

proptest! {
    #[test]
    fn a_trade_is_worse_than_the_price_monotone_and_undone_by_its_event(
        ranges in ranges(), way in way(), bits in 0u32..90, low in any::<u16>(),
    ) {
        let mut pool = v3(1, &ranges);
        let before = pool.clone();
        let asked = (amount(1) << bits) + amount(low.into());
        let price = pool.spot_price(way).unwrap();
        let more = pool.quote_exact_in(way, asked + amount(1)).unwrap();
        let (quote, undo) = pool.swap_exact_in(way, asked).unwrap();
        prop_assert!(quote.amount_in <= asked && more.amount_out >= quote.amount_out);
        prop_assert!(quote.amount_out <= price.of(quote.amount_in).unwrap());
        // What holds of every state holds of this one: it is a state a snapshot may have.
        prop_assert_eq!(&V3::new(*pool.identity(), 60, pool.state()).unwrap(), &pool);
        pool.apply(&undo).unwrap();
        prop_assert_eq!(pool, before);
    }

    #[test]
    fn there_and_back_never_gains(ranges in ranges(), way in way(), bits in 0u32..90) {
        let mut pool = v3(1, &ranges);
        let (there, _) = pool.swap_exact_in(way, amount(1) << bits).unwrap();
        if !there.amount_out.is_zero() {
            let (back, _) = pool.swap_exact_in(way.back(), there.amount_out).unwrap();
            prop_assert!(back.amount_out <= there.amount_in);
        }
    }

    #[test]
    fn what_exact_out_asks_is_enough(ranges in ranges(), way in way(), bits in 0u32..80) {
        let pool = v3(1, &ranges);
        let quote = pool.quote_exact_out(way, amount(1) << bits).unwrap();
        if quote.filled {
            let got = pool.quote_exact_in(way, quote.amount_in).unwrap();
            // Steps end elsewhere by rounding, each worth a unit.
            prop_assert!(got.amount_out + amount(2 + u128::from(quote.ticks_crossed)) >= quote.amount_out);
        }
    }

    #[test]
    fn liquidity_comes_and_goes_without_a_trace(ranges in ranges(), more in ranges()) {
        let mut pool = v3(1, &ranges);
        let before = pool.clone();
        let undo: Vec<Event> = more.iter().map(|&(tick_lower, tick_upper, amount)| {
            pool.apply(&Event::Mint { tick_lower, tick_upper, amount }).unwrap()
        }).collect();
        for event in undo.iter().rev() {
            pool.apply(event).unwrap();
        }
        prop_assert_eq!(pool, before);
    }
}
