//! Who lends an asset within one transaction: read from each lender's own contracts at one block, and kept for those who can do with that.
//!
//! The first time the node is asked, contract by contract. Again, the contracts are run in this process on what is read anew at every block anyway
//! ([`machine`](crate::machine)): some fifty questions at a time would keep the node busy just when somebody trades.

use std::collections::HashMap;

use alloy_primitives::{Address as RawAddress, U256};
use futures_util::future::join_all;
use kernel::chain::{
    Abi, Address, Amount, BlockId, CallRequest, Chain, Data, FeeRule, FlashMarket, FlashSource, Hash, Trial,
    UnreadSource,
};
use kernel::{Fault, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::Encodings;
use crate::config::LendersConfig;
use crate::known::{Lender, Lenders};
use crate::machine;
use crate::node::Node;

/// Uniswap V3's fees, in millionths.
const V3_FEES: [u64; 4] = [100, 500, 3_000, 10_000];

/// Most assets whose lenders are kept.
const KEPT_MAX: usize = 256;
/// Most answers of factories that are kept.
const PLACES_MAX: usize = 8_192;
/// After so many blocks a factory that had no pool is asked again.
const ABSENT_BLOCKS: u64 = 100;

/// What was last read, by asset, and where the pools of factories are.
#[derive(Default)]
pub(crate) struct Lent {
    markets: Mutex<HashMap<Address, Kept>>,
    places: Mutex<HashMap<Asked, Place>>,
}

/// What a factory was asked for: a pool of two tokens, and of a fee where it has several. The sandbox that it is of.
type Asked = (Address, [Address; 2], Option<u64>, Option<Hash>);

/// Where a pool is: once it is there, it stays there.
#[derive(Clone, Copy)]
struct Place {
    /// Nowhere, where there is none.
    pool: Address,
    /// The first of its two tokens.
    first: Address,
    /// The block at which that was read.
    block: u64,
}

struct Kept {
    market: FlashMarket,
    /// The sandbox that it is of.
    origin: Option<Hash>,
}

impl Lent {
    fn find(&self, node: &Node, asset: Address, blocks_old_max: u64) -> Option<FlashMarket> {
        let newest = node.head()?.number;
        let (kept, origin) = (self.markets.lock(), node.origin());
        let fits = |kept: &&Kept| kept.origin == origin && kept.market.block_number.abs_diff(newest) <= blocks_old_max;
        kept.get(&asset).filter(fits).map(|kept| kept.market.clone())
    }

    /// Whether the asset's lenders were read before, on this chain.
    fn knows(&self, node: &Node, asset: Address) -> bool {
        self.markets.lock().get(&asset).is_some_and(|kept| kept.origin == node.origin())
    }

    fn keep(&self, node: &Node, asset: Address, market: FlashMarket) {
        let mut kept = self.markets.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(asset, Kept { market, origin: node.origin() });
    }

    /// Where a pool is, if that is known: not there for so many blocks only.
    fn place(&self, asked: &Asked, block: u64, absent_blocks: u64) -> Option<Place> {
        let known = self.places.lock().get(asked).copied()?;
        (!known.pool.is_zero() || known.block.abs_diff(block) < absent_blocks).then_some(known)
    }

    fn keep_place(&self, asked: Asked, place: Place) {
        let mut places = self.places.lock();
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        places.insert(asked, place);
    }
}

pub(crate) async fn read(node: &Node, asset: Address, blocks_old_max: u64) -> Result<FlashMarket> {
    if blocks_old_max > 0
        && let Some(market) = node.lent.find(node, asset, blocks_old_max)
    {
        return Ok(market);
    }
    let tracked = node.head().filter(|_| blocks_old_max > 0 && node.lent.knows(node, asset));
    let market = match tracked {
        Some(head) => read_at(node, asset, head.number, Some(head.hash), ABSENT_BLOCKS).await?,
        None => {
            let newest = node.height(BlockId::Latest).await?;
            if node.code(asset, BlockId::Number(newest)).await?.is_empty() {
                return Err(Fault::not_found(format!("no contract at {asset}"))
                    .hint("give an ERC-20 token's address; wrapped for the native coin"));
            }
            // Who wants it as it is now wants new pools too.
            read_at(node, asset, newest, None, if blocks_old_max == 0 { 0 } else { ABSENT_BLOCKS }).await?
        }
    };
    node.lent.keep(node, asset, market.clone());
    Ok(market)
}

/// Reads it at the block of this height; in this process, where its hash is given.
async fn read_at(
    node: &Node,
    asset: Address,
    height: u64,
    tracked: Option<Hash>,
    absent_blocks: u64,
) -> Result<FlashMarket> {
    let lenders = lenders(node).await?;
    let reader = Reader { node, asset, height, tracked, absent_blocks, counters: &lenders.counters };
    let answers = join_all(lenders.lenders.iter().map(|lender| reader.read(lender))).await;
    let mut market = FlashMarket { block_number: height, sources: Vec::new(), unread: Vec::new() };
    for (lender, answer) in lenders.lenders.iter().zip(answers) {
        match answer {
            Ok(sources) => market.sources.extend(sources.into_iter().filter(|source| !source.liquidity.is_zero())),
            Err(fault) => market.unread.push(UnreadSource { provider: lender.name().into(), reason: fault.message }),
        }
    }
    market.sources.sort_by(|a, b| a.fee.millionths().cmp(&b.fee.millionths()).then(b.liquidity.cmp(&a.liquidity)));
    Ok(market)
}

async fn lenders(node: &Node) -> Result<Lenders> {
    if let Some(market) = &*node.market.read() {
        return Ok(market.lenders.clone().and(&node.lenders));
    }
    let chain_id = node.rpc.chain_id().await?;
    match Lenders::on(chain_id) {
        Some(known) => Ok(known.and(&node.lenders)),
        None if *node.lenders != LendersConfig::default() => Ok(Lenders::default().and(&node.lenders)),
        None => Err(Fault::unsupported(format!("no flash lender is known on chain {chain_id}")).hint(format!(
            "name them under [chain.lenders]; known are those of {}",
            crate::known::chains().join(", ")
        ))),
    }
}

struct Reader<'a> {
    node: &'a Node,
    asset: Address,
    /// The block.
    height: u64,
    /// The same, where what it says is worked out in this process.
    tracked: Option<Hash>,
    /// For how many blocks a factory that had no pool is believed.
    absent_blocks: u64,
    /// Tokens that the asset is most likely paired with.
    counters: &'a [Address],
}

