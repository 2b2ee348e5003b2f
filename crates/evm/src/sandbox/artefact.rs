//! The artefacts that the market is made of: their packages, where in them, and reading one.

use std::collections::BTreeMap;
use std::path::Path;

use alloy_primitives::hex;
use kernel::chain::Address;
use kernel::{Fault, Result};
use serde::Deserialize;

pub(super) const WETH: &str = "canonical-weth/build/contracts/WETH9.json";
pub(super) const TOKEN: &str = "@aave/core-v3/artifacts/contracts/mocks/tokens/MintableERC20.sol/MintableERC20.json";
pub(super) const V2_FACTORY: &str = "@uniswap/v2-core/build/UniswapV2Factory.json";
pub(super) const V2_PAIR: &str = "@uniswap/v2-core/build/UniswapV2Pair.json";
pub(super) const V2_ROUTER: &str = "@uniswap/v2-periphery/build/UniswapV2Router02.json";
pub(super) const V3_FACTORY: &str = "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json";
pub(super) const V3_POOL: &str = "@uniswap/v3-core/artifacts/contracts/UniswapV3Pool.sol/UniswapV3Pool.json";
pub(super) const V3_POSITIONS: &str =
    "@uniswap/v3-periphery/artifacts/contracts/NonfungiblePositionManager.sol/NonfungiblePositionManager.json";
pub(super) const V3_QUOTER: &str = "@uniswap/v3-periphery/artifacts/contracts/lens/QuoterV2.sol/QuoterV2.json";
pub(super) const V3_ROUTER: &str = "@uniswap/v3-periphery/artifacts/contracts/SwapRouter.sol/SwapRouter.json";
pub(super) const V3_TICK_LENS: &str = "@uniswap/v3-periphery/artifacts/contracts/lens/TickLens.sol/TickLens.json";
pub(super) const V4_MANAGER: &str = "@uniswap/v4-core/out/PoolManager.sol/PoolManager.json";
pub(super) const V4_LIQUIDITY: &str = "@uniswap/v4-core/out/PoolModifyLiquidityTest.sol/PoolModifyLiquidityTest.json";
pub(super) const SUSHI_FACTORY: &str = "@sushiswap/core/build/bytecode/UniswapV2Factory.json";
pub(super) const SUSHI_PAIR: &str = "@sushiswap/core/build/bytecode/UniswapV2Pair.json";
pub(super) const SUSHI_ROUTER: &str = "@sushiswap/core/build/bytecode/UniswapV2Router02.json";
pub(super) const BALANCER_AUTHORIZER: &str =
    "@balancer-labs/v2-deployments/dist/tasks/20210418-authorizer/artifact/Authorizer.json";
pub(super) const BALANCER_VAULT: &str = "@balancer-labs/v2-deployments/dist/tasks/20210418-vault/artifact/Vault.json";
pub(super) const FEED_PROXY: &str = "@chainlink/abi/v0.6/EACAggregatorProxy.json";
pub(super) const FEED_ANSWER: &str = "@chainlink/abi/v0.6/tests/MockV3Aggregator.json";
pub(super) const MULTICALL: &str = "viem/_cjs/constants/contracts.js";

/// Aave V3's contracts, by their paths within its package's artefacts.
macro_rules! aave {
    ($path:literal) => {
        concat!("@aave/core-v3/artifacts/contracts/", $path)
    };
}
pub(super) const AAVE_ADDRESSES: &str =
    aave!("protocol/configuration/PoolAddressesProvider.sol/PoolAddressesProvider.json");
pub(super) const AAVE_ROLES: &str = aave!("protocol/configuration/ACLManager.sol/ACLManager.json");
pub(super) const AAVE_POOL: &str = aave!("protocol/pool/Pool.sol/Pool.json");
pub(super) const AAVE_CONFIGURATOR: &str = aave!("protocol/pool/PoolConfigurator.sol/PoolConfigurator.json");
pub(super) const AAVE_ORACLE: &str = aave!("misc/AaveOracle.sol/AaveOracle.json");
pub(super) const AAVE_RATES: &str =
    aave!("protocol/pool/DefaultReserveInterestRateStrategy.sol/DefaultReserveInterestRateStrategy.json");
