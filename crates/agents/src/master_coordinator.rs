//! `master-coordinator`: turns a goal into a run of a workflow that is known, hands tasks to the agent that can do them and has least to do, and takes
//! the decisions that tighten for the whole system.
//!
//! It plans from what people wrote down: the shipped playbooks and the workflows that are defined. A goal that fits none, or several as well, is refused
//! with what there is; where a model is configured for it, that chooses among the same, after looking with tools that change nothing. What it decides only ever stops or slows trading; going on is decided by people (`production.resume`).

mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kernel::catalog::COORDINATOR;
use kernel::health::Status;
use kernel::{Access, Fault};
use market::risk::TradingState;
use mcp::{Hints, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servers::orchestration::{
    self, DEFINE_WORKFLOW, DefineWorkflowRequest, LIST_WORKFLOWS, ListWorkflowsRequest, START, StartRequest,
};
use servers::risk_management::{KillSwitchStateResponse, SET_TRADING_STATE, SetTradingStateRequest};
use servers::task_management::{QUEUES, QueueRow, QueuesRequest, SUBMIT_TASK, SubmitTaskRequest, SubmitTaskResponse};

use crate::agent::{Agent, Duties, When};
use crate::execution::jobs::follow;
use crate::hands::Hands;
use crate::jobs::{Job, Jobs};

/// How long a run of a goal is followed at most, in seconds.
const FOLLOW_SECONDS_MAX: u64 = 840;
/// The namespace of what is shipped.
const SHIPPED: &str = flow::workflow::playbooks::NAMESPACE;
/// Most names in an outcome or a hint.
const NAMES_MAX: usize = 20;
/// Shortest word of a goal that says something.
const WORD_CHARS_MIN: usize = 3;
/// Words that say nothing of what is wanted.
const EMPTY_WORDS: [&str; 6] = ["and", "for", "from", "that", "the", "with"];
/// How much counts whether a word stands in a name, and whether in a title.
const WEIGHTS: (u32, u32) = (2, 1);

/// `[agents.master-coordinator]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often it is looked whether tasks wait that nobody takes, in seconds: 5 to 3,600.
    pub watch_seconds: u32,
    /// How long a task may wait before it is told of, in seconds: 10 to 86,400.
    pub waiting_seconds: u32,
    /// The model that chooses the workflow of a goal whose words fit none or several: `name` or `provider/name`. None is asked when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_model: Option<String>,
    /// The tools that it may look with: names, `*` for any characters. What changes something is refused all the same.
    pub plan_tools: Vec<String>,
    /// How many tokens one choice may use: 1,000 to 1,000,000.
    pub plan_tokens: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { watch_seconds: 30, waiting_seconds: 300, plan_model: None, plan_tools: Vec::new(), plan_tokens: 20_000 }
    }
}

/// The agent.
pub struct MasterCoordinator {
    config: Config,
}

/// The coordinator's list of agents, as far as it is needed here.
const LIST_AGENTS: Tool<Nothing, Listed> = Tool::new(COORDINATOR, "list_agents", "", Hints::READ);

/// No arguments.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Listed {
    agents: Vec<AgentRow>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct AgentRow {
    name: String,
    status: Status,
    instances: u64,
    #[serde(default)]
    task_types: Vec<String>,
}

/// What `goal` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// What is to be reached, in words: "deploy the contract".
    pub goal: String,
    /// The input of the workflow that is found.
    #[serde(default)]
    pub input: Option<Value>,
    /// How long its run is followed, in seconds, at most 840; 0 starts it and lets it go on by itself.
    #[serde(default)]
    #[schemars(range(max = 840))]
    pub follow_seconds: u64,
}

/// What `goal` gives.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// The words of the goal by which the workflow was found; none when a model chose it.
    pub found_by: Vec<String>,
    /// Why a model chose it, in its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_because: Option<String>,
    /// Its run.
    pub run: orchestration::Run,
}

/// What `assign` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assign {
    /// The type of task.
    pub task_type: String,
    /// What it is to be done with.
    #[serde(default)]
    pub payload: Value,
}

