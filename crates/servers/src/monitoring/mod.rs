//! `monitoring`: how the fleet is: health, figures, alert rules, alerts, silences, objectives.
//!
//! Figures come from a Prometheus when one is configured, otherwise from the built-in [recorder](recorder), which keeps the last hours
//! in memory. Rules, alerts and silences are in the store, so they survive restarts and are the same on every replica. The rules take
//! effect when somebody asks for it by `settle_alerts`: the monitoring agent, whose duty it is. What happens to an alert is written down
//! first and told on the fleet's bus after that (`alert.firing`, `alert.acknowledged`, `alert.resolved`, `alert.silenced`,
//! `alert.unsilenced`), and to people at the [sinks] that the configuration names (`deliver_alerts`).

mod alerting;
mod alerts;
mod defaults;
mod delivery;
mod duties;
mod evaluate;
pub mod exposition;
mod figure;
mod figures;
mod look;
mod objectives;
mod prometheus;
pub mod promql;
mod query;
mod recorder;
mod rules;
mod scrape;
mod settling;
mod silences;
mod silencing;
mod sinks;
mod slo;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::Bus;
use kernel::fleet::Fleet;
use kernel::health::Check;
use kernel::store::{Entries, Store};
use kernel::{Clock, OnEnd, UnixMs};
use mcp::prelude::*;
use mcp::prompt::{Argument, Arguments, Message, Prompt};

pub use alerting::*;
pub use alerts::{Acknowledgement, Alert, State};
pub use delivery::*;
pub use figure::Figure;
pub use look::*;
pub use objectives::{ServerSlo, SloRequest, SloResponse};
pub use query::*;
pub use rules::{Condition, Operator, Rule, Severity};
pub use scrape::Target;
pub use settling::*;
pub use silences::{Comparison, Matcher, Silence};
pub use silencing::*;
pub use sinks::{Inhibition, Sink, SinkKind};
pub use slo::Objective;

use crate::outbound::Allowed;
use evaluate::Evaluator;
use figures::Figures;
use prometheus::Prometheus;
use scrape::Scraper;

/// `[servers.monitoring]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where a Prometheus answers, like `http://prometheus:9090`. Without it the built-in recorder is used.
    pub prometheus_url: Option<String>,
    /// A file with the token that the Prometheus wants.
    pub prometheus_token_file: Option<PathBuf>,
    /// How often the built-in recorder reads every process' figures, in seconds: 1 to 300.
    pub scrape_seconds: u32,
    /// How long it keeps them, in minutes: 10 to 1,440.
    pub retention_minutes: u32,
    /// Most series it keeps.
    pub series_max: usize,
    /// Most changes of values it keeps, 16 bytes each; beyond that the oldest time is given up.
    pub changes_max: usize,
    /// How long alerts that are over can be listed, in days: 1 to 90.
    pub resolved_days: u32,
    /// Whether a fresh fleet gets the default rules.
    pub default_rules: bool,
    /// Private addresses that `probe` may reach beside the fleet's own: host, host:port, an IP address or a network like 10.0.0.0/8.
    pub allow: Vec<String>,
    /// Where people are told of alerts, by name: `[servers.monitoring.sinks.NAME]` with `kind` (webhook, ntfy, discord, alertmanager, heartbeat) and `url`.
    pub sinks: BTreeMap<String, Sink>,
    /// Alerts that are not told while others fire, which say enough.
    pub inhibit: Vec<Inhibition>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prometheus_url: None,
            prometheus_token_file: None,
            scrape_seconds: 5,
            retention_minutes: 180,
            series_max: 20_000,
            changes_max: 1_000_000,
            resolved_days: 7,
            default_rules: true,
            allow: Vec::new(),
            sinks: BTreeMap::new(),
            inhibit: Inhibition::usual(),
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), Fault> {
        let bounds = [
            ("scrape_seconds", self.scrape_seconds, 1, 300),
            ("retention_minutes", self.retention_minutes, 10, 1_440),
            ("resolved_days", self.resolved_days, 1, 90),
        ];
        match bounds.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value)) {
            None => sinks::check(&self.sinks, &self.inhibit),
            Some((name, value, min, max)) => {
                Err(Fault::invalid(format!("servers.monitoring.{name} is {value}")).hint(format!("{min} to {max}")))
            }
        }
    }
}

