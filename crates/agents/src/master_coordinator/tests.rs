//! What is chosen for a goal and for a task; and both on real servers.

use async_trait::async_trait;
use kernel::models::{Chosen, Embedded, Listener, Models, Provider, Said, Stop, Usage, Wish};
use kernel::queue::{NewTask, Queue, State, Task};
use kernel::{Caller, Role};
use mcp::prelude::*;
use serde_json::json;
use servers::MarketPorts;
use servers::ai_integration::AiIntegration;
use std::time::Instant;

use super::*;
use crate::testing::Bench;

/// How long a state may take to come.
const LIMIT: Duration = Duration::from_secs(60);

fn candidate(name: &str, title: &str) -> Candidate {
    Candidate { name: name.into(), playbook: None, title: title.into() }
}

#[test]
fn the_workflow_that_fits_best_is_chosen_or_none() {
    let known = [
        candidate("playbooks/deploy-contract", "Deploy a contract"),
        candidate("playbooks/incident-response", "Incident response"),
        candidate("playbooks/nightly-report", "Nightly report"),
        candidate("team/weekly-report", "Weekly report of the desk"),
    ];
    for (goal, want) in [
        ("deploy the new contracts", "playbooks/deploy-contract by contract deploy"),
        (
            "Report!",
            "the goal fits several workflows as well (say which in its own words: playbooks/nightly-report, team/weekly-report)",
        ),
        ("the nightly report, please", "playbooks/nightly-report by nightly report"),
        ("what did the desk do", "team/weekly-report by desk"),
        (
            "playbooks",
            "no workflow that is known fits the goal (define one, or say it in the words of playbooks/deploy-contract, playbooks/incident-response, playbooks/nightly-report, team/weekly-report)",
        ),
        (
            "",
            "no workflow that is known fits the goal (define one, or say it in the words of playbooks/deploy-contract, playbooks/incident-response, playbooks/nightly-report, team/weekly-report)",
        ),
    ] {
        let chosen = choose(goal, &known);
        let told = chosen.map_or_else(
            |fault| format!("{} ({})", fault.message, fault.hint.unwrap_or_default()),
            |(one, by)| format!("{} by {}", one.name, by.join(" ")),
        );
        assert_eq!(told, want, "{goal}");
    }
}

fn agent(name: &str, status: Status, task_types: &[&str]) -> AgentRow {
    let instances = u64::from(status != Status::Down);
    AgentRow {
        name: name.into(),
        status,
        instances,
        task_types: task_types.iter().map(|name| (*name).into()).collect(),
    }
}

fn queue(name: &str, queued: u64, running: u64, oldest_seconds: u64) -> QueueRow {
    QueueRow { queue: name.into(), queued, running, oldest_seconds, ..QueueRow::default() }
}

#[test]
fn a_task_goes_to_who_serves_and_has_least_to_do() {
    let agents = [
        agent("a", Status::Healthy, &["look", "sing"]),
        agent("b", Status::Degraded, &["look"]),
        agent("c", Status::Down, &["look", "dance"]),
    ];
    let queues = [queue("a", 2, 1, 0), queue("b", 0, 1, 0), queue("c", 0, 0, 0)];
    for (task_type, want) in [
        ("look", "a 3, b 1"),
        ("sing", "a 3"),
        ("dance", "unavailable: no agent that does `dance` serves now (start one of c)"),
        ("fly", "not_found: no agent does tasks of type `fly` (there are dance, look, sing)"),
    ] {
        let load = load_of(task_type, &agents, &queues);
        let told = load.map_or_else(
            |fault| fault.to_string(),
            |load| load.iter().map(|(name, tasks)| format!("{name} {tasks}")).collect::<Vec<_>>().join(", "),
        );
        assert_eq!(told, want);
    }
    let late = [queue("a", 1, 0, 301), queue("c", 4, 0, 9_999), queue("pool", 1, 0, 400), queue("b", 1, 0, 299)];
    assert_eq!(told(&agents, &queues, 300), "tasks are taken in time");
    assert_eq!(
        told(&agents, &late, 300),
        "no copy serves of c, whose tasks wait; tasks wait for more than 300 s in a, pool"
    );
}

/// The coordinator's tool, with one agent.
struct Coordinator;

#[async_trait]
impl Features for Coordinator {}

impl McpServer for Coordinator {
    const NAME: &'static str = COORDINATOR;
    const INSTRUCTIONS: &'static str = "";
    type Config = ();
    type Ports = Ports;

    fn new(_: &Ports, (): ()) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(LIST_AGENTS, |_: Arc<Self>, _: Nothing, _: Ctx| async {
            Ok::<_, ToolError>(Listed { agents: vec![agent("singer", Status::Healthy, &["sing"])] })
        });
    }
}

