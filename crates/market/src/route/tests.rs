use clarabel::algebra::CscMatrix;
use clarabel::solver::{
    DefaultSettingsBuilder, DefaultSolver, IPSolver, NonnegativeConeT, SecondOrderConeT, ZeroConeT,
};
use proptest::prelude::*;

use super::*;
use crate::fixtures::{address, mainnet, v2_between, weth};
use crate::pool::Pool;

/// The tokens of a small market: from 0 to 1, straight or over 2.
const PAIRS: [[u8; 2]; 3] = [[0, 1], [0, 2], [2, 1]];

/// A pair of the small market: between which tokens, what it holds.
type Spec = (usize, [u128; 2]);

fn book(specs: &[Spec]) -> Book {
    let mut book = Book::default();
    for (number, &(pair, held)) in specs.iter().enumerate() {
        book.join(1, v2_between(number as u8, PAIRS[pair], held).into()).unwrap();
    }
    book
}

/// The most that comes out, by a solver that knows nothing of us: the pairs' inputs x and outputs y as variables, in units of 10^21.
///
/// A pair holds its invariant where (X + 0.997x)·(Y − y) ≥ X·Y, which is a second-order cone: |(2√(X·Y), u − v)| ≤ u + v.
fn solved(specs: &[Spec], amount: f64) -> f64 {
    let count = specs.len();
    let (input, output) = (|n: usize| n, |n: usize| count + n);
    // Rows of A·z + s = b, with s in the cones, one after another.
    let mut entries: Vec<(usize, usize, f64)> = Vec::new();
    let mut b = Vec::new();
    let mut row = 0;
    // What goes in is the amount; what enters token 2 leaves it.
    for (n, (pair, _)) in specs.iter().enumerate() {
        match pair {
            0 => entries.push((0, input(n), 1.0)),
            1 => entries.extend([(0, input(n), 1.0), (1, output(n), -1.0)]),
            _ => entries.push((1, input(n), 1.0)),
        }
    }
    b.extend([amount, 0.0]);
    row += 2;
    for n in 0..2 * count {
        entries.push((row + n, n, -1.0));
        b.push(0.0);
    }
    row += 2 * count;
    for (n, (_, held)) in specs.iter().enumerate() {
        let [x, y] = held.map(|held| held as f64 / 1e21);
        // u = x + 0.997·input, v = y − output: s = (u + v, u − v, 2√(x·y)).
        entries.extend([(row, input(n), -0.997), (row, output(n), 1.0)]);
        entries.extend([(row + 1, input(n), -0.997), (row + 1, output(n), -1.0)]);
        b.extend([x + y, x - y, 2.0 * (x * y).sqrt()]);
        row += 3;
    }
    let cost: Vec<f64> =
        (0..2 * count).map(|n| if n >= count && specs[n - count].0 != 1 { -1.0 } else { 0.0 }).collect();
    let (rows, columns, values): (Vec<_>, Vec<_>, Vec<_>) =
        entries.into_iter().fold(Default::default(), |mut all, entry| {
            all.0.push(entry.0);
            all.1.push(entry.1);
            all.2.push(entry.2);
            all
        });
    let a = CscMatrix::new_from_triplets(row, 2 * count, rows, columns, values);
    let mut cones = vec![ZeroConeT(2), NonnegativeConeT(2 * count)];
    cones.extend((0..count).map(|_| SecondOrderConeT(3)));
    let settings = DefaultSettingsBuilder::default().verbose(false).build().unwrap();
    let mut solver = DefaultSolver::new(&CscMatrix::zeros((2 * count, 2 * count)), &cost, &a, &b, &cones, settings);
    solver.solve();
    -solver.solution.obj_val * 1e21
}

