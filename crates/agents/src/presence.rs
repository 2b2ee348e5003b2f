//! What an agent keeps up while it leads, beside its duties, and what it is given for that: hands for whoever asks it for something.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kernel::duties::{Cause, Standing as RunStanding};
use kernel::health::Check;
use kernel::tasks::catch_panic;
use kernel::{Caller, Fault, Role, Secret, UnixMs};
use mcp::Toolbox;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::hands::Hands;
use crate::standing::Standing;

/// The pause before what ended is begun anew.
const AGAIN: Duration = Duration::from_secs(5);

/// Secrets for agents: variables, or files that variables name.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The Discord bot's token.
    pub discord_token: Option<Secret>,
}

/// An agent's presence, its types erased.
pub(crate) struct Presence {
    work: Box<dyn Fn(Room) -> BoxFuture<'static, ()> + Send + Sync>,
    checks: Box<dyn Fn() -> Vec<Check> + Send + Sync>,
}

impl Presence {
    pub(crate) fn of<A: Agent>(agent: &Arc<A>) -> Self {
        let (working, checking) = (Arc::clone(agent), Arc::clone(agent));
        Self {
            work: Box::new(move |room| Arc::clone(&working).presence(room).boxed()),
            checks: Box::new(move || checking.checks()),
        }
    }

    pub(crate) fn checks(&self) -> Vec<Check> {
        (self.checks)()
    }

    /// Keeps it up until it is dropped.
    pub(crate) async fn keep(&self, room: &Room) {
        loop {
            if let Err(panic) = catch_panic((self.work)(room.clone())).await {
                tracing::error!(agent = room.agent.name, panic, "what the agent keeps up panicked");
            }
            sleep(AGAIN).await;
        }
    }
}

/// What a presence acts with. Cloning shares it.
#[derive(Clone)]
pub struct Room {
    agent: Arc<Standing>,
}

impl Room {
    pub(crate) fn new(agent: &Arc<Standing>) -> Self {
        Self { agent: Arc::clone(agent) }
    }

    /// The time now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> UnixMs {
        self.agent.means.ports.clock.now_ms()
    }

    /// Hands for somebody who asks by chat: they act under the caller's own name and role, and within this agent's.
    pub fn hands_for(&self, name: &str, role: &Role, what: &str, asked: &str) -> Hands {
        let caller = Caller::new(name, role.clone()).within(Role::Agent(self.agent.name.into()));
        let cause = Cause::Asked { caller: name.to_owned(), role: caller.rights() };
        let toolbox = Toolbox::new(Arc::clone(&self.agent.means.router), caller);
        self.agent.hands(toolbox, what, cause, Some(kernel::audit::kept_arguments(asked)))
    }

    /// Keeps what was done for somebody, if it was more than to look.
    pub async fn keep(&self, hands: &Hands, ended: Result<String, Fault>) {
        if !hands.acted() {
            return;
        }
        let (standing, outcome) = match ended {
            Ok(outcome) => (RunStanding::Done, outcome),
            Err(fault) => (RunStanding::Failed, fault.to_string()),
        };
        if let Err(fault) = self.agent.keep(hands, standing, outcome).await {
            tracing::warn!(%fault, agent = self.agent.name, "what was done for somebody is not kept");
        }
    }
}
