//! Whatever a definition is like: who remembers only what was written down decides as who remembers everything.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{Script, computed, head, run_with};
use crate::workflow::validate;

/// A task that leaves an object behind. With `settled` nothing of it depends on which of two things at once is first: no branches that
/// compete, or that fail beside others.
fn task(settled: bool) -> impl Strategy<Value = Value> {
    let quiet = prop_oneof![
        Just(json!({ "set": { "n": "${ .n + 1 }" } })),
        Just(json!({ "set": { "n": "${ .n * 2 }" }, "export": { "as": "$context + { last: .n }" } })),
        (0..4u8).prop_map(|tool| json!({
            "call": "mcp",
            "with": { "method": "tools/call", "parameters": { "name": format!("s__t{tool}"), "arguments": "${ . }" } },
            "output": { "as": "{ n: $input.n }" },
            "undo": [{ "back": { "call": "mcp", "with": { "method": "tools/call", "parameters": { "name": "s__undo", "arguments": "${ . }" } } } }],
        })),
        Just(json!({ "wait": "PT2S" })),
        Just(json!({ "emit": { "event": { "with": { "source": "https://e.com", "type": "t", "data": "${ .n }" } } }, "output": { "as": "$input" } })),
    ];
    let leaf = prop_oneof![
        5 => quiet.clone(),
        1 => Just(json!({ "wait": "PT1H", "timeout": { "after": "PT1S" } })),
        1 => Just(json!({ "if": ".n > 3", "raise": { "error": { "type": "https://e.com/x", "status": 400 } } })),
    ];
    leaf.prop_recursive(3, 24, 3, move |inner| {
        let beside = if settled { quiet.clone().boxed() } else { inner.clone().boxed() };
        let branches = prop::collection::vec(beside, 1..4).prop_map(listed);
        let list = prop::collection::vec(inner, 1..4).prop_map(listed);
        prop_oneof![
            list.clone().prop_map(|tasks| json!({ "do": tasks })),
            list.clone().prop_map(|tasks| json!({ "for": { "in": "[1, 2]", "each": "x" }, "do": tasks })),
            (branches, any::<bool>()).prop_map(move |(branches, compete)| json!({
                "fork": { "branches": branches, "compete": compete && !settled },
                "output": { "as": "{ n: (if isarray then map(.n) | add else .n end) }" },
            })),
            (list.clone(), list).prop_map(|(tasks, handlers)| json!({
                "try": tasks,
                "catch": { "retry": { "delay": "PT1S", "limit": { "attempt": { "count": 2 } } }, "do": handlers },
            })),
        ]
    })
}

/// Definitions, the same ones each time, of which nothing depends on which of two things at once is first.
pub(in crate::workflow) fn definitions(count: usize) -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec(task(true), 2..5).prop_map(listed);
    (0..count).map(|_| format!("do: {}", strategy.new_tree(&mut runner).unwrap().current())).collect()
}

fn listed(tasks: Vec<Value>) -> Value {
    tasks.into_iter().enumerate().map(|(place, task)| json!({ format!("t{place}"): task })).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_down_is_enough(tasks in prop::collection::vec(task(false), 1..5).prop_map(listed), cancel_after in prop::option::of(0..6usize)) {
        let text = head(&format!("do: {tasks}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (kept, forgot) = runtime.block_on(computed(move || {
            let definition = validate(&text).unwrap().into_definition().unwrap();
            let ran = |forgetful| {
                let ran = run_with(&definition, &json!({ "n": 1 }), Script { forgetful, cancel_after, ..Script::default() });
                (ran.line(), ran.effects, ran.entries)
            };
            (ran(false), ran(true))
        }));
        prop_assert!(kept.0 != "waits", "{kept:?}");
        prop_assert_eq!(kept, forgot);
    }
}
