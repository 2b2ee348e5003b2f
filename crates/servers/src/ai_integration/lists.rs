//! What there is of models, what they were used for, what they may be, and vectors.

use kernel::clock::date;
use kernel::models::{EMBED_TEXTS_MAX, Provider};
use kernel::store::Write;
use mcp::prelude::*;

use super::AiIntegration;
use super::ask::{Asked, Took};
use super::ledger::{BUDGETS, Budget, Counted};
use super::money::{UNKNOWN, dollars, nano_of};

/// Most days that one answer tells of.
const DAYS_MAX: u32 = 90;
/// Most rows of one answer.
const ROWS_MAX: usize = 1_000;
/// Longest name of a caller, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// Largest text to make a vector of, and all together, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;
const TEXTS_BYTES_MAX: usize = 512 << 10;

/// What [`LIST_MODELS`](super::LIST_MODELS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListModelsRequest {
    /// Whether to ask each provider for the models it has now.
    #[serde(default)]
    pub ask: bool,
}

/// What [`LIST_MODELS`](super::LIST_MODELS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListModelsResponse {
    /// The providers.
    pub providers: Vec<Provider>,
    /// The models that are tried, in this order, when none is named: `provider/model`.
    pub order: Vec<String>,
    /// Those among them whose price is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpriced: Vec<String>,
    /// Why none is tried, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What [`USAGE`](super::USAGE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageRequest {
    /// How many days, today among them: 1 to 90; today alone if nothing is said. Days are of UTC.
    #[serde(default)]
    #[schemars(range(min = 1, max = 90))]
    pub days: Option<u32>,
    /// Only of this caller.
    #[serde(default)]
    pub caller: Option<String>,
}

/// What [`USAGE`](super::USAGE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UsageResponse {
    /// The counts, the newest day first.
    pub rows: Vec<UsageRow>,
    /// Whether there are more than are told.
    pub more: bool,
    /// The budgets, and what today has used of each.
    pub budgets: Vec<BudgetRow>,
}

/// What one caller used one model for on one day.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UsageRow {
    /// The day, of UTC.
    pub day: String,
    /// The caller.
    pub caller: String,
    /// The model, as `provider/model`.
    pub model: String,
    /// How often it was asked.
    pub calls: u64,
    /// Tokens that it read.
    pub input_tokens: u64,
    /// Tokens that it wrote.
    pub output_tokens: u64,
    /// What the calls cost whose price is known, in dollars as a decimal text; `unknown` when that is none.
    pub cost_usd: String,
    /// Calls whose price is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unpriced_calls: u64,
    /// Calls whose tokens the provider did not tell: estimates are counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub estimated_calls: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Whose budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetOf {
    /// The whole fleet's in a day.
    Fleet,
    /// Each caller's in a day, where they have none of their own.
    EachCaller,
    /// One caller's in a day.
    Caller,
    /// One question's or one run's.
    Run,
}

/// What [`SET_BUDGET`](super::SET_BUDGET) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBudgetRequest {
    /// Whose.
    pub of: BudgetOf,
    /// For `caller`: which.
    #[serde(default)]
    pub caller: Option<String>,
    /// How many tokens, read and written; no bound if nothing is said.
    #[serde(default)]
    pub tokens: Option<u64>,
    /// How many dollars, as a decimal text; no bound if nothing is said. Models whose price is not known cannot be used under such a bound.
    #[serde(default)]
    pub usd: Option<String>,
}

/// A budget.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BudgetRow {
    /// Whose.
    pub of: BudgetOf,
    /// For `caller`: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// How many tokens, if that is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// How many dollars, if that is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<String>,
    /// How many tokens today has used or holds of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_tokens: Option<u64>,
    /// How many dollars today has used or holds of it, of calls whose price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_usd: Option<String>,
}

/// What [`EMBED`](super::EMBED) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// The texts, 1 to 64; at most 64 KiB each, 512 KiB together.
    pub texts: Vec<String>,
    /// Which model, as `name` or `provider/name`; `models.embedding_model` if nothing is said.
    #[serde(default)]
    pub model: Option<String>,
}

/// What [`EMBED`](super::EMBED) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct EmbedResponse {
    /// A vector for each text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// How many numbers each has.
    pub dimensions: usize,
    /// What it took.
    pub took: Took,
}

impl AiIntegration {
    pub(super) async fn list_models(&self, request: ListModelsRequest) -> Result<ListModelsResponse, Fault> {
        let providers = self.models.providers(request.ask).await;
        let (chosen, trouble) = match self.models.chosen("", false) {
            Ok(chosen) => (chosen, None),
            Err(fault) => (Vec::new(), Some(fault.to_string())),
        };
        let name = |one: &kernel::models::Chosen| format!("{}/{}", one.provider, one.model);
        let unpriced = chosen.iter().filter(|one| one.price.is_none()).map(name).collect();
        Ok(ListModelsResponse { providers, order: chosen.iter().map(name).collect(), unpriced, trouble })
    }

