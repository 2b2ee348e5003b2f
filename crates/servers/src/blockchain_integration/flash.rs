//! Flash-loan terms, read from the lenders' own contracts.

use kernel::chain::{Address, Amount, BlockId, FlashSource, UnreadSource};
use mcp::prelude::*;

use super::BlockchainIntegration;

/// What [`FLASH_LOAN_PROVIDERS`](super::FLASH_LOAN_PROVIDERS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlashProviders {
    /// The ERC-20 token to borrow; the wrapped one for the native coin.
    pub asset: Address,
}

/// A lender.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Provider {
    /// The lender.
    #[serde(flatten)]
    pub source: FlashSource,
    /// Its fee in basis points, for comparing; `fee` says how it is computed to the last unit.
    pub fee_bps: f64,
    /// The most that can be borrowed, in whole units; absent where the token's decimals are not known.
    pub liquidity_units: Option<String>,
}

/// What [`FLASH_LOAN_PROVIDERS`](super::FLASH_LOAN_PROVIDERS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FlashProvidersAnswer {
    /// The token to borrow.
    pub asset: Address,
    /// Its symbol, in its own words.
    pub symbol: Option<String>,
    /// Decimal digits of a whole unit.
    pub decimals: Option<u8>,
    /// The block at which this was read.
    pub block_number: u64,
    /// The lenders with something to lend, the cheapest first.
    pub providers: Vec<Provider>,
    /// The lenders known on this chain that could not be read.
    pub unread: Vec<UnreadSource>,
}

/// What [`FLASH_LOAN_QUOTE`](super::FLASH_LOAN_QUOTE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlashQuote {
    /// The ERC-20 token to borrow; the wrapped one for the native coin.
    pub asset: Address,
    /// How much, in the token's smallest unit.
    pub amount: Amount,
    /// Only from this protocol: `aave-v3`, `balancer-v2`, `uniswap-v4`, `uniswap-v3`, `uniswap-v2`, `sushiswap-v2`.
    #[serde(default)]
    pub provider: Option<String>,
}

/// One lender's terms.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Quote {
    /// The protocol.
    pub provider: String,
    /// The contract to borrow from.
    pub contract: Address,
    /// For a pair or pool, the other token in it.
    pub paired_with: Option<Address>,
    /// The fee, in the token's smallest unit, exact.
    pub fee: Amount,
    /// What must be given back, in the token's smallest unit, exact.
    pub repayment: Amount,
    /// The fee's rate in basis points.
    pub fee_bps: f64,
    /// The most that can be borrowed there, in the token's smallest unit.
    pub liquidity: Amount,
}

/// What [`FLASH_LOAN_QUOTE`](super::FLASH_LOAN_QUOTE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FlashQuoteAnswer {
    /// The token to borrow.
    pub asset: Address,
    /// How much.
    pub amount: Amount,
    /// The block at which this was read.
    pub block_number: u64,
    /// Those who can lend that much, the cheapest first.
    pub quotes: Vec<Quote>,
    /// How many lend the asset, but not that much.
    pub too_small: usize,
    /// The lenders known on this chain that could not be read.
    pub unread: Vec<UnreadSource>,
}

fn bps(source: &FlashSource) -> f64 {
    source.fee.millionths() as f64 / 100.0
}

impl BlockchainIntegration {
    pub(super) async fn flash_loan_providers(&self, request: FlashProviders) -> Result<FlashProvidersAnswer, Fault> {
        let asset = request.asset;
        let market = self.chain.flash_sources(asset, 0).await?;
        let token = self.chain.token(asset, BlockId::Number(market.block_number)).await?;
        let shown = |source: FlashSource| Provider {
            fee_bps: bps(&source),
            liquidity_units: token.decimals.map(|decimals| source.liquidity.in_units(decimals)),
            source,
        };
        Ok(FlashProvidersAnswer {
            asset,
            block_number: market.block_number,
            providers: market.sources.into_iter().map(shown).collect(),
            unread: market.unread,
            symbol: token.symbol,
            decimals: token.decimals,
        })
    }

    pub(super) async fn flash_loan_quote(&self, request: FlashQuote) -> Result<FlashQuoteAnswer, Fault> {
        let FlashQuote { asset, amount, provider } = request;
        if amount.is_zero() {
            return Err(Fault::invalid("a loan of nothing").hint("give the amount in the token's smallest unit"));
        }
        let market = self.chain.flash_sources(asset, 0).await?;
        let wanted = |source: &FlashSource| provider.as_ref().is_none_or(|provider| *provider == source.provider);
        let sources: Vec<_> = market.sources.into_iter().filter(wanted).collect();
        let mut quotes: Vec<_> =
            sources.iter().filter(|source| source.liquidity >= amount).filter_map(|s| quote(s, amount)).collect();
        quotes.sort_by_key(|quote| quote.fee);
        if quotes.is_empty() {
            let most = sources.iter().map(|source| source.liquidity).max();
            let hint = most.map_or("flash_loan_providers lists who lends what".to_owned(), |most| {
                format!("the most that one lends is {most}")
            });
            let unread = market
                .unread
                .iter()
                .map(|unread| format!("; {} could not be read", unread.provider))
                .collect::<String>();
            return Err(Fault::not_found(format!("nobody lends {amount} of {asset}{unread}")).hint(hint));
        }
        let too_small = sources.len() - quotes.len();
        Ok(FlashQuoteAnswer {
            asset,
            amount,
            block_number: market.block_number,
            quotes,
            too_small,
            unread: market.unread,
        })
    }
}

/// A lender's terms; none where the sum is beyond 256 bits, which no lender has.
fn quote(source: &FlashSource, amount: Amount) -> Option<Quote> {
    Some(Quote {
        provider: source.provider.clone(),
        contract: source.contract,
        paired_with: source.paired_with,
        fee: source.fee.fee(amount)?,
        repayment: source.fee.repayment(amount)?,
        fee_bps: bps(source),
        liquidity: source.liquidity,
    })
}
