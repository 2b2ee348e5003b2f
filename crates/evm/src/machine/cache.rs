//! What all forks of a chain have read, block by block, and what runs have lately asked for; bounded.

use std::collections::{HashMap, VecDeque};

use alloy_primitives::{Address, B256, U256};
use parking_lot::Mutex;
use revm::bytecode::Bytecode;

use super::state::{Account, Lending, Wanted};

/// Most blocks whose state is kept.
const BLOCKS_MAX: usize = 16;
/// Most accounts and slots that are kept, of all blocks together; about 100 bytes each.
const HELD_MAX: usize = if cfg!(test) { 10_000 } else { 1_000_000 };
/// Most bytes of code that are kept.
const CODE_BYTES_MAX: usize = 64 << 20;
/// Most accounts and slots that are read anew at every block.
const LATELY_MAX: usize = 2_048;
/// After so many blocks without being asked for they are not.
const LATELY_BLOCKS: u64 = 64;

/// See the module.
#[derive(Default)]
pub(crate) struct Cache {
    kept: Mutex<Kept>,
    pub(super) lending: Lending,
    /// Held by who reads at a new block what runs have lately asked for.
    pub(super) renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    codes: HashMap<B256, Bytecode>,
    code_bytes: usize,
    /// The oldest first.
    blocks: VecDeque<(B256, State)>,
    held: usize,
    /// What runs asked for, and in the state of which block, counted, they did last.
    lately: HashMap<Address, Lately>,
    lately_count: usize,
    turn: u64,
}

/// What is known of one block's state.
#[derive(Default)]
struct State {
    accounts: HashMap<Address, Account>,
    slots: HashMap<Address, HashMap<U256, U256>>,
    held: usize,
}

#[derive(Default)]
struct Lately {
    turn: u64,
    slots: HashMap<U256, u64>,
}

impl Cache {
    /// Whether anything was kept of this block.
    pub(super) fn has(&self, block: B256) -> bool {
        self.kept.lock().blocks.iter().any(|(hash, _)| *hash == block)
    }

    /// Begins with a block, if it is not there.
    pub(super) fn begin(&self, block: B256) {
        let mut kept = self.kept.lock();
        if kept.state(block).is_none() {
            kept.turn += 1;
            kept.blocks.push_back((block, State::default()));
            if kept.blocks.len() > BLOCKS_MAX {
                kept.drop_oldest();
            }
        }
    }

    /// An account, for a run: what a run asks for is wanted at the next block too.
    pub(super) fn account(&self, block: B256, address: Address) -> Option<Account> {
        let mut kept = self.kept.lock();
        let account = kept.state(block)?.accounts.get(&address).copied()?;
        kept.asked(address, None);
        Some(account)
    }

    /// A slot, for a run.
    pub(super) fn slot(&self, block: B256, address: Address, slot: U256) -> Option<U256> {
        let mut kept = self.kept.lock();
        let value = kept.state(block)?.slots.get(&address)?.get(&slot).copied()?;
        kept.asked(address, Some(slot));
        Some(value)
    }

    /// Takes out of `wanted` what is known.
    pub(super) fn without_known(&self, block: B256, wanted: &mut Wanted) {
        let mut kept = self.kept.lock();
        let Some(state) = kept.state(block) else { return };
        wanted.accounts.retain(|address| !state.accounts.contains_key(address));
        wanted.slots.retain(|address, slots| {
            if let Some(known) = state.slots.get(address) {
                slots.retain(|slot| !known.contains_key(slot));
            }
            !slots.is_empty()
        });
    }

    pub(super) fn keep_account(&self, block: B256, address: Address, account: Account) {
        self.keep(block, |state| usize::from(state.accounts.insert(address, account).is_none()));
    }

    pub(super) fn keep_slot(&self, block: B256, address: Address, slot: U256, value: U256) {
        self.keep(block, |state| usize::from(state.slots.entry(address).or_default().insert(slot, value).is_none()));
    }

