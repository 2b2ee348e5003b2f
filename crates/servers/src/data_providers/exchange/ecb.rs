//! The European Central Bank's reference rates: `eurofxref-daily.xml`, described at
//! <https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/html/index.en.html>.
//!
//! So many units of each currency are worth one euro, set once each working day at about 14:15 in Frankfurt and published at about 16:00.
//! A date is all that it says of the time: 13:15 UTC is taken, which the hour is in winter and the next hour's quarter in summer.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kernel::clock::day_of_date;
use kernel::{Decimal, Fault, UnixMs};
use regex::Regex;

use super::{Exchange, Get, Symbols, Tick, unknown};
use crate::data_providers::source::PRICE_DIGITS;

/// Rates move once a day.
const KEEP_MS: i64 = 600_000;
/// When in the day they are set, in milliseconds after midnight UTC.
const SET_AT_MS: i64 = (13 * 60 + 15) * 60_000;
/// The currency that the rates are of.
const EURO: &str = "EUR";
/// The currencies that have rates, or had some of late. What is none of them is not asked for; whether one still has a rate the sheet says.
const CURRENCIES: [&str; 31] = [
    EURO, "AUD", "BGN", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "ISK",
    "JPY", "KRW", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "SEK", "SGD", "THB", "TRY", "USD", "ZAR",
];

#[expect(clippy::unwrap_used, reason = "constant patterns, compiled by every test")]
static DATE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"<Cube\s+time=['"](\d{4}-\d{2}-\d{2})['"]"#).unwrap());
#[expect(clippy::unwrap_used, reason = "constant patterns, compiled by every test")]
static RATE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"<Cube\s+currency=['"]([A-Z]{3})['"]\s+rate=['"]([0-9.]+)['"]"#).unwrap());

/// See the module.
pub(super) struct Ecb;

/// The rates of a day, by currency.
fn rates(body: &[u8]) -> Result<(UnixMs, BTreeMap<String, Decimal>), Fault> {
    let text = std::str::from_utf8(body).map_err(|_| Fault::upstream("not text"))?;
    let day = DATE.captures(text).and_then(|found| day_of_date(&found[1]));
    let day = day.ok_or_else(|| Fault::upstream("not the sheet of rates that is documented: it has no date"))?;
    let rate = |found: regex::Captures<'_>| Ok((found[1].to_owned(), found[2].parse::<Decimal>()?));
    let mut rates = RATE.captures_iter(text).map(rate).collect::<Result<BTreeMap<_, _>, Fault>>()?;
    rates.insert(EURO.into(), Decimal::ONE);
    Ok((day * 86_400_000 + SET_AT_MS, rates))
}

impl Exchange for Ecb {
    fn last(&self, pair: &Symbols) -> Result<Get, Fault> {
        if ![&pair.base, &pair.quote].iter().all(|symbol| CURRENCIES.contains(&symbol.as_str())) {
            return Err(unknown("such currency"));
        }
        Ok(Get::new(pair.to_string(), "/eurofxref-daily.xml".into()).kept(KEEP_MS))
    }

    fn read_last(&self, pair: &Symbols, body: &[u8]) -> Result<Tick, Fault> {
        let (at_ms, rates) = rates(body)?;
        let rate = |symbol: &str| rates.get(symbol).copied().ok_or_else(|| unknown("such currency"));
        let (base, quote) = (rate(&pair.base)?, rate(&pair.quote)?);
        let price = quote.over(base).ok_or_else(|| Fault::upstream("a rate of nothing"))?.to_significant(PRICE_DIGITS);
        let cross = pair.base != EURO && pair.quote != EURO;
        let note =
            if cross { "a reference rate, crossed over EUR" } else { "a reference rate, set once each working day" };
        Ok(Tick { price, at_ms, instrument: pair.to_string(), note: Some(note.into()), problem: None })
    }

    fn refusal(&self, status: u16, _body: &[u8]) -> Option<Fault> {
        (status != 200).then(|| Fault::upstream(format!("status {status}")))
    }
}
