//! When a request may be made again: what failed, and how long the provider wants to be left alone.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use kernel::clock::day_of_date;
use kernel::{Fault, UnixMs};

/// A try that gave nothing.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) fault: Fault,
    /// Whether another try may go better.
    pub(crate) again: Again,
}

/// Whether and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It will not, or must not be tried.
    Never,
    /// After a while.
    Later,
    /// No sooner than the provider said.
    After(Duration),
}

impl Trouble {
    pub(crate) fn never(fault: Fault) -> Self {
        Self { fault, again: Again::Never }
    }

    pub(crate) fn later(fault: Fault) -> Self {
        Self { fault, again: Again::Later }
    }
}

/// How long a response wants its client to wait: in milliseconds, in seconds, or until a date.
pub(crate) fn wait_of(headers: &HeaderMap, now_ms: UnixMs) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.parse::<u64>().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let after = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = after.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let ms = http_date_ms(after)?.saturating_sub(now_ms);
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// `Sun, 29 Nov 2026 08:00:00 GMT` in milliseconds since the Unix epoch.
fn http_date_ms(text: &str) -> Option<UnixMs> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let date = day_of_date(&format!("{year}-{month:02}-{day:0>2}"))?;
    let mut units = time.split(':').map(|unit| unit.parse::<i64>().ok());
    let (hours, minutes, seconds) = (units.next()??, units.next()??, units.next()??);
    let of_day = hours * 3_600 + minutes * 60 + seconds;
    (0..=86_400).contains(&of_day).then_some((date * 86_400 + of_day) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_in_every_form() {
        let wait = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            wait_of(&headers, 1_000_000)
        };
        assert_eq!(wait("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(wait("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("retry-after", "Thu, 01 Jan 1970 00:17:00 GMT"), Some(Duration::from_secs(20)));
        assert_eq!(wait("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO), "over by now");
        for bad in ["soon", "-1", "Thu, 01 Foo 1970 00:17:00 GMT", ""] {
            assert_eq!(wait("retry-after", bad), None, "{bad}");
        }
    }
}
