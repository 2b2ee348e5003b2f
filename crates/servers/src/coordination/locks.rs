//! Locks and elections as tools: under the caller's own name, with tokens that only grow.

use std::time::Duration;

use kernel::UnixMs;
use kernel::locks::Held;
use kernel::store::LIST_MAX;
use mcp::prelude::*;

use super::{Coordination, WAIT_SECONDS_MAX, names};

/// What [`ACQUIRE_LOCK`](super::ACQUIRE_LOCK) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcquireLockRequest {
    /// The lock: 1 to 200 characters of `A-Z a-z 0-9 . _ : / -`.
    pub name: String,
    /// How long it is held unless renewed, 1 to 86,400 seconds.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 86400))]
    pub ttl_seconds: u64,
    /// How long to wait for it while another holds it, at most 300 seconds.
    #[serde(default)]
    #[schemars(range(max = 300))]
    pub wait_seconds: u64,
    /// Which worker of the caller holds it, when several share one key. They exclude each other too.
    #[serde(default)]
    pub owner: Option<String>,
}

fn thirty() -> u64 {
    30
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lock {
    /// The lock.
    pub name: String,
    /// Who holds it: a key's name, or `key/worker`.
    pub owner: String,
    /// The fencing token: larger than that of every holding before. Renewals keep it.
    pub token: u64,
    /// When it ends unless renewed, in milliseconds since the Unix epoch.
    pub expires_ms: UnixMs,
}

impl From<Held> for Lock {
    fn from(Held { name, owner, token, expires_ms }: Held) -> Self {
        Self { name, owner, token, expires_ms }
    }
}

/// What [`RENEW_LOCK`](super::RENEW_LOCK) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewLockRequest {
    /// The lock.
    pub name: String,
    /// The token it was acquired with.
    pub token: u64,
    /// How long it is held from now, 1 to 86,400 seconds.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 86400))]
    pub ttl_seconds: u64,
}

/// What [`RELEASE_LOCK`](super::RELEASE_LOCK) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseLockRequest {
    /// The lock.
    pub name: String,
    /// The token it was acquired with.
    pub token: u64,
}

/// What was given up.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// The lock or election.
    pub name: String,
    /// Who had it.
    pub owner: String,
    /// The token of that holding.
    pub token: u64,
}

/// What [`LIST_LOCKS`](super::LIST_LOCKS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListLocksRequest {
    /// Only those that begin so.
    #[serde(default)]
    pub prefix: String,
    /// Only those after this one, by name.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// What [`LIST_LOCKS`](super::LIST_LOCKS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListLocksResponse {
    /// The locks that are held, by name, at most 1,000.
    pub locks: Vec<Lock>,
    /// The cursor to go on with, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What [`CAMPAIGN`](super::CAMPAIGN) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CampaignRequest {
    /// The election: 1 to 200 characters of `A-Z a-z 0-9 . _ : / -`.
    pub election: String,
    /// How long the term is from now, 1 to 86,400 seconds. Campaign again before it ends to stay.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 86400))]
    pub ttl_seconds: u64,
    /// How long to wait for the present leader's term to end, at most 300 seconds.
    #[serde(default)]
    #[schemars(range(max = 300))]
    pub wait_seconds: u64,
    /// Which worker of the caller stands, when several share one key.
    #[serde(default)]
    pub candidate: Option<String>,
}

/// A leader and its term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lead {
    /// The election.
    pub election: String,
    /// Who leads: a key's name, or `key/worker`.
    pub leader: String,
    /// The fencing token of this lead: larger than that of every leader before.
    pub token: u64,
    /// When the term ends, in milliseconds since the Unix epoch.
    pub expires_ms: UnixMs,
}

impl From<Held> for Lead {
    fn from(Held { name, owner, token, expires_ms }: Held) -> Self {
        Self { election: name, leader: owner, token, expires_ms }
    }
}

/// What [`RESIGN`](super::RESIGN) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResignRequest {
    /// The election.
    pub election: String,
    /// The token of the lead.
    pub token: u64,
}

/// What [`LEADER`](super::LEADER) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaderRequest {
    /// The election.
    pub election: String,
}

/// What [`LEADER`](super::LEADER) answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaderResponse {
    /// The leader; null when nobody leads.
    pub lead: Option<Lead>,
}

