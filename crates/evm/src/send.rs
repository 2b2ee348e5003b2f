//! The port `Sender` on a node: what pools say, in the kernel's words.

use alloy_primitives::B256;
use async_trait::async_trait;
use kernel::chain::{Data, Refusal, Sender, Verdict};
use kernel::{Fault, Result};
use serde_json::json;

use crate::node::Node;

/// What nodes (geth, reth, nethermind, erigon, anvil) say of a transaction that they do not take, and what that means. The first that is
/// found in their words counts.
const WORDS: [(&str, Refusal); 14] = [
    ("nonce too low", Refusal::NonceTooLow),
    ("oldnonce", Refusal::NonceTooLow),
    ("replacement transaction underpriced", Refusal::ReplacementUnderpriced),
    ("future transaction tries to replace pending", Refusal::ReplacementUnderpriced),
    ("replacementnotallowed", Refusal::ReplacementUnderpriced),
    ("less than block base fee", Refusal::FeeTooLow),
    ("transaction underpriced", Refusal::FeeTooLow),
    ("feetoolow", Refusal::FeeTooLow),
    ("txpool is full", Refusal::PoolFull),
    ("insufficient funds", Refusal::InsufficientFunds),
    ("exceeds block gas limit", Refusal::Invalid),
    ("gas limit too high", Refusal::Invalid),
    ("transaction type not supported", Refusal::Invalid),
    ("invalid chain id", Refusal::Invalid),
];
/// What they say of one that they have.
const KNOWN: [&str; 4] = ["already known", "alreadyknown", "already imported", "known transaction"];

#[async_trait]
impl Sender for Node {
    async fn send(&self, raw: &Data) -> Result<Verdict> {
        match self.rpc.read::<B256>("eth_sendRawTransaction", json!([raw])).await {
            Ok(_) => Ok(Verdict::Taken),
            Err(fault) => verdict(fault),
        }
    }
}

/// An endpoint's words are its verdict where they are known; otherwise nobody knows what it did.
fn verdict(fault: Fault) -> Result<Verdict> {
    let words = fault.message.to_lowercase();
    if KNOWN.iter().any(|known| words.contains(known)) {
        return Ok(Verdict::Taken);
    }
    match WORDS.iter().find(|(said, _)| words.contains(said)) {
        Some((_, why)) => Ok(Verdict::Refused { why: *why, words: fault.message }),
        None => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_nodes_and_words_that_nobody_knows() {
        for (words, want) in [
            ("nonce too low: next nonce 5, tx nonce 4", Some(Refusal::NonceTooLow)),
            ("Replacement transaction underpriced", Some(Refusal::ReplacementUnderpriced)),
            ("max fee per gas less than block base fee: address 0x1", Some(Refusal::FeeTooLow)),
            ("txpool is full", Some(Refusal::PoolFull)),
            ("Insufficient funds for gas * price + value", Some(Refusal::InsufficientFunds)),
        ] {
            let Ok(Verdict::Refused { why, .. }) = verdict(Fault::upstream(words)) else { panic!("{words}") };
            assert_eq!(Some(why), want);
        }
        assert_eq!(verdict(Fault::upstream("already known")), Ok(Verdict::Taken));
        assert_eq!(verdict(Fault::upstream("transaction already imported")), Ok(Verdict::Taken));
        assert!(verdict(Fault::timeout("no answer within 5 ms")).is_err());
    }
}
