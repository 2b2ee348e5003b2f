//! What a fork lacks, read from the node: as much at once as can be known to be needed.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256, b256, keccak256};
use futures_util::future::try_join_all;
use kernel::chain::{BlockId, CallRequest, Hash};
use kernel::{Code, Fault, Result};
use revm::bytecode::Bytecode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cache::{Account, Cache};
use super::view::{Missing, View};
use crate::node::Node;
use crate::wire;

/// The root of a storage in which nothing is.
pub(super) const EMPTY_ROOT: B256 = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
/// Most accounts of the block before that are read along with the first of a new block.
const WARM_ACCOUNTS_MAX: usize = 128;
/// Most slots of a storage that changed that are read again at once.
const WARM_SLOTS_MAX: usize = 128;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireProof {
    balance: U256,
    nonce: U64,
    code_hash: B256,
    storage_hash: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAccess {
    access_list: Vec<WireItem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireItem {
    address: Address,
    storage_keys: Vec<B256>,
}

/// Reads for one fork.
pub(super) struct Reader {
    pub(super) node: Node,
    pub(super) block: B256,
    /// Whether the accounts that the block before had were read.
    pub(super) warmed: bool,
}

impl Reader {
    fn cache(&self) -> &Cache {
        &self.node.cache
    }

    fn at(&self) -> Value {
        wire::block(BlockId::Hash(Hash(self.block)))
    }

    /// Brings what is missing into memory.
    pub(super) async fn supply(&mut self, missing: Missing, view: &mut View) -> Result<()> {
        match missing {
            Missing::Account(address) => {
                let mut wanted = BTreeSet::from([address]);
                if !std::mem::replace(&mut self.warmed, true) {
                    let before = self.cache().before(self.block, WARM_ACCOUNTS_MAX);
                    wanted.extend(before.iter().map(|(address, _)| *address));
                    self.accounts(wanted).await?;
                    return self.renew(&before).await;
                }
                self.accounts(wanted).await
            }
            Missing::Code(address, hash) => self.code(address, hash).await,
            Missing::Slot(address, slot) => {
                let storage = view.storage_of(address).unwrap_or(self.block);
                self.slot(address, storage, slot).await
            }
            Missing::BlockHash(number) => {
                let block = self.node.wire_block(BlockId::Number(number)).await?;
                view.hashes.insert(number, block.head.hash.0);
                Ok(())
            }
        }
    }

    /// Brings in what the node says a call will touch, where it says so: one request in the place of one for each slot.
    pub(super) async fn foresee(&self, call: &CallRequest) -> Result<()> {
        let told = self.node.rpc.read::<WireAccess>("eth_createAccessList", json!([wire::call(call), self.at()])).await;
        // A node that cannot tell, or cannot run the call as it stands on the chain, is no loss: the run itself finds out.
        let Ok(told) = told else { return Ok(()) };
        self.accounts(told.access_list.iter().map(|item| item.address).collect()).await?;
        let mut named = Vec::new();
        for item in &told.access_list {
            let Some(account) = self.cache().account(self.block, item.address) else { continue };
            named.extend(
                item.storage_keys.iter().map(|slot| (item.address, account.storage, U256::from_be_bytes(slot.0))),
            );
        }
        self.slots(named).await
    }

    /// Reads these accounts and their codes, unless they are there.
    async fn accounts(&self, addresses: BTreeSet<Address>) -> Result<()> {
        try_join_all(addresses.into_iter().map(|address| self.account(address))).await.map(|_| ())
    }

    async fn account(&self, address: Address) -> Result<()> {
        if self.cache().account(self.block, address).is_some() {
            return Ok(());
        }
        let proof = self.node.rpc.read::<WireProof>("eth_getProof", json!([address, [], self.at()])).await;
        let account = match proof {
            Ok(proof) => Account {
                balance: proof.balance,
                nonce: proof.nonce.to(),
                // Some nodes say zero of an account that is not there.
                code_hash: if proof.code_hash.is_zero() { KECCAK256_EMPTY } else { proof.code_hash },
                storage: if proof.storage_hash.is_zero() { EMPTY_ROOT } else { proof.storage_hash },
            },
            Err(fault) if fault.code == Code::Unsupported => return self.account_in_parts(address).await,
            Err(fault) => return Err(fault),
        };
        if account.code_hash != KECCAK256_EMPTY && self.cache().code(account.code_hash).is_none() {
            self.code(address, account.code_hash).await?;
        }
        self.cache().keep_account(self.block, address, account);
        Ok(())
    }

    async fn account_in_parts(&self, address: Address) -> Result<()> {
        let params = json!([address, self.at()]);
        let (balance, nonce, code) = tokio::try_join!(
            self.node.rpc.read::<U256>("eth_getBalance", params.clone()),
            self.node.rpc.read::<U64>("eth_getTransactionCount", params.clone()),
            self.node.rpc.read::<Bytes>("eth_getCode", params.clone()),
        )?;
        let code_hash = self.keep_code(address, code)?;
        let account = Account { balance, nonce: nonce.to(), code_hash, storage: self.block };
        self.cache().keep_account(self.block, address, account);
        Ok(())
    }

    async fn code(&self, address: Address, hash: B256) -> Result<()> {
        let code: Bytes = self.node.rpc.read("eth_getCode", json!([address, self.at()])).await?;
        if self.keep_code(address, code)? == hash {
            return Ok(());
        }
        Err(Fault::upstream(format!("the code that the node gives for {address} has not the hash that its proof says"))
            .hint("the endpoint may be changing nodes between requests; try again, or use another"))
    }

    fn keep_code(&self, address: Address, code: Bytes) -> Result<B256> {
        let hash = keccak256(&code);
        let code = Bytecode::new_raw_checked(code)
            .map_err(|error| Fault::upstream(format!("the code of {address} cannot be run: {error}")))?;
        self.cache().keep_code(hash, code);
        Ok(hash)
    }

    /// Reads again the slots known of storages that changed since `before`.
    async fn renew(&self, before: &[(Address, Account)]) -> Result<()> {
        let mut changed = Vec::new();
        for (address, old) in before {
            let now = self.cache().account(self.block, *address).map(|account| account.storage);
            if let Some(now) = now.filter(|now| *now != old.storage) {
                let known = self.cache().slots(*address, old.storage, WARM_SLOTS_MAX);
                changed.extend(known.into_iter().map(|slot| (*address, now, slot)));
            }
        }
        self.slots(changed).await
    }

    async fn slots(&self, wanted: Vec<(Address, B256, U256)>) -> Result<()> {
        let reads = wanted.into_iter().map(|(address, storage, slot)| self.slot(address, storage, slot));
        try_join_all(reads).await.map(|_| ())
    }

    /// Reads a slot, unless it is there.
    async fn slot(&self, address: Address, storage: B256, slot: U256) -> Result<()> {
        if self.cache().slot(address, storage, slot).is_none() {
            let params = json!([address, B256::from(slot), self.at()]);
            let value: U256 = self.node.rpc.read("eth_getStorageAt", params).await?;
            self.cache().keep_slot(address, storage, slot, value);
        }
        Ok(())
    }
}
