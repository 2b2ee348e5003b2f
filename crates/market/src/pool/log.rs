//! Reads the contracts' logs (v2-core `IUniswapV2Pair.sol`, v3-core `IUniswapV3PoolEvents.sol`, `IUniswapV3PoolOwnerActions.sol`).

use alloy_primitives::{B256, U256, U512, b256};
use kernel::chain::{Amount, Hash};

use super::{Event, Price, Way};

const SYNC: B256 = b256!("0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1");
const INITIALIZE: B256 = b256!("0x98636036cb66a9c19a37435efc1e90142190214e8abeb821bdba3f2990dd4c95");
const SWAP: B256 = b256!("0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67");
const MINT: B256 = b256!("0x7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde");
const BURN: B256 = b256!("0x0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c");
const SET_FEE_PROTOCOL: B256 = b256!("0x973d8d92bb299f4af6ce49b52a8adb85ae46b9f214c4c4fc06ac77401237b133");

/// The first topics of the logs that change what a pool quotes.
pub const EVENT_TOPICS: [Hash; 6] =
    [Hash(SYNC), Hash(INITIALIZE), Hash(SWAP), Hash(MINT), Hash(BURN), Hash(SET_FEE_PROTOCOL)];

/// v2-core's `Swap(address,uint256,uint256,uint256,uint256,address)`: it changes nothing that `Sync` does not say.
const PAIR_SWAP: B256 = b256!("0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822");

/// The first topics of the logs that tell a trade.
pub const VOLUME_TOPICS: [Hash; 2] = [Hash(PAIR_SWAP), Hash(SWAP)];

/// How much of each token a trade put into a pool; `None` for a log that tells no trade.
pub fn volume_in(topics: &[Hash], data: &[u8]) -> Option<[Amount; 2]> {
    let (topic, data) = (topics.first()?.0, Words(data));
    let amounts = [data.word(0)?, data.word(1)?];
    match topic {
        PAIR_SWAP => Some(amounts.map(Amount)),
        // Signed: what went out is negative.
        SWAP => Some(amounts.map(|amount| if amount.bit(255) { Amount::default() } else { Amount(amount) })),
        _ => None,
    }
}

/// A log's data, word by word.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn word(&self, place: usize) -> Option<U256> {
        self.0.chunks_exact(32).nth(place).map(U256::from_be_slice)
    }

    fn wide(&self, place: usize) -> Option<u128> {
        self.word(place)?.try_into().ok()
    }

    fn tick(&self, place: usize) -> Option<i32> {
        tick(self.word(place)?)
    }

    fn small(&self, place: usize) -> Option<u8> {
        self.word(place)?.try_into().ok()
    }
}

/// An `int24`, its sign extended to the word's width.
fn tick(word: U256) -> Option<i32> {
    let low = word.as_limbs()[0] as i32;
    let extended = if low < 0 { !U256::ZERO << 32 | U256::from(low as u32) } else { U256::from(low as u32) };
    (extended == word && (-(1 << 23)..1 << 23).contains(&low)).then_some(low)
}

impl Event {
    /// What a pool's log says; `None` for a log that changes no price, or that is laid out otherwise than its topic promises.
    pub fn from_log(topics: &[Hash], data: &[u8]) -> Option<Self> {
        let data = Words(data);
        let range = |place: usize| tick(U256::from_be_bytes(topics.get(place)?.0.0));
        Some(match topics.first()?.0 {
            SYNC => Self::Sync { reserve0: data.wide(0)?, reserve1: data.wide(1)? },
            INITIALIZE => Self::Initialize { sqrt_price: data.word(0)?, tick: data.tick(1)? },
            SWAP => Self::Swap { sqrt_price: data.word(2)?, liquidity: data.wide(3)?, tick: data.tick(4)? },
            MINT => Self::Mint { tick_lower: range(2)?, tick_upper: range(3)?, amount: data.wide(1)? },
            BURN => Self::Burn { tick_lower: range(2)?, tick_upper: range(3)?, amount: data.wide(0)? },
            SET_FEE_PROTOCOL => Self::SetFeeProtocol { fee_protocol0: data.small(2)?, fee_protocol1: data.small(3)? },
            _ => return None,
        })
    }

