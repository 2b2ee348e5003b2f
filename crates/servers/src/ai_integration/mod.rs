//! `ai-integration`: language models for whoever asks, through the port [`Models`].
//!
//! Invariants:
//! - No model is asked but within the budgets of the run, the caller and the day; what it took is counted, and an unknown price stays unknown.
//! - A model acts through the gateway alone, as its caller and with no more than they allowed: what it may call is looked at when it calls.
//! - What tools, files and people say is data to the model, and marked as such; code tools have no tools at all.
//! - A run is in the store at every step. A call that changes something is written down before it is made and never made again unless that is the same.

mod ask;
mod chat;
mod code;
mod ledger;
mod lists;
mod money;
mod prompts;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod work;

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use flow::bounded::Gate;
use kernel::health::Check;
use kernel::models::Models;
use kernel::{Clock, Tasks};
use mcp::phases::Phases;
use mcp::prelude::*;
use mcp::prompt::{Arguments, Message, Prompt};
use mcp::resource::{Contents, Template};
use mcp::toolbox::Router;
use parking_lot::Mutex;

pub use ask::Took;
pub use chat::{ChatMessage, ChatRequest, ChatResponse, Ended, Speaker, ToolsWish};
pub use code::{
    CodeFile, CodeFinding, CodeRequest, ExplainResponse, FixResponse, GenerateResponse, Gravity, ReviewResponse,
};
pub use lists::{
    BudgetOf, BudgetRow, EmbedRequest, EmbedResponse, ListModelsRequest, ListModelsResponse, SetBudgetRequest,
    UsageRequest, UsageResponse, UsageRow,
};
pub use state::StepRow;

use crate::MarketPorts;
use ledger::Ledger;

/// How long a call may take: runs go on for many steps.
const CALL_TIME: Duration = Duration::from_secs(1_800);
/// How long reading a model's answer may take.
const READ_TIME: Duration = Duration::from_secs(5);
/// How many answers are read at once.
const READS_AT_ONCE: usize = 4;

/// `[servers.ai-integration]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many tokens an answer may have that does not say otherwise: 16 to 200,000.
    pub answer_tokens: u32,
    /// How many tokens one run with tools may use that does not say otherwise: 1,000 to 100,000,000.
    pub run_tokens: u64,
    /// How many turns of the model one run with tools may have that does not say otherwise: 1 to 64.
    pub run_steps: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { answer_tokens: 4_096, run_tokens: 200_000, run_steps: 16 }
    }
}

impl Config {
    fn check(&self) -> Result<(), Fault> {
        let figures = [
            ("answer_tokens", u64::from(self.answer_tokens), 16, chat::ANSWER_TOKENS_MAX.into()),
            ("run_tokens", self.run_tokens, 1_000, 100_000_000),
            ("run_steps", self.run_steps.into(), 1, run::STEPS_MAX.into()),
        ];
        match figures.iter().find(|(_, figure, least, most)| !(*least..=*most).contains(figure)) {
            None => Ok(()),
            Some((name, figure, least, most)) => {
                Err(Fault::invalid(format!("servers.ai-integration.{name} is {figure}"))
                    .hint(format!("{least} to {most}")))
            }
        }
    }
}

/// The server.
pub struct AiIntegration {
    models: Arc<dyn Models>,
    ledger: Ledger,
    router: Arc<dyn Router>,
    phases: Phases,
    gate: Gate,
    clock: Clock,
    tasks: Tasks,
    config: Config,
    /// The runs that this process goes on with.
    under_way: Arc<Mutex<HashSet<String>>>,
}

impl McpServer for AiIntegration {
    const NAME: &'static str = "ai-integration";
    const INSTRUCTIONS: &'static str = "Language models: chat (with tools of the fleet if asked to, under your own rights), generate_code, review_code, explain_code, fix_code (a patch that \
        applies), embed. list_models tells the providers and what they serve; a model is named by its name or as provider/model. usage tells tokens and dollars by caller, model and day; \
        a price that is not known is `unknown`. Budgets are hard stops. Answers are a model's words: check them before you act on them.";
    type Config = Config;
    type Ports = MarketPorts;

