//! A nudge to read again: at once for what happens in this process, by looking now and then for what happens in others.

use std::future::{Future, poll_fn};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use crate::Result;

/// How often waiters look for what other processes did. All the waiters on one signal look together.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often they look while others tell them: for what was not told after all.
pub const LOOK_WHEN_TOLD: Duration = Duration::from_millis(750);

/// Names share so many bells: who waits for one is now and then woken for another.
const BELLS: usize = 64;

/// Where a process's news go, so that others need not look for them.
pub trait Outlet: std::fmt::Debug + Send + Sync {
    /// Says that there is news. Never waits.
    fn tell(&self);

    /// Whether the news of others come in.
    fn hears(&self) -> bool;
}

/// What a wait is until it is over.
pub type Nudge<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Announces a number that only grows (a revision, a count of tasks), and what the news is about: who waits for one thing is not woken
/// for all the others.
#[derive(Debug)]
pub struct Signal {
    seen: AtomicU64,
    bells: [Notify; BELLS],
    /// When somebody last looked. Whoever holds it looks for all.
    looked: Mutex<Option<Instant>>,
    outlet: OnceLock<Arc<dyn Outlet>>,
}

impl Default for Signal {
    fn default() -> Self {
        Self {
            seen: AtomicU64::default(),
            bells: std::array::from_fn(|_| Notify::new()),
            looked: Mutex::default(),
            outlet: OnceLock::new(),
        }
    }
}

impl Signal {
    /// Says that the number is now at least `value`; wakes all waiters if that is news, and tells others.
    pub fn raise(&self, value: u64) {
        if self.found(value) {
            self.tell();
        }
    }

    /// Says that the number is now `value` by news of `names`; wakes who waits for one of them, and everybody when numbers before it
    /// were not seen, and tells others.
    pub fn raise_for<'n>(&self, value: u64, names: impl IntoIterator<Item = &'n str>) {
        if self.seen.fetch_max(value, Ordering::AcqRel).saturating_add(1) < value {
            self.wake();
        } else {
            self.wake_for(names);
        }
        self.tell();
    }

    /// Says that there is news of `names`, whatever the number is; wakes who waits for one of them, and tells others.
    pub fn announce_for<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        self.wake_for(names);
        self.tell();
    }

    /// Says that there is news, whatever the number is; wakes all waiters, and tells others.
    pub fn announce(&self) {
        self.wake();
        self.tell();
    }

    /// Wakes all waiters: others have told that there is news.
    pub fn wake(&self) {
        self.bells.iter().for_each(Notify::notify_waiters);
    }

    /// Wakes who waits for one of `names`.
    pub fn wake_for<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        names.into_iter().for_each(|name| self.bell(name).notify_waiters());
    }

    /// Has what happens in this process told to others. The first outlet stays.
    pub fn tell_to(&self, outlet: Arc<dyn Outlet>) {
        self.outlet.get_or_init(|| outlet);
    }

    fn tell(&self) {
        if let Some(outlet) = self.outlet.get() {
            outlet.tell();
        }
    }

    fn found(&self, value: u64) -> bool {
        let news = self.seen.fetch_max(value, Ordering::AcqRel) < value;
        if news {
            self.wake();
        }
        news
    }

    /// Whether others tell what happens there.
    pub fn hears_others(&self) -> bool {
        self.outlet.get().is_some_and(|outlet| outlet.hears())
    }

    fn look_every(&self) -> Duration {
        if self.hears_others() { LOOK_WHEN_TOLD } else { LOOK_EVERY }
    }

    /// Resolves at the first news after this call, even when the future is polled only later. `look` reads the number from where
    /// other processes change it. When it cannot, the waiters wake too: their own reading will meet the fault and handle it.
    pub fn wait<'a, L, F>(&'a self, look: L) -> Nudge<'a>
    where
        L: Fn() -> F + Send + 'a,
        F: Future<Output = Result<u64>> + Send + 'a,
    {
        self.wait_for(&[""], look)
    }

    /// The same for news of any of `names`; without names there is none.
    pub fn wait_for<'a, L, F>(&'a self, names: &[&str], look: L) -> Nudge<'a>
    where
        L: Fn() -> F + Send + 'a,
        F: Future<Output = Result<u64>> + Send + 'a,
    {
        let mut rings: Vec<Pin<Box<Notified<'a>>>> =
            names.iter().map(|name| Box::pin(self.bell(name).notified())).collect();
        Box::pin(async move {
            let rung = poll_fn(|cx| {
                let rung = rings.iter_mut().any(|ring| ring.as_mut().poll(cx).is_ready());
                if rung { Poll::Ready(()) } else { Poll::Pending }
            });
            tokio::select! {
                () = rung => {}
                () = self.keep_looking(look) => {}
            }
        })
    }

    fn bell(&self, name: &str) -> &Notify {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        &self.bells[(hasher.finish() % BELLS as u64) as usize]
    }

    async fn keep_looking<F: Future<Output = Result<u64>>>(&self, look: impl Fn() -> F) {
        loop {
            let mut looked = self.looked.lock().await;
            if let Some(last) = *looked {
                tokio::time::sleep_until(last + self.look_every()).await;
            }
            let found = look().await;
            *looked = Some(Instant::now());
            match found {
                // Others' news need not be told to them.
                Ok(value) => {
                    self.found(value);
                }
                Err(_) => self.wake(),
            }
        }
    }
}
