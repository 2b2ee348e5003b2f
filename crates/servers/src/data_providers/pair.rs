//! What prices are of: `ETH/USD`, or a token by its address, `0x…/USD`.

use std::fmt;
use std::str::FromStr;

use kernel::Fault;
use kernel::prices::Asset;

/// Longest symbol, in bytes.
const SYMBOL_BYTES_MAX: usize = 16;
/// Coins that stand for the dollar where there is no dollar: on a chain, and on exchanges without one. Whoever uses one says so.
pub(super) const DOLLARS: [&str; 3] = ["USDC", "USDT", "DAI"];

/// What is priced, and in what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pair {
    pub(super) base: Asset,
    /// A symbol.
    pub(super) quote: String,
}

/// A symbol in capitals; the wrapped coin is the coin, one for one by its contract.
///
/// # Errors
/// When it is none.
pub(super) fn symbol(text: &str) -> Result<String, Fault> {
    let text = text.trim().to_uppercase();
    if text.is_empty() || text.len() > SYMBOL_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let shown: String = text.chars().take(40).collect();
        return Err(Fault::invalid(format!("not a symbol: {shown:?}")).hint("letters and digits, like ETH or USD"));
    }
    Ok(if text == "WETH" { "ETH".into() } else { text })
}

impl Pair {
    /// # Errors
    /// When a symbol is none, or both are the same.
    pub(super) fn new(base: &str, quote: &str) -> Result<Self, Fault> {
        let base = base.trim();
        let base = if base.starts_with("0x") { Asset::Token(base.parse()?) } else { Asset::Symbol(symbol(base)?) };
        Self::of(base, quote)
    }

    /// The same for an asset that is read already.
    pub(super) fn of(base: Asset, quote: &str) -> Result<Self, Fault> {
        let base = match base {
            Asset::Symbol(text) => Asset::Symbol(symbol(&text)?),
            token => token,
        };
        let quote = symbol(quote)?;
        if base == Asset::Symbol(quote.clone()) {
            return Err(
                Fault::invalid(format!("{quote} in {quote} is always 1")).hint("two different symbols, like ETH/USD")
            );
        }
        Ok(Self { base, quote })
    }
}

impl FromStr for Pair {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let shown: String = text.chars().take(80).collect();
        let bad = || {
            Fault::invalid(format!("not a pair: {shown:?}"))
                .hint("like ETH/USD, or a token's address and a currency: 0x…/USD")
        };
        let (base, quote) = text.split_once('/').ok_or_else(bad)?;
        Self::new(base, quote)
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            Asset::Symbol(symbol) => write!(f, "{symbol}/{}", self.quote),
            Asset::Token(address) => write!(f, "{address}/{}", self.quote),
        }
    }
}

/// A pair by symbols, as feeds and exchanges know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Symbols {
    pub(super) base: String,
    pub(super) quote: String,
}

impl fmt::Display for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.quote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_people_write_them() {
        for (text, want) in [
            ("ETH/USD", "ETH/USD"),
            (" weth/usd ", "ETH/USD"),
            ("eur/USD", "EUR/USD"),
            ("0x5fbdb2315678afecb367f032d93f642f64180aa3/usd", "0x5FbDB2315678afecb367f032d93F642f64180aa3/USD"),
        ] {
            assert_eq!(text.parse::<Pair>().unwrap().to_string(), want);
        }
        for bad in ["", "ETH", "ETH/", "/USD", "ETH/U SD", "ETH/USD/EUR", "WETH/ETH", "0x12/USD", "É/USD"] {
            assert!(bad.parse::<Pair>().is_err(), "{bad}");
        }
    }
}
