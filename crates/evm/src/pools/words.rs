//! What factories and pools say in their logs (Uniswap v2-core and v3-core, and their forks).

use std::sync::LazyLock;

use alloy_primitives::{Address as RawAddress, B256, U256, keccak256};
use kernel::chain::{Address, Hash, Log};
use market::pool::{Event, Identity, Protocol};

use super::Exchange;

/// What one log says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// A factory made a pool; a tick spacing where it has ticks.
    Made(Identity, Option<i32>),
    /// Something happened to a pool.
    Happened(Address, Event),
}

struct Topics {
    pair_created: B256,
    pool_created: B256,
    sync: B256,
    initialize: B256,
    swap: B256,
    mint: B256,
    burn: B256,
    set_fee_protocol: B256,
}

static TOPICS: LazyLock<Topics> = LazyLock::new(|| Topics {
    pair_created: keccak256("PairCreated(address,address,address,uint256)"),
    pool_created: keccak256("PoolCreated(address,address,uint24,int24,address)"),
    sync: keccak256("Sync(uint112,uint112)"),
    initialize: keccak256("Initialize(uint160,int24)"),
    swap: keccak256("Swap(address,address,int256,int256,uint160,uint128,int24)"),
    mint: keccak256("Mint(address,address,int24,int24,uint128,uint256,uint256)"),
    burn: keccak256("Burn(address,int24,int24,uint128,uint256,uint256)"),
    set_fee_protocol: keccak256("SetFeeProtocol(uint8,uint8,uint8,uint8)"),
});

/// The first topics of what factories say.
pub(super) fn made() -> Vec<Hash> {
    vec![Hash(TOPICS.pair_created), Hash(TOPICS.pool_created)]
}

/// The first topics of all that is followed.
pub(super) fn all() -> Vec<Hash> {
    let t = &*TOPICS;
    let pools = [t.sync, t.initialize, t.swap, t.mint, t.burn, t.set_fee_protocol];
    made().into_iter().chain(pools.into_iter().map(Hash)).collect()
}

/// A tick from its word: the low bits of a sign-extended number are the number.
pub(super) fn tick(word: U256) -> i32 {
    word.as_limbs()[0] as i32
}

fn number(word: U256) -> Option<u128> {
    u128::try_from(word).ok()
}

/// What a log says, if it is any of this. Anybody can write such logs: a pool's count only where the pool is known to be one, a factory's
/// only where it is one of `exchanges`.
pub(super) fn said(log: &Log, exchanges: &[Exchange]) -> Option<Said> {
    let t = &*TOPICS;
    let topic = |at: usize| log.topics.get(at).map(|topic| U256::from_be_bytes(topic.0.0));
    let data = |at: usize| log.data.get(32 * at..32 * (at + 1)).map(U256::from_be_slice);
    let account = |word: U256| Address(RawAddress::from_word(word.into()));
    let first = log.topics.first()?.0;
    if first == t.pair_created || first == t.pool_created {
        let exchange = exchanges.iter().find(|exchange| exchange.factory == log.address)?;
        let ticks = matches!(exchange.protocol, Protocol::UniswapV3 | Protocol::OtherV3);
        if ticks != (first == t.pool_created) {
            return None;
        }
        let fee_millionths = if ticks { u32::try_from(topic(3)?).ok()? } else { exchange.fee_millionths };
        let identity = Identity {
            address: account(data(usize::from(ticks))?),
            tokens: [account(topic(1)?), account(topic(2)?)],
            protocol: exchange.protocol,
            fee_millionths,
        };
        return Some(Said::Made(identity, if ticks { Some(tick(data(0)?)) } else { None }));
    }
    let event = match first {
        first if first == t.sync => Event::Sync { reserve0: number(data(0)?)?, reserve1: number(data(1)?)? },
        first if first == t.initialize => Event::Initialize { sqrt_price: data(0)?, tick: tick(data(1)?) },
        first if first == t.swap => {
            Event::Swap { sqrt_price: data(2)?, liquidity: number(data(3)?)?, tick: tick(data(4)?) }
        }
        first if first == t.mint => {
            Event::Mint { tick_lower: tick(topic(2)?), tick_upper: tick(topic(3)?), amount: number(data(1)?)? }
        }
        first if first == t.burn => {
            Event::Burn { tick_lower: tick(topic(2)?), tick_upper: tick(topic(3)?), amount: number(data(0)?)? }
        }
        first if first == t.set_fee_protocol => Event::SetFeeProtocol {
            fee_protocol0: u8::try_from(data(2)?).ok()?,
            fee_protocol1: u8::try_from(data(3)?).ok()?,
        },
        _ => return None,
    };
    Some(Said::Happened(log.address, event))
}
