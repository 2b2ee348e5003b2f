//! What models were used for how much, and how much may be: counts and budgets in the store.
//!
//! A use is held before the model is asked and settled after it, each one commit that expects what it read, so callers at the same time
//! cannot pass a budget together. A price that is not known counts as unknown, never as nothing.

use kernel::clock::date;
use kernel::models::{Chosen, Usage};
use kernel::store::{Entry, Expect, LIST_MAX, Store, Write};
use kernel::{Clock, Code, Fault, Result, UnixMs};
use mcp::prelude::*;
use serde_json::json;

use super::money::dollars;

/// Counts by day, caller and model.
pub(super) const USAGE: &str = "models.usage";
/// What each day has used, of all and of each caller.
const SPENT: &str = "models.spent";
/// Budgets.
pub(super) const BUDGETS: &str = "models.budgets";
/// How long counts are kept, in milliseconds: 400 days.
const KEPT_MS: i64 = 400 * DAY_MS;
const DAY_MS: i64 = 86_400_000;
/// How long something is held whose end nobody told, in milliseconds.
const HELD_MS: i64 = 3_600_000;
/// Most uses that are held at once of one budget.
const HELD_MAX: usize = 256;
/// How often a commit is tried that others come before.
const TRIES_MAX: usize = 64;
/// Fewest tokens of an answer that are worth a question.
const ANSWER_TOKENS_MIN: u64 = 16;
/// Bytes that are taken for a token where nobody counted: few, so that more is held than is used.
const BYTES_A_TOKEN: usize = 2;

/// Tokens and dollars that may be used; what is absent has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Budget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nano_usd: Option<u64>,
}

impl Budget {
    /// The tighter of both, each.
    pub(super) fn and(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self { tokens: least(self.tokens, other.tokens), nano_usd: least(self.nano_usd, other.nano_usd) }
    }

    /// What is left of it after a use.
    pub(super) fn less(self, tokens: u64, nano_usd: u64) -> Self {
        Self {
            tokens: self.tokens.map(|all| all.saturating_sub(tokens)),
            nano_usd: self.nano_usd.map(|all| all.saturating_sub(nano_usd)),
        }
    }
}

/// What was used on a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent {
    pub(super) tokens: u64,
    pub(super) nano_usd: u64,
    #[serde(default)]
    held: Vec<Hold>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    id: String,
    tokens: u64,
    nano_usd: u64,
    until_ms: UnixMs,
}

/// A row of the counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) calls: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) nano_usd: u64,
    /// Calls whose price is not known.
    pub(super) unpriced: u64,
    /// Calls whose tokens nobody told.
    pub(super) uncounted: u64,
}

/// A use that is under way.
#[derive(Debug, Clone)]
pub(super) struct Held {
    id: String,
    day: String,
    caller: String,
    chosen: Chosen,
    input: u64,
    /// Most tokens that the answer may have.
    pub(super) output: u64,
}

/// A use that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Used {
    /// Tokens read.
    pub(super) input: u64,
    /// Tokens written.
    pub(super) output: u64,
    /// What it cost, if that is known.
    pub(super) nano_usd: Option<u64>,
    /// Whether its tokens are an estimate.
    pub(super) estimated: bool,
}

impl Used {
    /// All tokens.
    pub(super) fn tokens(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// This and another.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            nano_usd: self.nano_usd.zip(other.nano_usd).map(|(a, b)| a.saturating_add(b)),
            estimated: self.estimated || other.estimated,
        }
    }
}

/// The ledger.
#[derive(Clone)]
pub(super) struct Ledger {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
}

/// About so many tokens are in a text of this size.
pub(super) fn tokens_in(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_A_TOKEN) as u64
}

fn of_caller(caller: &str) -> String {
    format!("caller\n{caller}")
}

impl Ledger {
    pub(super) fn today(&self) -> String {
        date(self.clock.now_ms().div_euclid(DAY_MS))
    }

    /// The budget of this key; no bound where there is none.
    pub(super) async fn budget(&self, key: &str) -> Result<Budget> {
        Ok(self.read::<Budget>(BUDGETS, key).await?.0)
    }

    /// The budget of a caller's day: their own, or everybody's each.
    async fn budget_of(&self, caller: &str) -> Result<Budget> {
        let own = self.read::<Budget>(BUDGETS, &of_caller(caller)).await?;
        if own.1 == Expect::Absent { self.budget(&of_caller("*")).await } else { Ok(own.0) }
    }

    /// What was used on a day, of all (`fleet`) or of a caller, and what is held of it now.
    pub(super) async fn spent(&self, day: &str, whose: &str) -> Result<(Spent, u64, u64)> {
        let (spent, _) = self.read::<Spent>(SPENT, &format!("{day}\n{whose}")).await?;
        let (tokens, nano) = spent.in_all(self.clock.now_ms());
        Ok((spent, tokens, nano))
    }