    /// The price at the margin after it, before the fee; `None` for an event that sets no price.
    pub fn price(&self, way: Way) -> Option<Price> {
        let price = match *self {
            Self::Sync { reserve0, reserve1 } if reserve0 > 0 && reserve1 > 0 => {
                Price { numerator: U512::from(reserve1), denominator: U512::from(reserve0) }
            }
            Self::Initialize { sqrt_price, .. } | Self::Swap { sqrt_price, .. } if !sqrt_price.is_zero() => {
                let root = U512::from(sqrt_price);
                Price { numerator: root * root, denominator: U512::ONE << 192 }
            }
            _ => return None,
        };
        if way.zero_for_one() { Some(price) } else { price.inverse() }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    fn words(words: &[U256]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect()
    }

    fn topic(word: U256) -> Hash {
        Hash(B256::from(word))
    }

    #[test]
    fn topics_are_the_hashes_of_their_events() {
        for (topic, event) in EVENT_TOPICS.into_iter().zip([
            "Sync(uint112,uint112)",
            "Initialize(uint160,int24)",
            "Swap(address,address,int256,int256,uint160,uint128,int24)",
            "Mint(address,address,int24,int24,uint128,uint256,uint256)",
            "Burn(address,int24,int24,uint128,uint256,uint256)",
            "SetFeeProtocol(uint8,uint8,uint8,uint8)",
        ]) {
            assert_eq!(topic.0, keccak256(event), "{event}");
        }
    }

    #[test]
    fn logs_are_read_as_the_contracts_write_them() {
        let below = U256::MAX - U256::from(59);
        let [one, two, three] = [1u64, 2, 3].map(U256::from);
        let ticks = [Hash::default(), topic(below), topic(U256::from(120))];
        let with = |first: B256| [&[Hash(first)], &ticks[..]].concat();
        let read = |first: B256, data: &[U256]| Event::from_log(&with(first), &words(data));
        assert_eq!(read(SYNC, &[one, two]), Some(Event::Sync { reserve0: 1, reserve1: 2 }));
        assert_eq!(read(INITIALIZE, &[three, below]), Some(Event::Initialize { sqrt_price: three, tick: -60 }));
        let swap = Event::Swap { sqrt_price: three, liquidity: 2, tick: -60 };
        assert_eq!(read(SWAP, &[one, one, three, two, below]), Some(swap));
        let range = |amount| Event::Mint { tick_lower: -60, tick_upper: 120, amount };
        assert_eq!(read(MINT, &[one, two, three, three]), Some(range(2)));
        let burn = Event::Burn { tick_lower: -60, tick_upper: 120, amount: 3 };
        assert_eq!(read(BURN, &[three, one, one]), Some(burn));
        let share = Event::SetFeeProtocol { fee_protocol0: 3, fee_protocol1: 2 };
        assert_eq!(read(SET_FEE_PROTOCOL, &[one, one, three, two]), Some(share));
    }

    #[test]
    fn trades_and_prices_are_read_too() {
        let [one, two] = [1u64, 2].map(U256::from);
        assert_eq!(VOLUME_TOPICS[0].0, keccak256("Swap(address,uint256,uint256,uint256,uint256,address)"));
        assert_eq!(volume_in(&VOLUME_TOPICS[..1], &words(&[one, two, one, one])), Some([Amount(one), Amount(two)]));
        assert_eq!(volume_in(&VOLUME_TOPICS[1..], &words(&[U256::MAX, two])), Some([Amount::default(), Amount(two)]));
        assert_eq!(volume_in(&EVENT_TOPICS[..1], &words(&[one, two])), None);
        let sync = Event::Sync { reserve0: 2, reserve1: 8 };
        assert_eq!([Way::ZeroForOne, Way::OneForZero].map(|way| sync.price(way).unwrap().approximate()), [4.0, 0.25]);
        let swap = Event::Swap { sqrt_price: U256::ONE << 97, liquidity: 1, tick: 0 };
        assert_eq!(swap.price(Way::ZeroForOne).unwrap().approximate(), 4.0);
        assert_eq!(Event::Sync { reserve0: 0, reserve1: 8 }.price(Way::ZeroForOne), None);
        assert_eq!(Event::SetFeeProtocol { fee_protocol0: 0, fee_protocol1: 0 }.price(Way::ZeroForOne), None);
    }

    #[test]
    fn what_is_laid_out_otherwise_is_no_event() {
        assert_eq!(Event::from_log(&[], &[]), None);
        assert_eq!(Event::from_log(&[Hash::default()], &words(&[U256::ONE, U256::ONE])), None);
        assert_eq!(Event::from_log(&[Hash(SYNC)], &words(&[U256::ONE])), None);
        assert_eq!(Event::from_log(&[Hash(SYNC)], &words(&[U256::MAX, U256::ONE])), None);
        assert_eq!(Event::from_log(&[Hash(INITIALIZE)], &words(&[U256::ONE, U256::from(1u64 << 40)])), None);
        assert_eq!(Event::from_log(&[Hash(INITIALIZE)], &words(&[U256::ONE, U256::from(1u64 << 23)])), None);
    }
}
