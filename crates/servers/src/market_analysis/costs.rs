//! What a trade costs: gas at the current base fee, the lender, the tip; and what the funding asset is worth.

use kernel::Result;
use kernel::chain::{Address, Amount, FlashSource};
use market::Rate;
use market::lender::Costs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MarketAnalysis;
use crate::trading::coins::Coin;

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

impl MarketAnalysis {
    /// What it takes to price cycles of this asset.
    pub(super) async fn terms(&self, asset: Address, wei_in_asset: Rate, base_fee: Amount) -> Result<Terms> {
        let coin = self.coins.coin(asset).await;
        let (asset_in_reference, unpriced) = match self.pricing.worth(&coin).await {
            Ok(worth) => (Some(worth.rate), None),
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
        Ok(Terms { costs, lenders: self.pricing.lenders(asset).await?, unpriced, coin })
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
