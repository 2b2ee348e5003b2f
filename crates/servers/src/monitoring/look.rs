//! The tools that look at services and addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::{Method, Uri};
use kernel::fleet::{Instance, Kind};
use kernel::health::{Check, Report, Status};
use kernel::{Code, Fault};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Monitoring;
use super::alerts::State;
use super::figures::Figures;
use super::promql::Value;
use super::scrape::Target;
use crate::outbound::{self, Ask, Reach, host_port};

/// How long an instance may take to say how it is.
const HEALTH_TIME: Duration = Duration::from_secs(2);
/// Largest body of a health report or a probed page, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Instances asked at the same time.
const AT_ONCE: usize = 8;
/// Longest probe, in seconds.
const PROBE_SECONDS_MAX: u32 = 30;

/// What [`HEALTH`](super::HEALTH) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthRequest {
    /// Only this service, with every check of its instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether to ask every instance for its checks rather than take the registry's word.
    pub deep: bool,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceHealth {
    /// Its id.
    pub id: String,
    /// Where it answers.
    pub url: String,
    /// How it stands.
    pub status: Status,
    /// For how long it has run, in seconds.
    pub uptime_seconds: u64,
    /// How often its supervisor has restarted it.
    pub restarts: u32,
    /// Why it last stopped or failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
    /// What it says of what it depends on.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub checks: Vec<Check>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceHealth {
    /// Its name.
    pub service: String,
    /// Server or agent.
    pub kind: Kind,
    /// As well as its best instance stands.
    pub status: Status,
    /// Its instances.
    pub instances: Vec<InstanceHealth>,
}

/// What [`HEALTH`](super::HEALTH) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HealthResponse {
    /// The worst of the services'.
    pub status: Status,
    /// How many services serve.
    pub serving: u64,
    /// How many there are.
    pub total: u64,
    /// By name.
    pub services: Vec<ServiceHealth>,
    /// Alerts that fire now, acknowledged ones included, worst first.
    pub alerts: Vec<String>,
}

/// What [`PROBE`](super::PROBE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeRequest {
    /// An address: http://…, https://… or tcp://host:port; or a service's name, for its health page.
    pub target: String,
    /// Which HTTP statuses are good; 200 to 399 unless given.
    pub expect_status: Vec<u16>,
    /// What the page must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// How long it may take, in seconds: 1 to 30, 5 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 30))]
    pub timeout_seconds: Option<u32>,
}

/// What [`PROBE`](super::PROBE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProbeResponse {
    /// What was probed.
    pub target: String,
    /// Whether all was as it should be.
    pub ok: bool,
    /// What was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The address that answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// The HTTP status.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// How long the connection took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub connect_ms: Option<f64>,
    /// How long all took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub took_ms: Option<f64>,
    /// How large the page is, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// Where a redirect leads; it is not followed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub location: Option<String>,
}

/// What [`TARGETS`](super::TARGETS) takes: nothing.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetsRequest {}

