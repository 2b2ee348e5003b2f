//! What people set: limits, trading state, kill switch, mode, strategies. Each is one commit on the desk.

use kernel::store::{COMMIT_MAX, Expect, LIST_MAX, Write};
use kernel::{Fault, Result, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Books, Desk, Gate, Kill, LimitsRecord, Mode, Read, STRATEGIES, Set, StrategyState, contended, parse, place,
};
use crate::risk::{LimitsChange, TradingState};

/// How long a confirmation of live mode may be used, in milliseconds.
pub const CONFIRMATION_MS: i64 = 5 * 60_000;

/// A change of mode that waits to be confirmed, once, by whoever has its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Confirmation {
    /// Names it; used up by the change.
    pub token: String,
    /// The mode asked for.
    pub mode: Mode,
    /// The limits that it was asked under: others need another confirmation.
    pub limits_version: u64,
    /// Who asked, when and why.
    pub asked: Set,
    /// When it is void, in milliseconds since the Unix epoch.
    pub expires_ms: UnixMs,
}

/// What became of a wish for another mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeChange {
    /// It is in force.
    Done(Set),
    /// It waits for its confirmation.
    Asked(Confirmation),
}

impl Gate {
    /// A commit on the desk, tried again while others are faster.
    async fn change<T>(&self, apply: impl Fn(&mut Desk) -> Result<(T, Vec<Write>)>) -> Result<T> {
        for _ in 0..super::TRIES_MAX {
            let Read { mut desk, expect } = self.read().await?;
            let (answer, more) = apply(&mut desk)?;
            let mut writes = vec![self.put(super::DESK, &desk)?.expecting(expect)];
            writes.extend(more);
            if self.commit(writes).await? {
                return Ok(answer);
            }
        }
        Err(contended())
    }

