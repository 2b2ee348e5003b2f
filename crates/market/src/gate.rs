//! The risk gate: the rules over the kernel's [`Store`], so that any process that holds the store holds the gate.
//!
//! Whatever a verdict depends on is in one entry, the [`Desk`]; every commit expects the revision at which the desk was read and writes it
//! anew. So a check and the reservation of its exposure are one commit, and two replicas can never together break a limit: whoever comes
//! second reads again and is judged again. Invariants:
//! - The desk's exposure is the sum of the reservations under `open/`, always.
//! - An id is the trade's idempotency key: reserved once, settled or released once, and never again ([`SETTLED_KEPT_MS`]).
//! - A reservation has no end of its own: what may be on its way to the chain counts until somebody says what became of it.
//! - Nothing is remembered outside the store. The kill switch is read from it last before a send ([`Gate::clear_to_send`]).

mod book;
mod control;
mod desk;
mod settle;

use std::sync::Arc;

use kernel::store::{Expect, Store, Write};
use kernel::{Clock, Code, Fault, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use book::{DayRow, Holding, LedgerRow};
pub use control::{CONFIRMATION_MS, Confirmation, ModeChange};
pub use desk::{
    Admission, Books, Desk, Fill, Kill, LimitsRecord, Marks, Mode, Outcome, Reservation, STRATEGIES, Set,
    StrategyState, Trade,
};

use crate::risk::{Proposal, Verdict, check};

/// Where the gate keeps everything in the store.
pub const SPACE: &str = "risk";
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
}

/// The desk as it was read, and what a commit on top of it must expect.
struct Read {
    desk: Desk,
    expect: Expect,
}

impl Gate {
    /// The gate over `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
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
        check_id(id)?;
        for _ in 0..TRIES_MAX {
            let Read { mut desk, expect } = self.read().await?;
            if let Some(reservation) = self.reserved(id, trade).await? {
                let verdict = Verdict { allowed: true, reasons: Vec::new(), rules: Vec::new() };
                return Ok(Admission { reservation: Some(reservation), verdict });
            }
            let verdict = check(trade, desk.limits(), &desk.standing(&trade.strategy));
            if !verdict.allowed {
                return Ok(Admission { reservation: None, verdict });
            }
            let (mode, now_ms) = (desk.mode, self.clock.now_ms());
            let open = &mut desk.book_mut(mode).open;
            if open.trades >= OPEN_MAX {
                return Err(Fault::too_large(format!("{OPEN_MAX} trades are open")).hint("settle or release some"));
            }
            open.add(trade);
            let reservation = Reservation {
                id: id.into(),
                trade: trade.clone(),
                mode,
                reserved_ms: now_ms,
                limits_version: desk.limits.version,
            };
            let mut writes =
                vec![put(DESK, &desk)?.expecting(expect), put(&open_key(id), &reservation)?.expecting(Expect::Absent)];
            writes.extend_from_slice(intent);
            if self.commit(writes).await? {
                return Ok(Admission { reservation: Some(reservation), verdict });
            }
        }
        Err(contended())
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
        let reasons = serde_json::json!({ "reasons": verdict.reasons });
        Err(Fault::denied(format!("trade `{id}` may not be sent any more")).hint("release it").data(reasons))
    }

    /// What is reserved under `id`.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn open(&self, id: &str) -> Result<Reservation> {
        check_id(id)?;
        self.value(&open_key(id))
            .await?
            .ok_or_else(|| Fault::not_found(format!("nothing is reserved under `{id}`")).hint("it ended, or never was"))
    }

    /// All reservations, by id.
    pub async fn all_open(&self) -> Result<Vec<Reservation>> {
        let entries = self.store.list(SPACE, "open/", None, OPEN_MAX as usize * 2).await?;
        entries.iter().map(|entry| parse(&entry.key, &entry.value)).collect()
    }

    /// The same trade, reserved under this id before.
    async fn reserved(&self, id: &str, trade: &Proposal) -> Result<Option<Reservation>> {
        if let Some(reservation) = self.value::<Reservation>(&open_key(id)).await? {
            if reservation.trade == *trade {
                return Ok(Some(reservation));
            }
            return Err(Fault::already_exists(format!("`{id}` stands for another trade")).hint("use a new id"));
        }
        match self.store.get(SPACE, &done_key(id)).await? {
            None => Ok(None),
            Some(_) => Err(Fault::already_exists(format!("the trade `{id}` has ended")).hint("use a new id")),
        }
    }

    async fn read(&self) -> Result<Read> {
        let entry = self.store.get(SPACE, DESK).await?;
        let (mut desk, expect) = match entry {
            None => (Desk::default(), Expect::Absent),
            Some(entry) => (parse::<Desk>(&entry.key, &entry.value)?, Expect::Revision(entry.revision)),
        };
        desk.turn_to(day(self.clock.now_ms()));
        Ok(Read { desk, expect })
    }

    /// Whether the writes were made; false when another commit of the gate came first, and all must be read again.
    async fn commit(&self, writes: Vec<Write>) -> Result<bool> {
        match self.store.commit(writes).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.code == Code::Conflict && is_ours(&fault) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    async fn value<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let entry = self.store.get(SPACE, key).await?;
        entry.map(|entry| parse(&entry.key, &entry.value)).transpose()
    }
}

/// Whether a conflict is about the desk or a reservation: both say that all must be read again.
fn is_ours(fault: &Fault) -> bool {
    let Some(data) = &fault.data else { return false };
    let key = data["key"].as_str().unwrap_or_default();
    data["space"] == SPACE && (key == DESK || key.starts_with("open/"))
}

fn contended() -> Fault {
    Fault::conflict(format!("others changed the desk {TRIES_MAX} times in between")).hint("try again")
}

/// Days since the Unix epoch, UTC.
fn day(at_ms: i64) -> i64 {
    at_ms.div_euclid(86_400_000)
}

fn open_key(id: &str) -> String {
    format!("open/{id}")
}

fn done_key(id: &str) -> String {
    format!("done/{id}")
}

fn put(key: &str, value: &impl Serialize) -> Result<Write> {
    let text = serde_json::to_string(value).map_err(|error| Fault::internal(format!("{key}: {error}")))?;
    Ok(Write::put(SPACE, key, text))
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
