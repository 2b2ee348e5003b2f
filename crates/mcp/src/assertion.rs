//! How one process of the fleet says to another for whom it calls: the caller, under seal, in one header.
//!
//! An assertion stands for a minute, however often it is shown. So neither side does the work anew for every call: the one that speaks
//! repeats what it sealed a moment ago, the one that hears remembers whom it found in it until it ends.

use std::collections::HashMap;
use std::hash::Hash;

use http::{HeaderName, HeaderValue};
use kernel::{Caller, Fault, UnixMs};
use parking_lot::Mutex;
use serde_json::json;

use crate::seal::{Binding, Sealer};

/// Carries the caller between processes of one fleet, sealed.
pub(crate) const CALLER: HeaderName = HeaderName::from_static("flotilla-caller");

/// How long an assertion stands, in milliseconds: long enough for one hop.
const STANDS_MS: i64 = 60_000;
/// How long it is said again, in milliseconds: what is sent has half of its time before it.
const REPEATED_MS: i64 = STANDS_MS / 2;
/// Assertions remembered.
const REMEMBERED_MAX: usize = 1_024;
/// What an assertion is bound to: nothing but its purpose, since it is what names the caller.
const BINDING: Binding<'static> = Binding { caller: "", purpose: "caller", subject: "" };

/// Things that are known until a time.
struct Memory<K, V>(Mutex<HashMap<K, (V, UnixMs)>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    fn recall(&self, key: &K, now_ms: UnixMs) -> Option<V> {
        self.0.lock().get(key).filter(|(_, until_ms)| now_ms < *until_ms).map(|(value, _)| value.clone())
    }

    fn keep(&self, key: K, value: V, until_ms: UnixMs, now_ms: UnixMs) {
        let mut known = self.0.lock();
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, (_, until_ms)| now_ms < *until_ms);
        }
        // Past the limit it is made or read anew each time, which is slower and no less right.
        if known.len() < REMEMBERED_MAX {
            known.insert(key, (value, until_ms));
        }
    }
}

/// Speaks for callers.
pub(crate) struct Speaker {
    sealer: Sealer,
    said: Memory<Caller, HeaderValue>,
}

impl Speaker {
    /// For a fleet whose processes share `sealer`'s key.
    pub(crate) fn new(sealer: Sealer) -> Self {
        Self { sealer, said: Memory::default() }
    }

    /// The header's value for `caller`: its permissions go along and never widen.
    ///
    /// # Errors
    /// When sealing fails.
    pub(crate) fn say(&self, caller: &Caller) -> Result<HeaderValue, Fault> {
        let now_ms = self.sealer.now_ms();
        if let Some(said) = self.said.recall(caller, now_ms) {
            return Ok(said);
        }
        let sealed = self.sealer.seal(BINDING, STANDS_MS, json!(caller))?;
        let value =
            HeaderValue::from_str(&sealed).map_err(|_| Fault::internal("an assertion does not fit a header"))?;
        self.said.keep(caller.clone(), value.clone(), now_ms + REPEATED_MS, now_ms);
        Ok(value)
    }
}

/// Hears for whom others call.
pub(crate) struct Listener {
    sealer: Sealer,
    heard: Memory<HeaderValue, Caller>,
}

impl Listener {
    /// For a fleet whose processes share `sealer`'s key.
    pub(crate) fn new(sealer: Sealer) -> Self {
        Self { sealer, heard: Memory::default() }
    }

    /// The caller that `value` names.
    ///
    /// # Errors
    /// When no process of this fleet said so within a minute.
    pub(crate) fn hear(&self, value: &HeaderValue) -> Result<Caller, Fault> {
        let now_ms = self.sealer.now_ms();
        if let Some(caller) = self.heard.recall(value, now_ms) {
            return Ok(caller);
        }
        let refused = || {
            Fault::unauthenticated("the Flotilla-Caller header does not verify")
                .hint("only processes that share the fleet's key may send it, within a minute")
        };
        let text = value.to_str().map_err(|_| refused())?;
        let (caller, until_ms) = self.sealer.open_until(BINDING, text).map_err(|_| refused())?;
        let caller: Caller = serde_json::from_value(caller).map_err(|_| refused())?;
        self.heard.keep(value.clone(), caller.clone(), until_ms, now_ms);
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use kernel::{Clock, Role};

    use super::*;

    #[test]
    fn what_is_said_again_ends_when_it_was_to_end() {
        let clock = Clock::manual(0);
        let sealer = |key: u8| Sealer::new(&[key; 32], clock.clone());
        let (speaker, listener) = (Speaker::new(sealer(1)), Listener::new(sealer(1)));
        let bob = Caller::new("bob", Role::Viewer);
        let first = speaker.say(&bob).unwrap();
        assert_ne!(first, speaker.say(&Caller::new("bob", Role::Admin)).unwrap(), "one for each role");
        for _ in 0..2 {
            assert_eq!(listener.hear(&first).unwrap(), bob);
        }
        clock.advance_ms(REPEATED_MS - 1);
        assert_eq!(speaker.say(&bob).unwrap(), first);
        clock.advance_ms(1);
        let second = speaker.say(&bob).unwrap();
        assert_ne!(second, first);
        clock.advance_ms(REPEATED_MS - 1);
        assert_eq!(listener.hear(&first).unwrap(), bob);
        clock.advance_ms(2);
        assert!(listener.hear(&first).is_err(), "remembered or not, its minute is over");
        assert_eq!(listener.hear(&second).unwrap(), bob);
        assert!(Listener::new(sealer(2)).hear(&second).is_err(), "another fleet's");
    }

    #[test]
    fn more_than_are_remembered_are_heard_all_the_same() {
        let clock = Clock::manual(0);
        let sealer = Sealer::new(&[1; 32], clock.clone());
        let (speaker, listener) = (Speaker::new(sealer.clone()), Listener::new(sealer));
        for n in 0..2 * REMEMBERED_MAX {
            let caller = Caller::new(format!("c{n}"), Role::Viewer);
            assert_eq!(listener.hear(&speaker.say(&caller).unwrap()).unwrap(), caller);
        }
        assert_eq!((speaker.said.0.lock().len(), listener.heard.0.lock().len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        clock.advance_ms(STANDS_MS);
        speaker.say(&Caller::new("new", Role::Viewer)).unwrap();
        assert_eq!(speaker.said.0.lock().len(), 1, "what is over makes room");
    }
}
