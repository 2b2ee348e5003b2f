//! What is to be done next about an incident: a pure function of what its timeline tells and of the time.

use kernel::UnixMs;
use kernel::catalog::COORDINATOR;
use servers::recovery::{BreakerRow, Incident, Kind, ListSnapshotsResponse, Moment};

use super::Config;

/// What the subject begins with of an incident of a copy to which calls are held back.
pub(super) const COPY: &str = "copy:";
/// The same of a third party's server.
const UPSTREAM: &str = "upstream:";
/// What the playbook stands on: these are restarted by hand.
const UNDER_PLAYBOOKS: [&str; 2] = ["orchestration", COORDINATOR];
/// Whose settings are which part of a snapshot.
const PARTS: [(&str, &str); 6] = [
    ("data-providers", "prices"),
    ("legacy", "aliases"),
    ("logging", "logging"),
    ("monitoring", "alerts"),
    ("orchestration", "workflows"),
    ("scripts", "scripts"),
];
/// An hour, in milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// Longest cause that is repeated in a reason, in characters.
const CAUSE_CHARS_MAX: usize = 200;
/// How often a pause doubles at most.
const DOUBLINGS_MAX: usize = 10;

/// A measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// None now, and why.
    Rest(String),
    /// The playbook is run, or goes on.
    Playbook,
    /// A service or an agent is restarted.
    Restart { service: String },
    /// Calls to a copy are let through.
    Reset { service: String, copy: String },
    /// The incident is over, and why.
    Resolve(String),
    /// People are asked, and why.
    Escalate(String),
}

/// How often the same was recovered within the hour before an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lately(pub(super) usize);

impl Lately {
    /// Of one of these incidents. What a supervisor mends by itself does not count, and neither do drills.
    pub(super) fn of(incident: &Incident, all: &[Incident]) -> Self {
        let before = |one: &&Incident| {
            one.subject == incident.subject
                && one.id < incident.id
                && incident.opened_ms - one.opened_ms < HOUR_MS
                && one.kind != Kind::Drill
                && (matches!(one.kind, Kind::GivenUp | Kind::Unreachable) || !one.playbooks.is_empty())
        };
        Self(all.iter().filter(before).count())
    }
}

/// What the playbook's run for an incident is known by.
pub(super) fn key(incident: &str) -> String {
    format!("recovery-{incident}")
}

/// Why it failed, in not too many words.
pub(super) fn cause(incident: &Incident) -> String {
    incident.cause.chars().take(CAUSE_CHARS_MAX).collect()
}

fn rest(why: &str) -> Step {
    Step::Rest(why.into())
}

fn ms(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000
}

fn times(count: usize) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

/// When it was done so for an incident, oldest first.
fn done<'a>(incident: &'a Incident, what: &'a str) -> impl Iterator<Item = UnixMs> + 'a {
    incident.timeline.iter().filter(move |moment: &&Moment| moment.what == what).map(|moment| moment.at_ms)
}

fn given_up(incident: &Incident) -> bool {
    incident.kind == Kind::GivenUp || incident.timeline.iter().any(|moment| moment.what.ends_with(".given_up"))
}

fn too_often(lately: Lately, config: &Config) -> Option<Step> {
    let often = lately.0 >= config.hourly_max as usize;
    often.then(|| Step::Escalate(format!("it was recovered {} within an hour, and fails again", times(lately.0))))
}

