//! What a workflow's steps cost: the engine whole, on a store in memory, so that what is told is the engine's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flow::workflow::engine::{NewRun, Order, Outside, Status};
use flow::workflow::error::Error;
use flow::workflow::history::Effect;
use flow::workflow::{Engine, EngineConfig};
use kernel::fake::World;
use kernel::{Caller, Role};
use serde_json::{Value, json};

use crate::Fallible;
use crate::table::Table;

/// Steps of one run.
const STEPS: u64 = 2_000;
/// Runs at once.
const RUNS: usize = 16;
/// How long a measurement may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Answers at once.
struct Nothing;

#[async_trait]
impl Outside for Nothing {
    async fn perform(&self, _: &Effect, _: &Order) -> Result<Value, Error> {
        Ok(Value::Null)
    }
}

/// Measures and tells.
pub(crate) async fn run() -> Fallible<String> {
    let mut table = Table::new(&["", "steps/s"]);
    let data = "set: { n: '${ .n + 1 }' }";
    let call = "call: mcp, with: { method: tools/call, parameters: { name: s__t, arguments: {} } }";
    for (what, task, steps, runs) in [
        ("data steps, one run", data, STEPS, 1),
        ("calls that answer at once, one run", call, STEPS / 4, 1),
        ("calls that answer at once, 16 runs", call, STEPS / 4, RUNS),
    ] {
        let took = timed(task, steps, runs).await?;
        table.row(vec![what.into(), format!("{:.0}", (steps as f64 * runs as f64) / took.as_secs_f64())]);
    }
    Ok(table.text())
}

async fn timed(task: &str, steps: u64, runs: usize) -> Fallible<Duration> {
    let world = World::default();
    let ports = world.ports();
    let engine = Engine::new(&ports, Arc::new(Nothing), EngineConfig::default(), "bench");
    engine.start(&ports.tasks);
    let caller = Caller::new("bench", Role::Admin);
    let text = format!(
        "document: {{ dsl: 1.0.3, namespace: bench, name: steps, version: 1.0.0 }}\ndo:\n- l: {{ for: {{ in: '[range({steps})]' }}, do: [ {{ s: {{ {task} }} }} ] }}"
    );
    engine.define(text, &caller).await?;
    let began = Instant::now();
    let mut ids = Vec::new();
    for _ in 0..runs {
        let run = NewRun {
            id: None,
            namespace: "bench".into(),
            name: "steps".into(),
            version: None,
            input: json!({ "n": 0 }),
            parent: None,
            depth: 0,
        };
        ids.push(engine.start_run(run, &caller).await?.0.id);
    }
    for id in ids {
        loop {
            let head = engine.settled(&id, LIMIT).await?;
            if head.status == Status::Completed {
                break;
            }
            if head.status.is_end() || began.elapsed() > LIMIT {
                return Err(format!("a run of {steps} steps is {:?}", head.status).into());
            }
        }
    }
    let took = began.elapsed();
    ports.tasks.drain(Duration::from_secs(1)).await;
    Ok(took)
}
