//! What agents do: the types of task that each takes, kept in the store. Agents and workers in other programs say so when they start;
//! whoever submits is told what there is. An agent that is away for a while is still known, so that its tasks wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::nearest;
use crate::queue::QUEUE_TYPES_MAX;
use crate::store::{Expect, LIST_MAX, Store, Write};
use crate::{Access, Caller, Clock, Code, Fault, Result, UnixMs};

/// Where offers are kept in the store, by agent.
const SPACE: &str = "agent_offers";
/// Most agents whose offers are kept.
pub const AGENTS_MAX: usize = LIST_MAX;
/// How long an agent is known after it was last heard of, in milliseconds: 30 days.
const KEPT_MS: i64 = 30 * 86_400_000;
/// How old an offer may grow before an agent that lives says it again, in milliseconds: one day.
const STALE_MS: i64 = 86_400_000;
/// How often an offer is written again when somebody else wrote it at the same time.
const WRITES_MAX: usize = 5;

/// A type of task that an agent does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskType {
    /// Its name.
    pub name: String,
    /// What it does, in a sentence; empty where nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What its submitter must be allowed.
    pub access: Access,
    /// JSON Schema of its payload, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// The field of the payload that plain text goes into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl TaskType {
    /// One of which nothing is known but its name.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), about: String::new(), access: Access::Operate, payload: None, text: None }
    }
}

/// What an agent does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Offer {
    /// Its types of task, by name.
    pub types: Vec<TaskType>,
    /// Whether it takes others as well: it said that it takes whatever comes.
    #[serde(default)]
    pub any: bool,
    /// When it was last said, in milliseconds since the Unix epoch.
    pub said_ms: UnixMs,
}

impl Offer {
    /// What a submission of `task_type` takes of its submitter.
    ///
    /// # Errors
    /// `not_found` when the agent does no such tasks; the hint says which it does.
    pub fn access_of(&self, agent: &str, task_type: &str) -> Result<Access> {
        match self.types.iter().find(|of| of.name == task_type) {
            Some(of) => Ok(of.access),
            None if self.any => Ok(Access::Operate),
            None => {
                let known: Vec<&str> = self.types.iter().map(|of| &*of.name).collect();
                Err(Fault::not_found(format!("agent `{agent}` does no tasks of type `{task_type}`")).hint(names(
                    task_type,
                    &known,
                    "it does no tasks, only duties",
                )))
            }
        }
    }
}

/// What there is, for who asked for something else.
fn names(wanted: &str, known: &[&str], none: &str) -> String {
    /// Most names in a hint.
    const NAMES_MAX: usize = 40;
    match nearest(wanted, known) {
        _ if known.is_empty() => none.to_owned(),
        Some(near) => format!("did you mean `{near}`? there are {}", known[..known.len().min(NAMES_MAX)].join(", ")),
        None => format!("one of {}", known[..known.len().min(NAMES_MAX)].join(", ")),
    }
}

