//! Who lends, and what a cycle leaves after everything that must be paid.
//!
//! How each lender rounds its fee is [`FeeRule`](kernel::chain::FeeRule)'s (Aave V3 `PercentageMath.percentMul`, Uniswap V3
//! `UniswapV3Pool.flash`, Uniswap V2 `UniswapV2Pair.swap`, Balancer V2 `FlashLoans`; Uniswap V4 `PoolManager.unlock` lends for nothing).

use alloy_primitives::U256;
use kernel::chain::{Address, Amount, FlashSource};
use serde::{Deserialize, Serialize};

use crate::pool::Pool;
use crate::search::Hop;
use crate::sizing::{Path, Sized, Trade, best};
use crate::{Book, Rate, Result, Signed};

/// Most lenders considered for one cycle, the cheapest rates first.
const LENDERS_MAX: usize = 8;

/// What a trade costs beside the loan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// What a unit of gas costs, base fee and priority fee, in wei.
    pub gas_price_wei: U256,
    /// Gas burnt outside pools and lender: the transaction itself and the executor.
    pub gas_overhead: u64,
    /// What is paid to the block's builder besides, in wei.
    pub tip_wei: U256,
    /// What a wei is worth in the funding asset.
    pub wei_in_asset: Rate,
    /// What the funding asset is worth in the reference currency; absent when it has no price.
    pub asset_in_reference: Option<Rate>,
}

/// A cycle with its size, its lender and all that it costs. Amounts are in the funding asset's smallest units unless named otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opportunity {
    /// The pools in order.
    pub hops: Vec<Hop>,
    /// Where the input is borrowed.
    pub lender: FlashSource,
    /// What is traded, hop by hop.
    pub trade: Trade,
    /// The lender's fee.
    pub flash_fee: Amount,
    /// All gas, estimated.
    pub gas: u64,
    /// What that gas costs, rounded up.
    pub gas_cost: Amount,
    /// The tip, rounded up.
    pub tip: Amount,
    /// Output − input − flash fee − gas − tip.
    pub net: Signed,
    /// The same in the reference currency, rounded against us; absent when there is no price.
    pub net_in_reference: Option<Signed>,
}

impl Opportunity {
    /// The pools it changes.
    pub fn pools(&self) -> impl Iterator<Item = crate::PoolId> {
        self.hops.iter().map(|hop| hop.pool)
    }
}

/// The cheapest of those that lend this amount, and its fee. A contract that the trade goes through is locked during the loan and cannot
/// be its lender.
pub fn cheapest<'a>(sources: &'a [FlashSource], amount: U256, in_use: &[Address]) -> Option<(&'a FlashSource, Amount)> {
    let lend = sources.iter().filter(|source| source.liquidity.0 >= amount && !in_use.contains(&source.contract));
    lend.filter_map(|source| Some((source, source.fee.fee(Amount(amount))?))).min_by_key(|(_, fee)| *fee)
}

/// An estimate of the gas a loan burns beside what is done with it. Simulation tells the truth.
pub fn loan_gas(provider: &str) -> u64 {
    match provider {
        "uniswap-v4" => 60_000,
        "balancer-v2" => 70_000,
        "uniswap-v3" => 90_000,
        "uniswap-v2" | "sushiswap-v2" => 75_000,
        // Aave V3 keeps rates and indices up to date in every loan.
        _ => 200_000,
    }
}

/// A lender, and the size with which most is left of a cycle after paying it back, before gas.
#[derive(Debug, Clone, PartialEq)]
pub struct Loan {
    /// Who lends.
    pub lender: FlashSource,
    /// How much, and what comes of it.
    pub sized: Sized,
}

/// The size and the lender with which a cycle leaves most, whether or not that is a gain; `None` when no lender and no size lets anything
/// remain of the output. `guess` is near the best input ([`Candidate::input`](crate::search::Candidate)).
pub fn evaluate(
    book: &Book,
    hops: &[Hop],
    sources: &[FlashSource],
    costs: &Costs,
    guess: U256,
) -> Result<Option<Opportunity>> {
    cheapest_loan(hops, &loans(book, hops, sources, guess)?, costs)
}

/// Who may lend for a cycle, each with its best size: what of [`evaluate`] depends on nothing but the pools on the way and the lenders, and takes
/// nearly all of its time.
pub fn loans(book: &Book, hops: &[Hop], sources: &[FlashSource], guess: U256) -> Result<Vec<Loan>> {
    let path = Path::new(book, hops)?;
    let in_use: Vec<Address> = hops.iter().filter_map(|hop| Some(book.get(hop.pool)?.address())).collect();
    let mut lenders: Vec<&FlashSource> =
        sources.iter().filter(|source| !in_use.contains(&source.contract) && !source.liquidity.0.is_zero()).collect();
    lenders.sort_by_key(|source| (source.fee.millionths(), loan_gas(&source.provider)));
    lenders.truncate(LENDERS_MAX);
    let mut loans = Vec::new();
    // The least gas among lenders that had all that was wanted: dearer ones that burn no less cannot do better.
    let mut sated: Option<u64> = None;
    for lender in lenders {
        let loan_gas = loan_gas(&lender.provider);
        if sated.is_some_and(|gas| loan_gas >= gas) {
            continue;
        }
        let Some(sized) = best(&path, &lender.fee, lender.liquidity.0, guess) else { continue };
        // Rounding may put the best a little under a limit that binds.
        if sized.trade.input < lender.liquidity.0 / U256::from(2) {
            sated = Some(loan_gas);
        }
        loans.push(Loan { lender: lender.clone(), sized });
    }
    Ok(loans)
}

