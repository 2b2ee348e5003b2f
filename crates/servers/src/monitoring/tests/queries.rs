//! Figures by PromQL, from the recorder and from a Prometheus.

use std::time::Duration;

use expect_test::expect;
use serde_json::{Value, json};

use super::look::served;
use super::*;

async fn recorded() -> Watch {
    let watch = Watch::new();
    for n in 0..12 {
        watch.health("a", 1.0);
        watch.bench.world.metrics.call_ended(
            "a",
            "x",
            if n % 4 == 0 { "timeout" } else { "ok" },
            Duration::from_millis(30),
        );
        watch.pass(5).await;
    }
    watch
}

#[tokio::test]
async fn instants() {
    let watch = recorded().await;
    let check = async |query: &str, want: expect_test::Expect| {
        watch.bench.check("query_metrics", json!({"query": query}), want).await
    };
    check("mcp_server_health", expect![[r#"{"source":"recorder","at_ms":1794729660000,"kind":"vector","series":[{"metric":{"__name__":"mcp_server_health","instance":"local","job":"flotilla","server":"a"},"value":1.0}],"omitted":0}"#]]).await;
    check("sum by (outcome) (increase(mcp_commands_total[1m]))", expect![[r#"{"source":"recorder","at_ms":1794729660000,"kind":"vector","series":[{"metric":{"outcome":"ok"},"value":8.4},{"metric":{"outcome":"timeout"},"value":2.1818181818181817}],"omitted":0}"#]]).await;
    check("1 + 1", expect![[r#"{"source":"recorder","at_ms":1794729660000,"kind":"scalar","series":[{"metric":{},"value":2.0}],"omitted":0}"#]]).await;
    check(
        "\"text\"",
        expect![[
            r#"{"source":"recorder","at_ms":1794729660000,"kind":"string","series":[],"text":"text","omitted":0}"#
        ]],
    )
    .await;
    check("up[10s]", expect![[r#"{"source":"recorder","at_ms":1794729660000,"kind":"matrix","series":[],"matrix":[{"metric":{"__name__":"up","instance":"local","job":"flotilla"},"samples":[[1794729655000,1.0],[1794729660000,1.0]]}],"omitted":0}"#]]).await;
    check("histogram_quantile(0.5, rate(mcp_response_time_seconds_bucket[1m])) / 0", expect![[r#"{"source":"recorder","at_ms":1794729660000,"kind":"vector","series":[{"metric":{"instance":"local","job":"flotilla","server":"a","tool":"x"},"value":"+Inf"}],"omitted":0}"#]]).await;
    check("sin(up)", expect_test::expect!["unsupported: the built-in recorder does not compute the function `sin` (computed here: abs, absent, absent_over_time, avg_over_time, ceil, changes, clamp, clamp_max, clamp_min, count_over_time, delta, deriv, exp, floor, histogram_quantile, idelta, increase, irate, label_join, label_replace, last_over_time, ln, log10, log2, max_over_time, min_over_time, pi, predict_linear, present_over_time, quantile_over_time, rate, resets, round, scalar, sgn, sort, sort_desc, sqrt, stddev_over_time, stdvar_over_time, sum_over_time, time, timestamp, vector; a Prometheus set as prometheus_url computes everything)"]).await;
    check("up{", expect!["invalid_argument: not PromQL: unexpected end of input inside braces (for example sum by (server) (rate(mcp_commands_total[5m])))"]).await;
    watch
        .bench
        .check(
            "query_metrics",
            json!({"query": "up", "time": "-10m"}),
            expect![[r#"{"source":"recorder","at_ms":1794729060000,"kind":"vector","series":[],"omitted":0}"#]],
        )
        .await;
    watch
        .bench
        .check("query_metrics", json!({"query": "mcp_response_time_seconds_bucket", "limit": 1}), expect![[r#"{"source":"recorder","at_ms":1794729660000,"kind":"vector","series":[{"metric":{"__name__":"mcp_response_time_seconds_bucket","instance":"local","job":"flotilla","le":"+Inf","server":"a","tool":"x"},"value":12.0}],"omitted":16}"#]])
        .await;
    watch
        .bench
        .check("query_metrics", json!({"query": "up", "limit": 0}), expect!["invalid_argument: limit is 0 (1 to 5000)"])
        .await;
    watch.bench.check("query_metrics", json!({}), expect!["invalid_argument: not PromQL: no expression found in input (for example sum by (server) (rate(mcp_commands_total[5m])))"]).await;
}

#[tokio::test]
async fn ranges() {
    let watch = recorded().await;
    watch
        .bench
        .check("query_range", json!({"query": "sum(mcp_commands_total)", "start": "-40s", "step": "20s"}), expect![[r#"{"source":"recorder","start_ms":1794729620000,"end_ms":1794729660000,"step_ms":20000,"series":[{"metric":{},"samples":[[1794729620000,4.0],[1794729640000,8.0],[1794729660000,12.0]]}],"omitted":0}"#]])
        .await;
    let all = watch.ask("query_range", json!({"query": "up"})).await;
    assert_eq!((&all["step_ms"], all["series"][0]["samples"].as_array().unwrap().len()), (&json!(30_000), 2));
    watch
        .bench
        .check(
            "query_range",
            json!({"query": "up", "step": "soon"}),
            expect!["invalid_argument: `soon` is no step (like 30s, 5m or 1h)"],
        )
        .await;
    watch
        .bench
        .check(
            "query_range",
            json!({"query": "up", "step": "1s", "start": "-1d"}),
            expect!["too_large: a range of 86401 steps (at most 2000: widen the step or shorten the range)"],
        )
        .await;
    watch
        .bench
        .check(
            "query_range",
            json!({"query": "up", "start": "now", "end": "-1h"}),
            expect!["invalid_argument: the range ends before it starts (start first, then end)"],
        )
        .await;
    watch.bench.check("query_range", json!({"query": "up[1m]"}), expect!["invalid_argument: a range query needs an expression that is a number or a vector (wrap a range like metric[5m] in a function such as rate())"]).await;
}

#[tokio::test]
async fn names_and_labels() {
    let watch = recorded().await;
    watch.bench.check("list_metrics", json!({"name": "mcp_commands"}), expect![[r#"{"source":"recorder","metrics":[{"name":"mcp_commands_total","kind":"counter","help":"Calls by server, tool and outcome.","series":2}]}"#]]).await;
    assert!(watch.ask("list_metrics", json!({})).await["metrics"].as_array().unwrap().len() > 5);
    watch.bench.check("label_values", json!({"label": "outcome"}), expect![[r#"{"values":["ok","timeout"]}"#]]).await;
    watch.bench.check("label_values", json!({"label": "outcome", "metric": "up"}), expect![[r#"{"values":[]}"#]]).await;
}

#[tokio::test]
async fn objectives_from_the_books() {
    let watch = recorded().await;
    watch.server.leads.store(true, std::sync::atomic::Ordering::Release);
    watch.bench.check("slo", json!({"server": "a", "latency_ms": 10.0}), expect![[r#"{"source":"recorder","from_ms":1794729600000,"until_ms":1794729660000,"covered_seconds":60,"servers":[{"server":"a","availability":{"objective":0.999,"good_ratio":0.8181818181818181,"calls":11,"bad":2,"budget":0.01100000000000001,"budget_left_ratio":-180.81818181818167,"met":false},"latency":{"objective":0.99,"good_ratio":0.0,"calls":11,"bad":11,"budget":0.1100000000000001,"budget_left_ratio":-98.99999999999991,"met":false},"latency_bound_ms":10.0,"burn_rate_1h":181.81818181818167}]}"#]]).await;
    watch.bench.world.clock.advance_ms(5 * 3_600_000);
    // A restart forgets the samples, not the books.
    let watch = watch.restarted();
    watch.bench.check("slo", json!({"availability": 0.5}), expect![[r#"{"source":"recorder","from_ms":1794729600000,"until_ms":1794747660000,"covered_seconds":18060,"servers":[{"server":"all","availability":{"objective":0.5,"good_ratio":0.8181818181818181,"calls":11,"bad":2,"budget":5.5,"budget_left_ratio":0.6363636363636364,"met":true},"latency":{"objective":0.99,"good_ratio":1.0,"calls":11,"bad":0,"budget":0.1100000000000001,"budget_left_ratio":1.0,"met":true},"latency_bound_ms":500.0,"burn_rate_1h":0.0},{"server":"a","availability":{"objective":0.5,"good_ratio":0.8181818181818181,"calls":11,"bad":2,"budget":5.5,"budget_left_ratio":0.6363636363636364,"met":true},"latency":{"objective":0.99,"good_ratio":1.0,"calls":11,"bad":0,"budget":0.1100000000000001,"budget_left_ratio":1.0,"met":true},"latency_bound_ms":500.0,"burn_rate_1h":0.0}]}"#]]).await;
    watch.bench.check("slo", json!({"window": "1h"}), expect![[r#"{"source":"recorder","from_ms":1794747660000,"until_ms":1794747660000,"covered_seconds":0,"servers":[{"server":"all","availability":{"objective":0.999,"good_ratio":1.0,"calls":0,"bad":0,"budget":0.0,"budget_left_ratio":1.0,"met":true},"burn_rate_1h":0.0}]}"#]]).await;
    watch.bench.check("slo", json!({"server": "nobody"}), expect!["not_found: no call of server `nobody` was counted (health names the servers; a window of another length may have some)"]).await;
    watch.bench.check("slo", json!({"window": "1m"}), expect!["invalid_argument: `1m` is no window (1h to 31d)"]).await;
    watch
        .bench
        .check(
            "slo",
            json!({"availability": 1.5}),
            expect!["invalid_argument: availability is 1.5 (a ratio like 0.999: above 0, at most 1)"],
        )
        .await;
}

/// A Prometheus that answers by path and query.
fn prometheus(request: &str) -> String {
    let json = |value: Value| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{value}", value.to_string().len());
    let data =
        |kind: &str, result: Value| json(json!({"status": "success", "data": {"resultType": kind, "result": result}}));
    let metric = json!({"__name__": "up", "instance": "h:1", "server": "a"});
    match request {
        _ if request.contains("query=broken") => {
            json(json!({"status": "error", "errorType": "bad_data", "error": "parse error"}))
        }
        _ if request.contains("query=bad") => "HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\noops".into(),
        _ if request.contains("POST /api/v1/query_range") => {
            data("matrix", json!([{"metric": metric, "values": [[1_794_729_600, "1"], [1_794_729_615.5, "+Inf"]]}]))
        }
        _ if request.contains("query=scalar") => data("scalar", json!([1_794_729_600, "NaN"])),
        _ if request.contains("POST /api/v1/query ") => {
            data("vector", json!([{"metric": metric, "value": [1_794_729_600.123, "0.5"]}]))
        }
        _ if request.contains("/api/v1/label/__name__/values") => {
            json(json!({"status": "success", "data": ["up", "x_total"]}))
        }
        _ if request.contains("/api/v1/metadata") => {
            json(json!({"status": "success", "data": {"x": [{"type": "counter", "help": "how often", "unit": ""}]}}))
        }
        _ => json(json!({"status": "success", "data": ["h:1"]})),
    }
}

#[tokio::test]
async fn a_prometheus_is_asked_when_there_is_one() {
    let world = World::default();
    let address = served(&world.tasks, prometheus).await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let config = Config {
        prometheus_url: Some(format!("http://{address}/")),
        prometheus_token_file: Some(token),
        ..Config::default()
    };
    let watch = Watch::on(world, config);
    let bench = &watch.bench;
    bench.check("query_metrics", json!({"query": "sin(up)"}), expect![[r#"{"source":"prometheus","at_ms":1794729600000,"kind":"vector","series":[{"metric":{"__name__":"up","instance":"h:1","server":"a"},"value":0.5}],"omitted":0}"#]]).await;
    bench.check("query_metrics", json!({"query": "scalar"}), expect![[r#"{"source":"prometheus","at_ms":1794729600000,"kind":"scalar","series":[{"metric":{},"value":"NaN"}],"omitted":0}"#]]).await;
    bench.check("query_metrics", json!({"query": "broken"}), expect!["invalid_argument: parse error"]).await;
    bench
        .check(
            "query_metrics",
            json!({"query": "bad"}),
            expect!["upstream: prometheus: status 500, not its API's answer: expected value at line 1 column 1"],
        )
        .await;
    bench.check("query_metrics", json!({"query": "("}), expect!["invalid_argument: not PromQL: unclosed left parenthesis (for example sum by (server) (rate(mcp_commands_total[5m])))"]).await;
    bench.check("query_range", json!({"query": "up", "start": "-1m", "step": "15s"}), expect![[r#"{"source":"prometheus","start_ms":1794729540000,"end_ms":1794729600000,"step_ms":15000,"series":[{"metric":{"__name__":"up","instance":"h:1","server":"a"},"samples":[[1794729600000,1.0],[1794729615500,"+Inf"]]}],"omitted":0}"#]]).await;
    bench.check("list_metrics", json!({}), expect![[r#"{"source":"prometheus","metrics":[{"name":"up","kind":"","help":""},{"name":"x_total","kind":"counter","help":"how often"}]}"#]]).await;
    bench.check("label_values", json!({"label": "instance", "metric": "up"}), expect![[r#"{"values":["h:1"]}"#]]).await;
    bench.check("targets", json!({}), expect![[r#"{"source":"prometheus","targets":[{"instance":"h:1","url":"","local":false,"services":[],"up":false,"last_scrape_ms":1794729600123,"took_ms":0,"samples":0,"refused":0}]}"#]]).await;
    bench.check("slo", json!({}), expect![[r#"{"source":"prometheus","from_ms":1794643200000,"until_ms":1794729600000,"covered_seconds":86400,"servers":[{"server":"all","availability":{"objective":0.999,"good_ratio":0.0,"calls":1,"bad":1,"budget":0.0005000000000000004,"budget_left_ratio":-998.9999999999991,"met":false},"burn_rate_1h":999.9999999999991},{"server":"a","availability":{"objective":0.999,"good_ratio":0.0,"calls":1,"bad":1,"budget":0.0005000000000000004,"budget_left_ratio":-998.9999999999991,"met":false},"burn_rate_1h":999.9999999999991}]}"#]]).await;
    let rule = json!({"name": "any", "expr": "sin(up)", "summary": "{instance} {value}"});
    assert_eq!(watch.ask("set_rule", rule).await["now"][0]["summary"], "h:1 0.5");
    watch.server.evaluator.settle().await.unwrap();
    assert_eq!(watch.alerts(&["firing"]).await, "any a firing");
}

#[tokio::test]
async fn a_prometheus_that_is_gone_is_said_so() {
    let world = World::default();
    let bad =
        Monitoring::new(&world.ports(), Config { prometheus_url: Some("prometheus:9090".into()), ..Config::default() });
    assert_eq!(bad.err().unwrap().code, kernel::Code::InvalidArgument);
    let config = Config { prometheus_url: Some("http://127.0.0.1:1".into()), ..Config::default() };
    let watch = Watch::on(world, config);
    let gone = watch.bench.shown(&admin(), "query_metrics", json!({"query": "up"})).await;
    assert!(gone.starts_with("unavailable: prometheus: "), "{gone}");
    // A rule may be kept while it is away; that it cannot be evaluated is said, and no alert changes.
    assert_eq!(watch.ask("set_rule", down(0)).await["kept"], true);
    watch.server.evaluator.settle().await.unwrap();
    assert!(watch.ask("list_rules", json!({})).await["rules"][0]["error"].as_str().unwrap().starts_with("unavailable"));
}
