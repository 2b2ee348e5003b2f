//! The double-entry ledger: what moved between which accounts, in smallest units, exact, and what that was worth when it moved.
//!
//! Postings are made of transfers, each from one account to another, so that in every unit, and in the reference currency, they sum to
//! nothing by construction; so does, then, every sum of them. A debit is positive, a credit negative: what the wallet holds is positive, what
//! was gained in the market is negative on the account of gains. Invariants:
//! - What a reorganisation took back is not deleted: a reversal is a new entry with every sign turned, naming what it reverses.
//! - An amount is held below [`AMOUNT_MAX`], so that no sum over as many entries as could ever be made leaves its range.
//! - Nothing here knows where entries are kept: the [gate](crate::gate) writes each in the commit that books its trade.

use std::borrow::Cow;
use std::collections::BTreeMap;

use alloy_primitives::U256;
use kernel::chain::{Address, Hash};
use kernel::{Fault, Result, UnixMs};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Signed;
use crate::gate::{Outcome, Trade};
use crate::risk::Money;

/// More than any amount of one transfer: 2^200. A token whose supply is larger is not one to trade.
pub const AMOUNT_MAX: U256 = U256::from_limbs([0, 0, 0, 1 << 8]);

/// What an amount is counted in: a token's smallest units, or wei of the chain's native coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Wei.
    Native,
    /// Smallest units of a token.
    Token(Address),
}

/// Where amounts are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// With us.
    Wallet,
    /// Gained in the market before costs, by a strategy: a credit, so a gain is negative.
    Gains(String),
    /// Paid to lenders.
    Fees,
    /// Paid for gas.
    Gas,
    /// Paid to builders of blocks.
    Tips,
}

/// Text of an account or a unit, in JSON and in keys.
macro_rules! as_text {
    ($type:ident, $about:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $about })
            }
        }
    };
}

as_text!(Unit, "`native` for wei of the chain's own coin, or a token's address for its smallest units");
as_text!(Account, "`wallet`, `gains:STRATEGY`, `fees`, `gas` or `tips`");

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Token(address) => write!(f, "{address}"),
        }
    }
}

impl std::str::FromStr for Unit {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        if text == "native" { Ok(Self::Native) } else { text.parse().map(Self::Token) }
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wallet => f.write_str("wallet"),
            Self::Gains(strategy) => write!(f, "gains:{strategy}"),
            Self::Fees => f.write_str("fees"),
            Self::Gas => f.write_str("gas"),
            Self::Tips => f.write_str("tips"),
        }
    }
}

impl std::str::FromStr for Account {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.strip_prefix("gains:")) {
            ("wallet", _) => Ok(Self::Wallet),
            ("fees", _) => Ok(Self::Fees),
            ("gas", _) => Ok(Self::Gas),
            ("tips", _) => Ok(Self::Tips),
            (_, Some(strategy)) => Ok(Self::Gains(strategy.into())),
            _ => Err(Fault::invalid(format!("no account `{text}`")).hint("wallet, gains:STRATEGY, fees, gas or tips")),
        }
    }
}

/// One account's part of what moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Posting {
    /// The account.
    pub account: Account,
    /// What the amount is counted in.
    pub unit: Unit,
    /// The amount: a debit is positive, a credit negative.
    pub amount: Signed,
    /// What it was worth in the reference currency when it moved.
    pub value: Money,
}

/// An amount and what it was worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// In smallest units.
    pub amount: Signed,
    /// In the reference currency.
    pub value: Money,
}

impl Sum {
    fn plus(self, other: Self) -> Self {
        Self { amount: self.amount.plus(other.amount), value: self.value.plus(other.value) }
    }

    fn negated(self) -> Self {
        Self { amount: self.amount.negated(), value: Money::ZERO.minus(self.value) }
    }
}

/// What moved, or what has moved in all, account by account: of every unit it sums to nothing, and so does what it was worth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Posting>", into = "Vec<Posting>")]
pub struct Postings(BTreeMap<(Account, Unit), Sum>);

impl From<Vec<Posting>> for Postings {
    fn from(list: Vec<Posting>) -> Self {
        let mut postings = Self::default();
        for Posting { account, unit, amount, value } in list {
            postings.shift(account, unit, Sum { amount, value });
        }
        postings
    }
}

impl From<Postings> for Vec<Posting> {
    fn from(postings: Postings) -> Self {
        let posting = |((account, unit), Sum { amount, value })| Posting { account, unit, amount, value };
        postings.0.into_iter().map(posting).collect()
    }
}

