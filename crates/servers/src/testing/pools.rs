//! Pools for tests: a book that stands still, and the sandbox's pools as its logs tell them.

use std::collections::HashMap;
use std::sync::Arc;

use kernel::Result;
use kernel::chain::{Abi, Address, BlockId, LogFilter};
use market::Book;
use market::feed::{At, FeedStatus, Pools};
use market::pool::{AnyPool, EVENT_TOPICS, Event, Identity, Protocol, V2, V3, V3State};
use parking_lot::Mutex;

use super::sandbox::Sandbox;

/// Pools as of a block, until the test sets others.
pub(crate) struct Still(Mutex<Held>);

#[derive(Clone)]
struct Held {
    at: At,
    book: Book,
    made: HashMap<Address, At>,
}

impl Still {
    /// These, at block 7.
    pub(crate) fn new(pools: impl IntoIterator<Item = AnyPool>) -> Arc<Self> {
        let mut book = Book::default();
        for pool in pools {
            book.join(7, pool).unwrap();
        }
        Self::at(At { block: 7, hash: kernel::chain::Hash::default() }, book, HashMap::new())
    }

    /// From now on as the other is.
    pub(crate) fn become_of(&self, other: &Self) {
        let new = other.0.lock().clone();
        *self.0.lock() = new;
    }

    /// Forgets when pools were made.
    pub(crate) fn forget_origins(&self) {
        self.0.lock().made.clear();
    }

    pub(crate) fn at(at: At, book: Book, made: HashMap<Address, At>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Held { at, book, made })))
    }
}

impl Pools for Still {
    fn status(&self) -> FeedStatus {
        let held = self.0.lock();
        FeedStatus { at: Some(held.at), pools: held.book.len() as u64, ..FeedStatus::default() }
    }

    fn look(&self, look: &mut dyn FnMut(At, &Book)) -> Result<()> {
        let held = self.0.lock();
        look(held.at, &held.book);
        Ok(())
    }

    fn made_in(&self, pool: Address) -> Option<At> {
        self.0.lock().made.get(&pool).copied()
    }
}

/// An address made of one byte.
pub(crate) fn address(number: u8) -> Address {
    Address::from([number; 20])
}

/// A pair of 0.3 % at address 100 + `number`.
pub(crate) fn pair(number: u8, tokens: [u8; 2], reserves: [u128; 2]) -> AnyPool {
    let identity = Identity {
        address: address(100 + number),
        tokens: tokens.map(address),
        protocol: Protocol::UniswapV2,
        fee_millionths: 3_000,
    };
    V2::new(identity, reserves).unwrap().into()
}

/// Every pool of the sandbox as its logs tell it.
pub(crate) async fn book(sandbox: &Sandbox) -> Arc<Still> {
    let chain = &sandbox.chain;
    let head = chain.block(BlockId::Latest).await.unwrap().head;
    let (mut book, mut made) = (Book::default(), HashMap::new());
    let filter = |addresses: Vec<Address>, topics| LogFilter {
        from: BlockId::Earliest,
        to: BlockId::Number(head.number),
        addresses,
        topics,
    };
    for (factory, event, protocol) in [
        (
            "uniswap-v2-factory",
            "event PairCreated(address indexed a,address indexed b,address pool,uint256 n)",
            Protocol::UniswapV2,
        ),
        (
            "uniswap-v3-factory",
            "event PoolCreated(address indexed a,address indexed b,uint24 indexed fee,int24 spacing,address pool)",
            Protocol::UniswapV3,
        ),
    ] {
        let topic = evm::Encodings.signature(event).unwrap().hash;
        for log in chain.logs(&filter(vec![sandbox.at(factory).await], vec![vec![topic]])).await.unwrap() {
            let decoded = evm::Encodings.decode_log(event, &log.topics, &log.data).unwrap();
            let value = |name: &str| decoded.args.iter().find(|arg| arg.name == name).map(|arg| arg.value.clone());
            let at = |name: &str| -> Address { serde_json::from_value(value(name).unwrap()).unwrap() };
            let number = |name: &str| value(name).and_then(|value| value.as_i64());
            let fee_millionths = number("fee").unwrap_or(3_000) as u32;
            let identity = Identity { address: at("pool"), tokens: [at("a"), at("b")], protocol, fee_millionths };
            let pool = match number("spacing") {
                None => V2::new(identity, [0, 0]).unwrap().into(),
                Some(spacing) => V3::new(identity, spacing as i32, V3State::default()).unwrap().into(),
            };
            made.insert(identity.address, At { block: log.block_number.unwrap(), hash: log.block_hash.unwrap() });
            book.join(0, pool).unwrap();
        }
    }
    let addresses = book.iter().map(|(_, pool)| market::pool::Pool::address(pool)).collect();
    for log in chain.logs(&filter(addresses, vec![EVENT_TOPICS.to_vec()])).await.unwrap() {
        let event = Event::from_log(&log.topics, &log.data).unwrap();
        book.apply(log.block_number.unwrap(), log.address, &event).unwrap();
    }
    Still::at(At { block: head.number, hash: head.hash }, book, made)
}
