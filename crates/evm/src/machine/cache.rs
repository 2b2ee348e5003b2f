//! What all forks of a chain have read, bounded.

use std::collections::{HashMap, VecDeque};

use alloy_primitives::{Address, B256, U256};
use parking_lot::Mutex;
use revm::bytecode::Bytecode;

/// Most blocks whose accounts are kept.
const BLOCKS_MAX: usize = 16;
/// Most accounts of one block that are kept.
const ACCOUNTS_MAX: usize = 20_000;
/// Most slots that are kept, over all storages; about 100 bytes each.
const SLOTS_MAX: usize = if cfg!(test) { 10_000 } else { 1_000_000 };
/// Most bytes of code that are kept.
const CODE_BYTES_MAX: usize = 64 << 20;

/// An account as a node tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) balance: U256,
    pub(super) nonce: u64,
    pub(super) code_hash: B256,
    /// Names its storage: the storage's root, or the block's hash where the node tells no roots.
    pub(super) storage: B256,
}

#[derive(Default)]
pub(crate) struct Cache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    codes: HashMap<B256, Bytecode>,
    code_bytes: usize,
    /// The blocks used last, newest use last.
    blocks: VecDeque<(B256, HashMap<Address, Account>)>,
    storages: HashMap<(Address, B256), Storage>,
    slots: usize,
    /// Counts uses, to know which storage was not used for longest.
    uses: u64,
}

#[derive(Default)]
struct Storage {
    slots: HashMap<U256, U256>,
    used: u64,
}

impl Cache {
    pub(super) fn account(&self, block: B256, address: Address) -> Option<Account> {
        let kept = self.0.lock();
        kept.blocks.iter().rev().find(|(hash, _)| *hash == block)?.1.get(&address).copied()
    }

    pub(super) fn keep_account(&self, block: B256, address: Address, account: Account) {
        let mut kept = self.0.lock();
        let at = kept.blocks.iter().position(|(hash, _)| *hash == block);
        let mut used = at.and_then(|at| kept.blocks.remove(at)).unwrap_or_else(|| (block, HashMap::new()));
        if used.1.len() < ACCOUNTS_MAX {
            used.1.insert(address, account);
        }
        kept.blocks.push_back(used);
        while kept.blocks.len() > BLOCKS_MAX {
            kept.blocks.pop_front();
        }
    }

    /// The accounts of the block used last before `block`, with how each stood then; at most `most`.
    pub(super) fn before(&self, block: B256, most: usize) -> Vec<(Address, Account)> {
        let kept = self.0.lock();
        let last = kept.blocks.iter().rev().find(|(hash, _)| *hash != block);
        last.into_iter().flat_map(|(_, accounts)| accounts).take(most).map(|(at, account)| (*at, *account)).collect()
    }

    pub(super) fn code(&self, hash: B256) -> Option<Bytecode> {
        self.0.lock().codes.get(&hash).cloned()
    }

    pub(super) fn keep_code(&self, hash: B256, code: Bytecode) {
        let mut kept = self.0.lock();
        if kept.code_bytes + code.len() > CODE_BYTES_MAX {
            (kept.codes, kept.code_bytes) = (HashMap::new(), 0);
        }
        kept.code_bytes += code.len();
        kept.codes.insert(hash, code);
    }

    pub(super) fn slot(&self, address: Address, storage: B256, slot: U256) -> Option<U256> {
        let mut kept = self.0.lock();
        kept.uses += 1;
        let used = kept.uses;
        let storage = kept.storages.get_mut(&(address, storage))?;
        storage.used = used;
        storage.slots.get(&slot).copied()
    }

    pub(super) fn keep_slot(&self, address: Address, storage: B256, slot: U256, value: U256) {
        let mut kept = self.0.lock();
        kept.uses += 1;
        let used = kept.uses;
        let storage = kept.storages.entry((address, storage)).or_default();
        storage.used = used;
        let added = storage.slots.insert(slot, value).is_none();
        kept.slots += usize::from(added);
        if kept.slots > SLOTS_MAX {
            kept.drop_half();
        }
    }

    /// The slots known of a storage; at most `most`.
    pub(super) fn slots(&self, address: Address, storage: B256, most: usize) -> Vec<U256> {
        let kept = self.0.lock();
        let storage = kept.storages.get(&(address, storage));
        storage.into_iter().flat_map(|storage| storage.slots.keys()).take(most).copied().collect()
    }
}

impl Kept {
    /// Drops the storages not used for longest, until half of the slots are left.
    fn drop_half(&mut self) {
        let mut oldest: Vec<_> = self.storages.iter().map(|(name, storage)| (storage.used, *name)).collect();
        oldest.sort_unstable();
        for (_, name) in oldest {
            if self.slots <= SLOTS_MAX / 2 {
                break;
            }
            self.slots -= self.storages.remove(&name).map_or(0, |storage| storage.slots.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Address = Address::repeat_byte(1);

    #[test]
    fn the_longest_unused_goes_first_and_the_bounds_hold() {
        let cache = Cache::default();
        let (old, new) = (B256::repeat_byte(1), B256::repeat_byte(2));
        cache.keep_slot(HERE, old, U256::ZERO, U256::ONE);
        for slot in 0..=SLOTS_MAX / 2 {
            cache.keep_slot(HERE, new, U256::from(slot), U256::ONE);
        }
        assert_eq!(cache.slot(HERE, old, U256::ZERO), Some(U256::ONE), "used now, so it stays");
        for slot in 0..SLOTS_MAX / 2 {
            cache.keep_slot(HERE, old, U256::from(slot), U256::ONE);
        }
        assert_eq!((cache.slot(HERE, new, U256::ZERO), cache.slot(HERE, old, U256::ZERO)), (None, Some(U256::ONE)));
        assert!(cache.0.lock().slots <= SLOTS_MAX);

        let account = Account { balance: U256::ZERO, nonce: 0, code_hash: B256::ZERO, storage: old };
        for block in 0..=BLOCKS_MAX as u8 {
            cache.keep_account(B256::repeat_byte(block), HERE, account);
        }
        assert_eq!(cache.account(B256::repeat_byte(0), HERE), None);
        assert_eq!(cache.account(B256::repeat_byte(1), HERE), Some(account));
        assert_eq!(cache.before(B256::repeat_byte(99), 10), [(HERE, account)]);
    }
}
