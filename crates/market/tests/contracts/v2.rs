//! Constant product: `UniswapV2Pair` takes what is quoted and nothing better; `UniswapV2Router02` quotes the same.

use alloy_primitives::{Address, U256};
use market::Error;
use market::pool::{Identity, Pool, Protocol, RESERVE_MAX, V2, Way};
use rand::Rng;
use rand::rngs::StdRng;

use super::machine::{Machine, TOKENS, encode, slot_after, word};
use super::{number, seeded, tools};

/// Where the pair's runtime code is.
pub(super) const PAIR_CODE: (&str, &str) =
    ("@uniswap/v2-core/build/UniswapV2Pair.json", "/evm/deployedBytecode/object");

const PAIR: Address = Address::repeat_byte(0x99);
const ROUTER: Address = Address::repeat_byte(0x88);

/// Quotes compared with what the pair does, and every how manieth with the library's answer and with what would be better.
const QUOTES: usize = 25_000;
const EVERY: usize = 4;

/// A pair's storage: its tokens, its reserves, its lock.
const TOKEN_SLOTS: [u64; 2] = [6, 7];
const RESERVES_SLOT: u64 = 8;
const UNLOCKED_SLOT: u64 = 12;

fn machine() -> Option<Machine> {
    let mut machine = Machine::new(&tools()?);
    let pair = machine.artefact(PAIR_CODE.0, PAIR_CODE.1);
    machine.put_code(PAIR, pair);
    let router = "@uniswap/v2-periphery/build/UniswapV2Router02.json";
    let router = machine.artefact(router, "/evm/deployedBytecode/object");
    machine.put_code(ROUTER, router);
    place(&mut machine, PAIR, TOKENS);
    Some(machine)
}

/// A pair's storage as its initialisation leaves it.
pub(super) fn place(machine: &mut Machine, pair: Address, tokens: [Address; 2]) {
    for (slot, token) in TOKEN_SLOTS.into_iter().zip(tokens) {
        machine.put(pair, U256::from(slot), word(token));
    }
    machine.put(pair, U256::from(UNLOCKED_SLOT), U256::ONE);
}

/// What a pair believes to hold.
pub(super) fn put_reserves(machine: &mut Machine, pair: Address, reserves: [u128; 2]) {
    let packed = U256::from(reserves[0]) | U256::from(reserves[1]) << 112;
    machine.put(pair, U256::from(RESERVES_SLOT), packed);
}

fn reserves(rng: &mut StdRng) -> [u128; 2] {
    [(); 2].map(|()| number(rng, 112).to())
}

/// The pair as if these reserves were its balances, and so much more had just been paid in.
fn stage(machine: &mut Machine, reserves: [u128; 2], way: Way, paid: U256) {
    put_reserves(machine, PAIR, reserves);
    for (side, token) in TOKENS.into_iter().enumerate() {
        let paid = if side == way.input() { paid } else { U256::ZERO };
        machine.put_balance(token, PAIR, U256::from(reserves[side]).saturating_add(paid));
    }
}

/// Asks the pair for an output; the reserves after it, or `None` where it refuses.
fn take(machine: &mut Machine, way: Way, amount: U256) -> Option<[u128; 2]> {
    let mut words = [U256::ZERO, U256::ZERO, word(Address::repeat_byte(0x55)), U256::from(128), U256::ZERO];
    words[way.output()] = amount;
    let outcome = machine.call(PAIR, encode("swap(uint256,uint256,address,bytes)", &words));
    outcome.result.ok()?;
    let packed = slot_after(machine, &outcome.state, PAIR, U256::from(RESERVES_SLOT));
    Some([packed & U256::from(RESERVE_MAX), packed >> 112 & U256::from(RESERVE_MAX)].map(|reserve| reserve.to()))
}

/// The library's answer through the router.
fn library(machine: &mut Machine, which: &str, amount: U256, pool: &V2, way: Way) -> Option<U256> {
    let [held_in, held_out] = [way.input(), way.output()].map(|side| U256::from(pool.reserves()[side]));
    let call = encode(&format!("{which}(uint256,uint256,uint256)"), &[amount, held_in, held_out]);
    machine.call(ROUTER, call).result.ok().map(|answer| U256::from_be_slice(&answer))
}

#[test]
fn twenty_five_thousand_quotes_of_a_pair() {
    check(1);
}

#[test]
fn and_twenty_five_thousand_more() {
    check(2);
}

fn check(part: u64) {
    let Some(mut machine) = machine() else { return };
    let mut rng = seeded(part);
    let (mut traded, mut refused) = (0u32, 0u32);
    for case in 0..QUOTES {
        let identity = Identity {
            address: kernel::chain::Address(PAIR),
            tokens: TOKENS.map(kernel::chain::Address),
            protocol: Protocol::UniswapV2,
            fee_millionths: 3_000,
        };
        let mut pool = V2::new(identity, reserves(&mut rng)).unwrap();
        let way = Way::BOTH[rng.random_range(0..2)];
        let (exact_in, amount) = (rng.random(), number(&mut rng, 114));
        let held_out = U256::from(pool.reserves()[way.output()]);
        // Half of what is asked for is there; all of it and more is asked for too.
        let amount = if exact_in || rng.random() { amount } else { amount.min(held_out) };
        let told = format!("case {case}: {:?} {way:?} exact in {exact_in} {amount}", pool.reserves());
        let quote = if exact_in { pool.quote_exact_in(way, amount) } else { pool.quote_exact_out(way, amount) };
        let which = if exact_in { "getAmountOut" } else { "getAmountIn" };
        let thorough = case % EVERY == 0;
        match quote {
            Ok(quote) => {
                traded += 1;
                let before = pool;
                if thorough {
                    let answer = library(&mut machine, which, amount, &pool, way);
                    assert_eq!(answer, Some(if exact_in { quote.amount_out } else { quote.amount_in }), "{told}");
                }
                let swapped = if exact_in { pool.swap_exact_in(way, amount) } else { pool.swap_exact_out(way, amount) };
                assert_eq!(swapped.unwrap().0, quote);
                stage(&mut machine, before.reserves(), way, quote.amount_in);
                assert_eq!(take(&mut machine, way, quote.amount_out), Some(pool.reserves()), "{told}");
                if exact_in && thorough {
                    assert_eq!(take(&mut machine, way, quote.amount_out + U256::ONE), None, "{told}");
                }
            }
            Err(refusal) => {
                refused += 1;
                let told = format!("{told}: {refusal:?}");
                // The library refuses too, or the pair refuses what the library says.
                let Some(answer) = library(&mut machine, which, amount, &pool, way) else { continue };
                assert!(matches!(refusal, Error::NoOutput | Error::Overflow), "{told}");
                let (paid, taken) = if exact_in { (amount, answer) } else { (answer, amount) };
                stage(&mut machine, pool.reserves(), way, paid);
                assert_eq!(take(&mut machine, way, taken), None, "{told}");
            }
        }
    }
    assert!(traded > 12_500 && refused > 2_500, "{traded} {refused}");
}
