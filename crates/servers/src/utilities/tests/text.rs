//! Differences and regular expressions.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::testing::admin;

#[tokio::test]
async fn differences_are_unified_diffs() {
    check("diff", json!({ "before": "a\nb\nc\n", "after": "a\nB\nc\n" }), expect![[r#"{"same":false,"diff":"--- before\n+++ after\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n","added":1,"removed":1,"similarity":0.6666667}"#]]).await;
    check(
        "diff",
        json!({ "before": "a\nb\nc\n", "after": "a\nc", "context": 0, "before_name": "x", "after_name": "y" }),
        expect![[r#"{"same":false,"diff":"--- x\n+++ y\n@@ -2,2 +2 @@\n-b\n-c\n+c\n\\ No newline at end of file\n","added":1,"removed":2,"similarity":0.4}"#]],
    )
    .await;
    check(
        "diff",
        json!({ "before": "same", "after": "same" }),
        expect![[r#"{"same":true,"diff":"","added":0,"removed":0,"similarity":1.0}"#]],
    )
    .await;
    check("diff", json!({ "before": "", "after": "new\n" }), expect![[r#"{"same":false,"diff":"--- before\n+++ after\n@@ -0,0 +1 @@\n+new\n","added":1,"removed":0,"similarity":0.0}"#]]).await;
    check(
        "diff",
        json!({ "before": "", "after": "", "after_name": "a\nb" }),
        expect!["invalid_argument: after_name has a line end (a name of one line)"],
    )
    .await;
    check(
        "diff",
        json!({ "before": "", "after": "", "context": 1001 }),
        expect!["invalid_argument: context is 1001 (at most 1,000)"],
    )
    .await;
}

async fn regex(arguments: Value, expected: Expect) {
    check("regex", arguments, expected).await;
}

#[tokio::test]
async fn patterns_match_replace_and_split() {
    regex(json!({ "pattern": r"(?<key>\w+)=(\d+)?", "text": "a=1, b=" }), expect![[r#"{"count":2,"limited":false,"matches":[{"start":0,"end":3,"text":"a=1","groups":["a","1"],"named":{"key":"a"}},{"start":5,"end":7,"text":"b=","groups":["b",null],"named":{"key":"b"}}]}"#]]).await;
    regex(
        json!({ "pattern": "^b", "text": "a\nB", "ignore_case": true, "multi_line": true }),
        expect![[r#"{"count":1,"limited":false,"matches":[{"start":2,"end":3,"text":"B","groups":[]}]}"#]],
    )
    .await;
    regex(json!({ "pattern": "a.b", "text": "a\nb" }), expect![[r#"{"count":0,"limited":false,"matches":[]}"#]]).await;
    regex(
        json!({ "pattern": "a.b", "text": "a\nb", "dot_all": true }),
        expect![[r#"{"count":1,"limited":false,"matches":[{"start":0,"end":3,"text":"a\nb","groups":[]}]}"#]],
    )
    .await;
    regex(json!({ "pattern": r"(\w+) (\w+)", "text": "one two three four", "operation": "replace", "replacement": "$2-${1}!" }), expect![[r#"{"count":2,"limited":false,"text":"two-one! four-three!"}"#]]).await;
    regex(
        json!({ "pattern": "o", "text": "foo boo", "operation": "replace", "replacement": "$$", "limit": 2 }),
        expect![[r#"{"count":2,"limited":true,"text":"f$$ boo"}"#]],
    )
    .await;
    regex(
        json!({ "pattern": r"\s*,\s*", "text": "a , b,c", "operation": "split" }),
        expect![[r#"{"count":2,"limited":false,"parts":["a","b","c"]}"#]],
    )
    .await;
    regex(
        json!({ "pattern": ",", "text": "a,b,c", "operation": "split", "limit": 1 }),
        expect![[r#"{"count":1,"limited":true,"parts":["a","b,c"]}"#]],
    )
    .await;
    regex(json!({ "pattern": "", "text": "é" }), expect![[r#"{"count":2,"limited":false,"matches":[{"start":0,"end":0,"text":"","groups":[]},{"start":2,"end":2,"text":"","groups":[]}]}"#]]).await;
}

#[tokio::test]
async fn patterns_are_bounded() {
    regex(
        json!({ "pattern": "(a", "text": "" }),
        expect!["invalid_argument: pattern: unclosed group (Perl-like, without back-references and look-around)"],
    )
    .await;
    regex(json!({ "pattern": r"(a)\1", "text": "" }), expect!["invalid_argument: pattern: backreferences are not supported (Perl-like, without back-references and look-around)"]).await;
    regex(json!({ "pattern": "(?=a)", "text": "" }), expect!["invalid_argument: pattern: look-around, including look-ahead and look-behind, is not supported (Perl-like, without back-references and look-around)"]).await;
    regex(
        json!({ "pattern": "((a{100}){100}){100}", "text": "" }),
        expect!["too_large: the compiled pattern has more than 2097152 bytes (repeat less)"],
    )
    .await;
    regex(
        json!({ "pattern": "()".repeat(101), "text": "" }),
        expect!["too_large: pattern: 101 groups (groups that need no number: (?:…))"],
    )
    .await;
    regex(
        json!({ "pattern": "(".repeat(2_000), "text": "" }),
        expect!["invalid_argument: pattern: unclosed group (Perl-like, without back-references and look-around)"],
    )
    .await;
    regex(json!({ "pattern": "a", "text": "", "limit": 0 }), expect!["invalid_argument: limit is 0 (1 to 10000)"])
        .await;
    regex(
        json!({ "pattern": "a", "text": "", "operation": "replace" }),
        expect!["invalid_argument: replacement is missing (say what to put there; it may be empty)"],
    )
    .await;
    regex(
        json!({ "pattern": "a", "text": "", "replacement": "b" }),
        expect!["invalid_argument: replacement without operation replace (say operation: replace, or leave it out)"],
    )
    .await;
    let flood = json!({ "pattern": "(?s).*", "text": "a".repeat(1 << 20), "operation": "replace", "replacement": "$0".repeat(100) });
    regex(flood, expect!["too_large: the answer has more than 8388608 bytes (give it less to do, or ask for less)"])
        .await;
    let bench = hurried();
    let slow = json!({ "pattern": ".*[^A-Z]|[A-Z]", "text": "A".repeat(1 << 20), "limit": 10_000 });
    let answer = bench.shown(&admin(), "regex", slow).await;
    assert!(answer.starts_with("timeout:") || answer.starts_with(r#"{"count":10000"#), "{}", &answer[..100]);
}
