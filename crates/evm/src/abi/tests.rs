use alloy_primitives::hex;
use kernel::Code;
use kernel::chain::{Abi, Hash, RevertKind, SignatureKind};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Encodings;

const TRANSFER: &str = "event Transfer(address indexed from, address indexed to, uint256 value)";
const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const BOB: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn round_trip(ty: &str, value: Value) -> Value {
    let types = strings(&[ty]);
    let data =
        Encodings.encode(&types, std::slice::from_ref(&value)).unwrap_or_else(|fault| panic!("{ty} {value}: {fault}"));
    Encodings.decode(&types, &data).unwrap().remove(0).value
}

fn refused(ty: &str, value: Value) -> String {
    let fault = Encodings.encode(&strings(&[ty]), std::slice::from_ref(&value)).unwrap_err();
    assert_eq!(fault.code, Code::InvalidArgument, "{ty} {value}");
    fault.to_string()
}

#[test]
fn reads_signatures_in_every_common_form() {
    for (text, kind, canonical, selector) in [
        ("balanceOf(address)(uint256)", SignatureKind::Function, "balanceOf(address)", "70a08231"),
        (
            "function transfer(address to,uint256 amount) returns (bool)",
            SignatureKind::Function,
            "transfer(address,uint256)",
            "a9059cbb",
        ),
        (
            "function transfer(address to, uint amount) external payable returns (bool ok);",
            SignatureKind::Function,
            "transfer(address,uint256)",
            "a9059cbb",
        ),
        ("getReserves()(uint112,uint112,uint32)", SignatureKind::Function, "getReserves()", "0902f1ac"),
        (TRANSFER, SignatureKind::Event, "Transfer(address,address,uint256)", "ddf252ad"),
        (
            "error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed)",
            SignatureKind::Error,
            "ERC20InsufficientBalance(address,uint256,uint256)",
            "e450d38c",
        ),
        (
            "exactInputSingle((address tokenIn,address tokenOut,uint24 fee,address recipient,uint256 deadline,uint256 amountIn,uint256 amountOutMinimum,uint160 sqrtPriceLimitX96) params)(uint256)",
            SignatureKind::Function,
            "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))",
            "414bf389",
        ),
    ] {
        let signature = Encodings.signature(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!((signature.kind, signature.canonical.as_str()), (kind, canonical), "{text}");
        assert_eq!(hex::encode(signature.selector()), selector, "{text}");
    }
    let signature = Encodings.signature(TRANSFER).unwrap();
    assert_eq!(
        signature.inputs.iter().map(|p| (p.name.as_str(), p.indexed)).collect::<Vec<_>>(),
        [("from", true), ("to", true), ("value", false)]
    );
}

#[test]
fn a_signature_that_cannot_be_read_says_so() {
    for text in [
        "",
        "(",
        "f(uint7)",
        "f(Order order)",
        "f(address",
        "f(())",
        "f(()[])",
        "f(uint256[0])",
        "f(uint256[65537])",
        "f(uint256[300][300])",
        "f(uint256[60000],uint256[60000])",
        "f(uint256 indexed a)",
        "f(uint256) nonsense",
        "f(uint256)(bool)(bool)",
        "event E(uint256 indexed a,uint256 indexed b,uint256 indexed c,uint256 indexed d)",
        "é",
        "function",
    ] {
        let fault = Encodings.signature(text).unwrap_err();
        assert_eq!(fault.code, Code::InvalidArgument, "{text}: {fault}");
        assert!(!fault.message.contains('\n'), "{fault}");
    }
    assert_eq!(Encodings.signature(&"f".repeat(5_000)).unwrap_err().code, Code::TooLarge);
    assert!(Encodings.signature(&format!("f({}uint256{})", "(".repeat(500), ")".repeat(500))).is_err());
}

#[test]
fn values_keep_their_meaning_and_their_last_digit() {
    let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    for (ty, value, want) in [
        ("uint256", json!(max), json!(max)),
        ("uint256", json!("0xff"), json!("255")),
        ("uint256", json!(9_007_199_254_740_991u64), json!("9007199254740991")),
        ("uint256", json!(9_007_199_254_740_992u64), json!("9007199254740992")),
        // The type decides, not the value: the last that are numbers, and the first that are not.
        ("uint48", json!("281474976710655"), json!(281_474_976_710_655u64)),
        ("uint56", json!(1), json!("1")),
        ("int48", json!("-140737488355328"), json!(-140_737_488_355_328i64)),
        ("int56", json!(-1), json!("-1")),
        ("int8", json!(-128), json!(-128)),
        (
            "int256",
            json!("-57896044618658097711785492504343953926634992332820282019728792003956564819968"),
            json!("-57896044618658097711785492504343953926634992332820282019728792003956564819968"),
        ),
        ("int24", json!("-0"), json!(0)),
        ("address", json!(ALICE.to_lowercase()), json!(ALICE)),
        ("bytes4", json!("0xdeadbeef"), json!("0xdeadbeef")),
        ("bytes", json!("0x"), json!("0x")),
        ("string", json!("žluťoučký"), json!("žluťoučký")),
        ("bool[2]", json!([true, false]), json!([true, false])),
        (
            "(address to,uint256 amount)[]",
            json!([{"to": ALICE, "amount": 1}, [BOB, "2"]]),
            json!([{"to": ALICE, "amount": "1"}, {"to": BOB, "amount": "2"}]),
        ),
        ("(address,(bool,string)[])", json!([ALICE, [[true, "a"]]]), json!([ALICE, [[true, "a"]]])),
    ] {
        assert_eq!(round_trip(ty, value), want, "{ty}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_place_and_what_would_be_right() {
    for (ty, value, says) in [
        ("uint8", json!(256), "0 to 2^8 - 1"),
        ("uint8", json!(-1), "values[0]"),
        ("uint256", json!(1.5), "whole number"),
        ("uint256", json!("1e18"), "whole number"),
        ("int8", json!(128), "-2^7 to 2^7 - 1"),
        ("int8", json!(-129), "-2^7 to 2^7 - 1"),
        ("bool", json!("true"), "true or false"),
        ("address", json!("0x12"), "not an address"),
        ("address", json!(BOB.replacen('C', "c", 1)), BOB),
        ("bytes4", json!("0xdeadbe"), "8 hexadecimal digits"),
        ("bytes", json!("0xabc"), "even number"),
        ("uint256[2]", json!([1]), "an array of 2"),
        ("(address to,uint256 amount)", json!({"to": ALICE}), "\"amount\" is missing"),
        ("(address to,uint256 amount)", json!({"to": ALICE, "amount": 1, "x": 1}), "no component \"x\""),
        ("(address to,(uint8 v) in)", json!({"to": ALICE, "in": {"v": 300}}), "values[0].in.v"),
        ("(address,uint256)", json!({"to": ALICE}), "an array"),
    ] {
        let said = refused(ty, value);
        assert!(said.contains(says), "{ty}: {said}");
    }
    let fault = Encodings.encode_call("transfer(address to,uint256 amount)", &[json!(ALICE)]).unwrap_err();
    assert!(fault.to_string().contains("(address to, uint256 amount)"), "{fault}");
}

#[test]
fn calls_there_and_back() {
    let function = "function transfer(address to,uint256 amount) returns (bool)";
    let data = Encodings.encode_call(function, &[json!(BOB), json!("1000000000000000000")]).unwrap();
    assert_eq!(
        data.to_string(),
        "0xa9059cbb00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c80000000000000000000000000000000000000000000000000de0b6b3a7640000"
    );
    let call = Encodings.decode_call(function, &data).unwrap();
    assert_eq!(call.function, "transfer(address,uint256)");
    assert_eq!(
        call.args.iter().map(|arg| arg.value.clone()).collect::<Vec<_>>(),
        [json!(BOB), json!("1000000000000000000")]
    );
    let other = Encodings.decode_call("approve(address,uint256)", &data).unwrap_err();
    assert!(other.message.contains("0xa9059cbb") && other.message.contains("0x095ea7b3"), "{other}");
    let short = Encodings.decode_call(function, &data[..40]).unwrap_err();
    assert!(short.message.contains("(address,uint256)"), "{short}");
}

#[test]
fn logs_there_and_back_and_an_indexed_text_is_its_hash() {
    let log = Encodings.encode_log(TRANSFER, &[json!(ALICE), json!(BOB), json!(5)]).unwrap();
    assert_eq!(log.topics.len(), 3);
    let decoded = Encodings.decode_log(TRANSFER, &log.topics, &log.data).unwrap();
    assert_eq!(
        decoded.args.iter().map(|arg| arg.value.clone()).collect::<Vec<_>>(),
        [json!(ALICE), json!(BOB), json!("5")]
    );

    let nft = "event Transfer(address indexed from, address indexed to, uint256 indexed id)";
    let fault = Encodings.decode_log(nft, &log.topics, &log.data).unwrap_err();
    assert!(fault.message.contains("2 indexed values") && fault.message.contains("declares 3"), "{fault}");
    assert!(Encodings.decode_log("event Approval(address,address,uint256)", &log.topics, &log.data).is_err());
    assert!(Encodings.decode_log(TRANSFER, &[], &log.data).is_err());

    let named = "event Named(string indexed name, string plain)";
    let log = Encodings.encode_log(named, &[json!("weth"), json!("weth")]).unwrap();
    let hash = Encodings.keccak256(b"weth").to_string();
    let decoded = Encodings.decode_log(named, &log.topics, &log.data).unwrap();
    assert_eq!((decoded.args[0].value.clone(), decoded.args[1].value.clone()), (json!(hash), json!("weth")));

    let anonymous = "event Quiet(uint256 indexed a) anonymous";
    let log = Encodings.encode_log(anonymous, &[json!(3)]).unwrap();
    assert_eq!(log.topics, [Hash(alloy_primitives::B256::with_last_byte(3))]);
    assert_eq!(Encodings.decode_log(anonymous, &log.topics, &log.data).unwrap().args[0].value, json!("3"));
}

#[test]
fn reverts_in_every_convention() {
    let error = "error Paused(uint256 until, address by)";
    let custom = Encodings.encode_call("Paused(uint256,address)", &[json!(12), json!(BOB)]).unwrap();
    let message = Encodings.encode_call("Error(string)", &[json!("UniswapV2: K")]).unwrap();
    let panic = Encodings.encode_call("Panic(uint256)", &[json!(0x11)]).unwrap();
    let common = Encodings.encode_call("OwnableUnauthorizedAccount(address)", &[json!(BOB)]).unwrap();
    for (data, kind, reason) in [
        (&message[..], RevertKind::Message, "UniswapV2: K".to_owned()),
        (&panic[..], RevertKind::Panic, "panic 0x11: arithmetic overflow or underflow".into()),
        (&custom[..], RevertKind::Custom, format!("Paused(until: 12, by: {BOB})")),
        (&common[..], RevertKind::Custom, format!("OwnableUnauthorizedAccount(account: {BOB})")),
        (&[], RevertKind::Empty, "reverted without a reason".into()),
        (&[1, 2], RevertKind::Unknown, "reverted with 0x0102".into()),
        (&[1, 2, 3, 4], RevertKind::Unknown, "custom error 0x01020304".into()),
        (&message[..40], RevertKind::Unknown, "custom error 0x08c379a0".into()),
        (&panic[..20], RevertKind::Unknown, "custom error 0x4e487b71".into()),
        (&custom[..30], RevertKind::Unknown, "custom error 0x".to_owned() + &hex::encode(&custom[..4])),
    ] {
        let revert = Encodings.decode_revert(data, &strings(&[error])).unwrap();
        assert_eq!((revert.kind, revert.reason), (kind, reason));
        assert_eq!(&revert.data[..], data);
    }
    assert!(Encodings.decode_revert(&custom, &strings(&["error ("])).is_err());
}

/// A type and a value of it, as JSON has it once decoded.
fn typed() -> impl Strategy<Value = (String, Value)> {
    let number = |text: String, bytes: usize| match bytes {
        ..=6 => json!(text.parse::<i64>().unwrap()),
        _ => json!(text),
    };
    let uint = (1usize..=32, any::<[u8; 32]>()).prop_map(move |(size, word)| {
        let value = alloy_primitives::U256::from_be_slice(&word[..size]);
        (format!("uint{}", size * 8), number(value.to_string(), size))
    });
    let int = (1usize..=32, any::<[u8; 32]>()).prop_map(move |(size, word)| {
        let mut wide = [if word[0] & 0x80 == 0 { 0 } else { 0xff }; 32];
        wide[32 - size..].copy_from_slice(&word[..size]);
        (format!("int{}", size * 8), number(alloy_primitives::I256::from_be_bytes(wide).to_string(), size))
    });
    let leaf = prop_oneof![
        uint,
        int,
        any::<bool>().prop_map(|truth| ("bool".into(), json!(truth))),
        any::<[u8; 20]>().prop_map(|b| ("address".into(), json!(kernel::chain::Address(b.into())))),
        any::<Vec<u8>>().prop_map(|b| ("bytes".into(), json!(hex::encode_prefixed(b)))),
        prop::collection::vec(any::<u8>(), 1..=32)
            .prop_map(|b| (format!("bytes{}", b.len()), json!(hex::encode_prefixed(b)))),
        any::<String>().prop_map(|text| ("string".into(), json!(text))),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0usize..4).prop_map(|((ty, value), n)| (format!("{ty}[]"), Value::Array(vec![value; n]))),
            (inner.clone(), 1usize..4)
                .prop_map(|((ty, value), n)| (format!("{ty}[{n}]"), Value::Array(vec![value; n]))),
            prop::collection::vec(inner, 1..4).prop_map(|items| {
                let (types, values): (Vec<_>, Vec<_>) = items.into_iter().unzip();
                (format!("({})", types.join(",")), Value::Array(values))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_values_survive_the_round_trip(items in prop::collection::vec(typed(), 0..4)) {
        let (types, values): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let data = Encodings.encode(&types, &values).unwrap();
        let back: Vec<Value> = Encodings.decode(&types, &data).unwrap().into_iter().map(|value| value.value).collect();
        prop_assert_eq!(&back, &values);

        let function = format!("f({})", types.join(","));
        let call = Encodings.encode_call(&function, &values).unwrap();
        let back: Vec<Value> = Encodings.decode_call(&function, &call).unwrap().args.into_iter().map(|value| value.value).collect();
        prop_assert_eq!(&back, &values);

        let event = format!("event E({})", types.join(","));
        let log = Encodings.encode_log(&event, &values).unwrap();
        let back: Vec<Value> = Encodings.decode_log(&event, &log.topics, &log.data).unwrap().args.into_iter().map(|value| value.value).collect();
        prop_assert_eq!(back, values);
    }

    #[test]
    fn foreign_bytes_never_break_the_decoder((ty, _) in typed(), data in any::<Vec<u8>>(), word in 0u8..=255) {
        let mut data = data;
        // A length or an offset is where decoders break: make some of the words plausible ones.
        data.extend([0; 31]);
        data.push(word);
        let _ = Encodings.decode(std::slice::from_ref(&ty), &data);
        let _ = Encodings.decode_revert(&data, &[]);
        let _ = Encodings.decode_call(&format!("f({ty})"), &data);
    }

    #[test]
    fn foreign_text_never_breaks_the_parser(text in "[a-z0-9(),\\[\\] ]{0,40}|\\PC{0,40}") {
        let _ = Encodings.signature(&text);
        let _ = Encodings.encode(std::slice::from_ref(&text), &[Value::Null]);
        let _ = Encodings.decode(&[text], &[0; 64]);
    }
}
