//! The transport of 2024-11-05: a standing stream of events for what the upstream says, and an address to post to.

use std::sync::Arc;

use http::{HeaderMap, Uri};
use kernel::{Fault, OnEnd, Tasks};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::channel::mux::Mux;
use super::super::channel::{ChannelLink, Eras, Setup};
use super::super::end::End;
use super::super::outgoing::AboutUs;
use super::super::{LinkError, User};
use super::{Endpoint, Events, Posted, sort};
use crate::revision::Revision;

/// The transport's side of a link; the link itself is a [`ChannelLink`].
pub struct SseLink;

impl SseLink {
    /// Opens the stream and shakes hands.
    ///
    /// # Errors
    /// When there is no such stream, or it names an address elsewhere.
    pub(super) async fn open(
        endpoint: Endpoint,
        mut user: User,
        about_us: AboutUs,
        tasks: Tasks,
    ) -> Result<Arc<ChannelLink>, LinkError> {
        let slow = |_| Fault::timeout(format!("{} opened no stream of events in time", endpoint.host));
        let (events, post_to) = timeout(endpoint.timeout, connect(&endpoint)).await.map_err(slow)??;
        let peer = user.session.as_ref().map(|session| session.peer.clone());
        let (mux, written) = Mux::new(&endpoint.host, peer, tasks.clone());
        let (end, closing, closed) = (Arc::<End>::default(), tasks.stopping().child_token(), CancellationToken::new());
        let (limit, stop, over) = (endpoint.timeout, closing.clone(), closed.clone());
        let (heard, ended) = (Arc::clone(&mux), Arc::clone(&end));
        tasks.spawn("stream of an upstream", OnEnd::Done, async move {
            let fault = tokio::select! {
                fault = read(&heard, events) => fault,
                fault = write(&post_to, written) => fault,
                () = stop.cancelled() => Fault::unavailable(format!("the link to {} was closed", heard.name)),
            };
            ended.because(fault.clone());
            heard.fail_all(&fault);
            over.cancel();
        });
        user.revision = Some(Revision::V2024_11_05);
        let setup = Setup { about_us, timeout: limit, tasks, end, closing, closed };
        ChannelLink::establish(mux, Eras::Legacy, &user, setup).await
    }
}

/// Opens the stream and reads the address to post to. It must be on the same server: credentials go there.
async fn connect(endpoint: &Endpoint) -> Result<(Box<Events>, Endpoint), LinkError> {
    let mut events = match sort(endpoint, endpoint.get(HeaderMap::new()).await?).await? {
        Posted::Stream(events) => events,
        Posted::Refused(_, fault) => return Err(fault.into()),
        _ => return Err(Fault::upstream(format!("{} speaks no transport known here", endpoint.host)).into()),
    };
    while let Some(event) = events.next().await? {
        if event.name != "endpoint" {
            continue;
        }
        let text = String::from_utf8_lossy(&event.data).trim().to_owned();
        let bad = || Fault::upstream(format!("{} names an address that is not on it", endpoint.host));
        let uri: Uri = text.parse().map_err(|_| bad())?;
        if uri.authority().is_some_and(|authority| !endpoint.is_at(authority)) {
            return Err(bad().into());
        }
        let path = uri.path_and_query().filter(|path| path.as_str().starts_with('/')).cloned().ok_or_else(bad)?;
        return Ok((events, endpoint.at(path)));
    }
    Err(Fault::upstream(format!("{} ended its stream of events before it named an address", endpoint.host)).into())
}

async fn read(mux: &Arc<Mux>, mut events: Box<Events>) -> Fault {
    loop {
        match events.next().await {
            Ok(Some(event)) if event.name.is_empty() || event.name == "message" => {
                mux.hear(&event.data);
            }
            Ok(Some(_)) => {}
            Ok(None) => return Fault::unavailable(format!("{} ended its stream of events", mux.name)),
            Err(fault) => return fault,
        }
    }
}

async fn write(endpoint: &Endpoint, mut written: mpsc::Receiver<String>) -> Fault {
    while let Some(text) = written.recv().await {
        let posted = async { sort(endpoint, endpoint.post(text, HeaderMap::new()).await?).await };
        match timeout(endpoint.timeout, posted).await {
            Ok(Ok(Posted::Refused(_, fault)) | Err(fault)) => return fault,
            Ok(Ok(_)) => {}
            Err(_) => return Fault::timeout(format!("{} did not take a message in time", endpoint.host)),
        }
    }
    Fault::unavailable("nobody writes any more")
}
