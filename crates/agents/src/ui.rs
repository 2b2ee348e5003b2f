//! `ui`: what people look at and are told, kept up: views are made anew so that who watches one hears of changes, notifications reach the sinks of
//! alerts that they are meant for, and reports are rendered when somebody, or a schedule, asks for one.
//!
//! It changes nothing but announcements and notifications. Which notifications it has passed on stands in its notes, written down after each, and
//! each is announced under its own key: a restart loses none, and tells none twice while it stands.

mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Access, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use servers::monitoring::{ANNOUNCE, AnnounceRequest};
use servers::ui::{NOTIFICATIONS, Notification, OverviewRequest, REFRESH, Wanted};

use crate::agent::{Agent, Duties, When};
use crate::hands::Hands;
use crate::jobs::{Job, Jobs};

/// The note of which notifications were passed on.
const PASSED_ON: &str = "passed_on";
/// The kind of notifications that reports are.
const REPORT: &str = "report";
/// Longest announcement, in bytes: what monitoring takes is a little more.
const ANNOUNCED_BYTES_MAX: usize = 1_000;
/// Most notifications that one run passes on; the others wait for the next.
const AT_ONCE: usize = 20;
/// Most that are looked at.
const LOOKED_AT: usize = 200;
/// How much of a notification's text is announced, in characters.
const ANNOUNCED_CHARS: usize = 200;

/// `[agents.ui]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often the views are made anew, in seconds: 10 to 3,600. They are at once when a service, an alert or an incident changes.
    pub refresh_seconds: u32,
    /// How often is looked for notifications that the sinks of alerts are to be told, in seconds: 1 to 300.
    pub deliver_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { refresh_seconds: 60, deliver_seconds: 10 }
    }
}

/// The agent.
pub struct Ui {
    config: Config,
}

impl Agent for Ui {
    const NAME: &'static str = "ui";
    type Config = Config;

    fn new(config: Config) -> Result<Self, Fault> {
        let bounds = [
            ("refresh_seconds", config.refresh_seconds, 10, 3_600),
            ("deliver_seconds", config.deliver_seconds, 1, 300),
        ];
        match bounds.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value)) {
            None => Ok(Self { config }),
            Some((name, value, min, max)) => {
                Err(Fault::invalid(format!("agents.ui.{name} is {value}")).hint(format!("{min} to {max}")))
            }
        }
    }

    fn duties(&self, set: &mut Duties<Self>) {
        let seconds = |seconds: u32| When::every(Duration::from_secs(seconds.into()));
        set.add(
            "deliver",
            "Has notifications announced at the sinks of alerts that are meant for them.",
            seconds(self.config.deliver_seconds),
            Self::deliver,
        );
        set.add(
            "refresh",
            "Makes the views anew, so that who watches one hears that it changed.",
            seconds(self.config.refresh_seconds).or_on(&["alert.", "service.", "incident."]),
            Self::refresh,
        );
    }

    fn jobs(&self, set: &mut Jobs<Self>) {
        let report = Job::new(
            "report",
            "Renders a report of a span (overview, trading or incidents) as Markdown and HTML, and keeps it as a notification.",
            Access::Operate,
        );
        set.add(report.text("report").within(Duration::from_secs(120)), Self::report);
    }
}

impl Ui {
    async fn deliver(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        let wanted = Wanted { all: true, sinks: true, limit: Some(LOOKED_AT), ..Wanted::default() };
        let mut meant = hands.call(NOTIFICATIONS, &wanted).await?.notifications;
        // The oldest first: they are told in the order in which they were said.
        meant.reverse();
        let mut passed_on = hands.notes().read::<BTreeSet<String>>(PASSED_ON).await?;
        // What is kept no more needs no note.
        passed_on.value.retain(|id| meant.iter().any(|one| one.id == *id));
        let mut told = 0;
        for one in meant.iter().filter(|one| !passed_on.value.contains(&one.id)).take(AT_ONCE).collect::<Vec<_>>() {
            let request = AnnounceRequest {
                key: one.id.clone(),
                severity: one.level,
                summary: summary_of(one),
                runbook: Some(format!("notifications of ui has the whole text: {}", one.id)),
            };
            hands.call(ANNOUNCE, &request).await?;
            passed_on.value.insert(one.id.clone());
            hands.notes().write(PASSED_ON, &mut passed_on).await?;
            told += 1;
        }
        Ok(if told == 0 { "nothing to pass on".into() } else { format!("{told} notifications passed on") })
    }

    async fn refresh(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        let made = hands.call(REFRESH, &OverviewRequest {}).await?;
        Ok(format!("{} views made anew", made.views))
    }
}

/// What is announced of a notification: its title, and the beginning of its text.
fn summary_of(one: &Notification) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = one.text.chars().take(ANNOUNCED_CHARS).map(plain).collect();
    // A report begins with its own title.
    let alone = one.kind == REPORT || text.trim().is_empty();
    let mut summary = if alone { one.title.clone() } else { format!("{}: {}", one.title, text.trim()) };
    summary.truncate(summary.floor_char_boundary(ANNOUNCED_BYTES_MAX));
    summary
}