/// Everything that goes in comes through, pool by pool and leg by leg.
fn check_sums(route: &Route, book: &Book) {
    assert_eq!(route.branches.iter().map(|branch| branch.input).sum::<U256>(), route.input);
    assert_eq!(route.branches.iter().map(|branch| branch.output).sum::<U256>(), route.output);
    let mut pools = Vec::new();
    for branch in &route.branches {
        let mut amount = branch.input;
        for leg in &branch.legs {
            assert_eq!(leg.parts.iter().map(|part| part.quote.amount_in).sum::<U256>(), amount);
            amount = leg.parts.iter().map(|part| part.quote.amount_out).sum();
            for Part { hop, quote } in &leg.parts {
                let pool = book.get(hop.pool).unwrap();
                assert_eq!(pool.identity().ends(hop.way), (leg.from, leg.to));
                assert_eq!(pool.quote_exact_in(hop.way, quote.amount_in).as_ref(), Ok(quote));
                pools.push(hop.pool);
            }
        }
        assert_eq!(amount, branch.output);
    }
    let used = pools.len();
    pools.sort_unstable();
    pools.dedup();
    assert_eq!(pools.len(), used, "a pool is used twice");
}

fn held() -> impl Strategy<Value = u128> {
    (1u128..1_000).prop_map(|thousands| thousands * 10u128.pow(21))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn as_good_as_a_convex_solver(
        specs in prop::collection::vec((0usize..3, [held(), held()]), 1..7), amount in 1u128..300,
    ) {
        // There is a way straight and one over the third token.
        let ways = [(0, [held_of(90), held_of(100)]), (1, [held_of(80), held_of(85)]), (2, [held_of(95), held_of(90)])];
        let specs: Vec<Spec> = ways.into_iter().chain(specs).collect();
        let amount = amount * 10u128.pow(21);
        let book = book(&specs);
        let graph = Graph::of(&book);
        let spread = Spread { parts_max: 9, part_min_bps: 0, ..Spread::default() };
        let route = best_route(&book, &graph, address(0), address(1), U256::from(amount), &spread).unwrap();
        check_sums(&route, &book);
        let best = solved(&specs, amount as f64 / 1e21);
        let ratio = f64::from(route.output) / best;
        prop_assert!((1.0 - 1e-6..1.0 + 1e-6).contains(&ratio), "{ratio} of {best}: {specs:?}");
    }
}

fn held_of(thousands: u128) -> u128 {
    thousands * 10u128.pow(21)
}

#[test]
fn a_small_trade_is_not_divided_and_a_large_one_is() {
    let book =
        book(&[(0, [held_of(100), held_of(100)]), (0, [held_of(50), held_of(50)]), (1, [held_of(9), held_of(9)])]);
    let graph = Graph::of(&book);
    let route =
        |amount: u128, spread: &Spread| best_route(&book, &graph, address(0), address(1), U256::from(amount), spread);
    let parts = |route: &Route| route.branches.iter().map(|branch| branch.legs[0].parts.len()).collect::<Vec<_>>();
    let large = route(held_of(30), &Spread::default()).unwrap();
    assert_eq!(parts(&large), [2]);
    // Two thirds and one third, as the reserves are.
    let [first, second] = [0, 1].map(|part| f64::from(large.branches[0].legs[0].parts[part].quote.amount_in));
    assert!((first / second - 2.0).abs() < 1e-6);
    let alone = route(held_of(30), &Spread::NONE).unwrap();
    assert_eq!(parts(&alone), [1]);
    assert!(alone.output < large.output && alone.gas < large.gas);
    assert_eq!(route(0, &Spread::default()), Err(Error::ZeroAmount));
    assert_eq!(
        best_route(&book, &graph, address(0), address(7), U256::ONE, &Spread::default()),
        Err(Error::UnknownWay)
    );
    assert_eq!(
        best_route(&book, &graph, address(0), address(0), U256::ONE, &Spread::default()),
        Err(Error::UnknownWay)
    );
}

#[test]
fn over_the_main_nets_pools_more_ways_are_never_worse() {
    let book = mainnet();
    let graph = Graph::of(&book);
    let usdc = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48".parse().unwrap();
    for ether in [1u64, 100, 1_000] {
        let amount = U256::from(ether) * U256::from(10u64.pow(18));
        let [alone, spread] = [Spread::NONE, Spread::default()]
            .map(|spread| best_route(&book, &graph, weth(), usdc, amount, &spread).unwrap());
        check_sums(&alone, &book);
        check_sums(&spread, &book);
        assert!(spread.output >= alone.output, "{ether}");
    }
}
