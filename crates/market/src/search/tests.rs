use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::fixtures::{address, mainnet, v2_between, weth};
use crate::pool::{AnyPool, Event, Pool};

fn follow(search: &mut Search, book: &mut Book) {
    let changed = book.take_changed();
    search.follow(book, &changed);
}

/// Every cycle there is by plain enumeration, with what it gains by the field's own formula: a chain of constant products is one map
/// x ↦ A·x / (B + C·x), which is greatest over x at (√(A·B) − B)/C.
fn all_cycles(search: &Search, book: &Book) -> Vec<((TokenId, Vec<PoolId>), f64)> {
    let mut all = Vec::new();
    for home in &search.homes {
        let mut open = vec![(home.token, Vec::new(), vec![], (1.0, 1.0, 0.0))];
        while let Some((at, pools, tokens, (a, b, c))) = open.pop() {
            for edge in search.graph.edges(at) {
                if pools.contains(&edge.pool) || tokens.contains(&edge.to) {
                    continue;
                }
                let [held_in, held_out] = held(&search.graph, book, edge.pool, at);
                let mut longer: Vec<PoolId> = pools.clone();
                longer.push(edge.pool);
                let map = (a * 0.997 * held_out, b * held_in, c * held_in + a * 0.997);
                let map = (map.0 / map.1, 1.0, map.2 / map.1);
                if edge.to == home.token {
                    // Below zero where the cycle loses at any size.
                    let input = (((map.0 * map.1).sqrt() - map.1) / map.2).max(0.0);
                    all.push(((home.token, longer), (map.0 * input / (map.1 + map.2 * input) - input) * home.worth));
                } else if longer.len() < search.hops_max {
                    let mut seen: Vec<TokenId> = tokens.clone();
                    seen.push(edge.to);
                    open.push((edge.to, longer, seen, map));
                }
            }
        }
    }
    all
}

/// What a pair holds of the token that goes in and of the other.
fn held(graph: &Graph, book: &Book, pool: PoolId, from: TokenId) -> [f64; 2] {
    let Some(AnyPool::ConstantProduct(pair)) = book.get(pool) else { panic!("no pair") };
    let way = graph.way(pool, from).unwrap();
    [way.input(), way.output()].map(|side| pair.reserves()[side] as f64)
}

/// Everything that gains is among the candidates down to the floor, with its gain; nothing else is. Near the floor rounding decides.
fn check(search: &Search, book: &Book) {
    let candidates = search.candidates();
    assert!(candidates.is_sorted_by(|a, b| a.order(b).is_lt()));
    assert!(search.floor().is_none() || candidates.len() >= search.candidates_min);
    assert!(candidates.len() <= 2 * RESERVE * search.candidates_min);
    let pools = |cycle: &Cycle| cycle.hops().iter().map(|hop| hop.pool).collect::<Vec<_>>();
    let found: HashMap<_, f64> =
        candidates.iter().map(|one| ((one.cycle.start(), pools(&one.cycle)), one.gain)).collect();
    assert_eq!(found.len(), candidates.len());
    let mut known = 0;
    for (cycle, gain) in all_cycles(search, book) {
        let least = search.homes.iter().map(|home| home.worth).fold(0.0, f64::max);
        let floor = search.floor().unwrap_or(0.0).max(least);
        match found.get(&cycle) {
            Some(said) => assert!((said - gain).abs() < 1e-6 * (1.0 + gain), "{cycle:?}: {said}, but {gain}"),
            None => assert!(gain < floor + 1e-6 * (1.0 + floor), "{cycle:?} gains {gain}, the floor is {floor}"),
        }
        known += usize::from(found.contains_key(&cycle));
    }
    assert_eq!(known, found.len());
}

fn reserve() -> impl Strategy<Value = u128> {
    1_000_000u128..1_200_000
}

/// Pools between six tokens, some parallel.
fn market() -> impl Strategy<Value = Vec<(u8, u8, [u128; 2])>> {
    prop::collection::vec((0u8..5, 1u8..6, [reserve(), reserve()]), 2..28)
        .prop_map(|pools| pools.into_iter().map(|(a, step, held)| (a, (a + step) % 6, held)).collect())
}

