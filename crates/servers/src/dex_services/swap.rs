//! Swaps as calldata for the exchanges' own routers.

use kernel::chain::{Address, Amount, BlockId, CallRequest, Data};
use market::feed::At;
use market::pool::Pool;
use mcp::prelude::*;
use serde_json::{Value, json};

use super::quote::{Quoted, about_a_swap};
use super::{DexServices, QuoteRequest};
use crate::trading::coins::{Coin, Sum};
use crate::trading::exchanges::{Exchange, Interface};
use crate::trading::path::{Exact, Trade};

/// The whole of an amount.
const ALL_BPS: u32 = 10_000;
/// The most slippage accepted: more is a gift to whoever watches.
const SLIPPAGE_MAX_BPS: u32 = 5_000;
/// How long a swap may wait when the request does not say, in seconds.
const DEADLINE_SECONDS: u64 = 300;
/// How long it may wait at most.
const DEADLINE_MAX_SECONDS: u64 = 86_400;

const V2_EXACT_IN: &str = "swapExactTokensForTokens(uint256 amountIn,uint256 amountOutMin,address[] path,address to,uint256 deadline)(uint256[] amounts)";
const V2_EXACT_OUT: &str = "swapTokensForExactTokens(uint256 amountOut,uint256 amountInMax,address[] path,address to,uint256 deadline)(uint256[] amounts)";
const V3_EXACT_IN: &str = "exactInput((bytes path,address recipient,uint256 deadline,uint256 amountIn,uint256 amountOutMinimum) params)(uint256 amountOut)";
const V3_EXACT_OUT: &str = "exactOutput((bytes path,address recipient,uint256 deadline,uint256 amountOut,uint256 amountInMaximum) params)(uint256 amountIn)";
const APPROVE: &str = "approve(address spender,uint256 amount)(bool)";
const ALLOWANCE: &str = "allowance(address owner,address spender)(uint256)";

about_a_swap! {
    /// What [`BUILD_SWAP`](super::BUILD_SWAP) takes. Pools that are named are all of one exchange.
    BuildSwap {
        /// How much worse than quoted the swap may turn out before it reverts, in basis points, 0 to 5000.
        pub slippage_bps: u32,
        /// Who receives what comes out.
        pub recipient: Address,
        /// Who sends the swap: then its allowance is looked at.
        #[serde(default)]
        pub sender: Option<Address>,
        /// How many seconds from now the swap may still be mined, 1 to 86400; 300 when absent.
        #[serde(default = "deadline")]
        #[schemars(range(min = 1, max = 86400))]
        pub deadline_seconds: u64,
    }
}

fn deadline() -> u64 {
    DEADLINE_SECONDS
}

/// The leave that the router needs to take what goes in.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// Whose allowance: the contract to call with `data`, as the sender of the swap.
    pub token: Address,
    /// Who may take: the router.
    pub spender: Address,
    /// The least allowance that the swap needs.
    pub amount: Sum,
    /// Calldata of the approval of just that.
    pub data: Data,
    /// The sender's allowance now; absent when the request names no sender.
    pub allowance: Option<Amount>,
    /// Whether it is still needed; absent when the request names no sender.
    pub needed: Option<bool>,
}

/// What [`BUILD_SWAP`](super::BUILD_SWAP) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SwapAnswer {
    /// The block the quote is true at.
    #[serde(flatten)]
    pub at: At,
    /// The exchange.
    pub dex: String,
    /// The contract to call: the exchange's router.
    pub to: Address,
    /// The calldata.
    pub data: Data,
    /// Native coin to send along, in wei: none.
    pub value_wei: Amount,
    /// The function that the calldata calls.
    pub function: String,
    /// What goes in.
    pub token_in: Coin,
    /// How much goes in as quoted.
    pub amount_in: Sum,
    /// How much goes in at most.
    pub amount_in_max: Sum,
    /// What comes out.
    pub token_out: Coin,
    /// How much comes out as quoted.
    pub amount_out: Sum,
    /// How much comes out at least.
    pub amount_out_min: Sum,
    /// Until when it may be mined, in seconds since the Unix epoch.
    pub deadline: u64,
    /// The pools on the way.
    pub pools: Vec<Address>,
    /// The approval it needs first.
    pub approval: Approval,
}

