use super::*;

fn index(tools: &[(&str, &str)]) -> (Vec<String>, Index) {
    let listings: Vec<_> = tools
        .iter()
        .map(|(name, about)| mcp::wire::raw(&serde_json::json!({ "name": name, "description": about })))
        .collect();
    let names = tools.iter().map(|(name, _)| (*name).to_owned()).collect();
    (names, Index::of(tools.iter().zip(&listings).map(|((name, _), listing)| (*name, &**listing))))
}

#[track_caller]
fn check(tools: &[(&str, &str)], query: &str, want: &[&str]) {
    let (names, index) = index(tools);
    let found: Vec<&str> = index.search(query, |_| true).iter().map(|hit| names[hit.place].as_str()).collect();
    assert_eq!(found, want, "{query}");
}

const TOOLS: &[(&str, &str)] = &[
    ("chain__get_balance", "Balance of an account in wei or of a token."),
    ("chain__get_block", "A block by number or hash, with its transactions."),
    ("logging__search", "Finds log lines by text, service, level and time."),
    ("utilities__hash", "Digest of text or bytes: SHA-256, SHA-512."),
    ("utilities__keccak256", "Keccak-256 of text or bytes."),
];

#[test]
fn the_name_itself_comes_first() {
    check(TOOLS, "chain__get_block", &["chain__get_block", "chain__get_balance"]);
    check(TOOLS, "hash", &["utilities__hash", "utilities__keccak256", "chain__get_block"]);
}

#[test]
fn forms_beginnings_synonyms_and_slips_find() {
    check(TOOLS, "balances", &["chain__get_balance"]);
    check(TOOLS, "bal", &["chain__get_balance"]);
    check(TOOLS, "tx", &["chain__get_block"]);
    check(TOOLS, "kecak", &["utilities__keccak256"]);
    check(TOOLS, "zzzzzz", &[]);
    check(TOOLS, "", &[]);
    check(TOOLS, "the of a", &[]);
}

#[test]
fn ties_keep_the_tables_order() {
    let twins = &[("q__x", "same words"), ("p__x", "same words")];
    check(twins, "same words", &["q__x", "p__x"]);
}

#[test]
fn what_is_not_allowed_is_not_found() {
    let (_, index) = index(TOOLS);
    assert!(index.search("hash", |place| place == 1).iter().all(|hit| hit.place == 1));
}

#[test]
fn values_of_parameters_find_and_a_schema_without_end_is_left_in_time() {
    let many: Vec<_> = (0..100).map(|_| serde_json::json!({ "$ref": "#/$defs/knot" })).collect();
    let listing = mcp::wire::raw(&serde_json::json!({ "name": "a__b", "inputSchema": {
        "properties": { "how": { "$ref": "#/$defs/how" }, "knot": { "$ref": "#/$defs/knot" } },
        "$defs": { "how": { "oneOf": [{ "const": "zigzag" }, { "enum": ["spiral", 3] }] }, "knot": { "anyOf": many } },
    } }));
    let index = Index::of([("a__b", &*listing)].into_iter());
    for value in ["zigzag", "spiral"] {
        assert_eq!(index.search(value, |_| true).len(), 1, "{value}");
    }
}
