//! What a duty or a task acts with: tools, under the agent's own role, every call noted in the run's record.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use flow::worker::Job;
use kernel::audit::kept_arguments;
use kernel::bus::Event;
use kernel::duties::{Run, Runs, Standing, ToolCall};
use kernel::{Access, Clock, Fault, UnixMs};
use mcp::{Tool, Toolbox, wire};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::notes::Notes;

/// Most calls of one run.
pub const CALLS_MAX: usize = 64;

/// The hands of one run. Cloning shares them.
#[derive(Clone)]
pub struct Hands {
    toolbox: Toolbox,
    runs: Runs,
    notes: Notes,
    run: Arc<Mutex<Run>>,
    acted: Arc<AtomicBool>,
    events: Arc<[Event]>,
    job: Option<Job>,
    clock: Clock,
}

impl Hands {
    pub(crate) fn new(toolbox: Toolbox, runs: Runs, notes: Notes, run: Run, clock: Clock) -> Self {
        Self {
            toolbox,
            runs,
            notes,
            run: Arc::new(Mutex::new(run)),
            acted: Arc::default(),
            events: Arc::new([]),
            job: None,
            clock,
        }
    }

    /// The same, for events.
    pub(crate) fn seeing(self, events: Arc<[Event]>) -> Self {
        Self { events, ..self }
    }

    /// The same, for a task that is held.
    pub(crate) fn holding(self, job: Job) -> Self {
        Self { job: Some(job), ..self }
    }

    /// What the idempotency key of what the task does outside is made of: the same for all its attempts. Of a duty, the run's id.
    pub fn key(&self) -> String {
        self.job.as_ref().map_or_else(|| self.run.lock().id.clone(), Job::effect_key)
    }

    /// Says how far the task is.
    pub fn progress(&self, fraction: f64, message: impl Into<String>) {
        if let Some(job) = &self.job {
            job.progress(fraction, message);
        }
    }

    /// Resolves when the task is asked to stop; a second is left then. Never for a duty.
    pub async fn cancelled(&self) {
        match &self.job {
            Some(job) => job.cancelled.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// What the agent knows again after a restart.
    pub fn notes(&self) -> &Notes {
        &self.notes
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
        let acts = tool.hints.access != Access::Read || tool.hints.destructive;
        self.noted(tool.server, tool.name, wire::raw(input).get(), acts, self.toolbox.call(tool, input)).await
    }

    /// Looks by a tool that is known by its names alone, and is known to change nothing.
    ///
    /// # Errors
    /// As of [`Hands::call`].
    pub async fn look(&self, server: &str, tool: &str, arguments: &Value) -> Result<Value, Fault> {
        let arguments = wire::raw(arguments);
        let kept = arguments.get().to_owned();
        self.noted(server, tool, &kept, false, self.toolbox.call_named(server, tool, arguments)).await
    }

    /// Calls a tool by its names, which somebody else gave. It is written down first: nobody here knows whether it does more than look.
    ///
    /// # Errors
    /// As of [`Hands::call`].
    pub async fn call_named(&self, server: &str, tool: &str, arguments: &Value) -> Result<Value, Fault> {
        let arguments = wire::raw(arguments);
        let kept = arguments.get().to_owned();
        self.noted(server, tool, &kept, true, self.toolbox.call_named(server, tool, arguments)).await
    }

    async fn noted<O>(
        &self,
        server: &str,
        tool: &str,
        arguments: &str,
        acts: bool,
        call: impl Future<Output = Result<O, Fault>>,
    ) -> Result<O, Fault> {
        let arguments = kept_arguments(arguments);
        let noted = ToolCall { server: server.into(), tool: tool.into(), arguments, outcome: None, took_ms: 0 };
        let place = {
            let mut run = self.run.lock();
            if run.calls.len() >= CALLS_MAX {
                return Err(Fault::too_large(format!("{} has called {CALLS_MAX} tools in one run", run.duty)));
            }
            run.calls.push(noted);
            run.calls.len() - 1
        };
        if acts {
            self.acted.store(true, Ordering::Release);
            self.write_down().await?;
        }
        let began = Instant::now();
        let answer = call.await;
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