/// The offers in a store. Cloning shares it.
#[derive(Clone)]
pub struct Offers {
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Offers {
    /// The offers in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// The fleet's own agent says what it does: that, and nothing else.
    ///
    /// # Errors
    /// What the store says.
    pub async fn put(&self, agent: &str, types: Vec<TaskType>) -> Result<()> {
        self.write(agent, Expect::Any, &Offer { types, any: false, said_ms: self.clock.now_ms() }).await
    }

    /// A worker says what it does. Workers of one agent may do different things, so what others of it said stays.
    ///
    /// # Errors
    /// [`Code::TooLarge`] past [`QUEUE_TYPES_MAX`] types or [`AGENTS_MAX`] agents.
    pub async fn add(&self, agent: &str, types: &[&str]) -> Result<()> {
        for _ in 0..WRITES_MAX {
            let (before, expect) = match self.entry(agent).await? {
                Some((offer, revision)) => (offer, Expect::Revision(revision)),
                None => (Offer { types: Vec::new(), any: false, said_ms: UnixMs::MIN }, Expect::Absent),
            };
            if expect == Expect::Absent && self.store.list(SPACE, "", None, AGENTS_MAX).await?.len() == AGENTS_MAX {
                return Err(Fault::too_large(format!("there are {AGENTS_MAX} agents")).hint("use a name that is known"));
            }
            let offer = self.merged(&before, types)?;
            if offer.types == before.types && offer.any == before.any && offer.said_ms - before.said_ms < STALE_MS {
                return Ok(());
            }
            match self.write(agent, expect, &offer).await {
                Err(fault) if fault.code == Code::Conflict => {}
                ended => return ended,
            }
        }
        Err(Fault::conflict(format!("others say at the same time what agent `{agent}` does")).hint("try again"))
    }

    fn merged(&self, before: &Offer, types: &[&str]) -> Result<Offer> {
        let known = before.types.iter().map(|of| (of.name.clone(), of.clone()));
        let mut all: BTreeMap<String, TaskType> = known.collect();
        for name in types {
            all.entry((*name).to_owned()).or_insert_with(|| TaskType::named(name));
        }
        if all.len() > QUEUE_TYPES_MAX {
            return Err(crate::queue::many_types());
        }
        let any = before.any || types.is_empty();
        Ok(Offer { types: all.into_values().collect(), any, said_ms: self.clock.now_ms() })
    }

    /// Says that an agent lives, so that it is not forgotten.
    ///
    /// # Errors
    /// What the store says.
    pub async fn lives(&self, agent: &str) -> Result<()> {
        let Some((offer, revision)) = self.entry(agent).await? else { return Ok(()) };
        let now_ms = self.clock.now_ms();
        if now_ms - offer.said_ms < STALE_MS {
            return Ok(());
        }
        match self.write(agent, Expect::Revision(revision), &Offer { said_ms: now_ms, ..offer }).await {
            // Somebody else has just said so.
            Err(fault) if fault.code == Code::Conflict => Ok(()),
            ended => ended,
        }
    }

    async fn write(&self, agent: &str, expect: Expect, offer: &Offer) -> Result<()> {
        let text = serde_json::to_string(offer).map_err(|error| Fault::internal(format!("an offer: {error}")))?;
        let write = Write::put(SPACE, agent, text).expecting(expect).expiring_at(offer.said_ms + KEPT_MS);
        self.store.commit(vec![write]).await.map(|_| ())
    }

    async fn entry(&self, agent: &str) -> Result<Option<(Offer, u64)>> {
        let entry = self.store.get(SPACE, agent).await?;
        // Another version's words are as good as none: whoever lives says them anew.
        Ok(entry.and_then(|entry| Some((serde_json::from_str(&entry.value).ok()?, entry.revision))))
    }

    /// What an agent does, if it is known.
    ///
    /// # Errors
    /// What the store says.
    pub async fn get(&self, agent: &str) -> Result<Option<Offer>> {
        Ok(self.entry(agent).await?.map(|(offer, _)| offer))
    }

    /// What an agent does.
    ///
    /// # Errors
    /// `not_found` when no agent of this name is known; the hint says which are.
    pub async fn need(&self, agent: &str) -> Result<Offer> {
        if let Some(offer) = self.get(agent).await? {
            return Ok(offer);
        }
        let all = self.all().await?;
        let known: Vec<&str> = all.keys().map(String::as_str).collect();
        Err(Fault::not_found(format!("no agent `{agent}`")).hint(names(agent, &known, "no agent has started yet")))
    }

    /// What all agents do, by name.
    ///
    /// # Errors
    /// What the store says.
    pub async fn all(&self) -> Result<BTreeMap<String, Offer>> {
        let entries = self.store.list(SPACE, "", None, AGENTS_MAX).await?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| Some((entry.key, serde_json::from_str(&entry.value).ok()?)))
            .collect())
    }

    /// Refuses a submission to `agent` that it would not do, or that `caller` may not ask for.
    ///
    /// # Errors
    /// `not_found` for an unknown agent or type, `permission_denied`.
    pub async fn admit(&self, agent: &str, task_type: &str, caller: &Caller) -> Result<()> {
        let access = self.need(agent).await?.access_of(agent, task_type)?;
        caller.require(access, &format!("agent:{agent}.{task_type}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::fake::World;

    fn types(offer: &Offer) -> Vec<&str> {
        offer.types.iter().map(|of| &*of.name).collect()
    }

    #[tokio::test]
    async fn what_workers_of_one_agent_do_adds_up_and_is_forgotten_with_it() {
        let world = World::default();
        let offers = Offers::new(world.store.clone(), world.clock.clone());
        offers.add("mine", &["b"]).await.unwrap();
        offers.add("mine", &["a", "b"]).await.unwrap();
        assert_eq!(types(&offers.need("mine").await.unwrap()), ["a", "b"]);
        let many: Vec<String> = (0..QUEUE_TYPES_MAX - 1).map(|n| format!("t{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(offers.add("mine", &many).await.map_err(|fault| fault.code), Err(Code::TooLarge));
        world.clock.advance_ms(KEPT_MS - 1);
        offers.lives("mine").await.unwrap();
        world.clock.advance_ms(KEPT_MS - 1);
        assert!(offers.get("mine").await.unwrap().is_some(), "it was heard of");
        world.clock.advance_ms(1);
        assert_eq!(offers.get("mine").await.unwrap(), None);
        offers.lives("mine").await.unwrap();
        assert_eq!(offers.all().await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn who_asks_for_what_is_not_there_is_told_what_is() {
        let world = World::default();
        let offers = Offers::new(world.store.clone(), world.clock.clone());
        let trade = TaskType { access: Access::Trade, ..TaskType::named("trade") };
        offers.put("execution", vec![trade, TaskType::named("run_job")]).await.unwrap();
        offers.add("anything", &[]).await.unwrap();
        offers.put("risk", Vec::new()).await.unwrap();
        for (agent, task_type, role, want) in [
            ("execution", "run_job", Role::Operator, "ok"),
            ("execution", "trade", Role::Trader, "ok"),
            (
                "execution",
                "trade",
                Role::Operator,
                "permission_denied: role operator may not use agent:execution.trade (needs a key with role trader: `flotilla token create NAME --role trader`)",
            ),
            (
                "execution",
                "run_jobs",
                Role::Admin,
                "not_found: agent `execution` does no tasks of type `run_jobs` (did you mean `run_job`? there are trade, run_job)",
            ),
            (
                "execution",
                "sing",
                Role::Admin,
                "not_found: agent `execution` does no tasks of type `sing` (one of trade, run_job)",
            ),
            ("anything", "sing", Role::Operator, "ok"),
            (
                "risk",
                "sing",
                Role::Operator,
                "not_found: agent `risk` does no tasks of type `sing` (it does no tasks, only duties)",
            ),
            ("nobody", "sing", Role::Operator, "not_found: no agent `nobody` (one of anything, execution, risk)"),
        ] {
            let admitted = offers.admit(agent, task_type, &Caller::new("ann", role)).await;
            assert_eq!(admitted.map_or_else(|fault| fault.to_string(), |()| "ok".into()), want);
        }
    }
}
