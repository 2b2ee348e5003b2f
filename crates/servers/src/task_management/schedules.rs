//! Schedules as tools.

use flow::schedules::{Missed, Schedule, Spec, Template};
use kernel::UnixMs;
use mcp::prelude::*;

use super::TaskManagement;

/// How many of its next times a schedule shows.
const UPCOMING: usize = 5;

/// What [`SCHEDULE`](super::SCHEDULE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// Its name: 1 to 64 characters of `A-Z a-z 0-9 . _ : -`.
    pub name: String,
    /// When it fires.
    pub when: Spec,
    /// What becomes of times at which nobody could fire it.
    #[serde(default)]
    pub missed: Missed,
    /// What it submits.
    pub task: Template,
}

/// A schedule and its next times.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleRow {
    /// The schedule.
    pub schedule: Schedule,
    /// Its next times, at most five, in milliseconds since the Unix epoch.
    pub upcoming_ms: Vec<UnixMs>,
}

impl From<Schedule> for ScheduleRow {
    fn from(schedule: Schedule) -> Self {
        Self { upcoming_ms: schedule.upcoming(UPCOMING), schedule }
    }
}

/// What [`LIST_SCHEDULES`](super::LIST_SCHEDULES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSchedulesRequest {}

/// What [`LIST_SCHEDULES`](super::LIST_SCHEDULES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListSchedulesResponse {
    /// The schedules, by name.
    pub schedules: Vec<ScheduleRow>,
}

/// What [`PAUSE_SCHEDULE`](super::PAUSE_SCHEDULE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseScheduleRequest {
    /// Its name.
    pub name: String,
    /// Whether it rests; false lets it go on.
    #[serde(default = "yes")]
    pub paused: bool,
}

fn yes() -> bool {
    true
}

/// One schedule.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleName {
    /// Its name.
    pub name: String,
}

impl TaskManagement {
    pub(super) async fn schedule(
        self: Arc<Self>,
        request: ScheduleRequest,
        ctx: Ctx,
    ) -> Result<ScheduleRow, ToolError> {
        let ScheduleRequest { name, when, missed, task } = request;
        self.admit(&task.queue, &task.task_type, &ctx.caller).await?;
        Ok(self.schedules.put(&name, when, missed, task, &ctx.caller).await?.into())
    }

    pub(super) async fn list_schedules(
        self: Arc<Self>,
        _request: ListSchedulesRequest,
        _ctx: Ctx,
    ) -> Result<ListSchedulesResponse, ToolError> {
        let schedules = self.schedules.list().await?.into_iter().map(ScheduleRow::from).collect();
        Ok(ListSchedulesResponse { schedules })
    }

    pub(super) async fn pause_schedule(
        self: Arc<Self>,
        request: PauseScheduleRequest,
        _ctx: Ctx,
    ) -> Result<ScheduleRow, ToolError> {
        Ok(self.schedules.pause(&request.name, request.paused).await?.into())
    }

    pub(super) async fn delete_schedule(
        self: Arc<Self>,
        request: ScheduleName,
        _ctx: Ctx,
    ) -> Result<ScheduleRow, ToolError> {
        Ok(self.schedules.delete(&request.name).await?.into())
    }
}
