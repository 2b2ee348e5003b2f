//! The risk gate: the rules over the kernel's [`Store`], so that any process that holds the store holds the gate.
//!
//! Whatever a verdict depends on is in one entry, the [`Desk`]; every commit expects the revision at which the desk was read and writes it
//! anew. So a check and the reservation of its exposure are one commit, and two replicas can never together break a limit: whoever comes
//! second reads again and is judged again. Invariants:
//! - The desk's exposure is the sum of the reservations under `open/`, always.
//! - An id is the trade's idempotency key: reserved once, settled or released once, and never again ([`SETTLED_KEPT_MS`]).
//! - A reservation has no end of its own: what may be on its way to the chain counts until somebody says what became of it.
//! - What a trade moved is in the [journal](crate::ledger) and in the balances by the commit that booked it; what a reorganisation took back is
//!   reversed there, not deleted.
//! - Nothing is remembered outside the store. The kill switch is read from it last before a send ([`Gate::clear_to_send`]).
//! - What is done on the sandbox is kept apart from everything else, its mode too: its money is worth nothing. A sandbox that is made anew has
//!   books of its own ([`Gate::begin`]), and is held to what people set all the same.

mod book;
mod control;
mod desk;
mod journal;
mod settle;

use std::sync::Arc;

use kernel::chain::Ground;
use kernel::store::{Expect, Store, Write};
use kernel::{Clock, Code, Fault, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use book::{DayRow, LedgerRow};
pub use control::{CONFIRMATION_MS, Confirmation, ModeChange};
pub use desk::{
    Admission, Books, Desk, Fill, Kill, LimitsRecord, Marks, Mode, Outcome, Reservation, STRATEGIES, Set,
    StrategyState, Trade,
};

use crate::risk::{Finding, Proposal, Verdict, check};

/// Where the gate keeps everything in the store.
const SPACE: &str = "risk";
/// Where it keeps everything of the sandbox.
const SANDBOX_SPACE: &str = "risk.sandbox";
/// The topic on which changes of limits, states and modes are told.
pub const RISK_TOPIC: &str = "fleet.risk";
/// Most trades open at once.
pub const OPEN_MAX: u64 = 256;
/// How long a trade is kept after it ended, and its id is remembered, in milliseconds: 400 days.
pub const SETTLED_KEPT_MS: i64 = 400 * 86_400_000;
/// How often a commit that lost against another is tried again. Each loss means that another's commit was made.
const TRIES_MAX: usize = 64;
/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 128;

const DESK: &str = "desk";

/// The gate. Cloning shares the store, which is all there is.
#[derive(Clone)]
pub struct Gate {
    store: Arc<dyn Store>,
    clock: Clock,
    ground: Ground,
    space: &'static str,
}

/// The desk as it was read, and what a commit on top of it must expect.
struct Read {
    desk: Desk,
    expect: Expect,
}

/// What came of judging a trade.
enum Judged {
    /// It was let through before.
    Reserved(Box<Reservation>),
    Refused(Verdict),
    Allowed(Box<Allowed>),
}

/// A trade that may be let through, on the desk as it was read.
struct Allowed {
    read: Read,
    reservation: Reservation,
    verdict: Verdict,
}

impl Gate {
    /// The gate over `store`, for trades on a chain of this kind.
    pub fn new(store: Arc<dyn Store>, clock: Clock, ground: Ground) -> Self {
        let space = if ground == Ground::Real { SPACE } else { SANDBOX_SPACE };
        Self { store, clock, ground, space }
    }

    /// How everything stands now, the day's marks as of today.
    pub async fn desk(&self) -> Result<Desk> {
        Ok(self.read().await?.desk)
    }

    /// Judges a trade as it would be judged now. Reserves nothing.
    pub async fn check(&self, trade: &Proposal) -> Result<Verdict> {
        let Read { desk, .. } = self.read().await?;
        Ok(check(trade, desk.limits(), &desk.standing(&trade.strategy)))
    }

    /// Judges a trade and, if it passes, reserves its exposure under `id` in the same commit as `intent`: the writes by which the caller
    /// remembers what it is about to do. The same trade under the same id is admitted again by what was reserved, without a second look,
    /// and `intent` is not written again.
    ///
    /// # Errors
    /// [`Code::AlreadyExists`] when the id stands for another trade or one that ended; [`Code::Conflict`] when an expectation of `intent`
    /// does not hold; [`Code::TooLarge`] when too many trades are open.
    pub async fn reserve(&self, id: &str, trade: &Proposal, intent: &[Write]) -> Result<Admission> {
        for _ in 0..TRIES_MAX {
            let judged = match self.judge(id, trade).await? {
                Judged::Reserved(reservation) => {
                    let verdict = Verdict { allowed: true, reasons: Vec::new(), rules: Vec::new() };
                    return Ok(Admission { reservation: Some(*reservation), verdict });
                }
                Judged::Refused(verdict) => return Ok(Admission { reservation: None, verdict }),
                Judged::Allowed(allowed) => allowed,
            };
            let (reservation, verdict) = (judged.reservation.clone(), judged.verdict.clone());
            let mut writes = self.reserving(*judged)?;
            writes.extend_from_slice(intent);
            if self.commit(writes).await? {
                return Ok(Admission { reservation: Some(reservation), verdict });
            }
        }
        Err(contended())
    }

    /// The writes that reserve a trade's exposure under `id`, for a commit of the caller's: they expect the desk as it was judged. When that
    /// commit loses to another, ask again.
    ///
    /// # Errors
    /// [`Code::PermissionDenied`], with the verdict as its data, when a rule refuses the trade or the fleet is not in `mode`; otherwise as
    /// [`Gate::reserve`].
    pub async fn admission(&self, id: &str, trade: &Proposal, mode: Mode) -> Result<Vec<Write>> {
        self.reserving(*self.allowed(id, trade, mode).await?)
    }

    /// The judgement of a trade that is to be let through.
    async fn allowed(&self, id: &str, trade: &Proposal, mode: Mode) -> Result<Box<Allowed>> {
        match self.judge(id, trade).await? {
            Judged::Reserved(_) => {
                Err(Fault::already_exists(format!("`{id}` is reserved already")).hint("use a new id"))
            }
            Judged::Refused(verdict) => Err(refusal(&verdict)),
            Judged::Allowed(allowed) if allowed.reservation.mode != mode => {
                Err(Fault::denied(format!("the fleet is not in {} mode any more", mode.as_str())).hint("try again"))
            }
            Judged::Allowed(allowed) => Ok(allowed),
        }
    }

    async fn judge(&self, id: &str, trade: &Proposal) -> Result<Judged> {
        check_id(id)?;
        let Read { desk, expect } = self.read().await?;
        if let Some(reservation) = self.reserved(&desk.realm, id, trade).await? {
            return Ok(Judged::Reserved(Box::new(reservation)));
        }
        let verdict = check(trade, desk.limits(), &desk.standing(&trade.strategy));
        if !verdict.allowed {
            return Ok(Judged::Refused(verdict));
        }
        if desk.book(desk.mode).open.trades >= OPEN_MAX {
            return Err(Fault::too_large(format!("{OPEN_MAX} trades are open")).hint("settle or release some"));
        }
        let reservation = Reservation {
            id: id.into(),
            trade: trade.clone(),
            mode: desk.mode,
            reserved_ms: self.clock.now_ms(),
            limits_version: desk.limits.version,
        };
        Ok(Judged::Allowed(Box::new(Allowed { read: Read { desk, expect }, reservation, verdict })))
    }

    fn reserving(&self, allowed: Allowed) -> Result<Vec<Write>> {
        let Allowed { read: Read { mut desk, expect }, reservation, .. } = allowed;
        desk.book_mut(reservation.mode).open.add(&reservation.trade);
        Ok(vec![
            self.put(DESK, &desk)?.expecting(expect),
            self.put(&open_key(&desk.realm, &reservation.id), &reservation)?.expecting(Expect::Absent),
        ])
    }

    /// The last look before the first byte leaves: that the reservation stands, its mode is still the fleet's, and every rule, the kill
    /// switch first, still passes with it. Reads the store; remembers nothing.
    ///
    /// # Errors
    /// [`Code::PermissionDenied`] with the reasons as its data; [`Code::NotFound`] when nothing is reserved under the id.
    pub async fn clear_to_send(&self, id: &str) -> Result<Reservation> {
        let reservation = self.open(id).await?;
        // Read after the reservation, so that nothing comes between this and the send.
        let Read { mut desk, .. } = self.read().await?;
        if desk.mode != reservation.mode {
            return Err(Fault::denied(format!("trade `{id}` was reserved in another mode than the fleet is in now"))
                .hint("release it and reserve it again"));
        }
        desk.book_mut(reservation.mode).open.remove(&reservation.trade);
        let verdict = check(&reservation.trade, desk.limits(), &desk.standing(&reservation.trade.strategy));
        if verdict.allowed {
            return Ok(reservation);
        }
        Err(refusal(&verdict).context(format!("trade `{id}` may not be sent any more")))
    }

    /// What is reserved under `id`.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn open(&self, id: &str) -> Result<Reservation> {
        check_id(id)?;
        let realm = self.realm().await?;
        self.value(&open_key(&realm, id))
            .await?
            .ok_or_else(|| Fault::not_found(format!("nothing is reserved under `{id}`")).hint("it ended, or never was"))
    }

    /// All reservations, by id.
    pub async fn all_open(&self) -> Result<Vec<Reservation>> {
        let prefix = place(&self.realm().await?, "open/");
        let entries = self.store.list(self.space, &prefix, None, OPEN_MAX as usize * 2).await?;
        entries.iter().map(|entry| parse(&entry.key, &entry.value)).collect()
    }

    /// The same trade, reserved under this id before.
    async fn reserved(&self, realm: &str, id: &str, trade: &Proposal) -> Result<Option<Reservation>> {
        if let Some(reservation) = self.value::<Reservation>(&open_key(realm, id)).await? {
            if reservation.trade == *trade {
                return Ok(Some(reservation));
            }
            return Err(Fault::already_exists(format!("`{id}` stands for another trade")).hint("use a new id"));
        }
        match self.store.get(self.space, &done_key(realm, id)).await? {
            None => Ok(None),
            Some(_) => Err(Fault::already_exists(format!("the trade `{id}` has ended")).hint("use a new id")),
        }
    }

    /// Whose books they are.
    async fn realm(&self) -> Result<String> {
        Ok(self.read().await?.desk.realm)
    }

    async fn read(&self) -> Result<Read> {
        let entry = self.store.get(self.space, DESK).await?;
        let (mut desk, expect) = match entry {
            None => (Desk::initial(self.ground), Expect::Absent),
            Some(entry) => (parse::<Desk>(&entry.key, &entry.value)?, Expect::Revision(entry.revision)),
        };
        desk.turn_to(day(self.clock.now_ms()));
        Ok(Read { desk, expect })
    }

    /// Whether the writes were made; false when another commit of the gate came first, and all must be read again.
    async fn commit(&self, writes: Vec<Write>) -> Result<bool> {
        match self.store.commit(writes).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.code == Code::Conflict && self.is_ours(&fault) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Whether a conflict is about the desk or a reservation: both say that all must be read again.
    fn is_ours(&self, fault: &Fault) -> bool {
        let Some(data) = &fault.data else { return false };
        let key = data["key"].as_str().unwrap_or_default();
        data["space"] == self.space && (key == DESK || key.starts_with("open/") || key.contains("/open/"))
    }

    fn put(&self, key: &str, value: &impl Serialize) -> Result<Write> {
        let text = serde_json::to_string(value).map_err(|error| Fault::internal(format!("{key}: {error}")))?;
        Ok(Write::put(self.space, key, text))
    }

    async fn value<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let entry = self.store.get(self.space, key).await?;
        entry.map(|entry| parse(&entry.key, &entry.value)).transpose()
    }
}