/// The time to live and the wait, within their limits.
fn times(ttl_seconds: u64, wait_seconds: u64) -> Result<(Duration, Duration), Fault> {
    if !(1..=86_400).contains(&ttl_seconds) {
        return Err(Fault::invalid(format!("ttl_seconds is {ttl_seconds}")).hint("1 to 86,400"));
    }
    if wait_seconds > WAIT_SECONDS_MAX {
        return Err(
            Fault::invalid(format!("wait_seconds is {wait_seconds}")).hint(format!("at most {WAIT_SECONDS_MAX}"))
        );
    }
    Ok((Duration::from_secs(ttl_seconds), Duration::from_secs(wait_seconds)))
}

impl Coordination {
    pub(super) async fn acquire_lock(
        self: Arc<Self>,
        request: AcquireLockRequest,
        ctx: Ctx,
    ) -> Result<Lock, ToolError> {
        names::check_own("lock", &request.name)?;
        let owner = names::owner(&ctx.caller, request.owner.as_deref())?;
        let (ttl, wait) = times(request.ttl_seconds, request.wait_seconds)?;
        Ok(self.locks.acquire(&request.name, &owner, ttl, wait).await?.into())
    }

    pub(super) async fn renew_lock(self: Arc<Self>, request: RenewLockRequest, ctx: Ctx) -> Result<Lock, ToolError> {
        names::check_own("lock", &request.name)?;
        let (ttl, _) = times(request.ttl_seconds, 0)?;
        let what = format!("lock `{}`", request.name);
        let owner = holder(&ctx, self.locks.get(&request.name).await?, request.token, &what)?;
        Ok(self.locks.renew(&request.name, &owner, request.token, ttl).await?.into())
    }

    pub(super) async fn release_lock(
        self: Arc<Self>,
        request: ReleaseLockRequest,
        ctx: Ctx,
    ) -> Result<Given, ToolError> {
        let ReleaseLockRequest { name, token } = request;
        names::check_own("lock", &name)?;
        let owner = holder(&ctx, self.locks.get(&name).await?, token, &format!("lock `{name}`"))?;
        self.locks.release(&name, &owner, token).await?;
        Ok(Given { name, owner, token })
    }

    pub(super) async fn list_locks(
        self: Arc<Self>,
        request: ListLocksRequest,
        _ctx: Ctx,
    ) -> Result<ListLocksResponse, ToolError> {
        names::check_prefix("lock", &request.prefix)?;
        let held = self.locks.list(&request.prefix, request.cursor.as_deref()).await?;
        let next = held.last().filter(|_| held.len() == LIST_MAX).map(|last| last.name.clone());
        Ok(ListLocksResponse { locks: held.into_iter().map(Lock::from).collect(), next })
    }

    pub(super) async fn campaign(self: Arc<Self>, request: CampaignRequest, ctx: Ctx) -> Result<Lead, ToolError> {
        names::check_own("election", &request.election)?;
        let candidate = names::owner(&ctx.caller, request.candidate.as_deref())?;
        let (ttl, wait) = times(request.ttl_seconds, request.wait_seconds)?;
        Ok(self.elections.campaign(&request.election, &candidate, ttl, wait).await?.into())
    }

    pub(super) async fn resign(self: Arc<Self>, request: ResignRequest, ctx: Ctx) -> Result<Given, ToolError> {
        let ResignRequest { election: name, token } = request;
        names::check_own("election", &name)?;
        let owner = holder(&ctx, self.elections.leader(&name).await?, token, &format!("the lead of `{name}`"))?;
        self.elections.resign(&name, &owner, token).await?;
        Ok(Given { name, owner, token })
    }

    pub(super) async fn leader(
        self: Arc<Self>,
        request: LeaderRequest,
        _ctx: Ctx,
    ) -> Result<LeaderResponse, ToolError> {
        names::check("election", &request.election)?;
        Ok(LeaderResponse { lead: self.elections.leader(&request.election).await?.map(Lead::from) })
    }
}

/// The owner under whose name the caller may act on what is `held`, with this token.
fn holder(ctx: &Ctx, held: Option<Held>, token: u64, what: &str) -> Result<String, Fault> {
    let Some(held) = held else {
        return Err(Fault::conflict(format!("{what} is not held"))
            .hint("it ended or was given up; acquire it again, with a new token"));
    };
    names::check_owner(&ctx.caller, &held.owner, what)?;
    if held.token != token {
        let text = format!("{what} is held with token {}, not {token}", held.token);
        return Err(Fault::conflict(text).hint("the holding of that token is over").data(serde_json::json!(held)));
    }
    Ok(held.owner)
}
