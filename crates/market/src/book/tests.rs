use super::*;
use crate::pool::Way;
use crate::pool::fixtures::{address, v2, v3};

fn sync(reserve0: u128, reserve1: u128) -> Event {
    Event::Sync { reserve0, reserve1 }
}

#[test]
fn a_rolled_back_book_is_the_book_before() {
    let mut book = Book::default();
    book.join(10, v2(1, [1_000, 1_000]).into()).unwrap();
    book.join(10, v3(2, &[(-60, 60, 1_000_000)]).into()).unwrap();
    let before = book.clone();
    book.apply(11, address(1), &sync(900, 1_200)).unwrap();
    book.apply(11, address(2), &Event::Mint { tick_lower: -120, tick_upper: 0, amount: 77 }).unwrap();
    let middle = book.clone();
    book.apply(12, address(1), &sync(800, 1_400)).unwrap();
    let mut trader = book.get(PoolId(1)).unwrap().clone();
    trader.swap_exact_in(Way::ZeroForOne, alloy_primitives::U256::from(2_000)).unwrap();
    let AnyPool::ConcentratedLiquidity(after) = &trader else { panic!("a V3 pool stays one") };
    let swap = Event::Swap { sqrt_price: after.sqrt_price(), liquidity: after.liquidity(), tick: after.tick() };
    book.apply(12, address(2), &swap).unwrap();
    book.leave(13, address(1)).unwrap();
    book.join(14, v2(3, [5, 5]).into()).unwrap();
    assert_eq!(book.len(), 2);

    book.roll_back(12).unwrap();
    assert_eq!(pools(&book), pools(&middle));
    assert_eq!(book.newest_block(), 11);
    book.roll_back(11).unwrap();
    assert_eq!(pools(&book), pools(&before));
    assert_eq!(book.take_changed(), [PoolId(0), PoolId(1), PoolId(2)]);
    assert!(book.take_changed().is_empty());
}

fn pools(book: &Book) -> Vec<(PoolId, AnyPool)> {
    book.iter().map(|(id, pool)| (id, pool.clone())).collect()
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut book = Book::default();
    book.join(10, v2(1, [1_000, 1_000]).into()).unwrap();
    book.apply(12, address(1), &sync(1, 1)).unwrap();
    let before = book.clone();
    assert_eq!(book.apply(11, address(1), &sync(2, 2)), Err(Error::OutOfOrder { block: 11, newest: 12 }));
    assert_eq!(book.apply(12, address(9), &sync(2, 2)), Err(Error::UnknownPool(address(9))));
    assert_eq!(book.join(12, v2(1, [1, 1]).into()), Err(Error::KnownPool(address(1))));
    let mint = Event::Mint { tick_lower: 0, tick_upper: 60, amount: 1 };
    assert_eq!(book.apply(12, address(1), &mint), Err(Error::EventMismatch));
    assert_eq!(book.roll_back(9), Err(Error::TooDeep { oldest: 10 }));
    assert_eq!(book, before);
    book.forget_before(12);
    assert_eq!(book.roll_back(11), Err(Error::TooDeep { oldest: 12 }));
    book.roll_back(12).unwrap();
    assert_eq!(book.get(PoolId(0)), Some(&v2(1, [1_000, 1_000]).into()));
}

#[test]
fn a_book_comes_back_from_its_text_with_the_way_back() {
    let mut book = Book::default();
    book.join(10, v3(2, &[(-60, 60, u64::MAX.into())]).into()).unwrap();
    book.join(10, v2(1, [u128::MAX >> 16, 1_000]).into()).unwrap();
    book.take_changed();
    book.apply(11, address(1), &sync(7, 8)).unwrap();
    let text = serde_json::to_string(&book).unwrap();
    let mut again: Book = serde_json::from_str(&text).unwrap();
    assert_eq!(pools(&again), pools(&book));
    again.roll_back(11).unwrap();
    assert_eq!(again.find(address(1)).and_then(|id| again.get(id)), Some(&v2(1, [u128::MAX >> 16, 1_000]).into()));
}