/// What `assign` gives.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Assigned {
    /// The agent that it was handed to.
    pub agent: String,
    /// Its task.
    #[serde(flatten)]
    pub task: SubmitTaskResponse,
    /// How many tasks each that could do it had, by name.
    pub load: BTreeMap<String, u64>,
}

/// What `pause_trading` and `degrade` take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Why.
    pub reason: String,
}

impl Agent for MasterCoordinator {
    const NAME: &'static str = COORDINATOR;
    type Config = Config;

    fn new(config: Config) -> Result<Self, Fault> {
        let bounds = [
            ("watch_seconds", u64::from(config.watch_seconds), 5, 3_600),
            ("waiting_seconds", config.waiting_seconds.into(), 10, 86_400),
            ("plan_tokens", config.plan_tokens, 1_000, 1_000_000),
        ];
        match bounds.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value)) {
            None => Ok(Self { config }),
            Some((name, value, min, max)) => {
                Err(Fault::invalid(format!("agents.master-coordinator.{name} is {value}"))
                    .hint(format!("{min} to {max}")))
            }
        }
    }

    fn duties(&self, set: &mut Duties<Self>) {
        set.add(
            "load",
            "Says whose tasks wait for too long, and whose nobody takes because no copy of their agent serves.",
            When::every(Duration::from_secs(self.config.watch_seconds.into())).or_on(&["agent."]),
            Self::load,
        );
    }

    fn jobs(&self, set: &mut Jobs<Self>) {
        let goal = "Finds the playbook or defined workflow that fits a goal in words, starts a run of it once for each task, and follows it if asked to.";
        let goal = Job::new("goal", goal, Access::Operate).text("goal");
        set.add(goal.within(Duration::from_secs(FOLLOW_SECONDS_MAX + 60)), Self::goal);
        let assign = "Hands a task to the agent that does tasks of its type, serves, and has least to do.";
        set.add(Job::new("assign", assign, Access::Operate), Self::assign);
        let pause = "Halts trading for the whole system; people resume it.";
        set.add(
            Job::new("pause_trading", pause, Access::Operate).text("reason"),
            |_, why: Decision, hands: Hands| async move { tighten(&hands, TradingState::Halted, why).await },
        );
        let degrade = "Lets only trades through that reduce exposure, for the whole system; people resume it.";
        set.add(
            Job::new("degrade", degrade, Access::Operate).text("reason"),
            |_, why: Decision, hands: Hands| async move { tighten(&hands, TradingState::Reducing, why).await },
        );
    }
}

async fn tighten(hands: &Hands, state: TradingState, why: Decision) -> Result<KillSwitchStateResponse, Fault> {
    hands.call(SET_TRADING_STATE, &SetTradingStateRequest { state, reason: why.reason }).await
}

/// A workflow that could be what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    name: String,
    /// The playbook that has to be defined first.
    playbook: Option<String>,
    title: String,
}

impl MasterCoordinator {
    async fn goal(self: Arc<Self>, asked: Goal, hands: Hands) -> Result<Planned, Fault> {
        if asked.follow_seconds > FOLLOW_SECONDS_MAX {
            return Err(Fault::invalid(format!("follow_seconds is {}", asked.follow_seconds))
                .hint(format!("at most {FOLLOW_SECONDS_MAX}")));
        }
        let known = known(&hands).await?;
        let (chosen, found_by, chosen_because) = match (choose(&asked.goal, &known), &self.config.plan_model) {
            (Ok((chosen, found_by)), _) => (chosen, found_by, None),
            (Err(refused), None) => return Err(refused),
            (Err(refused), Some(model)) => {
                let (chosen, why) = plan::by_model(&asked.goal, &known, (model, &self.config), &hands, refused).await?;
                (chosen, Vec::new(), Some(why))
            }
        };
        if let Some(playbook) = &chosen.playbook {
            let define = DefineWorkflowRequest { definition: None, playbook: Some(playbook.clone()) };
            hands.call(DEFINE_WORKFLOW, &define).await?;
        }
        let start =
            StartRequest { workflow: chosen.name.clone(), input: asked.input, key: Some(hands.key()), wait_seconds: 0 };
        let run = hands.call(START, &start).await?;
        let run = match asked.follow_seconds {
            0 => run,
            seconds => follow(&hands, run, Duration::from_secs(seconds)).await?,
        };
        Ok(Planned { found_by, chosen_because, run })
    }

