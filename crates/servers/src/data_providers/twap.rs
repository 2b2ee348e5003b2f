//! Means over time, from what pools record of themselves. The arithmetic is the contracts' own: [`market::twap`].
//!
//! V3 pools record their tick; `observe` tells the cumulative tick of any moment since the oldest observation. V2 pairs record nothing but the
//! cumulative price now, so it is read at two blocks; a node that forgot the older block's state says so.

use kernel::chain::{Address, Amount, BlockId, Head};
use kernel::{Code, Decimal, Fault};
use market::twap::{cumulative_after, mean_tick, quote_at_mean, quote_at_tick};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Engine;
use super::onchain::{Moment, value, values};
use super::pair::Pair;
use super::pools::{PoolKind, View, at_ms};
use super::source::Tick;

/// Longest time asked for, in seconds.
const SECONDS_MAX: u32 = 86_400;
/// The shortest mean that counts as a source's answer, in seconds.
const SOURCE_SECONDS_MIN: u32 = 30;
/// Of how much of the base the worth is computed, as a power of ten: the more, the more digits the price has.
const EXPONENT: u8 = 36;
/// Most blocks looked back over for the older observation of a V2 pair.
const BLOCKS_BACK_MAX: u64 = 50_000;

const SLOT0: &str =
    "slot0()(uint160 sqrtPriceX96,int24 tick,uint16 observationIndex,uint16 observationCardinality,uint16,uint8,bool)";
const OBSERVATION: &str = "observations(uint256)(uint32 blockTimestamp,int56,uint160,bool initialized)";
const BALANCE_OF: &str = "balanceOf(address)(uint256)";
const OBSERVE: &str = "observe(uint32[])(int56[] tickCumulatives,uint160[])";

/// What [`TWAP`](super::TWAP) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TwapRequest {
    /// The pair, like ETH/USDC; its base is what is priced. A token's address may stand for the base.
    pub pair: String,
    /// The kind of pool; Uniswap V3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<PoolKind>,
    /// The pool; when absent, the known one of the pair with the most liquidity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Address>,
    /// Over how long, in seconds: 1 to 86,400; `twap_seconds` of the configuration when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
}

/// A mean over time.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Twap {
    /// The pair.
    pub pair: String,
    /// The pool.
    pub pool: Address,
    /// Its kind.
    pub kind: PoolKind,
    /// The mean price: geometric of V3, arithmetic of V2. What one whole unit of the base costs.
    pub price: Decimal,
    /// The mean tick of a V3 pool, rounded down, of token1 in token0.
    pub mean_tick: Option<i32>,
    /// Over how long, in seconds: of a V2 pair as near to what was asked for as its blocks allow.
    pub seconds: u32,
    /// When it begins, in seconds since the Unix epoch.
    pub from_seconds: u64,
    /// When it ends, in seconds since the Unix epoch: the newest block.
    pub to_seconds: u64,
    /// The newest block.
    pub block_number: u64,
    /// How far back a V3 pool's observations reach, in seconds.
    pub oldest_seconds: Option<u32>,
    /// The coin that stands for the currency, where one does.
    pub stand_in: Option<String>,
}

/// A pair's state at a block, its cumulative price brought up to the block's time.
struct Observed {
    cumulative: Amount,
    at_seconds: u64,
}

impl Engine {
    /// The mean price in the deepest pool, over the configured time or as long as the pool remembers.
    pub(super) async fn uniswap_v3(&self, pair: &Pair, at: Option<&Moment>) -> Result<Tick, Fault> {
        let views = self.views(PoolKind::UniswapV3, pair).await?;
        let moment = self.on_chain.moment(at).await?;
        let view = self.deepest(views, &moment).await?;
        let oldest = self.oldest(view.pool.address, &moment).await?;
        if oldest < SOURCE_SECONDS_MIN {
            return Err(Fault::unavailable(format!("pool {} remembers {oldest} s only", view.pool.address))
                .hint(format!("a mean over {SOURCE_SECONDS_MIN} s at least is taken")));
        }
        let seconds = self.config.twap_seconds.min(oldest);
        let (_, price) = self.observed_mean(&view, &moment, seconds).await?;
        Ok(Tick {
            price,
            at_ms: at_ms(&moment.head),
            instrument: view.pool.address.to_string(),
            note: Some(view.note(&format!("the mean of {seconds} s"), &pair.quote)),
            problem: None,
        })
    }

