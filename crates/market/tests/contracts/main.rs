//! Our pools against the contracts' own bytecode, run in this process: 100,000 quotes, and states after random histories.
//!
//! A seed makes every run the same; a difference tells the case.

#![expect(clippy::unwrap_used, reason = "a test")]

mod cycle;
mod machine;
mod v2;
mod v3;

use std::path::PathBuf;

use alloy_primitives::U256;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The tools folder, or `None`, said aloud, where a developer has not fetched it. On a build server that is a failure.
fn tools() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    let (named, ci) = (std::env::var_os("FLOTILLA_TOOLS_DIR"), std::env::var_os("CI").is_some());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tools = named.map_or_else(|| root.join(".tools"), |named| root.join(named));
    if tools.join("npm/node_modules/@uniswap/v3-core").is_dir() {
        return Some(tools);
    }
    assert!(!ci, "the contracts' bytecode is not in {}", tools.display());
    let mut aloud = std::io::stderr().lock();
    std::io::Write::write_all(&mut aloud, b"SKIPPED: run `cargo xtask test` to fetch the contracts' bytecode\n")
        .unwrap();
    None
}

/// The same in every run.
fn seeded(part: u64) -> StdRng {
    StdRng::seed_from_u64(0x17_228_000 + part)
}

/// A number of at most that many bits: all lengths are as likely, and edges come often.
fn number(rng: &mut StdRng, bits_max: usize) -> U256 {
    let top: U256 = if bits_max == 256 { U256::MAX } else { (U256::ONE << bits_max) - U256::ONE };
    match rng.random_range(0..32) {
        0 => U256::ZERO,
        1 => U256::ONE,
        2 => top,
        3 => U256::from(rng.random_range(2..50u64)),
        _ => {
            let bits = rng.random_range(1..=bits_max);
            let any = U256::from_limbs(rng.random());
            (any >> (256 - bits)) | (U256::ONE << (bits - 1))
        }
    }
}