proptest! {
    #[test]
    fn what_is_found_is_what_gains_and_following_is_scanning(
        market in market(), hops_max in 2usize..=4, candidates_min in prop::sample::select(vec![1, 2, 5, 20, CANDIDATES_MIN]),
        worth in prop::sample::select(vec![1.0, 0.5]),
        changes in prop::collection::vec(prop::collection::vec((any::<prop::sample::Index>(), [reserve(), reserve()]), 1..7), 1..8),
        leaves in any::<prop::sample::Index>(),
    ) {
        let mut book = Book::default();
        for (number, &(a, b, held)) in market.iter().enumerate() {
            book.join(1, v2_between(number as u8, [a, b], held).into()).unwrap();
        }
        let homes = [(address(0), 1.0), (address(1), worth)];
        let mut search = Search::new(&homes, hops_max);
        search.candidates_min = candidates_min;
        follow(&mut search, &mut book);
        check(&search, &book);
        for (block, change) in changes.iter().enumerate() {
            for (pool, held) in change {
                let pool = address(pool.index(market.len()) as u8 + 100);
                let [reserve0, reserve1] = *held;
                book.apply(2 + block as u64, pool, &Event::Sync { reserve0, reserve1 }).unwrap();
            }
            follow(&mut search, &mut book);
            check(&search, &book);
            // The one list is the beginning of the other, to the last bit.
            let mut again = search.clone();
            again.scan();
            let both = again.candidates.len().min(search.candidates.len());
            prop_assert_eq!(&again.candidates[..both], &search.candidates[..both]);
            prop_assert!(search.floor.is_some() || both == again.candidates.len() || again.floor.is_none());
        }
        book.leave(99, address(leaves.index(market.len()) as u8 + 100)).unwrap();
        follow(&mut search, &mut book);
        check(&search, &book);
    }
}

/// Every cycle that gains a unit, by plain enumeration.
fn gaining(search: &Search) -> Vec<Candidate> {
    let home = &search.homes[0];
    let mut all = Vec::new();
    let mut open = vec![(home.token, Vec::new(), vec![])];
    while let Some((at, pools, tokens)) = open.pop() {
        for edge in
            search.graph.edges(at).iter().filter(|edge| !pools.contains(&edge.pool) && !tokens.contains(&edge.to))
        {
            let (mut pools, mut tokens) = (pools.clone(), tokens.clone());
            pools.push(edge.pool);
            tokens.push(edge.to);
            if edge.to == home.token {
                all.extend(walk::estimate(&search.graph, home.token, home.worth, &pools));
            } else if pools.len() < search.hops_max {
                open.push((edge.to, pools, tokens));
            }
        }
    }
    all.sort_by(Candidate::order);
    all
}

#[test]
fn the_main_nets_pools() {
    for (hops_max, gain) in [(2, 401), (3, 3_678)] {
        let mut book = mainnet();
        let mut search = Search::new(&[(weth(), 1.0)], hops_max);
        follow(&mut search, &mut book);
        let all = gaining(&search);
        assert_eq!(all.len(), gain);
        assert_eq!(search.candidates(), &all[..gain.min(RESERVE * CANDIDATES_MIN)]);
        assert_eq!(search.floor().is_some(), gain > RESERVE * CANDIDATES_MIN);
    }
}

#[test]
fn blocks_of_the_main_nets_pools_to_four_hops() {
    let mut book = mainnet();
    let mut search = Search::new(&[(weth(), 1.0)], 4);
    follow(&mut search, &mut book);
    let addresses: Vec<_> = book.iter().map(|(_, pool)| pool.address()).collect();
    for block in 2..22 {
        for n in 0..50 {
            let address = addresses[(block * 50 + n) * 619 % addresses.len()];
            let pool = book.find(address).and_then(|id| book.get(id)).unwrap();
            let AnyPool::ConstantProduct(pair) = pool else { continue };
            let [reserve0, reserve1] = pair.reserves();
            let event = Event::Sync { reserve0: reserve0 + reserve0 / 100, reserve1: reserve1 - reserve1 / 101 };
            book.apply(block as u64, address, &event).unwrap();
        }
        follow(&mut search, &mut book);
        let mut again = search.clone();
        again.scan();
        let both = again.candidates.len().min(search.candidates.len());
        assert!(both >= CANDIDATES_MIN);
        assert_eq!(again.candidates[..both], search.candidates[..both]);
    }
}
