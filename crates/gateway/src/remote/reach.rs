//! How instances in other processes are reached.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::fleet::Instance;
use kernel::health::Report;
use kernel::{Fault, Tasks};
use mcp::Link;
use mcp::client::AboutUs;
use mcp::client::http::FleetHost;
use mcp::seal::Sealer;

/// A way to other processes.
#[async_trait]
pub trait Reach: Send + Sync + 'static {
    /// A link to an instance. Does no I/O: an instance that is not there shows when it is called.
    ///
    /// # Errors
    /// When its address is not one.
    fn link(&self, instance: &Instance, tasks: &Tasks) -> Result<Arc<dyn Link>, Fault>;

    /// What the instance says of its health.
    async fn health(&self, instance: &Instance, tasks: &Tasks) -> Result<Report, Fault>;
}

/// Over HTTP, each request under its own caller, sealed with the fleet's key.
pub struct OverHttp {
    sealer: Sealer,
    about_us: AboutUs,
}

impl OverHttp {
    /// For a fleet whose processes share `sealer`'s key; `version` is the binary's.
    pub fn new(sealer: Sealer, version: &str) -> Self {
        Self { sealer, about_us: AboutUs::new(version) }
    }

    fn host(&self, instance: &Instance, tasks: &Tasks) -> Result<FleetHost, Fault> {
        FleetHost::of(instance, self.sealer.clone(), self.about_us.clone(), tasks.clone())
    }
}

#[async_trait]
impl Reach for OverHttp {
    fn link(&self, instance: &Instance, tasks: &Tasks) -> Result<Arc<dyn Link>, Fault> {
        Ok(self.host(instance, tasks)?.link()?)
    }

    async fn health(&self, instance: &Instance, tasks: &Tasks) -> Result<Report, Fault> {
        let body = self.host(instance, tasks)?.get("/health").await?;
        serde_json::from_slice(&body)
            .map_err(|error| Fault::upstream(format!("{}: not a health report: {error}", instance.url)))
    }
}
