//! Incidents: what the fleet's events say of what failed, in order.

use std::collections::BTreeMap;

use kernel::UnixMs;
use kernel::bus::{Event, FLEET_TOPIC};
use kernel::catalog::{self, AGENT};
use kernel::store::{Entry, Expect, LIST_MAX, Write};
use mcp::prelude::*;

use super::Recovery;
use super::playbooks::PlaybookRun;

/// Where incidents are kept in the store: by their number, so that they are in order.
const SPACE: &str = "incidents";
/// Where it is kept how far the events are taken in.
const CURSOR: (&str, &str) = ("recovery", "events");
/// Events taken in with one commit.
const EVENTS_MAX: usize = 50;
/// Most moments of one incident; what comes between the first and the last of these gives way.
const MOMENTS_MAX: usize = 100;
/// Longest text of a moment, in characters.
const TEXT_MAX: usize = 400;
/// Most incidents that are kept.
const INCIDENTS_MAX: usize = 900;
/// How often a write that lost to another is tried again.
const TRIES_MAX: u32 = 20;

/// What kind of incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A service or an agent failed.
    Failure,
    /// It failed so often that its supervisor has given it up.
    GivenUp,
    /// Calls to a copy of a service were held back: it did not answer.
    Unreachable,
    /// A third party's server failed.
    Upstream,
    /// It was killed to see how long it takes to recover.
    Drill,
}

/// A moment of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// What happened: an event's kind, or what was done.
    pub what: String,
    /// More of it, in words.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub detail: String,
}

/// Something that failed, until it served again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// What failed: a service's name, an agent's after `agent:`, an upstream's after `upstream:`, a copy of a service after `copy:`.
    pub subject: String,
    /// What kind.
    pub kind: Kind,
    /// When it began, in milliseconds since the Unix epoch.
    pub opened_ms: UnixMs,
    /// When it served again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_ms: Option<UnixMs>,
    /// How long that took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recovery_ms: Option<i64>,
    /// How often it failed meanwhile.
    pub failures: u32,
    /// Why it failed last.
    pub cause: String,
    /// When it was handed to people, if it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub escalated_ms: Option<UnixMs>,
    /// The playbooks that were run for it, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub playbooks: Vec<PlaybookRun>,
    /// What happened, oldest first.
    pub timeline: Vec<Moment>,
}

/// What [`INCIDENTS`](super::INCIDENTS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentsRequest {
    /// Only those that are not over.
    #[serde(default)]
    pub open: bool,
    /// Only of this subject, as `logging`, `agent:risk` or `upstream:notes`.
    #[serde(default)]
    pub subject: Option<String>,
    /// At most this many, 1 to 200.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: usize,
}

fn fifty() -> usize {
    50
}

/// What [`INCIDENTS`](super::INCIDENTS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct IncidentsResponse {
    /// The incidents, newest first, each with the last moment of its timeline.
    pub incidents: Vec<Incident>,
    /// How many of all that are kept are not over.
    pub open: u64,
}

/// What [`INCIDENT`](super::INCIDENT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentRequest {
    /// Its id, as `inc_00000017`.
    pub id: String,
}

/// What an event says of a subject.
enum Said {
    Failed { kind: Kind, why: String },
    Again,
    Beside,
}

impl Incident {
    pub(super) fn note(&mut self, moment: Moment) {
        if self.timeline.len() >= MOMENTS_MAX {
            self.timeline.remove(MOMENTS_MAX / 2);
        }
        self.timeline.push(moment);
    }

    /// Takes in what an event says.
    fn take(&mut self, said: Said, moment: Moment) {
        let at_ms = moment.at_ms;
        match said {
            Said::Failed { kind, why } => {
                self.failures += 1;
                // A drill stays one, and what was given up is worse than what failed.
                if self.kind != Kind::Drill && kind == Kind::GivenUp {
                    self.kind = kind;
                }
                self.cause = why;
            }
            Said::Again => self.close(at_ms),
            Said::Beside => {}
        }
        self.note(moment);
    }

    pub(super) fn close(&mut self, at_ms: UnixMs) {
        self.resolved_ms = Some(at_ms);
        self.recovery_ms = Some(at_ms - self.opened_ms);
    }
}

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

