//! The chain's words as JSON has them: checksummed addresses, decimal amounts, hexadecimal bytes, blocks by name or number.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use alloy_primitives::{B256, Bytes, U256};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Fault, Result};

/// The greatest integer that every JSON reader keeps exact: 2^53 − 1.
pub const EXACT_INTEGER_MAX: u64 = (1 << 53) - 1;

/// What all the words share: wrapping, printing, JSON by their text, and a schema.
macro_rules! word {
    ($name:ident($inner:ty), $schema:literal, $($key:literal: $value:expr),+) => {
        impl Deref for $name {
            type Target = $inner;
            fn deref(&self) -> &$inner {
                &self.0
            }
        }

        impl From<$inner> for $name {
            fn from(inner: $inner) -> Self {
                Self(inner)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "description": $schema, $($key: $value),+ })
            }
        }
    };
}

/// An account or contract. Printed with its EIP-55 checksum; read in one case, or with a checksum that holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(pub alloy_primitives::Address);

word!(Address(alloy_primitives::Address), "an address: 0x and 40 hexadecimal digits", "type": "string", "pattern": "^0x[0-9a-fA-F]{40}$");

impl From<[u8; 20]> for Address {
    fn from(bytes: [u8; 20]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_checksum(None))
    }
}

impl FromStr for Address {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        let shape = || Fault::invalid(format!("not an address: {}", shown(text))).hint("0x and 40 hexadecimal digits");
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40).ok_or_else(shape)?;
        let address = Self(digits.parse().map_err(|_| shape())?);
        let one_case =
            !(digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase()));
        let right = address.to_string();
        if one_case || right == text {
            return Ok(address);
        }
        Err(Fault::invalid(format!("the checksum of address {text} does not hold"))
            .hint(format!("if no digit is wrong it is {right}")))
    }
}

/// A whole number of a token's smallest units (wei of the native coin). Decimal in JSON, since JSON's own numbers lose digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(pub U256);

word!(Amount(U256), "a whole number of smallest units, decimal", "type": "string", "pattern": "^([0-9]+|0x[0-9a-fA-F]+)$");

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Amount {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
        let whole = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        let amount = whole.then(|| U256::from_str_radix(digits, u64::from(radix)));
        match amount {
            Some(Ok(amount)) => Ok(Self(amount)),
            Some(Err(_)) => Err(Fault::invalid(format!("{} does not fit 256 bits", shown(text)))),
            None => Err(Fault::invalid(format!("not a whole number: {}", shown(text)))
                .hint("decimal digits, or 0x and hexadecimal digits, in the smallest unit")),
        }
    }
}

impl Amount {
    /// That many times this; `None` when it does not fit 256 bits.
    pub fn times(self, count: u64) -> Option<Self> {
        self.0.checked_mul(U256::from(count)).map(Self)
    }

    /// In whole units of `decimals` decimal digits, exactly: 1500000 with 6 is `1.5`.
    pub fn in_units(&self, decimals: u8) -> String {
        let (digits, decimals) = (self.0.to_string(), usize::from(decimals));
        let digits = format!("{digits:0>width$}", width = decimals + 1);
        let (whole, part) = digits.split_at(digits.len() - decimals);
        let part = part.trim_end_matches('0');
        if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
    }
}

impl From<u64> for Amount {
    fn from(number: u64) -> Self {
        Self(U256::from(number))
    }
}

/// A 32-byte hash: of a block, a transaction, an event's topic, or the content of a storage slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub B256);

word!(Hash(B256), "32 bytes: 0x and 64 hexadecimal digits", "type": "string", "pattern": "^0x[0-9a-fA-F]{64}$");

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for Hash {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        let shape = || Fault::invalid(format!("not a hash: {}", shown(text))).hint("0x and 64 hexadecimal digits");
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 64).ok_or_else(shape)?;
        digits.parse().map(Self).map_err(|_| shape())
    }
}

/// Bytes: calldata, code, a log's or a revert's data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Data(pub Bytes);

word!(Data(Bytes), "bytes: 0x and an even number of hexadecimal digits", "type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$");

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Data {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        let shape = || {
            Fault::invalid(format!("not bytes: {}", shown(text))).hint("0x and an even number of hexadecimal digits")
        };
        let digits = text.strip_prefix("0x").ok_or_else(shape)?;
        alloy_primitives::hex::decode(digits).map(Self::from).map_err(|_| shape())
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

/// Which block to read at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BlockId {
    /// The newest.
    #[default]
    Latest,
    /// The one being made, where the node shows it.
    Pending,
    /// The newest that is unlikely to be reorganised away.
    Safe,
    /// The newest that cannot be reorganised away.
    Finalized,
    /// The first.
    Earliest,
    /// By height.
    Number(u64),
    /// By hash.
    Hash(Hash),
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Pending => f.write_str("pending"),
            Self::Safe => f.write_str("safe"),
            Self::Finalized => f.write_str("finalized"),
            Self::Earliest => f.write_str("earliest"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Hash(hash) => write!(f, "{hash}"),
        }
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlockId {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Fault::invalid(format!("not a block: {}", shown(text)))
                .hint("latest, pending, safe, finalized, earliest, a number, or a hash of 64 digits after 0x")
        };
        Ok(match text {
            "latest" => Self::Latest,
            "pending" => Self::Pending,
            "safe" => Self::Safe,
            "finalized" => Self::Finalized,
            "earliest" => Self::Earliest,
            _ if text.len() == 66 => Self::Hash(text.parse().map_err(|_| unknown())?),
            _ => Self::Number(text.parse::<Amount>().ok().and_then(|n| u64::try_from(n.0).ok()).ok_or_else(unknown)?),
        })
    }
}

