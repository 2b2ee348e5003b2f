//! A sink as a receiver sees it: each thing once, nothing forgotten, whatever happens while it is away.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::monitoring::figure::Figure;
use crate::monitoring::rules::Severity;
use crate::monitoring::silences::Matcher;

/// An alert of `rule` on a server.
pub(in crate::monitoring) fn alert(id: &str, rule: &str, server: &str, state: State, severity: Severity) -> Alert {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Alert {
        id: id.into(),
        rule: rule.into(),
        labels: [label("alertname", rule), label("server", server), label("severity", severity.as_str())].into(),
        severity,
        summary: format!("{rule} of {server}"),
        runbook: Some("look".into()),
        state,
        value: Figure(1.0),
        since_ms: 0,
        fired_ms: Some(1_000),
        acknowledged: None,
        quiet_since_ms: None,
        until_ms: None,
        resolved_ms: None,
        resolution: None,
        updated_ms: 1_000,
    }
}

/// A sink without any wishes.
pub(in crate::monitoring) fn sink(kind: SinkKind) -> Sink {
    Sink {
        kind,
        url: Some("http://localhost/x".into()),
        url_file: None,
        token_file: None,
        secret_file: None,
        severity: Severity::Info,
        matchers: Vec::new(),
        every_seconds: 10,
        repeat_seconds: None,
    }
}

fn firing(id: &str) -> Alert {
    alert(id, "latency", id, State::Firing, Severity::Warning)
}

/// A sink, how the alerts are, and the time.
struct Line {
    sink: Sink,
    told: Told,
    seen: Seen,
    now_ms: UnixMs,
}

impl Line {
    fn new(sink: Sink) -> Self {
        let seen = Seen::default();
        Self { told: beginning(&seen), sink, seen, now_ms: 1_000_000 }
    }

    /// What is due after so many seconds, and taken: `id state` each.
    fn after(&mut self, seconds: i64) -> String {
        self.now_ms += seconds * 1_000;
        let Some(due) = due(&self.sink, &self.told, &self.seen, self.now_ms) else { return "nothing".into() };
        self.told = due.after;
        let again = if due.repeated { "again: " } else { "" };
        let each = due.alerts.iter().map(|alert| format!("{} {}", alert.id, alert.state.as_str()));
        format!("{again}{}", each.collect::<Vec<_>>().join(", "))
    }

    fn stands(&mut self, id: &str, state: State) {
        self.seen.open.iter_mut().find(|alert| alert.id == id).unwrap().state = state;
    }

    fn over(&mut self, id: &str) {
        let at = self.seen.open.iter().position(|alert| alert.id == id).unwrap();
        let alert = Alert { state: State::Resolved, ..self.seen.open.remove(at) };
        let revision = self.seen.over.last().map_or(10, |(revision, _)| revision + 10);
        self.seen.over.push((revision, alert));
    }
}

#[test]
fn each_state_is_told_once_and_what_comes_together_in_one_message() {
    let mut line = Line::new(sink(SinkKind::Webhook));
    assert_eq!(line.after(10), "nothing");
    line.seen.open = vec![firing("a"), Alert { state: State::Pending, ..firing("p") }];
    assert_eq!(line.after(10), "a firing");
    line.seen.open.push(firing("b"));
    line.seen.open.push(Alert { severity: Severity::Critical, ..firing("c") });
    assert_eq!(line.after(9), "nothing", "not before its time");
    assert_eq!(line.after(1), "c firing, b firing");
    line.stands("a", State::Acknowledged);
    line.over("b");
    assert_eq!(line.after(10), "a acknowledged, b resolved");
    assert_eq!(line.after(1_000), "nothing");
    line.stands("a", State::Firing);
    assert_eq!(line.after(10), "a firing", "nobody has it any more");
}

#[test]
fn what_began_and_ended_while_the_sink_was_away_is_told_all_the_same() {
    let mut line = Line::new(sink(SinkKind::Webhook));
    line.seen.open = vec![firing("a")];
    line.over("a");
    assert_eq!(line.after(3_600), "a resolved");
    assert_eq!(line.after(3_600), "nothing");
    // What was over before the sink was there is not its business.
    let mut late = Line { told: beginning(&line.seen), ..Line::new(sink(SinkKind::Webhook)) };
    late.seen = line.seen;
    assert_eq!(late.after(10), "nothing");
}

#[test]
fn what_nobody_takes_up_is_told_again() {
    let mut line = Line::new(sink(SinkKind::Webhook));
    line.seen.open = vec![firing("a"), firing("b")];
    assert_eq!(line.after(10), "a firing, b firing");
    line.stands("b", State::Acknowledged);
    assert_eq!(line.after(10), "b acknowledged");
    assert_eq!(line.after(4 * 3_600 - 1), "nothing");
    assert_eq!(line.after(1), "again: a firing");
    assert_eq!(line.after(4 * 3_600), "again: a firing");
    line.sink.repeat_seconds = Some(0);
    assert_eq!(line.after(40 * 3_600), "nothing");
    let mut reminded = Line::new(sink(SinkKind::Alertmanager));
    reminded.seen.open = vec![Alert { state: State::Acknowledged, ..firing("a") }];
    assert_eq!((reminded.after(10), reminded.after(60)), ("a acknowledged".into(), "again: a acknowledged".into()));
}

#[test]
fn sinks_hear_what_they_want_to() {
    let mut line = Line::new(Sink {
        severity: Severity::Critical,
        matchers: vec![Matcher::is("server", "a")],
        ..sink(SinkKind::Ntfy)
    });
    let critical = |id: &str, server| alert(id, "down", server, State::Firing, Severity::Critical);
    line.seen.open = vec![critical("1", "a"), critical("2", "b"), firing("a")];
    assert_eq!(line.after(10), "1 firing");
    line.over("2");
    assert_eq!(line.after(10), "nothing");
}

