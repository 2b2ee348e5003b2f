//! How the fleet stands: what `/status`, `/servers` and `/agents` and the coordinator's tools tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kernel::catalog::{self, SERVICES};
use kernel::fleet::{Instance, Kind};
use kernel::health::{Check, Report, Status};
use kernel::offers::{Offer, Offers};
use kernel::{Code, Fault, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::{Gateway, SERVE};
use crate::part::Origin;
use crate::upstream::UpstreamStatus;

/// How long one look at a service or a part of the infrastructure may take.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// The whole fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemStatus {
    /// Healthy when every service and every part of the infrastructure is.
    pub status: Status,
    /// The mode the fleet was started in: full, minimal, dev, or serve.
    pub mode: String,
    /// The binary's version.
    pub version: String,
    /// Seconds since this coordinator was started.
    pub uptime_seconds: u64,
    /// The MCP servers.
    pub servers: Tally,
    /// The agents.
    pub agents: Tally,
    /// The upstream servers.
    pub upstreams: Tally,
    /// What the services stand on, by its role: store, bus, queue, audit, logs, registry, chain; and limits, fanout and events where
    /// there is something for them beside the database.
    pub infrastructure: BTreeMap<String, Standing>,
    /// How many alerts fire, by severity; absent while nothing watches.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alerts: Option<BTreeMap<String, u64>>,
}

/// How many stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// All.
    pub total: u64,
    /// Serve.
    pub healthy: u64,
    /// Serve with something missing.
    pub degraded: u64,
    /// Are being started or stopped.
    pub changing: u64,
    /// Do not serve.
    pub down: u64,
}

/// How one part of the infrastructure stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// How.
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// What serves it, where there is a choice: `SQLite`, or another with its place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backend: Option<String>,
    /// How long the look took, in microseconds.
    pub latency_us: u64,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Server or agent.
    pub kind: Kind,
    /// What it is for.
    pub about: String,
    /// Its port in the catalog.
    pub port: u16,
    /// Where it answers; absent when nothing of it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// The best of its instances.
    pub status: Status,
    /// Since when it is lost: the last sign of life of its last copy, whose process ended without a word, in milliseconds since the Unix
    /// epoch. It is forgotten after a day.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost_ms: Option<UnixMs>,
    /// How many copies run.
    pub instances: u64,
    /// The version it runs in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// Seconds since its oldest copy was started.
    pub uptime_seconds: u64,
    /// How often its supervisors have restarted it.
    pub restarts: u64,
    /// Why a copy of it last stopped or failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
    /// Its tools, by name.
    pub tools: Vec<String>,
    /// The types of task that it does, by name: of an agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_types: Vec<String>,
}

/// One third party's server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamRow {
    /// How it stands, in the fleet's words.
    pub status: Status,
    /// What is known of it.
    #[serde(flatten)]
    pub upstream: UpstreamStatus,
}

/// One service in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDetail {
    /// What lists tell of it.
    #[serde(flatten)]
    pub row: ServiceRow,
    /// What it looked at itself.
    pub checks: Vec<Check>,
    /// Each copy; of a service that is lost, the last one.
    pub copies: Vec<Instance>,
}

impl Tally {
    /// Counts.
    pub fn of(all: impl Iterator<Item = Status>) -> Self {
        let mut tally = Self::default();
        for status in all {
            tally.total += 1;
            match status {
                Status::Healthy => tally.healthy += 1,
                Status::Degraded => tally.degraded += 1,
                Status::Starting | Status::Stopping => tally.changing += 1,
                Status::Down | Status::Failed => tally.down += 1,
            }
        }
        tally
    }
}