/// Of whom an event tells, and what.
fn heard(event: &Event) -> Option<(String, Said)> {
    let text = |name: &str| event.data[name].as_str().map(shortened);
    let (family, what) = event.kind.split_once('.')?;
    let why = || text("error").or(text("reason")).unwrap_or_default();
    let subject = match family {
        "service" => text("service")?,
        "agent" => format!("{AGENT}{}", text("agent")?),
        "upstream" => format!("upstream:{}", text("name")?),
        "breaker" => format!("copy:{}", text("instance")?),
        _ => return None,
    };
    let said = match (family, what) {
        ("service" | "agent", "failed") => Said::Failed { kind: Kind::Failure, why: why() },
        ("service" | "agent", "given_up") => Said::Failed { kind: Kind::GivenUp, why: why() },
        ("upstream", "failed") => Said::Failed { kind: Kind::Upstream, why: why() },
        ("breaker", "opened") => Said::Failed { kind: Kind::Unreachable, why: "it does not answer calls".into() },
        ("service" | "agent", "started") | ("upstream", "ready" | "removed") | ("breaker", "closed") => Said::Again,
        ("service" | "agent", "restarting") => Said::Beside,
        _ => return None,
    };
    Some((subject, said))
}

fn read(entry: &Entry) -> Option<Incident> {
    // Another version's words must not hide the others.
    let read = serde_json::from_str(&entry.value);
    read.inspect_err(|error| tracing::warn!(%error, key = entry.key, "stored incident cannot be read")).ok()
}

pub(super) fn text_of<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::internal(error.to_string()))
}

/// The incidents as they were read, and as they are to be written.
struct Book {
    revisions: BTreeMap<String, u64>,
    incidents: BTreeMap<String, Incident>,
    changed: Vec<String>,
    next: u64,
}

impl Book {
    fn of(entries: &[Entry]) -> Self {
        let revisions = entries.iter().map(|entry| (entry.key.clone(), entry.revision)).collect();
        let incidents: BTreeMap<String, Incident> =
            entries.iter().filter_map(|entry| Some((entry.key.clone(), read(entry)?))).collect();
        let last = entries.last().and_then(|entry| entry.key.strip_prefix("inc_")?.parse::<u64>().ok());
        Self { revisions, incidents, changed: Vec::new(), next: last.unwrap_or(0) + 1 }
    }

    fn open_of(&self, subject: &str) -> Option<String> {
        let open = |incident: &&Incident| incident.subject == subject && incident.resolved_ms.is_none();
        self.incidents.values().rfind(open).map(|incident| incident.id.clone())
    }

    fn open(&mut self, subject: String, kind: Kind, moment: Moment) -> String {
        let id = format!("inc_{:08}", self.next);
        self.next += 1;
        let (opened_ms, cause) = (moment.at_ms, moment.detail.clone());
        let incident = Incident {
            id: id.clone(),
            subject,
            kind,
            opened_ms,
            resolved_ms: None,
            recovery_ms: None,
            failures: 0,
            cause,
            escalated_ms: None,
            playbooks: Vec::new(),
            timeline: Vec::new(),
        };
        self.incidents.insert(id.clone(), incident);
        id
    }

    fn take(&mut self, event: &Event) {
        let Some((subject, said)) = heard(event) else { return };
        let detail = match &said {
            Said::Failed { why, .. } => why.clone(),
            _ => event.data["reason"].as_str().map(shortened).unwrap_or_default(),
        };
        let moment = Moment { at_ms: event.at_ms, what: event.kind.clone(), detail };
        let id = match (self.open_of(&subject), &said) {
            (Some(id), _) => id,
            (None, Said::Failed { kind, .. }) => self.open(subject, *kind, moment.clone()),
            // Nothing had failed.
            (None, _) => return,
        };
        if let Some(incident) = self.incidents.get_mut(&id) {
            incident.take(said, moment);
        }
        if !self.changed.contains(&id) {
            self.changed.push(id);
        }
    }

