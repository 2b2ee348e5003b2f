use proptest::prelude::*;

use super::*;
use crate::fixtures::{address, mainnet, v2_between, weth};
use crate::pool::Event;

fn follow(search: &mut Search, book: &mut Book) {
    let changed = book.take_changed();
    search.follow(book, &changed);
}

/// Every cycle there is, by plain enumeration, with its weight.
fn all_cycles(graph: &Graph, home: TokenId, hops_max: usize) -> Vec<(Vec<PoolId>, f64)> {
    let mut all = Vec::new();
    let mut open = vec![(home, Vec::new(), vec![], 0.0)];
    while let Some((at, pools, tokens, sum)) = open.pop() {
        for edge in graph.edges(at) {
            if pools.contains(&edge.pool) || tokens.contains(&edge.to) {
                continue;
            }
            let mut longer: Vec<PoolId> = pools.clone();
            longer.push(edge.pool);
            let total = sum + edge.out;
            if edge.to == home {
                all.push((longer, total));
            } else if longer.len() < hops_max {
                let mut seen: Vec<TokenId> = tokens.clone();
                seen.push(edge.to);
                open.push((edge.to, longer, seen, total));
            }
        }
    }
    all
}

/// Those that gain, in order; what is so near zero that the order of adding decides is left out of the comparison.
fn gaining(all: Vec<(Vec<PoolId>, f64)>) -> Vec<Vec<PoolId>> {
    let mut pools: Vec<_> = all.into_iter().filter(|(_, sum)| *sum > 1e-9).map(|(pools, _)| pools).collect();
    pools.sort();
    pools
}

fn found(search: &Search) -> Vec<Vec<PoolId>> {
    let pools = |candidate: &Candidate| candidate.cycle.hops().iter().map(|hop| hop.pool).collect::<Vec<_>>();
    let weight = |candidate: &&Candidate| {
        let weights = candidate.cycle.hops().iter().map(|hop| {
            let [first, second] = search.graph.ends(hop.pool).unwrap();
            search.graph.edge(hop.pool, if hop.way.zero_for_one() { first } else { second }).unwrap().out
        });
        weights.sum::<f64>() > 1e-9
    };
    let mut all: Vec<_> = search.candidates.iter().filter(weight).map(pools).collect();
    all.sort();
    all
}

fn reserve() -> impl Strategy<Value = u128> {
    10_000u128..12_000
}

/// Pools between five tokens, some parallel.
fn market() -> impl Strategy<Value = Vec<(u8, u8, [u128; 2])>> {
    prop::collection::vec((0u8..4, 1u8..5, [reserve(), reserve()]), 2..14)
        .prop_map(|pools| pools.into_iter().map(|(a, step, held)| (a, (a + step) % 5, held)).collect())
}

proptest! {
    #[test]
    fn what_is_found_is_what_gains_and_following_is_scanning(
        market in market(), hops_max in 2usize..=4,
        changes in prop::collection::vec(prop::collection::vec((any::<prop::sample::Index>(), [reserve(), reserve()]), 1..4), 1..6),
        leaves in any::<prop::sample::Index>(),
    ) {
        let mut book = Book::default();
        for (number, &(a, b, held)) in market.iter().enumerate() {
            book.join(1, v2_between(number as u8, [a, b], held).into()).unwrap();
        }
        let homes = [(address(0), 1.0), (address(1), 1.0)];
        let mut search = Search::new(&homes, hops_max);
        follow(&mut search, &mut book);
        for (block, change) in changes.iter().enumerate() {
            for (pool, held) in change {
                let pool = address(pool.index(market.len()) as u8 + 100);
                let [reserve0, reserve1] = *held;
                book.apply(2 + block as u64, pool, &Event::Sync { reserve0, reserve1 }).unwrap();
            }
            follow(&mut search, &mut book);
            let mut all = all_cycles(&search.graph, TokenId(0), hops_max);
            all.extend(all_cycles(&search.graph, TokenId(1), hops_max));
            prop_assert_eq!(found(&search), gaining(all));
            let mut again = search.clone();
            again.scan();
            prop_assert_eq!(&again.candidates, &search.candidates);
        }
        book.leave(99, address(leaves.index(market.len()) as u8 + 100)).unwrap();
        follow(&mut search, &mut book);
        let mut all = all_cycles(&search.graph, TokenId(0), hops_max);
        all.extend(all_cycles(&search.graph, TokenId(1), hops_max));
        prop_assert_eq!(found(&search), gaining(all));
    }
}

#[test]
fn the_main_nets_pools() {
    for (hops_max, cycles, gain) in [(2, 1_210, 401), (3, 11_110, 3_692)] {
        let mut book = mainnet();
        let mut search = Search::new(&[(weth(), 1.0)], hops_max);
        follow(&mut search, &mut book);
        let all = all_cycles(&search.graph, TokenId(0), hops_max);
        assert_eq!((all.len(), search.candidates().len()), (cycles, gain));
        assert_eq!(found(&search), gaining(all));
        assert!(search.candidates().is_sorted_by(|a, b| a.gain >= b.gain));
    }
}
