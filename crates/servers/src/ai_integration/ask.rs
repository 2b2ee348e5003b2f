//! The one way to a model: chosen, held to the budgets, asked, counted; or the client's own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use flow::schema::{STACK, validate};
use kernel::models::{Chosen, Listener, Message, Said, Stop, Usage, Wish};
use kernel::{Caller, OnEnd, Tasks};
use mcp::ctx::Question;
use mcp::prelude::*;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::AiIntegration;
use super::ledger::{Budget, Held, Ledger, Used, tokens_in};
use super::money::dollars;

/// How often a model may give its answer again that does not fit its schema.
const AGAIN_MAX: usize = 1;
/// Most complaints about an answer that the model is told.
const COMPLAINTS_MAX: usize = 10;
/// Deepest nesting of a model's JSON.
const DEPTH_MAX: usize = 64;
/// The name of the client's own model in what is told and counted.
const CLIENT: &str = "client";

/// An answer, and what it took.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) said: Said,
    pub(super) used: Used,
}

/// What a question and its answer took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Took {
    /// Who served the model: a provider of the configuration, or `client`.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Tokens that it read.
    pub input_tokens: u64,
    /// Tokens that it wrote.
    pub output_tokens: u64,
    /// Whether the provider did not tell the tokens, so that they are estimates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// What it cost, in dollars as a decimal text, or `unknown`.
    pub cost_usd: String,
}

impl Asked {
    /// What it took, for people.
    pub(super) fn took(&self) -> Took {
        let Said { provider, model, .. } = &self.said;
        Took::of(provider, model, self.used)
    }

    /// What embeddings took, as if they had been said.
    pub(super) fn of_embeddings(embedded: &kernel::models::Embedded, used: Used) -> Self {
        let said = Said {
            provider: embedded.provider.clone(),
            model: embedded.model.clone(),
            text: String::new(),
            calls: Vec::new(),
            stop: Stop::End,
            usage: embedded.usage,
            broken: None,
        };
        Self { said, used }
    }

    /// Adds what was used before.
    pub(super) fn and(self, before: Option<Used>) -> Self {
        Self { used: before.map_or(self.used, |before| self.used.and(before)), ..self }
    }
}

impl Took {
    pub(super) fn of(provider: &str, model: &str, used: Used) -> Self {
        Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
            input_tokens: used.input,
            output_tokens: used.output,
            estimated: used.estimated,
            cost_usd: dollars(used.nano_usd),
        }
    }
}

/// Tells the client a model's words as they come.
pub(super) struct Told<'a> {
    ctx: &'a Ctx,
    pieces: AtomicU64,
    bytes: AtomicUsize,
}

impl<'a> Told<'a> {
    pub(super) fn to(ctx: &'a Ctx) -> Self {
        Self { ctx, pieces: AtomicU64::new(0), bytes: AtomicUsize::new(0) }
    }

    /// Something else than the model's words.
    pub(super) async fn note(&self, text: &str) {
        let piece = self.pieces.fetch_add(1, Ordering::Relaxed) + 1;
        self.ctx.progress(piece as f64, None, Some(text)).await;
    }
}

#[async_trait]
impl Listener for Told<'_> {
    async fn hear(&self, piece: &str) {
        self.bytes.fetch_add(piece.len(), Ordering::Relaxed);
        self.note(piece).await;
    }
}

/// What is held until it is settled: by who asked, or, when they are gone, for as much as was held.
struct Guard {
    ledger: Ledger,
    tasks: Tasks,
    held: Mutex<Option<Held>>,
}

impl Guard {
    /// Settles it.
    async fn settle(&self, usage: Option<Usage>, said_bytes: usize) -> Used {
        let held = self.take();
        let Some(held) = held else { return Used::default() };
        match self.ledger.settle(&held, usage, said_bytes).await {
            Ok(used) => used,
            Err(fault) => {
                tracing::error!(%fault, "what a model was used for could not be counted");
                Used::default()
            }
        }
    }

    fn take(&self) -> Option<Held> {
        self.held.lock().take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(held) = self.take() else { return };
        let ledger = self.ledger.clone();
        // Whoever asked has left. The model may go on for a while, and it is paid.
        self.tasks.spawn("count of a question taken back", OnEnd::Done, async move {
            let usage = Usage { output_tokens: Some(held.output), ..Usage::default() };
            if let Err(fault) = ledger.settle(&held, Some(usage), 0).await {
                tracing::error!(%fault, "what a model was used for could not be counted");
            }
        });
    }
}