/// What the router is told.
struct Order {
    exact: Exact,
    amount_in_max: Amount,
    amount_out_min: Amount,
    recipient: Address,
    deadline: u64,
}

impl DexServices {
    pub(super) async fn build_swap(&self, request: BuildSwap) -> Result<SwapAnswer, Fault> {
        let slippage_bps = request.slippage_bps;
        if slippage_bps > SLIPPAGE_MAX_BPS {
            return Err(Fault::invalid(format!("a slippage of {slippage_bps} basis points"))
                .hint(format!("0 to {SLIPPAGE_MAX_BPS}")));
        }
        if !(1..=DEADLINE_MAX_SECONDS).contains(&request.deadline_seconds) {
            return Err(Fault::invalid(format!("a deadline in {} seconds", request.deadline_seconds))
                .hint(format!("1 to {DEADLINE_MAX_SECONDS}")));
        }
        let quote = QuoteRequest {
            token_in: request.token_in,
            token_out: request.token_out,
            amount_in: request.amount_in,
            amount_out: request.amount_out,
            pools: request.pools,
        };
        let Quoted { at, trade, token_in, token_out, .. } = self.quoted(&quote).await?;
        let exchange = self.exchange_of(&trade).await?;
        let router = exchange.router.ok_or_else(|| {
            Fault::not_configured(format!("no router of {} is known here", exchange.name))
                .hint("set it in [[servers.dex-services.exchanges]]")
        })?;
        let exact = Exact::of(quote.amount_in, quote.amount_out)?;
        let (amount_in_max, amount_out_min) = bounds(&trade, exact, slippage_bps)?;
        let deadline = self.now_seconds() + request.deadline_seconds;
        let order = Order { exact, amount_in_max, amount_out_min, recipient: request.recipient, deadline };
        let (function, args) = match exchange.interface {
            Interface::UniswapV2 => order.pairs(&trade),
            Interface::UniswapV3 => order.pools(&trade),
        };
        let data = self.abi.encode_call(function, &args)?;
        let approval = self.approval(&token_in, router, amount_in_max, request.sender).await?;
        Ok(SwapAnswer {
            at,
            dex: exchange.name,
            to: router,
            data,
            value_wei: Amount::default(),
            function: self.abi.signature(function)?.canonical,
            amount_in: token_in.sum(trade.amount_in()),
            amount_in_max: token_in.sum(amount_in_max),
            amount_out: token_out.sum(trade.amount_out()),
            amount_out_min: token_out.sum(amount_out_min),
            deadline,
            pools: trade.legs.iter().map(|leg| leg.pool.address()).collect(),
            approval,
            token_in,
            token_out,
        })
    }

    /// The exchange whose pools these all are.
    async fn exchange_of(&self, trade: &Trade) -> Result<Exchange, Fault> {
        let mut names: Vec<&str> = trade.legs.iter().map(|leg| leg.pool.identity().protocol.as_str()).collect();
        names.dedup();
        match names[..] {
            [name] => self.exchanges.named(name).await,
            _ => Err(Fault::invalid(format!("the path goes through several exchanges: {}", names.join(", ")))
                .hint("a router serves the pools of one: build a swap for each part")),
        }
    }

    /// By this clock or by the newest block's, whichever is later: contracts go by the block's.
    fn now_seconds(&self) -> u64 {
        let now = u64::try_from(self.clock.now_ms() / 1_000).unwrap_or(0);
        now.max(self.chain.head().map_or(0, |head| head.timestamp_seconds))
    }

