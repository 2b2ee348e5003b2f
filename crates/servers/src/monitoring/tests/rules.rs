//! Rules: kept, refused, computed.

use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::testing::{operator, viewer};

#[tokio::test]
async fn a_rule_says_what_it_would_do_and_is_kept() {
    let watch = Watch::new();
    watch.health("a", 0.0);
    watch.health("b", 1.0);
    watch.pass(5).await;
    let mut dry = down(30);
    dry["dry_run"] = true.into();
    let answer = watch.ask("set_rule", dry).await;
    expect![[r#""(mcp_server_health) == 0.0" false [{"labels":{"alertname":"down","instance":"local","job":"flotilla","server":"a","severity":"critical"},"value":0.0,"summary":"a is down (0)"}]"#]].assert_eq(&format!("{} {} {}", answer["promql"], answer["kept"], answer["now"]));
    assert_eq!(watch.ask("list_rules", json!({})).await["rules"], json!([]));
    watch.bench.check_as(&viewer("eve"), "set_rule", down(30), expect!["permission_denied: role viewer may not use monitoring.set_rule (needs a key with role operator: `flotilla token create NAME --role operator`)"]).await;
    watch.bench.check_as(&operator("ann"), "set_rule", down(30), expect![[r#"{"rule":{"name":"down","expr":"mcp_server_health","condition":{"kind":"threshold","op":"==","value":0.0},"for_seconds":30,"keep_firing_seconds":0,"severity":"critical","summary":"{server} is down ({value})","enabled":true,"by":"ann","updated_ms":1794729605000},"promql":"(mcp_server_health) == 0.0","kept":true,"replaced":false,"now":[{"labels":{"alertname":"down","instance":"local","job":"flotilla","server":"a","severity":"critical"},"value":0.0,"summary":"a is down (0)"}]}"#]]).await;
    let again = watch.ask("set_rule", down(60)).await;
    assert_eq!((&again["replaced"], &again["rule"]["for_seconds"]), (&json!(true), &json!(60)));
    watch.pass(5).await;
    watch.bench.check("list_rules", json!({"name": "ow"}), expect![[r#"{"rules":[{"name":"down","expr":"mcp_server_health","condition":{"kind":"threshold","op":"==","value":0.0},"for_seconds":60,"keep_firing_seconds":0,"severity":"critical","summary":"{server} is down ({value})","enabled":true,"by":"root","updated_ms":1794729605000,"promql":"(mcp_server_health) == 0.0","pending":1,"firing":0,"evaluated_ms":1794729610000}]}"#]]).await;
    watch.bench.check("list_rules", json!({"name": "x"}), expect![[r#"{"rules":[]}"#]]).await;
    watch
        .bench
        .check(
            "delete_rule",
            json!({"name": "nothing"}),
            expect!["not_found: no rule `nothing` (list_rules names them)"],
        )
        .await;
    assert_eq!(watch.ask("delete_rule", json!({"name": "down"})).await["name"], "down");
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused() {
    let watch = Watch::new();
    let with = |field: &str, value: Value| {
        let mut rule = down(0);
        rule[field] = value;
        rule
    };
    let refused = async |rule| watch.bench.shown(&operator("ann"), "set_rule", rule).await;
    expect![
        "invalid_argument: `No Name` cannot name a rule (lower-case letters, digits and `-`, at most 64 characters)"
    ]
    .assert_eq(&refused(with("name", "No Name".into())).await);
    expect!["invalid_argument: `test` is the name of alerts by hand (another name)"]
        .assert_eq(&refused(with("name", "test".into())).await);
    expect!["invalid_argument: not PromQL: unclosed left parenthesis (for example sum by (server) (rate(mcp_commands_total[5m])))"].assert_eq(&refused(with("expr", "sum by (".into())).await);
    expect!["unsupported: the built-in recorder does not compute the function `sin` (computed here: abs, absent, absent_over_time, avg_over_time, ceil, changes, clamp, clamp_max, clamp_min, count_over_time, delta, deriv, exp, floor, histogram_quantile, idelta, increase, irate, label_join, label_replace, last_over_time, ln, log10, log2, max_over_time, min_over_time, pi, predict_linear, present_over_time, quantile_over_time, rate, resets, round, scalar, sgn, sort, sort_desc, sqrt, stddev_over_time, stdvar_over_time, sum_over_time, time, timestamp, vector; a Prometheus set as prometheus_url computes everything)"].assert_eq(&refused(with("expr", "sin(up)".into())).await);
    expect!["invalid_argument: `1 + 1` is no vector (an expression with series, like mcp_server_health)"]
        .assert_eq(&refused(with("expr", "1 + 1".into())).await);
    expect!["invalid_argument: for_seconds is 604801 (0 to 604,800 (a week))"]
        .assert_eq(&refused(with("for_seconds", 604_801.into())).await);
    expect!["invalid_argument: the labels are not fit (at most 16, names of letters, digits and _; alertname and severity are given)"].assert_eq(&refused(with("labels", json!({"severity": "x"}))).await);
    expect!["invalid_argument: summary or runbook is too long (at most 2,048 bytes each)"]
        .assert_eq(&refused(with("summary", "x".repeat(3_000).into())).await);
    expect!["invalid_argument: window_seconds is 1 (10 to 604,800 (a week))"].assert_eq(
        &refused(with("condition", json!({"kind": "rate", "window_seconds": 1, "op": ">", "value": 1.0}))).await,
    );
    expect!["invalid_argument: arguments.condition: unknown variant `=>`, expected one of `>`, `>=`, `<`, `<=`, `==`, `!=` (the tool's inputSchema says what it takes)"].assert_eq(&refused(with("condition", json!({"kind": "threshold", "op": "=>", "value": 1.0}))).await);
    expect!["invalid_argument: arguments.condition.kind: unknown variant `sometimes`, expected one of `any`, `threshold`, `absence`, `rate` (the tool's inputSchema says what it takes)"].assert_eq(&refused(with("condition", json!({"kind": "sometimes"}))).await);
    expect!["invalid_argument: arguments.severity: unknown variant `awful`, expected one of `info`, `warning`, `critical` (the tool's inputSchema says what it takes)"].assert_eq(&refused(with("severity", "awful".into())).await);
}

#[tokio::test]
async fn conditions_become_promql() {
    let watch = Watch::new();
    watch.pass(5).await;
    let promql = async |expr: &str, condition: Value| {
        let mut rule = down(0);
        (rule["expr"], rule["condition"]) = (expr.into(), condition);
        watch.ask("set_rule", rule).await["promql"].as_str().unwrap().to_owned()
    };
    let rate = json!({"kind": "rate", "window_seconds": 60, "op": ">=", "value": 0.5});
    expect!["up"].assert_eq(&promql("up", json!({"kind": "any"})).await);
    expect!["(up or on () vector(1)) != 1000000000.0"]
        .assert_eq(&promql("up or on () vector(1)", json!({"kind": "threshold", "op": "!=", "value": 1e9})).await);
    expect![[r#"absent(up{job="x"})"#]].assert_eq(&promql("up{job=\"x\"}", json!({"kind": "absence"})).await);
    expect!["rate(up[60s]) >= 0.5"].assert_eq(&promql("up", rate.clone()).await);
    expect!["rate((up offset 1m)[60s:15s]) >= 0.5"].assert_eq(&promql("up offset 1m", rate.clone()).await);
    expect!["rate((sum(up))[60s:15s]) >= 0.5"].assert_eq(&promql("sum(up)", rate).await);
}

#[tokio::test]
async fn a_fresh_fleet_has_rules_and_keeps_what_people_made_of_them() {
    let watch = Watch::new();
    watch.bench.start().await;
    let names = |answer: &Value| {
        let name = |rule: &Value| rule["name"].as_str().unwrap().to_owned();
        answer["rules"].as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    let all = names(&watch.ask("list_rules", json!({})).await);
    expect!["agent-down breaker-open chain-head-stale error-ratio kill-switch-on latency log-errors log-lines-lost process-unreachable rpc-errors service-degraded service-down trade-differs trade-taken-back upstream-failing"].assert_eq(&all.join(" "));
    watch.ask("delete_rule", json!({"name": "latency"})).await;
    let mut changed = down(0);
    changed["name"] = "log-errors".into();
    watch.ask("set_rule", changed).await;
    watch.bench.world.tasks.drain(std::time::Duration::from_secs(5)).await;
    let mut world = World::default();
    world.store = watch.bench.world.store.clone();
    let again = Watch::on(world, Config::default());
    again.bench.start().await;
    let rules = again.ask("list_rules", json!({})).await;
    assert_eq!(names(&rules).len(), all.len() - 1);
    let kept = rules["rules"].as_array().unwrap().iter().find(|rule| rule["name"] == "log-errors").unwrap();
    assert_eq!(kept["by"], "root");
    let none = Watch::on(World::default(), Config { default_rules: false, ..Config::default() });
    none.bench.start().await;
    assert_eq!(names(&none.ask("list_rules", json!({})).await), Vec::<String>::new());
}

#[tokio::test]
async fn the_default_rules_stay_quiet_in_a_healthy_fleet_and_speak_up_in_a_sick_one() {
    let watch = Watch::new();
    watch.bench.start().await;
    watch.bench.world.tasks.drain(std::time::Duration::from_secs(5)).await;
    for server in ["utilities", "logging"] {
        watch.health(server, 1.0);
    }
    let call = |outcome, ms| {
        watch.bench.world.metrics.call_ended("utilities", "uuid", outcome, std::time::Duration::from_millis(ms));
    };
    for _ in 0..80 {
        (0..10).for_each(|_| call("ok", 3));
        call("invalid_argument", 1);
        watch.pass(5).await;
    }
    assert_eq!(watch.alerts(&["pending", "firing", "resolved"]).await, "");
    watch.health("logging", 0.0);
    for _ in 0..100 {
        (0..10).for_each(|_| call("timeout", 20_000));
        watch.pass(5).await;
    }
    expect!["error-ratio utilities firing, service-down logging firing, latency utilities firing"]
        .assert_eq(&watch.alerts(&["firing"]).await);
}
