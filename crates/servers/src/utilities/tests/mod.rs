//! Each tool through the protocol: what a client sees of good input and bad.

mod abi;
mod data;
mod numbers;
mod text;

use expect_test::Expect;
use kernel::fake::World;
use serde_json::Value;

use super::*;
use crate::testing::Bench;

fn bench() -> Bench {
    Bench::on::<Utilities>(World::default().abi(Arc::new(evm::Encodings)), Config::default())
}

async fn check(tool: &str, arguments: Value, expected: Expect) {
    bench().check(tool, arguments, expected).await;
}

/// Runs an asynchronous property.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
