//! Amounts between units: wei, gwei, ether, and tokens of any number of decimals. Exact; no floating point anywhere.

use std::borrow::Cow;

use mcp::prelude::*;
use num_traits::Signed;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::Utilities;
use super::decimal::{Decimal, power_of_ten};
use flow::bounded::{check_size, shown};

/// Longest amount, in characters.
const AMOUNT_MAX: usize = 200;
/// Most decimals a unit has: 10^77 is the greatest power of ten in 256 bits.
const DECIMALS_MAX: u32 = 77;

/// The units that have names, and their decimals in wei.
const NAMED: [(&str, u32); 7] =
    [("wei", 0), ("kwei", 3), ("mwei", 6), ("gwei", 9), ("szabo", 12), ("finney", 15), ("ether", 18)];

/// A unit: a name, or how many decimals it has over the smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit(u32);

impl JsonSchema for Unit {
    fn schema_name() -> Cow<'static, str> {
        "Unit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
        json_schema!({
            "description": "a unit's name, or its number of decimals over the smallest unit (6 for USDC, 18 for most tokens, 0 for the smallest unit itself)",
            "anyOf": [{ "enum": names }, { "type": "integer", "minimum": 0, "maximum": DECIMALS_MAX }],
        })
    }
}

impl Serialize for Unit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Unit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(
                    f,
                    "one of wei, kwei, mwei, gwei, szabo, finney, ether, or a number of decimals from 0 to {DECIMALS_MAX}"
                )
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Unit, E> {
                let known = u32::try_from(number).ok().filter(|decimals| *decimals <= DECIMALS_MAX);
                known.map(Unit).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Unit, E> {
                let named = NAMED.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
                let unit = named.map(|(_, decimals)| Unit(*decimals));
                unit.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What [`CONVERT_UNITS`](super::CONVERT_UNITS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConvertUnitsRequest {
    /// The amount, as decimal text: `1.5`, `1000000`, `1e18`.
    #[schemars(length(min = 1, max = 200))]
    pub amount: String,
    /// The unit it is in.
    pub from: Unit,
    /// The unit wanted.
    pub to: Unit,
}

/// What [`CONVERT_UNITS`](super::CONVERT_UNITS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConvertUnitsResponse {
    /// The amount in the unit wanted: exact decimal text without trailing zeros.
    pub amount: String,
    /// The amount in the smallest unit (wei, or the token's own), a whole number.
    pub smallest: String,
    /// The same in hexadecimal, as contracts and nodes take it.
    pub smallest_hex: String,
}

impl Utilities {
    pub(super) fn convert_units(&self, request: ConvertUnitsRequest) -> Result<ConvertUnitsResponse, Fault> {
        check_size("amount", &request.amount, AMOUNT_MAX)?;
        let (Unit(from), Unit(to)) = (request.from, request.to);
        let amount = Decimal::parse(request.amount.trim()).map_err(|fault| fault.context("amount"))?;
        if amount.digits.is_negative() {
            return Err(Fault::invalid(format!("amount {amount} is negative")).hint("an amount of zero or more"));
        }
        let Some(missing) = from.checked_sub(amount.places) else {
            let text = format!("amount {amount} has more decimals ({}) than its unit ({from})", amount.places);
            return Err(Fault::invalid(text).hint("there is nothing smaller than the smallest unit: round it first"));
        };
        let smallest = amount.digits * power_of_ten(missing);
        if smallest.bits() > 256 {
            let text = format!("amount {} does not fit 256 bits", shown(&request.amount));
            return Err(Fault::invalid(text).hint("no token has so much: look at the unit"));
        }
        Ok(ConvertUnitsResponse {
            amount: Decimal { digits: smallest.clone(), places: to }.to_string(),
            smallest_hex: format!("{smallest:#x}"),
            smallest: smallest.to_string(),
        })
    }
}