    fn keep(&self, block: B256, put: impl FnOnce(&mut State) -> usize) {
        self.begin(block);
        let mut kept = self.kept.lock();
        while kept.held >= HELD_MAX
            && kept.blocks.len() > 1
            && kept.blocks.front().is_some_and(|(hash, _)| *hash != block)
        {
            kept.drop_oldest();
        }
        if kept.held >= HELD_MAX {
            // One block alone: its forks have what they asked for, and what they ask for from here on is kept.
            kept.held = 0;
            kept.blocks.iter_mut().for_each(|(_, state)| *state = State::default());
        }
        let Some(state) = kept.state(block) else { return };
        let added = put(state);
        state.held += added;
        kept.held += added;
    }

    /// What runs have asked for in the states of the last blocks, the latest first where that is too much.
    pub(super) fn lately(&self) -> Wanted {
        let mut kept = self.kept.lock();
        let (turn, mut left) = (kept.turn, 0);
        kept.lately.retain(|_, lately| {
            lately.slots.retain(|_, asked| turn - *asked < LATELY_BLOCKS);
            let stays = turn - lately.turn < LATELY_BLOCKS || !lately.slots.is_empty();
            left += usize::from(stays) * (1 + lately.slots.len());
            stays
        });
        kept.lately_count = left;
        let slots = |lately: &Lately| lately.slots.keys().copied().collect();
        Wanted {
            accounts: kept.lately.keys().copied().collect(),
            slots: kept
                .lately
                .iter()
                .filter(|(_, one)| !one.slots.is_empty())
                .map(|(at, one)| (*at, slots(one)))
                .collect(),
        }
    }

    pub(super) fn code(&self, hash: B256) -> Option<Bytecode> {
        self.kept.lock().codes.get(&hash).cloned()
    }

    pub(super) fn keep_code(&self, hash: B256, code: Bytecode) {
        let mut kept = self.kept.lock();
        if kept.code_bytes + code.len() > CODE_BYTES_MAX {
            (kept.codes, kept.code_bytes) = (HashMap::new(), 0);
        }
        kept.code_bytes += code.len();
        kept.codes.insert(hash, code);
    }
}

impl Kept {
    fn state(&mut self, block: B256) -> Option<&mut State> {
        self.blocks.iter_mut().rev().find(|(hash, _)| *hash == block).map(|(_, state)| state)
    }

    fn drop_oldest(&mut self) {
        let gone = self.blocks.pop_front();
        self.held -= gone.map_or(0, |(_, state)| state.held);
    }

