//! The flash lenders known on each chain, by the addresses that their protocols publish. Each was compared, in November 2026, with:
//!
//! - Aave V3 pools and all tokens: `@bgd-labs/aave-address-book` 4.44.22 (`POOL` and the tokens' `UNDERLYING` of `AaveV3Ethereum` and so on).
//! - Uniswap V2 and V3 factories, V4 pool managers: `@uniswap/sdk-core` 7.19.4 (`V2_FACTORY_ADDRESSES`, `CHAIN_TO_ADDRESSES_MAP`).
//! - SushiSwap factories: `@sushiswap/core-sdk` 0.1.2 (`FACTORY_ADDRESS`).
//! - Balancer V2's vault: `@balancer-labs/v2-deployments` 3.2.0 (task `20210418-vault`); on Base `addresses/base.json` of
//!   balancer/balancer-deployments.

use kernel::chain::Address;

use crate::config::LendersConfig;

/// A lender's kind and where it stands.
#[derive(Debug, Clone)]
pub(crate) enum Lender {
    AaveV3 {
        pool: Address,
    },
    BalancerV2 {
        vault: Address,
    },
    UniswapV3 {
        factory: Address,
    },
    UniswapV4 {
        manager: Address,
    },
    /// Constant-product pairs with Uniswap V2's interface.
    Pairs {
        name: String,
        factory: Address,
        per_mille: u64,
    },
}

impl Lender {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::AaveV3 { .. } => "aave-v3",
            Self::BalancerV2 { .. } => "balancer-v2",
            Self::UniswapV3 { .. } => "uniswap-v3",
            Self::UniswapV4 { .. } => "uniswap-v4",
            Self::Pairs { name, .. } => name,
        }
    }
}

/// A chain's lenders, and the tokens that others are most often paired with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lenders {
    pub(crate) lenders: Vec<Lender>,
    pub(crate) counters: Vec<Address>,
}

/// One row of the table: addresses as text, an empty one where the protocol is not there.
struct Row {
    chain_id: u64,
    name: &'static str,
    aave_v3: &'static str,
    balancer_v2: &'static str,
    uniswap_v3: &'static str,
    uniswap_v4: &'static str,
    uniswap_v2: &'static str,
    sushiswap_v2: &'static str,
    counters: &'static [&'static str],
}

/// The vault has the same address on every chain it was deployed to.
const BALANCER: &str = "0xBA12222222228d8Ba445958a75a0704d566BF2C8";
/// So has the factory, on the chains of its first deployment.
const V3_FACTORY: &str = "0x1F98431c8aD98523631AE4a59f267346ea31F984";
/// And Aave's pool, on the chains of its first.
const AAVE: &str = "0x794a61358D6845594F94dc1DB02A252b5b4814aD";

