//! A run of a model with tools, as it stands in the store: its head, and everything that happened in it, in order.
//!
//! Each step is one commit of an entry that was not there and of the head as it was read: who goes on with a run that somebody else has taken over finds
//! out before anything is done.

use kernel::models::{Message, Said, Stop, ToolCall, ToolResult, Usage};
use kernel::store::{Entry as Stored, Expect, LIST_MAX, VALUE_BYTES_MAX, Write};
use kernel::{Caller, Result, Role, UnixMs};
use mcp::prelude::*;
use serde_json::{Value, json};

use super::AiIntegration;
use super::chat::{ChatMessage, ChatResponse, ToolsWish};
use super::ledger::{Ledger, Used};

/// Runs and what happened in them.
const SPACE: &str = "models.runs";
/// How long a run is kept after its last step, in milliseconds: 30 days.
const KEPT_MS: i64 = 30 * 86_400_000;
/// Most entries of a run.
pub(super) const ENTRIES_MAX: u32 = 900;
/// Where a run's trace is read.
pub(super) const URI: &str = "run://ai-integration/";

/// What a run was asked for. It does not change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) messages: Vec<ChatMessage>,
    pub(super) system: String,
    pub(super) model: String,
    pub(super) tokens_max: u32,
    pub(super) temperature_percent: Option<u8>,
    pub(super) schema: Option<Value>,
    pub(super) tools: ToolsWish,
    pub(super) steps_max: u32,
    pub(super) run_tokens: u64,
    pub(super) run_nano_usd: Option<u64>,
}

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) id: String,
    /// Whose it is.
    pub(super) caller: String,
    /// What they might do when they began it: it is never done for with more.
    pub(super) rights: Role,
    pub(super) begun_ms: UnixMs,
    pub(super) order: Order,
    /// What marks the bounds of foreign text in this run: nobody outside can know it.
    pub(super) mark: String,
    /// How many entries there are.
    pub(super) entries: u32,
    /// How many turns the model has had.
    pub(super) steps: u32,
    pub(super) used: Used,
    /// Once it has ended.
    pub(super) answer: Option<ChatResponse>,
}

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Event {
    /// The model said something.
    Said {
        at_ms: UnixMs,
        provider: String,
        model: String,
        text: String,
        calls: Vec<ToolCall>,
        stop: Stop,
        /// What it broke off of.
        broken: Option<Fault>,
        used: Used,
    },
    /// A call is about to be made.
    Calling {
        at_ms: UnixMs,
        id: String,
        server: String,
        tool: String,
        arguments: Value,
        /// Whether it may be made again when nobody knows how it ended.
        repeatable: bool,
    },
    /// What came of a call that the model wanted.
    Got { at_ms: UnixMs, id: String, name: String, text: String, failed: bool },
    /// The model was told that its answer does not do.
    Corrected { at_ms: UnixMs, text: String },
}

/// A step of a run, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRow {
    /// The tool that the model wanted, by its name in the aggregate.
    pub tool: String,
    /// With what arguments, as the model wrote them; at most 500 characters.
    pub arguments: String,
    /// What came of it: `ok`, `refused` or `failed`, and the beginning of what was said of the latter.
    pub outcome: String,
}

/// A run that this process goes on with.
pub(super) struct Open {
    ledger: Ledger,
    pub(super) head: Head,
    pub(super) events: Vec<Event>,
    /// What the head is expected to be.
    expect: Expect,
}

fn key_of(id: &str, entry: u32) -> String {
    format!("{id}\n{entry:05}")
}

impl Open {
    /// Begins a run.
    pub(super) async fn begin(ledger: &Ledger, caller: &Caller, order: Order) -> Result<Self> {
        let head = Head {
            id: kernel::ids::new_id("run"),
            caller: caller.name.clone(),
            rights: caller.rights(),
            begun_ms: ledger.clock.now_ms(),
            order,
            mark: kernel::ids::random_token(9),
            entries: 0,
            steps: 0,
            used: Used { nano_usd: Some(0), ..Used::default() },
            answer: None,
        };
        let mut open = Self { ledger: ledger.clone(), head, events: Vec::new(), expect: Expect::Absent };
        open.commit(None).await?;
        Ok(open)
    }

    /// Reads a run to go on with it. It belongs to who began it; administrators may look.
    pub(super) async fn read(ledger: &Ledger, id: &str, caller: &Caller) -> Result<Self> {
        let unknown = || Fault::not_found(format!("no run `{}`", id.escape_debug())).hint("the id that chat answered");
        let fits = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let stored = if fits { ledger.store.get(SPACE, id).await? } else { None };
        let stored = stored.ok_or_else(unknown)?;
        let head: Head = read(&stored)?;
        if head.caller != caller.name && !caller.allows(Access::Admin) {
            return Err(unknown());
        }
        let entries = ledger.store.list(SPACE, &format!("{id}\n"), None, LIST_MAX).await?;
        // What was written after the head was read is not ours to know yet.
        let events = entries.iter().take(head.entries as usize).map(read).collect::<Result<Vec<Event>>>()?;
        Ok(Self { ledger: ledger.clone(), head, events, expect: Expect::Revision(stored.revision) })
    }

    /// Writes down what happened, and the head with it.
    ///
    /// # Errors
    /// `conflict` when somebody else has gone on with the run.
    pub(super) async fn note(&mut self, event: Event) -> Result<()> {
        if self.head.entries >= ENTRIES_MAX {
            return Err(Fault::too_large(format!("a run has at most {ENTRIES_MAX} steps")));
        }
        let write = self.write(&key_of(&self.head.id, self.head.entries), &event)?.expecting(Expect::Absent);
        self.head.entries += 1;
        self.commit(Some(write)).await?;
        self.events.push(event);
        Ok(())
    }

