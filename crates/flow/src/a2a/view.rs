//! Tasks of the queue in the protocol's words.

use std::collections::HashMap;

use a2a::{
    AgentCapabilities, AgentCard, AgentInterface, AgentProvider, AgentSkill, Artifact, HttpAuthSecurityScheme, Message,
    Part, Role, SecurityScheme, StreamResponse, TRANSPORT_PROTOCOL_JSONRPC, TaskArtifactUpdateEvent, TaskState,
    TaskStatus, TaskStatusUpdateEvent,
};
use chrono::DateTime;
use kernel::UnixMs;
use kernel::offers::{Offer, TaskType};
use kernel::queue::{State, Task};
use serde_json::{Value, json};

use super::wish::KEY;

/// What of a task is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// How many messages at most; all when nothing is said.
    pub history: Option<i32>,
    /// Whether what came of it is.
    pub artifacts: bool,
}

/// The conversation a task belongs to. One that came in by another door is one of its own.
pub fn context_of(task: &Task) -> String {
    let key = task.key.as_deref().and_then(|key| key.strip_prefix(KEY));
    let context = key.and_then(|key| key.split('/').nth(1));
    context.map_or_else(|| format!("ctx-{}", task.id), str::to_owned)
}

/// How a task stands, in the protocol's words.
pub(super) fn state(task: &Task) -> TaskState {
    match task.state {
        State::Queued | State::Delayed if task.attempts == 0 => TaskState::Submitted,
        State::Queued | State::Delayed | State::Running => TaskState::Working,
        State::Done => TaskState::Completed,
        State::Dead => TaskState::Failed,
        State::Cancelled => TaskState::Canceled,
    }
}

/// Since when it stands so, about.
pub(super) fn at_ms(task: &Task) -> UnixMs {
    task.ended_ms.or(task.started_ms).unwrap_or(task.submitted_ms)
}

/// Whether it stands otherwise than before, for who follows it.
pub fn differs(before: &Task, after: &Task) -> bool {
    let of = |task: &Task| (task.state, task.attempts, task.cancelling);
    of(before) != of(after) || before.progress != after.progress
}

/// What an agent has to say of how a task stands.
fn says(task: &Task) -> Option<String> {
    let failed = task.failure.as_ref().map(|failure| format!("{}: {}", failure.code, failure.message));
    match task.state {
        State::Running if task.cancelling => Some("asked to stop".into()),
        State::Running => task.progress.as_ref().map(|progress| {
            let percent = (progress.fraction * 100.0).round();
            format!("{percent} %: {}", progress.message).trim_end_matches(": ").to_owned()
        }),
        State::Delayed if task.attempts > 0 => failed.map(|why| format!("tried again in a while: {why}")),
        State::Dead => failed,
        _ => None,
    }
}

fn status(task: &Task) -> TaskStatus {
    let message = says(task).map(|text| Message {
        message_id: format!("{}-{}-{}", task.id, task.attempts, task.state),
        context_id: Some(context_of(task)),
        task_id: Some(task.id.to_string()),
        ..Message::new(Role::Agent, vec![Part::text(text)])
    });
    TaskStatus { state: state(task), message, timestamp: DateTime::from_timestamp_millis(at_ms(task)) }
}

/// The message that a task came from, as far as it is kept: which skill, and with what.
fn asked(task: &Task) -> Message {
    let sent = task.key.as_deref().filter(|key| key.starts_with(KEY)).and_then(|key| key.rsplit('/').next());
    Message {
        message_id: sent.map_or_else(|| task.id.to_string(), str::to_owned),
        context_id: Some(context_of(task)),
        task_id: Some(task.id.to_string()),
        metadata: Some(HashMap::from([("skill".to_owned(), json!(task.task_type))])),
        ..Message::new(Role::User, vec![Part::data(task.payload.clone())])
    }
}

fn result(task: &Task) -> Option<Artifact> {
    let result = task.result.as_ref().filter(|_| task.state == State::Done)?;
    let part = result.as_str().map_or_else(|| Part::data(result.clone()), Part::text);
    Some(Artifact {
        artifact_id: "result".into(),
        name: Some(task.task_type.clone()),
        description: None,
        parts: vec![part],
        metadata: None,
        extensions: None,
    })
}

/// A task.
pub(super) fn task(task: &Task, shown: Shown) -> a2a::Task {
    let metadata = [("skill", json!(task.task_type)), ("attempts", json!(task.attempts))];
    a2a::Task {
        id: task.id.to_string(),
        context_id: context_of(task),
        status: status(task),
        artifacts: shown.artifacts.then(|| result(task).into_iter().collect()),
        history: (shown.history.is_none_or(|most| most > 0)).then(|| vec![asked(task)]),
        metadata: Some(metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
    }
}

/// The first event of a stream: the task as it stands.
pub fn first(of: &Task) -> StreamResponse {
    StreamResponse::Task(task(of, Shown { history: None, artifacts: true }))
}

/// What is told of a change: what came of it, and how it stands.
pub fn updates(task: &Task) -> Vec<StreamResponse> {
    let (task_id, context_id) = (task.id.to_string(), context_of(task));
    let artifact = result(task).map(|artifact| {
        StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
            task_id: task_id.clone(),
            context_id: context_id.clone(),
            artifact,
            append: None,
            last_chunk: Some(true),
            metadata: None,
        })
    });
    let status = StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
        task_id: task_id.clone(),
        context_id: context_id.clone(),
        status: status(task),
        metadata: None,
    });
    artifact.into_iter().chain([status]).collect()
}

/// An agent's card.
pub(super) fn card(agent: &str, offer: &Offer, url: &str, version: &str, about: &str) -> AgentCard {
    let bearer = SecurityScheme::HttpAuth(HttpAuthSecurityScheme {
        scheme: "bearer".into(),
        description: Some("a key from `flotilla token create`".into()),
        bearer_format: None,
    });
    AgentCard {
        name: agent.into(),
        description: about.into(),
        version: version.into(),
        supported_interfaces: vec![AgentInterface::new(url, TRANSPORT_PROTOCOL_JSONRPC)],
        capabilities: AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(true),
            extensions: None,
            extended_agent_card: Some(false),
        },
        default_input_modes: vec!["application/json".into(), "text/plain".into()],
        default_output_modes: vec!["application/json".into(), "text/plain".into()],
        skills: offer.types.iter().map(skill).collect(),
        provider: None::<AgentProvider>,
        documentation_url: None,
        icon_url: None,
        security_schemes: Some(HashMap::from([("key".to_owned(), bearer)])),
        security_requirements: Some(vec![HashMap::from([("key".to_owned(), Vec::new())])]),
        signatures: None,
    }
}

fn skill(of: &TaskType) -> AgentSkill {
    let mut about = if of.about.is_empty() { format!("Tasks of type {}.", of.name) } else { of.about.clone() };
    let fields = of.payload.as_ref().and_then(|schema| schema["properties"].as_object());
    let names: Vec<&str> = fields.into_iter().flatten().map(|(name, _)| &**name).collect();
    if !names.is_empty() {
        about.push_str(&format!(" Takes {}.", names.join(", ")));
    }
    let access = serde_json::to_value(of.access).unwrap_or(Value::Null);
    AgentSkill {
        id: of.name.clone(),
        name: of.name.replace('_', " "),
        description: about,
        tags: vec![format!("access:{}", access.as_str().unwrap_or_default())],
        examples: None,
        input_modes: None,
        output_modes: None,
        security_requirements: None,
    }
}
