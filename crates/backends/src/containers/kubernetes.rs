//! Deployments in the pod's own namespace, by the account of the pod: rolled out anew, and scaled within what their scaler then keeps to.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use kernel::clock::timestamp;
use kernel::fleet::{Containers, Kind};
use kernel::{Clock, Fault, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::host;
use super::http::{Answer, Ask, Door, unreadable};

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// Who we are among those who change an object.
const MANAGER: &str = "fieldManager=flotilla";
/// What `kubectl rollout restart` writes too.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// What is wanted of the cluster.
const ALLOW: &str = "the pod's account needs the role in deploy/kubernetes/control: get and patch of deployments, their scale and their scalers";

/// See the module.
pub(super) struct Kubernetes {
    door: Door,
    namespace: String,
    clock: Clock,
}

/// What a scaler keeps to.
#[derive(Deserialize)]
struct Scaler {
    spec: Bounds,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounds {
    max_replicas: u32,
}

impl Kubernetes {
    pub(super) fn new(address: &str, account: PathBuf, clock: Clock) -> Result<Self> {
        let file = account.join("namespace");
        let namespace = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?.trim().to_owned();
        let plain = namespace.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if namespace.is_empty() || !plain {
            return Err(Fault::not_configured(format!("{} holds no namespace", file.display())));
        }
        let door = Door::new("Kubernetes", address, ANSWER_TIME, Some(account.join("ca.crt")))?;
        Ok(Self { door: door.with_token(account.join("token"))?, namespace, clock })
    }

    async fn patch(&self, path: &str, kind: &'static str, body: Value, what: &str) -> Result<()> {
        let path = format!("{path}?{MANAGER}");
        let ask = Ask { body: Some((kind, body)), ..Ask::new(Method::PATCH, &path) };
        let answer = self.door.ask(ask).await?;
        if answer.status().is_success() { Ok(()) } else { Err(self.refusal(&answer, what)) }
    }

    fn deployment(&self, name: &str) -> String {
        format!("/apis/apps/v1/namespaces/{}/deployments/{name}", self.namespace)
    }

    /// Has the deployment's scaler, if it has one, keep to at least so many: otherwise it would undo what is asked.
    async fn widen(&self, name: &str, replicas: u32) -> Result<()> {
        let path = format!("/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{name}", self.namespace);
        let answer = self.door.ask(Ask::new(Method::GET, &path)).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(()),
            StatusCode::OK => {}
            _ => return Err(self.refusal(&answer, name)),
        }
        let had: Scaler = answer.read(&self.door)?;
        // A scaler keeps to one at least, and rests where the deployment has none.
        let least = replicas.max(1);
        let most = had.spec.max_replicas.max(least);
        let bounds = json!({ "spec": { "minReplicas": least, "maxReplicas": most } });
        self.patch(&path, MERGE, bounds, name).await
    }

    fn refusal(&self, answer: &Answer, what: &str) -> Fault {
        self.door.refusal(answer, what, ALLOW)
    }
}

#[async_trait]
impl Containers for Kubernetes {
    fn about(&self) -> &str {
        &self.door.name
    }

    /// The cluster does it as the deployment's strategy says: a copy is stopped when its successor serves.
    async fn restart(&self, kind: Kind, service: &str) -> Result<()> {
        let name = host(kind, service);
        let annotations = json!({ RESTARTED: timestamp(self.clock.now_ms()) });
        let template = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
        self.patch(&self.deployment(&name), STRATEGIC, template, &name).await
    }

    async fn scale(&self, service: &str, replicas: u32) -> Result<()> {
        let name = host(Kind::Server, service);
        self.widen(&name, replicas).await?;
        let scale = format!("{}/scale", self.deployment(&name));
        self.patch(&scale, MERGE, json!({ "spec": { "replicas": replicas } }), &name).await
    }
}
