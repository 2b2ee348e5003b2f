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

#[track_caller]
fn check_edits(object: &str, edits: &[(&str, Edit<'_>)], want: &str) {
    let raw = RawValue::from_string(object.to_owned()).unwrap();
    assert_eq!(edited(Some(&raw), edits).unwrap(), want);
}

#[test]
fn fields_are_set_defaulted_and_removed() {
    check_edits(
        r#"{"a": 1.50 ,"b\n":[ 1 ], "c":{"d" :1e400}}"#,
        &[("a", Edit::Remove), ("b\n", Edit::Default("0")), ("e", Edit::Set("true")), ("f", Edit::Default("{}"))],
        r#"{"b\n":[ 1 ], "c":{"d" :1e400},"e":true,"f":{}}"#,
    );
    let three = r#"{"a": 1 , "b":2, "c" :3 }"#;
    let gone = Edit::Remove;
    check_edits(three, &[("a", gone)], r#"{ "b":2, "c" :3 }"#);
    check_edits(three, &[("b", gone)], r#"{"a": 1, "c" :3 }"#);
    check_edits(three, &[("c", gone)], r#"{"a": 1 , "b":2 }"#);
    check_edits(three, &[("a", gone), ("b", gone)], r#"{ "c" :3 }"#);
    check_edits(three, &[("b", gone), ("c", gone)], r#"{"a": 1 }"#);
    check_edits(three, &[("a", gone), ("c", gone)], r#"{ "b":2 }"#);
    check_edits(three, &[("a", gone), ("b", gone), ("c", gone)], "{ }");
    check_edits(three, &[("a", gone), ("b", Edit::Set("9")), ("d", Edit::Set("4"))], r#"{ "b":9, "c" :3 ,"d":4}"#);
    assert_eq!(edited(None, &[("x", gone)]).unwrap(), "{}");
    assert!(edited(Some(&RawValue::from_string("[1]".into()).unwrap()), &[]).is_err());
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
    fn edits_mean_what_they_say(
        fields in prop::collection::btree_map("[a-e]", json(), 0..6),
        edits in prop::collection::btree_map("[a-g]", 0..3usize, 0..5),
    ) {
        let object = object(&fields);
        let edits: Vec<(&str, Edit<'_>)> = edits
            .iter()
            .map(|(key, kind)| (key.as_str(), [Edit::Set("[true]"), Edit::Default("[true]"), Edit::Remove][*kind]))
            .collect();
        let text = edited(Some(&RawValue::from_string(object.clone()).unwrap()), &edits).unwrap();
        let values = |text: &str| -> std::collections::BTreeMap<String, Box<RawValue>> { serde_json::from_str(text).unwrap() };
        let mut want = values(&object);
        for (key, edit) in edits {
            let new = RawValue::from_string("[true]".into()).unwrap();
            match edit {
                Edit::Set(_) => drop(want.insert(key.into(), new)),
                Edit::Default(_) => drop(want.entry(key.into()).or_insert(new)),
                Edit::Remove => drop(want.remove(key)),
            }
        }
        let text_of = |all: std::collections::BTreeMap<String, Box<RawValue>>| {
            all.into_iter().map(|(key, value)| (key, value.get().to_owned())).collect::<Vec<_>>()
        };
        prop_assert_eq!(text_of(values(&text)), text_of(want));
    }

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
