//! A stream of events that outlives its connection: a client that lost it resumes after the last event it saw.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::body::Body;
use super::events;
use crate::peer::QUEUE_MAX;

/// Events kept for a client that comes back.
const KEPT_MAX: usize = 256;
/// Bytes of events kept for a client that comes back.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// How long a client should wait before it comes back, in milliseconds.
const RETRY_MS: u64 = 500;

/// One stream. Events are numbered from 0; the newest are kept.
#[derive(Debug)]
pub(super) struct Replay {
    name: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// The number of the next event to come.
    next: u64,
    /// The number of the next event for the reader.
    cursor: u64,
    /// Which reader is the one: a new one takes the stream over.
    reader: u64,
    attached: bool,
    /// The reader that is to be let go once it has everything there is.
    letting_go: u64,
    ended: bool,
}

impl State {
    fn first_kept(&self) -> u64 {
        self.next - self.kept.len() as u64
    }
}

impl Replay {
    /// A stream of its own name.
    pub(super) fn new() -> Arc<Self> {
        let name = kernel::ids::random_token(9);
        Arc::new(Self { name, state: Mutex::default(), changed: Notify::new() })
    }

    /// Whether an event of this id was one of this stream, and its number.
    pub(super) fn number(&self, event_id: &str) -> Option<u64> {
        event_id.strip_prefix(&self.name)?.strip_prefix('.')?.parse().ok()
    }

    /// Adds an event that says nothing but its id, so that the client can resume from the start.
    pub(super) fn prime(&self) {
        self.add(|id| events::priming(id, RETRY_MS));
    }

    /// Adds a message at once; the oldest kept event makes room.
    pub(super) fn append(&self, text: String) {
        self.add(|id| events::event_at(id, text));
    }

    fn add(&self, event: impl FnOnce(&str) -> Bytes) {
        let mut state = self.state.lock();
        let event = event(&format!("{}.{}", self.name, state.next));
        state.next += 1;
        state.kept_bytes += event.len();
        state.kept.push_back(event);
        while state.kept.len() > KEPT_MAX || (state.kept_bytes > KEPT_BYTES_MAX && state.kept.len() > 1) {
            let gone = state.kept.pop_front().map_or(0, |event| event.len());
            state.kept_bytes -= gone;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits while a reader is there and far behind.
    pub(super) async fn room(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let state = self.state.lock();
                if !state.attached || state.next - state.cursor < QUEUE_MAX as u64 {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Lets the reader's connection go; it comes back for the rest.
    pub(super) fn let_go(&self) {
        let mut state = self.state.lock();
        state.letting_go = state.reader;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Nothing will be added.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_waiters();
    }

    /// Whether a client reads it.
    pub(super) fn is_read(&self) -> bool {
        self.state.lock().attached
    }

    /// Whether it still grows.
    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// The stream for a client: from where the last one stopped, or after the event numbered `after`.
    pub(super) fn read(self: &Arc<Self>, after: Option<u64>, keep_alive: Duration) -> Body {
        let mut state = self.state.lock();
        state.reader += 1;
        state.attached = true;
        if let Some(after) = after {
            state.cursor = after.saturating_add(1).min(state.next);
        }
        let reader = Reader { replay: Arc::clone(self), generation: state.reader, keep_alive };
        drop(state);
        self.changed.notify_waiters();
        let next = |reader: Reader| async move { reader.next().await.map(|event| (event, reader)) };
        Body::Events(Box::pin(stream::unfold(reader, next)))
    }
}

struct Reader {
    replay: Arc<Replay>,
    generation: u64,
    keep_alive: Duration,
}

enum Turn {
    Event(Bytes),
    Wait,
    End,
}

impl Reader {
    async fn next(&self) -> Option<Bytes> {
        loop {
            let mut changed = pin!(self.replay.changed.notified());
            changed.as_mut().enable();
            match self.turn() {
                Turn::Event(event) => {
                    self.replay.changed.notify_waiters();
                    return Some(event);
                }
                Turn::End => return None,
                Turn::Wait => {}
            }
            if tokio::time::timeout(self.keep_alive, changed).await.is_err() {
                return Some(events::KEEP_ALIVE);
            }
        }
    }

    fn turn(&self) -> Turn {
        let mut state = self.replay.state.lock();
        if state.reader != self.generation {
            return Turn::End;
        }
        let first = state.first_kept();
        let at = state.cursor.max(first);
        match state.kept.get(usize::try_from(at - first).unwrap_or(usize::MAX)).cloned() {
            Some(event) => {
                state.cursor = at + 1;
                Turn::Event(event)
            }
            None if state.ended || state.letting_go == self.generation => Turn::End,
            None => Turn::Wait,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.replay.state.lock();
        if state.reader == self.generation {
            state.attached = false;
        }
        drop(state);
        self.replay.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn take(body: &mut Body, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            let text = String::from_utf8(frame.to_vec()).unwrap();
            seen.push(text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default().to_owned());
        }
        seen
    }

    #[tokio::test]
    async fn a_client_resumes_after_the_last_event_it_saw() {
        let replay = Replay::new();
        replay.prime();
        replay.append("1".into());
        replay.append("2".into());
        let mut first = replay.read(None, Duration::from_secs(1));
        assert_eq!(take(&mut first, 2).await, ["", "1"]);
        drop(first);
        assert!(!replay.is_read());
        replay.append("3".into());
        replay.end();
        let seen = replay.number(&format!("{}.0", replay.name));
        let mut again = replay.read(seen, Duration::from_secs(1));
        assert_eq!(take(&mut again, 3).await, ["1", "2", "3"]);
        assert!(again.frame().await.is_none());
        assert_eq!(replay.number("other.0"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_holds_the_writer_back_and_an_absent_one_does_not() {
        let replay = Replay::new();
        let mut body = replay.read(None, Duration::from_secs(1));
        for n in 0..QUEUE_MAX {
            replay.room().await;
            replay.append(n.to_string());
        }
        assert!(tokio::time::timeout(Duration::from_millis(1), replay.room()).await.is_err());
        take(&mut body, 1).await;
        replay.room().await;
        drop(body);
        for n in 0..KEPT_MAX * 2 {
            replay.room().await;
            replay.append(n.to_string());
        }
        assert_eq!(take(&mut replay.read(Some(0), Duration::from_secs(1)), 1).await, [KEPT_MAX.to_string()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_reader_takes_over_and_quiet_streams_say_they_live() {
        let replay = Replay::new();
        let mut old = replay.read(None, Duration::from_secs(1));
        let mut new = replay.read(None, Duration::from_secs(1));
        assert!(old.frame().await.is_none());
        drop(old);
        assert!(replay.is_read());
        assert_eq!(new.frame().await.unwrap().unwrap().into_data().unwrap(), events::KEEP_ALIVE);
    }
}
