//! Hashes, encodings, tables, schemas.

use expect_test::expect;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::admin;

async fn hashed(data: &str, algorithm: &str, expected: Expect) {
    let answer = bench().shown(&admin(), "hash", json!({ "data": data, "algorithm": algorithm })).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    expected.assert_eq(answer["hash"].as_str().unwrap());
}

#[tokio::test]
async fn hashes_are_the_published_ones_of_abc() {
    hashed("abc", "keccak256", expect!["0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"]).await;
    hashed("abc", "sha256", expect!["0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]).await;
    hashed(
        "abc",
        "sha384",
        expect!["0xcb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"],
    )
    .await;
    hashed("abc", "sha512", expect!["0xddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"]).await;
    hashed("abc", "sha3-256", expect!["0x3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"]).await;
    hashed("abc", "sha3-512", expect!["0xb751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0"]).await;
    hashed("abc", "blake2b", expect!["0xba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"]).await;
    hashed("abc", "blake2s", expect!["0x508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"]).await;
    hashed("abc", "ripemd160", expect!["0x8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"]).await;
    hashed("abc", "sha1", expect!["0xa9993e364706816aba3e25717850c26c9cd0d89d"]).await;
    hashed("abc", "md5", expect!["0x900150983cd24fb0d6963f7d28e17f72"]).await;
}

#[tokio::test]
async fn what_is_hashed_is_bytes_in_any_encoding() {
    check("keccak256", json!({ "data": "" }), expect![[r#"{"algorithm":"keccak256","hash":"0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470","bytes":0}"#]]).await;
    check("keccak256", json!({ "data": "0x616263", "encoding": "hex" }), expect![[r#"{"algorithm":"keccak256","hash":"0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45","bytes":3}"#]]).await;
    check("hash", json!({ "data": "YWJj", "encoding": "base64" }), expect![[r#"{"algorithm":"sha256","hash":"0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","bytes":3}"#]]).await;
    check(
        "keccak256",
        json!({ "data": "0x61626", "encoding": "hex" }),
        expect!["invalid_argument: data is not hex: an odd number of digits"],
    )
    .await;
    check("hash", json!({ "data": "abc", "algorithm": "sha255" }), expect!["invalid_argument: arguments.algorithm: unknown variant `sha255`, expected one of `keccak256`, `sha256`, `sha384`, `sha512`, `sha3-256`, `sha3-512`, `blake2b`, `blake2s`, `ripemd160`, `sha1`, `md5` (the tool's inputSchema says what it takes)"]).await;
    check(
        "hash",
        json!({ "data": "a".repeat((1 << 20) + 1) }),
        expect!["too_large: data has 1048577 bytes (at most 1048576)"],
    )
    .await;
}

async fn recoded(tool: &str, data: &str, from: &str, to: &str, expected: Expect) {
    check(tool, json!({ "data": data, "from": from, "to": to }), expected).await;
}

#[tokio::test]
async fn encodings_go_both_ways() {
    recoded("encode", "Grüße", "utf8", "hex", expect![[r#"{"data":"0x4772c3bcc39f65","encoding":"hex","bytes":7}"#]])
        .await;
    recoded(
        "encode",
        "Grüße & mehr?",
        "utf8",
        "url",
        expect![[r#"{"data":"Gr%C3%BC%C3%9Fe%20%26%20mehr%3F","encoding":"url","bytes":15}"#]],
    )
    .await;
    recoded("encode", "a", "utf8", "base64", expect![[r#"{"data":"YQ==","encoding":"base64","bytes":1}"#]]).await;
    recoded("encode", "0xfbff", "hex", "base64url", expect![[r#"{"data":"-_8","encoding":"base64url","bytes":2}"#]])
        .await;
    recoded(
        "encode",
        "0x0000287fb4cd",
        "hex",
        "base58",
        expect![[r#"{"data":"11233QC4","encoding":"base58","bytes":6}"#]],
    )
    .await;
    check(
        "encode",
        json!({ "data": "abc", "to": "hex" }),
        expect![[r#"{"data":"0x616263","encoding":"hex","bytes":3}"#]],
    )
    .await;
    check(
        "decode",
        json!({ "data": "YQ==", "from": "base64" }),
        expect![[r#"{"data":"a","encoding":"utf8","bytes":1}"#]],
    )
    .await;
    check(
        "decode",
        json!({ "data": "YQ", "from": "base64" }),
        expect![[r#"{"data":"a","encoding":"utf8","bytes":1}"#]],
    )
    .await;
    recoded(
        "decode",
        "Gr%C3%BC%c3%9Fe+1",
        "url",
        "utf8",
        expect![[r#"{"data":"Grüße+1","encoding":"utf8","bytes":9}"#]],
    )
    .await;
    recoded("decode", "0XFF", "hex", "base64", expect![[r#"{"data":"/w==","encoding":"base64","bytes":1}"#]]).await;
    recoded("decode", "", "base58", "hex", expect![[r#"{"data":"0x","encoding":"hex","bytes":0}"#]]).await;
}

#[tokio::test]
async fn encodings_say_where_it_goes_wrong() {
    recoded("decode", "0x12g4", "hex", "hex", expect!["invalid_argument: data is not hex: `g` at 4"]).await;
    recoded("decode", "123", "hex", "hex", expect!["invalid_argument: data is not hex: an odd number of digits"]).await;
    recoded(
        "decode",
        "a-b_",
        "base64",
        "hex",
        expect![
            "invalid_argument: data is not base64: invalid symbol 45, offset 1 (for text with - and _ use base64url)"
        ],
    )
    .await;
    recoded(
        "decode",
        "a+b/",
        "base64url",
        "hex",
        expect![
            "invalid_argument: data is not base64url: invalid symbol 43, offset 1 (for text with + and / use base64)"
        ],
    )
    .await;
    recoded(
        "decode",
        "abcde",
        "base64",
        "hex",
        expect!["invalid_argument: data is not base64: invalid input length: 5 (for text with - and _ use base64url)"],
    )
    .await;
    recoded(
        "decode",
        "0OIl",
        "base58",
        "hex",
        expect!["invalid_argument: data is not base58: provided string contained invalid character '0' at byte 0"],
    )
    .await;
}

#[tokio::test]
async fn encodings_refuse_half_escapes_bytes_that_are_no_text_and_too_much() {
    recoded(
        "decode",
        "100%",
        "url",
        "utf8",
        expect!["invalid_argument: data is not url: `%` at 3 is not followed by two hexadecimal digits"],
    )
    .await;
    recoded(
        "decode",
        "%zz",
        "url",
        "utf8",
        expect!["invalid_argument: data is not url: `%` at 0 is not followed by two hexadecimal digits"],
    )
    .await;
    recoded(
        "decode",
        "%é",
        "url",
        "utf8",
        expect!["invalid_argument: data is not url: `%` at 0 is not followed by two hexadecimal digits"],
    )
    .await;
    recoded(
        "decode",
        "0xff",
        "hex",
        "utf8",
        expect!["invalid_argument: the bytes are not UTF-8 text from byte 0 on (write them as hex or base64)"],
    )
    .await;
    recoded("encode", "x", "utf8", "base99", expect!["invalid_argument: arguments.to: unknown variant `base99`, expected one of `utf8`, `hex`, `base64`, `base64url`, `base58`, `url` (the tool's inputSchema says what it takes)"]).await;
    recoded("decode", &"1".repeat(5_000), "base58", "hex", expect!["too_large: data has 5000 bytes (at most 4096)"])
        .await;
    recoded(
        "encode",
        &"1".repeat(5_000),
        "utf8",
        "base58",
        expect!["too_large: 5000 bytes are too many for base58 (at most 3072; base64 has no such limit)"],
    )
    .await;
}

#[tokio::test]
async fn csv_becomes_rows() {
    check(
        "csv_to_json",
        json!({ "csv": "a,b\r\n1,\"x, \"\"y\"\"\"\r\n2,\r\n" }),
        expect![[r#"{"columns":["a","b"],"rows":[{"a":"1","b":"x, \"y\""},{"a":"2","b":""}],"count":2}"#]],
    )
    .await;
    check(
        "csv_to_json",
        json!({ "csv": "a;b\n1;2\n", "delimiter": ";", "header": false }),
        expect![[r#"{"columns":[],"rows":[["a","b"],["1","2"]],"count":2}"#]],
    )
    .await;
    let typed = "n,big,dec,zeros,yes,none,text\n-5,123456789012345678901234567890,1.5,007,true,,1.50\n";
    check("csv_to_json", json!({ "csv": typed, "types": true }), expect![[r#"{"columns":["n","big","dec","zeros","yes","none","text"],"rows":[{"n":-5,"big":"123456789012345678901234567890","dec":1.5,"zeros":"007","yes":true,"none":null,"text":"1.50"}],"count":1}"#]]).await;
    check(
        "csv_to_json",
        json!({ "csv": "\u{feff}a\n1\n" }),
        expect![[r#"{"columns":["a"],"rows":[{"a":"1"}],"count":1}"#]],
    )
    .await;
    check("csv_to_json", json!({ "csv": "" }), expect![[r#"{"columns":[],"rows":[],"count":0}"#]]).await;
    check("csv_to_json", json!({ "csv": "a,b\n1,2,3\n" }), expect!["invalid_argument: csv: record 1 (line: 2, byte: 4): found record with 3 fields, but the previous record has 2 fields"]).await;
    check(
        "csv_to_json",
        json!({ "csv": "a,a\n1,2\n" }),
        expect!["invalid_argument: csv: column `a` appears twice (name each column once, or pass header: false)"],
    )
    .await;
    check(
        "csv_to_json",
        json!({ "csv": "a", "delimiter": "→" }),
        expect!["invalid_argument: delimiter '→' (one ASCII character, such as a comma, a semicolon or a tab)"],
    )
    .await;
    check("csv_to_json", json!({ "csv": "a", "delimiter": ",," }), expect![[r#"invalid_argument: arguments.delimiter: invalid value: string ",,", expected a character (the tool's inputSchema says what it takes)"#]]).await;
    check("csv_to_json", json!({ "csv": ",".repeat(1_000) }), expect!["too_large: 1001 columns (at most 1000)"]).await;
    let wide = format!("{}\n{}", "x".repeat(500_000), "\"\"\n".repeat(100));
    check(
        "csv_to_json",
        json!({ "csv": wide }),
        expect!["too_large: the answer has more than 8388608 bytes (give it less to do, or ask for less)"],
    )
    .await;
}

#[tokio::test]
async fn rows_become_csv() {
    check(
        "json_to_csv",
        json!({ "rows": [{ "a": 1, "b": "x,\"y\"" }, { "b": null, "c": [1, { "d": 2 }] }] }),
        expect![[
            r#"{"csv":"a,b,c\r\n1,\"x,\"\"y\"\"\",\r\n,,\"[1,{\"\"d\"\":2}]\"\r\n","columns":["a","b","c"],"count":2}"#
        ]],
    )
    .await;
    check(
        "json_to_csv",
        json!({ "rows": [{ "a": 1, "b": 2 }], "columns": ["b"], "delimiter": "\t" }),
        expect![[r#"{"csv":"b\r\n2\r\n","columns":["b"],"count":1}"#]],
    )
    .await;
    check(
        "json_to_csv",
        json!({ "rows": [[1, true], ["x"]], "header": false }),
        expect![[r#"{"csv":"1,true\r\nx\r\n","columns":[],"count":2}"#]],
    )
    .await;
    check(
        "json_to_csv",
        json!({ "rows": [[1, 2]], "columns": ["a", "b"] }),
        expect![[r#"{"csv":"a,b\r\n1,2\r\n","columns":["a","b"],"count":1}"#]],
    )
    .await;
    check("json_to_csv", json!({ "rows": [] }), expect![[r#"{"csv":"","columns":[],"count":0}"#]]).await;
    check(
        "json_to_csv",
        json!({ "rows": [[1], { "a": 1 }] }),
        expect![
            "invalid_argument: rows mix arrays and other values (every row is an object, or every row is an array)"
        ],
    )
    .await;
    check(
        "json_to_csv",
        json!({ "rows": [1] }),
        expect!["invalid_argument: rows[0] is a number (every row is an object, or every row is an array)"],
    )
    .await;
    check(
        "json_to_csv",
        json!({ "rows": [[1, 2]], "columns": ["a"] }),
        expect!["invalid_argument: rows[0] has 2 fields, there are 1 columns (give each row a field for each column)"],
    )
    .await;
    check(
        "json_to_csv",
        json!({ "rows": [{}], "delimiter": "\"" }),
        expect![[r#"invalid_argument: delimiter '"' (one ASCII character, such as a comma, a semicolon or a tab)"#]],
    )
    .await;
}

async fn schema(schema: Value, document: Value, expected: Expect) {
    check("validate_json_schema", json!({ "schema": schema, "document": document }), expected).await;
}

#[tokio::test]
async fn schemas_name_each_place() {
    let order = json!({
        "type": "object",
        "properties": { "pair": { "type": "string", "pattern": "^[A-Z]+/[A-Z]+$" }, "legs": { "items": { "$ref": "#/$defs/leg" } } },
        "required": ["pair"],
        "$defs": { "leg": { "type": "object", "required": ["amount"], "unevaluatedProperties": false, "properties": { "amount": { "minimum": 1 } } } },
    });
    schema(
        order.clone(),
        json!({ "pair": "WETH/DAI", "legs": [{ "amount": 1 }] }),
        expect![[r#"{"valid":true,"errors":[],"more":false}"#]],
    )
    .await;
    schema(order, json!({ "pair": "weth", "legs": [{ "amount": 0 }, { "amount": 2, "a/b~c": 1 }] }), expect![[r#"{"valid":false,"errors":[{"instance_path":"/pair","schema_path":"/properties/pair/pattern","message":"\"weth\" does not match \"^[A-Z]+/[A-Z]+$\""},{"instance_path":"/legs/0/amount","schema_path":"/$defs/leg/properties/amount/minimum","message":"0 is less than the minimum of 1"},{"instance_path":"/legs/1","schema_path":"/$defs/leg/unevaluatedProperties","message":"Unevaluated properties are not allowed ('a/b~c' was unexpected)"}],"more":false}"#]]).await;
    schema(json!(false), json!(1), expect![[r#"{"valid":false,"errors":[{"instance_path":"","schema_path":"","message":"False schema does not allow 1"}],"more":false}"#]]).await;
    schema(
        json!({ "$schema": "http://json-schema.org/draft-07/schema#", "items": [{ "type": "string" }] }),
        json!([1, 2]),
        expect![[r#"{"valid":false,"errors":[{"instance_path":"/0","schema_path":"/items/0/type","message":"1 is not of type \"string\""}],"more":false}"#]],
    )
    .await;
    let formats = json!({ "schema": { "format": "email" }, "document": "nobody", "formats": true });
    check("validate_json_schema", formats, expect![[r#"{"valid":false,"errors":[{"instance_path":"","schema_path":"/format","message":"\"nobody\" is not a \"email\""}],"more":false}"#]]).await;
    schema(json!({ "format": "email" }), json!("nobody"), expect![[r#"{"valid":true,"errors":[],"more":false}"#]])
        .await;
    let many = json!({ "schema": { "items": { "type": "string" } }, "document": (0..150).collect::<Vec<_>>() });
    let answer = bench().shown(&admin(), "validate_json_schema", many).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((answer["errors"].as_array().unwrap().len(), &answer["more"]), (100, &json!(true)));
}

#[tokio::test]
async fn schemas_that_are_none_are_refused() {
    schema(
        json!(3),
        json!(1),
        expect!["invalid_argument: schema must be an object or a boolean (a JSON Schema, draft 2020-12)"],
    )
    .await;
    schema(json!({ "type": "integr" }), json!(1), expect![[r#"invalid_argument: schema at /type: "integr" is not valid under any of the schemas listed in the 'anyOf' keyword (a JSON Schema, draft 2020-12; references reach only inside it)"#]]).await;
    schema(json!({ "properties": { "a": { "minimum": "x" } } }), json!(1), expect![[r#"invalid_argument: schema at /properties/a/minimum: "x" is not of type "number" (a JSON Schema, draft 2020-12; references reach only inside it)"#]]).await;
    schema(json!({ "$ref": "https://example.com/other.json" }), json!(1), expect!["invalid_argument: schema: resource 'https://example.com/other.json' is not present in a registry and retrieving it failed: Retrieval is disabled, cannot fetch https://example.com/other.json (a JSON Schema, draft 2020-12; references reach only inside it)"]).await;
    schema(json!({ "$ref": "file:///etc/passwd" }), json!(1), expect!["invalid_argument: schema: resource 'file:///etc/passwd' is not present in a registry and retrieving it failed: Retrieval is disabled, cannot fetch file:///etc/passwd (a JSON Schema, draft 2020-12; references reach only inside it)"]).await;
    schema(json!({ "$ref": "#/nowhere" }), json!(1), expect!["invalid_argument: schema: pointer '/nowhere' does not exist (a JSON Schema, draft 2020-12; references reach only inside it)"]).await;
    schema(json!({ "pattern": "(a+)\\1" }), json!("aa"), expect![[r#"invalid_argument: schema at /pattern: "(a+)\\1" is not a "regex" (a JSON Schema, draft 2020-12; references reach only inside it)"#]]).await;
    schema(json!({ "pattern": "a{1000}{1000}" }), json!("aa"), expect![[r#"invalid_argument: schema at /pattern: "a{1000}{1000}" is not a "regex" (a JSON Schema, draft 2020-12; references reach only inside it)"#]]).await;
}

#[tokio::test]
async fn schemas_that_would_run_forever_meet_a_limit() {
    schema(json!({ "$ref": "#" }), json!(1), expect![[r#"{"valid":true,"errors":[],"more":false}"#]]).await;
    schema(json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "anyOf": [{ "$ref": "#/$defs/a" }] } } }), json!(1), expect![[r#"{"valid":true,"errors":[],"more":false}"#]]).await;
    let self_negating = json!({ "not": { "$ref": "#" } });
    schema(self_negating, json!(1), expect![[r##"{"valid":false,"errors":[{"instance_path":"","schema_path":"/not","message":"{\"$ref\":\"#\"} is not allowed for 1"}],"more":false}"##]]).await;
    let branch = json!({ "properties": { "a": { "$ref": "#" } } });
    let mut deep = json!(1);
    for _ in 0..55 {
        deep = json!({ "a": deep });
    }
    schema(
        json!({ "allOf": [branch, branch], "not": { "const": 0 } }),
        deep,
        expect![[r#"{"valid":true,"errors":[],"more":false}"#]],
    )
    .await;
}

/// A schema of 60 levels, each of which applies the one below twice; `hidden` is where the lowest may refer to.
fn doubling(applicator: &str, lowest: Value) -> Value {
    let mut levels = serde_json::Map::new();
    levels.insert("d0".into(), lowest);
    for level in 1..60 {
        let lower = json!({ "$ref": format!("#/$defs/d{}", level - 1) });
        levels.insert(format!("d{level}"), json!({ applicator: [lower, lower] }));
    }
    json!({ "$ref": "#/$defs/d59", "$defs": levels, "x": { "items": false } })
}

#[tokio::test]
async fn schemas_that_double_meet_the_time_limit() {
    let cases = [
        ("anyOf", json!({ "type": "string" })),
        ("anyOf", json!(false)),
        ("anyOf", json!({ "$ref": "#/x/items" })),
        ("anyOf", json!({ "$ref": "#/x/item%73" })),
        ("allOf", json!(true)),
        ("allOf", json!({})),
        ("oneOf", json!({ "const": 1 })),
    ];
    let bench = Arc::new(hurried());
    let mut running = tokio::task::JoinSet::new();
    for (applicator, lowest) in cases {
        let arguments = json!({ "schema": doubling(applicator, lowest.clone()), "document": 1 });
        let bench = Arc::clone(&bench);
        running.spawn(async move {
            let answer = bench.shown(&admin(), "validate_json_schema", arguments).await;
            assert_eq!(answer, "timeout: it took longer than 1 s (give it less to do)", "{applicator} {lowest}");
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_document_that_breaks_very_many_rules_gets_the_verdict_and_one_error() {
    let document: Vec<u32> = (0..400_000).collect();
    schema(json!({ "items": { "type": "string" } }), json!(document), expect![[r#"{"valid":false,"errors":[{"instance_path":"/0","schema_path":"/items/type","message":"0 is not of type \"string\""}],"more":true}"#]]).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_decodes_to_the_same(text in "\\PC{0,60}", which in 0usize..5) {
        let to = [Encoding::Hex, Encoding::Base64, Encoding::Base64url, Encoding::Base58, Encoding::Url][which];
        let bench = bench();
        let request = EncodeRequest { data: text.clone(), from: Encoding::Utf8, to };
        let there = run(bench.call(&admin(), ENCODE, request)).unwrap();
        prop_assert_eq!(there.bytes, text.len());
        let request = DecodeRequest { data: there.data, from: to, to: Encoding::Utf8 };
        prop_assert_eq!(run(bench.call(&admin(), DECODE, request)).unwrap().data, text);
    }

    #[test]
    fn any_text_decodes_or_is_refused(text in "\\PC{0,40}", which in 0usize..5) {
        let from = ["hex", "base64", "base64url", "base58", "url"][which];
        run(bench().shown(&admin(), "decode", json!({ "data": text, "from": from, "to": "hex" })));
    }

    #[test]
    fn rows_go_to_csv_and_back(rows in prop::collection::vec(prop::collection::vec("[ -~\n\ré\"]{0,8}", 3), 1..8)) {
        let bench = bench();
        let objects: Vec<Value> = rows.iter().map(|row| json!({ "a": row[0], "b": row[1], "c c": row[2] })).collect();
        let request = JsonToCsvRequest { rows: objects.clone(), columns: None, delimiter: ',', header: true };
        let csv = run(bench.call(&admin(), JSON_TO_CSV, request)).unwrap().csv;
        let request = CsvToJsonRequest { csv, delimiter: ',', header: true, types: false };
        prop_assert_eq!(run(bench.call(&admin(), CSV_TO_JSON, request)).unwrap().rows, objects);
    }
}
