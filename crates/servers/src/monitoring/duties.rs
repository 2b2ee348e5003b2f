//! What the server does by itself: reading figures, and keeping the books of what was counted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kernel::locks::Elections;
use kernel::{Code, Fault, UnixMs};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Monitoring;
use super::figures::Figures;
use super::scrape::Scraper;
use super::slo;

/// The election of the replica that keeps the books. Names that begin with `fleet` are the fleet's own.
const ELECTION: &str = "fleet.monitoring.books";
/// How often what was counted goes into the books.
const BOOK_EVERY: Duration = Duration::from_secs(20);

impl Monitoring {
    /// Reads all figures now and then until the service stops.
    pub(super) async fn keep_scraping(&self, scraper: &Scraper, stopping: CancellationToken) {
        let mut every = interval(Duration::from_secs(self.config.scrape_seconds.into()));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = every.tick() => {}
            }
            if let Err(fault) = scraper.scrape().await {
                tracing::warn!(%fault, "figures not read, next try in a moment");
            }
        }
    }

    /// Enters what was counted into the books now and then until the service stops, while this replica leads.
    pub(super) async fn keep_books(&self, stopping: CancellationToken) {
        let elections = Elections::new(self.leases.clone(), self.clock.clone());
        let mut every = interval(BOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut token = None;
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                _ = every.tick() => {}
            }
            let worked = async {
                token = self.campaign(&elections).await?;
                self.leads.store(token.is_some(), Ordering::Release);
                self.book(self.clock.now_ms()).await
            };
            if let Err(fault) = worked.await {
                tracing::warn!(%fault, "counts not entered into the books, next try in a moment");
            }
        }
        self.end(&elections, token).await;
    }

    /// The token of the lead, if this replica has it now.
    async fn campaign(&self, elections: &Elections) -> Result<Option<u64>, Fault> {
        match elections.campaign(ELECTION, &self.candidate, BOOK_EVERY * 3, Duration::ZERO).await {
            Ok(held) => Ok(Some(held.token)),
            Err(fault) if fault.code == Code::Conflict => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn end(&self, elections: &Elections, token: Option<u64>) {
        let Some(token) = token else { return };
        let booked = self.book(self.clock.now_ms()).await;
        let resigned = elections.resign(ELECTION, &self.candidate, token).await;
        for fault in [booked.err(), resigned.err()].into_iter().flatten() {
            tracing::debug!(%fault, "the next replica takes over when the term ends");
        }
    }

    /// Enters what was counted since the last time into the books. A replica that does not lead counts the same calls as the one that
    /// does, and enters nothing.
    pub(super) async fn book(&self, now_ms: UnixMs) -> Result<(), Fault> {
        let Figures::Recorder(scraper) = &*self.figures else { return Ok(()) };
        let (books, from_ms) = scraper.tally.lock().take(now_ms);
        if !self.leads.load(Ordering::Acquire) {
            return Ok(());
        }
        slo::enter(&*self.store, from_ms, now_ms, &books)
            .await
            .inspect_err(|_| scraper.tally.lock().put_back(&books, from_ms))
    }
}