impl Gateway {
    /// How the whole fleet stands.
    pub async fn status(&self) -> SystemStatus {
        let (servers, agents, infrastructure, alerts) =
            tokio::join!(self.services(Kind::Server), self.services(Kind::Agent), self.infrastructure(), self.alerts());
        let upstreams = self.upstream_rows();
        let services = servers.iter().chain(&agents).map(|row| row.status);
        // A chain counts through the servers that stand on it: a fleet without them is whole without it.
        let parts = infrastructure.iter().filter(|(name, _)| *name != "chain").map(|(_, standing)| standing.status);
        let worst = services.chain(parts).max();
        // The fleet itself serves as long as this code runs: what is down elsewhere degrades it.
        let status = worst.filter(|worst| *worst != Status::Healthy).map_or(Status::Healthy, |_| Status::Degraded);
        SystemStatus {
            status,
            mode: self.mode.clone(),
            version: self.shared.version.into(),
            uptime_seconds: self.seconds_since(self.started_ms),
            servers: Tally::of(servers.iter().map(|row| row.status)),
            agents: Tally::of(agents.iter().map(|row| row.status)),
            upstreams: Tally::of(upstreams.iter().map(|one| one.status)),
            infrastructure,
            alerts,
        }
    }

    /// Every upstream of this fleet, by name.
    pub fn upstream_rows(&self) -> Vec<UpstreamRow> {
        // Before they are started, there are none.
        let all = self.upstreams().map(|all| all.list()).unwrap_or_default();
        all.into_iter().map(|upstream| UpstreamRow { status: upstream.state.health(), upstream }).collect()
    }

    /// Every server, or every agent, of this fleet, in the catalog's order.
    pub async fn services(&self, kind: Kind) -> Vec<ServiceRow> {
        let instances = self.instances().await;
        let names = self.service_names(kind, &instances);
        let mut offers = if kind == Kind::Agent { self.offers().await } else { BTreeMap::new() };
        join_all(names.into_iter().map(|name| {
            let (copies, task_types) = (copies_of(&instances, kind, &name), offers.remove(&name).unwrap_or_default());
            async move { ServiceRow { task_types, ..self.detail(kind, name, copies).await.row } }
        }))
        .await
    }

    /// What agents say that they do.
    pub fn offered(&self) -> Offers {
        Offers::new(self.ports.store.clone(), self.ports.clock.clone())
    }