/// What [`TARGETS`](super::TARGETS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TargetsResponse {
    /// Who reads them: `recorder` or `prometheus`.
    pub source: String,
    /// By instance.
    pub targets: Vec<Target>,
    /// Series the recorder keeps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub series: Option<u64>,
    /// Since when it has samples, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oldest_ms: Option<i64>,
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl Monitoring {
    pub(super) async fn fleet_health(&self, request: HealthRequest) -> Result<HealthResponse, ToolError> {
        let mut instances = self.fleet.instances().await?;
        if let Some(service) = &request.service {
            let mut names: Vec<String> = instances.iter().map(|instance| instance.service.clone()).collect();
            names.dedup();
            instances.retain(|instance| instance.service == *service);
            if instances.is_empty() {
                return Err(Fault::not_found(format!("no instance of service `{service}`"))
                    .hint(format!("one of {}", names.join(", ")))
                    .into());
            }
        }
        let deep = request.deep || request.service.is_some();
        let asked = stream::iter(instances).map(|instance| async move {
            // A worker in another program has no door to ask at: what it says of itself stands.
            let checks = if deep && !instance.url.is_empty() { Some(self.ask_health(&instance).await) } else { None };
            (instance, checks)
        });
        let asked: Vec<(Instance, Option<Result<Report, Fault>>)> = asked.buffered(AT_ONCE).collect().await;
        let mut services: BTreeMap<(String, Kind), Vec<InstanceHealth>> = BTreeMap::new();
        for (instance, report) in asked {
            let key = (instance.service.clone(), instance.kind);
            services.entry(key).or_default().push(self.instance_health(instance, report));
        }
        let service = |((service, kind), instances): ((String, Kind), Vec<InstanceHealth>)| {
            let status = instances.iter().map(|instance| instance.status).min().unwrap_or(Status::Down);
            ServiceHealth { service, kind, status, instances }
        };
        let services: Vec<ServiceHealth> = services.into_iter().map(service).collect();
        Ok(HealthResponse {
            status: services.iter().map(|service| service.status).max().unwrap_or(Status::Healthy),
            serving: services.iter().filter(|service| service.status.serves()).count() as u64,
            total: services.len() as u64,
            services,
            alerts: self.firing().await?,
        })
    }

    /// What fires, worst first, in words.
    async fn firing(&self) -> Result<Vec<String>, Fault> {
        let mut open = self.evaluator.open().await?;
        open.retain(|open| open.alert.state != State::Pending);
        open.sort_by(|a, b| (b.alert.severity, a.alert.fired_ms).cmp(&(a.alert.severity, b.alert.fired_ms)));
        Ok(open.iter().map(|open| format!("{}: {}", open.alert.severity.as_str(), open.alert.summary)).collect())
    }

    async fn ask_health(&self, instance: &Instance) -> Result<Report, Fault> {
        let url: Uri = format!("{}/health", instance.url.trim_end_matches('/'))
            .parse()
            .map_err(|_| Fault::internal(format!("`{}` is not a URL", instance.url)))?;
        // The fleet's own registry named it.
        let told = outbound::fetch(&Reach::ANYWHERE, Ask::get(url, HEALTH_TIME, BODY_BYTES_MAX)).await?;
        serde_json::from_slice(&told.body)
            .map_err(|_| Fault::upstream(format!("status {} without a health report", told.status)))
    }

    fn instance_health(&self, instance: Instance, report: Option<Result<Report, Fault>>) -> InstanceHealth {
        let uptime_ms = self.clock.now_ms().saturating_sub(instance.started_ms).max(0);
        let (status, checks) = match report {
            None => (instance.status, Vec::new()),
            Some(Ok(report)) => (report.status, report.checks),
            Some(Err(fault)) => (Status::Down, vec![Check::down("answers", fault.message)]),
        };
        InstanceHealth {
            id: instance.id,
            url: instance.url,
            status,
            uptime_seconds: uptime_ms.unsigned_abs() / 1_000,
            restarts: instance.restarts,
            last_error: instance.last_error,
            checks,
        }
    }

    pub(super) async fn probe(&self, request: ProbeRequest) -> Result<ProbeResponse, ToolError> {
        let seconds = request.timeout_seconds.unwrap_or(5);
        if !(1..=PROBE_SECONDS_MAX).contains(&seconds) {
            return Err(Fault::invalid(format!("timeout_seconds is {seconds}")).hint("1 to 30").into());
        }
        let time = Duration::from_secs(u64::from(seconds));
        let instances = self.fleet.instances().await?;
        let reach = self.reach(&instances);
        let target = instances
            .iter()
            .find(|instance| instance.service == request.target && !instance.url.is_empty())
            .map_or_else(|| request.target.clone(), |own| format!("{}/health", own.url.trim_end_matches('/')));
        let probed = match target.strip_prefix("tcp://") {
            Some(rest) => probe_tcp(&reach, &target, rest, time).await,
            None => probe_http(&reach, &target, &request, time).await,
        };
        match probed {
            // That nothing answers, or not in time, or not like HTTP, is what a probe is for; all else is a wrong question.
            Err(fault) if matches!(fault.code, Code::Unavailable | Code::Timeout | Code::TooLarge) => {
                Ok(ProbeResponse { reason: Some(fault.message), ..ProbeResponse::of(&target, false) })
            }
            other => Ok(other?),
        }
    }

    /// Where a probe may go: anywhere public, to the fleet's own addresses, and where the configuration allows.
    fn reach(&self, instances: &[Instance]) -> Reach {
        let own = |instance: &Instance| {
            let (host, port) = host_port(&instance.url.parse().ok()?).ok()?;
            Some(outbound::Allowed::Host(host.trim_matches(['[', ']']).to_owned(), Some(port)))
        };
        let allowed = self.allowed.iter().cloned().chain(instances.iter().filter_map(own));
        Reach { anywhere: false, allowed: allowed.collect() }
    }

    pub(super) async fn scrape_targets(&self) -> Result<TargetsResponse, ToolError> {
        let source = self.figures.name().to_owned();
        match &*self.figures {
            Figures::Recorder(scraper) => {
                let (series, _, oldest_ms) = scraper.look(|recorder| recorder.usage());
                Ok(TargetsResponse { source, targets: scraper.targets(), series: Some(series as u64), oldest_ms })
            }
            Figures::Prometheus(prometheus) => {
                let Value::Vector(points) = prometheus.instant("up", self.clock.now_ms()).await? else {
                    return Err(Fault::upstream("prometheus: `up` is no vector").into());
                };
                let target = |point: super::promql::Point| Target {
                    instance: point.labels.get("instance").to_owned(),
                    url: String::new(),
                    local: false,
                    services: Vec::new(),
                    up: Some(point.value == 1.0),
                    last_scrape_ms: Some(point.at_ms),
                    took_ms: 0,
                    samples: 0,
                    refused: 0,
                    error: None,
                };
                let targets = points.into_iter().map(target).collect();
                Ok(TargetsResponse { source, targets, series: None, oldest_ms: None })
            }
        }
    }
}

