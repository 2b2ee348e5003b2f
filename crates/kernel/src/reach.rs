//! Whether something outside answers that the fleet can do without for a while. While it does not, nobody waits for it: one try now and then,
//! further apart each time. That it is away, and that it is back, is logged once and shown by `flotilla_backend_up`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::metrics::{BackendLabel, FloatGauge, Metrics};
use crate::{Code, Fault, Result};

/// Waits between tries.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(2) };

/// See the module.
pub struct Reach {
    port: &'static str,
    place: Arc<str>,
    meanwhile: &'static str,
    up: FloatGauge,
    state: Mutex<State>,
}

/// What was seen last.
#[derive(Default)]
struct State {
    /// Why it is away; `None` while it answers.
    away: Option<Fault>,
    /// Whether it was ever asked.
    asked: bool,
    failures: u32,
    /// Not before then is it tried again.
    next: Option<Instant>,
}

impl Reach {
    /// For what serves `port` from `place` (a name and an address, without a secret); `meanwhile` says what the fleet does without it.
    pub fn new(port: &'static str, place: &str, meanwhile: &'static str, metrics: &Metrics) -> Arc<Self> {
        let up = metrics.backend_up.get_or_create(&BackendLabel { port: port.into() }).clone();
        Arc::new(Self { port, place: place.into(), meanwhile, up, state: Mutex::default() })
    }

    /// What it serves.
    pub fn port(&self) -> &'static str {
        self.port
    }

    /// What it is, and where.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether to try: it answers, or it is time to look whether it does. While it is away, one caller at a time hears yes.
    pub fn may_try(&self) -> bool {
        let mut state = self.state.lock();
        if state.away.is_none() {
            return true;
        }
        let now = Instant::now();
        let due = state.next.is_none_or(|next| next <= now);
        if due {
            state.next = Some(now + BACKOFF.wait(state.failures));
        }
        due
    }

    /// Says that it has answered.
    pub fn answered(&self) {
        let mut state = self.state.lock();
        let was_away = state.away.take().is_some();
        if was_away || !state.asked {
            self.up.set(1.0);
        }
        if was_away {
            tracing::info!(port = self.port, place = &*self.place, "answers again");
        }
        *state = State { asked: true, ..State::default() };
    }

    /// Says that it has not.
    pub fn lost(&self, fault: &Fault) {
        let mut state = self.state.lock();
        if state.away.is_none() {
            self.up.set(0.0);
            tracing::warn!(port = self.port, place = &*self.place, %fault, meanwhile = self.meanwhile, "does not answer");
        }
        state.asked = true;
        state.away = Some(fault.clone());
        state.failures = state.failures.saturating_add(1);
        state.next = Some(Instant::now() + BACKOFF.wait(state.failures));
    }

    /// How long until it is to be tried again.
    pub fn next_try(&self) -> Duration {
        let next = self.state.lock().next;
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(Instant::now()))
    }

    /// Whether it answers; if not, why, and what the fleet does meanwhile.
    ///
    /// # Errors
    /// [`Code::Unavailable`] while it does not.
    pub fn standing(&self) -> Result<()> {
        match &self.state.lock().away {
            None => Ok(()),
            Some(fault) => Err(Fault::new(Code::Unavailable, fault.message.clone()).hint(self.meanwhile)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn while_it_is_away_one_tries_now_and_then_and_it_says_what_happens_meanwhile() {
        let metrics = Metrics::default();
        let reach = Reach::new("limits", "Redis at there:6379", "each process keeps to the limits alone", &metrics);
        let gauge = |value: &str| metrics.render().contains(&format!("flotilla_backend_up{{port=\"limits\"}} {value}"));
        reach.answered();
        assert!(reach.may_try() && reach.may_try() && reach.standing().is_ok() && gauge("1.0"));
        reach.lost(&Fault::unavailable("Redis at there:6379 cannot be reached"));
        assert!(!reach.may_try() && gauge("0.0"));
        let fault = reach.standing().unwrap_err();
        assert_eq!(
            fault.to_string(),
            "unavailable: Redis at there:6379 cannot be reached (each process keeps to the limits alone)"
        );
        tokio::time::sleep(BACKOFF.first).await;
        assert!(reach.may_try(), "time to look");
        assert!(!reach.may_try(), "one looks");
        for _ in 0..40 {
            reach.lost(&Fault::unavailable("still"));
        }
        tokio::time::sleep(BACKOFF.max).await;
        assert!(reach.may_try(), "it is never given up");
        reach.answered();
        assert!(reach.may_try() && reach.may_try() && reach.standing().is_ok() && gauge("1.0"));
    }
}
