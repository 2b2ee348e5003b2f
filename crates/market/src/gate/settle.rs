//! The end of a reserved trade, and its return when a reorganisation takes the end back.

use kernel::store::{Expect, Write};
use kernel::{Fault, Result};

use super::book::{DayRow, LedgerRow};
use super::journal::Entered;
use super::{
    Fill, Gate, Mode, OPEN_MAX, Outcome, Read, Reservation, SETTLED_KEPT_MS, Trade, check_id, contended, day, done_key,
    open_key, place,
};
use crate::risk::{Money, Proposal};

/// What is remembered of an ended trade under its id: all that taking it back needs.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Done {
    /// Where the trade is.
    trade_key: String,
    /// Where its entry of the journal is; none where nothing moved.
    #[serde(default)]
    entry_key: Option<String>,
    reservation: Reservation,
}

/// How a trade is counted.
#[derive(Clone, Copy)]
enum Direction {
    In,
    Back,
}

impl Gate {
    /// Ends a reserved trade: gives its exposure back and books what became of it, in one commit with `writes`, the caller's own. Telling
    /// the same end again changes nothing and answers what was booked.
    ///
    /// # Errors
    /// [`Code::NotFound`](kernel::Code::NotFound) when the id was never reserved; [`Code::Conflict`](kernel::Code::Conflict) when it ended
    /// otherwise, or an expectation of `writes` does not hold.
    pub async fn settle(&self, id: &str, outcome: &Outcome, writes: &[Write]) -> Result<Trade> {
        for _ in 0..super::TRIES_MAX {
            let (trade, mut all) = self.settlement(id, outcome).await?;
            if all.is_empty() {
                return Ok(trade);
            }
            all.extend_from_slice(writes);
            if self.commit(all).await? {
                return Ok(trade);
            }
        }
        Err(contended())
    }

    /// The writes that end a reserved trade, for a commit of the caller's, and the trade as it will be booked. None when it ended so already.
    /// When that commit loses to another, ask again.
    ///
    /// # Errors
    /// As [`Gate::settle`].
    pub async fn settlement(&self, id: &str, outcome: &Outcome) -> Result<(Trade, Vec<Write>)> {
        check_id(id)?;
        let mut read = self.read().await?;
        let open_key = open_key(&read.desk.realm, id);
        let Some(reservation) = self.value::<Reservation>(&open_key).await? else {
            return Ok((self.ended(&read.desk.realm, id, outcome).await?, Vec::new()));
        };
        read.desk.book_mut(reservation.mode).open.remove(&reservation.trade);
        let (trade, mut writes) = self.booking(read, reservation, outcome).await?;
        writes.push(Write::delete(self.space, &open_key));
        Ok((trade, writes))
    }

    /// The writes that judge a trade and book its end at once, for a commit of the caller's: what is only pretended holds nothing open.
    ///
    /// # Errors
    /// As [`Gate::admission`].
    pub async fn pretended(&self, id: &str, trade: &Proposal, outcome: &Outcome) -> Result<Vec<Write>> {
        let allowed = self.allowed(id, trade, Mode::Paper).await?;
        let (_, writes) = self.booking(allowed.read, allowed.reservation, outcome).await?;
        Ok(writes)
    }

    /// Books an end on a desk on which the trade holds nothing open any more.
    async fn booking(
        &self,
        Read { mut desk, expect }: Read,
        reservation: Reservation,
        outcome: &Outcome,
    ) -> Result<(Trade, Vec<Write>)> {
        let now_ms = self.clock.now_ms();
        let trade = ended(&reservation, outcome, now_ms);
        let marks = &mut desk.book_mut(reservation.mode).marks;
        marks.book(trade.net);
        match outcome {
            // The fleet's own work on the chain says nothing of how trading goes.
            _ if reservation.trade.upkeep => {}
            Outcome::Filled(_) => marks.failures = 0,
            Outcome::Failed(_) => marks.failures = marks.failures.saturating_add(1),
            Outcome::Released { .. } => {}
        }
        let key = trade_key(&trade);
        let kept_until = now_ms + SETTLED_KEPT_MS;
        let done_key = done_key(&desk.realm, &trade.id);
        let Entered { key: entry_key, writes: entered } = self.enter(&mut desk, &trade).await?;
        let done = Done { trade_key: key.clone(), entry_key, reservation };
        let mut writes = vec![
            self.put(super::DESK, &desk)?.expecting(expect),
            self.put(&done_key, &done)?.expiring_at(kept_until),
            self.put(&place(&desk.realm, &key), &trade)?.expiring_at(kept_until),
        ];
        writes.extend(entered);
        writes.extend(self.row(&desk.realm, &trade, Direction::In).await?);
        Ok((trade, writes))
    }

    /// Takes a trade's end back, because the block it was in is no longer on the chain: what was booked is reversed, and its exposure is
    /// held again, for its transaction may be mined anew. That may put exposure above a limit for a while; nothing new is let through
    /// meanwhile. What it counted in failures and in the peak stays counted. One commit with `writes`.
    ///
    /// # Errors
    /// [`Code::NotFound`](kernel::Code::NotFound) when no trade of this id has ended; [`Code::TooLarge`](kernel::Code::TooLarge) when too
    /// many trades are open.
    pub async fn take_back(&self, id: &str, writes: &[Write]) -> Result<Reservation> {
        for _ in 0..super::TRIES_MAX {
            let (reservation, mut all) = self.taking_back(id).await?;
            all.extend_from_slice(writes);
            if self.commit(all).await? {
                return Ok(reservation);
            }
        }
        Err(contended())
    }

