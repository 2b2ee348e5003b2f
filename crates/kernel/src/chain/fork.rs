//! A copy of the chain's state that this process runs transactions on.
//!
//! What a transaction would do in the next block is found out here without asking a node each time: the first run on a block reads what it
//! touches, the runs after it find that in memory.

use alloy_primitives::U256;
use async_trait::async_trait;

use super::{AccountOverride, Address, Amount, CallRequest, Hash, Head, Simulation};
use crate::Result;

/// Most gas one transaction may have, by EIP-7825.
pub const TRANSACTION_GAS_MAX: u64 = 16_777_216;

/// What a transaction offers per gas (EIP-1559).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Fees {
    /// The most it pays per gas, in wei, the base fee included.
    pub max_fee_per_gas_wei: Amount,
    /// The most of that which goes to the block's maker, in wei.
    pub max_priority_fee_per_gas_wei: Amount,
}

impl Fees {
    /// What it pays per gas in a block with this base fee; `None` when it cannot be in such a block.
    pub fn price_at(&self, base_fee_per_gas_wei: Amount) -> Option<Amount> {
        let most = self.max_fee_per_gas_wei.0;
        let wanted = base_fee_per_gas_wei.0.saturating_add(self.max_priority_fee_per_gas_wei.0);
        (most >= base_fee_per_gas_wei.0).then(|| Amount(wanted.min(most)))
    }
}

/// What a transaction says beforehand that it will touch (EIP-2930).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Access {
    /// The account.
    pub address: Address,
    /// Slots of its storage.
    pub slots: Vec<Hash>,
}

/// A transaction to try.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// What it calls. Without a gas limit it has as much as the block and [`TRANSACTION_GAS_MAX`] allow.
    pub call: CallRequest,
    /// What it offers per gas. Without, gas costs nothing, as in a node's `eth_call`.
    pub fees: Option<Fees>,
    /// Its access list.
    pub access_list: Vec<Access>,
}

impl From<CallRequest> for Trial {
    fn from(call: CallRequest) -> Self {
        Self { call, ..Self::default() }
    }
}

/// The block that trials are run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextBlock {
    /// Its height.
    pub number: u64,
    /// Its time, in seconds since the Unix epoch.
    pub timestamp_seconds: u64,
    /// Its base fee per gas, in wei; 0 on chains without one.
    pub base_fee_per_gas_wei: Amount,
    /// Gas its transactions may use at most.
    pub gas_limit: u64,
    /// Who receives its fees. Unknown before it is made, so the zero address unless set.
    pub fee_recipient: Address,
}

impl NextBlock {
    /// The block after `head`, made at `now_seconds`, or a second after `head` when that is later.
    pub fn after(head: &Head, now_seconds: u64) -> Self {
        Self {
            number: head.number + 1,
            timestamp_seconds: now_seconds.max(head.timestamp_seconds + 1),
            base_fee_per_gas_wei: head.next_base_fee_per_gas_wei().unwrap_or_default(),
            gas_limit: head.gas_limit,
            fee_recipient: Address::default(),
        }
    }
}

impl Head {
    /// The base fee per gas of the block after this, in wei, by EIP-1559's rule with Ethereum's figures (the target is half the limit,
    /// an eighth at most from block to block); `None` on chains without one.
    pub fn next_base_fee_per_gas_wei(&self) -> Option<Amount> {
        let fee = self.base_fee_per_gas_wei?.0;
        let (target, used) = (U256::from(self.gas_limit / 2), U256::from(self.gas_used));
        if target.is_zero() || used == target {
            return Some(Amount(fee));
        }
        let change = |gas: U256| fee.saturating_mul(gas) / target / U256::from(8);
        Some(Amount(if used > target {
            fee.saturating_add(change(used - target).max(U256::from(1)))
        } else {
            fee - change(target - used)
        }))
    }
}

/// The state after one block, held in this process. It is of that block for ever: for the next, take another fork; what was asked for at the one
/// before is read there in one go.
#[async_trait]
pub trait Fork: Send {
    /// The block whose state this is.
    fn base(&self) -> &Head;

    /// The block that trials are run in.
    fn block(&self) -> &NextBlock;

    /// Changes that block.
    fn set_block(&mut self, block: NextBlock);

    /// Changes accounts for all runs that follow.
    fn change(&mut self, overrides: &[AccountOverride]);

    /// Runs a transaction and forgets what it changed. A revert is an answer, not a fault.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) when no block could hold it: the sender cannot pay, the fee is below the
    /// base fee, the gas is too little to begin with or more than one may have. Whatever reading the chain fails with.
    async fn attempt(&mut self, trial: &Trial) -> Result<Simulation>;

    /// The same, and the runs that follow find what it changed.
    async fn apply(&mut self, trial: &Trial) -> Result<Simulation>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fee: u64, gas_used: u64, gas_limit: u64) -> Head {
        Head {
            number: 7,
            hash: Hash::default(),
            parent_hash: Hash::default(),
            timestamp_seconds: 100,
            base_fee_per_gas_wei: Some(fee.into()),
            gas_used,
            gas_limit,
        }
    }

    #[test]
    fn the_next_base_fee_is_the_standards() {
        // The first is Ethereum's block 12,965,000, where the rule began: 12,965,001 says that fee.
        for (fee, used, limit, next) in [
            (1_000_000_000, 30_025_257, 30_029_122, 1_124_967_822),
            (1_124_967_822, 30_029_122, 30_029_122, 1_265_588_799),
            (1_000_000_000, 0, 30_000_000, 875_000_000),
            (1_000_000_000, 15_000_000, 30_000_000, 1_000_000_000),
            (1, 15_000_001, 30_000_000, 2),
            (7, 0, 30_000_000, 7),
        ] {
            assert_eq!(head(fee, used, limit).next_base_fee_per_gas_wei(), Some(next.into()), "{fee} {used}");
        }
    }

    #[test]
    fn the_next_block_is_later_than_its_parent() {
        assert_eq!(NextBlock::after(&head(8, 1, 2), 50).timestamp_seconds, 101);
        assert_eq!(NextBlock::after(&head(8, 1, 2), 500).timestamp_seconds, 500);
    }

    #[test]
    fn what_is_paid_is_bounded_by_both_fees() {
        let fees = Fees { max_fee_per_gas_wei: 30.into(), max_priority_fee_per_gas_wei: 2.into() };
        for (base, pays) in [(10, Some(12)), (28, Some(30)), (29, Some(30)), (30, Some(30)), (31, None)] {
            assert_eq!(fees.price_at(base.into()), pays.map(Amount::from), "{base}");
        }
    }
}
