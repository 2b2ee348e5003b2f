//! Chainlink's price feeds: <https://docs.chain.link/data-feeds/api-reference>, and what must be checked of an answer:
//! <https://docs.chain.link/data-feeds#check-the-timestamp-of-the-latest-answer>.
//!
//! An answer is unsound when it is not positive, its round is not complete (`updatedAt` 0), it was carried over from an earlier round
//! (`answeredInRound` before `roundId`), it is older than the feed's heartbeat allows, or its time lies in the future.

use kernel::chain::{Address, Amount};
use kernel::{Decimal, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::onchain::{ETHEREUM, Moment, value};
use super::pair::{Pair, Symbols};
use super::source::Tick;

/// Ethereum's feeds: pair, address, heartbeat in seconds, as <https://docs.chain.link/data-feeds/price-feeds/addresses> lists them.
const ETHEREUM_FEEDS: [(&str, &str, u32); 7] = [
    ("ETH/USD", "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419", 3_600),
    ("BTC/USD", "0xF4030086522a5bEEa4988F8cA5B36dbC97BeE88c", 3_600),
    ("USDC/USD", "0x8fFfFfd4AfB6115b954Bd326cbe7B4BA576818f6", 86_400),
    ("USDT/USD", "0x3E7d1eAB13ad0104d2750B8863b489D65364e32D", 86_400),
    ("DAI/USD", "0xAed0c38402a5d19df6E4c03F4E2DceD6e29c1ee9", 3_600),
    ("LINK/USD", "0x2c1d072e956AFFC0D435Cb7AC38EF18d24d9127c", 3_600),
    ("EUR/USD", "0xb49f677943BC038e9857d61E7d053CaA2C1734C1", 86_400),
];
/// How the sandbox's feeds are named among its deployments: `chainlink-feed-weth-usd`.
const DEPLOYED: &str = "chainlink-feed-";
/// A feed's heartbeat where none is said: the longest that is usual.
const HEARTBEAT_SECONDS: u32 = 86_400;
/// What is granted beyond the heartbeat: a transaction takes its time.
const GRACE_SECONDS: u32 = 600;
/// How far in the future an answer's time may lie.
const AHEAD_MAX_SECONDS: i64 = 60;

const LATEST: &str =
    "latestRoundData()(uint80 roundId,int256 answer,uint256 startedAt,uint256 updatedAt,uint80 answeredInRound)";
const DECIMALS: &str = "decimals()(uint8)";
const DESCRIPTION: &str = "description()(string)";

/// A feed that the configuration knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// What it prices: `ETH/USD`.
    pub pair: String,
    /// Its contract.
    pub address: Address,
    /// How often it answers at the latest, in seconds.
    #[serde(default = "heartbeat")]
    pub heartbeat_seconds: u32,
}

fn heartbeat() -> u32 {
    HEARTBEAT_SECONDS
}

/// A feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Feed {
    pub(super) pair: Pair,
    pub(super) address: Address,
    pub(super) heartbeat_seconds: u32,
}

/// What [`ORACLE_PRICE`](super::ORACLE_PRICE) takes: one of the two.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OraclePriceRequest {
    /// The pair, like ETH/USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// Or a feed's contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed: Option<Address>,
}

/// A feed's answer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OraclePrice {
    /// What it prices, as this server knows it; absent for a feed that was asked for by its address and is not known.
    pub pair: Option<String>,
    /// The feed's contract.
    pub feed: Address,
    /// What the feed calls itself.
    pub description: String,
    /// The price, exact; absent when the answer is not positive.
    pub price: Option<Decimal>,
    /// The answer as the contract gives it, with a sign: a whole number of units of 10^−decimals.
    pub answer: String,
    /// Decimal digits of the answer.
    pub decimals: u8,
    /// The round.
    pub round_id: Amount,
    /// The round in which the answer was computed.
    pub answered_in_round: Amount,
    /// When the round began, in seconds since the Unix epoch.
    pub started_at_seconds: u64,
    /// When the answer was written, in seconds since the Unix epoch.
    pub updated_at_seconds: u64,
    /// How old the answer is, in seconds.
    pub age_seconds: u64,
    /// How often the feed answers at the latest, in seconds.
    pub heartbeat_seconds: u32,
    /// The block at which this was read.
    pub block_number: u64,
    /// Whether the answer may be relied on.
    pub sound: bool,
    /// Why not.
    pub problems: Vec<String>,
}

impl Engine {
    /// The feeds that are known on this chain.
    pub(super) async fn feeds(&self) -> Result<Vec<Feed>, Fault> {
        let feed =
            |pair: &str, address, heartbeat_seconds| Ok(Feed { pair: pair.parse()?, address, heartbeat_seconds });
        let configured = self.config.feeds.iter().map(|one| feed(&one.pair, one.address, one.heartbeat_seconds));
        let mut feeds = configured.collect::<Result<Vec<_>, Fault>>()?;
        let deployments = self.on_chain.chain.deployments();
        for deployment in &deployments {
            if let Some(pair) = deployment.name.strip_prefix(DEPLOYED) {
                feeds.push(feed(&pair.replace('-', "/"), deployment.address, HEARTBEAT_SECONDS)?);
            }
        }
        if deployments.is_empty() && self.on_chain.chain_id().await? == ETHEREUM {
            for (pair, address, heartbeat) in ETHEREUM_FEEDS {
                feeds.push(feed(pair, address.parse()?, heartbeat)?);
            }
        }
        Ok(feeds)
    }

