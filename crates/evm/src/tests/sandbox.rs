//! The sandbox's life: start, death, stop, saved state, missing parts.

use std::path::Path;
use std::time::{Duration, Instant};

use kernel::bus::Bus;
use kernel::chain::{BlockId, Chain};
use kernel::fake::World;
use kernel::{Code, Secret};
use serde_json::json;

use super::world::{Sandbox, ether, parts, sandbox, sandbox_at, sandbox_in, sandbox_with};
use crate::{Config, Places, SandboxConfig, open, open_node};

/// The process whose command line names this sandbox's folder.
fn process_of(sandbox: &Sandbox) -> i32 {
    process_in(sandbox.data.path())
}

fn process_in(folder: &Path) -> i32 {
    let folder = folder.to_str().unwrap();
    let ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(folder)
    };
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.into_iter().find(ours).expect("anvil runs")
}

fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[expect(unsafe_code, reason = "killing a process is a system call")]
fn kill(pid: i32) {
    // SAFETY: `pid` is a child of this test, found by its command line a moment ago.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

fn saved(sandbox: &Sandbox) -> Option<Vec<u8>> {
    std::fs::read(sandbox.data.path().join("sandbox/chain.gz")).ok()
}

#[tokio::test]
async fn it_is_ready_within_three_seconds() {
    let began = Instant::now();
    let Some(sandbox) = sandbox() else { return };
    sandbox.node.status().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn killed_it_comes_back_with_its_state_while_callers_wait() {
    let Some(sandbox) = sandbox() else { return };
    let (me, usdc) = (sandbox.account(1).await, sandbox.at("usdc").await);
    let receipt = sandbox.send(json!({ "from": me, "to": sandbox.account(2).await, "value": "0x5" })).await;
    let (port, before) = (sandbox.node.status().await.unwrap().endpoints[0].endpoint.clone(), process_of(&sandbox));
    // Until the save that holds the transaction is on disk.
    let own = crate::sandbox::state_in(sandbox.data.path());
    while own.save_now(&sandbox.node.rpc).await.is_none() {}
    kill(before);
    // A caller that asks at once just waits.
    let balance = sandbox.node.balance(sandbox.account(2).await, BlockId::Latest).await.unwrap();
    assert_eq!(balance.to_string(), "10000000000000000000005");
    assert!(sandbox.node.receipt(receipt.transaction_hash).await.unwrap().success);
    assert_eq!(sandbox.node.token(usdc, BlockId::Latest).await.unwrap().symbol.as_deref(), Some("USDC"));
    assert_eq!(sandbox.node.status().await.unwrap().endpoints[0].endpoint, port, "others find it where it was");
    assert_ne!(process_of(&sandbox), before);
    // And it goes on from there.
    assert_eq!(sandbox.send(json!({ "from": me, "to": me })).await.block_number, receipt.block_number + 1);
}

#[tokio::test]
async fn stopped_and_started_again_it_is_the_same_chain() {
    let Some(first) = sandbox() else { return };
    let kernel::chain::ChainStatus { head, deployments, .. } = first.node.status().await.unwrap();
    let me = first.account(1).await;
    let receipt = first.send(json!({ "from": me, "to": me })).await;
    assert_eq!(receipt.block_number, head.number + 1);
    let pid = process_of(&first);
    assert_eq!(first.tasks.drain(Duration::from_secs(20)).await, 0);
    assert!(!alive(pid), "a stop leaves no process");
    assert_eq!(first.node.status().await.unwrap_err().code, Code::Unavailable);

    let second = sandbox_in(first.data, 0).unwrap();
    let status = second.node.status().await.unwrap();
    assert_eq!((status.head.number, status.head.hash), (receipt.block_number, receipt.block_hash));
    assert_eq!(status.deployments, deployments);
}

#[tokio::test]
async fn one_process_keeps_it_another_uses_it_and_takes_over() {
    let Some(first) = sandbox() else { return };
    let kept = first.node.status().await.unwrap();
    let second = tempfile::TempDir::new_in(first.data.path()).unwrap();
    let other = sandbox_at(first.data.path().into(), second, 0).unwrap();
    let seen = other.node.status().await.unwrap();
    assert_eq!((&seen.endpoints[0].endpoint, seen.sandbox), (&kept.endpoints[0].endpoint, true));
    assert_eq!((seen.head.hash, &seen.deployments), (kept.head.hash, &kept.deployments));
    while other.node.head().is_none_or(|head| head.hash != kept.head.hash) {
        tokio::task::yield_now().await;
    }
    let told = other.world.bus.read(kernel::chain::CHAIN_TOPIC, 0, 10).await.unwrap();
    assert!(told.is_empty(), "both follow the head, one publishes: {told:?}");

    assert_eq!(first.tasks.drain(Duration::from_secs(20)).await, 0);
    let taken = loop {
        match other.node.status().await {
            Ok(status) => break status,
            Err(fault) => assert_eq!(fault.code, Code::Unavailable, "{fault}"),
        }
    };
    assert_eq!((taken.head.hash, taken.deployments), (kept.head.hash, kept.deployments));
}

/// Not a test of its own: the body of the process that the next one kills.
#[tokio::test]
async fn the_process_that_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "the test that starts this process tells it so")]
    let Some(data) = std::env::var_os("FLOTILLA_EVM_TEST_DATA") else { return };
    let Some(sandbox) = sandbox_at(data.into(), tempfile::tempdir().unwrap(), 0) else { return };
    sandbox.node.status().await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn it_ends_with_the_process_that_started_it_even_when_that_is_killed() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.node.status().await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::sandbox::the_process_that_is_killed"])
        .env("FLOTILLA_EVM_TEST_DATA", data.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ready = data.path().join("sandbox/market.json");
    while !ready.exists() {
        assert!(parent.try_wait().unwrap().is_none(), "it ended before its time");
        tokio::task::yield_now().await;
    }
    let orphan = process_in(data.path());
    parent.kill().unwrap();
    parent.wait().unwrap();
    while alive(orphan) {
        tokio::task::yield_now().await;
    }
}

