//! Other processes of this fleet: nothing has to be found out of them, and each request says under seal for whom it is made.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use http_body_util::Full;
use kernel::catalog::COORDINATOR;
use kernel::fleet::Instance;
use kernel::limits::BODY_BYTES_MAX;
use kernel::{Caller, Fault, Tasks};
use serde_json::json;

use super::super::outgoing::AboutUs;
use super::modern::ModernLink;
use super::{Endpoint, Target};
use crate::assertion::{CALLER, Speaker};
use crate::handler::Identity;
use crate::seal::Sealer;

/// Silence on a call is bounded by whoever knows the tool; this only ends what nobody bounds.
const SILENCE: Duration = Duration::from_secs(2 * 3_600);

/// Where an instance of one of the fleet's services answers.
pub struct FleetHost {
    target: Target,
    identity: Arc<Identity>,
    about_us: AboutUs,
    tasks: Tasks,
}

impl FleetHost {
    /// The host of `instance`, for a fleet whose processes share `sealer`'s key. Connections are made when they are needed, under `tasks`.
    ///
    /// # Errors
    /// When its address is not one.
    pub fn of(instance: &Instance, sealer: Sealer, about_us: AboutUs, tasks: Tasks) -> Result<Self, Fault> {
        let base = instance.url.trim_end_matches('/');
        // At the coordinator's `/mcp` is the whole fleet; its own tools have an address of their own.
        let url = match instance.service.as_str() {
            COORDINATOR => format!("{base}/mcp/{COORDINATOR}"),
            _ => format!("{base}/mcp"),
        };
        let url: Uri = url.parse().map_err(|error| Fault::invalid(format!("{}: {error}", instance.url)))?;
        let speaker = Speaker::new(sealer);
        let speak_for = move |caller: &Caller| {
            let mut headers = HeaderMap::with_capacity(1);
            headers.insert(CALLER, speaker.say(caller)?);
            Ok(headers)
        };
        let credentials = Some(Arc::new(speak_for) as super::Credentials);
        let target = Target { url, headers: HeaderMap::new(), allow_private: true, timeout: SILENCE, credentials };
        let list = json!({ "listChanged": true });
        let identity = Identity {
            name: instance.service.clone(),
            title: format!("Flotilla {}", instance.service),
            version: instance.version.clone(),
            instructions: None,
            capabilities: json!({ "tools": list, "prompts": list, "resources": list }),
        };
        Ok(Self { target, identity: Arc::new(identity), about_us, tasks })
    }

    /// A link to the service. Asks nothing first: an instance that is not there shows when it is called.
    ///
    /// # Errors
    /// When its address is not one.
    pub fn link(&self) -> Result<Arc<ModernLink>, Fault> {
        ModernLink::to_known(&self.target, Arc::clone(&self.identity), self.about_us.clone(), self.tasks.child())
    }

    /// What `GET path` answers, whatever its status.
    ///
    /// # Errors
    /// When nobody answers, or too much.
    pub async fn get(&self, path: &'static str) -> Result<bytes::Bytes, Fault> {
        let endpoint = Endpoint::new(&self.target, self.tasks.clone())?.at(http::uri::PathAndQuery::from_static(path));
        let request = endpoint.request(Method::GET, HeaderMap::new(), Full::default());
        endpoint.pool.send(request).await?.whole(BODY_BYTES_MAX).await
    }
}
