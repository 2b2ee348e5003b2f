//! The file in the data folder: what was followed and up to where.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

use kernel::chain::Address;
use kernel::{Fault, Result};
use market::Book;
use market::feed::{At, Quarantined};
use market::pool::AnyPool;
use serde::{Deserialize, Serialize};

use super::{Exchange, Followed, Follower};

/// After how many blocks it is written again.
const SAVE_EVERY_BLOCKS: u64 = 25;

/// The file. Another chain's, another list of exchanges' or another limit's is none.
#[derive(Serialize, Deserialize)]
struct Saved<B, R, M, Q> {
    chain_id: u64,
    factories: Vec<Address>,
    tokens: Vec<Address>,
    pools_max: usize,
    at: At,
    recent: R,
    book: B,
    made: M,
    quarantined: Q,
}

type Read = Saved<Book, VecDeque<At>, HashMap<Address, At>, Vec<(Quarantined, AnyPool)>>;

fn factories(exchanges: &[Exchange]) -> Vec<Address> {
    exchanges.iter().map(|exchange| exchange.factory).collect()
}

impl Follower {
    fn file(&self) -> PathBuf {
        self.folder.join("pools.json")
    }

    /// What the file has, if it is of this chain and these exchanges. One that cannot be read is as good as none.
    pub(super) fn load(&self, chain_id: u64, exchanges: &[Exchange]) -> Option<Followed> {
        let bytes = std::fs::read(self.file()).ok()?;
        let saved: Read = match serde_json::from_slice(&bytes) {
            Ok(saved) => saved,
            Err(error) => {
                tracing::warn!(%error, "the pools' file cannot be read; they are read from the chain");
                return None;
            }
        };
        let same = saved.chain_id == chain_id
            && saved.factories == factories(exchanges)
            && saved.tokens == self.config.tokens
            && saved.pools_max == self.config.pools_max;
        let Saved { at, recent, mut book, made, quarantined, .. } = saved;
        book.take_changed();
        let followed =
            Followed { at, recent, book, made, quarantined, last_audit: at.block, last_save: at.block, audited: 0 };
        same.then_some(followed)
    }

    pub(super) fn save_if_due(&self) -> Result<()> {
        let due = self
            .state
            .read()
            .as_ref()
            .is_some_and(|followed| followed.at.block >= followed.last_save + SAVE_EVERY_BLOCKS);
        if due { self.save() } else { Ok(()) }
    }

    /// Writes the file whole or not at all, if this process is the one to.
    pub(crate) fn save(&self) -> Result<()> {
        if !self.tells()? {
            return Ok(());
        }
        let Some(chain_id) = self.node.rpc.known_chain_id() else { return Ok(()) };
        let (bytes, block) = {
            let state = self.state.read();
            let Some(followed) = state.as_ref() else { return Ok(()) };
            let saved = Saved {
                chain_id,
                factories: factories(&self.exchanges()),
                tokens: self.config.tokens.clone(),
                pools_max: self.config.pools_max,
                at: followed.at,
                recent: &followed.recent,
                book: &followed.book,
                made: &followed.made,
                quarantined: &followed.quarantined,
            };
            let bytes = serde_json::to_vec(&saved);
            (bytes.map_err(|error| Fault::internal(format!("the pools' file: {error}")))?, followed.at.block)
        };
        let (file, new) = (self.file(), self.folder.join("pools.json.new"));
        let written = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, &file));
        written.map_err(|error| Fault::unavailable(format!("{} cannot be written: {error}", file.display())))?;
        if let Some(followed) = self.state.write().as_mut() {
            followed.last_save = block;
        }
        Ok(())
    }
}