    /// The feed's price as a source's answer.
    pub(super) async fn chainlink(&self, pair: &Symbols, at: Option<&Moment>) -> Result<Tick, Fault> {
        let wanted = pair.to_string();
        let feed = self.feeds().await?.into_iter().find(|feed| feed.pair.to_string() == wanted);
        let feed = feed.ok_or_else(|| Fault::not_found(format!("no feed for {wanted} is known on this chain")))?;
        let round = self.round(feed.address, Some(&feed), &self.on_chain.moment(at).await?).await?;
        Ok(Tick {
            price: round.price.unwrap_or_default(),
            at_ms: i64::try_from(round.updated_at_seconds).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000),
            instrument: feed.address.to_string(),
            note: None,
            problem: (!round.sound).then(|| round.problems.join("; ")),
        })
    }

    pub(super) async fn oracle_price(&self, request: OraclePriceRequest) -> Result<OraclePrice, Fault> {
        let feeds = self.feeds().await?;
        let feed = match (&request.pair, request.feed) {
            (Some(pair), None) => {
                let (asked, symbols) = (pair.parse::<Pair>()?, self.symbols(&pair.parse()?).await?);
                let wanted = symbols.as_ref().map_or_else(|| asked.to_string(), ToString::to_string);
                let found = feeds.iter().find(|feed| feed.pair.to_string() == wanted);
                let known: Vec<String> = feeds.iter().map(|feed| feed.pair.to_string()).collect();
                found.ok_or_else(|| {
                    let hint = if known.is_empty() {
                        "`feeds` in the configuration of data-providers names feeds by pair".to_owned()
                    } else {
                        format!("known are {}", known.join(", "))
                    };
                    Fault::not_found(format!("no feed for {wanted} is known on this chain")).hint(hint)
                })?
            }
            (None, Some(address)) => {
                let known = feeds.iter().find(|feed| feed.address == address);
                return self.round(address, known, &self.on_chain.now().await?).await;
            }
            _ => return Err(Fault::invalid("give a pair or a feed, one of them").hint("{\"pair\": \"ETH/USD\"}")),
        };
        self.round(feed.address, Some(feed), &self.on_chain.now().await?).await
    }

    async fn round(&self, address: Address, feed: Option<&Feed>, moment: &Moment) -> Result<OraclePrice, Fault> {
        let head = &moment.head;
        let (round, decimals, description) = tokio::try_join!(
            self.on_chain.read_at(moment, address, LATEST, &[]),
            self.on_chain.read_at(moment, address, DECIMALS, &[]),
            self.on_chain.read_at(moment, address, DESCRIPTION, &[]),
        )?;
        let (answer, decimals, description) =
            (value::<String>(&round, 1)?, value::<u8>(&decimals, 0)?, value::<String>(&description, 0)?);
        let (round_id, answered_in_round) = (value::<Amount>(&round, 0)?, value::<Amount>(&round, 4)?);
        let (started_at_seconds, updated_at_seconds) = (value::<u64>(&round, 2)?, value::<u64>(&round, 3)?);
        // A chain's clock and ours may differ; the later one is nearer to now.
        let now_seconds =
            (self.on_chain.clock.now_ms() / 1_000).max(i64::try_from(head.timestamp_seconds).unwrap_or(0));
        let age_seconds = now_seconds - i64::try_from(updated_at_seconds).unwrap_or(0);
        let heartbeat_seconds = feed.map_or(HEARTBEAT_SECONDS, |feed| feed.heartbeat_seconds);
        let positive = answer.parse::<Amount>().ok().filter(|answer| !answer.is_zero());
        let price = positive.and_then(|answer| Decimal::new(answer, i64::from(decimals)));
        let mut problems = Vec::new();
        let mut unless = |fine: bool, problem: String| {
            if !fine {
                problems.push(problem)
            }
        };
        unless(price.is_some(), format!("the answer {answer} is no price"));
        unless(updated_at_seconds > 0, "the round is not complete".into());
        unless(answered_in_round >= round_id, format!("the answer is carried over from round {answered_in_round}"));
        let limit_seconds = i64::from(heartbeat_seconds) + i64::from(GRACE_SECONDS);
        unless(
            age_seconds <= limit_seconds || updated_at_seconds == 0,
            format!("it is {age_seconds} s old, beyond the heartbeat of {heartbeat_seconds} s"),
        );
        unless(age_seconds >= -AHEAD_MAX_SECONDS, format!("its time lies {} s in the future", -age_seconds));
        let named = feed.map(|feed| feed.pair.to_string());
        // A feed names itself `ETH / USD`; test feeds name themselves otherwise, which says nothing.
        if let Some(pair) = named.as_ref().filter(|_| description.contains(" / ")) {
            let same = description.parse::<Pair>().is_ok_and(|said| said.to_string() == *pair);
            unless(same, format!("it is taken for {pair} but calls itself {description:?}"));
        }
        Ok(OraclePrice {
            pair: named,
            feed: address,
            description,
            price,
            answer,
            decimals,
            round_id,
            answered_in_round,
            started_at_seconds,
            updated_at_seconds,
            age_seconds: u64::try_from(age_seconds).unwrap_or(0),
            heartbeat_seconds,
            block_number: head.number,
            sound: problems.is_empty(),
            problems,
        })
    }
}
