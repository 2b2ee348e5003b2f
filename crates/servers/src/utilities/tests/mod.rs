//! Each tool through the protocol: what a client sees of good input and bad.

mod abi;
mod data;
mod jq;
mod numbers;
mod text;

use expect_test::Expect;
use kernel::fake::World;
use serde_json::Value;

use super::*;
use crate::testing::Bench;

/// What ends, ends long before: also on a machine that has more to do, where a second of work takes several.
fn bench() -> Bench {
    bench_for(30)
}

/// For what would not end, and is to be over soon.
fn hurried() -> Bench {
    bench_for(1)
}

fn bench_for(computation_seconds: u64) -> Bench {
    let config = Config { computation_seconds, ..Config::default() };
    Bench::on::<Utilities>(World::default().abi(Arc::new(evm::Encodings)), config)
}

async fn check(tool: &str, arguments: Value, expected: Expect) {
    bench().check(tool, arguments, expected).await;
}

/// Runs an asynchronous property.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
