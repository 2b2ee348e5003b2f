//! The fuzz target of pools' logs, for a moment on every run: on arbitrary bytes, and on words that look like what pools write.

#[path = "../../../fuzz/pools.rs"]
mod pools;

use alloy_primitives::U256;
use proptest::prelude::*;

/// A word that a log may have: small and great, a tick of either sign, a price, anything.
fn word() -> impl Strategy<Value = [u8; 32]> {
    let tick = (-14_790i32..=14_790).prop_map(|step| {
        let tick = U256::from((step * 60).unsigned_abs());
        if step < 0 { tick.wrapping_neg() } else { tick }
    });
    let power = (0usize..256, any::<u64>()).prop_map(|(bit, low)| (U256::ONE << bit) | U256::from(low));
    let edges = prop::sample::select(vec![
        U256::ZERO,
        U256::from(u128::MAX),
        U256::MAX,
        U256::ONE << 96,
        U256::from(4_295_128_739_u64),
        U256::from(887_272),
        U256::from(887_220).wrapping_neg(),
    ]);
    prop_oneof![4 => tick, 3 => power, 2 => edges, 1 => any::<[u8; 32]>().prop_map(U256::from_be_bytes)]
        .prop_map(|word| word.to_be_bytes())
}

fn logs() -> impl Strategy<Value = Vec<u8>> {
    let log = (any::<u8>(), prop::collection::vec(word(), 7));
    prop::collection::vec(log, 0..12).prop_map(|logs| {
        logs.into_iter().flat_map(|(choice, words)| [choice].into_iter().chain(words.concat())).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_arbitrary_bytes(bytes in any::<Vec<u8>>()) {
        pools::pools(&bytes);
    }

    #[test]
    fn on_likely_logs(bytes in logs()) {
        pools::pools(&bytes);
    }
}
