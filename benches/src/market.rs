//! What the market's arithmetic costs, on one core: search over the main net's pools, sizes, memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use alloy_primitives::U256;
use flate2::read::GzDecoder;
use kernel::chain::{Address, Amount, FeeRule};
use market::pool::{AnyPool, Event, Pool, V2, Way};
use market::search::Search;
use market::sizing::{Path, best};
use market::{Book, PoolId};

use crate::Fallible;
use crate::table::Table;

/// Real pools: see the README beside them.
const POOLS: &[u8] = include_bytes!("../../crates/market/data/mainnet-17228k.json.gz");
pub(crate) const WETH: &str = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2";
/// Rounds of each measurement; the best is told.
const ROUNDS: usize = 50;
/// Blocks that are followed.
const BLOCKS: u64 = 500;
/// Pools that a block touches.
const TOUCHED: usize = 50;
/// What a market at rest leaves on the table, in wei of the funding asset: less than the gas that taking it would burn.
const REST_WEI: f64 = 1e12;
/// Most trades until a market is at rest.
const TRADES_MAX: usize = 100_000;
/// Copies made to see what one weighs.
const COPIES: usize = 40;

/// Measures and tells.
pub(crate) fn run() -> Fallible<String> {
    let mut table = Table::new(&["", "measured", "target"]);
    let mut row = |what: &str, measured: String, target: &str| table.row(vec![what.into(), measured, target.into()]);
    let pools: Vec<AnyPool> = serde_json::from_reader(GzDecoder::new(POOLS))?;
    let book = joined(&pools)?;
    row("pools", pools.len().to_string(), "");
    let (rested, trades) = at_rest(&pools)?;
    row("cycles traded until none gains 0.000001 WETH", trades.to_string(), "");
    for (hops, target) in [(3, "< 0.5 ms"), (4, "< 20 ms")] {
        for (book, which) in [(&book, "as it was"), (&rested, "at rest")] {
            let mut search = following(book, hops)?;
            let mut found = 0;
            let took = fastest(|| found = search.scan());
            row(&format!("{which}: scan to {hops} hops, {found} candidates"), millis(took), target);
            let [middle, worst] = after_blocks(book, hops)?;
            let what =
                format!("{which}: a block on {TOUCHED} pools, to {hops} hops, {} candidates through them", middle.1);
            row(&what, millis(middle.0), "< 0.1 ms");
            row("the slowest of those blocks", millis(worst.0), "");
        }
    }
    row("best size of a candidate", micros(sizing(&book)?), "");
    row("best size of a candidate, pairs alone", micros(sizing(&rested)?), "");
    crate::quotes::measure(&pools, &mut row)?;
    let each = |bytes: u64| format!("{} B", bytes / (COPIES * pools.len()) as u64);
    row("book, per pool", each(grown(&book)?), "");
    row("graph and candidates to 3 hops, per pool", each(grown(&following(&book, 3)?)?), "");
    Ok(table.text())
}

fn joined(pools: &[AnyPool]) -> Fallible<Book> {
    let mut book = Book::default();
    for pool in pools {
        book.join(1, pool.clone())?;
    }
    book.take_changed();
    book.forget_before(2);
    Ok(book)
}

fn following(book: &Book, hops: usize) -> Fallible<Search> {
    let mut search = Search::new(&[(WETH.parse()?, 1.0)], hops);
    let all: Vec<PoolId> = book.iter().map(|(id, _)| id).collect();
    search.follow(book, &all);
    Ok(search)
}

pub(crate) fn fastest(mut what: impl FnMut()) -> Duration {
    let mut round = || {
        let start = Instant::now();
        what();
        start.elapsed()
    };
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}

/// A market whose pools agree, as they do where somebody trades: everything was traded that gains anything worth while. The snapshot tells
/// one range of each concentrated pool, so they are pairs here that hold what that range seems to. With how many trades it took.
fn at_rest(pools: &[AnyPool]) -> Fallible<(Book, usize)> {
    let mut book = joined(&pools.iter().filter_map(as_pair).collect::<Vec<_>>())?;
    let mut search = following(&book, 4)?;
    let fee = FeeRule::WadUp { wad: Amount::from(0) };
    for trades in 0..TRADES_MAX {
        let sized =
            search.candidates().iter().take_while(|candidate| candidate.gain >= REST_WEI).find_map(|candidate| {
                let path = Path::new(&book, candidate.cycle.hops()).ok()?;
                let sized = best(&path, &fee, U256::MAX >> 8, U256::from(candidate.input.max(1.0) as u128))?;
                (f64::from(sized.gain) >= REST_WEI).then_some((candidate.cycle, sized.trade.input))
            });
        let Some((cycle, input)) = sized else { return Ok((book, trades)) };
        let mut amount = input;
        for hop in cycle.hops() {
            let pool = book.get(hop.pool).cloned().ok_or("no such pool")?;
            let (address, event, output) = swapped(pool, hop.way, amount)?;
            book.apply(2, address, &event)?;
            amount = output;
        }
        let changed = book.take_changed();
        search.follow(&book, &changed);
    }
    Err(format!("the market is not at rest after {TRADES_MAX} trades").into())
}