    async fn approval(
        &self,
        token: &Coin,
        spender: Address,
        amount: Amount,
        sender: Option<Address>,
    ) -> Result<Approval, Fault> {
        let allowance = match sender {
            None => None,
            Some(sender) => {
                let data = self.abi.encode_call(ALLOWANCE, &[json!(sender), json!(spender)])?;
                let returned = self.chain.call(&CallRequest::read(token.address, data), BlockId::Latest).await?;
                let values = self.abi.decode_output(ALLOWANCE, &returned)?;
                let value = values.first().map(|value| value.value.clone()).unwrap_or_default();
                let allowance: Amount = serde_json::from_value(value)
                    .map_err(|error| Fault::new(Code::Upstream, format!("the allowance of {sender}: {error}")))?;
                Some(allowance)
            }
        };
        Ok(Approval {
            token: token.address,
            spender,
            amount: token.sum(amount),
            data: self.abi.encode_call(APPROVE, &[json!(spender), json!(amount)])?,
            needed: allowance.map(|allowance| allowance < amount),
            allowance,
        })
    }
}

/// The most that may go in and the least that must come out.
fn bounds(trade: &Trade, exact: Exact, slippage_bps: u32) -> Result<(Amount, Amount), Fault> {
    let too_large = || Fault::too_large("the amount with its slippage does not fit 256 bits");
    let all = Amount::from(u64::from(ALL_BPS)).0;
    match exact {
        Exact::In(amount) => {
            let share = u64::from(ALL_BPS - slippage_bps);
            let least = trade.amount_out().times(share).ok_or_else(too_large)?;
            Ok((amount, Amount(least.0 / all)))
        }
        Exact::Out(amount) => {
            let share = u64::from(ALL_BPS + slippage_bps);
            let most = trade.amount_in().times(share).ok_or_else(too_large)?;
            Ok((Amount(most.div_ceil(all)), amount))
        }
    }
}

impl Order {
    fn pairs(&self, trade: &Trade) -> (&'static str, Vec<Value>) {
        let mut path: Vec<Address> = trade.legs.iter().map(|leg| leg.ends().0).collect();
        path.extend(trade.legs.last().map(|leg| leg.ends().1));
        let (function, exact, bound) = match self.exact {
            Exact::In(amount) => (V2_EXACT_IN, amount, self.amount_out_min),
            Exact::Out(amount) => (V2_EXACT_OUT, amount, self.amount_in_max),
        };
        (function, vec![json!(exact), json!(bound), json!(path), json!(self.recipient), json!(self.deadline)])
    }

    /// The path is tokens with the fees between them; by the amount out it is told from its end.
    fn pools(&self, trade: &Trade) -> (&'static str, Vec<Value>) {
        let fees = trade.legs.iter().map(|leg| (leg.ends(), leg.pool.fee_millionths()));
        let mut path: Vec<u8> = Vec::new();
        let mut step = |first: Address, fee: u32| {
            path.extend_from_slice(first.as_slice());
            // A fee has 24 bits.
            path.extend_from_slice(&fee.to_be_bytes()[1..]);
        };
        let (function, exact, bound) = match self.exact {
            Exact::In(amount) => {
                fees.for_each(|((from, _), fee)| step(from, fee));
                path.extend(trade.legs.last().into_iter().flat_map(|leg| leg.ends().1.to_vec()));
                (V3_EXACT_IN, amount, self.amount_out_min)
            }
            Exact::Out(amount) => {
                fees.rev().for_each(|((_, to), fee)| step(to, fee));
                path.extend(trade.legs.first().into_iter().flat_map(|leg| leg.ends().0.to_vec()));
                (V3_EXACT_OUT, amount, self.amount_in_max)
            }
        };
        let path = Data::from(path);
        let params = json!([path, self.recipient, self.deadline, exact, bound]);
        (function, vec![params])
    }
}
