//! Signing with a key in this process.

use alloy_primitives::{Address as RawAddress, B256, U256, keccak256};
use async_trait::async_trait;
use k256::ecdsa::{RecoveryId, Signature, SigningKey};
use kernel::chain::{Address, Data, Hash, Signed, Signer, TRANSACTION_GAS_MAX, Unsigned};
use kernel::{Fault, Result};

use super::KeyBytes;
use super::rlp::List;

/// The type of a transaction with two fees.
const DYNAMIC_FEE: u8 = 2;

/// The key wipes itself when dropped.
pub(super) struct Local {
    key: SigningKey,
    address: Address,
}

impl Local {
    pub(super) fn new(key: &KeyBytes) -> Result<Self> {
        let key = SigningKey::from_slice(key.as_slice()).map_err(|_| {
            Fault::invalid("the private key is none: zero, or past the curve's order").hint("create another")
        })?;
        let point = key.verifying_key().to_encoded_point(false);
        let address = RawAddress::from_raw_public_key(&point.as_bytes()[1..]);
        Ok(Self { key, address: Address(address) })
    }

    fn sign_hash(&self, hash: B256) -> Result<(Signature, RecoveryId)> {
        self.key.sign_prehash_recoverable(hash.as_slice()).map_err(|_| Fault::internal("the key does not sign"))
    }
}

#[async_trait]
impl Signer for Local {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, transaction: &Unsigned) -> Result<Signed> {
        if transaction.gas_limit > TRANSACTION_GAS_MAX {
            let what = format!("a gas limit of {}, past {TRANSACTION_GAS_MAX}", transaction.gas_limit);
            return Err(Fault::invalid(what).hint("no block may hold such a transaction (EIP-7825): split it"));
        }
        let (signature, recovery) = self.sign_hash(keccak256(fields(transaction).after(DYNAMIC_FEE)))?;
        let number = |bytes: &[u8]| U256::from_be_slice(bytes);
        let raw = fields(transaction)
            .number(U256::from(recovery.to_byte()))
            .number(number(&signature.r().to_bytes()))
            .number(number(&signature.s().to_bytes()))
            .after(DYNAMIC_FEE);
        Ok(Signed { hash: Hash(keccak256(&raw)), raw: raw.into() })
    }

    async fn sign_message(&self, message: &[u8]) -> Result<Data> {
        let mut framed = format!("\x19Ethereum Signed Message:\n{}", message.len()).into_bytes();
        framed.extend_from_slice(message);
        let (signature, recovery) = self.sign_hash(keccak256(framed))?;
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        Ok(bytes.into())
    }
}

/// The fields that are signed, in EIP-1559's order.
fn fields(transaction: &Unsigned) -> List {
    let mut access_list = List::default();
    for access in &transaction.access_list {
        let slots = access.slots.iter().fold(List::default(), |slots, slot| slots.bytes(slot.0.as_slice()));
        access_list = access_list.list(&List::default().bytes(access.address.0.as_slice()).list(&slots));
    }
    List::default()
        .number(U256::from(transaction.chain_id))
        .number(U256::from(transaction.nonce))
        .number(transaction.fees.max_priority_fee_per_gas_wei.0)
        .number(transaction.fees.max_fee_per_gas_wei.0)
        .number(U256::from(transaction.gas_limit))
        .bytes(transaction.to.as_ref().map_or(&[], |to| to.0.as_slice()))
        .number(transaction.value_wei.0)
        .bytes(&transaction.data)
        .list(&access_list)
}
