//! Keeps calls away from what does not answer, and lets one through now and then to see whether it does again.

use parking_lot::Mutex;

use crate::UnixMs;

/// The kind of the event that asks for a breaker to be closed: its data has the `instance`.
pub const RESET: &str = "breaker.reset";

/// Failures in a row after which it is left alone.
const FAILURES_MAX: u32 = 5;
/// How long it is left alone at first, in milliseconds; doubles with each probe that fails.
const OPEN_MS: i64 = 1_000;
/// The longest it is left alone, in milliseconds.
const OPEN_MS_MAX: i64 = 30_000;

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Calls go through.
    Closed,
    /// One call is under way to see whether more may follow.
    HalfOpen,
    /// No call goes through.
    Open,
}

impl State {
    /// Its value as a gauge.
    pub fn gauge(self) -> f64 {
        match self {
            Self::Closed => 0.0,
            Self::HalfOpen => 0.5,
            Self::Open => 1.0,
        }
    }
}

/// A breaker. Time is given by the caller.
#[derive(Debug)]
pub struct Breaker(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    state: State,
    failures: u32,
    /// How long it stays open this time, in milliseconds.
    open_ms: i64,
    /// Since when it is open, or its probe under way.
    since_ms: UnixMs,
}

impl Default for Breaker {
    fn default() -> Self {
        Self(Mutex::new(Inner { state: State::Closed, failures: 0, open_ms: OPEN_MS, since_ms: 0 }))
    }
}

impl Breaker {
    /// How it stands.
    pub fn state(&self) -> State {
        self.0.lock().state
    }

    /// Whether a call could go through now.
    pub fn admits(&self, now_ms: UnixMs) -> bool {
        let inner = self.0.lock();
        // A probe that never reported back (its caller left) must not hold the door shut for ever.
        inner.state == State::Closed || now_ms - inner.since_ms >= inner.open_ms
    }

    /// A call goes through: an open breaker becomes half-open. Returns the new state if it changed.
    pub fn began(&self, now_ms: UnixMs) -> Option<State> {
        let mut inner = self.0.lock();
        if inner.state == State::Closed {
            return None;
        }
        inner.since_ms = now_ms;
        inner.become_state(State::HalfOpen)
    }

    /// It was answered. Returns the new state if it changed.
    pub fn succeeded(&self) -> Option<State> {
        let mut inner = self.0.lock();
        inner.failures = 0;
        inner.open_ms = OPEN_MS;
        inner.become_state(State::Closed)
    }

    /// It was not answered. Returns the new state if it changed.
    pub fn failed(&self, now_ms: UnixMs) -> Option<State> {
        let mut inner = self.0.lock();
        inner.failures += 1;
        match inner.state {
            State::Closed if inner.failures < FAILURES_MAX => None,
            // A straggler from before it opened says nothing new.
            State::Open => None,
            State::Closed => {
                inner.since_ms = now_ms;
                inner.become_state(State::Open)
            }
            State::HalfOpen => {
                inner.since_ms = now_ms;
                inner.open_ms = (inner.open_ms * 2).min(OPEN_MS_MAX);
                inner.become_state(State::Open)
            }
        }
    }
}

impl Inner {
    fn become_state(&mut self, state: State) -> Option<State> {
        let changed = self.state != state;
        self.state = state;
        changed.then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_probes_and_closes() {
        let breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.failed(0), None);
        }
        assert_eq!(breaker.failed(0), Some(State::Open));
        assert!(!breaker.admits(OPEN_MS - 1));
        assert!(breaker.admits(OPEN_MS));
        assert_eq!(breaker.began(OPEN_MS), Some(State::HalfOpen));
        assert!(!breaker.admits(OPEN_MS), "one probe at a time");
        assert_eq!(breaker.failed(OPEN_MS), Some(State::Open));
        assert!(!breaker.admits(OPEN_MS * 2), "twice as long this time");
        assert!(breaker.admits(OPEN_MS * 3));
        assert_eq!(breaker.began(OPEN_MS * 3), Some(State::HalfOpen));
        assert_eq!(breaker.succeeded(), Some(State::Closed));
        assert_eq!(breaker.failed(OPEN_MS * 3), None, "counts from nothing again");
    }

    #[test]
    fn an_answer_between_failures_starts_the_count_anew() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            for _ in 1..FAILURES_MAX {
                assert_eq!(breaker.failed(0), None);
            }
            assert_eq!(breaker.succeeded(), None);
        }
    }

    #[test]
    fn a_probe_that_is_never_heard_of_again_gives_way_to_another() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            breaker.failed(0);
        }
        breaker.began(OPEN_MS);
        assert!(breaker.admits(OPEN_MS * 2));
    }
}