    /// The types of task that each agent does.
    async fn offers(&self) -> BTreeMap<String, Vec<String>> {
        let known = self.offered().all().await;
        let known = known.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "what agents do cannot be read");
            BTreeMap::new()
        });
        let names = |offer: Offer| offer.types.into_iter().map(|of| of.name).collect();
        known.into_iter().map(|(agent, offer)| (agent, names(offer))).collect()
    }

    /// One service in full.
    ///
    /// # Errors
    /// When this fleet has no such service.
    pub async fn service(&self, kind: Kind, name: &str) -> Result<ServiceDetail, Fault> {
        let instances = self.instances().await;
        let names = self.service_names(kind, &instances);
        if !names.iter().any(|known| known == name) {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let hint = match kernel::limits::nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of {}", known.join(", ")),
            };
            return Err(Fault::not_found(format!("no service `{name}`")).hint(hint));
        }
        let mut detail = self.detail(kind, name.into(), copies_of(&instances, kind, name)).await;
        if kind == Kind::Agent {
            detail.row.task_types = self.offers().await.remove(name).unwrap_or_default();
        }
        if self.local(name).is_none() || kind == Kind::Agent {
            detail.checks = self.checks_elsewhere(&detail.copies).await;
        }
        Ok(detail)
    }

    /// What copies in other processes say of what they depend on; with several, each check names its copy.
    async fn checks_elsewhere(&self, copies: &[Instance]) -> Vec<Check> {
        // A worker in another program has no door to look at.
        let looked_at = |copy: &&Instance| copy.lost_ms.is_none() && !copy.url.is_empty();
        let looks = copies.iter().filter(looked_at).map(|copy| async move {
            let report = look("health", self.reach.health(copy, &self.ports.tasks)).await.and_then(|report| report);
            let checks =
                report.map_or_else(|fault| vec![Check::down("health", fault.to_string())], |report| report.checks);
            (copy, checks)
        });
        let named = |copy: &Instance, check: Check| match copies.len() {
            1 => check,
            _ => Check { name: format!("{} {}", copy.id, check.name), ..check },
        };
        let looked = join_all(looks).await.into_iter();
        looked.flat_map(|(copy, checks)| checks.into_iter().map(move |check| named(copy, check))).collect()
    }

    /// Every copy of every service that the registry knows.
    pub async fn instances(&self) -> Vec<Instance> {
        self.ports.fleet.instances().await.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "the registry cannot be read");
            Vec::new()
        })
    }

    fn service_names(&self, kind: Kind, instances: &[Instance]) -> Vec<String> {
        let mut names: BTreeSet<String> =
            instances.iter().filter(|copy| copy.kind == kind).map(|copy| copy.service.clone()).collect();
        if kind == Kind::Server {
            names.extend(self.locals().iter().map(|service| service.name.to_owned()));
        }
        let expected = self.expected.iter().filter(|service| service.kind == kind);
        names.extend(expected.map(|service| service.name.to_owned()));
        let mut names: Vec<String> = names.into_iter().collect();
        let place = |name: &str| SERVICES.iter().position(|service| service.kind == kind && service.name == name);
        names.sort_by_cached_key(|name| (place(name).unwrap_or(usize::MAX), name.clone()));
        names
    }

    async fn detail(&self, kind: Kind, name: String, copies: Vec<Instance>) -> ServiceDetail {
        let facts = SERVICES.iter().find(|service| service.kind == kind && service.name == name);
        let local = if kind == Kind::Server { self.local(&name) } else { None };
        let report = match &local {
            Some(service) => Some(look("health", service.health()).await),
            None => None,
        };
        let table = self.table();
        let of_it = table.entries.iter().filter(|entry| entry.part.origin() == Origin::Server);
        let tools = of_it.filter(|entry| kind == Kind::Server && entry.part.name() == name);
        let running = || copies.iter().filter(|copy| copy.lost_ms.is_none());
        let started_ms = running().map(|copy| copy.started_ms).min();
        let uptime = match (&report, started_ms) {
            (Some(Ok(report)), _) => report.uptime_seconds,
            (_, Some(started_ms)) => self.seconds_since(started_ms),
            _ => 0,
        };
        let row = ServiceRow {
            kind,
            about: facts.map(|facts| facts.about.to_owned()).unwrap_or_default(),
            port: facts.map_or(0, |facts| facts.port),
            url: running().map(|copy| copy.url.clone()).find(|url| !url.is_empty()),
            status: service_status(&copies, report.as_ref()),
            lost_ms: copies.iter().find_map(|copy| copy.lost_ms),
            instances: running().count().max(usize::from(local.is_some())) as u64,
            version: copies
                .first()
                .map(|copy| copy.version.clone())
                .or(local.is_some().then(|| self.shared.version.into())),
            uptime_seconds: uptime,
            restarts: copies.iter().map(|copy| u64::from(copy.restarts)).sum(),
            last_error: copies.iter().find_map(|copy| copy.last_error.clone()),
            tools: tools.map(|entry| entry.own.clone()).collect(),
            task_types: Vec::new(),
            name,
        };
        let checks = match report {
            Some(Ok(report)) => report.checks,
            Some(Err(fault)) => vec![Check::down("health", fault.to_string())],
            None => Vec::new(),
        };
        ServiceDetail { row, checks, copies }
    }

    async fn infrastructure(&self) -> BTreeMap<String, Standing> {
        let ports = &self.ports;
        let store = async { ports.store.get("status", "probe").await.map(|_| "answers".to_owned()) };
        let bus = async { ports.bus.topics().await.map(|topics| format!("{} topics", topics.len())) };
        let queue = async { ports.queue.counts().await.map(|types| format!("{} types of task", types.len())) };
        let logs = async { ports.logs.usage().await.map(|usage| format!("{} lines", usage.lines)) };
        let audit = async {
            let newest = kernel::audit::AuditQuery { limit: 1, ..Default::default() };
            let rows = ports.audit.list(newest).await?;
            Ok(format!("{} rows", rows.first().map_or(0, |row| row.seq)))
        };
        let registry = async { ports.fleet.instances().await.map(|all| format!("{} instances", all.len())) };
        let chain = async {
            ports.chain.status().await.map(|chain| format!("chain {}, block {}", chain.chain_id, chain.head.number))
        };
        let (store, bus, queue, logs, audit, registry, chain) = tokio::join!(
            standing("store", store),
            standing("bus", bus),
            standing("queue", queue),
            standing("logs", logs),
            standing("audit", audit),
            standing("registry", registry),
            standing("chain", chain)
        );
        let all = [
            ("store", store),
            ("bus", bus),
            ("queue", queue),
            ("logs", logs),
            ("audit", audit),
            ("registry", registry),
            ("chain", chain),
        ];
        let backed = |(name, standing): (&str, Standing)| {
            (name.to_owned(), Standing { backend: ports.backends.of(name).map(ToOwned::to_owned), ..standing })
        };
        let mut all: BTreeMap<String, Standing> = all.into_iter().map(backed).collect();
        for reach in ports.backends.outside() {
            // What was looked at itself says more.
            if !all.contains_key(reach.port()) {
                let seen = standing(reach.port(), async { reach.standing().map(|()| "answers".to_owned()) }).await;
                all.insert(reach.port().to_owned(), Standing { backend: Some(reach.place().to_owned()), ..seen });
            }
        }
        all
    }

    /// Whether a service should run in this fleet: it was started here, or was lost elsewhere.
    pub(crate) fn expects(&self, kind: Kind, name: &str) -> bool {
        let lost = |one: &Instance| one.lost_ms.is_some() && one.kind == kind && one.service == name;
        self.expected.iter().any(|service| service.kind == kind && service.name == name)
            || self.seen.lock().iter().any(lost)
    }

    /// Whether a server may be there again in a moment: it is expected, or this is one process of a fleet, which does not know the others.
    pub(crate) fn may_serve(&self, name: &str) -> bool {
        self.expects(Kind::Server, name) || (self.mode == SERVE && catalog::server_named(name).is_some())
    }

    fn seconds_since(&self, ms: UnixMs) -> u64 {
        u64::try_from(self.ports.clock.now_ms() - ms).unwrap_or(0) / 1_000
    }
}

