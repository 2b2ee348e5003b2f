//! The feed of a page: its live panels, whole at first and then what changed, as long as somebody watches.
//!
//! Invariants:
//! - Who watches the same page as the same caller shares one feed: the fleet is looked at once for all of them.
//! - Something is said at every look that succeeds, changed or not, and nothing otherwise: silence means that what is shown may be old.
//! - At each look the caller is asked for its credentials anew; a feed ends when they no longer hold.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use futures_util::future::BoxFuture;
use futures_util::{Stream, stream};
use kernel::{Caller, Code, Fault, OnEnd, Tasks, UnixMs};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often a page that is watched is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How long a look of a whole page may take: all its looks run at once.
const WHOLE_TIME: Duration = Duration::from_secs(4);
/// Most feeds of one process.
const FEEDS_MAX: usize = 512;

/// What a feed is of: who sees what, with which forms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Who.
    pub caller: Caller,
    /// The token of its forms.
    pub token: String,
    /// The page's path and query.
    pub look: String,
}

/// What was seen: the live panels' markup by their ids.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When.
    pub at_ms: UnixMs,
    /// The panels.
    pub panels: Vec<(String, String)>,
}

/// Looks at a page once.
pub type Watch = Arc<dyn Fn() -> BoxFuture<'static, Result<Seen, Fault>> + Send + Sync>;

#[derive(Debug, Clone)]
enum State {
    Seen(Arc<Seen>),
    Out(String),
}

type Sender = Arc<watch::Sender<Option<State>>>;

/// The feeds of a process. Cloning shares them.
#[derive(Clone)]
pub struct Feeds {
    open: Arc<Mutex<HashMap<Subject, Sender>>>,
    tasks: Tasks,
}

impl Feeds {
    /// Feeds that end with `tasks`.
    pub fn new(tasks: Tasks) -> Self {
        Self { open: Arc::default(), tasks }
    }

    /// Joins the feed of `subject`, which `watch` looks at, or begins it.
    ///
    /// # Errors
    /// When there are too many.
    pub fn follow(
        &self,
        subject: Subject,
        watch: Watch,
    ) -> Result<impl Stream<Item = Result<Event, Infallible>> + use<>, Fault> {
        let mut open = self.open.lock();
        let receiver = match open.get(&subject) {
            Some(sender) => {
                let mut receiver = sender.subscribe();
                receiver.mark_changed();
                receiver
            }
            None if open.len() >= FEEDS_MAX => {
                return Err(Fault::unavailable(format!("{FEEDS_MAX} pages are watched already"))
                    .hint("pages show the same without their feed: load them again"));
            }
            None => {
                let (sender, receiver) = watch::channel(None);
                let sender = Arc::new(sender);
                open.insert(subject.clone(), Arc::clone(&sender));
                let feeds = self.clone();
                let run = async move { feeds.run(subject, &sender, watch).await };
                self.tasks.spawn("feed of a page", OnEnd::Done, run);
                receiver
            }
        };
        Ok(told(receiver))
    }

    async fn run(&self, subject: Subject, sender: &Sender, watch: Watch) {
        let (mut tick, stopping) = (tokio::time::interval(EVERY), self.tasks.stopping());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stopping.cancelled() => break,
            }
            if self.forget_unwatched(&subject, sender) {
                return;
            }
            match tokio::time::timeout(WHOLE_TIME, watch()).await {
                Ok(Ok(seen)) => drop(sender.send_replace(Some(State::Seen(Arc::new(seen))))),
                Ok(Err(fault)) if is_final(fault.code) => {
                    sender.send_replace(Some(State::Out(fault.message)));
                    break;
                }
                Ok(Err(fault)) => tracing::debug!(%fault, look = subject.look, "a watched page cannot be looked at"),
                Err(_) => tracing::debug!(look = subject.look, "a look at a watched page takes too long"),
            }
        }
        self.open.lock().remove(&subject);
    }

    /// Under the same lock under which somebody joins.
    fn forget_unwatched(&self, subject: &Subject, sender: &Sender) -> bool {
        let mut open = self.open.lock();
        let unwatched = sender.receiver_count() == 0;
        if unwatched {
            open.remove(subject);
        }
        unwatched
    }
}