/// The server.
pub struct Monitoring {
    clock: Clock,
    store: Arc<dyn Store>,
    leases: Arc<dyn Entries>,
    bus: Arc<dyn Bus>,
    fleet: Arc<dyn Fleet>,
    figures: Arc<Figures>,
    evaluator: Evaluator,
    allowed: Vec<Allowed>,
    config: Config,
    /// This replica among the candidates for keeping the books.
    candidate: String,
    started_ms: UnixMs,
    leads: std::sync::atomic::AtomicBool,
}

impl McpServer for Monitoring {
    const NAME: &'static str = "monitoring";
    const INSTRUCTIONS: &'static str = "How the fleet is. health first; list_alerts for what is wrong; query_metrics and query_range take PromQL \
        (list_metrics names the metrics); slo says how much failure is left in the budget. Rules fire alerts, silences keep them quiet.";
    type Config = Config;
    type Ports = kernel::Ports;

    fn new(ports: &Ports, config: Config) -> Result<Self, Fault> {
        config.check()?;
        let allowed = config.allow.iter().map(|text| text.parse()).collect::<Result<_, Fault>>()?;
        let (clock, store, bus, fleet) =
            (ports.clock.clone(), ports.store.clone(), ports.bus.clone(), ports.fleet.clone());
        let leases = ports.leases.clone();
        let figures = Arc::new(match &config.prometheus_url {
            Some(url) => Figures::Prometheus(Prometheus::new(url, config.prometheus_token_file.clone())?),
            None => {
                let limits = recorder::Limits {
                    retention_ms: i64::from(config.retention_minutes) * 60_000,
                    series_max: config.series_max,
                    changes_max: config.changes_max,
                };
                let scraper = Scraper::new(clock.clone(), ports.metrics.clone(), fleet.clone(), limits);
                Figures::Recorder(Arc::new(scraper))
            }
        });
        let kept_ms = i64::from(config.resolved_days) * 86_400_000;
        let evaluator = Evaluator::new(clock.clone(), store.clone(), bus.clone(), Arc::clone(&figures), kept_ms);
        let candidate = kernel::ids::new_id("monitoring");
        let leads = false.into();
        let started_ms = clock.now_ms();
        Ok(Self { clock, store, leases, bus, fleet, figures, evaluator, allowed, config, candidate, started_ms, leads })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(HEALTH, |server, request, _| async move { server.fleet_health(request).await });
        set.add(PROBE, |server, request, _| async move { server.probe(request).await });
        set.add(TARGETS, |server, _, _| async move { server.scrape_targets().await });
        set.add(QUERY_METRICS, |server, request, _| async move { server.query_metrics(request).await });
        set.add(QUERY_RANGE, |server, request, _| async move { server.query_range(request).await });
        set.add(LIST_METRICS, |server, request, _| async move { server.list_metrics(request).await });
        set.add(LABEL_VALUES, |server, request, _| async move { server.label_values(request).await });
        set.add(LIST_RULES, |server, request, _| async move { server.list_rules(request).await });
        set.add(SET_RULE, |server, request, ctx| async move { server.set_rule(request, &ctx).await });
        set.add(DELETE_RULE, |server, request, _| async move { server.delete_rule(request).await });
        set.add(EVALUATE_RULES, |server, _, _| async move { server.evaluate_rules().await });
        set.add(SETTLE_ALERTS, |server, _, _| async move { server.settle_alerts().await });
        set.add(LIST_ALERTS, |server, request, _| async move { server.list_alerts(request).await });
        set.add(ACKNOWLEDGE_ALERT, |server, request, ctx| async move { server.acknowledge_alert(request, &ctx).await });
        set.add(SILENCE, |server, request, ctx| async move { server.silence(request, &ctx).await });
        set.add(LIST_SILENCES, |server, request, _| async move { server.list_silences(request).await });
        set.add(EXPIRE_SILENCE, |server, request, ctx| async move { server.expire_silence(request, &ctx).await });
        set.add(LIST_SINKS, |server, request, _| async move { server.list_sinks(request).await });
        set.add(DELIVER_ALERTS, |server, request, _| async move { server.deliver_alerts(request).await });
        set.add(TEST_ALERT, |server, request, ctx| async move { server.test_alert(request, &ctx).await });
        set.add(ANNOUNCE, |server, request, ctx| async move { server.announce(request, &ctx).await });
        set.add(SLO, |server, request, _| async move { server.slo(request).await });
    }
}