#[test]
fn the_silent_are_not_told_of_until_the_silence_ends() {
    let mut line = Line::new(sink(SinkKind::Webhook));
    let silence = |until_ms| Silence {
        id: "s".into(),
        matchers: vec![Matcher::is("server", "a")],
        by: "ann".into(),
        reason: "works".into(),
        from_ms: 0,
        until_ms,
        ended_by: None,
    };
    line.seen.silences = vec![silence(line.now_ms + 600_000)];
    line.seen.open = vec![firing("a"), firing("b")];
    assert_eq!(line.after(10), "b firing");
    line.over("b");
    assert_eq!((line.after(580), line.after(10)), ("b resolved".into(), "a firing".into()));
    // Told of, then silent, then over while silent: nobody is told, and nothing is left behind.
    line.seen.silences = vec![silence(line.now_ms + 600_000)];
    line.over("a");
    assert_eq!(line.after(10), "nothing");
}

#[test]
fn a_server_that_is_down_says_enough() {
    let mut line = Line::new(sink(SinkKind::Webhook));
    line.seen.inhibitions = Inhibition::usual();
    let down = |id: &str, server| alert(id, "service-down", server, State::Firing, Severity::Critical);
    line.seen.open = vec![
        down("1", "a"),
        firing("a"),
        firing("b"),
        alert("3", "error-ratio", "a", State::Firing, Severity::Critical),
    ];
    assert_eq!(line.after(10), "1 firing, 3 firing, b firing");
    line.over("1");
    assert_eq!(line.after(10), "a firing, 1 resolved", "now it is news");
}

#[test]
fn a_message_is_bounded_and_the_rest_follows() {
    let mut line = Line::new(sink(SinkKind::Webhook));
    line.seen.open = (0..120).map(|n| firing(&format!("{n:03}"))).collect();
    let mut lens = || line.after(10).split(", ").filter(|text| *text != "nothing").count();
    assert_eq!([lens(), lens(), lens(), lens()], [50, 50, 20, 0]);
}

#[test]
fn a_heartbeat_stops_with_the_evaluation() {
    let mut line = Line::new(sink(SinkKind::Heartbeat));
    line.seen.open = vec![firing("a")];
    assert_eq!(line.after(0), "nothing", "nobody evaluates");
    line.seen.evaluated_ms = Some(line.now_ms);
    assert_eq!((line.after(0), line.after(59)), (String::new(), "nothing".into()));
    line.seen.evaluated_ms = Some(line.now_ms);
    assert_eq!((line.after(1), line.after(60)), (String::new(), "nothing".into()), "evaluated a minute ago");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Fire,
    Acknowledge(usize),
    Undo(usize),
    End(usize),
    /// The sink is told, and takes it or not.
    Tell(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Fire),
        1 => (0..200usize).prop_map(Step::Acknowledge),
        1 => (0..200usize).prop_map(Step::Undo),
        3 => (0..200usize).prop_map(Step::End),
        2 => any::<bool>().prop_map(Step::Tell),
    ];
    prop::collection::vec(step, 0..300)
}

/// What a receiver knows.
#[derive(Default)]
struct Receiver {
    known: BTreeMap<String, State>,
    over: BTreeSet<String>,
}

impl Receiver {
    fn takes(&mut self, due: &Due) {
        assert!(!due.alerts.is_empty() && due.alerts.len() <= ALERTS_MAX && !due.repeated);
        for alert in &due.alerts {
            assert!(!self.over.contains(&alert.id), "{} was over", alert.id);
            if alert.state == State::Resolved {
                self.known.remove(&alert.id);
                self.over.insert(alert.id.clone());
            } else {
                let was = self.known.insert(alert.id.clone(), alert.state);
                assert_ne!(was, Some(alert.state), "{} twice", alert.id);
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_receiver_knows_all_in_the_end_and_hears_nothing_twice(steps in steps()) {
        let mut line = Line::new(Sink { repeat_seconds: Some(0), ..sink(SinkKind::Webhook) });
        let (mut receiver, mut fired) = (Receiver::default(), 0);
        let tell = |line: &mut Line, receiver: &mut Receiver| {
            line.now_ms += 10_000;
            let due = due(&line.sink, &line.told, &line.seen, line.now_ms);
            prop_assert_eq!(due.is_some(), waiting(&line.sink, &line.told, &line.seen, line.now_ms) > 0);
            if let Some(due) = &due {
                receiver.takes(due);
                line.told = due.after.clone();
            }
            Ok(due.is_some())
        };
        for step in steps {
            let one = |line: &Line, n: usize| Some(line.seen.open.get(n % line.seen.open.len().max(1))?.id.clone());
            match step {
                Step::Fire => {
                    fired += 1;
                    line.seen.open.push(firing(&fired.to_string()));
                }
                Step::Acknowledge(n) => one(&line, n).into_iter().for_each(|id| line.stands(&id, State::Acknowledged)),
                Step::Undo(n) => one(&line, n).into_iter().for_each(|id| line.stands(&id, State::Firing)),
                Step::End(n) => one(&line, n).into_iter().for_each(|id| line.over(&id)),
                Step::Tell(false) => {}
                Step::Tell(true) => { tell(&mut line, &mut receiver)?; }
            }
        }
        while tell(&mut line, &mut receiver)? {}
        let open: BTreeMap<String, State> = line.seen.open.iter().map(|alert| (alert.id.clone(), alert.state)).collect();
        prop_assert_eq!(receiver.known, open.clone());
        prop_assert_eq!(receiver.over.len() + open.len(), fired);
        prop_assert_eq!(line.told.alerts, open);
    }
}