    /// The writes that take a trade's end back, for a commit of the caller's, and the reservation that stands again. When that commit loses
    /// to another, ask again.
    ///
    /// # Errors
    /// As [`Gate::take_back`].
    pub async fn taking_back(&self, id: &str) -> Result<(Reservation, Vec<Write>)> {
        check_id(id)?;
        let Read { mut desk, expect } = self.read().await?;
        let realm = desk.realm.clone();
        let Some(done) = self.value::<Done>(&done_key(&realm, id)).await? else {
            let ended = Fault::not_found(format!("no trade `{id}` has ended"));
            return Err(ended.hint("only what was settled is taken back, once"));
        };
        let Some(trade) = self.value::<Trade>(&place(&realm, &done.trade_key)).await? else {
            return Err(Fault::internal(format!("the trade `{id}` has an end and no row")));
        };
        let Done { trade_key, entry_key, reservation } = done;
        let book = desk.book_mut(reservation.mode);
        if book.open.trades >= OPEN_MAX {
            return Err(Fault::too_large(format!("{OPEN_MAX} trades are open")).hint("settle or release some"));
        }
        book.open.add(&reservation.trade);
        book.marks.total_net = book.marks.total_net.minus(trade.net);
        if day(trade.ended_ms) == book.marks.day {
            book.marks.day_net = book.marks.day_net.minus(trade.net);
        }
        let reversed = match &entry_key {
            Some(key) => self.reverse(&mut desk, reservation.mode, key).await?,
            None => Entered::default(),
        };
        let mut writes = vec![
            self.put(super::DESK, &desk)?.expecting(expect),
            self.put(&open_key(&realm, id), &reservation)?.expecting(Expect::Absent),
            Write::delete(self.space, &done_key(&realm, id)),
            Write::delete(self.space, &place(&realm, &trade_key)),
        ];
        writes.extend(reversed.writes);
        writes.extend(self.row(&realm, &trade, Direction::Back).await?);
        Ok((reservation, writes))
    }

    /// The answer to an end that is told again.
    async fn ended(&self, realm: &str, id: &str, outcome: &Outcome) -> Result<Trade> {
        let Some(done) = self.value::<Done>(&done_key(realm, id)).await? else {
            return Err(Fault::not_found(format!("nothing is reserved under `{id}`")).hint("reserve it first"));
        };
        match self.value::<Trade>(&place(realm, &done.trade_key)).await? {
            Some(trade) if trade.outcome == *outcome => Ok(trade),
            Some(trade) => Err(Fault::conflict(format!("the trade `{id}` ended otherwise"))
                .hint("take_back what a reorganisation undid, then settle it anew")
                .data(serde_json::json!({ "ended_ms": trade.ended_ms, "net": trade.net }))),
            None => Err(Fault::not_found(format!("the trade `{id}` is no longer kept"))),
        }
    }

    /// The sums of its day that a trade changes. Read and written under the desk's revision, as every change of them is.
    async fn row(&self, realm: &str, trade: &Trade, direction: Direction) -> Result<Option<Write>> {
        let (Outcome::Filled(fill) | Outcome::Failed(fill)) = &trade.outcome else { return Ok(None) };
        let key = DayRow::key(realm, trade.mode, day(trade.ended_ms), &trade.strategy, &trade.pair);
        let mut row: LedgerRow = self.value(&key).await?.unwrap_or_default();
        let sign = |value: Money| match direction {
            Direction::In => value,
            Direction::Back => Money::ZERO.minus(value),
        };
        row.gross = row.gross.plus(sign(fill.gross));
        row.fees = row.fees.plus(sign(fill.fee));
        row.gas = row.gas.plus(sign(fill.gas));
        row.tips = row.tips.plus(sign(fill.tip));
        row.net = row.net.plus(sign(trade.net));
        let filled = u64::from(matches!(trade.outcome, Outcome::Filled(_)));
        let won = u64::from(trade.net > Money::ZERO);
        let count = |count: u64, by: u64| match direction {
            Direction::In => count + by,
            Direction::Back => count.saturating_sub(by),
        };
        (row.trades, row.filled, row.won) = (count(row.trades, 1), count(row.filled, filled), count(row.won, won));
        Ok(Some(self.put(&key, &row)?))
    }

    /// The ended trade of this id; `None` when there is none.
    pub async fn trade(&self, id: &str) -> Result<Option<Trade>> {
        check_id(id)?;
        let realm = self.realm().await?;
        match self.value::<Done>(&done_key(&realm, id)).await? {
            Some(done) => self.value(&place(&realm, &done.trade_key)).await,
            None => Ok(None),
        }
    }

    /// Ended trades, the oldest first, after `after` (a [`Gate::trades`] key), at most `limit`, each with its key.
    pub async fn trades(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Trade)>> {
        self.page(TRADES, after, limit).await
    }

    /// The key before every trade that ended at `at_ms` or later.
    pub fn trades_since(at_ms: i64) -> String {
        format!("{TRADES}{:015}", at_ms.max(0))
    }
}

const TRADES: &str = "trade/";

fn trade_key(trade: &Trade) -> String {
    format!("{}/{}", Gate::trades_since(trade.ended_ms), trade.id)
}

fn ended(reservation: &Reservation, outcome: &Outcome, now_ms: i64) -> Trade {
    let Reservation { id, trade, mode, reserved_ms, .. } = reservation;
    let net = match outcome {
        Outcome::Filled(fill) | Outcome::Failed(fill) => Fill::net(fill),
        Outcome::Released { .. } => Money::ZERO,
    };
    Trade {
        id: id.clone(),
        strategy: trade.strategy.clone(),
        pair: trade.pair.clone(),
        mode: *mode,
        notional: trade.notional,
        tokens: trade.tokens.clone(),
        protocols: trade.protocols.clone(),
        reserved_ms: *reserved_ms,
        ended_ms: now_ms,
        outcome: outcome.clone(),
        net,
    }
}
