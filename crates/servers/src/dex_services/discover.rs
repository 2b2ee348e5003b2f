//! Exchanges, and the pools that their factories made.

use std::collections::HashMap;

use kernel::chain::{Address, BlockId, Hash, Log, LogFilter};
use market::feed::At;
use market::pool::Pool;
use mcp::prelude::*;
use serde_json::Value;

use super::DexServices;
use crate::trading::coins::Coin;
use crate::trading::exchanges::{Exchange, Interface};

/// How a factory of pairs tells of a new one.
const PAIR_CREATED: &str =
    "event PairCreated(address indexed token0,address indexed token1,address pair,uint256 number)";
/// How a factory of concentrated-liquidity pools does.
const POOL_CREATED: &str = "event PoolCreated(address indexed token0,address indexed token1,uint24 indexed fee,int24 tickSpacing,address pool)";
/// The fee of Uniswap V2's pairs and of its known forks, in millionths.
const PAIR_FEE: u32 = 3_000;
/// Blocks looked at when the request names no first one.
const BLOCKS: u64 = 1_000;
/// Pools shown when the request does not say how many.
const SHOWN: usize = 100;
/// Most pools shown.
const SHOWN_MAX: usize = 500;

/// Takes nothing.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// An exchange.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DexRow {
    /// What it is and where.
    #[serde(flatten)]
    pub exchange: Exchange,
    /// How many of its pools are followed.
    pub pools_followed: usize,
}

/// What [`LIST_DEXES`](super::LIST_DEXES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DexesAnswer {
    /// The block up to which the pools are known.
    #[serde(flatten)]
    pub at: At,
    /// The exchanges.
    pub dexes: Vec<DexRow>,
    /// How many pools are followed that belong to none of them.
    pub other_pools_followed: usize,
}

/// What [`DISCOVER_POOLS`](super::DISCOVER_POOLS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscoverPools {
    /// Only this exchange's, by its name in list_dexes; all exchanges' when absent.
    #[serde(default)]
    pub dex: Option<String>,
    /// The first block; 999 before the last when absent.
    #[serde(default)]
    pub from_block: Option<BlockId>,
    /// The last block, itself included; the newest when absent.
    #[serde(default)]
    pub to_block: BlockId,
    /// How many pools to show, at most 500; 100 when absent.
    #[serde(default = "shown")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: usize,
}

fn shown() -> usize {
    SHOWN
}

/// A pool that a factory made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// Where it is.
    pub pool: Address,
    /// The exchange.
    pub dex: String,
    /// What it trades, in the contract's order.
    pub tokens: [Coin; 2],
    /// The fee on what goes in, in millionths: 3000 is 0.3 %. What the exchange's pairs take, where the event does not say.
    pub fee_millionths: u32,
    /// The least distance between ticks; absent for constant products.
    pub tick_spacing: Option<i32>,
    /// The block it was made in.
    pub block_number: Option<u64>,
    /// The transaction that made it.
    pub transaction_hash: Option<Hash>,
    /// Whether it is followed here.
    pub followed: bool,
}

/// What [`DISCOVER_POOLS`](super::DISCOVER_POOLS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiscoverAnswer {
    /// The first block looked at.
    pub from_block: u64,
    /// The last block looked at.
    pub to_block: u64,
    /// How many pools were made in these blocks.
    pub total: usize,
    /// How many of them are left out here.
    pub omitted: usize,
    /// The pools, oldest first.
    pub pools: Vec<Found>,
}

/// What a factory's log says.
struct Made {
    log: Log,
    dex: String,
    pool: Address,
    tokens: [Address; 2],
    fee_millionths: u32,
    tick_spacing: Option<i32>,
}

impl DexServices {
    pub(super) async fn list_dexes(&self, _: Nothing) -> Result<DexesAnswer, Fault> {
        let exchanges = self.exchanges.all().await?;
        let (at, mut counts) = self.pools.read(|at, book| {
            let mut counts: HashMap<&'static str, usize> = HashMap::new();
            for (_, pool) in book.iter() {
                *counts.entry(pool.identity().protocol.as_str()).or_default() += 1;
            }
            (at, counts)
        })?;
        let row = |exchange: Exchange| {
            let pools_followed = counts.remove(exchange.name.as_str()).unwrap_or(0);
            DexRow { exchange, pools_followed }
        };
        let dexes = exchanges.into_iter().map(row).collect();
        Ok(DexesAnswer { at, dexes, other_pools_followed: counts.values().sum() })
    }

