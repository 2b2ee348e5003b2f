//! `chat`: one question and its answer, or a run with tools.

use kernel::models::{Message, Stop, Wish};
use mcp::prelude::*;
use serde_json::Value;

use super::AiIntegration;
use super::ask::{Asked, Told, Took, unfinished};
use super::ledger::Budget;
use super::money::nano_of;
use super::run::STEPS_MAX;
use super::state::{Open, Order, StepRow};

/// Most tokens of one answer.
pub(super) const ANSWER_TOKENS_MAX: u32 = 200_000;
/// Most messages.
const MESSAGES_MAX: usize = 200;
/// Most bytes of all that is said to a model.
pub(super) const TEXT_BYTES_MAX: usize = 512 << 10;
/// Largest schema of an answer, in bytes.
const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Most patterns of tools.
const PATTERNS_MAX: usize = 64;
/// Longest name or pattern, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who said it.
    pub role: Speaker,
    /// What.
    pub text: String,
}

impl ChatMessage {
    pub(super) fn to_model(&self) -> Message {
        match self.role {
            Speaker::User => Message::User { text: self.text.clone() },
            Speaker::Assistant => Message::Model { text: self.text.clone(), calls: Vec::new() },
        }
    }
}

/// Tools that a model may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolsWish {
    /// All of this toolset: `chain`, `trading`, `operations`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolset: Option<String>,
    /// These: names in the aggregate (`utilities__keccak256`), `*` for any characters. With a toolset, those of both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Which of them may change something without asking, by the same patterns. What is not among them the user is asked for, where the client can ask, and refused otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_changes: Vec<String>,
    /// How many turns the model may have, 1 to 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub steps_max: Option<u32>,
    /// How many tokens all turns together may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_max: Option<u64>,
    /// How many dollars all turns together may cost, as a decimal text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_max: Option<String>,
}

/// What [`CHAT`](super::CHAT) takes: `prompt` or `messages`; or `run` alone.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChatRequest {
    /// What is said to the model.
    pub prompt: Option<String>,
    /// The conversation instead, oldest first; the last is the user's.
    pub messages: Vec<ChatMessage>,
    /// What the model should know and keep to throughout.
    pub system: Option<String>,
    /// Which model, as `name` or `provider/name`; `models.default_model` if nothing is said.
    pub model: Option<String>,
    /// Most tokens of one answer, 16 to 200,000.
    #[schemars(range(min = 16, max = 200000))]
    pub tokens_max: Option<u32>,
    /// How freely the model chooses its words, in hundredths, 0 to 200; its own if nothing is said.
    #[schemars(range(max = 200))]
    pub temperature_percent: Option<u8>,
    /// The JSON Schema of an object to answer with. The answer is held to it.
    pub schema: Option<Value>,
    /// Tools that the model may use, under your own rights.
    pub tools: Option<ToolsWish>,
    /// Goes on with this run instead, where it stands; nothing else may be given then.
    pub run: Option<String>,
}

/// Why there is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The model had said everything.
    End,
    /// The answer reached its bound and is cut.
    Length,
    /// The model refuses to answer.
    Refusal,
    /// The answer broke off; what had come is there.
    Broken,
    /// The run had all the turns that it may have.
    Steps,
    /// A budget is used up.
    Budget,
    /// The model called the same again and again.
    Loop,
}

/// What [`CHAT`](super::CHAT) answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatResponse {
    /// What the model said.
    pub text: String,
    /// The same as JSON, where a schema was given and it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured: Option<Value>,
    /// Why there is no more.
    pub ended: Ended,
    /// More on that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it took, all turns together.
    pub took: Took,
    /// The run, where tools were given. The resource `run://ai-integration/{run}` has all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// What the model wanted called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRow>,
}

impl AiIntegration {
    pub(super) async fn chat(self: Arc<Self>, request: ChatRequest, ctx: Ctx) -> Result<ChatResponse, ToolError> {
        if let Some(id) = &request.run {
            let alone = ChatRequest { run: Some(id.clone()), ..ChatRequest::default() };
            if serde_json::to_value(&request).ok() != serde_json::to_value(&alone).ok() {
                return Err(Fault::invalid("run is given, and something else")
                    .hint("run alone goes on with it")
                    .into());
            }
            return self.go_on(id, &ctx).await;
        }
        // A question to the user ends this call where the client's revision wants that; the answer comes with the run it was asked in.
        if let Some(id) = ctx.answers.state["run"].as_str() {
            return self.go_on(id, &ctx).await;
        }
        let wish = self.wish(&request)?;
        if let Some(tools) = request.tools.clone() {
            let order = self.order(&request, wish, tools)?;
            if !self.models.ready() {
                // Names the variable to set, before anything is kept.
                self.models.chosen(&order.model, false)?;
            }
            let open = Open::begin(&self.ledger, &ctx.caller, order).await?;
            return self.drive(open, &ctx).await;
        }
        if wish.schema.is_some() {
            let (value, asked) = self.ask_structured(&ctx, wish, |_| Ok(())).await?;
            return Ok(ChatResponse { structured: Some(value), ..answer(asked) });
        }
        Ok(answer(self.ask_any(&ctx, &wish, 0, &Told::to(&ctx)).await?))
    }