    fn writes(&self) -> Result<Vec<Write>, Fault> {
        let write = |id: &String| {
            let incident = self.incidents.get(id).ok_or_else(|| Fault::internal("an incident went missing"))?;
            let expect = self.revisions.get(id).map_or(Expect::Absent, |revision| Expect::Revision(*revision));
            Ok(Write::put(SPACE, id, text_of(incident)?).expecting(expect))
        };
        self.changed.iter().map(write).collect()
    }
}

impl Recovery {
    async fn book(&self) -> Result<Book, Fault> {
        Ok(Book::of(&self.store.list(SPACE, "", None, LIST_MAX).await?))
    }

    /// Takes in the events that have not been.
    pub(super) async fn take_events(&self) -> Result<(), Fault> {
        loop {
            let (space, key) = CURSOR;
            let cursor = self.store.get(space, key).await?;
            let Some(entry) = cursor else {
                // What happened before there was anybody to write it down is not told.
                let topics = self.bus.topics().await?;
                let newest = topics.iter().find(|topic| topic.name == FLEET_TOPIC).map_or(0, |topic| topic.last_seq);
                self.move_on(Vec::new(), newest, Expect::Absent).await?;
                continue;
            };
            let after = entry.value.parse().unwrap_or(0);
            let events = self.bus.read(FLEET_TOPIC, after, EVENTS_MAX).await?;
            let Some(last) = events.last() else { return self.forget_old().await };
            let mut book = self.book().await?;
            events.iter().for_each(|event| book.take(event));
            self.move_on(book.writes()?, last.seq, Expect::Revision(entry.revision)).await?;
        }
    }

    /// Writes incidents and how far the events are taken in, in one commit. Another copy's turn is as good as ours.
    async fn move_on(&self, mut writes: Vec<Write>, seq: u64, expect: Expect) -> Result<(), Fault> {
        let (space, key) = CURSOR;
        writes.push(Write::put(space, key, seq.to_string()).expecting(expect));
        match self.store.commit(writes).await {
            Err(fault) if fault.code == Code::Conflict => Ok(()),
            done => done.map(drop),
        }
    }

    /// Removes incidents that were over long ago, and the oldest when there are too many.
    async fn forget_old(&self) -> Result<(), Fault> {
        let book = self.book().await?;
        let before_ms = self.clock.now_ms() - i64::from(self.config.incident_days) * 86_400_000;
        let surplus = book.incidents.len().saturating_sub(INCIDENTS_MAX);
        let old = |(number, incident): &(usize, &Incident)| {
            *number < surplus || incident.resolved_ms.is_some_and(|over_ms| over_ms < before_ms)
        };
        let old: Vec<Write> = (book.incidents.values().enumerate().filter(old))
            .map(|(_, incident)| Write::delete(SPACE, &incident.id))
            .take(EVENTS_MAX)
            .collect();
        if old.is_empty() { Ok(()) } else { self.store.commit(old).await.map(drop) }
    }

    /// How many incidents are open, and how many of them people were handed.
    pub(super) async fn open_incidents(&self) -> Result<(usize, usize), Fault> {
        let book = self.book().await?;
        let open = || book.incidents.values().filter(|incident| incident.resolved_ms.is_none());
        Ok((open().count(), open().filter(|incident| incident.escalated_ms.is_some()).count()))
    }

    /// Opens an incident for what is about to be done to a subject, or adds to the one that is open. Returns its id.
    pub(super) async fn begin(&self, subject: &str, kind: Kind, what: &str, detail: &str) -> Result<String, Fault> {
        let id = self.write(subject, Some(kind), what, detail).await?;
        id.ok_or_else(|| Fault::internal("an incident was not opened"))
    }

    /// Adds to the incident of a subject, if one is open.
    pub(super) async fn note(&self, subject: &str, what: &str, detail: &str) -> Result<(), Fault> {
        self.write(subject, None, what, detail).await.map(drop)
    }

