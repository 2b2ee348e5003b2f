//! Of several copies, in one process or in many, one does what must be done once: the one that leads.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::locks::Elections;
use crate::{Code, Result};

/// How long the lead lasts unless renewed: after a sudden end another copy takes over within this.
const TERM: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long it is trusted without a renewal: less than the term, so that two never act at once.
const TRUSTED: Duration = Duration::from_secs(10);

/// A candidate.
pub struct Lead {
    elections: Elections,
    election: String,
    candidate: String,
    token: Option<u64>,
}

impl Lead {
    /// A candidate of its own, called after what it does, in the election of this name.
    pub fn new(elections: Elections, election: String, what: &str) -> Self {
        Self { elections, election, candidate: crate::ids::new_id(what), token: None }
    }

    /// Whether it leads now.
    ///
    /// # Errors
    /// Those of [`Elections::campaign`], but for the lead being another's.
    pub async fn gain(&mut self) -> Result<bool> {
        self.token = match self.elections.campaign(&self.election, &self.candidate, TERM, Duration::ZERO).await {
            Ok(held) => Some(held.token),
            Err(fault) if fault.code == Code::Conflict => None,
            Err(fault) => return Err(fault),
        };
        Ok(self.token.is_some())
    }

    /// Renews the lead for as long as that works.
    pub async fn keep(&mut self) {
        let (token, mut renewed) = (self.token, Instant::now());
        loop {
            sleep(RENEW_EVERY).await;
            match self.gain().await {
                // Another token: the term had ended, and somebody else may have led since.
                Ok(_) if self.token == token => renewed = Instant::now(),
                Ok(_) => return,
                Err(fault) if renewed.elapsed() >= TRUSTED => {
                    tracing::warn!(%fault, election = self.election, "lead given up: it cannot be renewed");
                    return;
                }
                Err(fault) => {
                    tracing::debug!(%fault, election = self.election, "lead not renewed, next try in a moment")
                }
            }
        }
    }

    /// Lets others lead at once.
    pub async fn give_up(self) {
        let Some(token) = self.token else { return };
        if let Err(fault) = self.elections.resign(&self.election, &self.candidate, token).await {
            tracing::debug!(%fault, election = self.election, "the next copy takes over when the term ends");
        }
    }
}