    /// What is asked of the model.
    fn wish(&self, request: &ChatRequest) -> Result<Wish, Fault> {
        let messages = match (&request.prompt, request.messages.as_slice()) {
            (Some(text), []) => vec![Message::User { text: text.clone() }],
            (None, [.., last]) if last.role == Speaker::User => {
                request.messages.iter().map(ChatMessage::to_model).collect()
            }
            (Some(_), [_, ..]) => return Err(Fault::invalid("prompt and messages are given").hint("give one of them")),
            _ => {
                return Err(
                    Fault::invalid("nothing is said to the model").hint("prompt, or messages whose last is the user's")
                );
            }
        };
        let said = |message: &Message| match message {
            Message::User { text } | Message::Model { text, .. } => text.len(),
            Message::Results { .. } => 0,
        };
        let system = request.system.clone().unwrap_or_default();
        let bytes = messages.iter().map(said).sum::<usize>() + system.len();
        if messages.len() > MESSAGES_MAX || bytes > TEXT_BYTES_MAX {
            return Err(Fault::too_large(format!("{} messages of {bytes} bytes", messages.len()))
                .hint(format!("at most {MESSAGES_MAX} messages, {TEXT_BYTES_MAX} bytes")));
        }
        if messages.iter().any(|message| said(message) == 0) {
            return Err(Fault::invalid("an empty message").hint("leave out who says nothing"));
        }
        if let Some(schema) = &request.schema {
            let object = schema["type"] == "object" && schema.to_string().len() <= SCHEMA_BYTES_MAX;
            if !object {
                return Err(Fault::invalid("schema is not that of an object, or too large")
                    .hint(format!("{{\"type\": \"object\", …}}, at most {SCHEMA_BYTES_MAX} bytes")));
            }
            flow::schema::check(schema).map_err(|fault| fault.context("schema"))?;
        }
        if request.temperature_percent.is_some_and(|percent| percent > 200) {
            return Err(Fault::invalid("temperature_percent is past 200").hint("0 to 200"));
        }
        Ok(Wish {
            model: self.model_of(request.model.as_deref())?,
            system,
            messages,
            tools: Vec::new(),
            tokens_max: self.answer_tokens(request.tokens_max)?,
            temperature_percent: request.temperature_percent,
            schema: request.schema.clone(),
        })
    }

    pub(super) fn model_of(&self, model: Option<&str>) -> Result<String, Fault> {
        let model = model.unwrap_or_default();
        if model.len() > NAME_BYTES_MAX || model.contains(char::is_control) {
            return Err(
                Fault::invalid("model is no name of a model").hint("name, or provider/name; list_models has them")
            );
        }
        Ok(model.to_owned())
    }

    pub(super) fn answer_tokens(&self, wanted: Option<u32>) -> Result<u32, Fault> {
        let tokens = wanted.unwrap_or(self.config.answer_tokens);
        if (16..=ANSWER_TOKENS_MAX).contains(&tokens) {
            return Ok(tokens);
        }
        Err(Fault::invalid(format!("tokens_max is {tokens}")).hint(format!("16 to {ANSWER_TOKENS_MAX}")))
    }

    /// What a run is asked for.
    fn order(&self, request: &ChatRequest, wish: Wish, tools: ToolsWish) -> Result<Order, Fault> {
        let patterns = || tools.names.iter().chain(&tools.allow_changes).chain(&tools.toolset);
        if patterns().count() > PATTERNS_MAX || patterns().any(|one| one.is_empty() || one.len() > NAME_BYTES_MAX) {
            return Err(Fault::invalid("tools has too many names, or one that is none")
                .hint(format!("at most {PATTERNS_MAX}, like utilities__* or logging__search")));
        }
        if tools.names.is_empty() && tools.toolset.is_none() {
            return Err(Fault::invalid("tools names no tool").hint("toolset, names, or both"));
        }
        if let Some(name) = tools.toolset.as_ref().filter(|name| self.router.toolset(name).is_none()) {
            return Err(Fault::not_found(format!("no toolset `{name}`")).hint("/mcp?toolset= takes the same names"));
        }
        let steps_max = tools.steps_max.unwrap_or(self.config.run_steps);
        if !(1..=STEPS_MAX).contains(&steps_max) {
            return Err(Fault::invalid(format!("tools.steps_max is {steps_max}")).hint(format!("1 to {STEPS_MAX}")));
        }
        let messages = match &request.prompt {
            Some(text) => vec![ChatMessage { role: Speaker::User, text: text.clone() }],
            None => request.messages.clone(),
        };
        Ok(Order {
            messages,
            system: wish.system,
            model: wish.model,
            tokens_max: wish.tokens_max,
            temperature_percent: wish.temperature_percent,
            schema: wish.schema,
            steps_max,
            run_tokens: tools.tokens_max.unwrap_or(self.config.run_tokens),
            run_nano_usd: tools.usd_max.as_ref().map(|usd| nano_of("tools.usd_max", usd)).transpose()?,
            tools,
        })
    }
}

impl Order {
    /// What all turns together may use.
    pub(super) fn budget(&self) -> Budget {
        Budget { tokens: Some(self.run_tokens), nano_usd: self.run_nano_usd }
    }
}

fn answer(asked: Asked) -> ChatResponse {
    let took = asked.took();
    let (ended, why) = ended(&asked);
    ChatResponse { text: asked.said.text, structured: None, ended, why, took, run: None, steps: Vec::new() }
}

/// Why an answer is over, in our words.
pub(super) fn ended(asked: &Asked) -> (Ended, Option<String>) {
    let ended = match asked.said.stop {
        Stop::End | Stop::Tools => Ended::End,
        Stop::Length => Ended::Length,
        Stop::Refusal => Ended::Refusal,
        Stop::Broken => Ended::Broken,
    };
    (ended, unfinished(&asked.said).map(|fault| fault.to_string()))
}