pub(super) const AAVE_TOKEN: &str = aave!("protocol/tokenization/AToken.sol/AToken.json");
pub(super) const AAVE_STABLE_DEBT: &str = aave!("protocol/tokenization/StableDebtToken.sol/StableDebtToken.json");
pub(super) const AAVE_DEBT: &str = aave!("protocol/tokenization/VariableDebtToken.sol/VariableDebtToken.json");

/// What is looked for before anything is started: one of each package, of that which is compiled here the last.
pub(super) const ALL: [&str; 10] =
    [WETH, TOKEN, V2_PAIR, V2_ROUTER, V3_POOL, V3_POSITIONS, V4_MANAGER, SUSHI_ROUTER, BALANCER_VAULT, MULTICALL];

/// Largest artefact read, in bytes.
const BYTES_MAX: u64 = 32 << 20;

/// Libraries to link, by file and name, and where in the code their addresses go.
type Links = BTreeMap<String, BTreeMap<String, Vec<Place>>>;

#[derive(Debug, Clone, Deserialize)]
struct Place {
    /// In bytes.
    start: usize,
}

/// Creation code, with blanks where libraries' addresses go.
#[derive(Debug, Clone)]
pub(super) struct Code {
    hex: String,
    links: Links,
}

/// The shapes that compilers and their wrappers write.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artefact {
    bytecode: Option<Bytecode>,
    evm: Option<Evm>,
    #[serde(default)]
    link_references: Links,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bytecode {
    Hex(String),
    Object { object: String },
}

#[derive(Deserialize)]
struct Evm {
    bytecode: Bytecode,
}

impl Code {
    /// Reads an artefact.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let wrong = |why: String| {
            Fault::unavailable(format!("artefact {} cannot be used: {why}", path.display()))
                .hint("run `cargo xtask up` to fetch it again")
        };
        let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if size > BYTES_MAX {
            return Err(wrong(format!("it has {size} bytes")));
        }
        let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        if path.extension().is_some_and(|extension| extension == "js") {
            return Self::in_script(&text).ok_or_else(|| wrong("it names no bytecode".into()));
        }
        let artefact: Artefact = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let (Bytecode::Hex(hex) | Bytecode::Object { object: hex }) = artefact
            .bytecode
            .or(artefact.evm.map(|evm| evm.bytecode))
            .ok_or_else(|| wrong("it has no bytecode".into()))?;
        let hex = hex.strip_prefix("0x").unwrap_or(&hex).to_owned();
        if hex.is_empty() {
            return Err(wrong("its bytecode is empty".into()));
        }
        Ok(Self { hex, links: artefact.link_references })
    }

    /// Multicall3's creation code in the script that its package keeps it in.
    fn in_script(text: &[u8]) -> Option<Self> {
        let (_, code) = std::str::from_utf8(text).ok()?.split_once("multicall3Bytecode = '0x")?;
        Some(Self { hex: code.split_once('\'')?.0.to_owned(), links: Links::new() })
    }

    /// The libraries it links to: their files and names.
    pub(super) fn libraries(&self) -> Vec<(String, String)> {
        let of_file = |(file, libraries): (&String, &BTreeMap<_, _>)| {
            libraries.keys().map(|name: &String| (file.clone(), name.clone())).collect::<Vec<_>>()
        };
        self.links.iter().flat_map(of_file).collect()
    }

    /// The code with the libraries at these addresses.
    pub(super) fn linked(mut self, at: impl Fn(&str) -> Result<Address>) -> Result<Vec<u8>> {
        let unreadable = || Fault::unavailable("a contract's bytecode cannot be read");
        for (library, places) in self.links.values().flatten() {
            let address = hex::encode(at(library)?.0);
            for place in places {
                let blank = place.start * 2..place.start * 2 + address.len();
                if self.hex.get(blank.clone()).is_none() {
                    return Err(unreadable());
                }
                self.hex.replace_range(blank, &address);
            }
        }
        hex::decode(&self.hex).map_err(|_| unreadable())
    }
}