    async fn write(
        &self,
        subject: &str,
        open: Option<Kind>,
        what: &str,
        detail: &str,
    ) -> Result<Option<String>, Fault> {
        let moment = self.moment(what, detail);
        for _ in 0..TRIES_MAX {
            let mut book = self.book().await?;
            let id = match (book.open_of(subject), open) {
                (Some(id), _) => id,
                (None, Some(kind)) => book.open(subject.into(), kind, moment.clone()),
                (None, None) => return Ok(None),
            };
            if let Some(incident) = book.incidents.get_mut(&id) {
                incident.note(moment.clone());
            }
            book.changed.push(id.clone());
            match self.store.commit(book.writes()?).await {
                Err(fault) if fault.code == Code::Conflict => {}
                done => return done.map(|_| Some(id)),
            }
        }
        Err(busy())
    }

    /// A moment that is now.
    pub(super) fn moment(&self, what: &str, detail: &str) -> Moment {
        Moment { at_ms: self.clock.now_ms(), what: what.into(), detail: shortened(detail) }
    }

    /// Changes an incident, whether it is over or not. What `change` answers with `false` is left as it is.
    pub(super) async fn amend(
        &self,
        id: &str,
        change: impl Fn(&mut Incident) -> Result<bool, Fault>,
    ) -> Result<Incident, Fault> {
        for _ in 0..TRIES_MAX {
            let (entry, mut incident) = self.kept(id).await?;
            if !change(&mut incident)? {
                return Ok(incident);
            }
            let write = Write::put(SPACE, id, text_of(&incident)?).expecting(Expect::Revision(entry.revision));
            match self.store.commit(vec![write]).await {
                Err(fault) if fault.code == Code::Conflict => {}
                done => return done.map(|_| incident),
            }
        }
        Err(busy())
    }

    async fn kept(&self, id: &str) -> Result<(Entry, Incident), Fault> {
        let entry = if id.is_empty() { None } else { self.store.get(SPACE, id).await? };
        let found = entry.and_then(|entry| Some((read(&entry)?, entry)));
        let shown: String = id.chars().take(40).flat_map(char::escape_debug).collect();
        let none = || Fault::not_found(format!("no incident `{shown}`")).hint("incidents lists them");
        found.map(|(incident, entry)| (entry, incident)).ok_or_else(none)
    }

    /// The open incident of a subject.
    pub(super) async fn open_of(&self, subject: &str) -> Result<Option<String>, Fault> {
        Ok(self.book().await?.open_of(subject))
    }

    /// All incidents, oldest first.
    pub(super) async fn every_incident(&self) -> Result<Vec<Incident>, Fault> {
        Ok(self.book().await?.incidents.into_values().collect())
    }

    pub(super) async fn incidents(
        self: Arc<Self>,
        request: IncidentsRequest,
        _ctx: Ctx,
    ) -> Result<IncidentsResponse, ToolError> {
        if !(1..=200).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint("1 to 200").into());
        }
        let book = self.book().await?;
        let open = book.incidents.values().filter(|incident| incident.resolved_ms.is_none()).count() as u64;
        let fits = |incident: &Incident| {
            (!request.open || incident.resolved_ms.is_none())
                && request.subject.as_ref().is_none_or(|subject| *subject == incident.subject)
        };
        let incidents = book.incidents.into_values().rev().filter(fits).take(request.limit);
        let brief = incidents.map(|mut incident| {
            incident.timeline = incident.timeline.pop().into_iter().collect();
            incident
        });
        Ok(IncidentsResponse { incidents: brief.collect(), open })
    }

    pub(super) async fn incident(self: Arc<Self>, request: IncidentRequest, _ctx: Ctx) -> Result<Incident, ToolError> {
        Ok(self.kept(&request.id).await?.1)
    }
}

fn busy() -> Fault {
    Fault::conflict("incidents are being written all the time").hint("try again")
}

/// Whether a subject is a service or an agent of the catalog; which.
pub(super) fn service_of(role: &str) -> Result<(kernel::fleet::Kind, &'static str), Fault> {
    let known: Vec<String> = catalog::servers().chain(catalog::agents()).map(catalog::Service::role).collect();
    let service = catalog::servers().chain(catalog::agents()).find(|service| service.role() == role);
    service.map(|service| (service.kind, service.name)).ok_or_else(|| {
        let shown: String = role.chars().take(60).flat_map(char::escape_debug).collect();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let fault = Fault::not_found(format!("no service `{shown}`"));
        match kernel::limits::nearest(role, &names) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("a server's name, or agent: and an agent's"),
        }
    })
}
