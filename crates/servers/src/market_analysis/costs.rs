//! What a trade costs: gas at the current base fee, the lender, the tip; and what the funding asset is worth.

use std::collections::HashMap;

use kernel::chain::{Address, Amount, BlockId, FlashMarket, FlashSource};
use kernel::prices::Asset;
use kernel::{Fault, Result};
use market::lender::Costs;
use market::{Book, Rate};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MarketAnalysis;
use crate::trading::coins::Coin;
use crate::trading::path;

/// For how many blocks lenders' terms are taken as they were read.
const LENDERS_BLOCKS: u64 = 10;
/// Decimal digits of the reference currency's smallest unit here.
pub(super) const REFERENCE_DECIMALS: u8 = 6;

/// What trades cost now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CostsView {
    /// The base fee per gas, in wei.
    pub base_fee_per_gas_wei: Amount,
    /// What is paid per gas on top, in wei.
    pub priority_fee_per_gas_wei: Amount,
    /// Gas burnt outside pools and lender.
    pub gas_overhead: u64,
    /// What is paid to the block's builder besides, in wei.
    pub tip_wei: Amount,
    /// The currency that gains are shown in beside the funding asset.
    pub currency: String,
    /// Why gains are not shown in it, by funding asset, where they are not.
    pub without_reference: Vec<String>,
}

/// Everything that is needed to price a funding asset's cycles.
pub(super) struct Terms {
    pub(super) coin: Coin,
    pub(super) costs: Costs,
    pub(super) lenders: Vec<FlashSource>,
    /// Why there is no reference price.
    pub(super) unpriced: Option<String>,
}

/// Lenders' terms as last read, by asset.
#[derive(Default)]
pub(super) struct Lenders(Mutex<HashMap<Address, FlashMarket>>);

impl MarketAnalysis {
    /// The base fee of the block that the pools were looked at, in wei: head tracking may be a moment behind them, or ahead.
    pub(super) async fn base_fee(&self, block: u64) -> Result<Amount> {
        let head = match self.chain.head().filter(|head| head.number == block) {
            Some(head) => head,
            None => self.chain.block(BlockId::Number(block)).await?.head,
        };
        Ok(head.base_fee_per_gas_wei.unwrap_or_default())
    }

    /// Who lends an asset.
    pub(super) async fn lenders(&self, asset: Address, block: u64) -> Result<Vec<FlashSource>> {
        if let Some(market) = self.lenders.0.lock().get(&asset)
            && market.block_number.abs_diff(block) < LENDERS_BLOCKS
        {
            return Ok(market.sources.clone());
        }
        let market = self.chain.flash_sources(asset).await?;
        let sources = market.sources.clone();
        self.lenders.0.lock().insert(asset, market);
        Ok(sources)
    }

    /// What a wei is worth in an asset, by the deepest pool between it and the wrapped native coin.
    pub(super) fn wei_in(&self, asset: Address, book: &Book) -> Result<Rate> {
        let native = self.coins.find(&self.config.native)?;
        if native == asset {
            return Ok(Rate::ONE);
        }
        let legs = path::direct(book, native, asset);
        let deepest = legs.iter().max_by_key(|leg| path::depth(leg));
        let deepest = deepest.ok_or_else(|| {
            Fault::not_found(format!("no followed pool tells what gas costs in {asset}"))
                .hint(format!("a pool between it and {native}"))
        })?;
        rate(&deepest.price()?)
    }

    /// What it takes to price cycles of this asset.
    pub(super) async fn terms(
        &self,
        asset: Address,
        wei_in_asset: Rate,
        base_fee: Amount,
        block: u64,
    ) -> Result<Terms> {
        let coin = self.coins.coin(asset).await;
        let (asset_in_reference, unpriced) = match self.reference(&coin).await {
            Ok(rate) => (Some(rate), None),
            Err(fault) => {
                (None, Some(format!("{}: {fault}", coin.symbol.clone().unwrap_or_else(|| asset.to_string()))))
            }
        };
        let costs = Costs {
            gas_price_wei: base_fee.saturating_add(self.config.priority_fee_wei.0),
            gas_overhead: self.config.gas_overhead,
            tip_wei: self.config.tip_wei.0,
            wei_in_asset,
            asset_in_reference,
        };
        Ok(Terms { costs, lenders: self.lenders(asset, block).await?, unpriced, coin })
    }

    /// Millionths of the reference currency for a smallest unit of the asset.
    async fn reference(&self, coin: &Coin) -> Result<Rate> {
        let decimals = coin.decimals.ok_or_else(|| Fault::not_found("the token does not say its decimals"))?;
        let price = self.prices.reference(&Asset::Token(coin.address), &self.currency).await?;
        let beyond = || Fault::too_large("the price is out of range");
        let numerator = price.price.in_units(18 + REFERENCE_DECIMALS).ok_or_else(beyond)?;
        let denominator: Amount = format!("1{}", "0".repeat(18 + usize::from(decimals))).parse()?;
        Ok(Rate { numerator: numerator.0, denominator: denominator.0 })
    }

    pub(super) fn costs_view<'a>(&self, base_fee: Amount, terms: impl Iterator<Item = &'a Terms>) -> CostsView {
        let mut without_reference: Vec<String> = terms.filter_map(|terms| terms.unpriced.clone()).collect();
        without_reference.sort_unstable();
        CostsView {
            base_fee_per_gas_wei: base_fee,
            priority_fee_per_gas_wei: self.config.priority_fee_wei,
            gas_overhead: self.config.gas_overhead,
            tip_wei: self.config.tip_wei,
            currency: self.currency.clone(),
            without_reference,
        }
    }
}

/// A ratio as one of two numbers that fit 256 bits, to 2^-128.
fn rate(price: &BigRational) -> Result<Rate> {
    let scale = BigInt::from(1) << 128u32;
    let scaled = (price * BigRational::from(scale.clone())).to_integer();
    if scaled.is_zero() {
        return Err(Fault::invalid("a price of nothing"));
    }
    let numerator: Amount = scaled.to_string().parse()?;
    let denominator: Amount = scale.to_string().parse()?;
    Ok(Rate { numerator: numerator.0, denominator: denominator.0 })
}
