//! What a fork lacks, read from the node: as much at once as can be known to be needed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use kernel::chain::{BlockId, CallRequest, Hash, Head};
use kernel::{Fault, Result};
use revm::bytecode::Bytecode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::cache::Cache;
use super::state::Wanted;
use super::view::{Missing, View};
use crate::node::Node;
use crate::wire;

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
}

impl Reader {
    fn cache(&self) -> &Cache {
        &self.node.cache
    }

    fn at(&self) -> Value {
        wire::block(BlockId::Hash(Hash(self.block)))
    }

    /// Reads what runs have lately asked for, unless that was done at this block; who comes while it is done waits for it.
    pub(super) async fn renew(&self) -> Result<()> {
        let _alone = self.cache().renewing.lock().await;
        if self.cache().has(self.block) {
            return Ok(());
        }
        self.bring(self.cache().lately()).await?;
        self.cache().begin(self.block);
        Ok(())
    }

    /// Brings what is missing into memory, with these accounts, which will be asked for next.
    pub(super) async fn supply(&self, missing: Missing, view: &mut View, also: &[Address]) -> Result<()> {
        let accounts = |address| BTreeSet::from_iter(also.iter().copied().chain([address]));
        match missing {
            Missing::Account(address) => {
                self.bring(Wanted { accounts: accounts(address), slots: BTreeMap::new() }).await
            }
            Missing::Code(address, hash) => self.codes(&[(address, hash)]).await,
            Missing::Slot(address, slot) => {
                let slots = BTreeMap::from([(address, BTreeSet::from([slot]))]);
                self.bring(Wanted { accounts: BTreeSet::new(), slots }).await
            }
            Missing::BlockHash(number) => {
                let block = self.node.wire_block(BlockId::Number(number)).await?;
                view.hashes.insert(number, block.head.hash.0);
                Ok(())
            }
        }
    }

    /// Brings in what the node says a call will touch, where it says so: one exchange in the place of one for each place.
    pub(super) async fn foresee(&self, call: &CallRequest) -> Result<()> {
        let told = self.node.rpc.read::<WireAccess>("eth_createAccessList", json!([wire::call(call), self.at()])).await;
        // A node that cannot tell, or cannot run the call as it stands on the chain, is no loss: the run itself finds out.
        let Ok(told) = told else { return Ok(()) };
        let mut wanted = Wanted::default();
        for item in told.access_list {
            wanted.accounts.insert(item.address);
            let slots = item.storage_keys.iter().map(|slot| U256::from_be_bytes(slot.0));
            wanted.slots.entry(item.address).or_default().extend(slots);
        }
        self.bring(wanted).await
    }

    /// Reads all that is wanted and not there, with its codes.
    async fn bring(&self, mut wanted: Wanted) -> Result<()> {
        self.cache().without_known(self.block, &mut wanted);
        let found = self.cache().lending.read(&self.node.rpc, &self.at(), &wanted).await?;
        for (address, code) in found.codes {
            self.keep_code(address, code)?;
        }
        let named = found.accounts.iter().map(|(address, account)| (*address, account.code_hash));
        let lacking = named.filter(|(_, hash)| *hash != KECCAK256_EMPTY && self.cache().code(*hash).is_none());
        self.codes(&lacking.collect::<Vec<_>>()).await?;
        for (address, account) in found.accounts {
            self.cache().keep_account(self.block, address, account);
        }
        for (address, slot, value) in found.slots {
            self.cache().keep_slot(self.block, address, slot, value);
        }
        Ok(())
    }

    /// Reads codes, which must have the hashes that their accounts say.
    async fn codes(&self, wanted: &[(Address, B256)]) -> Result<()> {
        let ask = |(address, _): &(Address, B256)| ("eth_getCode", json!([address, self.at()]));
        let codes: Vec<Bytes> = self.node.rpc.read_all(&wanted.iter().map(ask).collect::<Vec<_>>()).await?;
        for ((address, hash), code) in wanted.iter().zip(codes) {
            if self.keep_code(*address, code)? != *hash {
                return Err(Fault::upstream(format!(
                    "the code that the node gives for {address} has not the hash that it says"
                ))
                .hint("the endpoint may be changing nodes between requests; try again, or use another"));
            }
        }
        Ok(())
    }

    fn keep_code(&self, address: Address, code: Bytes) -> Result<B256> {
        let hash = keccak256(&code);
        let code = Bytecode::new_raw_checked(code)
            .map_err(|error| Fault::upstream(format!("the code of {address} cannot be run: {error}")))?;
        self.cache().keep_code(hash, code);
        Ok(hash)
    }
}

/// Reads what runs have lately asked for as soon as there is a new block, so that who runs something next finds it.
pub(crate) async fn keep_renewed(node: Node, mut newest: watch::Receiver<Option<(Head, Instant)>>) {
    while newest.changed().await.is_ok() {
        let Some(block) = newest.borrow_and_update().as_ref().map(|(head, _)| head.hash) else { continue };
        let reader = Reader { node: node.clone(), block: block.0 };
        if let Err(fault) = reader.renew().await {
            // Whoever runs something is told what is the matter.
            tracing::debug!(error = %fault, "the state after a new block could not be read beforehand");
        }
    }
}