/// What is next for a service, an agent or a third party's server.
pub(super) fn service(incident: &Incident, lately: Lately, config: &Config, now_ms: UnixMs) -> Step {
    if incident.escalated_ms.is_some() {
        return rest("left to people");
    }
    if !given_up(incident) && now_ms - incident.opened_ms < ms(config.patience_seconds) {
        return rest("left to its supervisor");
    }
    if incident.subject.starts_with(UPSTREAM) {
        let why = format!("a third party's server does not come back: {}", cause(incident));
        return Step::Escalate(why);
    }
    if let Some(asked) = too_often(lately, config) {
        return asked;
    }
    if UNDER_PLAYBOOKS.contains(&&*incident.subject) {
        return by_hand(incident, &incident.subject, config, now_ms);
    }
    let key = key(&incident.id);
    let Some(playbook) = incident.playbooks.iter().find(|one| one.key == key) else { return Step::Playbook };
    let run = playbook.run.as_deref().unwrap_or("none");
    match playbook.ended_ms {
        // Begun, as far as is known, and not heard of since.
        None if playbook.run.is_none() => Step::Playbook,
        None if !playbook.asks.is_empty() => Step::Escalate(format!(
            "its playbook asks people: {} (orchestration: approve or reject of {run})",
            playbook.asks.join("; ")
        )),
        None => Step::Rest(format!("playbook {run} goes on")),
        Some(ended_ms) if now_ms - ended_ms < ms(config.settle_seconds) => rest("its playbook has ended"),
        Some(_) => Step::Escalate(format!("its playbook has ended, and it does not serve: {}", cause(incident))),
    }
}

/// What is next where no playbook can be run: restarts with growing pauses.
pub(super) fn by_hand(incident: &Incident, service: &str, config: &Config, now_ms: UnixMs) -> Step {
    let restarts = done(incident, "recovery.restart").count();
    let Some(last_ms) = done(incident, "recovery.restart").last() else {
        return Step::Restart { service: service.into() };
    };
    let pause_ms = ms(config.settle_seconds) << (restarts - 1).min(DOUBLINGS_MAX);
    if now_ms - last_ms < pause_ms {
        return Step::Rest(format!("was restarted {}, and given time", times(restarts)));
    }
    if restarts >= config.restarts_max as usize {
        let why = format!("it was restarted {}, and does not serve: {}", times(restarts), cause(incident));
        return Step::Escalate(why);
    }
    Step::Restart { service: service.into() }
}

/// What is next for a copy to which calls are held back.
pub(super) fn copy(
    incident: &Incident,
    breaker: Option<&BreakerRow>,
    lately: Lately,
    config: &Config,
    now_ms: UnixMs,
) -> Step {
    if incident.escalated_ms.is_some() {
        return rest("left to people");
    }
    let Some(row) = breaker else { return Step::Resolve("nothing holds calls to this copy back any more".into()) };
    if !row.present {
        return Step::Resolve("this copy has ended".into());
    }
    if !row.open {
        return rest("calls go through again");
    }
    if now_ms - incident.opened_ms < ms(config.patience_seconds) {
        return rest("it may answer again by itself");
    }
    if let Some(asked) = too_often(lately, config) {
        return asked;
    }
    match done(incident, "recovery.reset").last() {
        // What was let through lately, and does not answer again, is restarted.
        None if lately.0 == 0 => Step::Reset { service: row.service.clone(), copy: row.instance.clone() },
        Some(reset_ms) if now_ms - reset_ms < ms(config.settle_seconds) => rest("calls were let through again"),
        _ => by_hand(incident, &row.service, config, now_ms),
    }
}

/// Which part of a snapshot has the settings of a subject.
pub(super) fn part_of(subject: &str) -> Option<&'static str> {
    PARTS.iter().find(|(service, _)| *service == subject).map(|(_, part)| *part)
}

/// How people may put settings back that changed within the hour before an incident, in words that go after others.
pub(super) fn way_back(incident: &Incident, listed: &ListSnapshotsResponse, now_ms: UnixMs) -> Option<String> {
    let part = part_of(&incident.subject)?;
    let newest = listed.snapshots.first()?;
    // Since when they are known to be as they are now: not at all yet where the newest snapshot has others.
    let (since_ms, before) = match listed.unchanged.iter().any(|unchanged| unchanged == part) {
        false => (now_ms, listed.snapshots.first()),
        true => {
            let same = listed.snapshots.iter().take_while(|one| one.parts.get(part) == newest.parts.get(part)).count();
            let oldest = same.checked_sub(1).and_then(|place| listed.snapshots.get(place))?;
            (oldest.made_ms, listed.snapshots.get(same))
        }
    };
    let before = before.filter(|one| one.parts.contains_key(part))?;
    (incident.opened_ms - since_ms < HOUR_MS).then(|| {
        format!("; its settings changed lately: rollback_config part={part} snapshot={} puts them back, by an administrator", before.name)
    })
}