impl ProbeResponse {
    fn of(target: &str, ok: bool) -> Self {
        Self {
            target: target.into(),
            ok,
            reason: None,
            address: None,
            status: None,
            connect_ms: None,
            took_ms: None,
            bytes: None,
            location: None,
        }
    }
}

async fn probe_tcp(reach: &Reach, target: &str, rest: &str, time: Duration) -> Result<ProbeResponse, Fault> {
    let bad = || Fault::invalid(format!("`{target}` is no TCP address")).hint("tcp://host:port");
    let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    if host.is_empty() || host.contains(['/', '@', '?', '#']) {
        return Err(bad());
    }
    let (address, took) = outbound::connect(reach, host, port, time).await?;
    Ok(ProbeResponse {
        address: Some(address.to_string()),
        connect_ms: Some(ms(took)),
        took_ms: Some(ms(took)),
        ..ProbeResponse::of(target, true)
    })
}

async fn probe_http(
    reach: &Reach,
    target: &str,
    request: &ProbeRequest,
    time: Duration,
) -> Result<ProbeResponse, Fault> {
    let url: Uri = target.parse().map_err(|_| {
        Fault::invalid(format!("`{target}` is neither an address nor a service"))
            .hint("http://…, https://…, tcp://host:port or a service's name")
    })?;
    let ask = Ask { method: Method::GET, ..Ask::get(url, time, BODY_BYTES_MAX) };
    let told = outbound::fetch(reach, ask).await?;
    let good = match &request.expect_status[..] {
        [] => (200..400).contains(&told.status),
        wanted => wanted.contains(&told.status),
    };
    let missing = request.contains.as_ref().filter(|text| !String::from_utf8_lossy(&told.body).contains(text.as_str()));
    let reason = match (good, missing) {
        (false, _) => Some(format!("status {}", told.status)),
        (true, Some(text)) => Some(format!("the page does not contain `{text}`")),
        (true, None) => None,
    };
    let location = told.headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok());
    Ok(ProbeResponse {
        address: Some(told.address.to_string()),
        status: Some(told.status),
        connect_ms: Some(ms(told.connect_time)),
        took_ms: Some(ms(told.time)),
        bytes: Some(told.body.len() as u64),
        location: location.map(ToOwned::to_owned),
        ok: reason.is_none(),
        reason,
        ..ProbeResponse::of(target, true)
    })
}
