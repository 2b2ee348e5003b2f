//! The exchanges of a chain: their factories, routers and quoters.
//!
//! Addresses are those that the protocols publish; on the sandbox those of its deployments; the configuration adds to them.

use std::sync::Arc;

use kernel::chain::{Address, Chain};
use kernel::{Fault, Result};
use market::pool::Protocol;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

/// How an exchange's pools price and its router is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Constant-product pairs, a factory that tells `PairCreated`, and the router of Uniswap V2.
    UniswapV2,
    /// Concentrated liquidity, a factory that tells `PoolCreated`, and the first swap router of Uniswap V3.
    UniswapV3,
}

/// An exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Its name, the same that its pools bear: `uniswap-v2`, `sushiswap-v2`, `uniswap-v3`, `other-v2`, `other-v3`.
    pub name: String,
    /// How it is spoken to.
    pub interface: Interface,
    /// Makes its pools.
    pub factory: Address,
    /// Swaps through them; absent where none is known.
    #[serde(default)]
    pub router: Option<Address>,
    /// Quotes them on the chain; absent where none is known. A router of Uniswap V2 quotes by itself.
    #[serde(default)]
    pub quoter: Option<Address>,
}

/// One row of the table: addresses as text, an empty one where there is none.
struct Row {
    chain_id: u64,
    protocol: Protocol,
    factory: &'static str,
    router: &'static str,
    quoter: &'static str,
}

const fn v3(chain_id: u64) -> Row {
    // The same on the chains of the first deployment.
    Row {
        chain_id,
        protocol: Protocol::UniswapV3,
        factory: "0x1F98431c8aD98523631AE4a59f267346ea31F984",
        router: "0xE592427A0AEce92De3Edee1F18E0157C05861564",
        quoter: "0x61fFE014bA17989E743c5F6cB21bF9697530B21e",
    }
}

const fn sushi(chain_id: u64) -> Row {
    Row {
        chain_id,
        protocol: Protocol::SushiswapV2,
        factory: "0xc35DADB65012eC5796536bD9864eD8773aBc74C4",
        router: "0x1b02dA8Cb0d097eB8D57A175b88c7D8b47997506",
        quoter: "",
    }
}

const ROWS: [Row; 8] = [
    Row {
        chain_id: 1,
        protocol: Protocol::UniswapV2,
        factory: "0x5C69bEe701ef814a2B6a3EDD4B1652CB9cc5aA6f",
        router: "0x7a250d5630B4cF539739dF2C5dAcb4c659F2488D",
        quoter: "",
    },
    Row {
        chain_id: 1,
        protocol: Protocol::SushiswapV2,
        factory: "0xC0AEe478e3658e2610c5F7A4A2E1777cE9e4f2Ac",
        router: "0xd9e1cE17f2641f24aE83637ab66a2cca9C378B9F",
        quoter: "",
    },
    v3(1),
    v3(10),
    v3(137),
    sushi(137),
    v3(42_161),
    sushi(42_161),
];

/// The protocols that the sandbox may have, in the order they are listed.
const PROTOCOLS: [Protocol; 3] = [Protocol::UniswapV2, Protocol::SushiswapV2, Protocol::UniswapV3];

fn interface(protocol: Protocol) -> Interface {
    match protocol {
        Protocol::UniswapV2 | Protocol::SushiswapV2 | Protocol::OtherV2 => Interface::UniswapV2,
        Protocol::UniswapV3 | Protocol::OtherV3 => Interface::UniswapV3,
    }
}

/// Which exchanges there are.
pub(crate) struct Exchanges {
    chain: Arc<dyn Chain>,
    configured: Vec<Exchange>,
    chain_id: OnceCell<u64>,
}

impl Exchanges {
    /// Those known, and these, which come before a known one of the same name.
    pub(crate) fn new(chain: Arc<dyn Chain>, configured: Vec<Exchange>) -> Self {
        Self { chain, configured, chain_id: OnceCell::new() }
    }

    /// All of them.
    pub(crate) async fn all(&self) -> Result<Vec<Exchange>> {
        let chain_id = self.chain_id.get_or_try_init(|| async { Ok::<_, Fault>(self.chain.status().await?.chain_id) });
        let known = known(*chain_id.await?);
        let mut all = self.configured.clone();
        for exchange in self.deployed().into_iter().chain(known) {
            if all.iter().all(|other| other.name != exchange.name) {
                all.push(exchange);
            }
        }
        Ok(all)
    }

    /// The exchange of this name.
    pub(crate) async fn named(&self, name: &str) -> Result<Exchange> {
        let all = self.all().await?;
        let names: Vec<String> = all.iter().map(|exchange| exchange.name.clone()).collect();
        all.into_iter().find(|exchange| exchange.name == name).ok_or_else(|| {
            let known = if names.is_empty() { "none is known on this chain".into() } else { names.join(", ") };
            Fault::not_found(format!("no exchange `{name}`")).hint(known)
        })
    }

    fn deployed(&self) -> Vec<Exchange> {
        let deployments = self.chain.deployments();
        let at = |name: String| deployments.iter().find(|one| one.name == name).map(|one| one.address);
        let exchange = |protocol: Protocol| {
            let name = protocol.as_str();
            let factory = at(format!("{name}-factory"))?;
            let (router, quoter) = (at(format!("{name}-router")), at(format!("{name}-quoter")));
            Some(Exchange { name: name.into(), interface: interface(protocol), factory, router, quoter })
        };
        PROTOCOLS.into_iter().filter_map(exchange).collect()
    }
}

fn known(chain_id: u64) -> Vec<Exchange> {
    // The table is ours and tested to parse: what does not is an empty cell.
    let at = |text: &str| text.parse::<Address>().ok();
    let exchange = |row: &Row| {
        Some(Exchange {
            name: row.protocol.as_str().into(),
            interface: interface(row.protocol),
            factory: at(row.factory)?,
            router: at(row.router),
            quoter: at(row.quoter),
        })
    };
    ROWS.iter().filter(|row| row.chain_id == chain_id).filter_map(exchange).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_written_with_its_checksum() {
        for row in &ROWS {
            for text in [row.factory, row.router, row.quoter].into_iter().filter(|text| !text.is_empty()) {
                assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
            }
        }
        assert_eq!(known(1).len(), 3);
        assert!(known(31_337).is_empty());
    }
}