/// The one of a cycle's loans that leaves most after all costs.
pub fn cheapest_loan(hops: &[Hop], loans: &[Loan], costs: &Costs) -> Result<Option<Opportunity>> {
    let in_asset = |wei: U256| costs.wei_in_asset.up(wei).ok_or(crate::Error::Overflow);
    let mut top: Option<Opportunity> = None;
    for Loan { lender, sized } in loans {
        let gas = sized.trade.gas.saturating_add(loan_gas(&lender.provider)).saturating_add(costs.gas_overhead);
        let wei = costs.gas_price_wei.saturating_mul(U256::from(gas));
        let (gas_cost, tip) = (in_asset(wei)?, in_asset(costs.tip_wei)?);
        let net = Signed::difference(sized.gain, gas_cost).minus(Signed::gain(tip));
        if top.as_ref().is_some_and(|top| top.net >= net) {
            continue;
        }
        let net_in_reference = costs.asset_in_reference.and_then(|rate| rate.cautiously(net));
        top = Some(Opportunity {
            hops: hops.to_vec(),
            lender: lender.clone(),
            flash_fee: Amount(sized.repayment - sized.trade.input),
            trade: sized.trade.clone(),
            gas,
            gas_cost: Amount(gas_cost),
            tip: Amount(tip),
            net,
            net_in_reference,
        });
    }
    Ok(top)
}

#[cfg(test)]
mod tests {
    use kernel::chain::FeeRule;

    use super::*;
    use crate::fixtures::{address, v2_between};
    use crate::pool::Way;

    fn source(provider: &str, contract: u8, liquidity: u128, fee: FeeRule) -> FlashSource {
        FlashSource {
            provider: provider.into(),
            contract: address(contract),
            paired_with: None,
            liquidity: Amount(U256::from(liquidity)),
            fee,
        }
    }

    fn sources() -> [FlashSource; 4] {
        [
            source("aave-v3", 1, 1 << 100, FeeRule::BpsHalfUp { bps: 5 }),
            source("uniswap-v3", 2, 1 << 100, FeeRule::MillionthsUp { millionths: 100 }),
            source("uniswap-v4", 3, 1_000, FeeRule::WadUp { wad: Amount::from(0) }),
            source("uniswap-v2", 101, 1 << 100, FeeRule::PairPerMille { per_mille: 3 }),
        ]
    }

    #[test]
    fn the_cheapest_that_has_enough_and_is_not_in_use() {
        let sources = sources();
        let choose = |amount: u64, in_use: &[Address]| {
            cheapest(&sources, U256::from(amount), in_use).map(|(source, fee)| (source.contract, fee.0.to::<u64>()))
        };
        assert_eq!(choose(1_000, &[]), Some((address(3), 0)));
        assert_eq!(choose(1_000_000, &[]), Some((address(2), 100)));
        assert_eq!(choose(1_000_000, &[address(2)]), Some((address(1), 500)));
        assert_eq!(choose(1_000_000, &[1, 2, 101].map(address)), None);
        // For 999 units Aave's fee rounds to nothing.
        assert_eq!(choose(999, &[address(3)]), Some((address(1), 0)));
    }

    fn costs(gas_price_wei: u64) -> Costs {
        Costs {
            gas_price_wei: U256::from(gas_price_wei),
            gas_overhead: 100_000,
            tip_wei: U256::from(7),
            wei_in_asset: Rate { numerator: U256::ONE, denominator: U256::from(2) },
            asset_in_reference: Some(Rate { numerator: U256::from(3), denominator: U256::from(1_000) }),
        }
    }

    #[test]
    fn what_is_left_adds_up() {
        let mut book = Book::default();
        let held = [10u128.pow(24), 10u128.pow(24)];
        let first = book.join(1, v2_between(1, [0, 1], held).into()).unwrap();
        let second = book.join(1, v2_between(2, [1, 0], [10u128.pow(24), 12 * 10u128.pow(23)]).into()).unwrap();
        let hops = [first, second].map(|pool| Hop { pool, way: Way::ZeroForOne });
        let found = evaluate(&book, &hops, &sources(), &costs(1_000), U256::ONE).unwrap().unwrap();
        // The pair at 101 is in the cycle, the cheapest has only a thousand units, and the next is cheaper than Aave.
        assert_eq!(found.lender.contract, address(2));
        assert_eq!(found.gas, 2 * 60_000 + loan_gas("uniswap-v3") + 100_000);
        assert_eq!(found.gas_cost, Amount::from(found.gas * 500));
        assert_eq!(found.tip, Amount::from(4));
        let paid = [found.trade.input, found.flash_fee.0, found.gas_cost.0, found.tip.0];
        assert_eq!(found.net, Signed::difference(found.trade.output, paid.into_iter().sum()));
        assert_eq!(found.net_in_reference, Some(Signed::gain(found.net.size() * U256::from(3) / U256::from(1_000))));
        // Where the gas is worth more than the gain, that is said too.
        let dear = evaluate(&book, &hops, &sources(), &costs(10u64.pow(18)), U256::ONE).unwrap().unwrap();
        assert!(dear.net.is_loss() && dear.net_in_reference.is_some_and(Signed::is_loss));
        // Back the other way nothing is left at any size.
        let back = [Hop { pool: second, way: Way::OneForZero }, Hop { pool: first, way: Way::OneForZero }];
        assert_eq!(evaluate(&book, &back, &sources(), &costs(1), U256::ONE), Ok(None));
    }
}