    pub(super) async fn discover_pools(&self, request: DiscoverPools) -> Result<DiscoverAnswer, Fault> {
        if !(1..=SHOWN_MAX).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint(format!("1 to {SHOWN_MAX}")));
        }
        let exchanges = match &request.dex {
            Some(name) => vec![self.exchanges.named(name).await?],
            None => self.exchanges.all().await?,
        };
        if exchanges.is_empty() {
            return Err(Fault::not_configured("no exchange is known on this chain")
                .hint("set [[servers.dex-services.exchanges]]"));
        }
        let to_block = self.chain.block(request.to_block).await?.head.number;
        let from_block = match request.from_block {
            Some(from) => self.chain.block(from).await?.head.number,
            None => to_block.saturating_sub(BLOCKS - 1),
        };
        let made = self.made(&exchanges, from_block, to_block).await?;
        let total = made.len();
        let made: Vec<Made> = made.into_iter().take(request.limit).collect();
        let coins = self.coins.coins(made.iter().flat_map(|made| made.tokens)).await;
        let coin = |address| coins.get(&address).cloned().unwrap_or(Coin { address, symbol: None, decimals: None });
        let status = self.pools.status();
        let followed: Vec<bool> = match status.at {
            Some(_) => self.pools.read(|_, book| made.iter().map(|made| book.find(made.pool).is_some()).collect())?,
            None => vec![false; made.len()],
        };
        let found = |(made, followed): (Made, bool)| Found {
            pool: made.pool,
            dex: made.dex,
            tokens: made.tokens.map(coin),
            fee_millionths: made.fee_millionths,
            tick_spacing: made.tick_spacing,
            block_number: made.log.block_number,
            transaction_hash: made.log.transaction_hash,
            followed,
        };
        let pools: Vec<Found> = made.into_iter().zip(followed).map(found).collect();
        Ok(DiscoverAnswer { from_block, to_block, total, omitted: total - pools.len(), pools })
    }

    /// What these factories made, in chain order.
    async fn made(&self, exchanges: &[Exchange], from: u64, to: u64) -> Result<Vec<Made>, Fault> {
        let topics =
            [PAIR_CREATED, POOL_CREATED].map(|event| self.abi.signature(event).map(|signature| signature.hash));
        let topics = topics.into_iter().collect::<Result<Vec<Hash>, Fault>>()?;
        let filter = LogFilter {
            from: BlockId::Number(from),
            to: BlockId::Number(to),
            addresses: exchanges.iter().map(|exchange| exchange.factory).collect(),
            topics: vec![topics],
        };
        let logs = self.chain.logs(&filter).await?;
        let made = |log: Log| {
            let exchange = exchanges.iter().find(|exchange| exchange.factory == log.address)?;
            Some(self.read_made(exchange, log))
        };
        logs.into_iter().filter_map(made).collect()
    }

    fn read_made(&self, exchange: &Exchange, log: Log) -> Result<Made, Fault> {
        let event = match exchange.interface {
            Interface::UniswapV2 => PAIR_CREATED,
            Interface::UniswapV3 => POOL_CREATED,
        };
        let decoded = self.abi.decode_log(event, &log.topics, &log.data)?;
        let value = |name: &str| decoded.args.iter().find(|arg| arg.name == name).map(|arg| &arg.value);
        let address = |name: &str| -> Result<Address, Fault> {
            let text = value(name).and_then(Value::as_str);
            text.ok_or_else(|| Fault::internal(format!("{name} of {event} is no address")))?.parse()
        };
        let number = |name: &str| value(name).and_then(Value::as_i64);
        Ok(Made {
            dex: exchange.name.clone(),
            tokens: [address("token0")?, address("token1")?],
            pool: match exchange.interface {
                Interface::UniswapV2 => address("pair")?,
                Interface::UniswapV3 => address("pool")?,
            },
            fee_millionths: number("fee").and_then(|fee| u32::try_from(fee).ok()).unwrap_or(PAIR_FEE),
            tick_spacing: number("tickSpacing").and_then(|spacing| i32::try_from(spacing).ok()),
            log,
        })
    }
}