impl JsonSchema for Postings {
    fn schema_name() -> Cow<'static, str> {
        "Postings".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<Posting>::json_schema(generator)
    }
}

impl Postings {
    /// Moves an amount, and what it is worth, from one account to another; a negative one moves the other way.
    ///
    /// # Errors
    /// [`Code::TooLarge`](kernel::Code::TooLarge) from [`AMOUNT_MAX`] on.
    pub fn transfer(&mut self, unit: Unit, from: Account, to: Account, amount: Signed, value: Money) -> Result<()> {
        if amount.size() >= AMOUNT_MAX {
            return Err(
                Fault::too_large(format!("an amount of {amount} {unit}")).hint("the ledger holds less than 2^200")
            );
        }
        let sum = Sum { amount, value };
        self.shift(from, unit, sum.negated());
        self.shift(to, unit, sum);
        Ok(())
    }

    /// What a trade moved: its gain from the market to the lender and the wallet, gas and tip from the wallet. Nothing for one that was never
    /// tried.
    ///
    /// # Errors
    /// As [`Postings::transfer`].
    pub fn of_trade(trade: &Trade) -> Result<Self> {
        let mut postings = Self::default();
        let (Outcome::Filled(fill) | Outcome::Failed(fill)) = &trade.outcome else { return Ok(postings) };
        let (asset, gains) = (Unit::Token(fill.asset), || Account::Gains(trade.strategy.clone()));
        postings.transfer(asset, gains(), Account::Wallet, fill.units, fill.gross.minus(fill.fee))?;
        postings.transfer(asset, gains(), Account::Fees, Signed::gain(fill.fee_units.0), fill.fee)?;
        postings.transfer(Unit::Native, Account::Wallet, Account::Gas, Signed::gain(fill.gas_wei.0), fill.gas)?;
        postings.transfer(Unit::Native, Account::Wallet, Account::Tips, Signed::gain(fill.tip_wei.0), fill.tip)?;
        Ok(postings)
    }

    /// Adds what others moved.
    pub fn add(&mut self, other: &Self) {
        for ((account, unit), sum) in &other.0 {
            self.shift(account.clone(), *unit, *sum);
        }
    }

    /// The same with every sign turned.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self(self.0.iter().map(|(key, sum)| (key.clone(), sum.negated())).collect())
    }

    /// Whether nothing moves.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The units that move, each with its own part of this.
    pub fn by_unit(&self) -> BTreeMap<Unit, Self> {
        let mut parts: BTreeMap<Unit, Self> = BTreeMap::new();
        for ((account, unit), sum) in &self.0 {
            parts.entry(*unit).or_default().shift(account.clone(), *unit, *sum);
        }
        parts
    }

    /// What an account holds of a unit.
    pub fn of(&self, account: &Account, unit: Unit) -> Sum {
        self.0.get(&(account.clone(), unit)).copied().unwrap_or_default()
    }

    /// What accounts' holdings were worth together.
    pub fn value(&self, accounts: impl Fn(&Account) -> bool) -> Money {
        self.0
            .iter()
            .filter(|((account, _), _)| accounts(account))
            .fold(Money::ZERO, |all, (_, sum)| all.plus(sum.value))
    }

    /// Account by account.
    pub fn list(&self) -> Vec<Posting> {
        self.clone().into()
    }

    /// The trial balance: the sums over all accounts, by unit, that are not nothing. There is none, or the ledger is damaged.
    pub fn unbalanced(&self) -> BTreeMap<Unit, Sum> {
        let sums =
            self.by_unit().into_iter().map(|(unit, part)| (unit, part.0.into_values().fold(Sum::default(), Sum::plus)));
        sums.filter(|(_, sum)| *sum != Sum::default()).collect()
    }

    fn shift(&mut self, account: Account, unit: Unit, by: Sum) {
        let key = (account, unit);
        let sum = self.0.get(&key).copied().unwrap_or_default().plus(by);
        if sum == Sum::default() {
            self.0.remove(&key);
        } else {
            self.0.insert(key, sum);
        }
    }
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its place in its mode's journal: 1, 2, 3, …
    pub number: u64,
    /// When it was written, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// The trade's id.
    pub trade: String,
    /// The strategy.
    pub strategy: String,
    /// What was traded.
    pub pair: String,
    /// The transaction; absent in paper mode.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transaction: Option<Hash>,
    /// The block that it is in, or was simulated on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub block: Option<u64>,
    /// The number of the entry that this one reverses, because a reorganisation took it back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reverses: Option<u64>,
    /// What moved.
    pub postings: Postings,
}

#[cfg(test)]
mod tests;
