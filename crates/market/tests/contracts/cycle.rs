//! The main net's constant-product pools with the pair's real bytecode: the best cycle is found, sized, traded hop by hop, and leaves what was
//! predicted to the unit.

use alloy_primitives::{Address, U256};
use flate2::read::GzDecoder;
use kernel::chain::{Amount, FeeRule};
use market::pool::{AnyPool, Pool, V2};
use market::search::{Hop, Search};
use market::sizing::{Path, best};
use market::{Book, PoolId};

use super::machine::{Machine, TRADER, analysed, encode, word};
use super::tools;
use super::v2::{PAIR_CODE, place};

const POOLS: &[u8] = include_bytes!("../../data/mainnet-17228k.json.gz");
const WETH: &str = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2";
/// How many of the best cycles are traded, each on the pools as they were.
const CYCLES: usize = 25;

/// All pairs in a book, and in a machine with their tokens.
fn market(machine: &mut Machine) -> Book {
    let pools: Vec<AnyPool> = serde_json::from_reader(GzDecoder::new(POOLS)).unwrap();
    let pair = analysed(machine.artefact(PAIR_CODE.0, PAIR_CODE.1));
    let token = analysed(machine.token_code());
    let mut book = Book::default();
    for pool in pools.into_iter().filter(|pool| matches!(pool, AnyPool::ConstantProduct(_))) {
        let AnyPool::ConstantProduct(of) = &pool else { continue };
        for token_address in pool.tokens() {
            machine.put_analysed(token_address.0, &token);
        }
        let (address, tokens, reserves) = (pool.address().0, pool.tokens().map(|token| token.0), of.reserves());
        machine.put_analysed(address, &pair);
        place(machine, address, tokens);
        restore(machine, of, address);
        assert!(reserves[0] > 0 && tokens[0] < tokens[1]);
        book.join(1, pool).unwrap();
    }
    book
}

/// The pair's own books and its balances, as the snapshot has them.
fn restore(machine: &mut Machine, pair: &V2, address: Address) {
    super::v2::put_reserves(machine, address, pair.reserves());
    for (token, reserve) in pair.tokens().into_iter().zip(pair.reserves()) {
        machine.put_balance(token.0, address, U256::from(reserve));
    }
}

/// Pays the pair and takes the output; the state stays.
fn swap(machine: &mut Machine, book: &Book, hop: Hop, amount_in: U256, amount_out: U256) {
    let pool = book.get(hop.pool).unwrap();
    let (from, _) = pool.identity().ends(hop.way);
    let paid = machine.trade(from.0, &encode("transfer(address,uint256)", &[word(pool.address().0), amount_in]));
    machine.must(paid);
    let mut words = [U256::ZERO, U256::ZERO, word(TRADER), U256::from(128), U256::ZERO];
    words[hop.way.output()] = amount_out;
    let swapped = machine.trade(pool.address().0, &encode("swap(uint256,uint256,address,bytes)", &words));
    machine.must(swapped);
}

#[test]
fn the_best_cycles_of_the_main_nets_pairs_leave_what_is_predicted() {
    let Some(tools) = tools() else { return };
    let mut machine = Machine::new(&tools);
    let mut book = market(&mut machine);
    assert_eq!(book.len(), 2_065);
    let weth: kernel::chain::Address = WETH.parse().unwrap();
    let mut search = Search::new(&[(weth, 1.0)], 4);
    let changed: Vec<PoolId> = book.take_changed();
    search.follow(&book, &changed);
    assert!(search.candidates().len() > CYCLES);
    let free = FeeRule::WadUp { wad: Amount::from(0) };
    let mut last = U256::MAX;
    for candidate in &search.candidates()[..CYCLES] {
        let hops = candidate.cycle.hops();
        let sized = best(&Path::new(&book, hops).unwrap(), &free, U256::MAX, U256::ONE).unwrap();
        // The estimate by which they are ranked is the gain, but for rounding.
        let estimate = candidate.gain / f64::from(sized.gain);
        assert!((0.999..1.001).contains(&estimate) && sized.gain <= last, "{estimate}");
        last = sized.gain + sized.gain / U256::from(500);
        machine.put_balance(weth.0, TRADER, sized.trade.input);
        for (hop, quote) in hops.iter().zip(&sized.trade.quotes) {
            swap(&mut machine, &book, *hop, quote.amount_in, quote.amount_out);
        }
        let held = machine.balance(weth.0, TRADER);
        assert_eq!(held, sized.trade.input + sized.gain, "{hops:?}");
        for hop in hops {
            let Some(AnyPool::ConstantProduct(pair)) = book.get(hop.pool) else { continue };
            let pair = *pair;
            restore(&mut machine, &pair, pair.address().0);
        }
    }
}
