//! JSON-RPC over several endpoints: the first that is well is asked, the next when it fails. Reads only are repeated.
//!
//! An endpoint that fails is left alone for a while; ordinary requests come back to it only when no other is left, and head tracking
//! looks after it meanwhile ([`Rpc::probe`]). An endpoint is used only once it has said that it serves the same chain as the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::U64;
use bytes::Bytes;
use futures_util::future::try_join_all;
use kernel::backoff::Backoff;
use kernel::chain::EndpointStatus;
use kernel::metrics::{EndpointLabels, Metrics, TimeLabels};
use kernel::{Clock, Code, Fault, Result, Secret};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

pub(crate) mod answer;
mod endpoint;
pub(crate) mod http;
#[cfg(test)]
mod tests;

use answer::{Failure, Question};
pub(crate) use answer::{halt, revert};
use endpoint::Endpoint;
use http::{Http, Target};

/// Most requests under way at once; more wait.
const REQUESTS_MAX: usize = 64;
/// Most questions of one exchange: what endpoints take.
const BATCH_MAX: usize = 100;
/// How an exchange of many questions is called in figures.
const BATCH: &str = "batch";
/// How long an endpoint that failed is left alone.
const LEFT_ALONE: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

/// How long it may take until a sandbox's end is noticed by those who keep its door.
const DEATH_NOTICED: Duration = Duration::from_secs(1);

/// Whether requests may be made now. A sandbox that is being started makes them wait; one that cannot start refuses them.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// Requests are made.
    Open,
    /// Requests wait for a change.
    Opening,
    /// Requests are refused with this.
    Shut(Fault),
}

/// What an [`Rpc`] is made of.
pub(crate) struct Parts {
    pub(crate) urls: Vec<Secret>,
    pub(crate) chain_id: Option<u64>,
    /// How long one endpoint may take for one answer.
    pub(crate) request_time: Duration,
    pub(crate) door: watch::Receiver<Door>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

/// Reads an answer's body, with the words for the endpoint that may be shown.
type Read<'a, T> = dyn Fn(&[u8], &str) -> Result<T, Failure> + Send + Sync + 'a;

/// What is sent to an endpoint, and how what comes back is read.
struct Exchange<'a, T> {
    method: &'static str,
    body: Bytes,
    read: &'a Read<'a, T>,
}

/// The client.
pub(crate) struct Rpc {
    endpoints: Vec<Endpoint>,
    http: Http,
    /// What all endpoints must answer for: configured, or what the first to answer said.
    chain_id: Mutex<Option<u64>>,
    request_time: Duration,
    door: watch::Receiver<Door>,
    clock: Clock,
    metrics: Metrics,
    permits: Semaphore,
    /// Whether an endpoint would not take many questions at once: then they are asked one by one.
    one_by_one: AtomicBool,
}

impl Rpc {
    /// Makes no request. Fails when a URL is none.
    pub(crate) fn new(parts: Parts) -> Result<Self> {
        let endpoints = parts.urls.iter().map(|url| Target::parse(url).map(Endpoint::new)).collect::<Result<_>>()?;
        Ok(Self {
            endpoints,
            http: Http::new(),
            chain_id: Mutex::new(parts.chain_id),
            request_time: parts.request_time,
            door: parts.door,
            clock: parts.clock,
            metrics: parts.metrics,
            permits: Semaphore::new(REQUESTS_MAX),
            one_by_one: AtomicBool::new(false),
        })
    }

    /// Points the only endpoint elsewhere: a sandbox that came back on another port.
    pub(crate) fn retarget(&self, url: &Secret) -> Result<()> {
        let target = Target::parse(url)?;
        if let Some(endpoint) = self.endpoints.first() {
            endpoint.retarget(target);
        }
        Ok(())
    }

    /// A read, asked of one endpoint after another until one answers. A `null` where `T` needs a value is `NotFound`.
    ///
    /// A sandbox that died under the request is waited for: its door closes, opens again, and the request is made anew.
    pub(crate) async fn read<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T> {
        let read = |body: &[u8], label: &str| answer::parse(body, label, method);
        self.read_by(Exchange { method, body: answer::request(method, &params).into(), read: &read }).await
    }