/// How many bytes a wish sends.
fn bytes_of(wish: &Wish) -> usize {
    let messages: usize = wish
        .messages
        .iter()
        .map(|message| match message {
            Message::User { text } => text.len(),
            Message::Model { text, calls } => text.len() + calls.iter().map(|call| call.arguments.len()).sum::<usize>(),
            Message::Results { results } => results.iter().map(|result| result.text.len()).sum(),
        })
        .sum();
    let tools: usize =
        wish.tools.iter().map(|tool| tool.name.len() + tool.about.len() + tool.takes.to_string().len()).sum();
    let schema = wish.schema.as_ref().map_or(0, |schema| schema.to_string().len());
    wish.system.len() + messages + tools + schema
}

impl AiIntegration {
    /// Asks the model that is meant, or the next of the fall-back order when one does not begin to answer.
    pub(super) async fn ask(&self, caller: &Caller, wish: &Wish, run: Budget, told: &Told<'_>) -> Result<Asked, Fault> {
        let chosen = self.models.chosen(&wish.model, false)?;
        let run = run.and(self.ledger.budget("run").await?);
        let last = chosen.len().saturating_sub(1);
        for (place, one) in chosen.iter().enumerate() {
            // A budget that is used up is the end, whichever model would be next.
            let wanted = (tokens_in(bytes_of(wish)), wish.tokens_max.into());
            let held = self.ledger.hold(&caller.name, one, wanted, run).await?;
            match self.ask_one(wish, one, held, told).await {
                Err(fault) if place < last && may_go_elsewhere(&fault) => {
                    tracing::warn!(%fault, model = one.model, "a model does not answer; the next is asked");
                    told.note(&format!("{} does not answer, {} is asked\n", one.model, chosen[place + 1].model)).await;
                }
                ended => return ended,
            }
        }
        Err(Fault::internal("no model to ask"))
    }

    async fn ask_one(&self, wish: &Wish, one: &Chosen, held: Held, told: &Told<'_>) -> Result<Asked, Fault> {
        let wish = Wish { tokens_max: u32::try_from(held.output).unwrap_or(wish.tokens_max), ..wish.clone() };
        let guard = Guard { ledger: self.ledger.clone(), tasks: self.tasks.clone(), held: Mutex::new(Some(held)) };
        match self.models.chat(one, &wish, told).await {
            Ok(said) => {
                let used = guard.settle(Some(said.usage), bytes_said(&said)).await;
                Ok(Asked { said, used })
            }
            Err(fault) => {
                guard.settle(None, 0).await;
                Err(fault)
            }
        }
    }

    /// Turns texts into vectors, within the budgets.
    pub(super) async fn ask_embeddings(
        &self,
        caller: &Caller,
        model: &str,
        texts: &[String],
    ) -> Result<(kernel::models::Embedded, Used), Fault> {
        let chosen = self.models.chosen(model, true)?;
        let one = chosen.first().ok_or_else(|| Fault::internal("no model to ask"))?;
        let run = self.ledger.budget("run").await?;
        let input = tokens_in(texts.iter().map(String::len).sum());
        // Nothing is written; one token stands for the answer, so that a budget that is used up is seen.
        let held = self.ledger.hold(&caller.name, one, (input, 1), run).await?;
        let guard = Guard { ledger: self.ledger.clone(), tasks: self.tasks.clone(), held: Mutex::new(Some(held)) };
        match self.models.embed(one, texts).await {
            Ok(embedded) => {
                let used = guard.settle(Some(embedded.usage), 0).await;
                Ok((embedded, used))
            }
            Err(fault) => {
                guard.settle(None, 0).await;
                Err(fault)
            }
        }
    }

    /// Whether the client's own model is to be asked: none is configured, none is named, and the client has one.
    pub(super) fn asks_client(&self, wish: &Wish, ctx: &Ctx) -> bool {
        !self.models.ready() && wish.model.is_empty() && ctx.client.can("sampling")
    }

    /// Asks, and has an answer that does not fit its schema given again.
    pub(super) async fn ask_structured(
        &self,
        ctx: &Ctx,
        mut wish: Wish,
        check: impl Fn(&Value) -> Result<(), String>,
    ) -> Result<(Value, Asked), ToolError> {
        let schema = wish.schema.clone().ok_or_else(|| Fault::internal("no schema to hold an answer to"))?;
        let told = Told::to(ctx);
        let mut before = None;
        for turn in 0..=AGAIN_MAX {
            let asked = self.ask_any(ctx, &wish, turn, &told).await?.and(before);
            if let Some(fault) = unfinished(&asked.said) {
                return Err(fault.into());
            }
            let complaint = match self.read(&asked.said.text, &schema).await? {
                Ok(value) => match check(&value) {
                    Ok(()) => return Ok((value, asked)),
                    Err(complaint) => complaint,
                },
                Err(complaint) => complaint,
            };
            if turn == AGAIN_MAX {
                let message = format!("{}: its answer is not what was asked for: {complaint}", asked.said.model);
                return Err(Fault::upstream(message).hint("ask again, or another model").into());
            }
            before = Some(asked.used);
            wish.messages.push(Message::Model { text: asked.said.text, calls: Vec::new() });
            let text = format!("That does not fit: {complaint}. Give the whole answer again, as JSON alone.");
            wish.messages.push(Message::User { text });
        }
        Err(Fault::internal("no turn to answer in").into())
    }