impl Reader<'_> {
    async fn read(&self, lender: &Lender) -> Result<Vec<FlashSource>> {
        match lender {
            Lender::AaveV3 { pool } => self.aave(*pool).await,
            Lender::BalancerV2 { vault } => self.balancer(*vault).await,
            Lender::UniswapV3 { factory } => self.uniswap_v3(*factory).await,
            Lender::UniswapV4 { manager } => self.uniswap_v4(*manager).await,
            Lender::Pairs { name, factory, per_mille } => self.pairs(name, *factory, *per_mille).await,
        }
    }

    /// What a contract returns.
    async fn call(&self, contract: Address, data: Data) -> Result<Data> {
        let call = CallRequest::read(contract, data);
        let Some(hash) = self.tracked else { return self.node.call(&call, BlockId::Number(self.height)).await };
        let mut fork = machine::open(self.node, BlockId::Hash(hash)).await?;
        let done = fork.attempt(&Trial::from(call)).await?;
        match done.revert {
            None => Ok(done.return_data),
            Some(revert) => Err(revert.into_fault()),
        }
    }

    /// What a contract returns, decoded.
    async fn view(&self, contract: Address, function: &str, args: &[Value]) -> Result<Vec<Value>> {
        let data = Encodings.encode_call(function, args)?;
        let answer = self.call(contract, data).await?;
        let values = Encodings.decode_output(function, &answer).map_err(|fault| {
            Fault::upstream(format!(
                "contract {contract} does not answer {function} as its kind does: {}",
                fault.message
            ))
        })?;
        Ok(values.into_iter().map(|value| value.value).collect())
    }

    async fn address(&self, contract: Address, function: &str, args: &[Value]) -> Result<Address> {
        read_as(&self.view(contract, function, args).await?, 0, function)
    }

    /// What `holder` has of the asset.
    async fn held(&self, holder: Address) -> Result<Amount> {
        let held = self.view(self.asset, "balanceOf(address)(uint256)", &[json!(holder)]).await?;
        read_as(&held, 0, "balanceOf")
    }

    async fn aave(&self, pool: Address) -> Result<Vec<FlashSource>> {
        // The reserve's first word is a bit map, its ninth the token that holds the liquidity. Unlisted assets have neither.
        let call = Encodings.encode_call("getReserveData(address)", &[json!(self.asset)])?;
        let reserve = self.call(pool, call).await?;
        let words: Vec<U256> = reserve.chunks_exact(32).map(U256::from_be_slice).collect();
        let (Some(flags), Some(holder)) = (words.first(), words.get(8)) else {
            return Err(Fault::upstream(format!("contract {pool} does not answer as an Aave V3 pool does")));
        };
        let holder = Address(RawAddress::from_word((*holder).into()));
        let (active, paused, flash) = (flags.bit(56), flags.bit(60), flags.bit(63));
        if holder.is_zero() || !active || paused || !flash {
            return Ok(Vec::new());
        }
        let premium = self.view(pool, "FLASHLOAN_PREMIUM_TOTAL()(uint128)", &[]);
        let (premium, liquidity) = tokio::try_join!(premium, self.held(holder))?;
        let bps = read_as::<Amount>(&premium, 0, "FLASHLOAN_PREMIUM_TOTAL")?;
        let bps = u64::try_from(bps.0)
            .map_err(|_| Fault::upstream("Aave's premium is no sensible number of basis points"))?;
        Ok(vec![FlashSource {
            provider: "aave-v3".into(),
            contract: pool,
            paired_with: None,
            liquidity,
            fee: FeeRule::BpsHalfUp { bps },
        }])
    }

    async fn balancer(&self, vault: Address) -> Result<Vec<FlashSource>> {
        let collector = self.address(vault, "getProtocolFeesCollector()(address)", &[]).await?;
        let fee = self.view(collector, "getFlashLoanFeePercentage()(uint256)", &[]);
        let (fee, liquidity) = tokio::try_join!(fee, self.held(vault))?;
        let wad = read_as(&fee, 0, "getFlashLoanFeePercentage")?;
        let fee = FeeRule::WadUp { wad };
        Ok(vec![FlashSource { provider: "balancer-v2".into(), contract: vault, paired_with: None, liquidity, fee }])
    }

    async fn uniswap_v4(&self, manager: Address) -> Result<Vec<FlashSource>> {
        // Only a manager answers this; what is taken while it is unlocked is given back without a fee.
        self.address(manager, "protocolFeeController()(address)", &[]).await?;
        let liquidity = self.held(manager).await?;
        let fee = FeeRule::MillionthsUp { millionths: 0 };
        Ok(vec![FlashSource { provider: "uniswap-v4".into(), contract: manager, paired_with: None, liquidity, fee }])
    }

    async fn uniswap_v3(&self, factory: Address) -> Result<Vec<FlashSource>> {
        let pools = self.partners().flat_map(|counter| V3_FEES.map(|fee| (counter, fee)));
        let sources = join_all(pools.map(|(counter, fee)| async move {
            let Some(place) = self.place(factory, counter, Some(fee)).await? else { return Ok(None) };
            Ok(Some(FlashSource {
                provider: "uniswap-v3".into(),
                contract: place.pool,
                paired_with: Some(counter),
                liquidity: self.held(place.pool).await?,
                fee: FeeRule::MillionthsUp { millionths: fee },
            }))
        }));
        sources.await.into_iter().filter_map(Result::transpose).collect()
    }

    async fn pairs(&self, name: &str, factory: Address, per_mille: u64) -> Result<Vec<FlashSource>> {
        let sources = join_all(self.partners().map(|counter| async move {
            let Some(place) = self.place(factory, counter, None).await? else { return Ok(None) };
            let reserves = self.view(place.pool, "getReserves()(uint112,uint112,uint32)", &[]).await?;
            let reserve: Amount = read_as(&reserves, usize::from(place.first != self.asset), "getReserves")?;
            Ok(Some(FlashSource {
                provider: name.into(),
                contract: place.pool,
                paired_with: Some(counter),
                // A pair refuses to lend its whole reserve.
                liquidity: Amount(reserve.saturating_sub(U256::ONE)),
                fee: FeeRule::PairPerMille { per_mille },
            }))
        }));
        sources.await.into_iter().filter_map(Result::transpose).collect()
    }

    /// Where the factory's pool of the asset and another token is, if there is one.
    async fn place(&self, factory: Address, counter: Address, fee: Option<u64>) -> Result<Option<Place>> {
        let asked = (factory, [self.asset, counter], fee, self.node.origin());
        let lent = &self.node.lent;
        if let Some(known) = lent.place(&asked, self.height, self.absent_blocks) {
            return Ok(Some(known).filter(|place| !place.pool.is_zero()));
        }
        let (asset, counter) = (json!(self.asset), json!(counter));
        let pool = match fee {
            Some(fee) => {
                self.address(factory, "getPool(address,address,uint24)(address)", &[asset, counter, json!(fee)]).await?
            }
            None => self.address(factory, "getPair(address,address)(address)", &[asset, counter]).await?,
        };
        let first =
            if pool.is_zero() { Address::default() } else { self.address(pool, "token0()(address)", &[]).await? };
        let place = Place { pool, first, block: self.height };
        lent.keep_place(asked, place);
        Ok(Some(place).filter(|place| !place.pool.is_zero()))
    }

    fn partners(&self) -> impl Iterator<Item = Address> {
        self.counters.iter().copied().filter(|counter| *counter != self.asset)
    }
}

