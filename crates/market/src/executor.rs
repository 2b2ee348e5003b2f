//! The flash executor of `contracts/`: its creation code, calldata from a plain description, and what its errors and events say.
//!
//! Invariants (their tests are in `evm`, which has the compiler and the node):
//! - `contracts/FlashExecutor.json` is what the sources compile to; a test compiles them and compares.
//! - The signatures here are those of its interface; a test compares them with it.

use alloy_primitives::{U256, hex};
use kernel::chain::{Abi, Address, Amount, Data, FeeRule, FlashSource, Log, Revert};
use kernel::{Fault, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The compiled contract: its interface and creation code.
pub const ARTEFACT: &str = include_str!("../../../contracts/FlashExecutor.json");
const EXECUTE: &str =
    "execute((uint8,address,uint24,address,uint256,uint256,uint256,(address,address,uint24,bool)[]))(uint256)";
const EXECUTED: &str = "event Executed(address indexed asset, uint8 indexed lender, address indexed source, uint256 amount, uint256 owed, \
                        uint256 profit)";
/// Its own errors.
pub const ERRORS: [&str; 16] = [
    "BrokenPath(address end, address asset)",
    "EmptyPath()",
    "Expired(uint256 deadline, uint256 time)",
    "IsPaused()",
    "NoCallback(address callee)",
    "NotOwner(address caller)",
    "NotPendingOwner(address caller)",
    "NotSent(address to)",
    "Reentered()",
    "SwapIncomplete(uint256 leg, uint256 input, int256 taken)",
    "TooLarge(uint256 amount)",
    "TransferFailed(address token)",
    "TransferTaxed(address token, uint256 sent, uint256 received)",
    "UnexpectedCallback(address caller)",
    "Unprofitable(int256 profit, uint256 minimum)",
    "ZeroAddress()",
];

/// Who lends, as the contract distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lender {
    /// A flash swap of a pair of Uniswap V2 or one of its forks.
    UniswapV2 {
        /// The pair's fee in millionths.
        fee_millionths: u32,
    },
    /// A pool's `flash`.
    UniswapV3,
    /// The pool manager, unlocked.
    UniswapV4,
    /// The vault's `flashLoan`.
    BalancerV2,
    /// The pool's `flashLoanSimple`.
    AaveV3,
}

/// A kind of pool that a leg goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Venue {
    /// A pair of Uniswap V2 or one of its forks.
    V2 {
        /// The pair's fee in millionths.
        fee_millionths: u32,
    },
    /// A pool of Uniswap V3.
    V3,
}

/// One trade: all that the leg before gave, or the loan, for another token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The pair or pool.
    pub pool: Address,
    /// Its kind.
    pub venue: Venue,
    /// What is bought.
    pub token_out: Address,
}

/// What to borrow, which way to trade it, and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Who lends.
    pub lender: Lender,
    /// The pair, pool, manager or vault that lends. It cannot be a leg's as well: it is locked for the time of the loan.
    pub source: Address,
    /// What is borrowed, and what the last leg must give.
    pub asset: Address,
    /// How much is borrowed, in the asset's smallest unit.
    pub amount: Amount,
    /// The least that must be gained beyond what is owed, in the asset's smallest unit, gas not counted.
    pub min_profit: Amount,
    /// When it is too late, in seconds since 1970.
    pub deadline_s: u64,
    /// The trades in their order.
    pub legs: Vec<Leg>,
}

/// What the contract's event says of a plan that was carried out. Amounts are in the asset's smallest unit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Executed {
    /// What was borrowed.
    pub asset: Address,
    /// From which contract.
    pub source: Address,
    /// How much was borrowed.
    pub amount: Amount,
    /// How much was given back.
    pub owed: Amount,
    /// What the owner got.
    pub profit: Amount,
}

