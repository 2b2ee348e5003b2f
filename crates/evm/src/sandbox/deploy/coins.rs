//! The tokens, their decimals and what they are worth where the market begins.

use alloy_primitives::U256;
use kernel::Result;
use kernel::chain::Address;
use serde_json::{Value, json};

use super::super::artefact;
use super::super::plan::Plan;

/// A token of the market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Coin {
    Weth,
    Usdc,
    Dai,
    Usdt,
    Wbtc,
    Link,
}

impl Coin {
    /// In the order of their numbers.
    pub(in crate::sandbox) const ALL: [Self; 6] =
        [Self::Weth, Self::Usdc, Self::Dai, Self::Usdt, Self::Wbtc, Self::Link];

    /// Its deployment's name.
    pub(in crate::sandbox) fn name(self) -> &'static str {
        ["weth", "usdc", "dai", "usdt", "wbtc", "link"][self as usize]
    }

    pub(in crate::sandbox) fn symbol(self) -> &'static str {
        ["WETH", "USDC", "DAI", "USDT", "WBTC", "LINK"][self as usize]
    }

    pub(in crate::sandbox) fn decimals(self) -> u8 {
        [18, 6, 18, 6, 8, 18][self as usize]
    }

    /// What one is worth at the beginning, in cents of a dollar.
    pub(in crate::sandbox) fn cents(self) -> u64 {
        [250_000, 100, 100, 100, 6_000_000, 1_500][self as usize]
    }

    fn title(self) -> &'static str {
        [
            "Wrapped Ether",
            "USD Coin (sandbox)",
            "Dai Stablecoin (sandbox)",
            "Tether USD (sandbox)",
            "Wrapped Bitcoin (sandbox)",
            "Chainlink Token (sandbox)",
        ][self as usize]
    }

    /// So many smallest units are worth `cents` cents of a dollar.
    pub(in crate::sandbox) fn worth(self, cents: U256) -> U256 {
        cents * U256::from(10).pow(U256::from(self.decimals())) / U256::from(self.cents())
    }
}

/// Where each token is.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct Coins([Address; Coin::ALL.len()]);

impl Coins {
    pub(in crate::sandbox) fn at(&self, coin: Coin) -> Address {
        self.0[coin as usize]
    }

    /// The two sorted as every pool sorts them.
    pub(in crate::sandbox) fn sorted(&self, a: Coin, b: Coin) -> (Coin, Coin) {
        if self.at(a) < self.at(b) { (a, b) } else { (b, a) }
    }

    /// Deploys them.
    pub(super) fn deploy(plan: &mut Plan<'_>) -> Result<Self> {
        let mut at = [Address::default(); Coin::ALL.len()];
        for coin in Coin::ALL {
            at[coin as usize] = if coin == Coin::Weth {
                plan.deploy(coin.name(), "Wrapped Ether, from canonical-weth", artefact::WETH, &[])?
            } else {
                let what = format!("a token of {} decimals that anyone may mint, from @aave/core-v3", coin.decimals());
                let args = [
                    ("string", json!(coin.title())),
                    ("string", json!(coin.symbol())),
                    ("uint8", json!(coin.decimals())),
                ];
                plan.deploy(coin.name(), &what, artefact::TOKEN, &args)?
            };
        }
        Ok(Self(at))
    }

    /// Gives the plan's account tokens worth `dollars` each; of the wrapped coin, `ether` whole ones.
    pub(super) fn fund(&self, plan: &mut Plan<'_>, dollars: u64, ether: u64) -> Result<()> {
        let whole = U256::from(10).pow(U256::from(18));
        for coin in Coin::ALL {
            if coin == Coin::Weth {
                plan.pay(self.at(coin), "deposit()", &[], U256::from(ether) * whole)?;
            } else {
                let amount = coin.worth(U256::from(dollars) * U256::from(100));
                plan.call(self.at(coin), "mint(address,uint256)", &[json!(plan.from()), number(amount)])?;
            }
        }
        Ok(())
    }

    /// Lets `spender` take any amount of every token from the plan's account.
    pub(super) fn approve(&self, plan: &mut Plan<'_>, spender: Address) -> Result<()> {
        let all = [json!(spender), number(U256::MAX)];
        self.0.iter().try_for_each(|token| plan.call(*token, "approve(address,uint256)", &all))
    }
}

/// A number as the encoder takes it.
pub(in crate::sandbox) fn number(value: U256) -> Value {
    json!(value.to_string())
}