    pub(super) async fn usage(&self, request: UsageRequest) -> Result<UsageResponse, Fault> {
        let days = request.days.unwrap_or(1);
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(Fault::invalid(format!("days is {days}")).hint(format!("1 to {DAYS_MAX}")));
        }
        let today = self.clock.now_ms().div_euclid(86_400_000);
        let (mut rows, mut more) = (Vec::new(), false);
        for back in 0..i64::from(days) {
            let day = date(today - back);
            for (caller, model, counted) in self.ledger.counted(&day).await? {
                if request.caller.as_ref().is_some_and(|only| *only != caller) {
                    continue;
                }
                more |= rows.len() >= ROWS_MAX;
                if !more {
                    rows.push(row(&day, caller, model, &counted));
                }
            }
        }
        Ok(UsageResponse { rows, more, budgets: self.budgets().await? })
    }

    async fn budgets(&self) -> Result<Vec<BudgetRow>, Fault> {
        let entries = self.ledger.store.list(BUDGETS, "", None, ROWS_MAX).await?;
        let mut rows = Vec::new();
        for entry in entries {
            let budget: Budget = serde_json::from_str(&entry.value)
                .map_err(|error| Fault::internal(format!("{BUDGETS}: `{}` cannot be read: {error}", entry.key)))?;
            rows.push(self.budget_row(&entry.key, budget).await?);
        }
        Ok(rows)
    }

    async fn budget_row(&self, key: &str, budget: Budget) -> Result<BudgetRow, Fault> {
        let (of, caller) = match key.split_once('\n') {
            Some((_, "*")) => (BudgetOf::EachCaller, None),
            Some((_, caller)) => (BudgetOf::Caller, Some(caller.to_owned())),
            None if key == "fleet" => (BudgetOf::Fleet, None),
            None => (BudgetOf::Run, None),
        };
        // Of a run, and of what each caller has, there is no one figure.
        let used = match of {
            BudgetOf::Fleet | BudgetOf::Caller => Some(self.ledger.spent(&self.ledger.today(), key).await?),
            BudgetOf::EachCaller | BudgetOf::Run => None,
        };
        Ok(BudgetRow {
            of,
            caller,
            tokens: budget.tokens,
            usd: budget.nano_usd.map(|nano| dollars(Some(nano))),
            used_tokens: used.as_ref().map(|(_, tokens, _)| *tokens),
            used_usd: used.map(|(_, _, nano)| dollars(Some(nano))),
        })
    }

    pub(super) async fn set_budget(&self, request: SetBudgetRequest) -> Result<BudgetRow, Fault> {
        let SetBudgetRequest { of, caller, tokens, usd } = request;
        let key = match (of, &caller) {
            (BudgetOf::Fleet, None) => "fleet".to_owned(),
            (BudgetOf::Run, None) => "run".to_owned(),
            (BudgetOf::EachCaller, None) => "caller\n*".to_owned(),
            (BudgetOf::Caller, Some(name)) => {
                let fits = !name.is_empty() && name != "*" && name.len() <= NAME_BYTES_MAX;
                if !fits || name.contains(char::is_control) {
                    return Err(Fault::invalid(format!("caller is `{}`", name.escape_debug()))
                        .hint("the name of a key, as usage tells it"));
                }
                format!("caller\n{name}")
            }
            (BudgetOf::Caller, None) => {
                return Err(Fault::invalid("caller is missing").hint("whose budget, or each_caller"));
            }
            (_, Some(_)) => return Err(Fault::invalid("caller is only for the budget of one caller")),
        };
        let nano_usd = usd.map(|usd| nano_of("usd", &usd)).transpose()?;
        let budget = Budget { tokens, nano_usd };
        let write = if budget == Budget::default() {
            Write::delete(BUDGETS, &key)
        } else {
            let text = serde_json::to_string(&budget).map_err(|error| Fault::internal(error.to_string()))?;
            Write::put(BUDGETS, &key, text)
        };
        self.ledger.store.commit(vec![write]).await?;
        self.budget_row(&key, budget).await
    }

    pub(super) async fn embed(&self, request: EmbedRequest, ctx: Ctx) -> Result<EmbedResponse, Fault> {
        let EmbedRequest { texts, model } = request;
        if !(1..=EMBED_TEXTS_MAX).contains(&texts.len()) || texts.iter().any(String::is_empty) {
            return Err(Fault::invalid(format!("texts has {}, or an empty one", texts.len()))
                .hint(format!("1 to {EMBED_TEXTS_MAX} texts that say something")));
        }
        let all: usize = texts.iter().map(String::len).sum();
        if all > TEXTS_BYTES_MAX || texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(Fault::too_large(format!("texts has {all} bytes"))
                .hint(format!("at most {TEXT_BYTES_MAX} each, {TEXTS_BYTES_MAX} together")));
        }
        let (embedded, used) = self.ask_embeddings(&ctx.caller, model.as_deref().unwrap_or_default(), &texts).await?;
        let dimensions = embedded.vectors.first().map_or(0, Vec::len);
        let took = Asked::of_embeddings(&embedded, used).took();
        Ok(EmbedResponse { vectors: embedded.vectors, dimensions, took })
    }
}

fn row(day: &str, caller: String, model: String, counted: &Counted) -> UsageRow {
    let priced = counted.unpriced < counted.calls;
    UsageRow {
        day: day.to_owned(),
        caller,
        model,
        calls: counted.calls,
        input_tokens: counted.input_tokens,
        output_tokens: counted.output_tokens,
        cost_usd: if priced { dollars(Some(counted.nano_usd)) } else { UNKNOWN.into() },
        unpriced_calls: counted.unpriced,
        estimated_calls: counted.uncounted,
    }
}
