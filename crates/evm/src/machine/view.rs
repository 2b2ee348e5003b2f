//! The state as one fork sees it: the block's, under overrides and what runs on the fork changed.

use std::fmt;
use std::sync::Arc;

use alloy_primitives::map::{AddressMap, HashMap};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use kernel::chain::AccountOverride;
use revm::bytecode::Bytecode;
use revm::database_interface::{DBErrorMarker, Database};
use revm::state::{AccountInfo, EvmState};

use super::cache::Cache;
use super::state::Account;

/// What a run asked for that is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Account(Address),
    Code(Address, B256),
    Slot(Address, U256),
    BlockHash(u64),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(address) => write!(f, "account {address}"),
            Self::Code(address, _) => write!(f, "the code of {address}"),
            Self::Slot(address, slot) => write!(f, "slot {slot:#x} of {address}"),
            Self::BlockHash(number) => write!(f, "the hash of block {number}"),
        }
    }
}

impl std::error::Error for Missing {}
impl DBErrorMarker for Missing {}

/// Changes to one account, by an override or by a run.
#[derive(Default)]
struct Changed {
    balance: Option<U256>,
    nonce: Option<u64>,
    code: Option<Bytecode>,
    slots: HashMap<U256, U256>,
    /// Whether nothing is left of the storage that the chain has.
    wiped: bool,
}

pub(super) struct View {
    cache: Arc<Cache>,
    pub(super) block: B256,
    accounts: AddressMap<AccountInfo>,
    slots: AddressMap<HashMap<U256, U256>>,
    pub(super) hashes: HashMap<u64, B256>,
    changed: AddressMap<Changed>,
}

impl View {
    pub(super) fn new(cache: Arc<Cache>, block: B256) -> Self {
        let (accounts, slots, changed) = Default::default();
        Self { cache, block, accounts, slots, hashes: HashMap::default(), changed }
    }

    /// An account as the chain has it.
    fn read(&mut self, address: Address) -> Result<&AccountInfo, Missing> {
        // Looked up twice: a borrow that is returned on one way only cannot be held on the other.
        if !self.accounts.contains_key(&address) {
            let account = self.cache.account(self.block, address).ok_or(Missing::Account(address))?;
            let code = match account.code_hash {
                KECCAK256_EMPTY => Bytecode::default(),
                hash => self.cache.code(hash).ok_or(Missing::Code(address, hash))?,
            };
            let Account { balance, nonce, code_hash } = account;
            let info =
                AccountInfo::default().with_balance(balance).with_nonce(nonce).with_code_and_hash(code, code_hash);
            self.accounts.insert(address, info);
        }
        self.accounts.get(&address).ok_or(Missing::Account(address))
    }

    /// An account as runs find it.
    pub(super) fn find(&mut self, address: Address) -> Result<AccountInfo, Missing> {
        let Some(changed) = self.changed.get(&address) else { return Ok(self.read(address)?.clone()) };
        let (balance, nonce, code) = (changed.balance, changed.nonce, changed.code.clone());
        if let (Some(balance), Some(nonce), Some(code)) = (balance, nonce, &code) {
            return Ok(AccountInfo::default().with_balance(balance).with_nonce(nonce).with_code(code.clone()));
        }
        let mut info = self.read(address)?.clone();
        info.balance = balance.unwrap_or(info.balance);
        info.nonce = nonce.unwrap_or(info.nonce);
        Ok(match code {
            Some(code) => info.with_code(code),
            None => info,
        })
    }

    pub(super) fn change(&mut self, account: &AccountOverride) {
        let changed = self.changed.entry(account.address.0).or_default();
        changed.balance = account.balance_wei.map(|balance| balance.0).or(changed.balance);
        changed.nonce = account.nonce.or(changed.nonce);
        if let Some(code) = &account.code {
            // What is no code (a malformed delegation) runs as what the machine makes of its bytes.
            let code = Bytecode::new_raw_checked(code.0.clone());
            changed.code =
                Some(code.unwrap_or_else(|_| Bytecode::new_legacy(account.code.clone().unwrap_or_default().0)));
        }
        let slots = account
            .storage
            .iter()
            .map(|slot| (U256::from_be_bytes(slot.slot.0.0), U256::from_be_bytes(slot.value.0.0)));
        changed.slots.extend(slots);
    }

    /// Keeps what a run changed.
    pub(super) fn keep(&mut self, state: EvmState) {
        for (address, account) in state.into_iter().filter(|(_, account)| account.is_touched()) {
            let changed = self.changed.entry(address).or_default();
            if account.is_selfdestructed() {
                let (balance, nonce, code) = (Some(U256::ZERO), Some(0), Some(Bytecode::default()));
                *changed = Changed { balance, nonce, code, slots: HashMap::default(), wiped: true };
                continue;
            }
            if account.is_created() {
                (changed.wiped, changed.slots) = (true, HashMap::default());
                changed.code.clone_from(&account.info.code);
            }
            changed.balance = Some(account.info.balance);
            changed.nonce = Some(account.info.nonce);
            let delegated = account.info.code.as_ref().is_some_and(|code| code.is_eip7702());
            if delegated || changed.code.is_some() {
                changed.code = account.info.code.or(changed.code.take());
            }
            changed.slots.extend(
                account
                    .storage
                    .iter()
                    .filter(|(_, slot)| slot.is_changed())
                    .map(|(at, slot)| (*at, slot.present_value)),
            );
        }
    }
}

impl Database for View {
    type Error = Missing;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Missing> {
        self.find(address).map(|info| (!info.is_empty()).then_some(info))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Missing> {
        // Accounts are given with their code, so this is not asked; were it asked for one that is not here, its account is unknown.
        self.cache.code(code_hash).ok_or(Missing::Code(Address::ZERO, code_hash))
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Missing> {
        if let Some(changed) = self.changed.get(&address) {
            match changed.slots.get(&slot) {
                Some(value) => return Ok(*value),
                None if changed.wiped => return Ok(U256::ZERO),
                None => {}
            }
        }
        if let Some(value) = self.slots.get(&address).and_then(|slots| slots.get(&slot)) {
            return Ok(*value);
        }
        let value = self.cache.slot(self.block, address, slot).ok_or(Missing::Slot(address, slot))?;
        self.slots.entry(address).or_default().insert(slot, value);
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Missing> {
        self.hashes.get(&number).copied().ok_or(Missing::BlockHash(number))
    }
}
