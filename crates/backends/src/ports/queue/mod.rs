//! The queue in the database.
//!
//! What comes by the thousand (submitting, claiming, renewing, ending what is simply done) is one statement each; what is rare reads a task,
//! takes a step of [`kernel::queue::step`] and writes it, in one transaction. Counts and turns are kept by the schema's triggers, so that
//! nothing can forget them.

mod finish;
mod look;
mod row;
mod text;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use kernel::queue::{
    self, Claim, Claimed, Counts, Ending, Filter, Holding, NewTask, Policy, Queue, Renew, Renewal, State, Submitted,
    Task, TaskId, step,
};
use kernel::signal::Signal;
use kernel::{Clock, Fault, Result, UnixMs};
use sqlx::AssertSqlSafe;

use super::counter;
use crate::db::{Db, Tx, limit as bound_limit, signed, sql, unsigned};

/// Tasks one sweep frees of each kind: others wait no longer than that takes.
const SWEEP_MAX: usize = 500;
/// How long a busy queue may leave due tasks and lapsed leases unseen, in milliseconds. A claim that gets less than it wants looks at once.
const SWEEP_EVERY_MS: i64 = 100;
/// Tasks one transaction removes.
const PURGE_AT_ONCE: usize = 2_000;

/// See the module.
pub(super) struct DbQueue {
    db: Db,
    clock: Clock,
    depth_max: u64,
    claims: Vec<Arc<str>>,
    claimable: Arc<Signal>,
    swept_ms: AtomicI64,
}

impl DbQueue {
    pub(super) fn new(db: Db, clock: Clock, depth_max: u64, claimable: Arc<Signal>) -> Self {
        Self { db, clock, depth_max, claims: text::claims(), claimable, swept_ms: AtomicI64::new(UnixMs::MIN) }
    }

    /// Frees what is due and what is held too long, if there is such. Returns the earliest time at which there will be more.
    async fn sweep(&self, now_ms: UnixMs) -> Result<(bool, Option<UnixMs>)> {
        let mut freed = false;
        loop {
            let (due, lapse): (Option<UnixMs>, Option<UnixMs>) = sql(text::NEXT).one(self.db.readers()).await?;
            self.swept_ms.store(now_ms, Ordering::Release);
            let next = due.into_iter().chain(lapse).min();
            if next.is_none_or(|next| next > now_ms) {
                return Ok((freed, next));
            }
            self.sweep_once(now_ms).await?;
            freed = true;
            self.claimable.announce();
        }
    }

    async fn sweep_once(&self, now_ms: UnixMs) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let lapsed = sql(text::LAPSED).bind(now_ms).bind(bound_limit(SWEEP_MAX)).rows(&mut tx).await?;
        for row in &lapsed {
            write(&mut tx, &step::lapse(row::task(row)?, now_ms)).await?;
        }
        sql(text::PROMOTE).bind(now_ms).bind(bound_limit(SWEEP_MAX)).run(&mut tx).await?;
        tx.commit().await
    }

    async fn take(&self, claim: &Claim, types: &[&str], limit: usize, now_ms: UnixMs) -> Result<Vec<row::Kept>> {
        let Some(statement) = types.len().checked_sub(1).and_then(|place| self.claims.get(place)) else {
            return Ok(Vec::new());
        };
        let mut query = sql(AssertSqlSafe(statement.clone()))
            .bind(&claim.queue)
            .bind(now_ms)
            .bind(now_ms + claim.lease_ms)
            .bind(&claim.worker)
            .bind(bound_limit(limit))
            .bind(i64::from(Policy::default().running_max));
        for task_type in types {
            query = query.bind(*task_type);
        }
        let rows = query.rows(self.db.writer()).await?;
        rows.iter().map(row::kept).collect()
    }

    /// Reads a task, takes a step and writes it.
    async fn change(&self, id: TaskId, change: impl FnOnce(Task) -> Result<Task> + Send) -> Result<Task> {
        let mut tx = self.db.begin().await?;
        let before = one(&mut tx, id).await?.ok_or_else(|| step::unknown(id))?;
        let after = change(before)?;
        write(&mut tx, &after).await?;
        tx.commit().await?;
        if after.state == State::Queued {
            self.claimable.announce();
        }
        Ok(after)
    }
}

async fn one(tx: &mut Tx, id: TaskId) -> Result<Option<Task>> {
    let rows = sql(text::ONE).bind(signed(id.0)).rows(tx).await?;
    rows.first().map(row::task).transpose()
}

