//! Contract encodings.

use expect_test::expect;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::admin;

#[tokio::test]
async fn values_encode_and_decode() {
    check("abi_encode", json!({ "types": ["uint256", "bool"], "values": ["1000000000000000000", true] }), expect![[r#"{"data":"0x0000000000000000000000000000000000000000000000000de0b6b3a76400000000000000000000000000000000000000000000000000000000000000000001","bytes":64}"#]])
        .await;
    let transfer =
        json!({ "function": "transfer(address,uint256)", "values": ["0x000000000000000000000000000000000000dEaD", 5] });
    check("abi_encode", transfer, expect![[r#"{"data":"0xa9059cbb000000000000000000000000000000000000000000000000000000000000dead0000000000000000000000000000000000000000000000000000000000000005","bytes":68}"#]]).await;
    let call = "0xa9059cbb000000000000000000000000000000000000000000000000000000000000dead0000000000000000000000000000000000000000000000000000000000000005";
    check("abi_decode", json!({ "function": "transfer(address to, uint256 amount)", "data": call }), expect![[r#"{"values":[{"name":"to","type":"address","value":"0x000000000000000000000000000000000000dEaD"},{"name":"amount","type":"uint256","value":"5"}]}"#]]).await;
    let word = format!("0x{:064x}", 42);
    check(
        "abi_decode",
        json!({ "types": ["int8"], "data": word }),
        expect![[r#"{"values":[{"name":"","type":"int8","value":42}]}"#]],
    )
    .await;
}

#[tokio::test]
async fn encodings_refuse_with_a_reason() {
    check("abi_encode", json!({ "values": [] }), expect!["invalid_argument: types or function (give one of the two)"])
        .await;
    check(
        "abi_encode",
        json!({ "types": ["uint8"], "function": "f(uint8)", "values": [1] }),
        expect!["invalid_argument: types or function (give one of the two)"],
    )
    .await;
    check("abi_encode", json!({ "types": ["uint8"], "values": [256] }), expect!["invalid_argument: values[0]: 256 is not of type uint8 (a whole number from 0 to 2^8 - 1; write large ones as decimal text)"]).await;
    check(
        "abi_encode",
        json!({ "types": ["uint8"], "values": [] }),
        expect!["invalid_argument: values: 0 values for 1 parameters (expected (uint8))"],
    )
    .await;
    check("abi_encode", json!({ "types": ["unit8"], "values": [1] }), expect![[r#"invalid_argument: types[0]: unknown type "unit8" (elementary types, arrays and tuples; write a struct as its tuple: (address,uint256))"#]]).await;
    check("abi_decode", json!({ "types": ["uint256"], "data": "0x01" }), expect!["invalid_argument: 1 bytes do not decode as (uint256): abi decoding failed: buffer overrun while deserializing (check the types, and that the data is whole and without a selector)"]).await;
    check("abi_decode", json!({ "types": ["uint256"], "data": "0xzz" }), expect![[r#"invalid_argument: arguments.data: not bytes: "0xzz" (0x and an even number of hexadecimal digits) (the tool's inputSchema says what it takes)"#]]).await;
    check("abi_decode", json!({ "function": "f(uint256)", "data": "0xa9059cbb" }), expect!["invalid_argument: the data begins with 0xa9059cbb, f(uint256) with 0xb3de648b (give the signature of the function that the data calls)"]).await;
    check(
        "abi_encode",
        json!({ "types": ["x".repeat(5_000)], "values": [1] }),
        expect!["too_large: a type has 5000 bytes (at most 4096)"],
    )
    .await;
}

#[tokio::test]
async fn selectors_and_topics() {
    check("selector", json!({ "signature": "transfer(address to, uint amount) returns (bool)" }), expect![[r#"{"kind":"function","canonical":"transfer(address,uint256)","selector":"0xa9059cbb","hash":"0xa9059cbb2ab09eb219583f4a59a5d0623ade346d962bcd4e46b11da047c9049b"}"#]]).await;
    check(
        "selector",
        json!({ "signature": "event Transfer(address indexed from, address indexed to, uint256 value)" }),
        expect![[r#"{"kind":"event","canonical":"Transfer(address,address,uint256)","hash":"0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"}"#]],
    )
    .await;
    check("selector", json!({ "signature": "error Paused(uint256 until)" }), expect![[r#"{"kind":"error","canonical":"Paused(uint256)","selector":"0x32fb7c98","hash":"0x32fb7c9891bc4f963c7de9f1186d2a7755c7d6e9f4604dabe1d8bb3027c2f49e"}"#]]).await;
    check("selector", json!({ "signature": "transfer(" }), expect![[r#"invalid_argument: cannot read "transfer(": expected a type, found its end (like `balanceOf(address)(uint256)`)"#]]).await;
}

#[tokio::test]
async fn addresses_get_their_checksum() {
    let address = |text: &str| json!({ "address": text });
    check(
        "checksum_address",
        address("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"),
        expect![[r#"{"address":"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed","unchanged":false}"#]],
    )
    .await;
    check(
        "checksum_address",
        address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
        expect![[r#"{"address":"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed","unchanged":true}"#]],
    )
    .await;
    check("checksum_address", address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed"), expect!["invalid_argument: the checksum of address 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed does not hold (if no digit is wrong it is 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed)"]).await;
    check(
        "checksum_address",
        address("0x5aaeb6"),
        expect![[r#"invalid_argument: not an address: "0x5aaeb6" (0x and 40 hexadecimal digits)"#]],
    )
    .await;
    check("checksum_address", address("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"), expect![[r#"invalid_argument: not an address: "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed" (0x and 40 hexadecimal digits)"#]]).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn checksums_hold_and_break(bytes in any::<[u8; 20]>(), at in 0usize..40) {
        let bench = bench();
        let lower = format!("0x{}", kernel::audit::hex(&bytes));
        let request = |address: String| ChecksumAddressRequest { address };
        let made = run(bench.call(&admin(), CHECKSUM_ADDRESS, request(lower.clone()))).unwrap().address.to_string();
        prop_assert!(made.eq_ignore_ascii_case(&lower));
        prop_assert!(run(bench.call(&admin(), CHECKSUM_ADDRESS, request(made.clone()))).unwrap().unchanged);
        let mut other = made.clone().into_bytes();
        other[at + 2] ^= 0x20;
        let other = String::from_utf8(other).unwrap();
        let letters = |case: fn(&u8) -> bool| other[2..].bytes().any(|byte| case(&byte));
        let mixed = letters(u8::is_ascii_lowercase) && letters(u8::is_ascii_uppercase);
        if made.as_bytes()[at + 2].is_ascii_alphabetic() && mixed {
            prop_assert!(run(bench.call(&admin(), CHECKSUM_ADDRESS, request(other))).is_err());
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same(number in any::<u128>(), text in "\\PC{0,40}", flag in any::<bool>()) {
        let bench = bench();
        let types = || Some(vec!["uint256".to_owned(), "string".into(), "bool[]".into()]);
        let values = vec![json!(number.to_string()), json!(text), json!([flag, !flag])];
        let request = AbiEncodeRequest { values: values.clone(), types: types(), function: None };
        let data = run(bench.call(&admin(), ABI_ENCODE, request)).unwrap().data;
        let request = AbiDecodeRequest { data, types: types(), function: None };
        let decoded = run(bench.call(&admin(), ABI_DECODE, request)).unwrap().values;
        let shown: Vec<String> = decoded.iter().map(|value| value.value.as_str().map_or_else(|| value.value.to_string(), ToOwned::to_owned)).collect();
        prop_assert_eq!(shown, vec![number.to_string(), text, json!([flag, !flag]).to_string()]);
    }
}
