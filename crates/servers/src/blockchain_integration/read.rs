//! Plain reads: status, blocks, balances, transactions, receipts, tokens.

use kernel::chain::{
    Address, Amount, Block, BlockId, ChainStatus, DecodedCall, Hash, Head, Receipt, Token, Transaction,
};
use mcp::prelude::*;

use super::BlockchainIntegration;
use super::logs::LogView;

/// Decimal digits of the native coin on every EVM chain.
const NATIVE_DECIMALS: u8 = 18;

/// Takes nothing.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// What [`GET_BLOCK`](super::GET_BLOCK) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetBlock {
    /// Which block; the newest when absent.
    #[serde(default)]
    pub block: BlockId,
    /// Whether to list its transactions' hashes.
    #[serde(default)]
    pub include_transactions: bool,
}

/// What [`GET_BLOCK`](super::GET_BLOCK) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BlockAnswer {
    /// Its place, time and gas.
    #[serde(flatten)]
    pub head: Head,
    /// Who received its fees.
    pub fee_recipient: Address,
    /// The root of the state after it.
    pub state_root: Hash,
    /// The size of its encoding, in bytes, where the node says.
    pub size_bytes: Option<u64>,
    /// How many transactions it holds.
    pub transaction_count: usize,
    /// Their hashes in order, where asked for.
    pub transactions: Option<Vec<Hash>>,
}

/// What [`GET_BALANCE`](super::GET_BALANCE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetBalance {
    /// Whose balance.
    pub account: Address,
    /// An ERC-20 token's contract; the native coin when absent.
    #[serde(default)]
    pub token: Option<Address>,
    /// At which block; the newest when absent.
    #[serde(default)]
    pub block: BlockId,
}

/// What [`GET_BALANCE`](super::GET_BALANCE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BalanceAnswer {
    /// Whose balance.
    pub account: Address,
    /// The token's contract; absent for the native coin.
    pub token: Option<Address>,
    /// The token's symbol, in its own words; absent for the native coin.
    pub symbol: Option<String>,
    /// The balance in the smallest unit: wei, or the token's own.
    pub balance: Amount,
    /// Decimal digits of a whole unit; absent where the token does not say.
    pub decimals: Option<u8>,
    /// The balance in whole units, exact; absent where the token's decimals are not known.
    pub balance_units: Option<String>,
}

/// What tools take that look one thing up by its hash.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByHash {
    /// The transaction's hash.
    pub hash: Hash,
}

/// What [`GET_TRANSACTION`](super::GET_TRANSACTION) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TransactionAnswer {
    /// The transaction.
    #[serde(flatten)]
    pub transaction: Transaction,
    /// Its call, decoded; absent where the function is not widely known.
    pub call: Option<DecodedCall>,
}

/// What [`GET_RECEIPT`](super::GET_RECEIPT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptAnswer {
    /// The transaction's hash.
    pub transaction_hash: Hash,
    /// Whether it succeeded.
    pub success: bool,
    /// Why it failed; absent when it did not, or where the node cannot trace it.
    pub failure: Option<String>,
    /// The block it is in.
    pub block_number: u64,
    /// That block's hash.
    pub block_hash: Hash,
    /// Its place in that block.
    pub index: u64,
    /// Blocks made since, this one counted: 1 for the newest block.
    pub confirmations: u64,
    /// Who sent it.
    pub from: Address,
    /// The account or contract called.
    pub to: Option<Address>,
    /// The contract it created.
    pub contract_address: Option<Address>,
    /// Gas it used.
    pub gas_used: u64,
    /// What it paid per gas, in wei.
    pub effective_gas_price_wei: Amount,
    /// What it paid for gas in all, in wei.
    pub fee_wei: Amount,
    /// The logs it wrote.
    pub logs: Vec<LogView>,
}

/// What [`TOKEN_INFO`](super::TOKEN_INFO) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenInfo {
    /// The token's contract.
    pub token: Address,
    /// At which block; the newest when absent.
    #[serde(default)]
    pub block: BlockId,
}

/// What [`TOKEN_INFO`](super::TOKEN_INFO) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenAnswer {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// All there is, in whole units; absent where the token's decimals are not known.
    pub total_supply_units: Option<String>,
}

impl BlockchainIntegration {
    pub(super) async fn chain_status(&self, _: Nothing) -> Result<ChainStatus, Fault> {
        self.chain.status().await
    }

    pub(super) async fn get_block(&self, request: GetBlock) -> Result<BlockAnswer, Fault> {
        let Block { head, fee_recipient, state_root, size_bytes, transactions } =
            self.chain.block(request.block).await?;
        Ok(BlockAnswer {
            head,
            fee_recipient,
            state_root,
            size_bytes,
            transaction_count: transactions.len(),
            transactions: request.include_transactions.then_some(transactions),
        })
    }

    pub(super) async fn get_balance(&self, request: GetBalance) -> Result<BalanceAnswer, Fault> {
        let GetBalance { account, token, block } = request;
        let (balance, symbol, decimals) = match token {
            None => (self.chain.balance(account, block).await?, None, Some(NATIVE_DECIMALS)),
            Some(token) => {
                let (balance, token) =
                    tokio::try_join!(self.chain.token_balance(token, account, block), self.chain.token(token, block))?;
                (balance, token.symbol, token.decimals)
            }
        };
        let balance_units = decimals.map(|decimals| balance.in_units(decimals));
        Ok(BalanceAnswer { account, token, symbol, balance, decimals, balance_units })
    }

    pub(super) async fn get_transaction(&self, request: ByHash) -> Result<TransactionAnswer, Fault> {
        let transaction = self.chain.transaction(request.hash).await?;
        let call = transaction.to.and_then(|_| self.known().call(self.abi.as_ref(), &transaction.input));
        Ok(TransactionAnswer { transaction, call })
    }

    pub(super) async fn get_receipt(&self, request: ByHash) -> Result<ReceiptAnswer, Fault> {
        let receipt = self.chain.receipt(request.hash).await?;
        let failure = if receipt.success { None } else { self.failure(request.hash).await };
        let Receipt { transaction_hash, success, block_number, block_hash, index, confirmations, .. } = receipt;
        Ok(ReceiptAnswer {
            transaction_hash,
            success,
            failure,
            block_number,
            block_hash,
            index,
            confirmations,
            from: receipt.from,
            to: receipt.to,
            contract_address: receipt.contract_address,
            gas_used: receipt.gas_used,
            effective_gas_price_wei: receipt.effective_gas_price_wei,
            fee_wei: receipt.fee_wei,
            logs: receipt.logs.into_iter().map(|log| self.view(log)).collect(),
        })
    }

    /// Why a mined transaction failed. Many nodes do not trace; then it is not known, which is no fault of the receipt's.
    async fn failure(&self, hash: Hash) -> Option<String> {
        match self.chain.trace(hash).await {
            Ok(trace) => trace.frames.into_iter().next()?.error,
            Err(fault) => {
                tracing::debug!(%hash, error = %fault, "a failed transaction cannot be traced");
                None
            }
        }
    }

    pub(super) async fn token_info(&self, request: TokenInfo) -> Result<TokenAnswer, Fault> {
        let token = self.chain.token(request.token, request.block).await?;
        let total_supply_units = token.decimals.map(|decimals| token.total_supply.in_units(decimals));
        Ok(TokenAnswer { token, total_supply_units })
    }
}