const ROWS: [Row; 5] = [
    Row {
        chain_id: 1,
        name: "Ethereum",
        aave_v3: "0x87870Bca3F3fD6335C3F4ce8392D69350B4fA4E2",
        balancer_v2: BALANCER,
        uniswap_v3: V3_FACTORY,
        uniswap_v4: "0x000000000004444c5dc75cB358380D2e3dE08A90",
        uniswap_v2: "0x5C69bEe701ef814a2B6a3EDD4B1652CB9cc5aA6f",
        sushiswap_v2: "0xC0AEe478e3658e2610c5F7A4A2E1777cE9e4f2Ac",
        counters: &[
            "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2",
            "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
            "0xdAC17F958D2ee523a2206206994597C13D831ec7",
            "0x6B175474E89094C44Da98b954EedeAC495271d0F",
            "0x2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599",
        ],
    },
    Row {
        chain_id: 10,
        name: "Optimism",
        aave_v3: AAVE,
        balancer_v2: BALANCER,
        uniswap_v3: V3_FACTORY,
        uniswap_v4: "0x9a13F98Cb987694C9F086b1F5eB990EeA8264Ec3",
        uniswap_v2: "0x0c3c1c532F1e39EdF36BE9Fe0bE1410313E074Bf",
        sushiswap_v2: "",
        counters: &["0x4200000000000000000000000000000000000006", "0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85"],
    },
    Row {
        chain_id: 137,
        name: "Polygon",
        aave_v3: AAVE,
        balancer_v2: BALANCER,
        uniswap_v3: V3_FACTORY,
        uniswap_v4: "0x67366782805870060151383F4BbFF9daB53e5cD6",
        uniswap_v2: "0x9e5A52f57b3038F1B8EeE45F28b3C1967e22799C",
        sushiswap_v2: "0xc35DADB65012eC5796536bD9864eD8773aBc74C4",
        counters: &["0x0d500B1d8E8eF31E21C99d1Db9A6444d3ADf1270", "0x7ceB23fD6bC0adD59E62ac25578270cFf1b9f619"],
    },
    Row {
        chain_id: 8_453,
        name: "Base",
        aave_v3: "0xA238Dd80C259a72e81d7e4664a9801593F98d1c5",
        balancer_v2: BALANCER,
        uniswap_v3: "0x33128a8fC17869897dcE68Ed026d694621f6FDfD",
        uniswap_v4: "0x498581fF718922c3f8e6A244956aF099B2652b2b",
        uniswap_v2: "0x8909Dc15e40173Ff4699343b6eB8132c65e18eC6",
        sushiswap_v2: "",
        counters: &["0x4200000000000000000000000000000000000006", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"],
    },
    Row {
        chain_id: 42_161,
        name: "Arbitrum One",
        aave_v3: AAVE,
        balancer_v2: BALANCER,
        uniswap_v3: V3_FACTORY,
        uniswap_v4: "0x360E68faCcca8cA495c1B759Fd9EEe466db9FB32",
        uniswap_v2: "0xf1D7CC64Fb4452F05c498126312eBE29f30Fbcf9",
        sushiswap_v2: "0xc35DADB65012eC5796536bD9864eD8773aBc74C4",
        counters: &["0x82aF49447D8a07e3bd95BD0d56f35241523fBab1", "0xaf88d065e77c8cC2239327C5EDb3A432268e5831"],
    },
];

/// The chains with known lenders, for people.
pub(crate) fn chains() -> Vec<String> {
    ROWS.iter().map(|row| format!("{} ({})", row.name, row.chain_id)).collect()
}

impl Lenders {
    /// Those on chain `chain_id`; `None` when none is known there.
    pub(crate) fn on(chain_id: u64) -> Option<Self> {
        let row = ROWS.iter().find(|row| row.chain_id == chain_id)?;
        // The table is ours and tested to parse: what does not is an empty cell.
        let at = |text: &str| text.parse::<Address>().ok();
        let lenders = [
            at(row.balancer_v2).map(|vault| Lender::BalancerV2 { vault }),
            at(row.aave_v3).map(|pool| Lender::AaveV3 { pool }),
            at(row.uniswap_v4).map(|manager| Lender::UniswapV4 { manager }),
            at(row.uniswap_v3).map(|factory| Lender::UniswapV3 { factory }),
            at(row.uniswap_v2).map(|factory| Lender::Pairs { name: "uniswap-v2".into(), factory, per_mille: 3 }),
            at(row.sushiswap_v2).map(|factory| Lender::Pairs { name: "sushiswap-v2".into(), factory, per_mille: 3 }),
        ];
        Some(Self {
            lenders: lenders.into_iter().flatten().collect(),
            counters: row.counters.iter().filter_map(|text| at(text)).collect(),
        })
    }
}

impl Lenders {
    /// These and those of the configuration.
    pub(crate) fn and(mut self, config: &LendersConfig) -> Self {
        self.lenders.extend(config.balancer_v2_vault.map(|vault| Lender::BalancerV2 { vault }));
        self.lenders.extend(config.aave_v3_pool.map(|pool| Lender::AaveV3 { pool }));
        self.lenders.extend(config.uniswap_v4_manager.map(|manager| Lender::UniswapV4 { manager }));
        self.lenders.extend(config.uniswap_v3_factory.map(|factory| Lender::UniswapV3 { factory }));
        self.lenders.extend(config.pairs.iter().map(|pairs| Lender::Pairs {
            name: pairs.name.clone(),
            factory: pairs.factory,
            per_mille: pairs.fee_per_mille,
        }));
        self.counters.extend(config.paired_with.iter().copied());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_written_with_its_checksum() {
        for row in ROWS {
            let cells =
                [row.aave_v3, row.balancer_v2, row.uniswap_v3, row.uniswap_v4, row.uniswap_v2, row.sushiswap_v2];
            for text in cells.iter().filter(|text| !text.is_empty()).chain(row.counters) {
                assert_eq!(
                    text.parse::<Address>().map(|address| address.to_string()),
                    Ok((*text).to_owned()),
                    "{}",
                    row.name
                );
            }
        }
    }
}
