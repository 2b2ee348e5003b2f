//! What is due in the alerts channel, as a pure function of what was told and how the alerts are.

use std::collections::BTreeMap as Map;

use expect_test::{Expect, expect};
use servers::monitoring::Figure;

use super::*;

fn row(id: &str, rule: &str, state: State, at_ms: UnixMs) -> AlertRow {
    let alert = Alert {
        id: id.into(),
        rule: rule.into(),
        labels: Map::new(),
        severity: if rule == "down" { Severity::Critical } else { Severity::Warning },
        summary: format!("{rule} of {id}"),
        runbook: None,
        state,
        value: Figure(1.0),
        since_ms: at_ms,
        fired_ms: Some(at_ms),
        acknowledged: None,
        quiet_since_ms: None,
        until_ms: None,
        resolved_ms: (state == State::Resolved).then_some(at_ms),
        resolution: None,
        updated_ms: at_ms,
    };
    AlertRow { alert, silenced_by: Vec::new() }
}

fn silenced(row: AlertRow) -> AlertRow {
    AlertRow { silenced_by: vec!["s".into()], ..row }
}

/// Takes rows in and shows what is due; gives the messages, as their titles.
fn go(told: &mut Told, now_ms: UnixMs, rows: &[AlertRow]) -> String {
    told.take(rows, "4", now_ms);
    let due: Vec<(String, Group)> =
        told.groups.iter().filter(|(_, group)| group.due).map(|(rule, group)| (rule.clone(), group.clone())).collect();
    let mut said = Vec::new();
    for (rule, group) in due {
        let how = if group.message.is_some() { "edit" } else { "post" };
        let title = message_of(&rule, &group)["embeds"][0]["title"].as_str().unwrap().to_owned();
        said.push(format!("{how} {title}"));
        told.shown(&rule, format!("m-{rule}"));
    }
    said.join("; ")
}

#[test]
fn each_change_is_told_once_and_in_the_message_of_its_rule() {
    use State::{Acknowledged, Firing, Resolved};
    let mut told = Told::default();
    // What was over before the beginning is nobody's news.
    let old = row("old", "slow", Resolved, 900);
    assert_eq!(go(&mut told, 1_000, &[old]), "");
    let one = row("a", "slow", Firing, 2_000);
    assert_eq!(go(&mut told, 2_000, &[one]), "post ⚠️ slow: 1 firing");
    assert_eq!(go(&mut told, 3_000, &[row("a", "slow", Firing, 2_000)]), "", "and not again");
    let two = [row("a", "slow", Acknowledged, 2_000), row("b", "slow", Firing, 3_000)];
    assert_eq!(go(&mut told, 4_000, &two), "edit ⚠️ slow: 1 firing, 1 acknowledged");
    let over = [row("a", "slow", Resolved, 4_500), row("b", "slow", Resolved, 4_600)];
    assert_eq!(go(&mut told, 5_000, &over), "edit ✅ slow: 2 resolved");
    assert_eq!(go(&mut told, 6_000, &over), "");
    // A restart in between knows what is noted, and nothing else.
    let mut told: Told = serde_json::from_str(&serde_json::to_string(&told).unwrap()).unwrap();
    assert_eq!(go(&mut told, 7_000, &over), "");
    let away = [row("c", "down", Resolved, 6_500), row("d", "slow", Firing, 6_600)];
    assert_eq!(
        go(&mut told, 8_000, &away),
        "post ✅ down: 1 resolved; post ⚠️ slow: 1 firing",
        "fired and over while away"
    );
    assert_eq!(
        go(&mut told, 9_000, &[row("e", "slow", Resolved, 6_400)]),
        "edit ⚠️ slow: 1 firing, 1 resolved",
        "seen late"
    );
}

#[test]
fn what_is_silenced_is_no_news_but_ends_where_it_was_told() {
    let mut told = Told::default();
    let firing = || row("a", "slow", State::Firing, 2_000);
    assert_eq!(go(&mut told, 2_000, &[silenced(firing())]), "");
    assert_eq!(go(&mut told, 3_000, &[firing()]), "post ⚠️ slow: 1 firing", "when it is silenced no more");
    assert_eq!(go(&mut told, 4_000, &[silenced(row("a", "slow", State::Resolved, 3_500))]), "edit ✅ slow: 1 resolved");
    assert_eq!(go(&mut told, 5_000, &[silenced(row("b", "slow", State::Resolved, 4_500))]), "");
}

#[test]
fn what_is_noted_stays_within_its_bound() {
    let mut told = Told::default();
    for rule in 0..300 {
        let rows: Vec<AlertRow> =
            (0..10).map(|n| row(&format!("{rule}-{n}"), &format!("r{rule}"), State::Firing, 2_000 + rule)).collect();
        go(&mut told, 2_000, &rows);
    }
    let one: Vec<AlertRow> = (0..900).map(|n| row(&format!("x{n}"), "many", State::Firing, 9_000 + n)).collect();
    go(&mut told, 9_000, &one);
    assert!(told.groups.values().map(|group| group.alerts.len()).sum::<usize>() <= NOTED_MAX);
    let long = "😀".repeat(TEXT_UNITS);
    for group in told.groups.values_mut() {
        group.alerts.values_mut().for_each(|known| {
            (known.summary, known.by, known.runbook) = (cut(&long, TEXT_UNITS), Some(cut(&long, TEXT_UNITS)), None);
        });
    }
    assert!(serde_json::to_string(&told).unwrap().len() < crate::notes::NOTE_BYTES_MAX);
    for (rule, group) in &told.groups {
        let size = message_of(rule, group)["embeds"][0]["description"].as_str().unwrap().encode_utf16().count();
        assert!(size <= 4_096, "{size}");
    }
}

fn check(group: &Group, want: Expect) {
    let message = message_of("down", group);
    want.assert_eq(message["embeds"][0]["description"].as_str().unwrap());
}

#[test]
fn the_worst_comes_first_and_what_is_over_last() {
    let mut known: Vec<Known> = [("a", State::Resolved), ("b", State::Firing), ("c", State::Acknowledged)]
        .iter()
        .map(|(id, state)| Known::of(&row(id, "down", *state, 1_795_000_000_000).alert))
        .collect();
    known[2].by = Some("alice".into());
    let alerts = known.into_iter().enumerate().map(|(at, known)| (at.to_string(), known)).collect();
    check(
        &Group { alerts, ..Group::default() },
        expect![[r#"
            ```
            firing critical: down of b (2026-11-18T11:06:40.000Z)
            acknowledged by alice critical: down of c (2026-11-18T11:06:40.000Z)
            resolved critical: down of a (2026-11-18T11:06:40.000Z)
            ```"#]],
    );
}