impl Lender {
    /// How the contract borrows from a source.
    ///
    /// # Errors
    /// The contract cannot borrow from such a source.
    pub fn of(source: &FlashSource) -> Result<Self> {
        Ok(match (source.provider.as_str(), source.fee) {
            (_, FeeRule::PairPerMille { per_mille }) => {
                let fee = u32::try_from(per_mille.saturating_mul(1_000));
                Self::UniswapV2 { fee_millionths: fee.map_err(|_| Fault::invalid("a pair's fee is over 100 %"))? }
            }
            ("uniswap-v3", _) => Self::UniswapV3,
            ("uniswap-v4", _) => Self::UniswapV4,
            ("balancer-v2", _) => Self::BalancerV2,
            ("aave-v3", _) => Self::AaveV3,
            (other, _) => {
                return Err(Fault::unsupported(format!("the flash executor cannot borrow from {other}"))
                    .hint("it knows uniswap-v2 and its forks, uniswap-v3, uniswap-v4, balancer-v2 and aave-v3"));
            }
        })
    }

    /// Its number in the contract, and the fee that the contract must be told.
    fn coded(self) -> (u8, u32) {
        match self {
            Self::UniswapV2 { fee_millionths } => (0, fee_millionths),
            Self::UniswapV3 => (1, 0),
            Self::UniswapV4 => (2, 0),
            Self::BalancerV2 => (3, 0),
            Self::AaveV3 => (4, 0),
        }
    }
}

impl Leg {
    fn coded(&self) -> Value {
        let (fee, v3) = match self.venue {
            Venue::V2 { fee_millionths } => (fee_millionths, false),
            Venue::V3 => (0, true),
        };
        json!([self.pool, self.token_out, fee, v3])
    }
}

impl Plan {
    /// The call that has the executor carry it out.
    ///
    /// # Errors
    /// A pair's fee is 100 % or more.
    pub fn calldata(&self, abi: &dyn Abi) -> Result<Data> {
        let venues = self.legs.iter().map(|leg| leg.venue);
        let fees = venues.filter_map(|venue| match venue {
            Venue::V2 { fee_millionths } => Some(fee_millionths),
            Venue::V3 => None,
        });
        let (lender, fee) = self.lender.coded();
        if fees.chain([fee]).any(|fee| fee >= 1_000_000) {
            return Err(Fault::invalid("a pair's fee is 100 % or more").hint("fees are in millionths: 3000 is 0.3 %"));
        }
        let legs: Vec<Value> = self.legs.iter().map(Leg::coded).collect();
        let (amount, least) = (self.amount.to_string(), self.min_profit.to_string());
        let plan = json!([lender, self.source, fee, self.asset, amount, least, self.deadline_s, legs]);
        abi.encode_call(EXECUTE, &[plan])
    }
}

/// The profit that `execute` returned, in the asset's smallest unit; none when this is no such answer.
pub fn profit(answer: &[u8]) -> Option<Amount> {
    let word: [u8; 32] = answer.try_into().ok()?;
    Some(Amount(U256::from_be_bytes(word)))
}

/// What a log of the executor says was carried out; none when it says something else.
pub fn executed(abi: &dyn Abi, log: &Log) -> Option<Executed> {
    let decoded = abi.decode_log(EXECUTED, &log.topics, &log.data).ok()?;
    let fields: serde_json::Map<String, Value> = decoded.args.into_iter().map(|arg| (arg.name, arg.value)).collect();
    serde_json::from_value(Value::Object(fields)).ok()
}

/// Why the executor refused, from what it reverted with: its own errors by their names, others as far as they are known.
///
/// # Errors
/// None in practice: the signatures are ours.
pub fn refusal(abi: &dyn Abi, revert: &[u8]) -> Result<Revert> {
    abi.decode_revert(revert, &ERRORS.map(str::to_owned))
}

/// The code that creates an executor for `owner`.
///
/// # Errors
/// None in practice: the compiled contract is ours.
pub fn creation_code(abi: &dyn Abi, owner: Address) -> Result<Data> {
    #[derive(Deserialize)]
    struct Artefact {
        bytecode: String,
    }
    let unreadable = |why: String| Fault::internal(format!("the executor's artefact cannot be read: {why}"));
    let artefact: Artefact = serde_json::from_str(ARTEFACT).map_err(|error| unreadable(error.to_string()))?;
    let mut code = hex::decode(&artefact.bytecode).map_err(|error| unreadable(error.to_string()))?;
    code.extend_from_slice(&abi.encode(&["address".to_owned()], &[json!(owner)])?);
    Ok(code.into())
}
