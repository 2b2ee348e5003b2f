//! Fills the recorder: this process's figures directly, those of the fleet's other processes over HTTP, every few seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use kernel::fleet::{Fleet, Instance};
use kernel::limits::ANSWER_BYTES_MAX;
use kernel::metrics::Metrics;
use kernel::{Clock, Fault, UnixMs};
use parking_lot::Mutex;
use promql_parser::parser::VectorSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::promql::{Series, Source};
use super::recorder::{Limits, Recorder};
use super::slo::Tally;
use crate::outbound::{Ask, Reach, fetch, host_port};

/// How long one target may take.
const SCRAPE_TIME: Duration = Duration::from_secs(3);
/// Targets asked at the same time.
const AT_ONCE: usize = 8;
/// The job that all of the fleet's processes belong to.
const JOB: &str = "flotilla";

/// A process whose figures are recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Its address: the label `instance` of its series.
    pub instance: String,
    /// Where its figures are read.
    pub url: String,
    /// Whether it is the process that reads, which needs no network.
    pub local: bool,
    /// The services in it.
    pub services: Vec<String>,
    /// Whether the last scrape succeeded; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub up: Option<bool>,
    /// When the last scrape was, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_scrape_ms: Option<UnixMs>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How many samples it brought.
    pub samples: u64,
    /// How many new series of it were refused, because the recorder is full.
    pub refused: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// Scrapes, and keeps what it got.
pub(super) struct Scraper {
    clock: Clock,
    metrics: Metrics,
    fleet: Arc<dyn Fleet>,
    recorder: Mutex<Recorder>,
    targets: Mutex<BTreeMap<String, Target>>,
    /// What the objectives count.
    pub(super) tally: Mutex<Tally>,
}

impl Scraper {
    pub(super) fn new(clock: Clock, metrics: Metrics, fleet: Arc<dyn Fleet>, limits: Limits) -> Self {
        let tally = Mutex::new(Tally::new(clock.now_ms()));
        let (recorder, targets) = (Mutex::new(Recorder::new(limits)), Mutex::default());
        Self { clock, metrics, fleet, recorder, targets, tally }
    }

    /// The targets and how they stand.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.targets.lock().values().cloned().collect()
    }

    /// Looks into the recorder.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Recorder) -> T) -> T {
        look(&self.recorder.lock())
    }

    /// Scrapes all targets once.
    pub(super) async fn scrape(&self) -> Result<(), Fault> {
        let targets = processes(&self.fleet.instances().await?, self.fleet.process());
        let scraped = stream::iter(targets.into_values().map(|target| self.read(target))).buffer_unordered(AT_ONCE);
        let scraped: Vec<(Target, Result<String, Fault>)> = scraped.collect().await;
        let gone: Vec<String> = {
            let now = |instance: &String| scraped.iter().any(|(target, _)| target.instance == *instance);
            self.targets.lock().keys().filter(|instance| !now(instance)).cloned().collect()
        };
        for (target, text) in scraped {
            self.keep(target, text);
        }
        for instance in gone {
            self.targets.lock().remove(&instance);
            let (mut recorder, now_ms) = (self.recorder.lock(), self.clock.now_ms());
            recorder.record_failure(&instance, now_ms);
            recorder.finish(&instance, now_ms);
        }
        Ok(())
    }

    async fn read(&self, mut target: Target) -> (Target, Result<String, Fault>) {
        let began = Instant::now();
        let text = if target.local { Ok(self.metrics.render()) } else { read_remote(&target.url).await };
        target.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        (target, text)
    }

    fn keep(&self, mut target: Target, text: Result<String, Fault>) {
        let now_ms = self.clock.now_ms();
        let instance = target.instance.clone();
        let labels = [("instance", instance.as_str()), ("job", JOB)];
        let mut recorder = self.recorder.lock();
        let kept = text.and_then(|text| {
            let mut tally = self.tally.lock();
            recorder.record(&instance, now_ms, &labels, &text, |labels, grown| tally.count(labels, grown))
        });
        match &kept {
            Ok(scraped) => (target.samples, target.refused) = (scraped.samples as u64, scraped.refused as u64),
            Err(fault) => {
                recorder.record_failure(&instance, now_ms);
                target.error = Some(fault.message.clone());
            }
        }
        let up = kept.is_ok();
        recorder.note(&instance, "up", &labels, f64::from(u8::from(up)));
        recorder.note(&instance, "scrape_duration_seconds", &labels, target.took_ms as f64 / 1_000.0);
        recorder.note(&instance, "scrape_samples_scraped", &labels, target.samples as f64);
        recorder.finish(&instance, now_ms);
        (target.up, target.last_scrape_ms) = (Some(up), Some(now_ms));
        self.targets.lock().insert(instance, target);
    }
}

/// One target for each process: its services share its figures, so one of their doors is enough. Always the same one, so that its
/// series go on after a restart.
fn processes(instances: &[Instance], own: &str) -> BTreeMap<String, Target> {
    let mut by_process: BTreeMap<&str, Vec<&Instance>> = BTreeMap::from([(own, Vec::new())]);
    // A worker in another program has no door to read.
    for instance in instances.iter().filter(|instance| !instance.url.is_empty()) {
        by_process.entry(&instance.process).or_default().push(instance);
    }
    let mut targets = BTreeMap::new();
    for (process, mut instances) in by_process {
        instances.sort_by(|a, b| (&a.url, &a.service).cmp(&(&b.url, &b.service)));
        let url = instances.first().map_or("", |instance| instance.url.as_str());
        let mut services: Vec<String> = instances.iter().map(|instance| instance.service.clone()).collect();
        services.dedup();
        let address = url.parse().ok().and_then(|url| host_port(&url).ok());
        let instance = address.map_or_else(|| "local".into(), |(host, port)| format!("{host}:{port}"));
        let target = Target {
            instance: instance.clone(),
            url: if url.is_empty() { String::new() } else { format!("{}/metrics", url.trim_end_matches('/')) },
            local: process == own,
            services,
            up: None,
            last_scrape_ms: None,
            took_ms: 0,
            samples: 0,
            refused: 0,
            error: None,
        };
        targets.insert(instance, target);
    }
    targets
}

async fn read_remote(url: &str) -> Result<String, Fault> {
    let url = url.parse().map_err(|_| Fault::invalid(format!("`{url}` is not a URL")))?;
    // The fleet's own registry named it.
    let told = fetch(&Reach::ANYWHERE, Ask::get(url, SCRAPE_TIME, ANSWER_BYTES_MAX)).await?;
    if told.status != 200 {
        return Err(Fault::upstream(format!("it answered with status {}", told.status)));
    }
    String::from_utf8(told.body.into()).map_err(|_| Fault::upstream("its figures are not text"))
}

impl Source for Scraper {
    fn select(
        &self,
        selector: &VectorSelector,
        after_ms: UnixMs,
        until_ms: UnixMs,
        samples_max: usize,
    ) -> Option<Vec<Series>> {
        self.recorder.lock().select(selector, after_ms, until_ms, samples_max)
    }
}