    async fn assign(self: Arc<Self>, asked: Assign, hands: Hands) -> Result<Assigned, Fault> {
        let agents = hands.call(LIST_AGENTS, &Nothing {}).await?.agents;
        let queues = hands.call(QUEUES, &QueuesRequest::default()).await?.queues;
        let load = load_of(&asked.task_type, &agents, &queues)?;
        let least = load.iter().min_by_key(|(name, tasks)| (**tasks, (*name).clone()));
        let agent = least.map(|(name, _)| name.clone()).ok_or_else(|| Fault::internal("nobody to choose from"))?;
        let submit = SubmitTaskRequest {
            queue: agent.clone(),
            task_type: asked.task_type,
            payload: asked.payload,
            priority: kernel::queue::PRIORITY,
            delay_seconds: 0,
            attempts_max: None,
            key: Some(format!("assigned-{}", hands.key())),
        };
        let task = hands.call(SUBMIT_TASK, &submit).await?;
        Ok(Assigned { agent, task, load })
    }

    async fn load(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        let agents = hands.call(LIST_AGENTS, &Nothing {}).await?.agents;
        let queues = hands.call(QUEUES, &QueuesRequest::default()).await?.queues;
        Ok(told(&agents, &queues, self.config.waiting_seconds.into()))
    }
}

/// What waits for too long or for nobody, in a line that stays the same while that does.
fn told(agents: &[AgentRow], queues: &[QueueRow], waiting_seconds: u64) -> String {
    let serves = |queue: &str| agents.iter().any(|agent| agent.name == queue && serving(agent));
    let of_agent = |queue: &&QueueRow| agents.iter().any(|agent| agent.name == queue.queue);
    let waits = |queue: &&QueueRow| queue.queued > 0;
    let alone: Vec<&str> = (queues.iter().filter(of_agent).filter(waits))
        .filter(|queue| !serves(&queue.queue))
        .map(|queue| queue.queue.as_str())
        .take(NAMES_MAX)
        .collect();
    let late: Vec<&str> = (queues.iter().filter(waits))
        .filter(|queue| queue.oldest_seconds >= waiting_seconds && !alone.contains(&queue.queue.as_str()))
        .map(|queue| queue.queue.as_str())
        .take(NAMES_MAX)
        .collect();
    let mut parts = Vec::new();
    if !alone.is_empty() {
        parts.push(format!("no copy serves of {}, whose tasks wait", alone.join(", ")));
    }
    if !late.is_empty() {
        parts.push(format!("tasks wait for more than {waiting_seconds} s in {}", late.join(", ")));
    }
    if parts.is_empty() { "tasks are taken in time".into() } else { parts.join("; ") }
}

fn serving(agent: &AgentRow) -> bool {
    agent.status.serves() && agent.instances > 0
}

/// How many tasks each agent has that serves and does this type.
fn load_of(task_type: &str, agents: &[AgentRow], queues: &[QueueRow]) -> Result<BTreeMap<String, u64>, Fault> {
    let does = |agent: &&AgentRow| agent.task_types.iter().any(|name| name == task_type);
    let able: Vec<&AgentRow> = agents.iter().filter(does).collect();
    if able.is_empty() {
        let types: BTreeSet<&str> = agents.iter().flat_map(|agent| &agent.task_types).map(String::as_str).collect();
        let types: Vec<&str> = types.into_iter().collect();
        return Err(Fault::not_found(format!("no agent does tasks of type `{task_type}`"))
            .hint(format!("there are {}", types.join(", "))));
    }
    let tasks = |name: &str| {
        let queue = queues.iter().find(|queue| queue.queue == name);
        queue.map_or(0, |queue| queue.queued + queue.delayed + queue.running)
    };
    let load: BTreeMap<String, u64> =
        able.iter().filter(|agent| serving(agent)).map(|agent| (agent.name.clone(), tasks(&agent.name))).collect();
    if load.is_empty() {
        let names: Vec<&str> = able.iter().map(|agent| agent.name.as_str()).collect();
        return Err(Fault::unavailable(format!("no agent that does `{task_type}` serves now"))
            .hint(format!("start one of {}", names.join(", "))));
    }
    Ok(load)
}