    /// Writes the head down as it is now.
    pub(super) async fn commit(&mut self, with: Option<Write>) -> Result<()> {
        let head = self.write(&self.head.id, &self.head)?.expecting(self.expect);
        let writes = [head].into_iter().chain(with).collect();
        let revision = self.ledger.store.commit(writes).await.map_err(|fault| {
            if fault.code != Code::Conflict {
                return fault;
            }
            Fault::conflict(format!("run {} is gone on with elsewhere", self.head.id)).hint("wait for it there")
        })?;
        self.expect = Expect::Revision(revision);
        Ok(())
    }

    fn write<T: Serialize>(&self, key: &str, value: &T) -> Result<Write> {
        let text = serde_json::to_string(value).map_err(|error| Fault::internal(format!("run: {error}")))?;
        if text.len() > VALUE_BYTES_MAX {
            return Err(Fault::too_large(format!("a step of the run has {} bytes", text.len()))
                .hint("fewer tokens at once (tokens_max), or shorter messages"));
        }
        Ok(Write::put(SPACE, key, text).expiring_at(self.ledger.clock.now_ms() + KEPT_MS))
    }

    /// The conversation so far, as the model is to see it.
    pub(super) fn messages(&self) -> Vec<Message> {
        let mut messages: Vec<Message> = self.head.order.messages.iter().map(ChatMessage::to_model).collect();
        for event in &self.events {
            match event {
                Event::Said { text, calls, .. } => {
                    messages.push(Message::Model { text: text.clone(), calls: calls.clone() });
                }
                Event::Got { id, text, failed, .. } => {
                    let result = ToolResult { id: id.clone(), text: text.clone(), failed: *failed };
                    match messages.last_mut() {
                        Some(Message::Results { results }) => results.push(result),
                        _ => messages.push(Message::Results { results: vec![result] }),
                    }
                }
                Event::Corrected { text, .. } => messages.push(Message::User { text: text.clone() }),
                Event::Calling { .. } => {}
            }
        }
        messages
    }

    /// The calls of the model's last words that nothing has come of yet.
    pub(super) fn open_calls(&self) -> Vec<ToolCall> {
        let Some(place) = self.events.iter().rposition(|event| matches!(event, Event::Said { .. })) else {
            return Vec::new();
        };
        let Event::Said { calls, .. } = &self.events[place] else { return Vec::new() };
        let got = |id: &str| {
            self.events[place..].iter().any(|event| matches!(event, Event::Got { id: got, .. } if got == id))
        };
        calls.iter().filter(|call| !got(&call.id)).cloned().collect()
    }

    /// A call that was about to be made when the run stood still.
    pub(super) fn begun_call(&self, id: &str) -> Option<&Event> {
        let last = self.events.last()?;
        matches!(last, Event::Calling { id: begun, .. } if begun == id).then_some(last)
    }

    /// The model's last answer, if nothing has come after it and it wants nothing called.
    pub(super) fn final_answer(&self) -> Option<Said> {
        match self.events.last()? {
            Event::Said { provider, model, text, calls, stop, broken, .. } if calls.is_empty() => Some(Said {
                provider: provider.clone(),
                model: model.clone(),
                text: text.clone(),
                calls: Vec::new(),
                stop: *stop,
                usage: Usage::default(),
                broken: broken.clone(),
            }),
            _ => None,
        }
    }

    /// The model's last words.
    pub(super) fn last_words(&self) -> String {
        let said = self.events.iter().rev().find_map(|event| match event {
            Event::Said { text, .. } if !text.is_empty() => Some(text.clone()),
            _ => None,
        });
        said.unwrap_or_default()
    }

    /// Who answered last.
    pub(super) fn last_model(&self) -> (String, String) {
        let said = self.events.iter().rev().find_map(|event| match event {
            Event::Said { provider, model, .. } => Some((provider.clone(), model.clone())),
            _ => None,
        });
        said.unwrap_or_default()
    }

    /// What the model wanted called, in short.
    pub(super) fn steps(&self) -> Vec<StepRow> {
        /// Most characters of one cell.
        const CELL_MAX: usize = 500;
        let cut = |text: &str| text.chars().take(CELL_MAX).collect::<String>();
        let wanted = |id: &str| {
            self.events.iter().rev().find_map(|event| match event {
                Event::Said { calls, .. } => calls.iter().find(|call| call.id == id),
                _ => None,
            })
        };
        let row = |event: &Event| match event {
            Event::Got { id, name, text, failed, .. } => {
                let arguments = wanted(id).map(|call| kernel::audit::kept_arguments(&call.arguments));
                let outcome = if *failed { cut(text) } else { "ok".to_owned() };
                Some(StepRow { tool: name.clone(), arguments: cut(&arguments.unwrap_or_default()), outcome })
            }
            _ => None,
        };
        self.events.iter().filter_map(row).collect()
    }
}

fn read<T: serde::de::DeserializeOwned>(stored: &Stored) -> Result<T> {
    serde_json::from_str(&stored.value)
        .map_err(|error| Fault::internal(format!("{SPACE}: `{}` cannot be read: {error}", stored.key)))
}

impl AiIntegration {
    /// Everything that happened in a run, as JSON.
    pub(super) async fn trace(&self, id: &str, caller: &Caller) -> Result<String> {
        let open = Open::read(&self.ledger, id, caller).await?;
        Ok(json!({ "run": open.head, "events": open.events }).to_string())
    }
}
