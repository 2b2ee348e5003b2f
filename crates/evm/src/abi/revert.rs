//! Why a call reverted, from the bytes it reverted with.

use alloy_primitives::{U256, hex};
use kernel::chain::{AbiValue, Data, Revert, RevertKind};
use serde_json::Value;

use super::decode_all;
use super::shape::{Item, Shape};

/// Errors that libraries in wide use declare; tried after the ones the caller knows of.
const COMMON: [&str; 14] = [
    "ERC20InsufficientBalance(address sender,uint256 balance,uint256 needed)",
    "ERC20InsufficientAllowance(address spender,uint256 allowance,uint256 needed)",
    "ERC20InvalidSender(address sender)",
    "ERC20InvalidReceiver(address receiver)",
    "ERC20InvalidApprover(address approver)",
    "ERC20InvalidSpender(address spender)",
    "ERC721NonexistentToken(uint256 tokenId)",
    "OwnableUnauthorizedAccount(address account)",
    "OwnableInvalidOwner(address owner)",
    "AccessControlUnauthorizedAccount(address account,bytes32 neededRole)",
    "SafeERC20FailedOperation(address token)",
    "ReentrancyGuardReentrantCall()",
    "EnforcedPause()",
    "InvalidInitialization()",
];

/// Decodes a revert; never fails, since bytes that follow no convention are an answer too.
pub(super) fn decode(data: &[u8], errors: &[Item]) -> Revert {
    let Some((selector, rest)) = data.split_first_chunk::<4>() else {
        return match data {
            [] => made(RevertKind::Empty, "reverted without a reason", data),
            _ => made(RevertKind::Unknown, format!("reverted with {}", hex::encode_prefixed(data)), data),
        };
    };
    let built_in = match selector {
        [0x08, 0xc3, 0x79, 0xa0] => message(rest).map(|text| made(RevertKind::Message, text, data)),
        [0x4e, 0x48, 0x7b, 0x71] => panic_code(rest).map(|code| made(RevertKind::Panic, panic_reason(code), data)),
        _ => None,
    };
    if let Some(revert) = built_in {
        return revert;
    }
    // The table is ours and is tested to parse, so an item that does not parse can only be absent.
    let common = || COMMON.iter().filter_map(|text| Item::parse(&format!("error {text}")).ok());
    let known = errors.iter().cloned().chain(common()).filter(|item| item.selector() == *selector);
    for item in known {
        if let Ok(args) = decode_all(&item.inputs, rest) {
            let reason = format!("{}({})", item.name, args.iter().map(shown).collect::<Vec<_>>().join(", "));
            return Revert { error: Some(item.canonical), args, ..made(RevertKind::Custom, reason, data) };
        }
    }
    let selector = hex::encode_prefixed(selector);
    let reason = format!("custom error {selector}");
    Revert { error: Some(selector), ..made(RevertKind::Unknown, reason, data) }
}

fn made(kind: RevertKind, reason: impl Into<String>, data: &[u8]) -> Revert {
    Revert { kind, reason: reason.into(), error: None, args: Vec::new(), data: Data::from(data.to_vec()) }
}

fn shown(arg: &AbiValue) -> String {
    let value = arg.value.as_str().map_or_else(|| arg.value.to_string(), ToOwned::to_owned);
    if arg.name.is_empty() { value } else { format!("{}: {value}", arg.name) }
}

fn message(rest: &[u8]) -> Option<String> {
    let values = decode_all(&[Shape::parse("string").ok()?], rest).ok()?;
    values.into_iter().next().and_then(|value| match value.value {
        Value::String(text) => Some(text),
        _ => None,
    })
}

fn panic_code(rest: &[u8]) -> Option<U256> {
    rest.first_chunk::<32>().map(|word| U256::from_be_bytes(*word))
}

fn panic_reason(code: U256) -> String {
    let meaning = match u64::try_from(code) {
        Ok(0x00) => "a check that the compiler inserted failed",
        Ok(0x01) => "an assertion failed",
        Ok(0x11) => "arithmetic overflow or underflow",
        Ok(0x12) => "division or modulo by zero",
        Ok(0x21) => "a value outside its enum",
        Ok(0x22) => "a storage byte array is encoded wrongly",
        Ok(0x31) => "pop from an empty array",
        Ok(0x32) => "array index out of bounds",
        Ok(0x41) => "too much memory allocated",
        Ok(0x51) => "a call through an uninitialised function pointer",
        _ => "a code without a meaning in Solidity",
    };
    format!("panic {code:#04x}: {meaning}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_error_parses() {
        for text in COMMON {
            assert!(Item::parse(&format!("error {text}")).is_ok(), "{text}");
        }
    }
}