    pub(super) async fn twap(&self, request: TwapRequest) -> Result<Twap, Fault> {
        let (asked, kind) = (request.pair.parse::<Pair>()?, request.kind.unwrap_or(PoolKind::UniswapV3));
        let seconds = request.seconds.unwrap_or(self.config.twap_seconds);
        if seconds == 0 || seconds > SECONDS_MAX {
            return Err(Fault::invalid(format!("a mean over {seconds} s")).hint(format!("1 to {SECONDS_MAX}")));
        }
        let views = match request.pool {
            Some(address) => vec![self.view_of(kind, address, &asked).await?],
            None => self.views(kind, &asked).await?,
        };
        let moment = self.on_chain.now().await?;
        let view = self.deepest(views, &moment).await?;
        match kind {
            PoolKind::UniswapV3 => self.twap_v3(&asked, view, &moment, seconds).await,
            PoolKind::UniswapV2 => self.twap_v2(&asked, view, &moment.head, seconds).await,
        }
    }

    async fn view_of(&self, kind: PoolKind, address: Address, pair: &Pair) -> Result<View, Fault> {
        let pool = self.pool(kind, address).await?;
        let sides: Vec<String> =
            pool.sides.iter().map(|side| side.symbol.clone().unwrap_or_else(|| side.token.to_string())).collect();
        super::pools::view(pool, pair)
            .ok_or_else(|| Fault::invalid(format!("pool {address} holds {}, not {pair}", sides.join(" and "))))
    }

    /// The pool with the most of the quote in it.
    async fn deepest(&self, mut views: Vec<View>, moment: &Moment) -> Result<View, Fault> {
        if views.len() == 1 {
            return Ok(views.remove(0));
        }
        let mut deepest: Option<(Decimal, View)> = None;
        for view in views {
            let of = [json!(view.pool.address)];
            let held = self.on_chain.read_at(moment, view.quote().token, BALANCE_OF, &of).await?;
            let held = Decimal::new(value(&held, 0)?, i64::from(view.quote().decimals)).unwrap_or_default();
            if deepest.as_ref().is_none_or(|(before, _)| held > *before) {
                deepest = Some((held, view));
            }
        }
        deepest.map(|(_, view)| view).ok_or_else(|| Fault::internal("no pool to choose from"))
    }

    /// How far back a pool's observations reach, in seconds (`getOldestObservationSecondsAgo`).
    async fn oldest(&self, pool: Address, moment: &Moment) -> Result<u32, Fault> {
        let slot0 = self.on_chain.read_at(moment, pool, SLOT0, &[]).await?;
        let (index, cardinality) = (value::<u32>(&slot0, 2)?, value::<u32>(&slot0, 3)?);
        if cardinality == 0 {
            return Err(Fault::unavailable(format!("pool {pool} is not initialised")));
        }
        let next = (index + 1) % cardinality;
        let mut oldest = self.on_chain.read_at(moment, pool, OBSERVATION, &[json!(next)]).await?;
        if !value::<bool>(&oldest, 3)? {
            oldest = self.on_chain.read_at(moment, pool, OBSERVATION, &[json!(0)]).await?;
        }
        // Times are kept to 32 bits, and wrap.
        Ok((moment.head.timestamp_seconds as u32).wrapping_sub(value::<u32>(&oldest, 0)?))
    }

    async fn observed_mean(&self, view: &View, moment: &Moment, seconds: u32) -> Result<(i32, Decimal), Fault> {
        let asked = [json!([seconds, 0])];
        let observed = self.on_chain.read_at(moment, view.pool.address, OBSERVE, &asked).await?;
        let cumulatives: Vec<i64> = values(&observed, 0)?;
        let [then, now] = cumulatives[..] else { return Err(Fault::upstream("the pool observed something else")) };
        let beyond = || Fault::upstream(format!("pool {} is at a price beyond all measure", view.pool.address));
        let tick = mean_tick(then, now, seconds).ok_or_else(beyond)?;
        let worth = quote_at_tick(tick, 10u128.pow(u32::from(EXPONENT)), view.base == 0).ok_or_else(beyond)?;
        Ok((tick, view.price(worth, EXPONENT).ok_or_else(beyond)?))
    }

