//! ERC-20 tokens, as they really are: names in bytes32, no decimals, or no token at all.

use alloy_primitives::U256;
use kernel::chain::{Abi, Address, Amount, BlockId, CallRequest, Chain, Data, Token};
use kernel::{Code, Fault, Result};

use crate::Encodings;
use crate::node::Node;

/// Longest name or symbol kept, in characters: a token's own words are foreign text.
const NAME_CHARS_MAX: usize = 128;

const BALANCE_OF: [u8; 4] = [0x70, 0xa0, 0x82, 0x31];
const NAME: [u8; 4] = [0x06, 0xfd, 0xde, 0x03];
const SYMBOL: [u8; 4] = [0x95, 0xd8, 0x9b, 0x41];
const DECIMALS: [u8; 4] = [0x31, 0x3c, 0xe5, 0x67];
const TOTAL_SUPPLY: [u8; 4] = [0x18, 0x16, 0x0d, 0xdd];

pub(crate) async fn balance(node: &Node, token: Address, account: Address, at: BlockId) -> Result<Amount> {
    let mut data = BALANCE_OF.to_vec();
    data.extend(account.into_word());
    let answer = node.call(&CallRequest::read(token, data.into()), at).await;
    match word(&answer.map_err(|fault| no_token(token, fault))?) {
        Some(balance) => Ok(Amount(balance)),
        None => Err(missing(node, token, at).await),
    }
}

pub(crate) async fn read(node: &Node, token: Address, at: BlockId) -> Result<Token> {
    let ask = |selector: [u8; 4]| async move {
        match node.call(&CallRequest::read(token, selector.to_vec().into()), at).await {
            Ok(data) => Ok(Some(data)),
            // It has no such function; that is what is asked.
            Err(fault) if fault.code == Code::Reverted => Ok(None),
            Err(fault) => Err(fault),
        }
    };
    let (name, symbol, decimals, supply) = tokio::try_join!(ask(NAME), ask(SYMBOL), ask(DECIMALS), ask(TOTAL_SUPPLY))?;
    let Some(total_supply) = supply.as_ref().and_then(word) else {
        return Err(missing(node, token, at).await);
    };
    Ok(Token {
        address: token,
        name: name.as_ref().and_then(text),
        symbol: symbol.as_ref().and_then(text),
        decimals: decimals.as_ref().and_then(word).and_then(|decimals| u8::try_from(decimals).ok()),
        total_supply: Amount(total_supply),
    })
}

/// Why there is no answer where a token should be.
async fn missing(node: &Node, token: Address, at: BlockId) -> Fault {
    match node.code(token, at).await {
        Ok(code) if code.is_empty() => {
            Fault::not_found(format!("no contract at {token}")).hint("is it on this chain, and at this block?")
        }
        Ok(_) => Fault::invalid(format!("the contract at {token} is no ERC-20 token"))
            .hint("resolve_contract says what it is"),
        Err(fault) => fault,
    }
}

fn no_token(token: Address, fault: Fault) -> Fault {
    if fault.code == Code::Reverted {
        return Fault::invalid(format!("the contract at {token} is no ERC-20 token"))
            .hint("resolve_contract says what it is");
    }
    fault
}

/// The first word of an answer.
pub(crate) fn word(data: &Data) -> Option<U256> {
    data.first_chunk::<32>().map(|word| U256::from_be_bytes(*word))
}

/// A string, or, from tokens older than the standard, a bytes32 that holds one.
fn text(data: &Data) -> Option<String> {
    let text = match Encodings.decode(&["string".into()], data) {
        Ok(values) => values.first().and_then(|value| value.value.as_str().map(ToOwned::to_owned)),
        Err(_) if data.len() == 32 => {
            let end = data.iter().position(|byte| *byte == 0).unwrap_or(32);
            std::str::from_utf8(&data[..end]).ok().map(ToOwned::to_owned)
        }
        Err(_) => None,
    };
    let text: String = text?.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_string_in_a_word_and_none() {
        let mut old = b"MKR".to_vec();
        old.resize(32, 0);
        let new = Encodings.encode(&["string".into()], &["Tether \u{7}USD".into()]).unwrap();
        assert_eq!(text(&old.into()).as_deref(), Some("MKR"));
        assert_eq!(text(&new).as_deref(), Some("Tether USD"));
        assert_eq!(text(&vec![0xff; 32].into()), None);
        assert_eq!(text(&vec![0; 32].into()), None);
        assert_eq!(text(&Data::default()), None);
    }
}
