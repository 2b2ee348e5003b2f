//! What a handler knows of the request it works on, and how it talks back, whatever the revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::logs::Level;
use kernel::{Caller, Fault, Trace};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::error::{RpcError, ToolError};
use crate::peer::Peer;
use crate::revision::Revision;
use crate::tasks::Running;

/// The client as it described itself: for features, never for permissions.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Its declared capabilities.
    pub capabilities: Value,
    /// Its `clientInfo`.
    pub info: Value,
}

impl Client {
    /// Whether it declared `name`, one of `elicitation`, `sampling`, `roots`.
    pub fn can(&self, name: &str) -> bool {
        self.capabilities.get(name).is_some_and(|value| !value.is_null())
    }

    /// Whether it declared the extension `id`.
    pub fn has_extension(&self, id: &str) -> bool {
        self.capabilities.get("extensions").and_then(|all| all.get(id)).is_some()
    }
}

/// A client's session (revisions before 2026-07-28): what lasts from one of its requests to the next.
#[derive(Debug, Clone)]
pub struct Session {
    /// Unique and unguessable. Belongs to one caller.
    pub id: Arc<str>,
    /// Cancelled when the session ends.
    pub ended: CancellationToken,
    /// The way to the client outside of any request; what has no stream to travel on waits or is dropped.
    pub peer: Peer,
}

/// Questions to the client that a request cannot go on without (`input_required`).
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The questions, by the handler's own keys.
    pub requests: BTreeMap<String, Question>,
    /// What the handler wants back with the answers. Sealed before it leaves.
    pub state: Value,
}

/// One question: a request the client answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// Its parameters.
    pub params: Value,
}

impl Question {
    /// Asks the user to fill a form; `schema` describes a flat object.
    pub fn form(message: &str, schema: Value) -> Self {
        let params = json!({ "mode": "form", "message": message, "requestedSchema": schema });
        Self { method: "elicitation/create".into(), params }
    }

    /// The client capability it needs.
    pub fn capability(&self) -> &'static str {
        match self.method.as_str() {
            "sampling/createMessage" => "sampling",
            "roots/list" => "roots",
            _ => "elicitation",
        }
    }
}

/// What a retry brought along.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Every answer given so far, by the handler's keys.
    pub given: BTreeMap<String, Value>,
    /// The state the handler kept, unsealed and verified.
    pub state: Value,
}

/// The request's context.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Who asks, authenticated.
    pub caller: Arc<Caller>,
    /// Where in the trace.
    pub trace: Trace,
    /// Which revision the client speaks.
    pub revision: Revision,
    /// The client's own description.
    pub client: Arc<Client>,
    /// The session it belongs to; none from 2026-07-28 on.
    pub session: Option<Session>,
    /// Cancelled when the client takes the request back or leaves.
    pub cancel: CancellationToken,
    /// The way back.
    pub peer: Peer,
    /// Where progress goes, if the client wants it.
    pub progress_token: Option<Value>,
    /// From which level the client wants log messages.
    pub log_level: Option<Level>,
    /// What a retry brought along.
    pub answers: Arc<Answers>,
    /// Progress may only grow.
    pub progress_made: Arc<Mutex<f64>>,
    /// The task that the call is or may become.
    pub task: Option<Arc<Running>>,
}

impl Ctx {
    /// The context of a call made inside the fleet, with no client behind it.
    pub fn internal(caller: Caller, trace: Trace) -> Self {
        Self {
            caller: Arc::new(caller),
            trace,
            revision: Revision::CURRENT,
            client: Arc::default(),
            session: None,
            cancel: CancellationToken::new(),
            peer: Peer::none(),
            progress_token: None,
            log_level: None,
            answers: Arc::default(),
            progress_made: Arc::new(Mutex::new(f64::NEG_INFINITY)),
            task: None,
        }
    }

    /// Reports progress, if the client asked for it. A value that does not grow is not sent.
    pub async fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        if let (Some(task), Some(message)) = (&self.task, message) {
            task.say(message);
        }
        let Some(token) = &self.progress_token else { return };
        {
            let mut made = self.progress_made.lock();
            if progress <= *made {
                return;
            }
            *made = progress;
        }
        let mut params = json!({ "progressToken": token, "progress": progress });
        if let Some(total) = total {
            params["total"] = total.into();
        }
        if let Some(message) = message {
            params["message"] = message.into();
        }
        self.peer.notify("notifications/progress", &params).await;
    }

    /// Sends a log message, if the client wants that level.
    pub async fn log(&self, level: Level, logger: &str, data: &impl Serialize) {
        if self.log_level.is_some_and(|wanted| level >= wanted) {
            let level = if level == Level::Warn { "warning" } else { level.as_str() };
            self.peer.notify("notifications/message", &json!({ "level": level, "logger": logger, "data": data })).await;
        }
    }

    /// Asks the client, in whatever way its revision has, and waits for the answer.
    ///
    /// Before 2026-07-28, and in a call that has become a task, the question travels at once and the handler waits. From then on the handler ends with the error returned
    /// here (`?`), the client answers, and the handler runs again from its start with the answer at hand: what it does before it
    /// asks must be repeatable.
    pub async fn ask(&self, key: &str, question: Question) -> Result<Value, ToolError> {
        let mut answers = self.ask_all(BTreeMap::from([(key.to_owned(), question)]), Value::Null).await?;
        answers.remove(key).ok_or_else(|| RpcError::internal("an answer went missing").into())
    }

    /// Asks several questions at once; `state` comes back in [`Answers::state`] when the handler runs again.
    pub async fn ask_all(
        &self,
        questions: BTreeMap<String, Question>,
        state: Value,
    ) -> Result<BTreeMap<String, Value>, ToolError> {
        for question in questions.values() {
            self.need(question.capability())?;
        }
        let mut given: BTreeMap<String, Value> = BTreeMap::new();
        let mut open = BTreeMap::new();
        for (key, question) in questions {
            match self.answers.given.get(&key) {
                Some(answer) => {
                    given.insert(key, answer.clone());
                }
                None if self.revision.is_modern() => {
                    open.insert(key, question);
                }
                None => {
                    let answer = self.peer.request(&question.method, &question.params).await?;
                    let answer = serde_json::from_str(answer.get())
                        .map_err(|error| Fault::upstream(format!("the client's answer to {key}: {error}")))?;
                    given.insert(key, answer);
                }
            }
        }
        match &self.task {
            _ if open.is_empty() => Ok(given),
            Some(task) if task.takes_questions() => {
                given.extend(task.ask(open).await?);
                Ok(given)
            }
            _ => Err(Ask { requests: open, state }.into()),
        }
    }

    /// Refuses when the client did not declare `capability`.
    pub fn need(&self, capability: &'static str) -> Result<(), ToolError> {
        if self.client.can(capability) {
            return Ok(());
        }
        let data = json!({ "requiredCapabilities": { capability: {} } });
        let message = format!("the client does not support {capability}, which this request needs");
        Err(RpcError::new(crate::error::codes::MISSING_CAPABILITY, message).data(data).into())
    }
}
