//! A moment as people and models write it: `2026-11-15T08:00:00Z`, `-15m`, `now`, or milliseconds since the Unix epoch.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use kernel::clock::day_of_date;
use kernel::{Fault, UnixMs};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, absolute or before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Milliseconds since the Unix epoch.
    At(UnixMs),
    /// So many milliseconds ago.
    Ago(i64),
}

impl When {
    /// The moment, seen from `now_ms`.
    pub fn resolve(self, now_ms: UnixMs) -> UnixMs {
        match self {
            Self::At(ms) => ms,
            Self::Ago(ms) => now_ms.saturating_sub(ms),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(ms) => ms.fmt(f),
            Self::Ago(0) => f.write_str("now"),
            Self::Ago(ms) => write!(f, "-{ms}ms"),
        }
    }
}

impl FromStr for When {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        let ago = || if text == "now" { Some(0) } else { duration_ms(text.strip_prefix('-')?) };
        let at = || rfc3339(text).or_else(|| text.parse().ok().filter(|_| text.len() > 9));
        ago().map(Self::Ago).or_else(|| at().map(Self::At)).ok_or_else(|| {
            Fault::invalid(format!("`{text}` is not a time"))
                .hint("2026-11-15T08:00:00Z, -15m (or s, h, d), now, or milliseconds since the Unix epoch")
        })
    }
}

/// `90s`, `15m`, `2h`, `7d`, `250ms`: in milliseconds.
pub fn duration_ms(text: &str) -> Option<i64> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let each = match &text[unit..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    text[..unit].parse::<i64>().ok()?.checked_mul(each)
}

/// `2026-11-15T08:00:00.123456Z`, with an offset or `Z` (or neither: UTC); a blank may stand for the `T`.
pub fn rfc3339(text: &str) -> Option<UnixMs> {
    let day = day_of_date(text.get(..10)?)?;
    let Some(separator) = text.as_bytes().get(10) else { return Some(day * 86_400_000) };
    let time = text.get(11..19)?;
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let mut parts = time.split(':').map(|part| part.parse::<i64>().ok().filter(|_| part.len() == 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let rest = &text[19..];
    let digits = rest.strip_prefix(['.', ',']).map_or("", |rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        &rest[..end]
    });
    let millis = format!("{:0<3}", digits.get(..3).unwrap_or(digits)).parse::<i64>().ok()?;
    let zone = &rest[if digits.is_empty() { 0 } else { digits.len() + 1 }..];
    let seconds = ((day * 24 + hour) * 60 + minute) * 60 + second - offset_seconds(zone.trim())?;
    Some(seconds * 1_000 + millis)
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.strip_prefix(['+', '-'])?.chars().filter(|c| *c != ':').collect();
    let minutes = digits.get(2..).filter(|minutes| minutes.len() == 2)?;
    Some(sign * (digits.get(..2)?.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?) * 60)
}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(ms) => serializer.serialize_i64(*ms),
            Self::Ago(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a time: text like 2026-11-15T08:00:00Z or -15m, or milliseconds since the Unix epoch"
        )]
        enum Written<'a> {
            Ms(i64),
            Text(#[serde(borrow)] Cow<'a, str>),
        }
        match Written::deserialize(deserializer)? {
            Written::Ms(ms) => Ok(Self::At(ms)),
            Written::Text(text) => text.parse().map_err(|fault: Fault| {
                serde::de::Error::custom(format!("{}: write {}", fault.message, fault.hint.unwrap_or_default()))
            }),
        }
    }
}

impl JsonSchema for When {
    fn schema_name() -> Cow<'static, str> {
        "When".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        const NOW: UnixMs = 1_794_729_600_000;
        for (text, want) in [
            ("now", Some(NOW)),
            ("-15m", Some(NOW - 900_000)),
            ("-2d", Some(NOW - 172_800_000)),
            ("2026-11-15", Some(NOW - 28_800_000)),
            ("2026-11-15T08:00:00Z", Some(NOW)),
            ("2026-11-15 08:00:00", Some(NOW)),
            ("2026-11-15T03:00:00.001-05:00", Some(NOW + 1)),
            ("2026-11-15T08:00:00,1Z", Some(NOW + 100)),
            ("1794729600000", Some(NOW)),
            ("15m", None),
            ("-15", None),
            ("-99999999999999999999d", None),
            ("-9999999999999d", None),
            ("2026-11-15T25:00:00Z", None),
            ("2026-11-15T08:00:00+0é", None),
            ("2026-11-1é", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<When>().ok().map(|when| when.resolve(NOW)), want, "{text}");
        }
    }

    #[test]
    fn goes_through_json_and_back() {
        for when in [When::At(5), When::Ago(0), When::Ago(1_500)] {
            let text = serde_json::to_string(&when).unwrap();
            assert_eq!(serde_json::from_str::<When>(&text).unwrap(), when, "{text}");
        }
        let error = serde_json::from_str::<When>("true").unwrap_err().to_string();
        assert!(error.contains("-15m"), "{error}");
    }
}