    async fn twap_v3(&self, pair: &Pair, view: View, moment: &Moment, seconds: u32) -> Result<Twap, Fault> {
        let head = &moment.head;
        let oldest = self.oldest(view.pool.address, moment).await?;
        if seconds > oldest {
            return Err(Fault::unavailable(format!("pool {} remembers {oldest} s, not {seconds}", view.pool.address))
                .hint("a shorter time; anyone may have the pool keep more by increaseObservationCardinalityNext"));
        }
        let (tick, price) = self.observed_mean(&view, moment, seconds).await?;
        Ok(Twap {
            pair: pair.to_string(),
            pool: view.pool.address,
            kind: view.pool.kind,
            price,
            mean_tick: Some(tick),
            seconds,
            from_seconds: head.timestamp_seconds.saturating_sub(u64::from(seconds)),
            to_seconds: head.timestamp_seconds,
            block_number: head.number,
            oldest_seconds: Some(oldest),
            stand_in: view.stand_in,
        })
    }

    async fn twap_v2(&self, pair: &Pair, view: View, head: &Head, seconds: u32) -> Result<Twap, Fault> {
        let earlier = self.block_before(head, seconds).await?;
        let (then, now) = tokio::try_join!(self.observe_pair(&view, &earlier), self.observe_pair(&view, head))?;
        let elapsed = u32::try_from(now.at_seconds.saturating_sub(then.at_seconds)).unwrap_or(u32::MAX);
        let worth = quote_at_mean(then.cumulative, now.cumulative, elapsed, 10u128.pow(u32::from(EXPONENT)));
        let price = worth.and_then(|worth| view.price(worth, EXPONENT));
        Ok(Twap {
            pair: pair.to_string(),
            pool: view.pool.address,
            kind: view.pool.kind,
            price: price.ok_or_else(|| {
                Fault::upstream(format!("pool {} is at a price beyond all measure", view.pool.address))
            })?,
            mean_tick: None,
            seconds: elapsed,
            from_seconds: then.at_seconds,
            to_seconds: now.at_seconds,
            block_number: head.number,
            oldest_seconds: None,
            stand_in: view.stand_in,
        })
    }

    async fn observe_pair(&self, view: &View, block: &Head) -> Result<Observed, Fault> {
        const RESERVES: &str = "getReserves()(uint112 reserve0,uint112 reserve1,uint32 blockTimestampLast)";
        let (pool, at) = (view.pool.address, BlockId::Number(block.number));
        let cumulative =
            if view.base == 0 { "price0CumulativeLast()(uint256)" } else { "price1CumulativeLast()(uint256)" };
        let read = tokio::try_join!(
            self.on_chain.read(pool, RESERVES, &[], at),
            self.on_chain.read(pool, cumulative, &[], at)
        );
        let (reserves, cumulative) = read.map_err(|fault| {
            // A pair that was not there yet and a state that was forgotten look alike to some nodes.
            let hint = "was the pair there then, and does the node keep the state of old blocks? a shorter time may do";
            if fault.code == Code::NotConfigured {
                fault
            } else {
                fault.context(format!("block {}", block.number)).hint(hint)
            }
        })?;
        let (base, quote) = (value::<u128>(&reserves, view.base)?, value::<u128>(&reserves, 1 - view.base)?);
        let since = (block.timestamp_seconds as u32).wrapping_sub(value::<u32>(&reserves, 2)?);
        let cumulative = cumulative_after(value(&cumulative, 0)?, quote, base, since);
        let cumulative =
            cumulative.ok_or_else(|| Fault::unavailable(format!("pool {pool} was empty at block {}", block.number)))?;
        Ok(Observed { cumulative, at_seconds: block.timestamp_seconds })
    }

    /// The newest block that is `seconds` older than the head at least, found by halving.
    async fn block_before(&self, head: &Head, seconds: u32) -> Result<Head, Fault> {
        let wanted = head.timestamp_seconds.saturating_sub(u64::from(seconds));
        let block = async |number| Ok::<_, Fault>(self.on_chain.chain.block(BlockId::Number(number)).await?.head);
        let mut low = block(head.number.saturating_sub(BLOCKS_BACK_MAX)).await?;
        if low.timestamp_seconds > wanted {
            let reach = head.timestamp_seconds - low.timestamp_seconds;
            return Err(Fault::unavailable(format!("the chain looked back over is {reach} s long, not {seconds}"))
                .hint("a shorter time"));
        }
        let mut high = head.number;
        while high - low.number > 1 {
            let middle = block(low.number + (high - low.number) / 2).await?;
            if middle.timestamp_seconds <= wanted { low = middle } else { high = middle.number }
        }
        Ok(low)
    }
}
