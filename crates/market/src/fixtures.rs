//! What tests trade with.

use flate2::read::GzDecoder;
use kernel::chain::Address;

use crate::Book;
use crate::pool::{AnyPool, Identity, Protocol, V2};

/// An address made of one byte.
pub(crate) fn address(number: u8) -> Address {
    Address::from([number; 20])
}

/// A pair at address 100 + `number` between two tokens, which need not be in order.
pub(crate) fn v2_between(number: u8, tokens: [u8; 2], reserves: [u128; 2]) -> V2 {
    let identity = Identity {
        address: address(100 + number),
        tokens: tokens.map(address),
        protocol: Protocol::UniswapV2,
        fee_millionths: 3_000,
    };
    V2::new(identity, reserves).unwrap()
}

/// The pools of `data/`, all joined in block 1.
pub(crate) fn mainnet() -> Book {
    let packed: &[u8] = include_bytes!("../data/mainnet-17228k.json.gz");
    let pools: Vec<AnyPool> = serde_json::from_reader(GzDecoder::new(packed)).unwrap();
    let mut book = Book::default();
    for pool in pools {
        book.join(1, pool).unwrap();
    }
    book
}

/// Wrapped ether on the main net.
pub(crate) fn weth() -> Address {
    "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2".parse().unwrap()
}
