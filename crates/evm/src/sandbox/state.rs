//! The sandbox's state in the data folder: the chain as anvil dumps it, and what was deployed on it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Bytes, U64};
use futures_util::future::try_join_all;
use kernel::chain::Hash;
use kernel::{Fault, Result};
use parking_lot::Mutex;
use serde_json::json;
use tokio::fs;

use super::Record;
use crate::lock;
use crate::node::latest;
use crate::rpc::Rpc;

/// The files.
pub(crate) struct Store {
    folder: PathBuf,
    /// The height of the state last saved.
    saved: Mutex<Option<u64>>,
    /// Whether the chain was told to make no blocks, and not yet to make them again.
    held: AtomicBool,
}

/// How often is dumped because a block came in between: one may be under way even when the chain was told to make none.
const DUMPS_MAX: usize = 3;

impl Store {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, saved: Mutex::new(None), held: AtomicBool::new(false) }
    }

    /// Where anvil puts old states that do not fit its memory.
    pub(super) fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    fn chain(&self) -> PathBuf {
        self.folder.join("chain.gz")
    }

    fn market(&self) -> PathBuf {
        self.folder.join("market.json")
    }

    /// Puts the saved state into a fresh chain if it was made of this; `None` when there is none that fits, with the reason logged.
    pub(super) async fn restore(&self, rpc: &Rpc, made_of: Hash) -> Option<Record> {
        match self.try_restore(rpc, made_of).await {
            Ok(restored) => restored,
            Err(fault) => {
                tracing::warn!(error = %fault, "the sandbox's saved state cannot be used, the market is deployed anew");
                None
            }
        }
    }

    /// Makes this process the one that keeps the chain, for as long as it holds the file; `None` when another is.
    pub(super) fn lock(&self) -> Result<Option<File>> {
        lock::take(&self.folder.join("lock"))
    }

    /// What was deployed, as last written.
    pub(super) async fn record(&self) -> Result<Option<Record>> {
        let Some(market) = read(&self.market()).await? else { return Ok(None) };
        let record = serde_json::from_slice(&market);
        record
            .map(Some)
            .map_err(|error| Fault::unavailable(format!("{} cannot be read: {error}", self.market().display())))
    }

    async fn try_restore(&self, rpc: &Rpc, made_of: Hash) -> Result<Option<Record>> {
        *self.saved.lock() = None;
        self.held.store(false, Ordering::Relaxed);
        let (Some(chain), Some(record)) = (read(&self.chain()).await?, self.record().await?) else { return Ok(None) };
        if record.made_of != made_of {
            return Err(Fault::unavailable("the saved state is of another market than this version makes"));
        }
        let loaded: bool = rpc.once("anvil_loadState", json!([Bytes::from(chain)])).await?;
        let codes = record.deployments.iter().map(|deployment| async move {
            let code: Bytes = rpc.read("eth_getCode", json!([deployment.address, latest()])).await?;
            Ok::<_, Fault>(!code.is_empty())
        });
        let there = loaded && try_join_all(codes).await?.into_iter().all(|there| there);
        if !there {
            return Err(Fault::unavailable("the saved state does not hold the market"));
        }
        *self.saved.lock() = Some(height(rpc).await?);
        Ok(Some(record))
    }

    /// Writes what was deployed.
    pub(super) async fn keep(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| Fault::internal(format!("cannot write the market: {error}")))?;
        write(&self.market(), &text).await
    }

    /// Saves the chain's state if it grew since; where blocks come all the time and `hold` allows it, none is made meanwhile. Returns how long it
    /// took; a failure is logged and the next save tries again.
    pub(super) async fn save_if_changed(&self, rpc: &Rpc, hold: bool) -> Duration {
        let began = Instant::now();
        if let Err(fault) = self.try_save(rpc, hold).await {
            tracing::warn!(error = %fault, "the sandbox's state could not be saved");
        }
        began.elapsed()
    }

    /// Saves at once; `None` when a block was being made.
    #[cfg(test)]
    pub(crate) async fn save_now(&self, rpc: &Rpc) -> Option<()> {
        self.try_save(rpc, false).await.unwrap();
        (*self.saved.lock()).map(|_| ())
    }

    /// Accounts and blocks must belong together: a state in which a block was made meanwhile is none.
    async fn try_save(&self, rpc: &Rpc, hold: bool) -> Result<()> {
        let now = height(rpc).await?;
        if *self.saved.lock() == Some(now) {
            return Ok(());
        }
        let mut dumped = dump(rpc).await?;
        if dumped.is_none() && hold {
            self.held.store(true, Ordering::Relaxed);
            rpc.once::<Option<bool>>("evm_setAutomine", json!([false])).await?;
        }
        if self.held.load(Ordering::Relaxed) {
            let held = dump(rpc).await;
            resume(rpc).await?;
            self.held.store(false, Ordering::Relaxed);
            dumped = held?;
        }
        if let Some((height, state)) = dumped {
            write(&self.chain(), &state).await?;
            *self.saved.lock() = Some(height);
        }
        Ok(())
    }
}

/// The chain's state, and its height; `None` when blocks were made all the time.
async fn dump(rpc: &Rpc) -> Result<Option<(u64, Bytes)>> {
    for _ in 0..DUMPS_MAX {
        let before = height(rpc).await?;
        let state: Bytes = rpc.read("anvil_dumpState", json!([])).await?;
        if height(rpc).await? == before {
            return Ok(Some((before, state)));
        }
    }
    Ok(None)
}

/// Has blocks made again, of what was sent meanwhile too.
async fn resume(rpc: &Rpc) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Pool {
        pending: U64,
    }
    rpc.once::<Option<bool>>("evm_setAutomine", json!([true])).await?;
    if !rpc.read::<Pool>("txpool_status", json!([])).await?.pending.is_zero() {
        rpc.once::<serde_json::Value>("evm_mine", json!([])).await?;
    }
    Ok(())
}

async fn height(rpc: &Rpc) -> Result<u64> {
    Ok(rpc.read::<U64>("eth_blockNumber", json!([])).await?.to())
}

async fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::unavailable(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Writes whole or not at all.
async fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    /// Two that write the same file at once would take each other's unfinished one away.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ONE_AT_A_TIME.lock().await;
    let wrong = |error: std::io::Error| Fault::unavailable(format!("{} cannot be written: {error}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await.map_err(wrong)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, bytes).await.map_err(wrong)?;
    fs::rename(&new, path).await.map_err(wrong)
}