    async fn read<T: Default + serde::de::DeserializeOwned>(&self, space: &str, key: &str) -> Result<(T, Expect)> {
        match self.store.get(space, key).await? {
            None => Ok((T::default(), Expect::Absent)),
            Some(entry) => Ok((value(space, &entry)?, Expect::Revision(entry.revision))),
        }
    }

    /// Holds what a question may use, within all budgets. Fewer tokens than wanted may be granted for the answer.
    ///
    /// # Errors
    /// `rate_limited` when a budget of a day is used up; `too_large` when that of the run is; `not_configured` when a budget in dollars cannot be kept because the model's
    /// price is not known.
    pub(super) async fn hold(
        &self,
        caller: &str,
        chosen: &Chosen,
        (input, output): (u64, u64),
        run: Budget,
    ) -> Result<Held> {
        let day = self.today();
        let id = kernel::ids::random_token(9);
        for _ in 0..TRIES_MAX {
            let now_ms = self.clock.now_ms();
            let keys = [format!("{day}\nfleet"), format!("{day}\n{}", of_caller(caller))];
            let (fleet, fleet_at) = self.read::<Spent>(SPENT, &keys[0]).await?;
            let (own, own_at) = self.read::<Spent>(SPENT, &keys[1]).await?;
            let bounds = [
                ("this run", run, (0, 0)),
                ("the fleet for today", self.budget("fleet").await?, fleet.in_all(now_ms)),
                ("this caller for today", self.budget_of(caller).await?, own.in_all(now_ms)),
            ];
            let mut granted = output;
            for (whose, budget, (tokens, nano)) in bounds {
                let left = budget.less(tokens, nano);
                let most = answer_within(left, input, chosen).map_err(|fault| fault.context(whose))?;
                granted = granted.min(most);
                if granted < ANSWER_TOKENS_MIN.min(output) {
                    return Err(used_up(whose, budget, now_ms));
                }
            }
            let held = Held {
                id: id.clone(),
                day: day.clone(),
                caller: caller.to_owned(),
                chosen: chosen.clone(),
                input,
                output: granted,
            };
            let hold = held.hold(now_ms + HELD_MS);
            let mut writes = Vec::new();
            for (key, spent, at) in [(&keys[0], fleet, fleet_at), (&keys[1], own, own_at)] {
                writes.push(self.written(SPENT, key, &spent.with(hold.clone(), now_ms)?, at)?);
            }
            match self.store.commit(writes).await {
                Err(fault) if fault.code == Code::Conflict => continue,
                other => other?,
            };
            return Ok(held);
        }
        Err(Fault::conflict("too many use models at once").hint("try again"))
    }

    /// Counts what a question used, or nothing where the model was not reached, and lets go of what was held.
    pub(super) async fn settle(&self, held: &Held, usage: Option<Usage>, said_bytes: usize) -> Result<Used> {
        let used = usage.map_or_else(Used::default, |usage| held.used(usage, said_bytes));
        for _ in 0..TRIES_MAX {
            let now_ms = self.clock.now_ms();
            let mut writes = Vec::new();
            for whose in ["fleet".to_owned(), of_caller(&held.caller)] {
                let key = format!("{}\n{whose}", held.day);
                let (spent, at) = self.read::<Spent>(SPENT, &key).await?;
                writes.push(self.written(SPENT, &key, &spent.without(&held.id, used), at)?);
            }
            if usage.is_some() {
                let model = format!("{}/{}", held.chosen.provider, held.chosen.model);
                let key = format!("{}\n{}\n{model}", held.day, held.caller);
                let (counted, at) = self.read::<Counted>(USAGE, &key).await?;
                let mut write = self.written(USAGE, &key, &counted.with(used), at)?;
                write.expires_ms = Some(now_ms + KEPT_MS);
                writes.push(write);
            }
            match self.store.commit(writes).await {
                Err(fault) if fault.code == Code::Conflict => {}
                other => return other.map(|_| used),
            }
        }
        Err(Fault::conflict("too many use models at once"))
    }

    /// The counts of a day, by caller and model.
    pub(super) async fn counted(&self, day: &str) -> Result<Vec<(String, String, Counted)>> {
        let prefix = format!("{day}\n");
        let mut rows = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list(USAGE, &prefix, after.as_deref(), LIST_MAX).await?;
            for entry in &page {
                let mut parts = entry.key.splitn(3, '\n').skip(1);
                let (Some(caller), Some(model)) = (parts.next(), parts.next()) else { continue };
                rows.push((caller.to_owned(), model.to_owned(), value(USAGE, entry)?));
            }
            match page.last().filter(|_| page.len() == LIST_MAX) {
                Some(last) => after = Some(last.key.clone()),
                None => return Ok(rows),
            }
        }
    }

    fn written<T: Serialize>(&self, space: &str, key: &str, value: &T, expect: Expect) -> Result<Write> {
        let text = serde_json::to_string(value).map_err(|error| Fault::internal(format!("{space}: {error}")))?;
        let write = Write::put(space, key, text).expecting(expect);
        Ok(write.expiring_at(self.clock.now_ms() + KEPT_MS))
    }
}