impl Serialize for BlockId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            other => serializer.collect_str(other),
        }
    }
}

impl JsonSchema for BlockId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BlockId".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a block: latest, pending, safe, finalized, earliest, its number, or its hash",
            "type": ["string", "integer"]
        })
    }
}

/// What foreign text is shown as in a message: never more than a line of it.
fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// Reads a word from JSON text, or, where `N` says so, from a JSON integer.
struct Text<T, const INTEGER: bool>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = Fault>, const INTEGER: bool> de::Visitor<'_> for Text<T, INTEGER> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if INTEGER { "text or a whole number" } else { "text" })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|fault: Fault| match fault.hint {
            Some(hint) => E::custom(format_args!("{} ({hint})", fault.message)),
            None => E::custom(fault.message),
        })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        if !INTEGER {
            return Err(E::invalid_type(de::Unexpected::Unsigned(number), &self));
        }
        self.visit_str(&number.to_string())
    }
}

macro_rules! read {
    ($($name:ident $integer:literal)*) => {
        $(impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Text::<Self, $integer>(std::marker::PhantomData);
                if $integer { deserializer.deserialize_any(text) } else { deserializer.deserialize_str(text) }
            }
        })*
    };
}

read!(Address false Amount true Hash false Data false BlockId true);

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    const RIGHT: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

    fn fault<T: de::DeserializeOwned>(value: serde_json::Value) -> String {
        from_value::<T>(value).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn an_address_is_read_in_one_case_or_with_its_checksum_and_shown_with_it() {
        for text in [RIGHT.to_owned(), RIGHT.to_lowercase(), format!("0x{}", RIGHT[2..].to_uppercase())] {
            assert_eq!(from_value::<Address>(json!(text)).unwrap().to_string(), RIGHT);
        }
        let wrong = fault::<Address>(json!(RIGHT.replacen('F', "f", 1)));
        assert!(wrong.contains("does not hold") && wrong.contains(RIGHT), "{wrong}");
        for bad in [
            "",
            "0x",
            "5FbDB2315678afecb367f032d93F642f64180aa3",
            "0xé",
            &format!("{RIGHT}0"),
            &RIGHT.replace('a', "g"),
        ] {
            assert!(fault::<Address>(json!(bad)).contains("not an address"), "{bad}");
        }
    }

    #[test]
    fn amounts_are_decimal_text_and_read_from_text_hex_or_integers() {
        let max = U256::MAX.to_string();
        for (value, want) in [
            (json!("0"), "0"),
            (json!(7), "7"),
            (json!("0xff"), "255"),
            (json!(max), max.as_str()),
            (json!("00012"), "12"),
            (json!(u64::MAX), "18446744073709551615"),
        ] {
            assert_eq!(serde_json::to_value(from_value::<Amount>(value).unwrap()).unwrap(), json!(want));
        }
        assert!(fault::<Amount>(json!(format!("{max}0"))).contains("does not fit"));
        for bad in [json!(""), json!("-1"), json!("1.5"), json!("1e18"), json!("1_000"), json!("0x"), json!(" 1")] {
            assert!(fault::<Amount>(bad.clone()).contains("not a whole number"), "{bad}");
        }
        assert!(!fault::<Amount>(json!(-1)).is_empty() && !fault::<Amount>(json!(1.5)).is_empty());
    }

    #[test]
    fn amounts_in_whole_units_are_exact() {
        for (amount, decimals, want) in [
            (0, 18, "0"),
            (1_500_000, 6, "1.5"),
            (1, 6, "0.000001"),
            (42, 0, "42"),
            (1_000_000, 6, "1"),
            (7, 255, &format!("0.{}7", "0".repeat(254))),
        ] {
            assert_eq!(Amount::from(amount).in_units(decimals), want);
        }
    }

    #[test]
    fn blocks_by_name_number_or_hash() {
        let hash = format!("0x{}", "ab".repeat(32));
        for (value, want) in [
            (json!("latest"), BlockId::Latest),
            (json!(12), BlockId::Number(12)),
            (json!("12"), BlockId::Number(12)),
            (json!("0xc"), BlockId::Number(12)),
            (json!(hash), BlockId::Hash(hash.parse().unwrap())),
        ] {
            assert_eq!(from_value::<BlockId>(value).unwrap(), want);
        }
        for bad in ["newest", "", "-1", "18446744073709551616"] {
            assert!(fault::<BlockId>(json!(bad)).contains("not a block"), "{bad}");
        }
    }

    #[test]
    fn bytes_have_whole_bytes_and_long_nonsense_is_not_echoed() {
        assert_eq!(from_value::<Data>(json!("0x00Ff")).unwrap().to_string(), "0x00ff");
        assert!(fault::<Data>(json!("0x0")).contains("not bytes"));
        assert!(fault::<Data>(json!("z".repeat(1_000))).len() < 300);
    }
}
