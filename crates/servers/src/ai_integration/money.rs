//! Dollars as people write them, and nano-dollars as they are counted.

use kernel::Fault;

/// Nano-dollars of a dollar.
const NANO: u64 = 1_000_000_000;
/// How a cost reads that nobody knows.
pub(super) const UNKNOWN: &str = "unknown";

/// A cost as dollars, exact.
pub(super) fn dollars(nano: Option<u64>) -> String {
    let Some(nano) = nano else { return UNKNOWN.into() };
    let (whole, rest) = (nano / NANO, nano % NANO);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{}", format!("{rest:09}").trim_end_matches('0'))
}

/// Dollars as a decimal text, exact to the nano-dollar.
pub(super) fn nano_of(field: &str, text: &str) -> Result<u64, Fault> {
    let bad = || Fault::invalid(format!("{field} is `{text}`")).hint("dollars as a decimal text, like 2.50");
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(rest) || rest.len() > 9 || whole.len() > 9 {
        return Err(bad());
    }
    let (whole, rest): (u64, u64) =
        (whole.parse().map_err(|_| bad())?, format!("{rest:0<9}").parse().map_err(|_| bad())?);
    Ok(whole * NANO + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_go_there_and_back() {
        for (text, nano) in [("2.5", 2_500_000_000), ("0.000000001", 1), ("12", 12_000_000_000), ("0", 0)] {
            assert_eq!((nano_of("usd", text).unwrap(), dollars(Some(nano)).as_str()), (nano, text));
        }
        assert_eq!(dollars(None), "unknown");
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "0.0000000001", "9999999999", "1,5"] {
            assert!(nano_of("usd", bad).is_err(), "{bad}");
        }
    }
}