fn copies_of(instances: &[Instance], kind: Kind, name: &str) -> Vec<Instance> {
    instances.iter().filter(|copy| copy.kind == kind && copy.service == name).cloned().collect()
}

/// A service stands as its best copy does, and no better than it says of itself; without a copy it is down.
fn service_status(copies: &[Instance], report: Option<&Result<Report, Fault>>) -> Status {
    let supervised = copies.iter().map(|copy| copy.status).min();
    let own = report.map(|report| report.as_ref().map_or(Status::Down, |report| report.status));
    match (supervised, own) {
        (Some(supervised), Some(own)) => supervised.max(own),
        (Some(status), None) | (None, Some(status)) => status,
        (None, None) => Status::Down,
    }
}

/// Looks at something for as long as a look may take.
async fn look<T>(what: &str, looking: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::time::timeout(LOOK_TIME, looking)
        .await
        .map_err(|_| Fault::timeout(format!("{what} did not answer within {} s", LOOK_TIME.as_secs())))
}

async fn standing(what: &str, looking: impl Future<Output = Result<String, Fault>>) -> Standing {
    let began = Instant::now();
    let seen = look(what, looking).await.and_then(|seen| seen);
    let latency_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (status, detail) = match seen {
        Ok(detail) => (Status::Healthy, detail),
        // What was never configured is missing, not broken.
        Err(fault) if fault.code == Code::NotConfigured => (Status::Degraded, fault.to_string()),
        Err(fault) => (Status::Down, fault.to_string()),
    };
    Standing { status, detail, backend: None, latency_us }
}
