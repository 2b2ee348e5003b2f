//! Tools that become tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use mcp::listen::{TASKS_EXTENSION, needs_tasks_extension};
use mcp::{Hints, McpServer, ToolSet, tools};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::content::{protocol_error, refusal, rest, text};
use crate::rounds::{field, form};
use crate::{Everything, Nothing};

/// What [`SLOW`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Slow {
    /// How long.
    #[serde(default)]
    pub seconds: u64,
    /// What for.
    #[serde(default)]
    pub label: String,
}

/// What [`CONFIRM`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Delete {
    /// Which file.
    #[serde(default)]
    pub filename: String,
}

const LONG: Hints = Hints::READ.within(Duration::from_secs(300)).long();
/// Longer than what is answered at once.
const A_WHILE_MS: u64 = 2 * mcp::tasks::GRACE.as_millis() as u64;

tools! { Everything::NAME;
    /// Works for some seconds.
    SLOW = "slow_compute": fn(Slow) -> (), LONG;
    /// Works for a second and refuses; can only be had as a task.
    FAILING = "failing_job": fn(Nothing) -> (), LONG;
    /// Works for a while and ends with an error of the protocol.
    PROTOCOL_ERROR = "protocol_error_job": fn(Nothing) -> (), LONG;
    /// Asks for confirmation in the middle of its work.
    CONFIRM = "confirm_delete": fn(Delete) -> (), LONG;
    /// Asks two things in the middle of its work.
    MULTI = "multi_input": fn(Nothing) -> (), LONG;
    /// Asks first and becomes a task then.
    WITH_TASK = "test_tool_with_task": fn(Nothing) -> (), LONG;
}

/// Adds them.
pub fn add(set: &mut ToolSet<Everything>) {
    set.add_content(SLOW, |_, Slow { seconds, label }, ctx| async move {
        rest(seconds * 1_000, &ctx).await;
        text(format!("computed {label}"))
    });
    set.add_content(FAILING, |_, _, ctx| async move {
        if !ctx.client.has_extension(TASKS_EXTENSION) {
            return Err(needs_tasks_extension().into());
        }
        rest(1_000, &ctx).await;
        Err(refusal("the job failed, as it always does"))
    });
    set.add_content(PROTOCOL_ERROR, |_, _, ctx| async move {
        rest(A_WHILE_MS, &ctx).await;
        Err(protocol_error("the job broke, as it always does"))
    });
    set.add_content(CONFIRM, |_, Delete { filename }, ctx| async move {
        rest(A_WHILE_MS, &ctx).await;
        let answer = ctx.ask("confirm", form(&format!("Delete {filename}?"), "confirm", "boolean")).await?;
        text(format!("{filename}: {}", answer["action"]))
    });
    set.add_content(MULTI, |_, _, ctx| async move {
        rest(A_WHILE_MS, &ctx).await;
        let questions = BTreeMap::from([
            ("first".into(), form("First name?", "name", "string")),
            ("second".into(), form("Second name?", "name", "string")),
        ]);
        let answers = ctx.ask_all(questions, Value::Null).await?;
        text(format!("{} and {}", field(&answers["first"], "name"), field(&answers["second"], "name")))
    });
    set.add_content(WITH_TASK, |_, _, ctx| async move {
        let answer = ctx.ask("user_name", form("What is your name?", "name", "string")).await?;
        rest(A_WHILE_MS, &ctx).await;
        text(format!("Hello, {}!", field(&answer, "name")))
    });
}
