//! Which revision a server over HTTP speaks: the current one is tried first, then the older ones.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use kernel::Tasks;
use tokio::time::timeout;

use super::super::handshake::{self, Discovered};
use super::super::outgoing::AboutUs;
use super::super::{Link, LinkError, User};
use super::legacy::{self, LegacyLink};
use super::modern::{ModernLink, modern_headers};
use super::{Endpoint, Posted, Target, sort};
use crate::revision::Revision;
use crate::wire::{self, Id, Message, Response};

/// How long a server may take over the first question. Older ones may never answer it.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// A server over HTTP, and what it was found to speak.
pub struct HttpServer {
    endpoint: Endpoint,
    about_us: AboutUs,
    tasks: Tasks,
    modern: Option<Discovered>,
}

impl HttpServer {
    /// Finds out what is there.
    ///
    /// # Errors
    /// When it cannot be reached, refuses us, or speaks no revision known here.
    pub async fn probe(target: &Target, about_us: AboutUs, tasks: Tasks) -> Result<Self, LinkError> {
        let endpoint = Endpoint::new(target, tasks.clone())?;
        let modern = match timeout(PROBE_TIME, discover(&endpoint, &about_us)).await {
            Ok(found) => found?,
            // Silence is how some older servers take a request they do not know.
            Err(_) => None,
        };
        Ok(Self { endpoint, about_us, tasks, modern })
    }

    /// A link in the current revision, if the server speaks it.
    pub fn modern(&self) -> Option<Arc<ModernLink>> {
        let discovered = self.modern.as_ref()?;
        Some(ModernLink::open(self.endpoint.clone(), discovered, self.about_us.clone(), self.tasks.child()))
    }

    /// Whether the server may speak a revision that has sessions.
    pub fn may_have_sessions(&self) -> bool {
        let is_legacy = |version: &String| Revision::parse(version).is_some_and(|revision| !revision.is_modern());
        self.modern.as_ref().is_none_or(|found| found.versions.iter().any(is_legacy))
    }

    /// A session of its own, for `user` or for nobody in particular.
    ///
    /// # Errors
    /// When the server has none to give.
    pub async fn session(&self, user: User) -> Result<Arc<dyn Link>, LinkError> {
        let tasks = self.tasks.child();
        match LegacyLink::open(self.endpoint.clone(), user.clone(), self.about_us.clone(), tasks.clone()).await {
            Ok(link) => Ok(link),
            Err(legacy::Refusal::NotThisTransport) => {
                let link =
                    super::sse2024::SseLink::open(self.endpoint.clone(), user, self.about_us.clone(), tasks).await?;
                Ok(link)
            }
            Err(legacy::Refusal::Other(error)) => Err(error),
        }
    }
}

/// Asks in the current revision. `None`: whoever is there does not speak it.
async fn discover(endpoint: &Endpoint, about_us: &AboutUs) -> Result<Option<Discovered>, LinkError> {
    let Some(mut response) = ask(endpoint, about_us).await? else { return Ok(None) };
    if response.outcome.as_ref().is_err_and(handshake::is_offered_again) {
        let Some(again) = ask(endpoint, about_us).await? else { return Ok(None) };
        response = again;
    }
    handshake::spoken(&endpoint.host, response.outcome)
}

async fn ask(endpoint: &Endpoint, about_us: &AboutUs) -> Result<Option<Response>, LinkError> {
    let method = "server/discover";
    let params = handshake::discover_params(about_us);
    let text = wire::request_text(&Id::Number(0), method, Some(&params));
    let exchange = endpoint.post(text, modern_headers(method)?).await?;
    let response: Response = match sort(endpoint, exchange).await? {
        Posted::Message(_, message) => match *message {
            Message::Response(response) => response,
            _ => return Ok(None),
        },
        Posted::Stream(mut events) => loop {
            match events.message(&endpoint.host).await? {
                Some(Message::Response(response)) => break response,
                Some(_) => {}
                None => return Ok(None),
            }
        },
        Posted::Accepted => return Ok(None),
        Posted::Refused(status, fault) => {
            let says_no_more =
                matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS)
                    || fault.code == kernel::Code::Unavailable;
            return if says_no_more { Err(fault.into()) } else { Ok(None) };
        }
    };
    Ok(Some(response))
}
