//! What a duty acts with: tools, under the agent's own role, every call noted in the run's record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kernel::audit::kept_arguments;
use kernel::bus::Event;
use kernel::duties::{Run, Runs, Standing, ToolCall};
use kernel::{Access, Clock, Fault, UnixMs};
use mcp::{Tool, Toolbox, wire};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most calls of one run.
pub const CALLS_MAX: usize = 64;

/// The hands of one run. Cloning shares them.
#[derive(Clone)]
pub struct Hands {
    toolbox: Toolbox,
    runs: Runs,
    run: Arc<Mutex<Run>>,
    acted: Arc<AtomicBool>,
    events: Arc<[Event]>,
    clock: Clock,
}

impl Hands {
    pub(crate) fn new(toolbox: Toolbox, runs: Runs, run: Run, events: Arc<[Event]>, clock: Clock) -> Self {
        Self { toolbox, runs, run: Arc::new(Mutex::new(run)), acted: Arc::default(), events, clock }
    }

    /// The time now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> UnixMs {
        self.clock.now_ms()
    }

    /// The events it is done for, oldest first; none when it was simply time.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Calls a tool. What does more than look is written down first, and not done if it cannot be.
    ///
    /// # Errors
    /// What the tool refuses or fails with; [`Code::TooLarge`](kernel::Code::TooLarge) past [`CALLS_MAX`] calls.
    pub async fn call<I: Serialize, O: DeserializeOwned>(&self, tool: Tool<I, O>, input: &I) -> Result<O, Fault> {
        let arguments = kept_arguments(wire::raw(input).get());
        let noted =
            ToolCall { server: tool.server.into(), tool: tool.name.into(), arguments, outcome: None, took_ms: 0 };
        let place = {
            let mut run = self.run.lock();
            if run.calls.len() >= CALLS_MAX {
                return Err(Fault::too_large(format!("duty {} has called {CALLS_MAX} tools in one run", run.duty)));
            }
            run.calls.push(noted);
            run.calls.len() - 1
        };
        if tool.hints.access != Access::Read {
            self.acted.store(true, Ordering::Release);
            self.write_down().await?;
        }
        let began = Instant::now();
        let answer = self.toolbox.call(tool, input).await;
        let outcome = answer.as_ref().err().map_or_else(|| "ok".to_owned(), |fault: &Fault| fault.code.to_string());
        if let Some(call) = self.run.lock().calls.get_mut(place) {
            call.outcome = Some(outcome);
            call.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        }
        answer
    }

    /// Whether it did more than look.
    pub(crate) fn acted(&self) -> bool {
        self.acted.load(Ordering::Acquire)
    }

    /// Notes how the run ended.
    pub(crate) fn end(&self, standing: Standing, outcome: String) {
        let mut run = self.run.lock();
        (run.standing, run.outcome, run.ended_ms) = (standing, outcome, Some(self.clock.now_ms()));
    }

    pub(crate) async fn write_down(&self) -> Result<(), Fault> {
        let run = self.run.lock().clone();
        self.runs.put(&run).await.map_err(|fault| fault.context(format!("run of {} not written down", run.duty)))
    }
}