async fn ended(bench: &Bench, task_type: &str, payload: Value) -> Task {
    let task = NewTask::new(COORDINATOR, task_type, payload, &Caller::new("ann", Role::Operator));
    let id = bench.world.queue.submit(vec![task]).await.unwrap()[0].id;
    let began = Instant::now();
    loop {
        let task = bench.world.queue.get(id).await.unwrap().unwrap();
        if task.state.is_ended() {
            return task;
        }
        assert!(began.elapsed() < LIMIT, "{task:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn goals_become_runs_tasks_find_their_agent_and_trading_is_only_ever_tightened() {
    let servers = ["orchestration", "task-management", "risk-management", "production"];
    let bench = Bench::new::<MasterCoordinator>(Config::default(), &servers).await;
    bench.serve_this(Arc::new(Coordinator));
    bench.start();
    let planned = ended(&bench, "goal", json!({ "goal": "give me the nightly report" })).await.result.unwrap();
    assert_eq!(planned["found_by"], json!(["nightly", "report"]), "{planned}");
    assert!(planned["run"]["workflow"].as_str().unwrap().starts_with("playbooks/nightly-report/"), "{planned}");
    assert_eq!(planned["run"]["started_by"], "agent:master-coordinator");

    let assigned = ended(&bench, "assign", json!({ "task_type": "sing", "payload": { "song": 1 } })).await;
    let result = assigned.result.unwrap();
    assert_eq!((&result["agent"], &result["load"]), (&json!("singer"), &json!({ "singer": 0 })), "{result}");
    let handed = bench.world.queue.get(result["id"].as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        (handed.queue.as_str(), handed.caller.as_str(), handed.state),
        ("singer", "agent:master-coordinator", State::Queued)
    );
    // Handed on with no more rights than the one who asked has.
    assert_eq!(handed.role, Role::Agent(COORDINATOR.into()));

    let halted = ended(&bench, "pause_trading", json!({ "reason": "a drill" })).await;
    assert_eq!(halted.state, State::Done, "{halted:?}");
    let loosened = ended(&bench, "degrade", json!({ "reason": "back to less" })).await;
    assert_eq!(loosened.failure.unwrap().code, kernel::Code::PermissionDenied, "people resume");
    bench.stop().await;
}

/// A model that chooses this workflow, whatever the goal.
struct Chooses(&'static str);

#[async_trait]
impl Models for Chooses {
    fn ready(&self) -> bool {
        true
    }

    fn chosen(&self, model: &str, _: bool) -> Result<Vec<Chosen>, Fault> {
        Ok(vec![Chosen { provider: "p".into(), model: model.into(), price: None }])
    }

    async fn chat(&self, chosen: &Chosen, wish: &Wish, _: &dyn Listener) -> Result<Said, Fault> {
        assert!(wish.schema.as_ref().unwrap().to_string().contains("playbooks/nightly-report"));
        Ok(Said {
            provider: chosen.provider.clone(),
            model: chosen.model.clone(),
            text: json!({ "workflow": self.0, "why": "it tells how the day was" }).to_string(),
            calls: Vec::new(),
            stop: Stop::End,
            usage: Usage { input_tokens: Some(50), cached_tokens: 0, output_tokens: Some(9) },
            broken: None,
        })
    }

    async fn embed(&self, _: &Chosen, _: &[String]) -> Result<Embedded, Fault> {
        Err(Fault::unsupported("it only chooses"))
    }

    async fn providers(&self, _: bool) -> Vec<Provider> {
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_chooses_among_what_there_is_where_words_do_not_and_nothing_else() {
    for (choice, found) in [("playbooks/nightly-report", true), ("none", false)] {
        let config = Config { plan_model: Some("m".into()), ..Config::default() };
        let bench = Bench::new::<MasterCoordinator>(config, &["orchestration"]).await;
        let ports =
            MarketPorts { models: Arc::new(Chooses(choice)), ..MarketPorts::without_pools(bench.world.ports()) };
        bench.serve_this(Arc::new(AiIntegration::new(&ports, Default::default()).unwrap()));
        bench.start();
        let ended = ended(&bench, "goal", json!({ "goal": "how was it today?" })).await;
        match ended.result {
            Some(planned) => {
                assert!(found, "{planned}");
                assert_eq!(
                    (&planned["found_by"], &planned["chosen_because"]),
                    (&json!([]), &json!("it tells how the day was"))
                );
                assert!(
                    planned["run"]["workflow"].as_str().unwrap().starts_with("playbooks/nightly-report/"),
                    "{planned}"
                );
            }
            None => assert!(!found, "{:?}", ended.failure),
        }
        bench.stop().await;
    }
}