async fn write(tx: &mut Tx, task: &Task) -> Result<()> {
    sql(text::WRITE)
        .bind(signed(task.id.0))
        .bind(row::number(task.state))
        .bind(i64::from(task.attempts_max))
        .bind(i64::from(task.cancelling))
        .bind(task.run_at_ms)
        .bind(task.ended_ms)
        .bind(task.lease_until_ms)
        .bind(task.failure.as_ref().map(row::text))
        .bind(task.result.as_ref().map(row::text))
        .run(tx)
        .await
        .map(drop)
}

type Inserted = (i64, Option<String>);
type Keyed = (i64, String, String, String, String);

/// Which task each of `tasks` became: the inserted ones in order, the others by their keys.
struct Places {
    fresh: Vec<Inserted>,
    keyed: Vec<Keyed>,
}

impl Places {
    fn of(mut fresh: Vec<Inserted>, keyed: Vec<Keyed>) -> Self {
        fresh.sort_unstable();
        Self { fresh, keyed }
    }

    /// `None` when a task is nowhere: the queue is full.
    fn answer(self, tasks: &[NewTask]) -> Result<Option<Vec<Submitted>>> {
        let mut unkeyed = self.fresh.iter().filter(|(_, key)| key.is_none());
        let fresh: HashSet<i64> = self.fresh.iter().map(|(seq, _)| *seq).collect();
        let keyed: HashMap<(&str, &str), &Keyed> =
            self.keyed.iter().map(|row| ((row.1.as_str(), row.2.as_str()), row)).collect();
        let mut answered = HashSet::new();
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            let seq = match &task.key {
                None => unkeyed.next().map(|(seq, _)| *seq),
                Some(key) => match keyed.get(&(task.queue.as_str(), key.as_str())) {
                    Some((seq, _, _, task_type, payload)) => {
                        if *task_type != task.task_type || *payload != row::text(&task.payload) {
                            return Err(key_in_use(task, unsigned(*seq)));
                        }
                        Some(*seq)
                    }
                    None => None,
                },
            };
            let Some(seq) = seq else { return Ok(None) };
            answers.push(Submitted { id: TaskId(unsigned(seq)), fresh: fresh.contains(&seq) && answered.insert(seq) });
        }
        Ok(Some(answers))
    }
}

fn key_in_use(task: &NewTask, seq: u64) -> Fault {
    step::other_use(&task.queue, task.key.as_deref().unwrap_or_default(), TaskId(seq))
}

/// Inserts `tasks` in `tx`, or none of them.
async fn insert(
    tx: &mut Tx,
    tasks: &[NewTask],
    parent: Option<TaskId>,
    now_ms: UnixMs,
    depth_max: u64,
) -> Result<Vec<Submitted>> {
    let fresh: Vec<Inserted> = sql(text::SUBMIT)
        .bind(row::submitted(tasks, parent, now_ms))
        .bind(now_ms)
        .bind(signed(depth_max))
        .bind(i64::from(Policy::default().attempts_max))
        .all(&mut *tx)
        .await?;
    let keys: Vec<_> = tasks.iter().filter_map(|task| task.key.as_ref().map(|key| (&task.queue, key))).collect();
    let keyed: Vec<Keyed> =
        if keys.is_empty() { Vec::new() } else { sql(text::KEYED).bind(row::text(&keys)).all(tx).await? };
    let full = || queue::full(tasks.first().map_or("", |task| &task.queue), depth_max);
    Places::of(fresh, keyed).answer(tasks)?.ok_or_else(full)
}