    /// Asks a configured model, or the client's own.
    pub(super) async fn ask_any(
        &self,
        ctx: &Ctx,
        wish: &Wish,
        turn: usize,
        told: &Told<'_>,
    ) -> Result<Asked, ToolError> {
        if self.asks_client(wish, ctx) {
            return self.ask_client(ctx, wish, turn).await;
        }
        Ok(self.ask(&ctx.caller, wish, Budget::default(), told).await?)
    }

    async fn ask_client(&self, ctx: &Ctx, wish: &Wish, turn: usize) -> Result<Asked, ToolError> {
        let answer = ctx.ask(&format!("model_{turn}"), sampling(wish)).await?;
        let text = match &answer["content"] {
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(""),
            part => part["text"].as_str().unwrap_or_default().to_owned(),
        };
        if text.len() > kernel::models::SAID_BYTES_MAX {
            return Err(Fault::too_large("the client's model said too much").into());
        }
        let stop = if answer["stopReason"] == "maxTokens" { Stop::Length } else { Stop::End };
        let model = answer["model"].as_str().unwrap_or(CLIENT).chars().take(200).collect();
        let (input, output) = (tokens_in(bytes_of(wish)), tokens_in(text.len()));
        let used = Used { input, output, nano_usd: None, estimated: true };
        let usage = Usage::default();
        let said = Said { provider: CLIENT.into(), model, text, calls: Vec::new(), stop, usage, broken: None };
        Ok(Asked { said, used })
    }

    /// A model's text as the JSON of a schema, or what is wrong with it.
    pub(super) async fn read(&self, text: &str, schema: &Value) -> Result<Result<Value, String>, Fault> {
        let text = bare(text);
        if kernel::limits::check_json_depth(text.as_bytes(), DEPTH_MAX).is_err() {
            return Ok(Err(format!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return Ok(Err(format!("it is not JSON: {error}"))),
        };
        let (schema, document) = (schema.clone(), value.clone());
        let verdict = self.gate.run("schema of an answer", STACK, move || validate(schema, &document, false)).await?;
        if verdict.valid {
            return Ok(Ok(value));
        }
        let say = |error: &flow::schema::SchemaError| format!("{}: {}", error.instance_path, error.message);
        Ok(Err(verdict.errors.iter().take(COMPLAINTS_MAX).map(say).collect::<Vec<_>>().join("; ")))
    }
}

fn bytes_said(said: &Said) -> usize {
    said.text.len() + said.calls.iter().map(|call| call.name.len() + call.arguments.len()).sum::<usize>()
}

/// Another provider may do what this one does not; what is wrong with the question is wrong everywhere.
fn may_go_elsewhere(fault: &Fault) -> bool {
    matches!(fault.code, Code::Unavailable | Code::Timeout | Code::RateLimited | Code::Upstream)
}

/// Why an answer cannot be read as a whole, if it cannot.
pub(super) fn unfinished(said: &Said) -> Option<Fault> {
    match (said.stop, &said.broken) {
        (Stop::Broken, Some(fault)) => Some(fault.clone()),
        (Stop::Length, _) => Some(
            Fault::too_large(format!("{}: its answer was cut at its bound", said.model))
                .hint("give it more tokens (tokens_max), or less to do"),
        ),
        (Stop::Refusal, _) => Some(Fault::upstream(format!("{} refuses to answer", said.model))),
        _ => None,
    }
}

/// JSON without the fence that some models put around it.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else { return text };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

/// A wish as MCP asks a client for it. Clients answer in words: a schema is said in words too.
fn sampling(wish: &Wish) -> Question {
    let said = |role: &str, text: &str| json!({ "role": role, "content": { "type": "text", "text": text } });
    let messages: Vec<Value> = wish
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::User { text } => Some(said("user", text)),
            Message::Model { text, .. } => Some(said("assistant", text)),
            Message::Results { .. } => None,
        })
        .collect();
    let mut system = wish.system.clone();
    if let Some(schema) = &wish.schema {
        system.push_str(&format!("\n\nAnswer with JSON alone, of this JSON Schema: {schema}"));
    }
    let mut params = json!({ "messages": messages, "maxTokens": wish.tokens_max, "includeContext": "none" });
    let rest = BTreeMap::from([
        ("systemPrompt", (!system.trim().is_empty()).then(|| Value::from(system.trim()))),
        ("temperature", wish.temperature_percent.map(|percent| (f64::from(percent) / 100.0).into())),
    ]);
    for (name, value) in rest {
        if let Some(value) = value {
            params[name] = value;
        }
    }
    Question { method: "sampling/createMessage".into(), params }
}
