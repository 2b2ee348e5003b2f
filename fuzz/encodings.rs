//! What the fuzzer and the evm crate's tests both feed foreign bytes to: contract encodings.

use evm::Encodings;
use kernel::chain::{Abi, Hash};
use serde_json::Value;

/// Text up to the first zero byte, data after it: the text as a signature and as a type, the data as what they describe.
pub(crate) fn encodings(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, data) = (String::from_utf8_lossy(&bytes[..at]).into_owned(), bytes.get(at + 1..).unwrap_or_default());
    // Every outcome but a panic is right.
    let _ = Encodings.signature(&text);
    let _ = Encodings.decode(std::slice::from_ref(&text), data);
    let _ = Encodings.decode_call(&text, data);
    let _ = Encodings.decode_output(&text, data);
    let _ = Encodings.decode_revert(data, std::slice::from_ref(&text));
    let topics: Vec<Hash> =
        data.chunks_exact(32).take(4).map(|word| Hash(word.try_into().unwrap_or_default())).collect();
    let _ = Encodings.decode_log(&text, &topics, data);
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        let _ = Encodings.encode(&[text], &[value]);
    }
}
