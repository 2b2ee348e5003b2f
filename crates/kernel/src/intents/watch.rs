//! Following what may have left: into a block, out of it again, or nowhere.

use super::Engine;
use super::row::{Mined, Route, State, Trouble};
use super::rows::Row;
use crate::chain::{BlockId, Hash, Head, Receipt, Transaction};
use crate::{Code, Result};

fn found<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(fault) if fault.code == Code::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

impl Engine {
    /// Looks for an intent's transactions in blocks and in the pool.
    pub(super) async fn watch(&self, row: Row) -> Result<()> {
        // The nonce first: were it read after the receipts, a transaction mined in between would be taken for another's.
        let head = self.parts.chain.block(BlockId::Latest).await?.head;
        let gone = self.nonce_gone(&row, &head).await?;
        for attempt in row.intent.attempts.iter().rev() {
            if let Some(receipt) = self.receipt(attempt.hash).await? {
                let mined = Mined::new(&receipt, attempt.purpose);
                return self.included(row, mined).await;
            }
        }
        if gone {
            return self.replaced(row).await;
        }
        if row.intent.state == State::Dropped {
            return Ok(());
        }
        if let (Route::Private { blocks }, false) = (row.intent.request.route, row.intent.cancelling()) {
            return self.watch_private(row, &head, blocks).await;
        }
        let Some(newest) = row.intent.newest() else { return Ok(()) };
        let known = found(self.parts.chain.transaction(newest.hash).await)?;
        self.watch_public(row, &head, known).await
    }

    /// The nonce is used and no receipt found: another transaction's, unless the node still knows one of ours. It says so for a moment while
    /// it takes in a block, and the next look finds the receipt.
    async fn replaced(&self, row: Row) -> Result<()> {
        for attempt in &row.intent.attempts {
            if found(self.parts.chain.transaction(attempt.hash).await)?.is_some() {
                return self
                    .unsure(row, "the node has used the nonce and has no receipt of a transaction it knows")
                    .await;
            }
        }
        self.becomes(row, State::Replaced, "another transaction has its nonce").await
    }

    async fn watch_public(&self, row: Row, head: &Head, known: Option<Transaction>) -> Result<()> {
        let Some(newest) = row.intent.newest() else { return Ok(()) };
        let underpriced = row.intent.trouble == Some(Trouble::ReplacementUnderpriced);
        let base_fee = head.next_base_fee_per_gas_wei().unwrap_or_default();
        let late = row.intent.expired(head.number) && !row.intent.cancelling();
        let old = self.parts.clock.now_ms() >= newest.at_ms + self.parts.policy.stuck_after_ms;
        match known {
            // In a block whose receipt the node has not got ready: the next look finds it.
            Some(transaction) if transaction.block_number.is_some() => Ok(()),
            _ if late => self.give_up(row, "too late to be wanted").await,
            _ if underpriced => self.bump(row, Trouble::ReplacementUnderpriced).await,
            _ if base_fee > newest.fees.max_fee_per_gas_wei => self.bump(row, Trouble::BaseFeeSpike).await,
            Some(_) if old => self.bump(row, Trouble::Stuck).await,
            Some(_) if row.intent.state == State::Signed => self.becomes(row, State::Sent, "").await,
            Some(_) => Ok(()),
            None if row.intent.state == State::Signed => self.dispatch(row).await,
            None => {
                let mut row = row;
                // Kept in mind only: it is written down with what the sending comes to.
                row.intent.trouble.get_or_insert(Trouble::Forgotten);
                self.dispatch(row).await
            }
        }
    }

    /// On a private route nothing is in a pool: the bundle is sent for each block in turn, and for no more than asked.
    async fn watch_private(&self, row: Row, head: &Head, blocks: u64) -> Result<()> {
        let Some(newest) = row.intent.newest() else { return Ok(()) };
        let first = row.intent.simulated.block_number + 1;
        let tried = newest.target_block.is_some_and(|target| target > head.number);
        if head.number >= first + blocks.saturating_sub(1) || row.intent.expired(head.number) {
            return self.becomes(row, State::Dropped, "no block of those asked for had it").await;
        }
        if tried { Ok(()) } else { self.dispatch(row).await }
    }

    /// Looks whether what is in a block still is, and deep enough to stay.
    pub(super) async fn confirm(&self, row: Row) -> Result<()> {
        let Some(mined) = row.intent.mined.clone() else { return Ok(()) };
        match self.receipt(mined.hash).await? {
            Some(receipt) if receipt.block_hash == mined.block_hash => {
                let deep = mined.block_number + self.parts.policy.confirmations - 1;
                // A node may say any height; the block that deep is there or is not.
                let Some(_) = found(self.parts.chain.block(BlockId::Number(deep)).await)? else { return Ok(()) };
                if self.hash_at(mined.block_number).await? != Some(mined.block_hash) {
                    return self.unsure(row, "the node has a receipt in a block that it has not").await;
                }
                self.becomes(row, State::Settled, "").await
            }
            None if self.hash_at(mined.block_number).await? == Some(mined.block_hash) => {
                self.unsure(row, "the node has the block and not its receipt").await
            }
            // Gone, or in another block: what was booked of this one is taken back first, and the next look finds the other.
            _ => self.gone(row, mined.block_number).await,
        }
    }

    async fn included(&self, row: Row, mined: Mined) -> Result<()> {
        let mut intent = row.intent.clone();
        (intent.state, intent.trouble, intent.why) = (mined.state(), None, None);
        intent.mined = Some(mined);
        self.replace(row, intent).await.map(|_| ())
    }

    /// Whether another transaction has taken the nonce, so deep that it stays.
    async fn nonce_gone(&self, row: &Row, head: &Head) -> Result<bool> {
        let Some(nonce) = row.intent.nonce else { return Ok(false) };
        let Some(deep) = (head.number + 1).checked_sub(self.parts.policy.confirmations) else { return Ok(false) };
        Ok(self.parts.chain.nonce(self.parts.wallet, BlockId::Number(deep)).await? > nonce)
    }

    async fn receipt(&self, hash: Hash) -> Result<Option<Receipt>> {
        found(self.parts.chain.receipt(hash).await)
    }

    pub(super) async fn hash_at(&self, number: u64) -> Result<Option<Hash>> {
        Ok(found(self.parts.chain.block(BlockId::Number(number)).await)?.map(|block| block.head.hash))
    }
}
