//! Tokens, named by address or by a symbol that somebody trusted gave them.
//!
//! A symbol means what the configuration or the sandbox's own list says it means: what a contract calls itself is shown, never believed,
//! since anybody may call a token USDC.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use kernel::chain::{Address, Amount, BlockId, Chain};
use kernel::{Code, Fault, Result};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most tokens remembered.
const REMEMBERED_MAX: usize = 10_000;
/// Tokens asked about at a time.
const AT_A_TIME: usize = 8;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coin {
    /// Its contract.
    pub address: Address,
    /// Its symbol, in its own words; absent when the contract does not say, or could not be asked.
    pub symbol: Option<String>,
    /// Decimal digits of a whole token; absent when the contract does not say, or could not be asked.
    pub decimals: Option<u8>,
}

/// An amount of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sum {
    /// In the token's smallest unit, exact.
    pub amount: Amount,
    /// The same in whole tokens; absent where the token's decimals are not known.
    pub units: Option<String>,
}

impl Coin {
    /// So many of its smallest units.
    pub(crate) fn sum(&self, amount: Amount) -> Sum {
        Sum { amount, units: self.decimals.map(|decimals| amount.in_units(decimals)) }
    }
}

/// Finds tokens, and remembers what they say of themselves.
pub(crate) struct Coins {
    chain: Arc<dyn Chain>,
    named: BTreeMap<String, Address>,
    remembered: Mutex<HashMap<Address, Coin>>,
}

impl Coins {
    /// With these symbols beside the sandbox's.
    pub(crate) fn new(chain: Arc<dyn Chain>, named: &BTreeMap<String, Address>) -> Self {
        let named = named.iter().map(|(symbol, address)| (symbol.to_lowercase(), *address)).collect();
        Self { chain, named, remembered: Mutex::default() }
    }

    /// The token of an address or a symbol.
    pub(crate) fn find(&self, word: &str) -> Result<Address> {
        let word = word.trim();
        if word.starts_with("0x") {
            return word.parse();
        }
        let symbol = word.to_lowercase();
        let deployed = self.chain.deployments();
        let sandbox = deployed.iter().find(|deployment| deployment.name == symbol).map(|deployment| deployment.address);
        match (self.named.get(&symbol).copied(), sandbox) {
            (Some(one), Some(other)) if one != other => {
                Err(Fault::invalid(format!("the symbol {word:?} means two tokens here: {one} and {other}"))
                    .hint("give the address"))
            }
            (Some(address), _) | (None, Some(address)) => Ok(address),
            (None, None) => {
                let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
                let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
                Err(Fault::not_found(format!("no token of the symbol {word:?} is known here")).hint(format!(
                    "give its address, a symbol of the configuration's `tokens`{known}, or one of the sandbox's"
                )))
            }
        }
    }

    /// What a token says of itself.
    pub(crate) async fn coin(&self, address: Address) -> Coin {
        if let Some(coin) = self.remembered.lock().get(&address) {
            return coin.clone();
        }
        let (coin, lasting) = match self.chain.token(address, BlockId::Latest).await {
            Ok(token) => (Coin { address, symbol: token.symbol, decimals: token.decimals }, true),
            Err(fault) => {
                tracing::debug!(%address, error = %fault, "a token does not say what it is");
                let lasting = matches!(fault.code, Code::NotFound | Code::InvalidArgument);
                (Coin { address, symbol: None, decimals: None }, lasting)
            }
        };
        if lasting {
            let mut remembered = self.remembered.lock();
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
            remembered.insert(address, coin.clone());
        }
        coin
    }

    /// The same for many.
    pub(crate) async fn coins(&self, addresses: impl IntoIterator<Item = Address>) -> HashMap<Address, Coin> {
        let mut addresses: Vec<Address> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        let asked = stream::iter(addresses).map(|address| async move { (address, self.coin(address).await) });
        asked.buffer_unordered(AT_A_TIME).collect().await
    }
}