/// What could be run: what is defined, by its newest version, and what is shipped and not defined yet.
async fn known(hands: &Hands) -> Result<Vec<Candidate>, Fault> {
    let defined = hands.call(LIST_WORKFLOWS, &ListWorkflowsRequest::default()).await?.workflows;
    let shipped = ListWorkflowsRequest { shipped: true, ..ListWorkflowsRequest::default() };
    let shipped = hands.call(LIST_WORKFLOWS, &shipped).await?.workflows;
    let mut known: BTreeMap<String, Candidate> = BTreeMap::new();
    for row in defined {
        let name = format!("{}/{}", row.namespace, row.name);
        let title = row.title.unwrap_or_default();
        known.insert(name.clone(), Candidate { name, playbook: None, title });
    }
    for row in shipped {
        let name = format!("{SHIPPED}/{}", row.name);
        let title = row.title.unwrap_or_default();
        let candidate = Candidate { name: name.clone(), playbook: Some(row.name), title };
        known.entry(name).or_insert(candidate);
    }
    Ok(known.into_values().collect())
}

/// The words of a text, in their plainest form.
fn words(text: &str) -> BTreeSet<String> {
    let plain = |word: &str| {
        let word = word.to_lowercase();
        let short = word.strip_suffix('s').filter(|short| short.chars().count() >= WORD_CHARS_MIN);
        short.map_or(word.clone(), str::to_owned)
    };
    let says = |word: &String| word.chars().count() >= WORD_CHARS_MIN && !EMPTY_WORDS.contains(&word.as_str());
    text.split(|c: char| !c.is_alphanumeric()).map(plain).filter(says).collect()
}

/// The one workflow that fits a goal best, and the words by which it does.
fn choose<'a>(goal: &str, known: &'a [Candidate]) -> Result<(&'a Candidate, Vec<String>), Fault> {
    let wanted = words(goal);
    let fit = |one: &'a Candidate| {
        // The namespace says whose it is, not what it is for.
        let name = words(one.name.rsplit('/').next().unwrap_or_default());
        let title = words(&one.title);
        let found: Vec<String> =
            wanted.iter().filter(|word| name.contains(*word) || title.contains(*word)).cloned().collect();
        let weight = |word: &String| if name.contains(word) { WEIGHTS.0 } else { WEIGHTS.1 };
        (found.iter().map(weight).sum::<u32>(), one, found)
    };
    let mut fits: Vec<_> = known.iter().map(fit).filter(|(weight, ..)| *weight > 0).collect();
    fits.sort_by_key(|(weight, one, _)| (std::cmp::Reverse(*weight), one.name.clone()));
    let list = |names: Vec<&str>| names.into_iter().take(NAMES_MAX).collect::<Vec<_>>().join(", ");
    match fits.as_slice() {
        [(best, _, _), (next, _, _), ..] if best == next => {
            let same: Vec<&str> =
                fits.iter().filter(|(weight, ..)| weight == best).map(|(_, one, _)| &*one.name).collect();
            Err(Fault::invalid("the goal fits several workflows as well")
                .hint(format!("say which in its own words: {}", list(same))))
        }
        [(_, one, found), ..] => Ok((one, found.clone())),
        [] => Err(Fault::not_found("no workflow that is known fits the goal").hint(format!(
            "define one, or say it in the words of {}",
            list(known.iter().map(|one| &*one.name).collect())
        ))),
    }
}
