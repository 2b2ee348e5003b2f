//! Every kind of task and everything common to them.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{Script, ran};

async fn check(rest: &'static str, input: Value, expected: Expect) {
    expected.assert_eq(&ran(rest, input, Script::default()).await);
}

async fn check_with(rest: &'static str, input: Value, results: Vec<(&'static str, Value)>, expected: Expect) {
    expected.assert_eq(&ran(rest, input, Script { results, ..Script::default() }).await);
}

async fn check_events(rest: &'static str, events: Vec<Value>, expected: Expect) {
    expected.assert_eq(&ran(rest, json!({ "id": 7 }), Script { events, ..Script::default() }).await);
}

/// A call of a tool that answers what the script says.
macro_rules! call {
    ($tool:literal) => {
        concat!(
            "call: mcp, with: { method: tools/call, parameters: { name: srv__",
            $tool,
            ", arguments: { v: '${ . }' } } }"
        )
    };
}

#[tokio::test]
async fn tasks_are_done_in_order_and_directives_change_it() {
    check(
        "do:\n- a: { set: { n: '${ .n + 1 }' } }\n- b: { set: { n: '${ .n * 10 }' } }",
        json!({ "n": 1 }),
        expect![[r#"{"n":20}"#]],
    )
    .await;
    check(
        "do:\n- a: { set: { n: '${ .n + [\"a\"] }' }, then: c }\n- b: { set: { n: '${ .n + [\"b\"] }' }, then: end }\n- c: { set: { n: '${ .n + [\"c\"] }' }, then: b }\n- d: { set: { n: 0 } }",
        json!({ "n": [] }),
        expect![[r#"{"n":["a","c","b"]}"#]],
    )
    .await;
    // `exit` ends its own list, `end` the run.
    check("do:\n- outer: { do: [ { a: { set: { n: 1 }, then: exit } }, { b: { set: { n: 2 } } } ] }\n- c: { set: { n: '${ .n + 10 }' } }", json!({}), expect![[r#"{"n":11}"#]]).await;
    check("do:\n- outer: { do: [ { a: { set: { n: 1 }, then: end } }, { b: { set: { n: 2 } } } ] }\n- c: { set: { n: '${ .n + 10 }' } }", json!({}), expect![[r#"{"n":1}"#]]).await;
    // A loop by directives: the same task, several times.
    check(
        "do:\n- more: { set: { n: '${ .n + 1 }' } }\n- enough: { switch: [ { no: { when: .n < 5, then: more } }, { yes: { then: end } } ] }",
        json!({ "n": 0 }),
        expect![[r#"{"n":5}"#]],
    )
    .await;
}

#[tokio::test]
async fn a_task_is_left_out_when_its_condition_does_not_hold() {
    check(
        "do:\n- a: { if: .on, set: { n: 1 }, then: end }\n- b: { set: { n: '${ [.] }' } }",
        json!({ "on": false }),
        expect![[r#"{"n":[{"on":false}]}"#]],
    )
    .await;
    check(
        "do:\n- a: { if: '${ .on }', set: { n: 1 }, then: end }\n- b: { set: { n: 2 } }",
        json!({ "on": true }),
        expect![[r#"{"n":1}"#]],
    )
    .await;
}

#[tokio::test]
async fn a_switch_takes_the_first_case_that_holds_then_the_default_then_goes_on() {
    const CASES: &str = "do:\n- s: { switch: [ { red: { when: '.c == \"red\"', then: r } }, { other: { then: o } } ] }\n- r: { set: { is: red }, then: end }\n- o: { set: { is: other } }";
    check(CASES, json!({ "c": "red" }), expect![[r#"{"is":"red"}"#]]).await;
    check(CASES, json!({ "c": "blue" }), expect![[r#"{"is":"other"}"#]]).await;
    check(
        "do:\n- s: { switch: [ { red: { when: .c, then: end } } ] }\n- n: { set: { went: on } }",
        json!({}),
        expect![[r#"{"went":"on"}"#]],
    )
    .await;
}

#[tokio::test]
async fn data_flows_through_filters_and_the_context() {
    check(
        "do:\n- a: { input: { from: .user.id }, set: { id: '${ . }' } }",
        json!({ "user": { "id": 6 } }),
        expect![[r#"{"id":6}"#]],
    )
    .await;
    check("do:\n- a: { set: { x: [1, 2] }, output: { as: '.x | add' } }", json!({}), expect!["3"]).await;
    check(
        "do:\n- a: { set: { x: 1 }, output: { as: { got: '${ .x }', from: '${ $input.y }' } } }",
        json!({ "y": 2 }),
        expect![[r#"{"got":1,"from":2}"#]],
    )
    .await;
    check(
        "do:\n- a: { set: { x: 1 }, export: { as: '$context + { kept: .x }' } }\n- b: { set: { y: 2 } }\n- c: { set: { sum: '${ $context.kept + .y }' } }",
        json!({}),
        expect![[r#"{"sum":3}"#]],
    )
    .await;
    check(
        "input: { from: .a }\noutput: { as: '{ out: . }' }\ndo:\n- a: { set: { n: '${ .b + $workflow.input.a.b }' } }",
        json!({ "a": { "b": 4 } }),
        expect![[r#"{"out":{"n":8}}"#]],
    )
    .await;
    check("do:\n- a: { set: { t: '${ $task.reference }', w: '${ $workflow.definition.document.name }', r: '${ $runtime.name }', i: '${ $workflow.id }' } }", json!({}), expect![[
        r#"{"t":"/do/0/a","w":"tried","r":"flotilla","i":"run_1"}"#
    ]])
    .await;
}

#[tokio::test]
async fn data_is_held_to_schemas() {
    const SCHEMA: &str =
        "input: { schema: { document: { type: object, required: [id] } } }\ndo:\n- a: { set: { ok: true } }";
    check(SCHEMA, json!({ "id": 1 }), expect![[r#"{"ok":true}"#]]).await;
    check(
        SCHEMA,
        json!({}),
        expect![[
            r#"faulted: validation (400): the input does not fit its schema: : "id" is a required property, at /input"#
        ]],
    )
    .await;
    check("do:\n- a: { set: { n: x }, output: { schema: { document: { properties: { n: { type: integer } } } } } }", json!({}), expect![[
        r#"faulted: validation (400): the output does not fit its schema: /n: "x" is not of type "integer", at /do/0/a"#
    ]])
    .await;
}

#[tokio::test]
async fn loops_hand_data_from_turn_to_turn() {
    check(
        "do:\n- l: { for: { each: c, in: .cs }, do: [ { m: { set: { p: '${ { cs: (.p.cs + [$c]), is: (.p.is + [$index]) } }' } } } ] }",
        json!({ "cs": ["r", "g"] }),
        expect![[r#"{"p":{"cs":["r","g"],"is":[0,1]}}"#]],
    )
    .await;
    check("do:\n- l: { for: { in: .xs, at: i }, while: '. == null or .sum < 3', do: [ { m: { set: { sum: '${ .sum + $item }', i: '${ $i }' } } } ], output: { as: '.' } }", json!({ "xs": [1, 2, 3] }), expect![[
        r#"{"sum":3,"i":1}"#
    ]])
    .await;
    check(
        "do:\n- l: { for: { in: .x }, do: [ { m: { set: { a: 1 } } } ] }",
        json!({ "x": 1 }),
        expect!["faulted: expression (400): not a list: `in` gives `1`, and a loop is over a list, at /do/0/l"],
    )
    .await;
    check(
        "do:\n- l: { for: { in: .x }, do: [ { m: { set: { a: 1 } } } ] }",
        json!({ "x": [] }),
        expect![[r#"{"x":[]}"#]],
    )
    .await;
}

#[tokio::test]
async fn branches_give_all_outputs_in_order_or_the_first() {
    const BRANCHES: &str = concat!("[ { a: { ", call!("a"), " } }, { b: { set: { b: '${ .n }' } } } ]");
    let all: &'static str = Box::leak(format!("do:\n- f: {{ fork: {{ branches: {BRANCHES} }} }}").into_boxed_str());
    check_with(all, json!({ "n": 1 }), vec![("a", json!(9))], expect![[r#"[a{"v":{"n":1}}] [9,{"b":1}]"#]]).await;
    check_with(
        all,
        json!({ "n": 1 }),
        vec![("a", json!({ "fails": 502 }))],
        expect![[r#"[a{"v":{"n":1}}] faulted: runtime (502): failed: a failed, at /do/0/f/fork/branches/0/a"#]],
    )
    .await;
    let first: &'static str =
        Box::leak(format!("do:\n- f: {{ fork: {{ compete: true, branches: {BRANCHES} }} }}").into_boxed_str());
    check_with(first, json!({ "n": 1 }), vec![], expect![[r#"{"b":1}"#]]).await;
}

#[tokio::test]
async fn raised_errors_fault_the_run_unless_they_are_caught() {
    check("do:\n- r: { raise: { error: { type: 'https://e.com/late', status: 409, title: too late, detail: '${ \"by \\(.n)\" }' } } }", json!({ "n": 3 }), expect![
        "faulted: https://e.com/late (409): too late: by 3, at /do/0/r"
    ])
    .await;
    check(
        "use: { errors: { gone: { type: 'https://e.com/gone', status: 410 } } }\ndo:\n- r: { raise: { error: gone } }",
        json!({}),
        expect!["faulted: https://e.com/gone (410), at /do/0/r"],
    )
    .await;
    const CAUGHT: &str = "do:\n- t: { try: [ { r: { raise: { error: { type: 'https://e.com/x', status: 409 } } } } ], catch: { errors: { with: { status: 409 } }, as: e, do: [ { h: { set: { was: '${ $e.instance }' } } } ] } }";
    check(CAUGHT, json!({}), expect![[r#"{"was":"/do/0/t/try/0/r"}"#]]).await;
    check("do:\n- t: { try: [ { r: { raise: { error: { type: 'https://e.com/x', status: 409 } } } } ], catch: { errors: { with: { status: 503 } } } }", json!({}), expect![
        "faulted: https://e.com/x (409), at /do/0/t/try/0/r"
    ])
    .await;
    check("do:\n- t: { try: [ { r: { raise: { error: { type: 'https://e.com/x', status: 409 } } } } ], catch: { when: '$error.status == 409', exceptWhen: .never } }", json!({ "n": 1 }), expect![[r#"{"n":1}"#]]).await;
}

#[tokio::test]
async fn what_failed_is_tried_again_as_its_policy_says() {
    const RETRY: &str = concat!(
        "use: { retries: { thrice: { delay: PT2S, backoff: { exponential: {} }, limit: { attempt: { count: 3 } } } } }\ndo:\n- t: { try: [ { c: { ",
        call!("c"),
        " } } ], catch: { retry: thrice } }"
    );
    check_with(
        RETRY,
        json!(1),
        vec![("c", json!({ "fails": 503 })), ("c", json!("at last"))],
        expect![[r#"[c{"v":1}, c{"v":1}] "at last""#]],
    )
    .await;
    let fails = || ("c", json!({ "fails": 503 }));
    check_with(
        RETRY,
        json!(1),
        vec![fails(), fails(), fails()],
        expect![[r#"[c{"v":1}, c{"v":1}, c{"v":1}] faulted: runtime (503): failed: c failed, at /do/0/t/try/0/c"#]],
    )
    .await;
    let waited = super::computed(move || {
        let script = Script {
            results: vec![("c", json!({ "fails": 503 })), ("c", json!({ "fails": 503 }))],
            ..Script::default()
        };
        super::run_with(&super::defined(RETRY), &json!(1), script).now_ms - super::BEGAN_MS
    })
    .await;
    assert_eq!(waited, 2_000 + 4_000, "twice as long each time");
}

#[tokio::test]
async fn waits_and_timeouts() {
    let waited = |rest: &'static str| {
        super::computed(move || {
            let ran = super::run_with(&super::defined(rest), &json!({ "d": "PT3S" }), Script::default());
            format!("{} after {} ms", ran.line(), ran.now_ms - super::BEGAN_MS)
        })
    };
    expect![[r#"{"d":"PT3S"} after 90000 ms"#]]
        .assert_eq(&waited("do:\n- w: { wait: { minutes: 1, seconds: 30 } }").await);
    expect![[r#"{"d":"PT3S"} after 3000 ms"#]].assert_eq(&waited("do:\n- w: { wait: '${ .d }' }").await);
    expect!["faulted: timeout (408): timeout: task `w` has taken too long, at /do/0/w after 1000 ms"]
        .assert_eq(&waited("do:\n- w: { wait: PT1H, timeout: { after: PT1S } }").await);
    expect!["faulted: timeout (408): timeout: the run has taken longer than 5000 ms, at /timeout after 5000 ms"]
        .assert_eq(&waited("timeout: { after: PT5S }\ndo:\n- w: { wait: PT1H }").await);
    expect![[r#"{"late":408} after 1000 ms"#]].assert_eq(
        &waited("do:\n- t: { try: [ { w: { wait: PT1H, timeout: { after: PT1S } } } ], catch: { errors: { with: { type: 'https://serverlessworkflow.io/spec/1.0.0/errors/timeout' } }, do: [ { s: { set: { late: '${ $error.status }' } } } ] } }").await,
    );
}

#[tokio::test]
async fn calls_emit_and_functions() {
    check_with(
        "use: { functions: { greet: { call: mcp, with: { method: tools/call, transport: { http: { endpoint: 'fleet://srv' } }, parameters: { name: hello, arguments: { to: '${ .who }' } } }, output: { as: .text } } } }\ndo:\n- g: { call: greet, with: { who: '${ .name }' } }",
        json!({ "name": "bo" }),
        vec![("hello", json!({ "text": "hi" }))],
        expect![[r#"[hello{"to":"bo"}] "hi""#]],
    )
    .await;
    check("do:\n- e: { emit: { event: { with: { source: 'https://e.com', type: com.e.placed, data: { n: '${ .n }' } } } }, output: { as: .type } }", json!({ "n": 2 }), expect![[
        r#"[emit "com.e.placed" {"n":2} on workflows] "com.e.placed""#
    ]])
    .await;
}

fn event(kind: &str, data: Value) -> Value {
    json!({ "specversion": "1.0", "id": "1", "source": "test", "type": kind, "data": data, "room": data["room"] })
}

#[tokio::test]
async fn listening_to_one_any_and_all() {
    let events = || {
        vec![
            event("b", json!({ "n": 1 })),
            event("a", json!({ "n": 2 })),
            event("a", json!({ "n": 50 })),
            event("c", json!({})),
        ]
    };
    check_events("do:\n- l: { listen: { to: { one: { with: { type: a } } } } }", events(), expect![[r#"[{"n":2}]"#]])
        .await;
    check_events(
        "do:\n- l: { listen: { to: { one: { with: { type: a, data: '${ .n > 10 }' } } } } }",
        events(),
        expect![[r#"[{"n":50}]"#]],
    )
    .await;
    check_events(
        "do:\n- l: { listen: { to: { any: [ { with: { type: a } }, { with: { type: '[bc]' } } ] } } }",
        events(),
        expect![[r#"[{"n":1}]"#]],
    )
    .await;
    check_events(
        "do:\n- l: { listen: { to: { all: [ { with: { type: a } }, { with: { type: c } } ] } } }",
        events(),
        expect![[r#"[{"n":2},{}]"#]],
    )
    .await;
    check_events(
        "do:\n- l: { listen: { to: { any: [] } , read: envelope }, output: { as: '.[0].type' } }",
        events(),
        expect![[r#""b""#]],
    )
    .await;
    check_events(
        "do:\n- l: { listen: { to: { any: [ { with: { type: a } } ], until: 'length == 2' } } }",
        events(),
        expect![[r#"[{"n":2},{"n":50}]"#]],
    )
    .await;
    check_events(
        "do:\n- l: { listen: { to: { any: [ { with: { type: a } } ], until: { one: { with: { type: c } } } } } }",
        events(),
        expect![[r#"[{"n":2},{"n":50}]"#]],
    )
    .await;
    check_events(
        "do:\n- l: { listen: { to: { one: { with: { type: z } } } }, timeout: { after: PT1S } }",
        events(),
        expect!["faulted: timeout (408): timeout: task `l` has taken too long, at /do/0/l"],
    )
    .await;
}

#[tokio::test]
async fn events_are_tied_together_and_worked_on_one_by_one() {
    let events = || {
        vec![
            event("t", json!({ "room": 1 })),
            event("h", json!({ "room": 2 })),
            event("h", json!({ "room": 1, "x": 1 })),
        ]
    };
    check_events(
        "do:\n- l: { listen: { to: { all: [ { with: { type: t }, correlate: { room: { from: .room } } }, { with: { type: h }, correlate: { room: { from: .room } } } ] } } }",
        events(),
        expect![[r#"[{"room":1},{"room":1,"x":1}]"#]],
    )
    .await;
    check_events(
        "do:\n- l: { listen: { to: { any: [ { with: { type: h } } ], until: 'length == 2' } }, foreach: { item: e, at: i, do: [ { s: { set: { r: '${ $e.room * 10 + $i }' } } } ], output: { as: .r } } }",
        events(),
        expect!["[20,11]"],
    )
    .await;
}

#[tokio::test]
async fn expressions_that_fail_say_why() {
    check("do:\n- a: { set: { n: '${ .x.y + 1 | error(\"no\") }' } }", json!({}), expect![[
        r#"faulted: expression (400): invalid_argument: invalid_argument: expression `.x.y + 1 | error("no")`: the program failed: no (`?` and `try` catch errors), at /do/0/a"#
    ]])
    .await;
    check("do:\n- a: { set: { n: '${ $secrets.key }' } }", json!({}), expect![
        "faulted: authorization (403): permission_denied: permission_denied: an expression asks for $secrets, and runs are given none (the services that need a secret hold it), at /do/0/a"
    ])
    .await;
    check(
        "evaluate: { mode: loose }\ndo:\n- a: { set: { n: .x, m: not an expression } }",
        json!({ "x": 1 }),
        expect![[r#"{"n":1,"m":"not an expression"}"#]],
    )
    .await;
}

#[tokio::test]
async fn what_was_done_is_undone_last_first() {
    const SAGA: &str = concat!(
        "do:\n- a: { ",
        call!("a"),
        ", undo: [ { ua: { call: mcp, with: { method: tools/call, parameters: { name: srv__undo_a, arguments: { o: '${ .output }' } } } } } ] }\n- b: { ",
        call!("b"),
        ", undo: [ { ub: { call: mcp, with: { method: tools/call, parameters: { name: srv__undo_b, arguments: { i: '${ .input }' } } } } } ] }\n- c: { ",
        call!("c"),
        " }"
    );
    check_with(SAGA, json!(0), vec![("a", json!(1)), ("b", json!(2)), ("c", json!({ "fails": 500 }))], expect![[
        r#"[a{"v":0}, b{"v":1}, c{"v":2}, undo_b{"i":1}, undo_a{"o":1}] faulted: runtime (500): failed: c failed, at /do/2/c"#
    ]])
    .await;
    check_with(SAGA, json!(0), vec![("b", json!({ "fails": 500 })), ("undo_a", json!({ "fails": 500 }))], expect![[
        r#"[a{"v":0}, b{"v":{"called":"a"}}, undo_a{"o":{"called":"a"}}] faulted: runtime (500): failed: b failed, at /do/1/b; not undone: 1"#
    ]])
    .await;
    let cancelled = ran(SAGA, json!(0), Script { cancel_after: Some(2), ..Script::default() }).await;
    expect![[
        r#"[a{"v":0}, b{"v":{"called":"a"}}, undo_b{"i":{"called":"a"}}, undo_a{"o":{"called":"a"}}] cancelled by ann"#
    ]]
    .assert_eq(&cancelled);
}

#[tokio::test]
async fn an_approval_is_bound_to_its_arguments() {
    let waits = super::computed(|| {
        let definition = super::defined(
            "do:\n- ok: { approve: { title: '${ \"Deploy \\(.name)\" }', role: trader, others: true } }",
        );
        let ran = super::run_with(&definition, &json!({ "b": 1, "a": [2], "name": "x" }), Script::default());
        let asked = ran.entries.iter().find_map(|entry| match &entry.what {
            super::Transition::Questioned { question, .. } => Some(serde_json::to_string(question).unwrap()),
            _ => None,
        });
        (ran.line(), asked.unwrap())
    })
    .await;
    assert_eq!(waits.0, "waits");
    let hash = crate::workflow::hash_of(&json!({ "a": [2], "name": "x", "b": 1 }));
    assert_eq!(
        waits.1,
        format!(
            r#"{{"title":"Deploy x","arguments":{{"b":1,"a":[2],"name":"x"}},"hash":"{hash}","access":"trade","others":true}}"#
        )
    );
}
