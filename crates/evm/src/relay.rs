//! The port `Relay` over HTTP: the bundle methods that block builders share (`eth_sendBundle`, `eth_callBundle`, `eth_cancelBundle`), each
//! request signed by a key of its own that is no wallet's: the relay knows the searcher by it.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, U64, keccak256};
use async_trait::async_trait;
use http::header::{HeaderName, HeaderValue};
use kernel::chain::{Bundle, BundleSimulation, Hash, Relay, Signer};
use kernel::{Fault, Result, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::rpc::answer::{self, Failure};
use crate::rpc::http::{Http, Target};
use crate::wire::quantity;

/// The header that says who asks: an address, a colon, its signature of the body's hash.
const SIGNATURE: HeaderName = HeaderName::from_static("x-flashbots-signature");

/// A relay.
pub struct HttpRelay {
    http: Http,
    target: Target,
    signer: Arc<dyn Signer>,
    request_time: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSent {
    bundle_hash: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCalled {
    total_gas_used: Number,
    state_block_number: Number,
    results: Vec<WireResult>,
}

#[derive(Deserialize)]
struct WireResult {
    error: Option<String>,
    revert: Option<String>,
}

/// Relays write numbers as JSON's own, some in hexadecimal.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Hex(U64),
}

impl From<Number> for u64 {
    fn from(number: Number) -> Self {
        match number {
            Number::Plain(number) => number,
            Number::Hex(number) => number.to(),
        }
    }
}

impl HttpRelay {
    /// The relay at `url`, where `signer` is the searcher's identity and `request_time` how long an answer may take.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn new(url: &Secret, signer: Arc<dyn Signer>, request_time: Duration) -> Result<Self> {
        let target = Target::parse(url).map_err(|fault| fault.context("the relay's URL"))?;
        Ok(Self { http: Http::new(), target, signer, request_time })
    }

    async fn ask<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T> {
        let body = answer::request(method, &params);
        // What is signed is the hash as text, as wallets sign text.
        let hash = keccak256(&body).to_string();
        let signature = self.signer.sign_message(hash.as_bytes()).await?;
        let header = HeaderValue::from_str(&format!("{}:{signature}", self.signer.address()))
            .map_err(|error| Fault::internal(format!("the relay's header: {error}")))?;
        let answer = self.http.post(&self.target, Some((SIGNATURE, header)), body, self.request_time).await?;
        answer::parse(&answer, &self.target.label, method)
            .map_err(|failure| failure.scrubbed(|words| self.target.scrub(words)))
            .map_err(Failure::into_fault)
    }
}

#[async_trait]
impl Relay for HttpRelay {
    async fn simulate(&self, bundle: &Bundle) -> Result<BundleSimulation> {
        let params = json!([{
            "txs": bundle.transactions, "blockNumber": quantity(bundle.block_number), "stateBlockNumber": "latest",
        }]);
        let called: WireCalled = self.ask("eth_callBundle", params).await?;
        let error = called.results.into_iter().find_map(|result| {
            let reason = result.revert.filter(|reason| !reason.is_empty());
            result.error.map(|error| reason.map_or_else(|| error.clone(), |reason| format!("{error}: {reason}")))
        });
        Ok(BundleSimulation {
            success: error.is_none(),
            gas_used: called.total_gas_used.into(),
            error,
            state_block: called.state_block_number.into(),
        })
    }

    async fn send(&self, bundle: &Bundle) -> Result<Hash> {
        let params = json!([{
            "txs": bundle.transactions, "blockNumber": quantity(bundle.block_number), "replacementUuid": bundle.uuid,
        }]);
        self.ask::<WireSent>("eth_sendBundle", params).await.map(|sent| Hash(sent.bundle_hash))
    }

    async fn cancel(&self, uuid: &str) -> Result<()> {
        self.ask::<Option<Value>>("eth_cancelBundle", json!([{ "replacementUuid": uuid }])).await.map(|_| ())
    }
}