    /// Many reads whose answers are of one kind, in few exchanges; the answers are in the questions' order. What the first fails with all
    /// of them fail with. Of a chain that goes on meanwhile they are of one block only where they name it.
    pub(crate) async fn read_all<T: DeserializeOwned>(&self, questions: &[Question]) -> Result<Vec<T>> {
        let parts = try_join_all(questions.chunks(BATCH_MAX).map(|part| self.read_part(part))).await?;
        Ok(parts.into_iter().flatten().collect())
    }

    async fn read_part<T: DeserializeOwned>(&self, questions: &[Question]) -> Result<Vec<T>> {
        if questions.len() > 1 && !self.one_by_one.load(Ordering::Relaxed) {
            let read = |body: &[u8], label: &str| answer::parse_all(body, label, questions);
            let asked = Exchange { method: BATCH, body: answer::requests(questions).into(), read: &read };
            if let Some(answers) = self.read_by(asked).await? {
                return Ok(answers);
            }
            self.one_by_one.store(true, Ordering::Relaxed);
        }
        try_join_all(questions.iter().map(|(method, params)| self.read(method, params.clone()))).await
    }

    async fn read_by<T>(&self, asked: Exchange<'_, T>) -> Result<T> {
        let mut door = self.pass_door().await?;
        match self.ask_in_turn(&asked).await {
            Err(fault) if fault.code == Code::Unavailable => {
                // Where nobody keeps the door, this ends at once.
                match tokio::time::timeout(DEATH_NOTICED, door.changed()).await {
                    Ok(Ok(())) => self.pass_door().await?,
                    _ => return Err(fault),
                };
                self.ask_in_turn(&asked).await
            }
            answer => answer,
        }
    }

