//! Instants in every form, and what lies some time before or after them.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{RoundMode, Span, Timestamp, Unit, Zoned};
use mcp::prelude::*;

use super::Utilities;
use flow::bounded::{check_size, shown};
use kernel::fault::lower;

/// Longest text of an instant, a span or a zone.
const TEXT_MAX: usize = 100;

/// What [`TIMESTAMP`](super::TIMESTAMP) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TimestampRequest {
    /// The instant: `now`, RFC 3339 (`2026-11-15T08:00:00Z`), a date (`2026-11-15`, midnight in `zone`), or a Unix time as digits.
    pub at: Option<String>,
    /// What a Unix time counts. `auto` goes by its size: seconds up to 11 digits, milliseconds up to 14, microseconds up to 17.
    pub unit: UnixUnit,
    /// A span to add, or with `-` in front to take away: `90 minutes`, `1d 12h`, `-2 weeks`, `P1M`, `PT36H`. Days and months are
    /// counted on the calendar of `zone`.
    pub add: Option<String>,
    /// Another instant, in the same forms as `at`: the answer tells how far it is.
    pub until: Option<String>,
    /// For local forms: `UTC`, an offset like `+02:00`, or a name like `Europe/Zurich`. UTC unless given.
    pub zone: Option<String>,
}

/// What a Unix time counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnixUnit {
    /// By its size.
    #[default]
    Auto,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// What [`TIMESTAMP`](super::TIMESTAMP) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TimestampResponse {
    /// RFC 3339, in UTC.
    pub utc: String,
    /// RFC 3339, in the zone asked for.
    pub local: String,
    /// Seconds since the Unix epoch, fractions cut off towards the past.
    pub unix_seconds: i64,
    /// Milliseconds since the Unix epoch.
    pub unix_milliseconds: i64,
    /// Nanoseconds since the Unix epoch, as text: they exceed what JSON numbers keep.
    pub unix_nanoseconds: String,
    /// The zone of `local`.
    pub zone: String,
    /// The zone's offset from UTC at that instant, in seconds.
    pub offset_seconds: i32,
    /// The day of the week in that zone.
    pub weekday: String,
    /// The day of the year in that zone, 1 to 366.
    pub day_of_year: i16,
    /// The ISO 8601 week in that zone: `2026-W46`.
    pub week: String,
    /// Seconds from now; negative when it is past.
    pub seconds_from_now: f64,
    /// How far `until` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Distance>,
}

/// The time between two instants.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Distance {
    /// In milliseconds; negative when it lies before.
    pub milliseconds: i64,
    /// In words, days of 24 hours at most: `-1d 2h 3m`.
    pub text: String,
}

impl Utilities {
    pub(super) fn timestamp(&self, request: TimestampRequest) -> Result<TimestampResponse, Fault> {
        let now =
            Timestamp::from_millisecond(self.clock.now_ms()).map_err(|error| Fault::internal(error.to_string()))?;
        let zone = request.zone.as_deref().map_or(Ok(TimeZone::UTC), read_zone)?;
        let read = |what, text: &str| read_instant(what, text, request.unit, now, &zone);
        let mut at = read("at", request.at.as_deref().unwrap_or("now"))?.to_zoned(zone.clone());
        if let Some(add) = &request.add {
            at = shifted(&at, add)?;
        }
        let until = request.until.as_deref().map(|text| read("until", text)).transpose()?;
        Ok(forms(&at, now, until.map(|until| distance(at.timestamp(), until)).transpose()?))
    }
}

fn forms(at: &Zoned, now: Timestamp, until: Option<Distance>) -> TimestampResponse {
    let instant = at.timestamp();
    let week = at.date().iso_week_date();
    TimestampResponse {
        utc: instant.to_string(),
        local: at.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string(),
        unix_seconds: instant.as_nanosecond().div_euclid(1_000_000_000) as i64,
        unix_milliseconds: instant.as_nanosecond().div_euclid(1_000_000) as i64,
        unix_nanoseconds: instant.as_nanosecond().to_string(),
        zone: at.time_zone().iana_name().map_or_else(|| at.offset().to_string(), ToOwned::to_owned),
        offset_seconds: at.offset().seconds(),
        weekday: at.strftime("%A").to_string().to_lowercase(),
        day_of_year: at.day_of_year(),
        week: format!("{:04}-W{:02}", week.year(), week.week()),
        seconds_from_now: (instant.as_millisecond() - now.as_millisecond()) as f64 / 1_000.0,
        until,
    }
}

