//! What is wrong with a definition is told with its line, and with what would be right.

use expect_test::{Expect, expect};

use super::{computed, head};
use crate::workflow::validate;

async fn check(rest: &'static str, expected: Expect) {
    let told = computed(move || match validate(&head(rest)) {
        Ok(found) => {
            let warnings = found.warnings.iter().map(|problem| format!("warning: {problem}"));
            found.problems.iter().map(ToString::to_string).chain(warnings).collect::<Vec<_>>().join("\n")
        }
        Err(fault) => fault.to_string(),
    })
    .await;
    expected.assert_eq(&told);
}

#[tokio::test]
async fn unknown_fields_are_refused_with_what_was_meant() {
    check(
        "do:\n- a:\n    set: { n: 1 }\n    outptu: { as: . }",
        expect!["line 5, column 5 (/do/0/a/outptu): unknown field `outptu` (did you mean `output`?)"],
    )
    .await;
    check(
        "dos: []\ndo:\n- a: { set: { n: 1 } }",
        expect!["line 2, column 1 (/dos): unknown field `dos` (did you mean `do`?)"],
    )
    .await;
    check(
        "do:\n- a: { call: http, with: { method: get, endpoint: 'https://e.com', qurey: {} } }",
        expect!["line 3, column 68 (/do/0/a/with/qurey): unknown field `qurey` (did you mean `query`?)"],
    )
    .await;
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_all_at_once() {
    check("do:\n- a: { }\n- b: { wait: soon }\n- c: { set: { n: 1 }, wait: PT1S }\n- d: { set: [] }", expect![[r#"
        line 3, column 3 (/do/0/a): a task that does nothing (one of call, do, emit, for, fork, listen, raise, run, set, switch, try, wait, approve)
        line 4, column 8 (/do/1/b/wait): `soon` is not a duration (an ISO 8601 duration such as PT1H30M, or { days, hours, minutes, seconds, milliseconds })
        line 5, column 3 (/do/2/c): a task that is several things at once: set, wait (one of them)
        line 6, column 8 (/do/3/d/set): a list where data should be (set: { name: value }, or one expression: ${ … })"#]])
    .await;
    check("do: []", expect!["line 2, column 1 (/do): a list without tasks (a list of tasks: - name: { … })"]).await;
    check(
        "schedule: { every: PT1S, cron: '0 0 * * *' }\ndo:\n- a: { set: { n: 1 } }",
        expect!["line 2, column 1 (/schedule): 2 ways to be started (one of every, cron, after, on)"],
    )
    .await;
}

#[tokio::test]
async fn a_cron_expression_is_one_and_comes() {
    check("schedule: { cron: 'CRON_TZ=Europe/Berlin 30 6 * * MON-FRI' }\ndo:\n- a: { set: { n: 1 } }", expect![""])
        .await;
    for (cron, expected) in [
        (
            "0 25 * * *",
            expect![
                "line 2, column 13 (/schedule/cron): `0 25 * * *` is not a cron expression: Component error: Number out of bounds. (minute hour day-of-month month day-of-week, as `30 6 * * MON-FRI`; or six fields with seconds first)"
            ],
        ),
        ("0 0 30 2 *", expect!["line 2, column 13 (/schedule/cron): `0 0 30 2 *` is never (days that there are)"]),
        (
            "CRON_TZ=Europe/Atlantis 0 0 * * *",
            expect![
                "line 2, column 13 (/schedule/cron): `Europe/Atlantis` is not a time zone (an IANA name, as UTC or Europe/Berlin)"
            ],
        ),
        (
            "CRON_TZ=Europe/Berlin",
            expect![
                "line 2, column 13 (/schedule/cron): `CRON_TZ=Europe/Berlin` is not a cron expression: Invalid pattern: Pattern must have between 5 and 7 fields. (minute hour day-of-month month day-of-week, as `30 6 * * MON-FRI`; or six fields with seconds first)"
            ],
        ),
    ] {
        let text = format!("schedule: {{ cron: '{cron}' }}\ndo:\n- a: {{ set: {{ n: 1 }} }}");
        check(Box::leak(text.into_boxed_str()), expected).await;
    }
}

#[tokio::test]
async fn references_lead_somewhere() {
    check("do:\n- a: { set: { n: 1 }, then: bb }\n- b: { set: { n: 1 } }", expect![
        "line 3, column 23 (/do/0/a/then): there is no task `bb` in this list (did you mean `b`? continue, exit and end are the other directives)"
    ])
    .await;
    check(
        "use: { errors: { late: { type: 'https://e.com', status: 400 } } }\ndo:\n- a: { raise: { error: lat } }",
        expect!["line 4, column 17 (/do/0/a/raise/error): there is no error `lat` (did you mean `late`?)"],
    )
    .await;
    check("do:\n- a: { call: nothing }", expect![
        "line 3, column 8 (/do/0/a/call): there is no function `nothing` (`use.functions` has mcp, a2a, http, openapi)"
    ])
    .await;
    check("use: { functions: { f: { call: f } } }\ndo:\n- a: { call: f }", expect![
        "line 2, column 26 (/use/functions/f/call): function `f` calls itself (a workflow may run itself: run.workflow)"
    ])
    .await;
}

#[tokio::test]
async fn expressions_are_read_and_name_what_there_is() {
    check("do:\n- a: { set: { n: '${ .a + }' } }", expect![
        "line 3, column 15 (/do/0/a/set/n): expression at 4: the end where term should be (a jq program, like .items[] | select(.price > 10) | .name)"
    ])
    .await;
    check("do:\n- a: { if: '$item > 1', set: { n: 1 } }", expect![
        "line 3, column 8 (/do/0/a/if): expression: there is no variable `$item` (here there are $context, $secrets, $task, $workflow, $runtime)"
    ])
    .await;
    check(
        "do:\n- l: { for: { in: .xs }, do: [ { a: { set: { n: '${ $item + $index + $input.x }' } } } ] }",
        expect![""],
    )
    .await;
}

#[tokio::test]
async fn what_is_not_supported_is_said() {
    check("do:\n- a: { run: { shell: { command: ls } } }", expect![
        "line 3, column 15 (/do/0/a/run/shell): `run.shell` is not supported (programs run as scripts in the sandbox: run.script with language sh)"
    ])
    .await;
    check("do:\n- a: { call: grpc, with: {} }", expect![
        "line 3, column 8 (/do/0/a/call): `call: grpc` is not supported (one of mcp, a2a, http, openapi, or a function of `use.functions`)"
    ])
    .await;
    check("use: { secrets: [k] }\ndo:\n- a: { set: { n: 1 } }", expect![
        "warning: line 2, column 8 (/use/secrets): 1 secrets are asked for, and runs are given none (the services that need a secret hold it; an expression that uses $secrets fails with an authorization error)"
    ])
    .await;
    check("do:\n- a: { call: mcp, with: { method: tools/call, parameters: { name: x }, transport: { stdio: { command: npx } } } }", expect!["line 3, column 85 (/do/0/a/with/transport/stdio): a program to be started (http: { endpoint: 'fleet://SERVER' }; other servers join the fleet first (add_upstream), where they are supervised and their tools pinned)"])
    .await;
}

#[tokio::test]
async fn the_tools_it_calls_are_told() {
    let tools = computed(|| {
        let text =
            head("do:\n- a: { call: mcp, with: { method: tools/call, parameters: { name: coordination__publish } } }");
        validate(&text)
            .unwrap()
            .tools
            .iter()
            .map(|tool| format!("{}.{} at {}", tool.server, tool.tool, tool.path))
            .collect::<Vec<_>>()
    })
    .await;
    assert_eq!(tools, ["coordination.publish at /do/0/a"]);
}

#[tokio::test]
async fn every_playbook_is_valid_and_can_be_drawn() {
    for (name, text) in crate::workflow::playbooks::PLAYBOOKS {
        let (own, chart) = computed(move || {
            let definition = validate(text).and_then(crate::workflow::Validated::into_definition);
            let definition = definition.unwrap_or_else(|fault| panic!("{name}: {fault}"));
            (definition.name.clone(), crate::workflow::diagram::mermaid(&definition, None))
        })
        .await;
        assert_eq!(own, *name);
        assert!(chart.starts_with("flowchart TD\n") && chart.contains("finish"), "{name}: {chart}");
    }
}
