//! Prices that a test sets.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::prices::{Asset, Prices, ReferencePrice};
use crate::{Clock, Decimal, Fault, Result, UnixMs};

/// See the module. Its one source calls itself `fake`.
#[derive(Debug, Default)]
pub struct FakePrices {
    clock: Clock,
    set: Mutex<HashMap<(Asset, String), (Decimal, UnixMs)>>,
}

impl FakePrices {
    /// No prices yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, set: Mutex::default() }
    }

    /// From now the asset costs that much.
    pub fn set(&self, asset: Asset, currency: &str, price: Decimal) {
        self.set.lock().insert((asset, currency.to_owned()), (price, self.clock.now_ms()));
    }
}

#[async_trait]
impl Prices for FakePrices {
    async fn reference(&self, asset: &Asset, currency: &str) -> Result<ReferencePrice> {
        let set = self.set.lock().get(&(asset.clone(), currency.to_owned())).copied();
        let (price, at_ms) =
            set.ok_or_else(|| Fault::not_found(format!("the test set no price of {asset:?} in {currency}")))?;
        let age_ms = self.clock.now_ms() - at_ms;
        let used = vec!["fake".into()];
        Ok(ReferencePrice { price, at_ms, age_ms, confidence: 1.0, spread_bps: 0, lone: true, disputed: false, used })
    }
}
