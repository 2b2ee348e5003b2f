//! Accounts and slots as they are after a block, many in one exchange.
//!
//! Nodes have a method for each single figure, and for an account's proof some build the whole chain's tree anew. But a call may lend code to
//! any account for its own time: a reader at an address that nobody has tells balances and the hashes of codes, and another, lent to the contracts
//! in question, their slots. Nonces no contract can see; they are asked for beside. A node that lends no code is asked for each figure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256, hex, keccak256};
use kernel::{Code, Fault, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::rpc::Rpc;
use crate::rpc::answer::Question;

/// Where the readers are for the time of a call.
const READER: Address = Address::new(*b"flotilla reads state");
/// Tells, for each word of its input, the balance of the account of that address, and its code's hash:
/// `for (i = 0; i != CALLDATASIZE; i += 32) { a = CALLDATALOAD(i); MSTORE(2i, BALANCE(a)); MSTORE(2i + 32, EXTCODEHASH(a)) } RETURN(0, 2i)`.
const TELL_ACCOUNTS: [u8; 40] =
    hex!("60005b803614602157803580318260011b523f8160011b602001526020016002565b60011b6000f3");
/// Tells, for each word of its input, its own slot of that number: `MSTORE(i, SLOAD(CALLDATALOAD(i)))` in the same loop.
const TELL_SLOTS: [u8; 24] = hex!("60005b80361460145780355481526020016002565b6000f3");
/// Asks others. Its input is, again and again, an address, the length of what is asked there, and that; its output the answers one after
/// another, each as long as its question. Where one of them fails, all of it does.
const ASK: [u8; 56] = hex!(
    "600060005b803614602e578060200135808260400184378083818585355afa1560335780920191016040016004565b506000f35b600080fd"
);
/// Most accounts of one call.
const ACCOUNTS_MAX: usize = 512;
/// Most slots of one call: two million gas.
const SLOTS_MAX: usize = 1_024;

/// An account as it is after a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) balance: U256,
    pub(super) nonce: u64,
    /// Of no code too.
    pub(super) code_hash: B256,
}

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) accounts: BTreeSet<Address>,
    pub(super) slots: BTreeMap<Address, BTreeSet<U256>>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) accounts: Vec<(Address, Account)>,
    pub(super) slots: Vec<(Address, U256, U256)>,
    /// Codes that were read on the way.
    pub(super) codes: Vec<(Address, Bytes)>,
}

/// Reads for the chain's forks, and remembers whether the node lends code.
#[derive(Default)]
pub(super) struct Lending {
    refused: AtomicBool,
}

impl Lending {
    /// Reads all that is wanted, as it is at the block that `at` names.
    pub(super) async fn read(&self, rpc: &Rpc, at: &Value, wanted: &Wanted) -> Result<Found> {
        if wanted.accounts.is_empty() && wanted.slots.is_empty() {
            return Ok(Found::default());
        }
        if !self.refused.load(Ordering::Relaxed) {
            match lent(rpc, at, wanted).await {
                // Nobody would answer the other way either.
                Err(fault)
                    if matches!(
                        fault.code,
                        Code::NotFound | Code::Unavailable | Code::Timeout | Code::RateLimited | Code::Cancelled
                    ) =>
                {
                    return Err(fault);
                }
                Err(fault) => {
                    tracing::debug!(error = %fault, "the node lends no code for a call, each figure is asked for");
                }
                found => return found,
            }
        }
        let found = singly(rpc, at, wanted).await?;
        self.refused.store(true, Ordering::Relaxed);
        Ok(found)
    }
}

/// A call of the reader, with this code and others lent for it.
fn call(code: &[u8], others: &[Address], input: &[u8], at: &Value) -> Question {
    let mut lent = serde_json::Map::new();
    lent.insert(READER.to_string(), json!({ "code": hex::encode_prefixed(code) }));
    for other in others {
        lent.insert(other.to_string(), json!({ "code": hex::encode_prefixed(TELL_SLOTS) }));
    }
    ("eth_call", json!([{ "to": READER, "input": hex::encode_prefixed(input) }, at, lent]))
}

fn word(number: U256) -> [u8; 32] {
    number.to_be_bytes()
}

