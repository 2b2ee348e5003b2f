//! When a schedule fires.

use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use kernel::{Fault, Result, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CATCH_UP_MAX, LATE_MS};

/// Shortest interval, in seconds.
const EVERY_SECONDS_MIN: u64 = 1;
/// Longest interval, in seconds: a year.
const EVERY_SECONDS_MAX: u64 = 31_536_000;
/// Longest cron expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 200;

/// When a schedule fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// By a cron expression.
    Cron {
        /// Minute, hour, day of the month, month, day of the week; or six fields, with seconds first; or `@daily` and its like.
        expression: String,
        /// The time zone by its IANA name, as `Europe/Berlin`.
        #[serde(default = "utc")]
        zone: String,
    },
    /// Every so often.
    Every {
        /// The interval, in seconds.
        seconds: u64,
        /// From when it is counted, in milliseconds since the Unix epoch: one interval before the first time, unless this is to come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_ms: Option<UnixMs>,
    },
    /// Once.
    Once {
        /// When, in milliseconds since the Unix epoch.
        at_ms: UnixMs,
    },
}

fn utc() -> String {
    "UTC".into()
}

/// What becomes of times that were missed: nobody could fire them for a minute or longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Nothing.
    Skip,
    /// One firing makes up for all of them.
    #[default]
    Once,
    /// Each fires, but no more than the newest hundred.
    All,
}

impl Spec {
    /// By a cron expression in a time zone.
    ///
    /// # Errors
    /// When either is none.
    pub(crate) fn cron(expression: &str, zone: &str) -> Result<Self> {
        cron(expression)?;
        time_zone(zone)?;
        Ok(Self::Cron { expression: expression.into(), zone: zone.into() })
    }

    /// The spec with what was left open filled in.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn checked(self, now_ms: UnixMs) -> Result<Self> {
        match self {
            Self::Cron { expression, zone } => Self::cron(&expression, &zone),
            Self::Every { seconds, from_ms } => {
                if !(EVERY_SECONDS_MIN..=EVERY_SECONDS_MAX).contains(&seconds) {
                    return Err(Fault::invalid(format!("an interval of {seconds} s"))
                        .hint(format!("{EVERY_SECONDS_MIN} to {EVERY_SECONDS_MAX} s")));
                }
                // Counted from the next full interval, so that the first is one interval away.
                let from_ms = from_ms.unwrap_or(now_ms.saturating_add(step_ms(seconds)));
                Ok(Self::Every { seconds, from_ms: Some(from_ms) })
            }
            Self::Once { at_ms } => Ok(Self::Once { at_ms }),
        }
    }

    /// The first time after `after_ms`; none when there is none.
    pub fn after(&self, after_ms: UnixMs) -> Option<UnixMs> {
        match self {
            Self::Cron { expression, zone } => occurrence(expression, zone, after_ms, false, true),
            Self::Every { seconds, from_ms } => {
                let (from_ms, step_ms) = ((*from_ms)?, step_ms(*seconds));
                if after_ms < from_ms {
                    return Some(from_ms);
                }
                (after_ms - from_ms).checked_div(step_ms).map(|steps| from_ms + (steps + 1) * step_ms)
            }
            Self::Once { at_ms } => Some(*at_ms).filter(|at_ms| *at_ms > after_ms),
        }
    }

    /// The last time at or before `until_ms`.
    fn before(&self, until_ms: UnixMs, inclusive: bool) -> Option<UnixMs> {
        let until_ms = if inclusive { until_ms } else { until_ms - 1 };
        match self {
            Self::Cron { expression, zone } => occurrence(expression, zone, until_ms, true, false),
            Self::Every { seconds, from_ms } => {
                let (from_ms, step_ms) = ((*from_ms)?, step_ms(*seconds));
                let steps = (until_ms - from_ms).checked_div(step_ms).filter(|_| until_ms >= from_ms)?;
                Some(from_ms + steps * step_ms)
            }
            Self::Once { at_ms } => Some(*at_ms).filter(|at_ms| *at_ms <= until_ms),
        }
    }

    /// The times from `from_ms` (which is one) to `now_ms` that are to fire now, oldest first.
    pub(super) fn due(&self, from_ms: UnixMs, now_ms: UnixMs, missed: Missed) -> Vec<UnixMs> {
        let most = if missed == Missed::All { CATCH_UP_MAX } else { 1 };
        let mut due = Vec::new();
        let mut last = self.before(now_ms, true);
        while let Some(at_ms) = last.filter(|at_ms| *at_ms >= from_ms && due.len() < most) {
            due.push(at_ms);
            last = self.before(at_ms, false);
        }
        due.retain(|at_ms| missed != Missed::Skip || now_ms - at_ms < LATE_MS);
        due.reverse();
        due
    }
}

fn step_ms(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

fn cron(expression: &str) -> Result<Cron> {
    let refused = |why: String| {
        let shown: String = expression.chars().take(60).flat_map(char::escape_debug).collect();
        Fault::invalid(format!("`{shown}` is not a cron expression: {why}"))
            .hint("minute hour day-of-month month day-of-week, as `30 6 * * MON-FRI`; or six fields with seconds first")
    };
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Err(refused(format!("longer than {EXPRESSION_BYTES_MAX} bytes")));
    }
    Cron::from_str(expression).map_err(|error| refused(error.to_string()))
}

fn time_zone(zone: &str) -> Result<TimeZone> {
    TimeZone::get(zone).map_err(|_| {
        let shown: String = zone.chars().take(60).flat_map(char::escape_debug).collect();
        Fault::invalid(format!("`{shown}` is not a time zone")).hint("an IANA name, as UTC or Europe/Berlin")
    })
}

/// The occurrence next to a time; none when there is none within the years that the library looks through.
fn occurrence(expression: &str, zone: &str, at_ms: UnixMs, inclusive: bool, forward: bool) -> Option<UnixMs> {
    let (cron, zone) = (cron(expression).ok()?, time_zone(zone).ok()?);
    // Cron knows whole seconds. Looking back from within one, it has begun; looking ahead, it is over.
    let at: Zoned = Timestamp::from_second(at_ms.div_euclid(1_000)).ok()?.to_zoned(zone);
    let found =
        if forward { cron.find_next_occurrence(&at, inclusive) } else { cron.find_previous_occurrence(&at, inclusive) };
    Some(found.ok()?.timestamp().as_millisecond())
}
