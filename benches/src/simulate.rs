//! Whole flash arbitrages run in this process, on one core: the executor borrows, trades through the protocols' own bytecode on a sandbox,
//! pays back and keeps the gain. `Chain::fork` once, then `Fork::attempt` on warm state, which asks the node nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evm::{Config, Encodings, Parts, Places, SandboxConfig, open_node};
use kernel::chain::{Abi, Address, Amount, BlockId, CallRequest, Chain, ChainStatus, FlashSource, Fork, Trial};
use kernel::fake::World;
use market::executor::{Leg, Lender, Plan, Venue, profit};
use serde_json::json;

use crate::Fallible;
use crate::table::Table;

/// Attempts in a round.
const ATTEMPTS: u32 = 500;
/// Rounds; the best is told, by the processor's time: what else a machine does only ever adds to the wall clock's.
const ROUNDS: usize = 20;
/// What is borrowed: 0.03 ether, which the sandbox's two LINK pairs leave a gain on.
const BORROWED_WEI: u64 = 30_000_000_000_000_123;
/// How long the sandbox may take to end.
const STOP_TIME: Duration = Duration::from_secs(10);
/// The pools of a cycle by their deployments, with what each gives.
type Cycle<'a> = &'a [(&'a str, &'a str)];
const PAIRS: Cycle<'static> = &[("uniswap-v2-pair-link-weth", "link"), ("sushiswap-v2-pair-link-weth", "weth")];
const MIXED: Cycle<'static> = &[
    ("sushiswap-v2-pair-usdc-weth", "usdc"),
    ("uniswap-v3-pool-usdt-usdc-100", "usdt"),
    ("uniswap-v2-pair-usdt-weth", "weth"),
];
/// USDC put into the first pair of the mixed cycle, so that it gains.
const PUSHED_USDC: u64 = 30_000_000_000;

/// Measures and tells.
pub(crate) async fn run() -> Fallible<String> {
    let (data, world) = (tempfile::tempdir()?, World::default());
    let parts = Parts {
        clock: world.clock.clone(),
        tasks: world.tasks.child(),
        metrics: world.metrics.clone(),
        bus: Arc::clone(&world.bus) as _,
    };
    let config =
        Config { sandbox: SandboxConfig { port: 0, trader_ms: 0, ..SandboxConfig::default() }, ..Config::default() };
    let places = Places { endpoints: Vec::new(), tools: tools(), data: data.path().into() };
    let node = open_node(&config, &places, &parts)?;
    let table = measure(&node).await;
    // The chain's process ends with its task, before its folder is removed.
    parts.tasks.drain(STOP_TIME).await;
    table
}

/// Where the sandbox's programs are: as for the fleet, `FLOTILLA_TOOLS_DIR` or the checkout's own folder.
#[expect(clippy::disallowed_methods, reason = "a benchmark has no configuration to ask")]
fn tools() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("FLOTILLA_TOOLS_DIR").map_or_else(|| root.join(".tools"), |named| root.join(named))
}

async fn measure(node: &dyn Chain) -> Fallible<String> {
    let mut table = Table::new(&["", "gas", "simulations/s", "µs each", "target"]);
    let status = node.status().await?;
    let weth = at(&status, "weth")?;
    let sources = node.flash_sources(weth, 0).await?.sources;
    for (cycle, what, provider) in [
        (PAIRS, "two pairs", "uniswap-v2"),
        (PAIRS, "two pairs", "uniswap-v3"),
        (PAIRS, "two pairs", "uniswap-v4"),
        (PAIRS, "two pairs", "balancer-v2"),
        (PAIRS, "two pairs", "aave-v3"),
        (MIXED, "a pair, a concentrated pool, a pair", "uniswap-v4"),
    ] {
        let own = cycle.iter().map(|(pool, _)| at(&status, pool)).collect::<Fallible<Vec<_>>>()?;
        let lends = |source: &&FlashSource| source.provider == provider && !own.contains(&source.contract);
        let source = sources.iter().find(lends).ok_or_else(|| format!("{provider} lends nothing"))?;
        let mut fork = node.fork(BlockId::Latest).await?;
        push(&mut *fork, &status).await?;
        let plan = plan(&status, source, cycle)?;
        let call = CallRequest {
            from: Some(status.accounts[0]),
            ..CallRequest::read(at(&status, "flash-executor")?, plan.calldata(&evm::Encodings)?)
        };
        let trial = Trial::from(call);
        let first = fork.attempt(&trial).await?;
        if !profit(&first.return_data).is_some_and(|profit| first.success && !profit.is_zero()) {
            return Err(format!("{what}, lent by {provider}: no gain: {:?}", first.revert).into());
        }
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let start = cpu_seconds()?;
            for _ in 0..ATTEMPTS {
                if fork.attempt(&trial).await? != first {
                    return Err("the same attempt had another end".into());
                }
            }
            best = best.min((cpu_seconds()? - start) / f64::from(ATTEMPTS));
        }
        table.row(vec![
            format!("{what}, lent by {provider}"),
            first.gas_used.to_string(),
            format!("{:.0}", 1.0 / best),
            format!("{:.1}", best * 1e6),
            "> 9000".into(),
        ]);
    }
    Ok(table.text())
}

/// Processor time of this thread so far.
fn cpu_seconds() -> Fallible<f64> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: u64 = told.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds as f64 / 1e9)
}

fn at(status: &ChainStatus, name: &str) -> Fallible<Address> {
    let found = status.deployments.iter().find(|deployment| deployment.name == name);
    Ok(found.ok_or_else(|| format!("no {name} on the sandbox"))?.address)
}

/// A pair's price is pushed, on the fork alone.
async fn push(fork: &mut dyn Fork, status: &ChainStatus) -> Fallible<()> {
    let (pair, usdc) = (at(status, MIXED[0].0)?, at(status, "usdc")?);
    let mint = Encodings.encode_call("mint(address,uint256)", &[json!(pair), json!(PUSHED_USDC.to_string())])?;
    let sync = Encodings.encode_call("sync()", &[])?;
    for (to, data) in [(usdc, mint), (pair, sync)] {
        let done =
            fork.apply(&CallRequest { from: Some(status.accounts[1]), ..CallRequest::read(to, data) }.into()).await?;
        if !done.success {
            return Err("the pair's price cannot be pushed".into());
        }
    }
    Ok(())
}

fn plan(status: &ChainStatus, source: &FlashSource, cycle: Cycle<'_>) -> Fallible<Plan> {
    let leg = |(pool, token): &(&str, &str)| -> Fallible<Leg> {
        let venue = if pool.contains("-pool-") { Venue::V3 } else { Venue::V2 { fee_millionths: 3_000 } };
        Ok(Leg { pool: at(status, pool)?, venue, token_out: at(status, token)? })
    };
    Ok(Plan {
        lender: Lender::of(source)?,
        source: source.contract,
        asset: at(status, "weth")?,
        amount: Amount::from(BORROWED_WEI),
        min_profit: Amount::from(1),
        deadline_s: u64::MAX,
        legs: cycle.iter().map(leg).collect::<Fallible<_>>()?,
    })
}