/// Slots by contract, in parts that one call can have.
fn parts(slots: &BTreeMap<Address, BTreeSet<U256>>) -> Vec<Vec<(Address, Vec<U256>)>> {
    let (mut parts, mut room) = (vec![Vec::new()], SLOTS_MAX);
    for (address, slots) in slots {
        let mut slots: Vec<U256> = slots.iter().copied().collect();
        while !slots.is_empty() {
            if room == 0 {
                parts.push(Vec::new());
                room = SLOTS_MAX;
            }
            let rest = slots.split_off(slots.len().min(room));
            room -= slots.len();
            if let Some(part) = parts.last_mut() {
                part.push((*address, slots));
            }
            slots = rest;
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// By lent code.
async fn lent(rpc: &Rpc, at: &Value, wanted: &Wanted) -> Result<Found> {
    let accounts: Vec<Address> = wanted.accounts.iter().copied().collect();
    let parts = parts(&wanted.slots);
    let mut questions = Vec::new();
    for some in accounts.chunks(ACCOUNTS_MAX) {
        let input: Vec<u8> = some.iter().flat_map(|address| address.into_word().0).collect();
        questions.push(call(&TELL_ACCOUNTS, &[], &input, at));
    }
    for part in &parts {
        let mut input = Vec::new();
        for (address, slots) in part {
            input.extend(address.into_word());
            input.extend(word(U256::from(slots.len() * 32)));
            input.extend(slots.iter().flat_map(|slot| word(*slot)));
        }
        let others: Vec<Address> = part.iter().map(|(address, _)| *address).collect();
        questions.push(call(&ASK, &others, &input, at));
    }
    questions.extend(accounts.iter().map(|address| ("eth_getTransactionCount", json!([address, at]))));
    let answers: Vec<Value> = rpc.read_all(&questions).await?;
    let mut answers = answers.into_iter();
    let mut found = Found::default();
    let mut seen = Vec::new();
    for some in accounts.chunks(ACCOUNTS_MAX) {
        seen.extend(words(answers.next(), some.len() * 2)?.chunks_exact(2).map(|two| (two[0], B256::from(two[1]))));
    }
    for part in parts {
        let places = part.iter().flat_map(|(address, slots)| slots.iter().map(|slot| (*address, *slot)));
        let places: Vec<_> = places.collect();
        let values = words(answers.next(), places.len())?;
        found.slots.extend(places.into_iter().zip(values).map(|((address, slot), value)| (address, slot, value)));
    }
    for ((address, (balance, hash)), nonce) in accounts.into_iter().zip(seen).zip(answers) {
        // Of an account that is not there the hash is 0.
        let code_hash = if hash.is_zero() { KECCAK256_EMPTY } else { hash };
        found.accounts.push((address, Account { balance, nonce: read::<U64>(Some(nonce))?.to(), code_hash }));
    }
    Ok(found)
}

/// One question for each figure.
async fn singly(rpc: &Rpc, at: &Value, wanted: &Wanted) -> Result<Found> {
    let mut questions = Vec::new();
    for address in &wanted.accounts {
        for method in ["eth_getBalance", "eth_getTransactionCount", "eth_getCode"] {
            questions.push((method, json!([address, at])));
        }
    }
    let places = wanted.slots.iter().flat_map(|(address, slots)| slots.iter().map(|slot| (*address, *slot)));
    let places: Vec<(Address, U256)> = places.collect();
    questions
        .extend(places.iter().map(|(address, slot)| ("eth_getStorageAt", json!([address, B256::from(*slot), at]))));
    let answers: Vec<Value> = rpc.read_all(&questions).await?;
    let mut answers = answers.into_iter();
    let mut found = Found::default();
    for address in &wanted.accounts {
        let (balance, nonce) = (read::<U256>(answers.next())?, read::<U64>(answers.next())?.to());
        let code: Bytes = read(answers.next())?;
        found.accounts.push((*address, Account { balance, nonce, code_hash: keccak256(&code) }));
        found.codes.push((*address, code));
    }
    for (address, slot) in places {
        // Some nodes leave out leading zeros.
        found.slots.push((address, slot, read(answers.next())?));
    }
    Ok(found)
}

fn read<T: DeserializeOwned>(answer: Option<Value>) -> Result<T> {
    serde_json::from_value(answer.unwrap_or_default())
        .map_err(|error| Fault::upstream(format!("the node's answer about an account cannot be read: {error}")))
}

/// So many words.
fn words(answer: Option<Value>, count: usize) -> Result<Vec<U256>> {
    let bytes: Bytes = read(answer)?;
    if bytes.len() != count * 32 {
        return Err(Fault::unsupported("the node lends no code for a call")
            .hint("state overrides of eth_call are what it would take"));
    }
    Ok(bytes.chunks_exact(32).map(U256::from_be_slice).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_asked_for_in_parts_that_a_call_can_have() {
        let slots = |count: usize| (0..count as u64).map(U256::from).collect::<BTreeSet<_>>();
        let at = Address::repeat_byte;
        for (asked, wanted) in [
            (vec![], vec![]),
            (vec![3], vec![vec![(1, 3)]]),
            (vec![2, SLOTS_MAX - 2, 1], vec![vec![(1, 2), (2, SLOTS_MAX - 2)], vec![(3, 1)]]),
            (vec![2 * SLOTS_MAX + 1], vec![vec![(1, SLOTS_MAX)], vec![(1, SLOTS_MAX)], vec![(1, 1)]]),
            (vec![1, SLOTS_MAX], vec![vec![(1, 1), (2, SLOTS_MAX - 1)], vec![(2, 1)]]),
        ] {
            let all: BTreeMap<_, _> = asked.iter().zip(1..).map(|(count, byte)| (at(byte), slots(*count))).collect();
            let parts = parts(&all);
            let shape: Vec<Vec<_>> = parts
                .iter()
                .map(|part| part.iter().map(|(address, slots)| (address.0[0], slots.len())).collect())
                .collect();
            assert_eq!(shape, wanted);
            let mut again: BTreeMap<Address, BTreeSet<U256>> = BTreeMap::new();
            for (address, slots) in parts.into_iter().flatten() {
                again.entry(address).or_default().extend(slots);
            }
            assert_eq!(again, all);
        }
    }
}