fn read_as<T: serde::de::DeserializeOwned>(values: &[Value], at: usize, function: &str) -> Result<T> {
    let value = values.get(at).cloned().unwrap_or_default();
    serde_json::from_value(value)
        .map_err(|error| Fault::upstream(format!("{function} answered something else: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_there_stays_and_one_that_is_not_is_looked_for_again() {
        let lent = Lent::default();
        let [factory, asset, counter, pool] = [1, 2, 3, 4].map(|byte| Address(RawAddress::repeat_byte(byte)));
        let asked: Asked = (factory, [asset, counter], Some(500), None);
        let pool_of = |block| lent.place(&asked, block, ABSENT_BLOCKS).map(|place| place.pool);
        assert_eq!(pool_of(7), None);
        lent.keep_place(asked, Place { pool: Address::default(), first: Address::default(), block: 7 });
        assert_eq!(pool_of(7 + ABSENT_BLOCKS - 1), Some(Address::default()));
        assert_eq!(pool_of(7 + ABSENT_BLOCKS), None);
        assert!(lent.place(&asked, 7, 0).is_none(), "who wants it as it is now believes no absence");
        lent.keep_place(asked, Place { pool, first: asset, block: 8 });
        assert_eq!(pool_of(u64::MAX), Some(pool));
        let elsewhere = (factory, [asset, counter], Some(500), Some(Hash::default()));
        assert!(
            lent.place(&elsewhere, 8, ABSENT_BLOCKS).is_none(),
            "a sandbox that was made anew has pools of its own"
        );
    }
}
