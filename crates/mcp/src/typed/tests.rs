//! The path is the one that a reader which keeps it all along would say.

#![expect(dead_code, reason = "the types are only read")]

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trade {
    pool: String,
    amount: Amount,
    #[serde(default)]
    legs: Vec<Leg>,
    #[serde(default)]
    limits: BTreeMap<String, u8>,
    side: Option<Side>,
}

#[derive(Debug, Deserialize)]
struct Leg {
    token: Amount,
    inner: Option<Box<Leg>>,
    pair: Option<(u8, Amount)>,
    kind: Option<Kind>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Buy,
    Sell(u8),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Kind {
    Swap { fee: u8 },
    Flash,
}

/// Refused after it was read.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Amount(u64);

impl TryFrom<String> for Amount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{text}` is not an amount"))
    }
}

fn check(text: &str, told: &Expect) {
    let misfit = read::<Trade>(text).unwrap_err();
    told.assert_eq(&format!("trade{misfit}"));
}

#[test]
fn what_does_not_fit_is_named_by_its_path() {
    check("{}", &expect!["trade: missing field `pool`"]);
    check("[]", &expect!["trade: invalid length 0, expected struct Trade with 5 elements"]);
    check(
        r#"{"pool":"x","amount":"1","more":2}"#,
        &expect!["trade.more: unknown field `more`, expected one of `pool`, `amount`, `legs`, `limits`, `side`"],
    );
    check(r#"{"pool":{"a":1},"amount":"1"}"#, &expect!["trade.pool: invalid type: map, expected a string"]);
    check(r#"{"pool":"x","amount":"one"}"#, &expect!["trade.amount: `one` is not an amount"]);
    check("{\"pool\": \"x\",\n  \"amount\": \"one\" \n}\n", &expect!["trade.amount: `one` is not an amount"]);
    check("{\"amount\": \"one\" ,\n  \"pool\": \"x\" }", &expect!["trade.amount: `one` is not an amount"]);
    check(r#"{"pool":"}","amount":"]","legs":[]}"#, &expect!["trade.amount: `]` is not an amount"]);
    check(
        r#"{"pool":"x","amount":"1","legs":[{"token":"1"},{"token":"2","inner":{"token":"x"}}]}"#,
        &expect!["trade.legs[1].inner.token: `x` is not an amount"],
    );
    check(
        r#"{"pool":"x","amount":"1","legs":[{"token":"1"},{"inner":{"token":"1"}}]}"#,
        &expect!["trade.legs[1]: missing field `token`"],
    );
    check(
        r#"{"pool":"x","amount":"1","legs":[{"token":"1","pair":[1,"x"]}]}"#,
        &expect!["trade.legs[0].pair[1]: `x` is not an amount"],
    );
    check(
        r#"{"pool":"x","amount":"1","legs":[{"token":"1","pair":[256,"1"]}]}"#,
        &expect!["trade.legs[0].pair[0]: invalid value: integer `256`, expected u8"],
    );
    check(
        r#"{"pool":"x","amount":"1","legs":[{"token":"1","kind":{"type":"swap","fee":"x"}}]}"#,
        &expect![[r#"trade.legs[0].kind: invalid type: string "x", expected u8"#]],
    );
    check(
        r#"{"pool":"x","amount":"1","legs":[{"token":"1","kind":{"type":"what"}}]}"#,
        &expect!["trade.legs[0].kind.type: unknown variant `what`, expected `swap` or `flash`"],
    );
    check(
        r#"{"pool":"x","amount":"1","limits":{"a\"}.b":300}}"#,
        &expect![[r#"trade.limits.a"}.b: invalid value: integer `300`, expected u8"#]],
    );
    check(
        r#"{"pool":"x","amount":"1","side":"hold"}"#,
        &expect!["trade.side: unknown variant `hold`, expected `buy` or `sell`"],
    );
    check(
        r#"{"pool":"x","amount":"1","side":{"sell":"x"}}"#,
        &expect![[r#"trade.side.sell: invalid type: string "x", expected u8"#]],
    );
    check(r#"{"pool":"x","amount":"1","side":1.5}"#, &expect!["trade.side: expected value"]);
    check(r#"{"pool":"ünï","amount":"ö"}"#, &expect!["trade.amount: `ö` is not an amount"]);
    check(r#"{"pool":"x","amount":"1","#, &expect!["trade: EOF while parsing a value"]);
}

fn amounts() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => any::<u64>().prop_map(|amount| json!(amount.to_string())),
        1 => "[a}\\]\\[{\", \u{e9}]{0,4}".prop_map(Value::from),
        1 => any::<i32>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!({ "a": [1, {}] })),
    ]
}

fn small() -> impl Strategy<Value = Value> {
    prop_oneof![8 => (0..256u32).prop_map(Value::from), 1 => (-500..500i32).prop_map(Value::from), 1 => amounts()]
}

fn kinds() -> impl Strategy<Value = Value> {
    prop_oneof![
        small().prop_map(|fee| json!({ "type": "swap", "fee": fee })),
        Just(json!({ "type": "flash" })),
        small()
    ]
}

fn legs() -> impl Strategy<Value = Value> {
    let leaf = amounts().prop_map(|token| json!({ "token": token }));
    leaf.prop_recursive(4, 24, 3, |inner| {
        (
            prop::option::of(amounts()),
            prop::option::of(inner),
            prop::option::of(prop::collection::vec(small(), 1..3)),
            kinds(),
            0..4u8,
        )
            .prop_map(|(token, inner, pair, kind, order)| {
                let mut leg = serde_json::Map::new();
                let fields =
                    [("token", token), ("inner", inner), ("pair", pair.map(Value::from)), ("kind", Some(kind))];
                for at in 0..fields.len() {
                    let (name, value) = &fields[(at + usize::from(order)) % fields.len()];
                    if let Some(value) = value {
                        leg.insert((*name).to_owned(), value.clone());
                    }
                }
                Value::Object(leg)
            })
    })
}

fn trades() -> impl Strategy<Value = Value> {
    let limits = prop::collection::btree_map("[a-c.\"}]{1,3}", small(), 0..4);
    (amounts(), amounts(), prop::collection::vec(legs(), 0..4), limits, prop::option::of(small())).prop_map(
        |(pool, amount, legs, limits, side)| {
            let mut trade = json!({ "pool": pool, "amount": amount, "legs": legs, "limits": limits });
            if let Some(side) = side {
                trade["side"] = json!({ "sell": side });
            }
            trade
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_path_is_what_a_reader_that_keeps_it_says(trade in trades(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&trade).unwrap() } else { trade.to_string() };
        let kept = serde_path_to_error::deserialize::<_, Trade>(&mut serde_json::Deserializer::from_str(&text));
        match (read::<Trade>(&text), kept) {
            (Ok(_), Ok(_)) => {}
            (Err(misfit), Err(kept)) => {
                let path = kept.path().to_string();
                prop_assert_eq!(&misfit.path, if path == "." { "" } else { &path }, "{}: {}", &misfit.message, text);
                prop_assert_eq!(misfit.message, without_place(kept.inner()));
            }
            (ours, kept) => prop_assert!(false, "{ours:?}, {kept:?}: {text}"),
        }
    }

    #[test]
    fn text_that_is_no_json_is_refused(text in "[{}\\[\\]\",:a1 \u{e9}\n\\\\]{0,24}") {
        if serde_json::from_str::<Value>(&text).is_err() {
            prop_assert!(read::<Trade>(&text).is_err());
        }
    }
}
