//! From a reason to an alert, and everything that may happen to it.

use expect_test::expect;
use kernel::store::Write;
use serde_json::{Value, json};

use super::*;
use crate::testing::{operator, viewer};

async fn firing() -> Watch {
    let watch = Watch::new();
    watch.health("a", 1.0);
    watch.ask("set_rule", down(30)).await;
    watch.pass(10).await;
    watch.health("a", 0.0);
    watch.pass(40).await;
    watch
}

async fn id(watch: &Watch) -> String {
    watch.ask("list_alerts", json!({})).await["alerts"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_alert_waits_fires_and_is_over() {
    let watch = Watch::new();
    watch.health("a", 1.0);
    watch.ask("set_rule", down(30)).await;
    watch.pass(10).await;
    watch.health("a", 0.0);
    watch.pass(30).await;
    assert_eq!(watch.alerts(&["pending", "firing"]).await, "down a pending");
    watch.pass(5).await;
    assert_eq!(watch.alerts(&["pending", "firing"]).await, "down a firing");
    let alert = watch.ask("list_alerts", json!({})).await["alerts"][0].clone();
    expect![[r#""a is down (0)" "critical" {"alertname":"down","instance":"local","job":"flotilla","server":"a","severity":"critical"}"#]].assert_eq(&format!("{} {} {}", alert["summary"], alert["severity"], alert["labels"]));
    assert_eq!(watch.ask("health", json!({})).await["alerts"], json!(["critical: a is down (0)"]));
    watch.health("a", 1.0);
    watch.pass(5).await;
    assert_eq!(watch.alerts(&["pending", "firing"]).await, "");
    let over = watch.ask("list_alerts", json!({"states": ["resolved"]})).await["alerts"][0].clone();
    assert_eq!(
        (&over["state"], &over["resolution"], &over["id"]),
        (&json!("resolved"), &json!("its reason is gone"), &alert["id"])
    );
    assert_eq!(watch.told().await, "alert.firing down, alert.resolved down");
    watch.bench.world.clock.advance_ms(8 * 86_400_000);
    assert_eq!(watch.alerts(&["resolved"]).await, "", "forgotten after a while");
}

#[tokio::test]
async fn what_flaps_is_told_once_while_the_rule_keeps_it() {
    let watch = Watch::new();
    let mut rule = down(0);
    rule["keep_firing_seconds"] = 30.into();
    watch.ask("set_rule", rule).await;
    for health in [0.0, 1.0, 0.0, 1.0, 0.0] {
        watch.health("a", health);
        watch.pass(10).await;
    }
    assert_eq!(watch.told().await, "alert.firing down");
    watch.health("a", 1.0);
    watch.pass(40).await;
    assert_eq!(watch.told().await, "alert.firing down, alert.resolved down");
}

#[tokio::test]
async fn somebody_knows() {
    let watch = firing().await;
    let id = id(&watch).await;
    watch.bench.check_as(&viewer("eve"), "acknowledge_alert", json!({"id": id}), expect!["permission_denied: role viewer may not use monitoring.acknowledge_alert (needs a key with role operator: `flotilla token create NAME --role operator`)"]).await;
    let ann = operator("ann");
    let answer = watch.bench.shown(&ann, "acknowledge_alert", json!({"id": id, "comment": "on it"})).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let acknowledged = &answer["alerts"][0]["acknowledged"];
    assert_eq!((&acknowledged["by"], &acknowledged["comment"]), (&json!("ann"), &json!("on it")));
    // Who was first stays.
    watch.ask("acknowledge_alert", json!({"rule": "down"})).await;
    assert_eq!(watch.ask("list_alerts", json!({})).await["alerts"][0]["acknowledged"]["by"], "ann");
    watch.pass(60).await;
    assert_eq!(watch.alerts(&["firing", "acknowledged"]).await, "down a acknowledged");
    watch.ask("acknowledge_alert", json!({"id": id, "undo": true})).await;
    assert_eq!(watch.alerts(&["firing", "acknowledged"]).await, "down a firing");
    watch.ask("acknowledge_alert", json!({"id": id})).await;
    watch.health("a", 1.0);
    watch.pass(5).await;
    assert_eq!(
        watch.told().await,
        "alert.firing down, alert.acknowledged down, alert.firing down, alert.acknowledged down, alert.resolved down"
    );
    let gone = watch.bench.shown(&operator("ann"), "acknowledge_alert", json!({"id": id})).await;
    assert!(gone.starts_with("not_found: no alert that fires"), "{gone}");
}

#[tokio::test]
async fn what_cannot_be_acknowledged() {
    let watch = Watch::new();
    watch.health("a", 0.0);
    watch.ask("set_rule", down(300)).await;
    watch.pass(10).await;
    let pending = watch.ask("list_alerts", json!({"states": ["pending"]})).await["alerts"][0]["id"].clone();
    let refused = watch.bench.shown(&operator("ann"), "acknowledge_alert", json!({"id": pending})).await;
    assert!(refused.starts_with("conflict: ") && refused.contains("does not fire yet"), "{refused}");
    watch
        .bench
        .check(
            "acknowledge_alert",
            json!({"rule": "down"}),
            expect!["not_found: no alert that fires: `down` (list_alerts names them)"],
        )
        .await;
    watch
        .bench
        .check("acknowledge_alert", json!({}), expect!["invalid_argument: which alert (give either id or rule)"])
        .await;
    watch
        .bench
        .check(
            "acknowledge_alert",
            json!({"id": "x", "rule": "y"}),
            expect!["invalid_argument: which alert (give either id or rule)"],
        )
        .await;
}

#[tokio::test]
async fn silences_keep_quiet_and_end() {
    let watch = Watch::new();
    watch.health("a", 1.0);
    watch.ask("set_rule", down(0)).await;
    let silence = json!({"rule": "down", "matchers": [{"label": "server", "op": "=~", "value": "a|b"}], "reason": "moving house", "minutes": 1});
    let silence = watch.ask("silence", silence).await;
    watch.health("a", 0.0);
    watch.pass(10).await;
    watch.health("a", 1.0);
    watch.pass(10).await;
    assert_eq!(watch.told().await, "alert.silenced root, alert.firing down (silent), alert.resolved down (silent)");
    watch.health("a", 0.0);
    watch.health("c", 0.0);
    watch.pass(10).await;
    let rows = watch.ask("list_alerts", json!({"hide_silenced": true})).await;
    assert_eq!((rows["alerts"].as_array().unwrap().len(), &rows["alerts"][0]["labels"]["server"]), (1, &json!("c")));
    let held = watch.ask("list_silences", json!({})).await["silences"][0].clone();
    assert_eq!((&held["alerts"], &held["by"], &held["reason"]), (&json!(1), &json!("root"), &json!("moving house")));
    watch.pass(60).await;
    assert_eq!(watch.ask("list_silences", json!({})).await["silences"], json!([]), "it ended by itself");
    assert_eq!(watch.ask("list_silences", json!({"ended": true})).await["silences"][0]["id"], silence["id"]);
    let refused = watch.bench.shown(&operator("ann"), "expire_silence", json!({"id": silence["id"]})).await;
    assert!(refused.starts_with("not_found: "), "{refused}");
    let exactly = json!({"alert": watch.ask("list_alerts", json!({})).await["alerts"][0]["id"], "reason": "known"});
    let exactly = watch.ask("silence", exactly).await;
    let ended = watch.ask("expire_silence", json!({"id": exactly["id"]})).await;
    assert_eq!(ended["ended_by"], "root");
    assert!(watch.told().await.ends_with("alert.silenced root, alert.unsilenced root"));
}

#[tokio::test]
async fn silences_that_make_no_sense_are_refused() {
    let watch = Watch::new();
    let refused = async |silence| watch.bench.shown(&operator("ann"), "silence", silence).await;
    expect!["invalid_argument: a silence with 0 matchers (1 to 16: a silence of everything would hide everything)"]
        .assert_eq(&refused(json!({"reason": "x"})).await);
    expect!["invalid_argument: a silence needs a reason (1 to 1024 bytes: others will read it)"]
        .assert_eq(&refused(json!({"rule": "down"})).await);
    expect!["invalid_argument: the matchers fit alerts without labels too, so they silence nearly everything (name at least one value that must be there)"].assert_eq(
        &refused(json!({"reason": "x", "matchers": [{"label": "server", "op": "=~", "value": ".*"}]})).await,
    );
    expect![[r#"
        invalid_argument: matcher of `server`: regex parse error:
            ^(?:()$
             ^
        error: unclosed group (a regular expression)"#]]
    .assert_eq(&refused(json!({"reason": "x", "matchers": [{"label": "server", "op": "=~", "value": "("}]})).await);
    expect!["invalid_argument: a matcher's label or value is empty or too long (1 to 1024 bytes)"]
        .assert_eq(&refused(json!({"reason": "x", "matchers": [{"label": "", "value": "y"}]})).await);
    expect!["invalid_argument: a silence must end after now and within 30 days (like minutes: 60)"]
        .assert_eq(&refused(json!({"reason": "x", "rule": "down", "minutes": 0})).await);
    expect!["invalid_argument: a silence must end after now and within 30 days (like minutes: 60)"]
        .assert_eq(&refused(json!({"reason": "x", "rule": "down", "minutes": 50_000})).await);
    expect!["invalid_argument: a silence must end after now and within 30 days (like minutes: 60)"]
        .assert_eq(&refused(json!({"reason": "x", "rule": "down", "until": "-1h"})).await);
    expect!["invalid_argument: both minutes and until (give one of them)"]
        .assert_eq(&refused(json!({"reason": "x", "rule": "down", "until": "now", "minutes": 1})).await);
    expect!["not_found: no alert `alert_x` (list_alerts names them)"]
        .assert_eq(&refused(json!({"reason": "x", "alert": "alert_x"})).await);
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let watch = firing().await;
    let before = id(&watch).await;
    watch.ask("silence", json!({"rule": "other", "reason": "x"})).await;
    let watch = watch.restarted();
    assert_eq!(id(&watch).await, before);
    // The recorder begins anew: what it does not see yet is not known to be gone.
    watch.server.evaluator.settle().await.unwrap();
    assert_eq!(watch.alerts(&["firing"]).await, "down a firing");
    watch.pass(10).await;
    assert_eq!((id(&watch).await, watch.told().await.matches("alert.firing").count()), (before, 1), "the same episode");
    watch.health("a", 1.0);
    watch.pass(5).await;
    assert_eq!(watch.alerts(&["firing"]).await, "");
    assert_eq!(watch.ask("list_silences", json!({})).await["silences"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn waiting_goes_on_over_a_restart() {
    let watch = Watch::new();
    watch.health("a", 0.0);
    watch.ask("set_rule", down(60)).await;
    watch.pass(30).await;
    let watch = watch.restarted();
    watch.pass(30).await;
    assert_eq!(watch.alerts(&["pending", "firing"]).await, "down a pending");
    watch.pass(10).await;
    assert_eq!(watch.alerts(&["pending", "firing"]).await, "down a firing");
}

#[tokio::test]
async fn rates_need_their_whole_window_before_silence_means_health() {
    let watch = Watch::new();
    let rule = json!({"name": "restarts", "expr": "increase(flotilla_upstream_restarts_total[2m]) > 2"});
    watch.ask("set_rule", rule).await;
    let label = kernel::metrics::RouteLabel { target: "x".into() };
    let restart = || watch.bench.world.metrics.upstream_restarts.get_or_create(&label).inc();
    restart();
    watch.pass(10).await;
    (0..5).for_each(|_| {
        restart();
    });
    watch.pass(10).await;
    assert_eq!(watch.alerts(&["firing"]).await, "restarts - firing");
    let watch = watch.restarted();
    watch.pass(60).await;
    assert_eq!(watch.alerts(&["firing"]).await, "restarts - firing", "a minute of quiet says nothing about two");
    watch.pass(120).await;
    assert_eq!(watch.alerts(&["firing"]).await, "");
}

#[tokio::test]
async fn what_is_absent_is_noticed_but_not_before_anything_was_read() {
    let watch = Watch::new();
    watch
        .ask(
            "set_rule",
            json!({"name": "gone", "expr": "mcp_server_health{server=\"z\"}", "condition": {"kind": "absence"}}),
        )
        .await;
    watch.server.evaluator.settle().await.unwrap();
    assert_eq!(watch.alerts(&["firing"]).await, "");
    watch.pass(10).await;
    assert_eq!(watch.alerts(&["firing"]).await, "gone z firing");
}

#[tokio::test]
async fn alerts_of_rules_that_are_gone_or_off_are_over() {
    let watch = firing().await;
    let mut off = down(30);
    off["enabled"] = false.into();
    watch.ask("set_rule", off).await;
    watch.pass(5).await;
    let over = watch.ask("list_alerts", json!({"states": ["resolved"]})).await["alerts"][0].clone();
    assert_eq!(over["resolution"], "its rule was deleted or disabled");
    watch.ask("set_rule", down(300)).await;
    watch.pass(10).await;
    assert_eq!(watch.alerts(&["pending"]).await, "down a pending");
    watch.ask("delete_rule", json!({"name": "down"})).await;
    watch.pass(5).await;
    assert_eq!(watch.alerts(&["pending", "firing"]).await, "");
}

#[tokio::test]
async fn a_rule_that_fails_is_said_so_and_stops_nothing() {
    let watch = firing().await;
    let broken = json!({"name": "broken", "expr": "a", "condition": {"kind": "any"}});
    watch.ask("set_rule", broken).await;
    // As a version of tomorrow may have written it.
    let kept = watch.bench.world.store.get("alert_rules", "broken").await.unwrap().unwrap().value;
    let kept = kept.replace("\"expr\":\"a\"", "\"expr\":\"sin(a)\"");
    watch
        .bench
        .world
        .store
        .commit(vec![Write::put("alert_rules", "broken", kept), Write::put("alert_rules", "odd", "{")])
        .await
        .unwrap();
    watch.pass(5).await;
    let rules = watch.ask("list_rules", json!({})).await;
    assert!(rules["rules"][0]["error"].as_str().unwrap().contains("sin"), "{rules}");
    assert_eq!(watch.alerts(&["firing"]).await, "down a firing");
    let report = watch.bench.service.health().await;
    let check = report.checks.iter().find(|check| check.name == "alert rules").unwrap();
    assert_eq!((check.status, check.detail.as_str()), (kernel::health::Status::Degraded, "not evaluated: broken"));
}

#[tokio::test]
async fn a_rule_of_many_series_makes_a_hundred_alerts() {
    let watch = Watch::new();
    (0..150).for_each(|n| watch.health(&format!("s{n}"), 0.0));
    watch.ask("set_rule", down(0)).await;
    watch.pass(10).await;
    let alerts = watch.ask("list_alerts", json!({"limit": 20})).await;
    assert_eq!((alerts["alerts"].as_array().unwrap().len(), &alerts["omitted"]), (20, &json!(80)));
    let rules = watch.ask("list_rules", json!({})).await;
    assert_eq!(rules["rules"][0]["error"], "150 series, only 100 become alerts");
}

#[tokio::test]
async fn a_test_alert_resolves_itself() {
    let watch = Watch::new();
    let alert = watch.ask("test_alert", json!({"severity": "info", "seconds": 30})).await;
    expect![[r#""firing" "a test by root: nothing is wrong" {"alertname":"test","by":"root","severity":"info"}"#]]
        .assert_eq(&format!("{} {} {}", alert["state"], alert["summary"], alert["labels"]));
    watch.pass(25).await;
    assert_eq!(watch.alerts(&["firing"]).await, "test - firing");
    watch.pass(5).await;
    assert_eq!(watch.alerts(&["firing", "resolved"]).await, "test - resolved");
    assert_eq!(watch.told().await, "alert.firing test, alert.resolved test");
    watch
        .bench
        .check("test_alert", json!({"seconds": 4}), expect!["invalid_argument: seconds is 4 (5 to 3,600)"])
        .await;
    watch.bench.check_as(&viewer("eve"), "test_alert", json!({}), expect!["permission_denied: role viewer may not use monitoring.test_alert (needs a key with role operator: `flotilla token create NAME --role operator`)"]).await;
}

#[tokio::test]
async fn lists_are_filtered_and_sorted() {
    let watch = firing().await;
    watch.ask("test_alert", json!({"severity": "info"})).await;
    watch.ask("test_alert", json!({"severity": "warning"})).await;
    let severities = async |arguments| {
        let answer = watch.ask("list_alerts", arguments).await;
        let severity = |alert: &Value| alert["severity"].as_str().unwrap().to_owned();
        answer["alerts"].as_array().unwrap().iter().map(severity).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(severities(json!({})).await, "critical warning info");
    assert_eq!(severities(json!({"severity": "warning"})).await, "critical warning");
    assert_eq!(severities(json!({"rule": "test", "limit": 1})).await, "warning");
    watch.bench.check("list_alerts", json!({"limit": 0}), expect!["invalid_argument: limit is 0 (1 to 1,000)"]).await;
    watch.bench.check("list_alerts", json!({"states": ["angry"]}), expect!["invalid_argument: arguments.states[0]: unknown variant `angry`, expected one of `pending`, `firing`, `acknowledged`, `resolved` (the tool's inputSchema says what it takes)"]).await;
}

#[tokio::test]
async fn what_is_due_is_said_before_it_is_done() {
    let watch = Watch::new();
    watch.health("a", 0.0);
    watch.ask("set_rule", down(0)).await;
    watch.scraper().scrape().await.unwrap();
    let due = watch.ask("evaluate_rules", json!({})).await;
    assert_eq!(due, watch.ask("evaluate_rules", json!({})).await, "looking changes nothing");
    assert_eq!((watch.alerts(&["firing"]).await.as_str(), &due["steps"][0]["step"]), ("", &json!("fire")), "{due}");
    assert_eq!(watch.ask("settle_alerts", json!({})).await, due, "what was due is done");
    assert_eq!(watch.alerts(&["firing"]).await, "down a firing");
    let after = watch.ask("settle_alerts", json!({})).await;
    assert_eq!((&after["steps"], &after["rules"]), (&json!([]), &json!(1)), "once");
    watch.bench.check_as(&viewer("ann"), "settle_alerts", json!({}), expect![[r#"permission_denied: role viewer may not use monitoring.settle_alerts (needs a key with role operator: `flotilla token create NAME --role operator`)"#]]).await;
}