    fn new(ports: &MarketPorts, config: Config) -> Result<Self, Fault> {
        config.check()?;
        let kernel = &ports.kernel;
        Ok(Self {
            models: Arc::clone(&ports.models),
            ledger: Ledger { store: Arc::clone(&kernel.store), clock: kernel.clock.clone() },
            router: Arc::clone(&ports.router),
            phases: ports.phases.clone(),
            gate: Gate::new(kernel.tasks.clone(), READS_AT_ONCE, READ_TIME),
            clock: kernel.clock.clone(),
            tasks: kernel.tasks.clone(),
            config,
            under_way: Arc::default(),
        })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(CHAT, |server, request, ctx| async move { server.chat(request, ctx).await });
        set.add(GENERATE_CODE, |server, request, ctx| async move { server.generate_code(request, ctx).await });
        set.add(REVIEW_CODE, |server, request, ctx| async move { server.review_code(request, ctx).await });
        set.add(EXPLAIN_CODE, |server, request, ctx| async move { server.explain_code(request, ctx).await });
        set.add(FIX_CODE, |server, request, ctx| async move { server.fix_code(request, ctx).await });
        set.add(EMBED, |server, request, ctx| async move { Ok(server.embed(request, ctx).await?) });
        set.add(LIST_MODELS, |server, request, _| async move { Ok(server.list_models(request).await?) });
        set.add(USAGE, |server, request, _| async move { Ok(server.usage(request).await?) });
        set.add(SET_BUDGET, |server, request, _| async move { Ok(server.set_budget(request).await?) });
    }
}

/// Asks a model: it costs, and what is said leaves the fleet.
const ASK: Hints = Hints::OPERATE.open_world().within(CALL_TIME).long();

tools! { AiIntegration::NAME;
    /// Asks a language model, and lets it use tools of the fleet if asked to: under the caller's own rights, within the given names, steps and budget. What changes something is
    /// called only if the request allows it or the user approves. A run is kept: its id goes on with it.
    CHAT = "chat": fn(ChatRequest) -> ChatResponse, ASK;
    /// Writes code with a language model: whole files for what is wanted, with notes. Nothing is written anywhere.
    GENERATE_CODE = "generate_code": fn(CodeRequest) -> GenerateResponse, ASK;
    /// Reviews code with a language model: findings by file, line and gravity, each with what to do.
    REVIEW_CODE = "review_code": fn(CodeRequest) -> ReviewResponse, ASK;
    /// Explains code with a language model, or answers a question about it.
    EXPLAIN_CODE = "explain_code": fn(CodeRequest) -> ExplainResponse, ASK;
    /// Fixes code with a language model: a unified diff that applies to the given files, and why. Nothing is changed anywhere.
    FIX_CODE = "fix_code": fn(CodeRequest) -> FixResponse, ASK;
    /// Turns texts into vectors (embeddings) with a model that makes such.
    EMBED = "embed": fn(EmbedRequest) -> EmbedResponse, Hints { idempotent: true, ..ASK };
    /// Lists the providers of language models: which can be asked, the models they serve, and what is missing for the others.
    LIST_MODELS = "list_models": fn(ListModelsRequest) -> ListModelsResponse, Hints::READ_WORLD;
    /// Tells what language models were used for how much: tokens and dollars by caller, model and day, and what is left of the budgets.
    USAGE = "usage": fn(UsageRequest) -> UsageResponse, Hints::READ;
    /// Sets how many tokens or dollars language models may use: the whole fleet in a day, each caller or one caller in a day, or one run. A hard stop.
    SET_BUDGET = "set_budget": fn(SetBudgetRequest) -> BudgetRow, Hints { idempotent: true, ..Hints::ADMIN };
}

#[async_trait]
impl Features for AiIntegration {
    async fn health(&self) -> Vec<Check> {
        let providers = self.models.providers(false).await;
        let ready: Vec<&str> = providers.iter().filter(|one| one.ready).map(|one| one.name.as_str()).collect();
        let trouble = providers.iter().find(|one| one.ready && one.trouble.is_some());
        vec![match trouble {
            Some(one) => {
                Check::degraded("models", format!("{}: {}", one.name, one.trouble.clone().unwrap_or_default()))
            }
            None if ready.is_empty() => Check::healthy("models", "no provider is configured"),
            None => Check::healthy("models", format!("providers: {}", ready.join(", "))),
        }]
    }

    fn resource_templates(&self) -> Vec<Template> {
        vec![Template {
            uri_template: format!("{}{{run}}", state::URI),
            name: "trace of a run".into(),
            description: Some("everything a run of chat with tools said, called and got, in order".into()),
            mime_type: Some("application/json".into()),
        }]
    }

    async fn read_resource(&self, uri: &str, ctx: &Ctx) -> Result<Option<Vec<Contents>>, ToolError> {
        let Some(id) = uri.strip_prefix(state::URI) else { return Ok(None) };
        let trace = self.trace(id, &ctx.caller).await?;
        Ok(Some(vec![Contents::text(uri, "application/json", trace)]))
    }

    fn prompts(&self) -> Vec<Prompt> {
        prompts::all()
    }

    async fn prompt(&self, name: &str, arguments: Arguments, _ctx: &Ctx) -> Result<Vec<Message>, ToolError> {
        Ok(vec![Message::user(prompts::text(name, &arguments))])
    }
}