#[async_trait]
impl Queue for DbQueue {
    async fn submit(&self, tasks: Vec<NewTask>) -> Result<Vec<Submitted>> {
        queue::check_submit(&tasks)?;
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let now_ms = self.clock.now_ms();
        let submitted = if tasks.iter().any(|task| task.key.is_some()) {
            let mut tx = self.db.begin().await?;
            let submitted = insert(&mut tx, &tasks, None, now_ms, self.depth_max).await?;
            tx.commit().await?;
            submitted
        } else {
            let fresh: Vec<Inserted> = sql(text::SUBMIT)
                .bind(row::submitted(&tasks, None, now_ms))
                .bind(now_ms)
                .bind(signed(self.depth_max))
                .bind(i64::from(Policy::default().attempts_max))
                .all(self.db.writer())
                .await?;
            let full = || queue::full(&tasks[0].queue, self.depth_max);
            Places::of(fresh, Vec::new()).answer(&tasks)?.ok_or_else(full)?
        };
        self.claimable.announce();
        Ok(submitted)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        queue::check_claim(claim)?;
        let now_ms = self.clock.now_ms();
        let mut types: Vec<&str> = claim.types.iter().map(String::as_str).collect();
        types.sort_unstable();
        types.dedup();
        let since = now_ms.checked_sub(self.swept_ms.load(Ordering::Acquire));
        let mut next_ms = None;
        let looked = since.is_none_or(|since| !(0..SWEEP_EVERY_MS).contains(&since));
        if looked {
            next_ms = self.sweep(now_ms).await?.1;
        }
        let mut kept = self.take(claim, &types, claim.limit, now_ms).await?;
        if kept.len() < claim.limit && !looked {
            let (freed, next) = self.sweep(now_ms).await?;
            next_ms = next;
            if freed {
                kept.extend(self.take(claim, &types, claim.limit - kept.len(), now_ms).await?);
            }
        }
        kept.sort_unstable_by_key(|row| (std::cmp::Reverse(row.task.priority), row.turn, row.task.id));
        let tasks: Vec<Task> = kept.into_iter().map(|row| row.task).collect();
        Ok(Claimed { next_ms: next_ms.filter(|_| tasks.len() < claim.limit), tasks })
    }

    async fn renew(&self, renewals: &[Renew], lease_ms: i64) -> Result<Vec<Renewal>> {
        queue::check_renewals(renewals, lease_ms)?;
        let held: Vec<(i64, i64, i64)> = sql(text::RENEW)
            .bind(row::renewed(renewals))
            .bind(self.clock.now_ms() + lease_ms)
            .all(self.db.writer())
            .await?;
        let held: HashMap<Holding, i64> =
            held.into_iter().map(|(seq, attempt, cancelling)| (row::holding(seq, attempt), cancelling)).collect();
        let answer = |renew: &Renew| match held.get(&renew.holding) {
            None => Renewal::Lost,
            Some(0) => Renewal::Held,
            Some(_) => Renewal::Cancel,
        };
        Ok(renewals.iter().map(answer).collect())
    }

    async fn finish(&self, endings: Vec<Ending>) -> Result<Vec<Result<State>>> {
        queue::check_endings(&endings)?;
        finish::finish(self, endings).await
    }

    async fn get(&self, id: TaskId) -> Result<Option<Task>> {
        look::get(&self.db, id).await
    }

    async fn list(&self, filter: &Filter, before: Option<TaskId>, limit: usize) -> Result<Vec<Task>> {
        queue::check_page(limit)?;
        look::list(&self.db, filter, before, limit).await
    }

    async fn cancel(&self, id: TaskId) -> Result<Task> {
        let now_ms = self.clock.now_ms();
        self.change(id, |task| step::cancel(task, now_ms)).await
    }

    async fn retry(&self, id: TaskId) -> Result<Task> {
        let now_ms = self.clock.now_ms();
        self.change(id, |task| step::retry(task, now_ms)).await
    }

    async fn purge(&self, filter: &Filter, ended_before_ms: UnixMs, limit: usize) -> Result<u64> {
        let mut gone = 0;
        while gone < limit {
            let at_once = PURGE_AT_ONCE.min(limit - gone);
            let mut tx = self.db.begin().await?;
            let removed = look::purge(&mut tx, filter, ended_before_ms, at_once).await?;
            sql(text::FORGET_TURNS).run(&mut tx).await?;
            sql(text::FORGET_TYPES).run(&mut tx).await?;
            tx.commit().await?;
            gone += removed;
            if removed < at_once {
                break;
            }
        }
        Ok(gone as u64)
    }

    async fn counts(&self) -> Result<Vec<Counts>> {
        look::counts(&self.db, self.clock.now_ms()).await
    }

    async fn set_policy(&self, queue: &str, task_type: &str, policy: Policy) -> Result<()> {
        queue::check_name("queue", queue)?;
        queue::check_name("task type", task_type)?;
        queue::check_policy(&policy)?;
        let mut tx = self.db.begin().await?;
        sql(text::SET_POLICY)
            .bind(queue)
            .bind(task_type)
            .bind(i64::from(policy.attempts_max))
            .bind(signed(policy.backoff_first_ms))
            .bind(signed(policy.backoff_max_ms))
            .bind(i64::from(policy.running_max))
            .run(&mut tx)
            .await?;
        tx.commit().await?;
        self.claimable.announce();
        Ok(())
    }

    fn claimable<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.claimable.wait(|| counter(&self.db, "claimable"))
    }
}