/// How long the monitoring agent may be away before that is said, in milliseconds: its term after a sudden end, and a start.
const UNATTENDED_MS: i64 = 60_000;
/// How long a probe may take: its own limit, and a little.
const PROBE_TIME: Duration = Duration::from_secs(40);

tools! { Monitoring::NAME;
    /// How every service stands, what its instances depend on, and which alerts fire: the first look.
    HEALTH = "health": fn(HealthRequest) -> HealthResponse, Hints::READ;
    /// Asks an address or a service whether it answers as it should, and how fast.
    PROBE = "probe": fn(ProbeRequest) -> ProbeResponse, Hints::READ_WORLD.within(PROBE_TIME);
    /// Lists the processes whose figures are recorded, and how reading them went.
    TARGETS = "targets": fn(TargetsRequest) -> TargetsResponse, Hints::READ;
    /// Computes a PromQL expression at one moment.
    QUERY_METRICS = "query_metrics": fn(QueryMetricsRequest) -> QueryMetricsResponse, Hints::READ;
    /// Computes a PromQL expression over a time, step by step.
    QUERY_RANGE = "query_range": fn(QueryRangeRequest) -> QueryRangeResponse, Hints::READ;
    /// Lists the metrics there are, with type and meaning.
    LIST_METRICS = "list_metrics": fn(ListMetricsRequest) -> ListMetricsResponse, Hints::READ;
    /// Lists the values that a label has.
    LABEL_VALUES = "label_values": fn(LabelValuesRequest) -> LabelValuesResponse, Hints::READ;
    /// Lists the alert rules, what they are evaluated as, and how they fare.
    LIST_RULES = "list_rules": fn(ListRulesRequest) -> ListRulesResponse, Hints::READ;
    /// Creates an alert rule, or replaces one; says what it would do now, with dry_run only that.
    SET_RULE = "set_rule": fn(SetRuleRequest) -> SetRuleResponse, Hints::SET;
    /// Deletes an alert rule; its alerts are resolved.
    DELETE_RULE = "delete_rule": fn(DeleteRuleRequest) -> Rule, Hints { idempotent: false, ..Hints::SET };
    /// Evaluates every rule on the figures of now: which alerts should fire or be resolved, and which rules cannot be evaluated; changes nothing.
    EVALUATE_RULES = "evaluate_rules": fn(EvaluateRulesRequest) -> Evaluation, Hints::READ;
    /// Evaluates every rule and carries out what follows: alerts fire and are resolved. The monitoring agent does this every few seconds.
    SETTLE_ALERTS = "settle_alerts": fn(SettleAlertsRequest) -> Evaluation, Hints { idempotent: true, ..Hints::OPERATE };
    /// Lists alerts: those that fire unless told otherwise, worst first, with who knows of them and who silenced them.
    LIST_ALERTS = "list_alerts": fn(ListAlertsRequest) -> ListAlertsResponse, Hints::READ;
    /// Says that somebody knows of an alert, or of all that fire of a rule; or takes that back.
    ACKNOWLEDGE_ALERT = "acknowledge_alert": fn(AcknowledgeAlertRequest) -> AcknowledgeAlertResponse,
        Hints { idempotent: true, ..Hints::OPERATE };
    /// Mutes alerts: keeps them quiet for a while, with a reason that others can read.
    SILENCE = "silence": fn(SilenceRequest) -> Silence, Hints::OPERATE;
    /// Lists silences: what, by whom, why, until when.
    LIST_SILENCES = "list_silences": fn(ListSilencesRequest) -> ListSilencesResponse, Hints::READ;
    /// Ends a silence now: what it kept quiet is told of again.
    EXPIRE_SILENCE = "expire_silence": fn(ExpireSilenceRequest) -> Silence, Hints { idempotent: false, ..Hints::SET };
    /// Lists the sinks where alerts are sent (webhooks, ntfy, Discord, Alertmanager, heartbeat): what waits there, when each was last told, and why it takes nothing.
    LIST_SINKS = "list_sinks": fn(ListSinksRequest) -> ListSinksResponse, Hints::READ;
    /// Notifies people: every sink is told of the alerts that it has not heard of yet. The monitoring agent does this every few seconds.
    DELIVER_ALERTS = "deliver_alerts": fn(DeliverAlertsRequest) -> DeliverAlertsResponse,
        Hints { idempotent: true, ..Hints::OPERATE }.open_world();
    /// Fires an alert that resolves itself, to see that it arrives where it should.
    TEST_ALERT = "test_alert": fn(TestAlertRequest) -> Alert, Hints::OPERATE;
    /// Announces something at the sinks of alerts, once under its key: as an alert that is over after a minute. notify of ui is for what people should keep.
    ANNOUNCE = "announce": fn(AnnounceRequest) -> Alert, Hints { idempotent: true, ..Hints::OPERATE };
    /// Measures availability and latency objectives over a time, and what is left of their error budgets.
    SLO = "slo": fn(SloRequest) -> SloResponse, Hints::READ;
}

