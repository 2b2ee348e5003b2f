use super::*;
use crate::testing::Bench;

#[tokio::test(start_paused = true)]
async fn without_a_chain_it_says_so_and_waits() {
    let bench = Bench::new::<Execution>(Config::default(), &["production", "market-analysis", "execution"]).await;
    bench.start();
    bench.pass(30).await;
    assert_eq!(bench.outcomes("trade").await, ["flash-arbitrage is not started"]);
    let gate = market::gate::Gate::new(bench.world.store.clone(), bench.world.clock.clone(), Default::default());
    gate.set_strategy(STRATEGY, true, "ann", None).await.unwrap();
    bench.pass(30).await;
    let outcomes = bench.outcomes("trade").await;
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    bench.stop().await;
}

#[test]
fn how_many_it_may_submit_is_bounded() {
    for (submissions_max, fits) in [(0, false), (1, true), (12, true), (13, false)] {
        assert_eq!(Execution::new(Config { submissions_max }).is_ok(), fits, "{submissions_max}");
    }
}

#[test]
fn a_block_is_told_in_a_line() {
    let held_back = BTreeSet::from(["b".to_owned(), "a".to_owned()]);
    for (tally, want) in [
        (Tally::default(), "nothing submitted"),
        (Tally { submitted: 1, ..Tally::default() }, "one opportunity submitted"),
        (Tally { submitted: 2, held_back }, "2 opportunities submitted; held back: a; b"),
    ] {
        assert_eq!(tally.words(), want);
    }
}