fn value<T: serde::de::DeserializeOwned>(space: &str, entry: &Entry) -> Result<T> {
    serde_json::from_str(&entry.value)
        .map_err(|error| Fault::internal(format!("{space}: `{}` cannot be read: {error}", entry.key)))
}

/// How long an answer may be for what is left, in tokens.
fn answer_within(left: Budget, input: u64, chosen: &Chosen) -> Result<u64> {
    let by_tokens = left.tokens.map_or(u64::MAX, |tokens| tokens.saturating_sub(input));
    let Some(nano) = left.nano_usd else { return Ok(by_tokens) };
    let Some(price) = chosen.price else {
        return Err(Fault::not_configured(format!(
            "there is a budget in dollars, and the price of `{}` is not known",
            chosen.model
        ))
        .hint("put it into models.price_file, or set a budget in tokens alone"));
    };
    let rest = nano.saturating_sub(price.of(input, 0, 0));
    let by_price = rest.checked_div(price.output_nano_usd).unwrap_or(if rest > 0 { u64::MAX } else { 0 });
    Ok(by_tokens.min(by_price))
}

fn used_up(whose: &str, budget: Budget, now_ms: UnixMs) -> Fault {
    let tokens = budget.tokens.map(|tokens| format!("{tokens} tokens"));
    let usd = budget.nano_usd.map(|nano| format!("{} dollars", dollars(Some(nano))));
    let bound: Vec<String> = tokens.into_iter().chain(usd).collect();
    let message = format!("the budget of {whose} is used up: {}", bound.join(", "));
    if whose == "this run" {
        return Fault::too_large(message).hint("give it more, or less to do").data(json!({ "budget": whose }));
    }
    let tomorrow_ms = (now_ms.div_euclid(DAY_MS) + 1) * DAY_MS;
    Fault::new(Code::RateLimited, message)
        .hint("days end at midnight UTC; an administrator may set another budget (set_budget)")
        .data(json!({ "retry_after_ms": tomorrow_ms - now_ms, "budget": whose }))
}

/// Whether a refusal is that of a budget.
pub(super) fn is_used_up(fault: &Fault) -> bool {
    fault.data.as_ref().is_some_and(|data| data["budget"].is_string())
}

impl Spent {
    /// What is used or held.
    fn in_all(&self, now_ms: UnixMs) -> (u64, u64) {
        let held = self.held.iter().filter(|hold| hold.until_ms > now_ms);
        held.fold((self.tokens, self.nano_usd), |(tokens, nano), hold| {
            (tokens.saturating_add(hold.tokens), nano.saturating_add(hold.nano_usd))
        })
    }

    fn with(mut self, hold: Hold, now_ms: UnixMs) -> Result<Self> {
        self.held.retain(|hold| hold.until_ms > now_ms);
        if self.held.len() >= HELD_MAX {
            return Err(Fault::new(Code::RateLimited, format!("{HELD_MAX} questions to models are under way"))
                .hint("wait for some to end")
                .data(json!({ "retry_after_ms": 1_000 })));
        }
        self.held.push(hold);
        Ok(self)
    }

    fn without(mut self, id: &str, used: Used) -> Self {
        self.held.retain(|hold| hold.id != id);
        self.tokens = self.tokens.saturating_add(used.tokens());
        self.nano_usd = self.nano_usd.saturating_add(used.nano_usd.unwrap_or(0));
        self
    }
}

impl Held {
    fn hold(&self, until_ms: UnixMs) -> Hold {
        let nano_usd = self.chosen.price.map_or(0, |price| price.of(self.input, 0, self.output));
        Hold { id: self.id.clone(), tokens: self.input.saturating_add(self.output), nano_usd, until_ms }
    }

    /// What was used: as the provider told, or about as much as went there and back.
    fn used(&self, usage: Usage, said_bytes: usize) -> Used {
        let input = usage.input_tokens.unwrap_or(self.input);
        let output = usage.output_tokens.unwrap_or_else(|| tokens_in(said_bytes));
        Used {
            input,
            output,
            nano_usd: self.chosen.price.map(|price| price.of(input, usage.cached_tokens, output)),
            estimated: usage.total().is_none(),
        }
    }
}

impl Counted {
    fn with(mut self, used: Used) -> Self {
        self.calls += 1;
        self.input_tokens = self.input_tokens.saturating_add(used.input);
        self.output_tokens = self.output_tokens.saturating_add(used.output);
        self.nano_usd = self.nano_usd.saturating_add(used.nano_usd.unwrap_or(0));
        self.unpriced += u64::from(used.nano_usd.is_none());
        self.uncounted += u64::from(used.estimated);
        self
    }
}
