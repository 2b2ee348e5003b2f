//! The one place that reads the time. Tests hold a clock they move by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub type UnixMs = i64;

/// Wall-clock time, shared by a process.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `now_ms` until [`Clock::advance_ms`] moves it.
    pub fn manual(now_ms: UnixMs) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now_ms))))
    }

    /// The time now.
    pub fn now_ms(&self) -> UnixMs {
        match &self.0 {
            Some(manual) => manual.load(Ordering::Acquire),
            None => system_now_ms(),
        }
    }

    /// Moves a manual clock by `ms`, forwards or backwards. The machine's clock stays as it is.
    pub fn advance_ms(&self, ms: i64) {
        if let Some(manual) = &self.0 {
            manual.fetch_add(ms, Ordering::AcqRel);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
fn system_now_ms() -> UnixMs {
    // A machine set before 1970 reads as the epoch rather than panicking.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The date of a day counted from the Unix epoch, as `YYYY-MM-DD` (proleptic Gregorian, UTC).
pub fn date(day: i64) -> String {
    // Howard Hinnant's days-to-civil arithmetic: years begin in March, so that the leap day is a year's last.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time as ISO 8601 has it, in UTC: `2026-11-15T08:00:00.000Z`.
pub fn timestamp(at_ms: UnixMs) -> String {
    let (day, of_day) = (at_ms.div_euclid(86_400_000), at_ms.rem_euclid(86_400_000));
    let (seconds, ms) = (of_day / 1_000, of_day % 1_000);
    format!("{}T{:02}:{:02}:{:02}.{ms:03}Z", date(day), seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// The day since the Unix epoch of a date as [`date`] writes it; `None` for anything else.
pub fn day_of_date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(0..=9_999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    // What is not a date (the 31st of April) or is written otherwise does not come back as it was.
    (date(days) == text).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_iso_8601() {
        assert_eq!(timestamp(1_794_729_600_123), "2026-11-15T08:00:00.123Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn dates_go_there_and_back() {
        for (day, text) in [(0, "1970-01-01"), (-1, "1969-12-31"), (11_016, "2000-02-29"), (20_772, "2026-11-15")] {
            assert_eq!((date(day).as_str(), day_of_date(text)), (text, Some(day)));
        }
        assert!((-200_000..200_000).all(|day| day_of_date(&date(day)) == Some(day)));
        for bad in ["", "2026-11", "2026-04-31", "2026-1-1", "2026-11-15x", "+026-11-15", "99999-01-01"] {
            assert_eq!(day_of_date(bad), None, "{bad}");
        }
    }
}
