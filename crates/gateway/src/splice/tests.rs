use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[track_caller]
fn check(object: &str, fields: &[(&str, &str)], want: &str) {
    assert_eq!(set(object, fields).unwrap(), want);
}

#[test]
fn only_the_value_changes() {
    check(r#"{"name":"a"}"#, &[("name", r#""b""#)], r#"{"name":"b"}"#);
    check(
        "{ \"x\" : 1.50e+3,\n\"name\" :\"a\" , \"_future\": {\"name\":\"a\"} }",
        &[("name", r#""longer""#)],
        "{ \"x\" : 1.50e+3,\n\"name\" :\"longer\" , \"_future\": {\"name\":\"a\"} }",
    );
}

#[test]
fn an_escaped_key_is_the_same_key() {
    check(r#"{"\u006eame":"a","n":1}"#, &[("name", r#""b""#)], r#"{"\u006eame":"b","n":1}"#);
}

#[test]
fn a_missing_key_is_added() {
    check("{}", &[("name", "1")], r#"{"name":1}"#);
    check("{ }", &[("name", "1")], r#"{ "name":1}"#);
    check(r#"{"a":{}}"#, &[("b", "2"), ("a", "1")], r#"{"a":1,"b":2}"#);
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let error = set(r#"{"name":"a","\u006eame":"b"}"#, &[("name", "1")]).unwrap_err();
    assert!(error.message.contains("twice"), "{error}");
}

#[test]
fn get_reads_one_value() {
    assert_eq!(get(r#"{"a": [1, 2] }"#, "a"), Some("[1, 2]"));
    assert_eq!(get(r#"{"a":1}"#, "b"), None);
}

/// JSON as others write it: their own spelling of numbers, white space, escapes.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        any::<String>().prop_map(|text| quoted(&text)),
        Just(r#""\u00e9\/\n""#.to_owned()),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[ {} ]", items.join(" ,"))),
            prop::collection::btree_map("[a-z\"\\\\]{0,6}|name", inner, 0..5).prop_map(|fields| object(&fields)),
        ]
    })
}

fn object(fields: &std::collections::BTreeMap<String, String>) -> String {
    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{}\t: {value}", quoted(key))).collect();
    format!("{{\n{}}}", fields.join(",\n"))
}

proptest! {
    #[test]
    fn everything_but_the_name_stays(
        before in prop::collection::btree_map("[a-m]{1,5}", json(), 0..4),
        after in prop::collection::btree_map("[o-z]{1,5}", json(), 0..4),
        old in any::<String>(),
        new in "[a-zA-Z0-9_-]{1,64}",
    ) {
        let part = |fields: &std::collections::BTreeMap<String, String>| {
            fields.iter().map(|(key, value)| format!(" {} :{value}", quoted(key))).collect::<Vec<_>>()
        };
        let whole = |name: &str| {
            let mut fields = part(&before);
            fields.push(format!("\"name\": {}", quoted(name)));
            fields.extend(part(&after));
            format!("{{{} }}", fields.join(","))
        };
        let rewritten = set(&whole(&old), &[("name", &quoted(&new))]).unwrap();
        let want = whole(&new);
        prop_assert_eq!(&rewritten, &want);

        // And as readers see it. (Numbers beyond f64 do not parse into a `Value`; the bytes above are the stronger claim.)
        if let Ok(mut original) = serde_json::from_str::<Value>(&whole(&old)) {
            original["name"] = new.into();
            prop_assert_eq!(serde_json::from_str::<Value>(&rewritten).unwrap(), original);
        }
    }
}