fn as_pair(pool: &AnyPool) -> Option<AnyPool> {
    let AnyPool::ConcentratedLiquidity(range) = pool else { return Some(pool.clone()) };
    let (liquidity, sqrt_price) = (U256::from(range.liquidity()), range.sqrt_price());
    let held: [U256; 2] = [(liquidity << 96usize).checked_div(sqrt_price)?, (liquidity * sqrt_price) >> 96usize];
    let [held0, held1] = held.map(|held| u128::try_from(held).ok());
    V2::new(*range.identity(), [held0?, held1?]).ok().map(AnyPool::from)
}

/// A swap as an event, and what it gives.
fn swapped(mut pool: AnyPool, way: Way, amount: U256) -> Fallible<(Address, Event, U256)> {
    let address = pool.address();
    Ok(match &mut pool {
        AnyPool::ConstantProduct(pair) => {
            let (quote, _) = pair.swap_exact_in(way, amount)?;
            let [reserve0, reserve1] = pair.reserves();
            (address, Event::Sync { reserve0, reserve1 }, quote.amount_out)
        }
        AnyPool::ConcentratedLiquidity(pool) => {
            let (quote, _) = pool.swap_exact_in(way, amount)?;
            let (sqrt_price, liquidity, tick) = (pool.sqrt_price(), pool.liquidity(), pool.tick());
            (address, Event::Swap { sqrt_price, liquidity, tick }, quote.amount_out)
        }
    })
}

/// Blocks that move other pools each time, by a little. The middle one and the slowest are told, since blocks differ, with how many
/// candidates they were found to have.
fn after_blocks(book: &Book, hops: usize) -> Fallible<[(Duration, usize); 2]> {
    let mut book = book.clone();
    let mut search = following(&book, hops)?;
    let mut times = Vec::new();
    let mut place = 0;
    for block in 3..3 + BLOCKS {
        for _ in 0..TOUCHED {
            place = (place + 619) % book.len();
            let Some(pool) = book.get(PoolId(place as u32)).cloned() else { continue };
            let way = if block % 2 == 0 { Way::ZeroForOne } else { Way::OneForZero };
            let amount = match &pool {
                AnyPool::ConstantProduct(pair) => pair.reserves()[way.input()] / 1_000,
                AnyPool::ConcentratedLiquidity(pool) => pool.liquidity() / 100_000,
            };
            let Ok((address, event, _)) = swapped(pool, way, U256::from(amount)) else { continue };
            book.apply(block, address, &event)?;
        }
        let changed = book.take_changed();
        let start = Instant::now();
        let found = search.follow(&book, &changed);
        times.push((start.elapsed(), found));
    }
    times.sort_unstable();
    Ok([times[times.len() / 2], times[times.len() - 1]])
}

/// What the best candidates' sizes take, one with another.
fn sizing(book: &Book) -> Fallible<Duration> {
    let search = following(book, 3)?;
    let some = &search.candidates()[..search.candidates().len().min(100)];
    let fee = FeeRule::WadUp { wad: Amount::from(0) };
    let mut sum = Duration::ZERO;
    for candidate in some {
        let path = Path::new(book, candidate.cycle.hops())?;
        let guess = U256::from(candidate.input.max(1.0) as u128);
        sum += fastest(|| drop(black_box(best(&path, &fee, U256::MAX >> 8, guess))));
    }
    Ok(sum / some.len().max(1) as u32)
}

/// How many bytes the process grew by for as many copies.
fn grown<T: Clone>(what: &T) -> Fallible<u64> {
    let before = resident()?;
    let copies: Vec<T> = (0..COPIES).map(|_| what.clone()).collect();
    let grown = resident()?.saturating_sub(before);
    drop(black_box(copies));
    Ok(grown)
}

fn resident() -> Fallible<u64> {
    let status = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = status.split(' ').nth(1).ok_or("no resident size")?.parse()?;
    Ok(pages * 4_096)
}

fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}
