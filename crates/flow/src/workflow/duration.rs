//! How long something takes, as definitions write it: fields, or ISO 8601.

/// Longest duration, in milliseconds: ten years.
pub(super) const DURATION_MS_MAX: i64 = 10 * 366 * 86_400_000;

/// `PT1H30M`, `P2D`, `PT0.25S`: in milliseconds. Years count 365 days and months 30; `None` when it is none, or is longer than
/// [`DURATION_MS_MAX`].
pub(super) fn iso_8601(text: &str) -> Option<i64> {
    let rest = text.trim().strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    const DAY: i64 = 86_400_000;
    let days = parts(days, &[('Y', 365 * DAY), ('M', 30 * DAY), ('W', 7 * DAY), ('D', DAY)])?;
    let time = parts(time, &[('H', 3_600_000), ('M', 60_000), ('S', 1_000)])?;
    days.checked_add(time).filter(|ms| *ms <= DURATION_MS_MAX)
}

/// Numbers with their units, each unit once and in order.
fn parts(mut text: &str, units: &[(char, i64)]) -> Option<i64> {
    let mut total: i64 = 0;
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',')?;
        let unit = text[end..].chars().next()?;
        let (_, each) = units.by_ref().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = text[..end].split_once(['.', ',']).unwrap_or((&text[..end], ""));
        if whole.is_empty() || whole.len() > 15 || fraction.len() > 9 {
            return None;
        }
        total = total.checked_add(whole.parse::<i64>().ok()?.checked_mul(*each)?)?;
        if !fraction.is_empty() {
            let scale = 10_i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            total = total.checked_add(
                i64::try_from(i128::from(fraction.parse::<i64>().ok()?) * i128::from(*each) / i128::from(scale))
                    .ok()?,
            )?;
        }
        text = &text[end + unit.len_utf8()..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_8601_durations() {
        for (text, ms) in [
            ("PT1S", Some(1_000)),
            ("PT0.25S", Some(250)),
            ("PT1H30M", Some(5_400_000)),
            ("P1DT12H", Some(129_600_000)),
            ("P2W", Some(1_209_600_000)),
            ("P1Y2M", Some((365 + 60) * 86_400_000)),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("1H", None),
            ("PT1D", None),
            ("PT1M1H", None),
            ("PT-1S", None),
            ("P99Y", None),
            ("PT999999999999999H", None),
        ] {
            assert_eq!(iso_8601(text), ms, "{text}");
        }
    }
}
