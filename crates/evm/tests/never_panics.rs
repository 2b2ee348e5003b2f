//! The fuzz target of contract encodings, for a moment on every run: on arbitrary bytes, and on bytes that look like signatures and data.

#[path = "../../../fuzz/encodings.rs"]
mod encodings;

use proptest::prelude::*;

/// Pieces of signatures and of encoded values, in any order; the text ends at the first zero byte.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "function ",
        "event ",
        "error ",
        "f",
        "(",
        ")",
        "[",
        "]",
        ",",
        " ",
        "tuple",
        "uint256",
        "int8",
        "uint",
        "address",
        "bytes",
        "bytes32",
        "string",
        "bool",
        "indexed ",
        "returns ",
        "anonymous",
        "3",
        "0",
        "65536",
        "99999999999999999999",
        "é",
        "\0",
    ];
    let words: [[u8; 32]; 5] =
        std::array::from_fn(|i| std::array::from_fn(|at| if at == 31 { [0, 1, 32, 64, 255][i] } else { 0 }));
    let piece = prop_oneof![
        3 => prop::sample::select(pieces.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(words.to_vec()).prop_map(|word| word.to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..40),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn on_arbitrary_bytes(bytes in any::<Vec<u8>>()) {
        encodings::encodings(&bytes);
    }

    #[test]
    fn on_likely_bytes(bytes in likely()) {
        encodings::encodings(&bytes);
    }
}
