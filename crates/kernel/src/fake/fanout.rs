//! A fan-out made of memory, which can be taken away.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast;

use crate::fanout::Fanout;
use crate::{Fault, Result};

/// News that wait for a slow listener.
const WAITING_MAX: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub struct MemoryFanout {
    news: parking_lot::Mutex<broadcast::Sender<String>>,
    away: AtomicBool,
}

impl Default for MemoryFanout {
    fn default() -> Self {
        Self { news: parking_lot::Mutex::new(broadcast::channel(WAITING_MAX).0), away: AtomicBool::new(false) }
    }
}

impl MemoryFanout {
    /// Takes it away, which ends what listens, or brings it back.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
        if away {
            *self.news.lock() = broadcast::channel(WAITING_MAX).0;
        }
    }

    fn check(&self) -> Result<()> {
        if self.away.load(Ordering::Acquire) { Err(Fault::unavailable("the fan-out is away")) } else { Ok(()) }
    }
}

#[async_trait]
impl Fanout for MemoryFanout {
    async fn tell(&self, news: &str) -> Result<()> {
        self.check()?;
        // An error means that nobody listens.
        self.news.lock().send(news.to_owned()).ok();
        Ok(())
    }

    async fn listen(&self) -> Result<BoxStream<'static, String>> {
        self.check()?;
        let heard = self.news.lock().subscribe();
        Ok(stream::unfold(heard, |mut heard| async move { Some((heard.recv().await.ok()?, heard)) }).boxed())
    }
}
