//! Port: a key that signs and never shows itself.

use async_trait::async_trait;

use super::{Access, Address, Amount, Data, Fees, Hash};
use crate::Result;

/// A transaction to sign, of the kind that offers two fees (EIP-1559).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unsigned {
    /// The chain it is for: a signature for one chain is none for another.
    pub chain_id: u64,
    /// The sender's nonce.
    pub nonce: u64,
    /// The account or contract called; a contract's creation when absent.
    pub to: Option<Address>,
    /// Native coin sent along, in wei.
    pub value_wei: Amount,
    /// Calldata, or the code that creates a contract.
    pub data: Data,
    /// Gas it may use at most.
    pub gas_limit: u64,
    /// What it offers per gas.
    pub fees: Fees,
    /// Its access list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_list: Vec<Access>,
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Signed {
    /// Its hash, by which the chain knows it.
    pub hash: Hash,
    /// Its bytes, as they are sent.
    pub raw: Data,
}

/// The port: a key in a file, a hardware wallet, a signing service.
#[async_trait]
pub trait Signer: Send + Sync {
    /// Whose signatures these are.
    fn address(&self) -> Address;

    /// Signs a transaction.
    async fn sign(&self, transaction: &Unsigned) -> Result<Signed>;

    /// Signs a message as EIP-191 has it (`personal_sign`), which can never be taken for a transaction: 65 bytes, r, s and v, where v is
    /// 27 or 28.
    async fn sign_message(&self, message: &[u8]) -> Result<Data>;
}
