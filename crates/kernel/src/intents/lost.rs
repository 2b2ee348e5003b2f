//! What had settled in blocks that are no longer on the chain: a sandbox that was killed comes back as it was some seconds before, and a chain
//! may change deeper than anybody waited for.

use super::Engine;
use super::row::{State, Trouble};
use super::rows::Row;
use crate::Result;

/// How many settled intents are read at once.
const PAGE: usize = 32;

impl Engine {
    /// Opens again what had settled in blocks that are gone. The newest of those that are still there vouches for all before it, so that most
    /// looks read one block.
    pub(super) async fn reopen_lost(&self) -> Result<()> {
        let (mut cursor, mut read) = (None, 1);
        loop {
            let (rows, next) = self.settled_last(cursor.as_deref(), read).await?;
            if next.is_none() {
                return Ok(());
            }
            for row in rows {
                if !self.lost(row).await? {
                    return Ok(());
                }
            }
            (cursor, read) = (next, PAGE);
        }
    }

    /// Opens an intent again unless its block is there; says whether it was gone.
    async fn lost(&self, row: Row) -> Result<bool> {
        let Some(mined) = row.intent.mined.clone() else { return Ok(true) };
        if self.hash_at(mined.block_number).await? == Some(mined.block_hash) {
            return Ok(false);
        }
        self.gone(row, mined.block_number).await?;
        Ok(true)
    }

    /// The block that an intent was in is no longer on the chain: what was booked of it is taken back, and it is watched again.
    pub(super) async fn gone(&self, row: Row, block: u64) -> Result<()> {
        let mut intent = row.intent.clone();
        (intent.mined, intent.state, intent.trouble) = (None, State::Sent, Some(Trouble::Reorganised));
        intent.why = Some(format!("block {block} is no longer on the chain"));
        self.replace(row, intent).await.map(|_| ())
    }
}
