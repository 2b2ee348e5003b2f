//! What is known of the bot's session at the gateway, and what follows when a connection ends: resume, begin anew, or never again.

use std::time::Duration;

use kernel::Fault;
use kernel::backoff::Backoff;

/// How connections that fail in a row spread out. Discord lets a bot identify a thousand times a day.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(120) };
/// The wait before a session is begun in place of one that Discord gave up.
const ANEW: Backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(5) };

/// The session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// Its id.
    pub(super) id: String,
    /// Where it is resumed.
    pub(super) url: String,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    /// It can be gone on with.
    Dropped(String),
    /// The session is over.
    Invalid(String),
    /// Discord closed it with this code.
    Closed(u16, String),
    /// It could not be opened.
    Unreached(Fault),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Connect after this wait: the session, if there is one still, is resumed.
    After(Duration),
    /// The texts of messages are not given to this bot: connect without asking for them.
    WithoutTexts,
    /// Nothing: trying again cannot help. Why, and what would.
    Never(Fault),
}

/// What outlives connections.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The session, while it can be resumed.
    pub(super) session: Option<Session>,
    /// The number of the last event.
    pub(super) seq: Option<u64>,
    /// How many connections in a row came to nothing.
    failures: u32,
}

impl Memory {
    /// A connection stands: what failed before is forgotten.
    pub(super) fn stands(&mut self) {
        self.failures = 0;
    }

    /// What follows from the end of a connection. `texts` says whether the texts of messages were asked for.
    pub(super) fn after(&mut self, end: &End, texts: bool) -> Next {
        match end {
            End::Closed(4014, _) if texts => {
                self.forget();
                return Next::WithoutTexts;
            }
            End::Closed(code, why) => {
                if let Some(hint) = final_hint(*code) {
                    self.forget();
                    return Next::Never(
                        Fault::denied(format!("the gateway refuses the bot: {code} {why}").trim_end().to_owned())
                            .hint(hint),
                    );
                }
                // What a session is over with: its number was wrong, or it timed out.
                if matches!(code, 4007 | 4009) {
                    self.forget();
                }
            }
            End::Invalid(_) => {
                self.forget();
                return Next::After(ANEW.wait(2));
            }
            End::Dropped(_) => {}
            // It may be the place to resume at that is gone.
            End::Unreached(_) if self.failures >= 2 => self.forget(),
            End::Unreached(_) => {}
        }
        self.failures = self.failures.saturating_add(1);
        Next::After(AGAIN.wait(self.failures))
    }

    fn forget(&mut self) {
        (self.session, self.seq) = (None, None);
    }
}

/// What would help against a code after which connecting again does not.
fn final_hint(code: u16) -> Option<&'static str> {
    match code {
        4004 => Some("set DISCORD_BOT_TOKEN to the token of the bot's page and restart agent:discord"),
        4010 | 4011 => Some("the bot is in too many servers for one connection: take it out of some"),
        4012 => Some("this version of Flotilla speaks version 10, which Discord serves no more: update it"),
        4013 | 4014 => Some("allow the bot its intents on its page of the developer portal"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let session = Session { id: "s".into(), url: "wss://x".into() };
        Memory { session: Some(session), seq: Some(7), failures: 0 }
    }

    #[track_caller]
    fn check(end: End, texts: bool, want: &str) {
        let mut memory = memory();
        let next = match memory.after(&end, texts) {
            Next::After(_) => "again".to_owned(),
            Next::WithoutTexts => "without texts".to_owned(),
            Next::Never(fault) => format!("never: {}", fault.message),
        };
        let way = if memory.session.is_some() { "resume" } else { "identify" };
        assert_eq!(format!("{next}, {way}"), want, "{end:?}");
    }

    #[test]
    fn what_follows_from_each_end() {
        check(End::Dropped("no heartbeat".into()), true, "again, resume");
        check(End::Invalid("session".into()), true, "again, identify");
        for code in [1000, 1001, 1006, 4000, 4001, 4002, 4003, 4005, 4008, 4999] {
            check(End::Closed(code, String::new()), true, "again, resume");
        }
        for code in [4007, 4009] {
            check(End::Closed(code, String::new()), true, "again, identify");
        }
        for code in [4004, 4010, 4011, 4012, 4013] {
            let want = format!("never: the gateway refuses the bot: {code} so, identify");
            check(End::Closed(code, "so".into()), true, &want);
        }
        check(End::Closed(4014, String::new()), true, "without texts, identify");
        check(End::Closed(4014, String::new()), false, "never: the gateway refuses the bot: 4014, identify");
    }

    #[test]
    fn failures_spread_out_and_a_place_that_is_gone_is_given_up() {
        let mut memory = memory();
        let unreached = End::Unreached(Fault::unavailable("x"));
        let waits: Vec<Duration> = (0..10)
            .map(|_| match memory.after(&unreached, true) {
                Next::After(wait) => wait,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(waits[0] <= Duration::from_secs(1) && waits[9] >= Duration::from_secs(60), "{waits:?}");
        assert_eq!(memory.session, None);
        memory.stands();
        assert!(matches!(memory.after(&unreached, true), Next::After(wait) if wait <= Duration::from_secs(1)));
    }
}
