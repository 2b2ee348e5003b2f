//! Barriers: callers that wait for each other. Each time all have come is a generation, and the next begins at once.

use kernel::UnixMs;
use kernel::store::{Expect, Write};
use mcp::prelude::*;
use serde_json::json;
use tokio::time::Instant;

use super::{Coordination, WAIT_SECONDS_MAX, names, wait_until};

/// Where barriers are kept in the store, by name.
const SPACE: &str = "barriers";
/// How long an unused barrier is remembered, in milliseconds.
const KEPT_MS: i64 = 24 * 3_600_000;

/// What [`BARRIER`](super::BARRIER) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BarrierRequest {
    /// The barrier: 1 to 200 characters of `A-Z a-z 0-9 . _ : / -`.
    pub name: String,
    /// How many must come, 1 to 1,000. All say the same.
    #[schemars(range(min = 1, max = 1000))]
    pub parties: u32,
    /// How long to wait for the others, 1 to 300 seconds. A party that left before counts until this time is over.
    #[serde(default = "sixty")]
    #[schemars(range(min = 1, max = 300))]
    pub wait_seconds: u64,
    /// Which worker of the caller this is, when several share one key. One that comes twice counts once.
    #[serde(default)]
    pub party: Option<String>,
}

fn sixty() -> u64 {
    60
}

/// What [`BARRIER`](super::BARRIER) answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BarrierResponse {
    /// The barrier.
    pub name: String,
    /// How many times all have come, this time included.
    pub generation: u64,
    /// Who came, in that order; empty when the barrier was passed again before this party heard of it.
    pub parties: Vec<String>,
}

/// What the store keeps of a barrier.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Stored {
    /// How many times all have come.
    generation: u64,
    /// How many those who wait now wait for.
    parties: u32,
    /// Those who wait.
    waiting: Vec<Waiting>,
    /// Those who came the last time.
    passed: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    party: String,
    until_ms: UnixMs,
}

impl Coordination {
    pub(super) async fn barrier(
        self: Arc<Self>,
        request: BarrierRequest,
        ctx: Ctx,
    ) -> Result<BarrierResponse, ToolError> {
        names::check_own("barrier", &request.name)?;
        if !(1..=1_000).contains(&request.parties) {
            return Err(Fault::invalid(format!("parties is {}", request.parties)).hint("1 to 1,000").into());
        }
        if request.wait_seconds == 0 {
            return Err(Fault::invalid("wait_seconds is 0").hint(format!("1 to {WAIT_SECONDS_MAX}")).into());
        }
        let until = wait_until(request.wait_seconds)?;
        let party = names::owner(&ctx.caller, request.party.as_deref())?;
        let mine = self.come(&request, &party).await?;
        loop {
            let changed = self.store.changed(&[SPACE]);
            let (stored, _) = self.barrier_now(&request.name).await?;
            if stored.generation >= mine {
                let parties = if stored.generation == mine { stored.passed } else { Vec::new() };
                return Ok(BarrierResponse { name: request.name, generation: mine, parties });
            }
            if Instant::now() >= until {
                match self.leave(&request, &party, mine).await? {
                    Some(fault) => return Err(fault.into()),
                    // The last one came just now.
                    None => continue,
                }
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Takes a place. Gives the generation that it is a place of.
    async fn come(&self, request: &BarrierRequest, party: &str) -> Result<u64, Fault> {
        loop {
            let (mut stored, expect) = self.barrier_now(&request.name).await?;
            let now_ms = self.clock.now_ms();
            stored.waiting.retain(|waiting| waiting.until_ms > now_ms && waiting.party != party);
            if stored.waiting.is_empty() {
                stored.parties = request.parties;
            }
            if stored.parties != request.parties {
                let text =
                    format!("barrier `{}` waits for {} parties, not {}", request.name, stored.parties, request.parties);
                return Err(Fault::conflict(text).hint("all parties say the same number"));
            }
            let until_ms = now_ms + request.wait_seconds as i64 * 1_000;
            stored.waiting.push(Waiting { party: party.to_owned(), until_ms });
            let mine = stored.generation + 1;
            if stored.waiting.len() >= request.parties as usize {
                stored.generation = mine;
                stored.passed = stored.waiting.drain(..).map(|waiting| waiting.party).collect();
            }
            if self.barrier_set(&request.name, &stored, expect).await? {
                return Ok(mine);
            }
        }
    }

    /// Gives the place back when the time is over; says how far it got. `None` when the barrier was passed after all.
    async fn leave(&self, request: &BarrierRequest, party: &str, mine: u64) -> Result<Option<Fault>, Fault> {
        loop {
            let (mut stored, expect) = self.barrier_now(&request.name).await?;
            if stored.generation >= mine {
                return Ok(None);
            }
            let came: Vec<String> = stored.waiting.iter().map(|waiting| waiting.party.clone()).collect();
            stored.waiting.retain(|waiting| waiting.party != party);
            if self.barrier_set(&request.name, &stored, expect).await? {
                let text = format!(
                    "barrier `{}`: {} of {} parties came in {} s",
                    request.name,
                    came.len(),
                    request.parties,
                    request.wait_seconds
                );
                let fault = Fault::timeout(text).hint("come again, and wait longer if need be");
                return Ok(Some(fault.data(json!({ "came": came, "parties": request.parties }))));
            }
        }
    }

    async fn barrier_now(&self, name: &str) -> Result<(Stored, Expect), Fault> {
        let Some(entry) = self.store.get(SPACE, name).await? else { return Ok((Stored::default(), Expect::Absent)) };
        let stored = serde_json::from_str(&entry.value)
            .map_err(|error| Fault::internal(format!("the entry of barrier `{name}` is damaged: {error}")))?;
        Ok((stored, Expect::Revision(entry.revision)))
    }

    /// Writes a barrier unless somebody else did first.
    async fn barrier_set(&self, name: &str, stored: &Stored, expect: Expect) -> Result<bool, Fault> {
        let value = serde_json::to_string(stored).map_err(|error| Fault::internal(format!("barrier: {error}")))?;
        let write = Write::put(SPACE, name, value).expiring_at(self.clock.now_ms() + KEPT_MS).expecting(expect);
        match self.store.commit(vec![write]).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.code == Code::Conflict => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}
