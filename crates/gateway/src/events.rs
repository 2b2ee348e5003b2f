//! The gateway's own events, on the bus topic `fleet`, in the order they happened.

use kernel::bus::NewEvent;
use kernel::{OnEnd, Ports};
use serde_json::Value;
use tokio::sync::mpsc;

/// Who the events say they are from.
const SOURCE: &str = kernel::catalog::COORDINATOR;
/// Events waiting for a slow bus; more are dropped with a log line, because nothing may wait for them.
const WAITING_MAX: usize = 1_024;

/// Publishes without making the publisher wait.
#[derive(Clone)]
pub struct Events(mpsc::Sender<NewEvent>);

impl Events {
    /// A publisher under the ports' tasks.
    pub fn new(ports: &Ports) -> Self {
        let (sender, mut waiting) = mpsc::channel::<NewEvent>(WAITING_MAX);
        let (bus, stopping) = (ports.bus.clone(), ports.tasks.stopping());
        ports.tasks.spawn("fleet events", OnEnd::Done, async move {
            loop {
                let event = tokio::select! {
                    event = waiting.recv() => event,
                    () = stopping.cancelled() => waiting.try_recv().ok(),
                };
                let Some(event) = event else { break };
                let kind = event.kind.clone();
                if let Err(fault) = bus.publish(event).await {
                    tracing::warn!(%fault, kind, "fleet event not published");
                }
            }
        });
        Self(sender)
    }

    /// Publishes an event of the fleet: `kind` is dotted words, `service.joined`.
    pub fn publish(&self, kind: &str, data: Value) {
        if self.0.try_send(NewEvent::fleet(kind, SOURCE, data)).is_err() {
            tracing::warn!(kind, "fleet event dropped: the bus does not keep up or is being stopped");
        }
    }
}
