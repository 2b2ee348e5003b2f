//! Calls, runs, retries, timeouts and schemas in every form that the language has: what is asked of the outside, when, and what comes of it.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{BEGAN_MS, Script, computed, defined, ran, run_with};

async fn check(rest: &'static str, input: Value, expected: Expect) {
    expected.assert_eq(&ran(rest, input, Script::default()).await);
}

/// What comes of it, and after how many milliseconds.
async fn check_timed(rest: &'static str, failures: usize, expected: Expect) {
    let told = computed(move || {
        let results = (0..failures).map(|_| ("c", json!({ "fails": 503 }))).collect();
        let ran = run_with(&defined(rest), &json!({ "n": 2 }), Script { results, ..Script::default() });
        format!("{} calls, {} after {} ms", ran.effects.len(), ran.line(), ran.now_ms - BEGAN_MS)
    });
    expected.assert_eq(&told.await);
}

/// A call that fails as often as the test says, tried again by a policy.
macro_rules! tried {
    ($policy:literal) => {
        concat!("do:\n- t: { try: [ { c: { call: mcp, with: { method: tools/call, parameters: { name: srv__c } } } } ], catch: { ", $policy, " } }")
    };
}

#[tokio::test]
async fn tools_are_called_as_their_server_is_named() {
    check(
        "do:\n- c: { call: mcp, with: { method: tools/call, parameters: { name: srv__tool } } }",
        json!({}),
        expect![[r#"[tool{}] {"called":"tool"}"#]],
    )
    .await;
    check("do:\n- c: { call: mcp, with: { method: tools/call, transport: { http: { endpoint: { uri: 'fleet://srv/' } } }, parameters: { name: tool, arguments: { a: '${ .x }' } } } }", json!({ "x": [1] }), expect![[r#"[tool{"a":[1]}] {"called":"tool"}"#]]).await;
    check(
        "do:\n- c: { call: mcp, with: { method: tools/call, parameters: '${ .call }' } }",
        json!({ "call": { "name": "srv__t", "arguments": { "b": 1 } } }),
        expect![[r#"[t{"b":1}] {"called":"t"}"#]],
    )
    .await;
    check(
        "do:\n- c: { call: mcp, with: { method: tools/call, parameters: '${ .call }' } }",
        json!({ "call": 1 }),
        expect!["faulted: configuration (400): no such tool: invalid_argument: `` names no tool of a server (server__tool, or a transport to fleet://SERVER), at /do/0/c"],
    )
    .await;
}

#[tokio::test]
async fn what_is_asked_of_agents_services_and_scripts() {
    check("do:\n- c: { call: a2a, with: { method: message/send, server: 'fleet://agent:risk', parameters: { message: { parts: [ { kind: text, text: '${ .t }' } ] } } } }", json!({ "t": "hi" }), expect![[r#"[{"kind":"agent","call":{"method":"message/send","agentCard":null,"server":{"uri":"fleet://agent:risk"},"parameters":{"message":{"parts":[{"kind":"text","text":"hi"}]}}}}] null"#]]).await;
    check(
        "do:\n- c: { call: http, with: { method: get, endpoint: 'https://e.com/{kind}/{n}?x=1' } }",
        json!({ "kind": "a b", "n": 2 }),
        expect![[r#"[{"kind":"http","call":{"method":"get","endpoint":{"uri":"https://e.com/a%20b/2?x=1"},"headers":null,"query":null,"body":null,"output":"content","redirect":false}}] null"#]],
    )
    .await;
    check("do:\n- c: { call: http, with: { method: get, endpoint: 'https://e.com/{gone}' } }", json!({}), expect![[r#"[{"kind":"http","call":{"method":"get","endpoint":{"uri":"https://e.com/"},"headers":null,"query":null,"body":null,"output":"content","redirect":false}}] null"#]])
        .await;
    check("use: { authentications: { me: { bearer: { token: '${ .t }' } } } }\ndo:\n- c: { call: http, with: { method: post, endpoint: { uri: 'https://e.com', authentication: { use: me } }, headers: { h: '${ .t }' }, query: { q: 1 }, body: '${ . }', output: response, redirect: true } }", json!({ "t": "x" }), expect![[r#"[{"kind":"http","call":{"method":"post","endpoint":{"uri":"https://e.com","authentication":{"bearer":{"token":"x"}}},"headers":{"h":"x"},"query":{"q":1},"body":{"t":"x"},"output":"response","redirect":true}}] null"#]]).await;
    check("do:\n- c: { call: openapi, with: { document: { endpoint: 'https://e.com/api.json' }, operationId: get, parameters: { id: '${ .n }' } } }", json!({ "n": 2 }), expect![[r#"[{"kind":"open_api","call":{"document":{"uri":"https://e.com/api.json"},"operationId":"get","parameters":{"id":2},"authentication":null,"output":"content","redirect":false}}] null"#]]).await;
    check("do:\n- s: { run: { script: { language: python, code: 'print(${ 1 })', stdin: '${ .in }', arguments: [ '${ .a }', b ], environment: { E: '${ .a }' } } } }", json!({ "in": "text", "a": 1 }), expect![[r#"[{"kind":"script","script":{"language":"python","code":"print(${ 1 })","stdin":"text","arguments":[1,"b"],"environment":{"E":1}}}] null"#]]).await;
}

#[tokio::test]
async fn workflows_are_run_with_their_input_and_waited_for_or_not() {
    check(
        "do:\n- w: { run: { workflow: { namespace: a, name: b, version: 1.0.0, input: { x: '${ .n }' } } } }",
        json!({ "n": 1 }),
        expect![[
            r#"[{"kind":"workflow","namespace":"a","name":"b","version":"1.0.0","input":{"x":1},"wait":true}] null"#
        ]],
    )
    .await;
    check(
        "do:\n- w: { run: { workflow: { namespace: a, name: b, version: latest }, await: false } }",
        json!({ "n": 1 }),
        expect![[r#"[{"kind":"workflow","namespace":"a","name":"b","input":{"n":1},"wait":false}] {"n":1}"#]],
    )
    .await;
    check(
        "do:\n- w: { run: { workflow: { namespace: a, name: b, version: latest }, return: none } }",
        json!({ "n": 1 }),
        expect![[r#"[{"kind":"workflow","namespace":"a","name":"b","input":{"n":1},"wait":true}] {"n":1}"#]],
    )
    .await;
}

#[tokio::test]
async fn waits_between_attempts_grow_as_the_policy_says() {
    check_timed(
        tried!("retry: { delay: PT2S, limit: { attempt: { count: 4 } } }"),
        3,
        expect![[r#"4 calls, {"called":"c"} after 6000 ms"#]],
    )
    .await;
    check_timed(
        tried!("retry: { delay: PT2S, backoff: { constant: {} }, limit: { attempt: { count: 4 } } }"),
        3,
        expect![[r#"4 calls, {"called":"c"} after 6000 ms"#]],
    )
    .await;
    check_timed(
        tried!("retry: { delay: { seconds: 2 }, backoff: { linear: {} }, limit: { attempt: { count: 4 } } }"),
        3,
        expect![[r#"4 calls, {"called":"c"} after 12000 ms"#]],
    )
    .await;
    check_timed(
        tried!("retry: { delay: PT2S, backoff: { exponential: {} }, limit: { attempt: { count: 4 } } }"),
        3,
        expect![[r#"4 calls, {"called":"c"} after 14000 ms"#]],
    )
    .await;
    check_timed(
        tried!("retry: { limit: { attempt: { count: 3 } } }"),
        2,
        expect![[r#"3 calls, {"called":"c"} after 0 ms"#]],
    )
    .await;
    check_timed(
        tried!("retry: { delay: PT2S, limit: { attempt: { count: 3 } } }"),
        3,
        expect!["3 calls, faulted: runtime (503): failed: c failed, at /do/0/t/try/0/c after 4000 ms"],
    )
    .await;
}

#[tokio::test]
async fn attempts_end_by_count_time_and_condition() {
    // Handled in the end.
    check_timed(
        tried!("retry: { delay: PT2S, limit: { attempt: { count: 2 } } }, do: [ { s: { set: { gave: up } } } ]"),
        2,
        expect![[r#"2 calls, {"gave":"up"} after 2000 ms"#]],
    )
    .await;
    // No further attempt would begin within the time for all of them.
    check_timed(
        tried!("retry: { delay: PT4S, limit: { duration: PT10S } }"),
        9,
        expect!["3 calls, faulted: runtime (503): failed: c failed, at /do/0/t/try/0/c after 8000 ms"],
    )
    .await;
    check_timed(
        tried!("retry: { delay: PT1S, when: '$error.status == 404' }"),
        9,
        expect!["1 calls, faulted: runtime (503): failed: c failed, at /do/0/t/try/0/c after 0 ms"],
    )
    .await;
    check_timed(
        tried!("retry: { delay: PT1S, exceptWhen: '$error.status == 503' }"),
        9,
        expect!["1 calls, faulted: runtime (503): failed: c failed, at /do/0/t/try/0/c after 0 ms"],
    )
    .await;
    check_timed(
        tried!("errors: { with: { status: 404 } }, retry: { delay: PT1S }"),
        9,
        expect!["1 calls, faulted: runtime (503): failed: c failed, at /do/0/t/try/0/c after 0 ms"],
    )
    .await;
    check_timed(
        tried!("when: '$error.status == 503', retry: { delay: PT1S, limit: { attempt: { count: 2 } } }"),
        1,
        expect![[r#"2 calls, {"called":"c"} after 1000 ms"#]],
    )
    .await;
    check_timed(
        tried!("exceptWhen: '$error.status == 503', retry: { delay: PT1S }"),
        1,
        expect!["1 calls, faulted: runtime (503): failed: c failed, at /do/0/t/try/0/c after 0 ms"],
    )
    .await;
}

#[tokio::test]
async fn chance_is_added_to_a_wait_within_its_bounds() {
    for _ in 0..20 {
        let waited = computed(|| {
            let rest =
                tried!("retry: { delay: PT2S, jitter: { from: PT1S, to: PT3S }, limit: { attempt: { count: 2 } } }");
            let script = Script { results: vec![("c", json!({ "fails": 503 }))], ..Script::default() };
            run_with(&defined(rest), &json!(1), script).now_ms - BEGAN_MS
        })
        .await;
        assert!((3_000..=5_000).contains(&waited), "{waited}");
    }
}

#[tokio::test]
async fn time_is_limited_for_a_task_an_attempt_and_a_run() {
    check_timed(
        "use: { timeouts: { short: { after: PT3S } } }\ndo:\n- w: { wait: PT1H, timeout: short }",
        0,
        expect!["0 calls, faulted: timeout (408): timeout: task `w` has taken too long, at /do/0/w after 3000 ms"],
    )
    .await;
    check_timed(
        "do:\n- w: { wait: PT1H, timeout: { after: '${ \"PT\\(.n)S\" }' } }",
        0,
        expect!["0 calls, faulted: timeout (408): timeout: task `w` has taken too long, at /do/0/w after 2000 ms"],
    )
    .await;
    check_timed(
        "do:\n- d: { do: [ { a: { wait: PT2S } }, { b: { wait: PT2S } } ], timeout: { after: PT3S } }",
        0,
        expect!["0 calls, faulted: timeout (408): timeout: task `d` has taken too long, at /do/0/d after 3000 ms"],
    )
    .await;
    check_timed("do:\n- d: { try: [ { a: { wait: PT9S } } ], catch: { retry: { delay: PT1S, limit: { attempt: { count: 2, duration: PT3S } } } } }", 0, expect!["0 calls, faulted: timeout (408): timeout: an attempt of `d` has taken longer than 3000 ms, at /do/0/d after 7000 ms"]).await;
    check_timed(
        "use: { timeouts: { all: { after: PT3S } } }\ntimeout: all\ndo:\n- a: { wait: PT2S }\n- b: { wait: PT2S }",
        0,
        expect![
            "0 calls, faulted: timeout (408): timeout: the run has taken longer than 3000 ms, at /timeout after 3000 ms"
        ],
    )
    .await;
}

#[tokio::test]
async fn schemas_hold_input_output_and_context() {
    check(
        "do:\n- a: { input: { schema: { document: { type: object, required: [k] } } }, set: { n: 1 } }",
        json!({}),
        expect![[
            r#"faulted: validation (400): the input does not fit its schema: : "k" is a required property, at /do/0/a"#
        ]],
    )
    .await;
    check(
        "do:\n- a: { set: { n: 1 }, export: { schema: { document: { type: array } }, as: . } }",
        json!({}),
        expect![[r#"faulted: validation (400): the exported context does not fit its schema: : {"n":1} is not of type "array", at /do/0/a"#]],
    )
    .await;
    check("output: { schema: { document: { type: array } } }\ndo:\n- a: { set: { n: 1 } }", json!({}), expect![[r#"faulted: validation (400): the output does not fit its schema: : {"n":1} is not of type "array", at /output"#]])
        .await;
    check(
        "output: { as: '[.n]', schema: { document: { type: array } } }\ndo:\n- a: { set: { n: 1 } }",
        json!({}),
        expect!["[1]"],
    )
    .await;
}

#[tokio::test]
async fn what_expressions_see_of_the_task_and_the_run() {
    check("do:\n- a: { input: { from: .x }, set: { name: '${ $task.name }', raw: '${ $task.input }', own: '${ $input }', at: '${ $task.startedAt.iso8601 }', of: '${ $workflow.startedAt.epoch.seconds }', what: '${ $task.definition.set | keys | length }' } }", json!({ "x": 5 }), expect![[r#"{"name":"a","raw":5,"own":5,"at":"2026-11-15T08:00:00.000Z","of":1794729600,"what":6}"#]]).await;
    check("do:\n- a: { set: { n: 1 }, output: { as: '{ n: $task.output.n }' }, export: { as: '{ before: $context, now: $output }' } }\n- b: { set: '${ $context }' }", json!({ "x": 5 }), expect![[r#"{"before":{"x":5},"now":{"n":1}}"#]]).await;
}

#[tokio::test]
async fn branches_that_compete_drop_out_when_they_fail() {
    let first = "do:\n- f: { fork: { compete: true, branches: [ { bad: { raise: { error: { type: 'https://e.com/x', status: 400 } } } }, { slow: { do: [ { w: { wait: PT1S } }, { s: { set: { won: slow } } } ] } } ] } }";
    check(first, json!({}), expect![[r#"{"won":"slow"}"#]]).await;
    check("do:\n- f: { fork: { compete: true, branches: [ { bad: { raise: { error: { type: 'https://e.com/x', status: 400 } } } } ] } }", json!({}), expect!["faulted: https://e.com/x (400), at /do/0/f/fork/branches/0/bad"]).await;
}
