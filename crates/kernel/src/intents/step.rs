//! One look at one intent: what is on the chain decides what comes next.

use super::Engine;
use super::row::{Intent, State, Trouble};
use super::rows::Row;
use crate::Result;

impl Engine {
    /// Looks at an intent and does what is due. What nodes fail with is written down as its trouble.
    pub(super) async fn step(&self, key: &str) -> Result<()> {
        let Some(row) = self.row(key).await? else { return Ok(()) };
        let (copy, state) = (row.clone(), row.intent.state);
        let fresh = self.parts.clock.now_ms() < row.intent.updated_ms + self.parts.policy.takeover_ms;
        let looked = match state {
            // Whoever began it may still be at it.
            State::Recorded | State::Signed if fresh && row.intent.trouble.is_none() => return Ok(()),
            State::Recorded => self.resume(row).await,
            State::Signed | State::Sent | State::Dropped => self.watch(row).await,
            State::Mined | State::Reverted | State::Cancelled => self.confirm(row).await,
            State::Settled | State::Replaced | State::Refused | State::Paper => return Ok(()),
        };
        match looked {
            Ok(()) => Ok(()),
            Err(fault) => self.node_failed(copy, &fault).await,
        }
    }

    /// Goes on with what was written down and not signed, unless it has come too late.
    async fn resume(&self, row: Row) -> Result<()> {
        let head = self.parts.chain.block(crate::chain::BlockId::Latest).await?.head;
        if row.intent.expired(head.number) {
            let mut intent = row.intent.clone();
            (intent.state, intent.why) = (State::Cancelled, Some("too late to be begun".into()));
            return self.replace(row, intent).await.map(|_| ());
        }
        self.begin(row).await
    }

    /// Changes an intent's state.
    pub(super) async fn becomes(&self, row: Row, state: State, why: &str) -> Result<()> {
        let mut intent = Intent { state, trouble: None, ..row.intent.clone() };
        intent.why = (!why.is_empty()).then(|| why.to_owned());
        self.replace(row, intent).await.map(|_| ())
    }

    /// As [`Engine::note`], of a node whose answers contradict each other.
    pub(super) async fn unsure(&self, row: Row, why: &str) -> Result<()> {
        self.note(row, Trouble::NodeUnsure, why.to_owned()).await
    }
}
