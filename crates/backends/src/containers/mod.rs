//! What runs the fleet's containers: Docker, through a proxy that lets little through, or Kubernetes, as the account of the pod.
//!
//! Invariants:
//! - Nothing is touched but what carries the fleet's own name: containers by Compose's labels of its project, deployments by their names in the
//!   pod's own namespace.
//! - Nothing is made or removed. Who can make a container through Docker's socket is root of its machine, so there copies are only started and
//!   stopped.
//! - The account's token is read when it is needed, because it is replaced while we run, and shown nowhere.

mod docker;
mod http;
mod kubernetes;

use std::path::PathBuf;
use std::sync::Arc;

use kernel::fleet::{Containers, Kind};
use kernel::{Clock, Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[containers]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the Docker engine answers, best through a proxy that allows only what is needed: `http://docker-proxy:2375`, or
    /// `unix:///var/run/docker.sock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<String>,
    /// The Compose project whose containers are the fleet's.
    pub project: String,
    /// Where the Kubernetes API answers: `https://kubernetes.default.svc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// The folder with the account that pods are given: `token`, `ca.crt`, `namespace`.
    pub account: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            docker: None,
            project: "mcp".into(),
            kubernetes: None,
            account: "/var/run/secrets/kubernetes.io/serviceaccount".into(),
        }
    }
}

/// What the configuration names; nothing when it names nothing.
///
/// # Errors
/// [`Code::InvalidArgument`](kernel::Code::InvalidArgument) when it names both, or an address is none; [`Code::NotConfigured`](kernel::Code::NotConfigured) when the account
/// cannot be read.
pub fn open(config: &Config, clock: Clock) -> Result<Option<Arc<dyn Containers>>> {
    // An empty one is what a variable of a Compose file says when it is not set.
    let given = |address: &Option<String>| address.clone().filter(|address| !address.is_empty());
    match (given(&config.docker), given(&config.kubernetes)) {
        (None, None) => Ok(None),
        (Some(address), None) => Ok(Some(Arc::new(docker::Docker::new(&address, &config.project)?))),
        (None, Some(address)) => {
            Ok(Some(Arc::new(kubernetes::Kubernetes::new(&address, config.account.clone(), clock)?)))
        }
        (Some(_), Some(_)) => {
            Err(Fault::invalid("containers.docker and containers.kubernetes are both set").hint("a fleet is on one"))
        }
    }
}

/// What a service is called among containers.
fn host(kind: Kind, service: &str) -> String {
    let kind = match kind {
        Kind::Server => "mcp",
        Kind::Agent => "agent",
    };
    format!("{kind}-{service}")
}