    async fn ask_in_turn<T>(&self, asked: &Exchange<'_, T>) -> Result<T> {
        let _permit = self.permits.acquire().await.map_err(|_| Fault::internal("the request gate is closed"))?;
        let (mut answered, mut failed) = (None, Vec::new());
        for endpoint in self.in_order() {
            match self.ask(endpoint, asked).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(fault)) => return Err(fault),
                Err(Failure::Elsewhere(fault)) => {
                    answered.get_or_insert(fault);
                }
                Err(Failure::Endpoint(fault)) => failed.push(fault),
            }
        }
        Err(answered.unwrap_or_else(|| all_failed(failed)))
    }

    /// A request that changes something: asked once, of one endpoint.
    pub(crate) async fn once<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T> {
        self.pass_door().await?;
        let endpoint = self.in_order().into_iter().next().ok_or_else(|| all_failed(Vec::new()))?;
        let read = |body: &[u8], label: &str| answer::parse(body, label, method);
        let asked = Exchange { method, body: answer::request(method, &params).into(), read: &read };
        self.ask(endpoint, &asked).await.map_err(Failure::into_fault)
    }

    /// Waits until the door is open. Returns the door as it was seen then.
    async fn pass_door(&self) -> Result<watch::Receiver<Door>> {
        let mut door = self.door.clone();
        let passed = async move {
            loop {
                let seen = door.borrow_and_update().clone();
                match seen {
                    Door::Open => return Ok(door),
                    Door::Shut(fault) => return Err(fault),
                    Door::Opening => {}
                }
                if door.changed().await.is_err() {
                    return Err(Fault::unavailable("the chain was stopped"));
                }
            }
        };
        let late =
            || Err(Fault::unavailable("the sandbox chain is still being started").hint("try again in a few seconds"));
        tokio::time::timeout(self.request_time, passed).await.unwrap_or_else(|_| late())
    }

    /// Endpoints that are well, in the order configured, then those that failed before.
    fn in_order(&self) -> Vec<&Endpoint> {
        let well = self.endpoints.iter().filter(|endpoint| endpoint.is_well());
        let ill = self.endpoints.iter().filter(|endpoint| endpoint.is_down());
        well.chain(ill).collect()
    }

    async fn ask<T>(&self, endpoint: &Endpoint, asked: &Exchange<'_, T>) -> Result<T, Failure> {
        if !endpoint.verified() {
            self.verify(endpoint).await?;
        }
        self.exchange(endpoint, asked).await
    }

    /// Learns which chain the endpoint serves.
    async fn verify(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        let method = "eth_chainId";
        let body = answer::request(method, &Value::Array(Vec::new())).into();
        let read = |body: &[u8], label: &str| answer::parse::<U64>(body, label, method);
        let found = self.exchange(endpoint, &Exchange { method, body, read: &read }).await?.to::<u64>();
        let expected = *self.chain_id.lock().get_or_insert(found);
        if found == expected {
            endpoint.set_verified();
            return Ok(());
        }
        let fault = Fault::unavailable(format!(
            "endpoint {} serves chain {found}, expected chain {expected}",
            endpoint.label()
        ));
        endpoint.set_wrong_chain(&fault.message, self.retry_at_ms(u32::MAX));
        Err(Failure::Endpoint(fault))
    }

    /// One request to one endpoint, recorded in its health and in the figures.
    async fn exchange<T>(&self, endpoint: &Endpoint, asked: &Exchange<'_, T>) -> Result<T, Failure> {
        let (target, method) = (endpoint.target(), asked.method);
        let began = Instant::now();
        let answer = self.http.post(&target, None, asked.body.clone(), self.request_time).await;
        let answer = answer.map_err(Failure::of_exchange).and_then(|body| (asked.read)(&body, &target.label));
        let answer = answer.map_err(|failure| failure.scrubbed(|words| target.scrub(words)));
        let took = began.elapsed();
        match &answer {
            Err(Failure::Endpoint(fault)) => {
                let failures = endpoint.failed(&fault.message);
                endpoint.leave_alone_until(self.retry_at_ms(failures));
                // An endpoint that stays away is tried every few seconds: each doubling is told, not each try.
                if failures.is_power_of_two() {
                    tracing::warn!(endpoint = target.label, method, failures, error = %fault, "endpoint failed");
                }
            }
            _ => endpoint.answered(took),
        }
        let outcome = answer.as_ref().map_or_else(|failure| failure.fault().code.as_str(), |_| "ok");
        self.record(&target.label, method, outcome, took);
        kernel::trace::note(kernel::trace::NODE, method, outcome, &self.clock, began);
        answer
    }

    fn record(&self, endpoint: &str, method: &str, outcome: &str, took: Duration) {
        let labels = EndpointLabels { endpoint: endpoint.into(), outcome: outcome.into() };
        self.metrics.rpc_requests.get_or_create(&labels).inc();
        let labels = TimeLabels { server: endpoint.into(), tool: method.into() };
        self.metrics.rpc_time.get_or_create(&labels).observe(took.as_secs_f64());
    }

    fn retry_at_ms(&self, failures: u32) -> i64 {
        self.clock.now_ms() + LEFT_ALONE.wait(failures).as_millis() as i64
    }

    /// Asks the endpoints that failed and whose time has come whether they are well again.
    pub(crate) async fn probe(&self) {
        let now_ms = self.clock.now_ms();
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.probe_due(now_ms)) {
            // What came of it stands in the endpoint's health.
            if self.verify(endpoint).await.is_ok() {
                tracing::info!(endpoint = endpoint.label(), "endpoint is well again");
            }
        }
    }

    /// Every endpoint's health, in the order configured.
    pub(crate) fn endpoints(&self) -> Vec<EndpointStatus> {
        self.endpoints.iter().map(Endpoint::status).collect()
    }

    /// The chain all endpoints serve, where that is known already.
    pub(crate) fn known_chain_id(&self) -> Option<u64> {
        *self.chain_id.lock()
    }

    /// The chain all endpoints serve.
    pub(crate) async fn chain_id(&self) -> Result<u64> {
        let known = *self.chain_id.lock();
        match known {
            Some(id) => Ok(id),
            None => Ok(self.read::<U64>("eth_chainId", Value::Array(Vec::new())).await?.to()),
        }
    }
}

fn all_failed(failed: Vec<Fault>) -> Fault {
    let mut failed = failed.into_iter();
    match (failed.next(), failed.len()) {
        (Some(only), 0) => only,
        (Some(first), more) => {
            let rest = failed.map(|fault| fault.message).collect::<Vec<_>>().join("; ");
            Fault { message: format!("all {} endpoints failed: {}; {rest}", more + 1, first.message), ..first }
        }
        (None, _) => Fault::unavailable("no endpoint serves the expected chain")
            .hint("chain_status shows what each of them said"),
    }
}

/// A door that is always open.
pub(crate) fn open_door() -> watch::Receiver<Door> {
    watch::channel(Door::Open).1
}

/// Shared by those who read.
pub(crate) type SharedRpc = Arc<Rpc>;