#[async_trait]
impl Features for Monitoring {
    async fn start(self: Arc<Self>, ports: Ports) -> Result<(), Fault> {
        if self.config.default_rules {
            rules::lay_down(&*self.store, defaults::rules(self.clock.now_ms())).await?;
        }
        let stopping = ports.tasks.stopping();
        if let Figures::Recorder(scraper) = &*self.figures {
            // The first look at once, so that the first evaluation sees something.
            let (server, scraper, stopping) = (Arc::clone(&self), Arc::clone(scraper), stopping.clone());
            let scraping = async move { server.keep_scraping(&scraper, stopping).await };
            ports.tasks.spawn("metrics recorder", OnEnd::StopOwner, scraping);
        }
        ports.tasks.spawn("objectives' books", OnEnd::StopOwner, async move { self.keep_books(stopping).await });
        Ok(())
    }

    async fn health(&self) -> Vec<Check> {
        let figures = match &*self.figures {
            Figures::Recorder(scraper) => {
                let (series, changes, _) = scraper.look(|recorder| recorder.usage());
                Check::healthy("recorder", format!("{series} series, {changes} changes"))
            }
            Figures::Prometheus(prometheus) => Check::healthy("prometheus", prometheus.url()),
        };
        let status = self.evaluator.status();
        let failing: Vec<&str> =
            status.iter().filter(|(_, status)| status.error.is_some()).map(|(name, _)| name.as_str()).collect();
        let waited_ms = self.clock.now_ms().saturating_sub(self.started_ms);
        let rules = match &failing[..] {
            _ if waited_ms >= UNATTENDED_MS && !self.attended().await.unwrap_or(true) => Check::degraded(
                "alert rules",
                "not evaluated: no monitoring agent runs (flotilla serve agent:monitoring)",
            ),
            [] => Check::healthy("alert rules", format!("{} evaluated", status.len())),
            some => Check::degraded("alert rules", format!("not evaluated: {}", some.join(", "))),
        };
        let mut checks = vec![figures, rules];
        checks.extend(self.sinks_take().await);
        checks
    }

    fn prompts(&self) -> Vec<Prompt> {
        vec![Prompt {
            name: "why_unhealthy".into(),
            description: Some("Why a service is unhealthy, and what to do".into()),
            arguments: vec![Argument { name: "service".into(), description: Some("its name".into()), required: true }],
        }]
    }

    async fn prompt(&self, _name: &str, arguments: Arguments, _ctx: &Ctx) -> Result<Vec<Message>, ToolError> {
        let service = arguments.get("service").map_or("", String::as_str);
        Ok(vec![Message::user(format!(
            "Find out why the service `{service}` is unhealthy. Call health of monitoring with this service and read its checks; list_alerts \
             with the states firing and pending; error_summary of logging with this service and follow one trace; query_range for its calls \
             (mcp_commands_total) and times (mcp_response_time_seconds_bucket). Then say what is wrong since when, the evidence, the most \
             likely cause, and the smallest step that helps. Say plainly what the data do not show."
        ))])
    }
}
