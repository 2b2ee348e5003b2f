//! What trading costs and what it is worth: the base fee, who lends, what gas costs in an asset, what an asset costs in the reference
//! currency.

use std::sync::Arc;

use kernel::chain::{Address, Amount, Chain, FlashSource};
use kernel::prices::{Asset, Prices, ReferencePrice};
use kernel::{Fault, Result};
use market::{Book, Rate};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;

use super::coins::{Coin, Coins};
use super::path::{self, Leg};

/// For how many blocks lenders' terms are taken as they were read: what they no longer hold, the simulation refuses.
const LENDERS_BLOCKS: u64 = 10;
/// After how many blocks who has the time reads them anew, so that who trades finds them.
const LENDERS_FRESH_BLOCKS: u64 = 5;
/// Decimal digits of the reference currency's smallest unit here.
pub(crate) const REFERENCE_DECIMALS: u8 = 6;

/// Prices costs and gains.
pub(crate) struct Pricing {
    chain: Arc<dyn Chain>,
    prices: Arc<dyn Prices>,
    coins: Arc<Coins>,
    /// The wrapped native coin, by address or symbol.
    native: String,
    /// The reference currency.
    currency: String,
}

/// What an asset is worth in the reference currency.
pub(crate) struct Worth {
    /// Millionths of the reference currency for a smallest unit of the asset.
    pub(crate) rate: Rate,
    /// What that stands on.
    pub(crate) price: ReferencePrice,
}

impl Pricing {
    pub(crate) fn new(
        chain: Arc<dyn Chain>,
        prices: Arc<dyn Prices>,
        coins: Arc<Coins>,
        native: &str,
        currency: &str,
    ) -> Self {
        Self { chain, prices, coins, native: native.into(), currency: currency.into() }
    }

    /// The wrapped native coin.
    pub(crate) fn native(&self) -> Result<Address> {
        self.coins.find(&self.native)
    }

    /// The base fee of the block that the pools were looked at, in wei.
    pub(crate) async fn base_fee(&self, block: u64) -> Result<Amount> {
        Ok(super::head_at(self.chain.as_ref(), block).await?.base_fee_per_gas_wei.unwrap_or_default())
    }

    /// Who lends an asset.
    pub(crate) async fn lenders(&self, asset: Address) -> Result<Vec<FlashSource>> {
        Ok(self.chain.flash_sources(asset, LENDERS_BLOCKS).await?.sources)
    }

    /// Has lenders' terms read that others will soon ask for.
    pub(crate) async fn freshen(&self, assets: impl Iterator<Item = Address>) -> Result<()> {
        for asset in assets {
            self.chain.flash_sources(asset, LENDERS_FRESH_BLOCKS).await?;
        }
        Ok(())
    }

    /// What a wei is worth in an asset, by the deepest pool between it and the wrapped native coin.
    pub(crate) fn wei_in(&self, asset: Address, book: &Book) -> Result<Rate> {
        let native = self.native()?;
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

    /// What a pool holds around its price, in wei, both sides together; `None` where no pool tells what its token is worth.
    pub(crate) fn held_by(&self, leg: &Leg, book: &Book) -> Option<Amount> {
        let wei_in = self.wei_in(leg.ends().1, book).ok()?;
        let wei = Rate { numerator: wei_in.denominator, denominator: wei_in.numerator };
        Amount(wei.down(path::depth(leg)?.0)?).times(2)
    }

    /// What an asset is worth in the reference currency.
    pub(crate) async fn worth(&self, coin: &Coin) -> Result<Worth> {
        let decimals = coin.decimals.ok_or_else(|| Fault::not_found("the token does not say its decimals"))?;
        let price = self.prices.reference(&Asset::Token(coin.address), &self.currency).await?;
        let beyond = || Fault::too_large("the price is out of range");
        let numerator = price.price.in_units(18 + REFERENCE_DECIMALS).ok_or_else(beyond)?;
        let denominator: Amount = format!("1{}", "0".repeat(18 + usize::from(decimals))).parse()?;
        Ok(Worth { rate: Rate { numerator: numerator.0, denominator: denominator.0 }, price })
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
