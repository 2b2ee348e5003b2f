//! What was seen, block by block.
//!
//! Kept in the store, the newest first by key, and forgotten by itself. Two replicas that see the same write the same.

use kernel::UnixMs;
use kernel::store::{COMMIT_MAX, Write};
use market::feed::At;
use mcp::prelude::*;

use super::MarketAnalysis;
use super::view::OpportunityView;

/// The space in the store.
const SPACE: &str = "market-opportunities";
/// Most opportunities of a block that are kept: the best.
const KEPT_MAX: usize = 10;
/// Opportunities shown when the request does not say how many.
const SHOWN: usize = 50;
/// Most opportunities shown.
const SHOWN_MAX: usize = 200;

const _: () = assert!(KEPT_MAX <= COMMIT_MAX);

/// What [`OPPORTUNITY_HISTORY`](super::OPPORTUNITY_HISTORY) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest {
    /// Only this cycle's, by the id that a scan gave it.
    #[serde(default)]
    pub id: Option<String>,
    /// Only after this place: the `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// How many to show, at most 200; 50 when absent.
    #[serde(default = "shown")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: usize,
}

fn shown() -> usize {
    SHOWN
}

/// An opportunity that was seen.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// The block it was there after.
    #[serde(flatten)]
    pub at: At,
    /// When it was seen, in milliseconds since the Unix epoch.
    pub seen_ms: UnixMs,
    /// The opportunity.
    pub opportunity: OpportunityView,
}

/// What [`OPPORTUNITY_HISTORY`](super::OPPORTUNITY_HISTORY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HistoryAnswer {
    /// The newest block first, and in it the best first.
    pub seen: Vec<Seen>,
    /// The next page's `after`; absent at the end.
    pub next: Option<String>,
}

impl MarketAnalysis {
    /// Looks at the newest block and keeps what it offers. Returns the block.
    pub(super) async fn keep(&self) -> Result<At, Fault> {
        let scanned = self.scanned(None).await?;
        let mut found = scanned.those(|one| !one.net.above_zero().is_zero());
        found.truncate(KEPT_MAX);
        let now_ms = self.clock.now_ms();
        let expires_ms = now_ms + i64::from(self.config.history_hours) * 3_600_000;
        let mut writes = Vec::with_capacity(found.len());
        for (place, opportunity) in scanned.views(&found)?.into_iter().enumerate() {
            // Keys are in ascending order, and the newest block comes first.
            let key = format!("{:016x}-{place:02}-{}", u64::MAX - scanned.at.block, opportunity.id);
            let seen = Seen { at: scanned.at, seen_ms: now_ms, opportunity };
            let value = serde_json::to_string(&seen).map_err(|error| Fault::internal(error.to_string()))?;
            writes.push(Write::put(SPACE, &key, value).expiring_at(expires_ms));
        }
        if !writes.is_empty() {
            self.store.commit(writes).await?;
        }
        self.pricing.freshen(scanned.terms.keys().copied()).await?;
        Ok(scanned.at)
    }

    pub(super) async fn opportunity_history(&self, request: HistoryRequest) -> Result<HistoryAnswer, Fault> {
        if !(1..=SHOWN_MAX).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint(format!("1 to {SHOWN_MAX}")));
        }
        let page = kernel::store::LIST_MAX;
        let (mut seen, mut after) = (Vec::new(), request.after);
        loop {
            let entries = self.store.list(SPACE, "", after.as_deref(), page).await?;
            let last = entries.len() < page;
            for entry in entries {
                let wanted = request.id.as_ref().is_none_or(|id| entry.key.ends_with(&format!("-{id}")));
                if wanted {
                    if seen.len() == request.limit {
                        return Ok(HistoryAnswer { seen, next: after });
                    }
                    seen.push(
                        serde_json::from_str(&entry.value)
                            .map_err(|error| Fault::internal(format!("what was kept as {}: {error}", entry.key)))?,
                    );
                }
                after = Some(entry.key);
            }
            if last {
                return Ok(HistoryAnswer { seen, next: None });
            }
        }
    }
}