/// The market is there, though the folder was left by a run that ended before with what `spoil` did to it.
async fn a_new_market_after(spoil: impl FnOnce(&Path)) {
    let Some(first) = sandbox() else { return };
    let me = first.account(1).await;
    let before = first.send(json!({ "from": me, "to": me })).await.block_number;
    assert_eq!(first.tasks.drain(Duration::from_secs(20)).await, 0);
    spoil(&first.data.path().join("sandbox"));
    let second = sandbox_in(first.data, 0).unwrap();
    let weth = second.at("weth").await;
    assert_eq!(second.node.token(weth, BlockId::Latest).await.unwrap().symbol.as_deref(), Some("WETH"));
    assert_eq!(second.node.status().await.unwrap().head.number, before - 1, "what was sent to the old one is gone");
    let own = crate::sandbox::state_in(second.data.path());
    while own.save_now(&second.node.rpc).await.is_none() {}
    assert!(saved(&second).is_some_and(|state| state != b"not a state"));
}

#[tokio::test]
async fn state_that_cannot_be_read_is_replaced_by_a_new_market() {
    a_new_market_after(|folder| std::fs::write(folder.join("chain.gz"), b"not a state").unwrap()).await;
}

#[tokio::test]
async fn the_state_of_another_market_is_replaced_by_a_new_one() {
    a_new_market_after(|folder| {
        let file = folder.join("market.json");
        let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        record["made_of"] = json!(kernel::chain::Hash::default());
        std::fs::write(file, record.to_string()).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_gives_way_to_a_free_one() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let Some(sandbox) = sandbox_in(tempfile::tempdir().unwrap(), port) else { return };
    let endpoint = sandbox.node.status().await.unwrap().endpoints[0].endpoint.clone();
    assert_ne!(endpoint, format!("127.0.0.1:{port}"));
    assert_eq!(
        sandbox.node.balance(sandbox.account(9).await, BlockId::Latest).await.unwrap().to_string(),
        ether(10_000)
    );
}

#[tokio::test]
async fn without_its_parts_every_call_says_what_to_do() {
    let world = World::default();
    let places = |tools: &Path| Places { endpoints: Vec::new(), tools: tools.into(), data: tools.join("data") };
    let empty = tempfile::tempdir().unwrap();
    let chain = open(&Config::default(), &places(empty.path()), &parts(&world));
    let fault = chain.chain.status().await.unwrap_err();
    assert_eq!(fault.code, Code::NotConfigured);
    assert!(
        fault.message.starts_with("the sandbox chain needs anvil, which is not at ") && !fault.message.contains('\n')
    );
    assert!(fault.hint.as_ref().unwrap().contains("cargo xtask up"), "{fault}");

    let off = Config { sandbox: SandboxConfig { enabled: false, ..SandboxConfig::default() }, ..Config::default() };
    let Err(fault) = open_node(&off, &places(empty.path()), &parts(&world)) else { panic!("it opened") };
    assert_eq!(fault.code, Code::NotConfigured);

    let wrong = Places { endpoints: vec![Secret::new("s3cret")], ..places(empty.path()) };
    let Err(fault) = open_node(&Config::default(), &wrong, &parts(&world)) else { panic!("it opened") };
    assert!(fault.code == Code::InvalidArgument && !fault.to_string().contains("s3cret"), "{fault}");
}

#[tokio::test]
async fn one_that_cannot_start_says_so_after_a_few_tries() {
    let data = tempfile::tempdir().unwrap();
    let packages = data.path().join("npm/node_modules");
    let Some(tools) = super::world::tools() else { return };
    let real = tools.join("npm/node_modules");
    std::fs::create_dir_all(&packages).unwrap();
    for package in std::fs::read_dir(real.canonicalize().unwrap()).unwrap().map(|entry| entry.unwrap()) {
        if package.file_name() != "@foundry-rs" {
            std::os::unix::fs::symlink(package.path(), packages.join(package.file_name())).unwrap();
        }
    }
    for platform in ["linux-amd64", "linux-arm64", "darwin-arm64", "darwin-amd64"] {
        let bin = packages.join(format!("@foundry-rs/anvil-{platform}/bin"));
        std::fs::create_dir_all(&bin).unwrap();
        let broken = bin.join("anvil");
        std::fs::write(&broken, "#!/bin/sh\necho 'no such instruction' >&2\nexit 7\n").unwrap();
        std::os::unix::fs::PermissionsExt::set_mode(&mut std::fs::metadata(&broken).unwrap().permissions(), 0o755);
        std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let world = World::default();
    let places = Places { endpoints: Vec::new(), tools: data.path().into(), data: data.path().join("data") };
    let node = open_node(&Config::default(), &places, &parts(&world)).unwrap();
    let fault = node.status().await.unwrap_err();
    assert_eq!(fault.code, Code::Unavailable);
    assert!(fault.message.contains("does not start") && fault.message.contains("no such instruction"), "{fault}");
}

/// What the first swaps of the trader with this seed did to the pools: the swaps' own events, in their order.
async fn first_swaps(seed: u64) -> Option<Vec<(kernel::chain::Address, String)>> {
    const SWAPS: usize = 12;
    let config = SandboxConfig { port: 0, trader_ms: 20, trader_seed: seed, ..SandboxConfig::default() };
    let data = tempfile::tempdir().unwrap();
    let sandbox = sandbox_with(Config { sandbox: config, ..Config::default() }, data.path().into(), data)?;
    let (trader, reporter) = (sandbox.account(8).await, sandbox.account(7).await);
    loop {
        let head = sandbox.node.status().await.unwrap().head.number;
        let mut made = Vec::new();
        // The market is the first two blocks; then nobody but the trader sends anything, and who tells the feeds their prices.
        for number in 3..=head {
            for hash in sandbox.node.block(BlockId::Number(number)).await.unwrap().transactions {
                let receipt = sandbox.mined(hash).await;
                assert!(receipt.success && [trader, reporter].contains(&receipt.from), "{receipt:?}");
                if receipt.from == reporter {
                    continue;
                }
                let last = receipt.logs.last().unwrap();
                made.push((last.address, last.data.to_string()));
            }
        }
        if made.len() >= SWAPS {
            made.truncate(SWAPS);
            return Some(made);
        }
    }
}

#[tokio::test]
async fn the_same_seed_makes_the_trader_swap_the_same() {
    let Some(first) = first_swaps(7).await else { return };
    assert_eq!(Some(&first), first_swaps(7).await.as_ref());
    assert_ne!(Some(&first), first_swaps(8).await.as_ref());
    let places: std::collections::BTreeSet<_> = first.iter().map(|(pool, _)| *pool).collect();
    assert!(places.len() > 3, "many pools: {places:?}");
}

#[tokio::test]
async fn the_feeds_follow_the_market() {
    let config = SandboxConfig { port: 0, trader_ms: 20, trader_seed: 3, ..SandboxConfig::default() };
    let data = tempfile::tempdir().unwrap();
    let config = Config { sandbox: config, ..Config::default() };
    let Some(sandbox) = sandbox_with(config, data.path().into(), data) else { return };
    let feed = sandbox.at("chainlink-feed-weth-usd").await;
    let told = async || {
        let round = "latestRoundData()(uint80,int256,uint256,uint256,uint80)";
        let words = sandbox.view(feed, round, &[]).await.unwrap();
        let word = |place: usize| serde_json::from_value::<kernel::chain::Amount>(words[place].clone()).unwrap().0;
        (word(0), word(1))
    };
    let first = told().await;
    while told().await == first {
        tokio::task::yield_now().await;
    }
    let (pair, at) = (sandbox.at("uniswap-v2-pair-usdc-weth").await, kernel::chain::BlockId::Latest);
    let held = async |token: &str| sandbox.node.token_balance(sandbox.at(token).await, pair, at).await.unwrap().0;
    let pool = held("usdc").await * alloy_primitives::U256::from(10).pow(alloy_primitives::U256::from(20))
        / held("weth").await;
    let answer = told().await.1;
    let off = answer.abs_diff(pool) * alloy_primitives::U256::from(1_000) / pool;
    assert!(off < alloy_primitives::U256::from(30), "the feed says {answer}, the pool {pool}");
}
