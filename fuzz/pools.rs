//! What the fuzzer and the market crate's tests both feed foreign bytes to: the logs of pools, which any contract may write as it likes.

use alloy_primitives::U256;
use kernel::chain::{Address, Hash};
use market::Book;
use market::pool::{EVENT_TOPICS, Event, Identity, Pool, Protocol, V2, V3, V3State, Way, volume_in};

/// Bytes of a log: which event and pool, then seven words that are its topics' and its data.
const LOG_BYTES: usize = 1 + 7 * 32;

/// Logs, one after another, on a pair and on a concentrated pool: each is read or not, taken or refused; what stands then quotes or
/// refuses, gives no more than asked for, and is undone to what stood before.
pub(crate) fn pools(bytes: &[u8]) {
    let mut book = Book::default();
    let token = |byte| Address(alloy_primitives::Address::repeat_byte(byte));
    let identity = |byte, protocol| Identity {
        address: token(byte),
        tokens: [token(1), token(2)],
        protocol,
        fee_millionths: 3_000,
    };
    let joined = V2::new(identity(3, Protocol::UniswapV2), [1_000_000, 2_000_000])
        .and_then(|pair| book.join(1, pair.into()))
        .and_then(|_| V3::new(identity(4, Protocol::UniswapV3), 60, V3State::default()))
        .and_then(|pool| book.join(1, pool.into()));
    assert!(joined.is_ok());
    let before = book.clone();
    for log in bytes.chunks(LOG_BYTES) {
        let Some((choice, words)) = log.split_first() else { continue };
        let words: Vec<[u8; 32]> = words.chunks_exact(32).filter_map(|word| word.try_into().ok()).collect();
        let kind = EVENT_TOPICS[usize::from(choice >> 1) % EVENT_TOPICS.len()];
        let topics: Vec<Hash> =
            [kind].into_iter().chain(words.iter().take(3).map(|word| Hash((*word).into()))).collect();
        let data = words.concat();
        // Every outcome but a panic is right.
        let _ = volume_in(&topics, &data);
        let Some(event) = Event::from_log(&topics, &data) else { continue };
        let pool = token(3 + (choice & 1));
        let stood = book.clone();
        if book.apply(2, pool, &event).is_err() {
            assert!(same(&book, &stood), "a refused event changed something: {event:?}");
        }
        ask(&book, words.first().copied().map(U256::from_be_bytes).unwrap_or_default());
    }
    assert_eq!(book.roll_back(2), Ok(()));
    assert!(same(&book, &before), "what was undone is not what was");
}

fn same(one: &Book, other: &Book) -> bool {
    one.iter().eq(other.iter())
}

fn ask(book: &Book, amount: U256) {
    for (_, pool) in book.iter() {
        for way in Way::BOTH {
            let _ = pool.spot_price(way);
            for amount in [amount, amount >> 160, U256::from(1), U256::MAX] {
                if let Ok(quote) = pool.quote_exact_in(way, amount) {
                    assert!(quote.amount_in <= amount, "{pool:?} takes {} of {amount}", quote.amount_in);
                }
                if let Ok(quote) = pool.quote_exact_out(way, amount) {
                    assert!(quote.amount_out <= amount, "{pool:?} gives {} for {amount}", quote.amount_out);
                }
            }
        }
    }
}