    /// Begins new books, if they are not of this realm yet: a sandbox that was made anew. What the old ones hold open can never be settled and
    /// is let go; what people set stays as it is. The old books are kept as long as trades are, and nobody reads them.
    ///
    /// # Errors
    /// What the store says.
    pub async fn begin(&self, realm: &str) -> Result<()> {
        for _ in 0..super::TRIES_MAX {
            let Read { mut desk, expect } = self.read().await?;
            if desk.realm == realm {
                return Ok(());
            }
            let open = self.store.list(self.space, &place(&desk.realm, "open/"), None, COMMIT_MAX - 1).await?;
            let gone = open.iter().map(|entry| Write::delete(self.space, &entry.key));
            (desk.paper, desk.live) = (Books::default(), Books::default());
            realm.clone_into(&mut desk.realm);
            let mut writes = vec![self.put(super::DESK, &desk)?.expecting(expect)];
            writes.extend(gone);
            if self.commit(writes).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    fn set(&self, by: &str, reason: Option<&str>) -> Set {
        Set { by: by.into(), at_ms: self.clock.now_ms(), reason: reason.map(Into::into) }
    }

    /// Changes limits. `if_version` refuses when others changed them meanwhile; without `may_loosen` nothing may become looser.
    ///
    /// # Errors
    /// [`Code::PermissionDenied`](kernel::Code::PermissionDenied) for a looser limit, [`Code::Conflict`](kernel::Code::Conflict) for
    /// another version, [`Code::InvalidArgument`](kernel::Code::InvalidArgument) for limits that cannot be meant.
    pub async fn set_limits(
        &self,
        change: &LimitsChange,
        set: (&str, Option<&str>),
        if_version: Option<u64>,
        may_loosen: bool,
    ) -> Result<LimitsRecord> {
        let set = self.set(set.0, set.1);
        self.change(|desk| {
            let old = &desk.limits;
            if if_version.is_some_and(|version| version != old.version) {
                return Err(Fault::conflict(format!("the limits are at version {}", old.version))
                    .hint("get_limits, and decide again"));
            }
            let limits = old.limits.clone().with(change.clone());
            limits.validate()?;
            let looser = old.limits.loosened(&limits);
            if !looser.is_empty() && !may_loosen {
                return Err(Fault::denied(format!("looser than before: {}", looser.join(", ")))
                    .hint("tightening is an operator's, loosening an administrator's"));
            }
            desk.limits = LimitsRecord { version: old.version + 1, set: set.clone(), limits };
            let history = self.put(&format!("limits/{:010}", desk.limits.version), &desk.limits)?;
            Ok((desk.limits.clone(), vec![history]))
        })
        .await
    }

    /// Versions of the limits, the newest first, at most `limit`.
    pub async fn limits_history(&self, limit: usize) -> Result<Vec<LimitsRecord>> {
        let newest = self.desk().await?.limits.version;
        let skipped = newest.saturating_sub(limit.min(LIST_MAX) as u64);
        let after = format!("limits/{skipped:010}");
        let entries = self.store.list(self.space, "limits/", Some(&after), limit.min(LIST_MAX)).await?;
        entries.iter().rev().map(|entry| parse(&entry.key, &entry.value)).collect()
    }

    /// Says whether trades are made at all. Looser than before only with `may_loosen`.
    ///
    /// # Errors
    /// [`Code::PermissionDenied`](kernel::Code::PermissionDenied) for a looser state.
    pub async fn set_trading(
        &self,
        state: TradingState,
        by: &str,
        reason: Option<&str>,
        may_loosen: bool,
    ) -> Result<()> {
        let set = self.set(by, reason);
        self.change(|desk| {
            if looseness(state) > looseness(desk.trading) && !may_loosen {
                return Err(Fault::denied("looser than the trading state now").hint("resume does that"));
            }
            (desk.trading, desk.trading_set) = (state, set.clone());
            Ok(((), Vec::new()))
        })
        .await
    }

    /// Pulls the kill switch: from the commit on, nothing is reserved or cleared to be sent, anywhere. Answers who pulled it first.
    pub async fn kill(&self, by: &str, reason: Option<&str>) -> Result<Kill> {
        let set = self.set(by, reason);
        self.change(|desk| {
            let kill = desk.kill.get_or_insert_with(|| Kill { set: set.clone() }).clone();
            Ok((kill, Vec::new()))
        })
        .await
    }

    /// Releases the kill switch, sets trading ACTIVE and forgets the failures in a row of the fleet's mode; with `accept_drawdown` the
    /// drawdown is counted anew from here. No other figure changes.
    pub async fn resume(&self, by: &str, reason: Option<&str>, accept_drawdown: bool) -> Result<Desk> {
        let set = self.set(by, reason);
        self.change(|desk| {
            desk.kill = None;
            (desk.trading, desk.trading_set) = (TradingState::Active, set.clone());
            let mode = desk.mode;
            let marks = &mut desk.book_mut(mode).marks;
            marks.failures = 0;
            if accept_drawdown {
                marks.peak = marks.total_net;
            }
            Ok((desk.clone(), Vec::new()))
        })
        .await
    }

    /// Starts or stops a strategy.
    ///
    /// # Errors
    /// [`Code::NotFound`](kernel::Code::NotFound) when there is no such strategy.
    pub async fn set_strategy(
        &self,
        name: &str,
        running: bool,
        by: &str,
        reason: Option<&str>,
    ) -> Result<StrategyState> {
        if !STRATEGIES.iter().any(|(known, _)| *known == name) {
            let known: Vec<&str> = STRATEGIES.iter().map(|(name, _)| *name).collect();
            return Err(Fault::not_found(format!("no strategy `{name}`")).hint(format!("one of {}", known.join(", "))));
        }
        let state = StrategyState { running, set: self.set(by, reason) };
        self.change(|desk| {
            desk.strategies.insert(name.into(), state.clone());
            Ok((state.clone(), Vec::new()))
        })
        .await
    }

    /// Sets the mode. Paper at once. Live only with a confirmation: without one it answers one, bound to the limits of now, which the same
    /// caller or, better, a second person hands back within [`CONFIRMATION_MS`].
    ///
    /// # Errors
    /// [`Code::PermissionDenied`](kernel::Code::PermissionDenied) while the kill switch is on or no limits are set;
    /// [`Code::NotFound`](kernel::Code::NotFound) for a token that is void; [`Code::Conflict`](kernel::Code::Conflict) for one that was
    /// given for something else.
    pub async fn set_mode(
        &self,
        mode: Mode,
        by: &str,
        reason: Option<&str>,
        token: Option<&str>,
    ) -> Result<ModeChange> {
        let set = self.set(by, reason);
        if mode == Mode::Paper {
            let to_paper = self.change(|desk| {
                (desk.mode, desk.mode_set) = (mode, set.clone());
                Ok((set.clone(), Vec::new()))
            });
            return Ok(ModeChange::Done(to_paper.await?));
        }
        let Some(token) = token else { return Ok(ModeChange::Asked(self.ask_for_live(set).await?)) };
        let void =
            || Fault::not_found("no such confirmation").hint("set_mode without one asks for it; it lasts five minutes");
        let key = confirmation_key(token);
        let entry = match token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
            true => self.store.get(self.space, &key).await?.ok_or_else(void)?,
            false => return Err(void()),
        };
        let confirmation: Confirmation = parse(&key, &entry.value)?;
        let done = self.change(|desk| {
            may_go_live(desk)?;
            if confirmation.mode != mode || confirmation.limits_version != desk.limits.version {
                return Err(Fault::conflict("the limits are not those that were confirmed").hint("ask again"));
            }
            (desk.mode, desk.mode_set) = (mode, set.clone());
            let used = Write::delete(self.space, &key).expecting(Expect::Revision(entry.revision));
            Ok((set.clone(), vec![used]))
        });
        // Used by another meanwhile: each try finds it gone.
        match done.await {
            Err(fault) if fault.code == kernel::Code::Conflict && self.store.get(self.space, &key).await?.is_none() => {
                Err(void())
            }
            done => Ok(ModeChange::Done(done?)),
        }
    }

    async fn ask_for_live(&self, asked: Set) -> Result<Confirmation> {
        let desk = self.desk().await?;
        may_go_live(&desk)?;
        let confirmation = Confirmation {
            token: kernel::ids::new_id("live"),
            mode: Mode::Live,
            limits_version: desk.limits.version,
            expires_ms: asked.at_ms + CONFIRMATION_MS,
            asked,
        };
        let write = self.put(&confirmation_key(&confirmation.token), &confirmation)?;
        self.store.commit(vec![write.expecting(Expect::Absent).expiring_at(confirmation.expires_ms)]).await?;
        Ok(confirmation)
    }
}

fn confirmation_key(token: &str) -> String {
    format!("confirm/{token}")
}

fn may_go_live(desk: &Desk) -> Result<()> {
    if desk.kill.is_some() {
        return Err(Fault::denied("the kill switch is on").hint("resume first"));
    }
    if desk.limits.version == 0 {
        return Err(Fault::denied("no limits are set").hint("set_limits of risk-management first"));
    }
    Ok(())
}

fn looseness(state: TradingState) -> u8 {
    match state {
        TradingState::Halted => 0,
        TradingState::Reducing => 1,
        TradingState::Active => 2,
    }
}