fn distance(from: Timestamp, until: Timestamp) -> Result<Distance, Fault> {
    let nanoseconds = until.as_nanosecond() - from.as_nanosecond();
    let rounding = jiff::SpanRound::new().largest(Unit::Day).smallest(Unit::Millisecond).mode(RoundMode::Trunc);
    let between = until.since(from).and_then(|span| span.round(rounding.days_are_24_hours()));
    let between = between.map_err(|error| Fault::internal(error.to_string()))?;
    Ok(Distance { milliseconds: nanoseconds.div_euclid(1_000_000) as i64, text: format!("{between:#}") })
}

fn shifted(at: &Zoned, add: &str) -> Result<Zoned, Fault> {
    check_size("add", add, TEXT_MAX)?;
    let (backwards, unsigned) = match add.trim().strip_prefix('-') {
        Some(unsigned) => (true, unsigned.trim()),
        None => (false, add.trim()),
    };
    let span: Span = unsigned.parse().map_err(|error: jiff::Error| {
        Fault::invalid(format!("add: {}", lower(&error.to_string()))).hint("like 90 minutes, 1d 12h, -2 weeks or PT36H")
    })?;
    let moved = if backwards { at.checked_sub(span) } else { at.checked_add(span) };
    moved
        .map_err(|error| Fault::invalid(format!("add: {}", lower(&error.to_string()))).hint("years from -9999 to 9999"))
}

fn read_zone(text: &str) -> Result<TimeZone, Fault> {
    check_size("zone", text, TEXT_MAX)?;
    if matches!(text, "UTC" | "utc" | "Z" | "z") {
        return Ok(TimeZone::UTC);
    }
    if let Some(offset) = read_offset(text) {
        return Ok(TimeZone::fixed(offset));
    }
    // The database that is built in, not the machine's: the same answer everywhere.
    TimeZoneDatabase::bundled().get(text).map_err(|_| {
        Fault::invalid(format!("unknown zone {}", shown(text)))
            .hint("UTC, an offset like +02:00, or a name like Europe/Zurich")
    })
}

/// `+02:00`, `-0530` or `+9`.
fn read_offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "0"),
    };
    let part = |text: &str, max: i32| {
        let whole = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|number| whole && *number <= max)
    };
    Offset::from_seconds(sign * (part(hours, 23)? * 3_600 + part(minutes, 59)? * 60)).ok()
}

fn read_instant(what: &str, text: &str, unit: UnixUnit, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Fault> {
    check_size(what, text, TEXT_MAX)?;
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") {
        return Ok(now);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return read_unix(what, text, digits.len(), unit);
    }
    let bad = || {
        Fault::invalid(format!("{what} is not an instant: {}", shown(text)))
            .hint("now, RFC 3339 like 2026-11-15T08:00:00Z, a date, or a Unix time in digits")
    };
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    // Without an offset it is a wall clock's time: that of the zone asked for.
    let local: DateTime = text.parse().map_err(|_| bad())?;
    Ok(local.to_zoned(zone.clone()).map_err(|_| bad())?.timestamp())
}

fn read_unix(what: &str, text: &str, digits: usize, unit: UnixUnit) -> Result<Timestamp, Fault> {
    let scale = match (unit, digits) {
        (UnixUnit::Seconds, _) | (UnixUnit::Auto, ..=11) => 1_000_000_000,
        (UnixUnit::Milliseconds, _) | (UnixUnit::Auto, ..=14) => 1_000_000,
        (UnixUnit::Microseconds, _) | (UnixUnit::Auto, ..=17) => 1_000,
        (UnixUnit::Nanoseconds | UnixUnit::Auto, _) => 1,
    };
    let nanoseconds = text.parse::<i128>().ok().and_then(|number| number.checked_mul(scale));
    let instant = nanoseconds.and_then(|nanoseconds| Timestamp::from_nanosecond(nanoseconds).ok());
    instant.ok_or_else(|| {
        Fault::invalid(format!("{what} is out of range: {}", shown(text)))
            .hint("years from -9999 to 9999; say the unit")
    })
}