/// What looking again does not mend.
fn is_final(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::NotFound)
}

/// A watcher's events: the whole at first, then what is otherwise than it was told last.
fn told(receiver: watch::Receiver<Option<State>>) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    stream::unfold(Some((receiver, None::<Arc<Seen>>)), |state| async move {
        let (mut receiver, before) = state?;
        loop {
            // An error means that the feed ended.
            receiver.changed().await.ok()?;
            let now = receiver.borrow_and_update().clone();
            match now {
                None => {}
                Some(State::Out(why)) => {
                    // A line of its own: what has others in it would be several events, or none.
                    let why = why.replace(char::is_control, " ");
                    return Some((Ok(Event::default().event("out").data(why)), None));
                }
                Some(State::Seen(seen)) => {
                    let event = Event::default().event("look").data(news(before.as_deref(), &seen));
                    return Some((Ok(event), Some((receiver, Some(seen)))));
                }
            }
        }
    })
}

fn news(before: Option<&Seen>, seen: &Seen) -> String {
    let known = |panel: &(String, String)| before.is_some_and(|before| before.panels.contains(panel));
    let panels: Vec<&(String, String)> = seen.panels.iter().filter(|panel| !known(panel)).collect();
    json!({ "at_ms": seen.at_ms, "panels": panels }).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::StreamExt;
    use kernel::Role;

    use super::*;

    fn subject(name: &str) -> Subject {
        Subject { caller: Caller::new(name, Role::Viewer), token: String::new(), look: "/".into() }
    }

    /// A page of one panel that stays and one that counts its looks, and ends after so many.
    fn page(looks: &Arc<AtomicU32>, most: u32) -> Watch {
        let looks = Arc::clone(looks);
        Arc::new(move || {
            let count = looks.fetch_add(1, Ordering::SeqCst) + 1;
            Box::pin(async move {
                if count > most {
                    return Err(Fault::unauthenticated("unknown key"));
                }
                let panels = vec![("stays".into(), "<p>same</p>".into()), ("counts".into(), format!("<p>{count}</p>"))];
                Ok(Seen { at_ms: i64::from(count), panels })
            })
        })
    }

    async fn next(stream: &mut (impl Stream<Item = Result<Event, Infallible>> + Unpin)) -> String {
        format!("{:?}", stream.next().await.expect("an event").unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_at_first_then_what_changed_and_one_look_for_all() {
        let (feeds, looks) = (Feeds::new(Tasks::new()), Arc::new(AtomicU32::new(0)));
        let mut first = Box::pin(feeds.follow(subject("ann"), page(&looks, 3)).unwrap());
        let whole = next(&mut first).await;
        assert!(whole.contains("same") && whole.contains("<p>1</p>"), "{whole}");
        let mut second = Box::pin(feeds.follow(subject("ann"), page(&looks, 3)).unwrap());
        let late = next(&mut second).await;
        assert!(late.contains("same") && late.contains("<p>1</p>"), "whole for whoever comes later: {late}");
        for watcher in [&mut first, &mut second] {
            let changed = next(watcher).await;
            assert!(!changed.contains("same") && changed.contains("<p>2</p>"), "{changed}");
        }
        assert_eq!(looks.load(Ordering::SeqCst), 2, "once for both");
        for watcher in [&mut first, &mut second] {
            assert!(next(watcher).await.contains("<p>3</p>"));
        }
        for watcher in [&mut first, &mut second] {
            assert!(next(watcher).await.contains("unknown key"));
            assert!(watcher.next().await.is_none());
        }
        assert!(feeds.open.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_nobody_watches_ends_and_their_number_is_bounded() {
        let (tasks, looks) = (Tasks::new(), Arc::new(AtomicU32::new(0)));
        let feeds = Feeds::new(tasks.clone());
        let all: Vec<_> =
            (0..FEEDS_MAX).map(|n| feeds.follow(subject(&n.to_string()), page(&looks, u32::MAX)).unwrap()).collect();
        assert_eq!(feeds.follow(subject("one more"), page(&looks, 9)).err().map(|f| f.code), Some(Code::Unavailable));
        drop(all);
        tokio::time::sleep(2 * EVERY).await;
        assert!(feeds.open.lock().is_empty());
        assert_eq!(tasks.running(), 0);
    }
}