    /// Notes that a run asked for an account or a slot.
    fn asked(&mut self, address: Address, slot: Option<U256>) {
        let (turn, full) = (self.turn, self.lately_count >= LATELY_MAX);
        let known = self.lately.contains_key(&address);
        if full && !known {
            return;
        }
        let lately = self.lately.entry(address).or_default();
        lately.turn = turn;
        self.lately_count += usize::from(!known);
        let Some(slot) = slot else { return };
        if full && !lately.slots.contains_key(&slot) {
            return;
        }
        self.lately_count += usize::from(lately.slots.insert(slot, turn).is_none());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const HERE: Address = Address::repeat_byte(1);
    const THERE: Address = Address::repeat_byte(2);

    fn block(number: usize) -> B256 {
        B256::from(U256::from(number))
    }

    fn account(nonce: u64) -> Account {
        Account { balance: U256::ZERO, nonce, code_hash: B256::ZERO }
    }

    #[test]
    fn the_oldest_block_goes_first_and_the_bounds_hold() {
        let cache = Cache::default();
        for number in 0..=BLOCKS_MAX {
            cache.keep_account(block(number), HERE, account(number as u64));
        }
        assert_eq!((cache.has(block(0)), cache.account(block(0), HERE)), (false, None));
        assert_eq!(cache.account(block(1), HERE), Some(account(1)));
        for slot in 0..HELD_MAX {
            cache.keep_slot(block(BLOCKS_MAX), HERE, U256::from(slot), U256::ONE);
        }
        assert!(cache.kept.lock().held <= HELD_MAX && !cache.has(block(BLOCKS_MAX - 1)));
        let last = U256::from(HELD_MAX - 1);
        assert_eq!(cache.slot(block(BLOCKS_MAX), HERE, last), Some(U256::ONE));
        assert_eq!(cache.slot(block(BLOCKS_MAX), THERE, last), None);
        // Even where the oldest is the one that is read.
        cache.begin(block(99));
        for slot in 0..=HELD_MAX {
            cache.keep_slot(block(BLOCKS_MAX), THERE, U256::from(slot), U256::ONE);
            assert_eq!(cache.slot(block(BLOCKS_MAX), THERE, U256::from(slot)), Some(U256::ONE));
        }
        assert!(cache.kept.lock().held <= HELD_MAX);
    }

    #[test]
    fn what_runs_ask_for_is_wanted_at_the_blocks_that_follow_and_no_longer_than_that() {
        let cache = Cache::default();
        let shown = |wanted: Wanted| {
            let slots: Vec<_> = wanted.slots.into_iter().map(|(at, slots)| (at, slots.len())).collect();
            (wanted.accounts.into_iter().collect::<Vec<_>>(), slots)
        };
        for at in [HERE, THERE] {
            cache.keep_account(block(0), at, account(0));
            for slot in 0..3 {
                cache.keep_slot(block(0), at, U256::from(slot), U256::ONE);
            }
        }
        assert_eq!(shown(cache.lately()), (vec![], vec![]), "what was only read is not");
        cache.account(block(0), HERE);
        cache.account(block(0), THERE);
        cache.slot(block(0), THERE, U256::ONE);
        assert_eq!(shown(cache.lately()), (vec![HERE, THERE], vec![(THERE, 1)]));
        for number in 1..LATELY_BLOCKS as usize {
            cache.begin(block(number));
        }
        assert_eq!(shown(cache.lately()), (vec![HERE, THERE], vec![(THERE, 1)]));
        let last = block(LATELY_BLOCKS as usize - 1);
        cache.keep_account(last, HERE, account(0));
        cache.account(last, HERE);
        cache.begin(block(LATELY_BLOCKS as usize));
        assert_eq!(shown(cache.lately()), (vec![HERE], vec![]));
    }

    #[test]
    fn what_is_wanted_anew_is_bounded() {
        let cache = Cache::default();
        for slot in 0..2 * LATELY_MAX {
            cache.keep_slot(block(0), HERE, U256::from(slot), U256::ONE);
            cache.slot(block(0), HERE, U256::from(slot));
        }
        let wanted = cache.lately();
        assert_eq!(wanted.accounts.len() + wanted.slots.values().map(BTreeSet::len).sum::<usize>(), LATELY_MAX);
    }

    #[test]
    fn what_is_known_is_not_wanted() {
        let cache = Cache::default();
        cache.keep_account(block(0), HERE, account(0));
        cache.keep_slot(block(0), HERE, U256::ZERO, U256::ONE);
        let slots = BTreeSet::from([U256::ZERO, U256::ONE]);
        let mut wanted = Wanted {
            accounts: [HERE, THERE].into(),
            slots: [(HERE, slots.clone()), (THERE, BTreeSet::from([U256::ZERO]))].into(),
        };
        cache.without_known(block(0), &mut wanted);
        assert_eq!(wanted.accounts, BTreeSet::from([THERE]));
        assert_eq!(wanted.slots, [(HERE, BTreeSet::from([U256::ONE])), (THERE, BTreeSet::from([U256::ZERO]))].into());
        cache.keep_slot(block(0), HERE, U256::ONE, U256::ONE);
        cache.without_known(block(0), &mut wanted);
        assert!(!wanted.slots.contains_key(&HERE));
    }
}
