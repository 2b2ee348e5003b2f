//! What an agent's file implements: its name, its configuration, its duties and its types of task.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kernel::Fault;
use kernel::bus::{Event, FLEET_TOPIC};
use kernel::health::Check;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::hands::Hands;
use crate::jobs::Jobs;
use crate::presence::{Room, Secrets};

/// One agent of the fleet.
pub trait Agent: Sized + Send + Sync + 'static {
    /// Its name in the catalog, in its role (`agent:NAME`), metrics and its table in `flotilla.toml`.
    const NAME: &'static str;

    /// For how long events are let come together before they are looked at. A burst is one run then, and who is in a hurry goes first.
    const GATHERED_FOR: Duration = Duration::ZERO;

    /// Its table in `flotilla.toml`: `#[serde(default, deny_unknown_fields)]`, every field documented.
    type Config: Default + Clone + Send + Sync + Serialize + DeserializeOwned + JsonSchema;

    /// Builds the agent. It gets no ports: whatever it learns or does, it learns and does through tools.
    ///
    /// # Errors
    /// When the configuration is wrong.
    fn new(config: Self::Config) -> Result<Self, Fault>;

    /// Gives it the secrets that no file of the fleet holds. Most need none.
    ///
    /// # Errors
    /// When one cannot be what it should be.
    fn given(self, _secrets: &Secrets) -> Result<Self, Fault> {
        Ok(self)
    }

    /// What it keeps up while it leads, beside its duties: a connection to somewhere. It is dropped wherever it stands when another copy
    /// leads, and begun anew when it ends. Most have nothing of the kind.
    fn presence(self: Arc<Self>, _room: Room) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// What it says of its own health, beside how its duties went.
    fn checks(&self) -> Vec<Check> {
        Vec::new()
    }

    /// Its standing duties.
    fn duties(&self, set: &mut Duties<Self>);

    /// The types of task that it does when it is asked to; none unless it says so.
    fn jobs(&self, _set: &mut Jobs<Self>) {}
}

/// When a duty is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    pub(crate) every: Duration,
    pub(crate) topics: Vec<(&'static str, &'static [&'static str])>,
}

impl When {
    /// Every so often, the first time one period after the start.
    pub const fn every(period: Duration) -> Self {
        Self { every: period, topics: Vec::new() }
    }

    /// Also when there are events of the fleet (topic `fleet`) whose kind begins with one of these. Those that come together are one run.
    #[must_use]
    pub fn or_on(self, kinds: &'static [&'static str]) -> Self {
        self.or_on_topic(FLEET_TOPIC, kinds)
    }

    /// The same for events of another topic.
    #[must_use]
    pub fn or_on_topic(mut self, topic: &'static str, kinds: &'static [&'static str]) -> Self {
        self.topics.push((topic, kinds));
        self
    }

    /// Whether it is to be done for this event.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        let begins = |kinds: &[&str]| kinds.iter().any(|kind| event.kind.starts_with(kind));
        self.topics.iter().any(|(topic, kinds)| *topic == event.topic && begins(kinds))
    }

    /// In words: `every 5 s and on alert.*`.
    pub fn words(&self) -> String {
        let mut words = format!("every {} s", self.every.as_secs());
        let kinds = self.topics.iter().flat_map(|(_, kinds)| *kinds).map(|kind| format!("`{kind}*`"));
        let kinds: Vec<String> = kinds.collect();
        if !kinds.is_empty() {
            words.push_str(&format!(", and on {}", kinds.join(", ")));
        }
        words
    }
}

/// A duty's work. What it answers is its outcome: what was found and done, in a few words that are the same while nothing changes.
pub(crate) type Work = Arc<dyn Fn(Hands) -> BoxFuture<'static, Result<String, Fault>> + Send + Sync>;
type Bind<A> = Box<dyn FnOnce(&Arc<A>) -> Work>;

/// A duty, its types erased.
#[derive(Clone)]
pub struct Duty {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// When it is done.
    pub when: When,
    pub(crate) work: Work,
}

/// An agent's duties, as it declares them.
pub struct Duties<A> {
    all: Vec<(&'static str, &'static str, When, Bind<A>)>,
}

impl<A: Agent> Duties<A> {
    pub(crate) fn of(agent: &Arc<A>) -> Vec<Duty> {
        let mut set = Self { all: Vec::new() };
        agent.duties(&mut set);
        let bound = set.all.into_iter();
        bound.map(|(name, about, when, bind)| Duty { name, about, when, work: bind(agent) }).collect()
    }

    /// Declares a duty: its name, what it is in a sentence, when it is done, and how. What is due at the same time is done in the order of
    /// the declarations.
    pub fn add<F, R>(&mut self, name: &'static str, about: &'static str, when: When, work: F)
    where
        F: Fn(Arc<A>, Hands) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, Fault>> + Send + 'static,
    {
        let bind: Bind<A> = Box::new(|agent: &Arc<A>| {
            let agent = Arc::clone(agent);
            Arc::new(move |hands| work(Arc::clone(&agent), hands).boxed())
        });
        self.all.push((name, about, when, bind));
    }
}