/// The fault that a verdict is.
fn refusal(verdict: &Verdict) -> Fault {
    let named = |finding: &&Finding| !finding.passed;
    let reasons: Vec<String> = verdict.rules.iter().filter(named).map(Finding::in_words).collect();
    Fault::denied(format!("the risk rules refuse it: {}", reasons.join("; ")))
        .hint("check_trade of risk-management shows every figure and bound")
        .data(serde_json::json!({ "reasons": verdict.reasons, "rules": verdict.rules }))
}

fn contended() -> Fault {
    Fault::conflict(format!("others changed the desk {TRIES_MAX} times in between")).hint("try again")
}

/// Days since the Unix epoch, UTC.
fn day(at_ms: i64) -> i64 {
    at_ms.div_euclid(86_400_000)
}

/// Where something of a realm's books is: that of no realm is where it ever was.
fn place(realm: &str, key: &str) -> String {
    if realm.is_empty() { key.to_owned() } else { format!("{realm}/{key}") }
}

fn open_key(realm: &str, id: &str) -> String {
    place(realm, &format!("open/{id}"))
}

fn done_key(realm: &str, id: &str) -> String {
    place(realm, &format!("done/{id}"))
}

fn parse<T: DeserializeOwned>(key: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Fault::internal(format!("`{key}` of the risk gate: {error}")))
}

fn check_id(id: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    if !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(fits) {
        return Ok(());
    }
    Err(Fault::invalid("not a trade's id").hint(format!("A-Z a-z 0-9 . _ : -, at most {ID_BYTES_MAX} characters")))
}
