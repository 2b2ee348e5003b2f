//! A nudge to read again: at once for what happens in this process, by looking now and then for what happens in others.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use crate::Result;

/// How often waiters look for what other processes did. All the waiters on one signal look together.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Announces a number that only grows (a revision, a count of events).
#[derive(Debug, Default)]
pub struct Signal {
    seen: AtomicU64,
    raised: Notify,
    /// When somebody last looked. Whoever holds it looks for all.
    looked: Mutex<Option<Instant>>,
}

impl Signal {
    /// Says that the number is now at least `value`; wakes the waiters if that is news.
    pub fn raise(&self, value: u64) {
        if self.seen.fetch_max(value, Ordering::AcqRel) < value {
            self.raised.notify_waiters();
        }
    }

    /// Resolves at the first news after this call, even when the future is polled only later. `look` reads the number from where
    /// other processes change it. When it cannot, the waiters wake too: their own reading will meet the fault and handle it.
    pub fn wait<'a, L, F>(&'a self, look: L) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>
    where
        L: Fn() -> F + Send + 'a,
        F: Future<Output = Result<u64>> + Send + 'a,
    {
        let raised = self.raised.notified();
        Box::pin(async move {
            tokio::select! {
                () = raised => {}
                () = self.keep_looking(look) => {}
            }
        })
    }

    async fn keep_looking<F: Future<Output = Result<u64>>>(&self, look: impl Fn() -> F) {
        loop {
            let mut looked = self.looked.lock().await;
            if let Some(last) = *looked {
                tokio::time::sleep_until(last + LOOK_EVERY).await;
            }
            let found = look().await;
            *looked = Some(Instant::now());
            match found {
                Ok(value) => self.raise(value),
                Err(_) => self.raised.notify_waiters(),
            }
        }
    }
}
