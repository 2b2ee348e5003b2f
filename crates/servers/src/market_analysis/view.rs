//! Opportunities as they are shown.

use kernel::chain::{Address, Amount};
use market::Book;
use market::Signed;
use market::lender::Opportunity;
use market::pool::Pool;
use mcp::prelude::*;

use super::costs::Terms;
use crate::trading::coins::{Coin, Sum};
use crate::trading::path::HopView;
use crate::trading::pricing::REFERENCE_DECIMALS;

/// A gain, or a loss.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Net {
    /// In the token's smallest unit, exact; negative for a loss.
    pub amount: Signed,
    /// The same in whole tokens; absent where the token's decimals are not known.
    pub units: Option<String>,
}

/// A cycle with its best size, its lender and all that it costs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OpportunityView {
    /// Names the cycle: the same in every block.
    pub id: String,
    /// The asset that is borrowed and paid back.
    pub funding: Coin,
    /// The pools on the way.
    pub hops: Vec<HopView>,
    /// The lender's protocol.
    pub lender: String,
    /// The contract to borrow from.
    pub lender_contract: Address,
    /// What is borrowed.
    pub amount_in: Sum,
    /// What comes out at the end.
    pub amount_out: Sum,
    /// The lender's fee.
    pub flash_fee: Sum,
    /// All gas, estimated.
    pub gas_estimate: u64,
    /// What that gas costs, in the funding asset.
    pub gas_cost: Sum,
    /// The tip, in the funding asset.
    pub tip: Sum,
    /// What is left: out less in, flash fee, gas and tip.
    pub net: Net,
    /// The same in the reference currency, rounded against us; absent when there is no price.
    pub net_in_reference: Option<String>,
}

impl Net {
    pub(super) fn of(coin: &Coin, amount: Signed) -> Self {
        Self { amount, units: coin.decimals.map(|decimals| units(amount, decimals)) }
    }
}

/// In whole units, with its sign.
fn units(amount: Signed, decimals: u8) -> String {
    let sign = if amount.is_loss() { "-" } else { "" };
    format!("{sign}{}", Amount(amount.size()).in_units(decimals))
}

/// The cycle's name: a hash of its funding asset and its pools in order, in 16 hexadecimal digits.
pub(super) fn id(funding: Address, pools: impl Iterator<Item = Address>) -> String {
    let bytes: Vec<u8> = std::iter::once(funding).chain(pools).flat_map(|address| address.to_vec()).collect();
    kernel::ids::digest(&bytes)
}

impl OpportunityView {
    /// `book` is the one that the opportunity was found in.
    pub(super) fn of(opportunity: &Opportunity, book: &Book, terms: &Terms) -> Result<Self, Fault> {
        let coin = &terms.coin;
        let mut hops = Vec::with_capacity(opportunity.hops.len());
        for (hop, quote) in opportunity.hops.iter().zip(&opportunity.trade.quotes) {
            let pool = book.get(hop.pool).ok_or_else(|| Fault::internal("a hop without its pool"))?;
            hops.push(HopView::of(pool, hop.way, quote));
        }
        let pools = opportunity.pools().filter_map(|id| book.get(id)).map(Pool::address);
        Ok(Self {
            id: id(coin.address, pools),
            hops,
            lender: opportunity.lender.provider.clone(),
            lender_contract: opportunity.lender.contract,
            amount_in: coin.sum(Amount(opportunity.trade.input)),
            amount_out: coin.sum(Amount(opportunity.trade.output)),
            flash_fee: coin.sum(opportunity.flash_fee),
            gas_estimate: opportunity.gas,
            gas_cost: coin.sum(opportunity.gas_cost),
            tip: coin.sum(opportunity.tip),
            net: Net::of(coin, opportunity.net),
            net_in_reference: opportunity.net_in_reference.map(|net| units(net, REFERENCE_DECIMALS)),
            funding: coin.clone(),
        })
    }
}
