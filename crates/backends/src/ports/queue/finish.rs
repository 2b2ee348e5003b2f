//! Endings: those that are simply done all in one statement, the others one by one in one transaction.

use kernel::queue::{Ending, Holding, Outcome, Policy, State, step};
use kernel::{Code, Result, UnixMs};

use super::{DbQueue, insert, one, row, text, write};
use crate::db::{On, Tx, signed, sql};

/// More than any queue holds: what follows from a task is never refused, or nothing could end where all is full.
const NO_MOST: u64 = i64::MAX as u64;

/// Ends each of `endings`.
pub(super) async fn finish(queue: &DbQueue, endings: Vec<Ending>) -> Result<Vec<Result<State>>> {
    let now_ms = queue.clock.now_ms();
    let mut states: Vec<Option<Result<State>>> = vec![None; endings.len()];
    if endings.iter().all(|ending| simply_done(ending).is_some()) {
        note(&mut states, &endings, &done(queue.db.writer(), &endings, now_ms).await?);
        if states.iter().all(Option::is_some) {
            return Ok(states.into_iter().flatten().collect());
        }
    }
    let mut tx = queue.db.begin().await?;
    if states.iter().all(Option::is_none) {
        note(&mut states, &endings, &done(&mut tx, &endings, now_ms).await?);
    }
    let mut freed = false;
    for (state, ending) in states.iter_mut().zip(endings) {
        if state.is_none() {
            let ended = end(&mut tx, ending, now_ms).await?;
            freed |= ended.is_ok();
            *state = Some(ended);
        }
    }
    tx.commit().await?;
    if freed {
        queue.claimable.announce();
    }
    Ok(states.into_iter().flatten().collect())
}

/// The result, when there is nothing else to an ending.
fn simply_done(ending: &Ending) -> Option<&serde_json::Value> {
    match &ending.outcome {
        Outcome::Done { result, then } if then.is_empty() => Some(result),
        _ => None,
    }
}

async fn done(on: impl Into<On<'_>>, endings: &[Ending], now_ms: UnixMs) -> Result<Vec<Holding>> {
    let done: Vec<_> = endings.iter().filter_map(|ending| Some((&ending.holding, simply_done(ending)?))).collect();
    let statement = match done[..] {
        [] => return Ok(Vec::new()),
        [(holding, result)] => sql(text::DONE_ONE)
            .bind(signed(holding.id.0))
            .bind(i64::from(holding.attempt))
            .bind(row::text(result))
            .bind(now_ms),
        _ => sql(text::DONE).bind(row::done(&done)).bind(now_ms),
    };
    let ended: Vec<(i64, i64)> = statement.all(on).await?;
    Ok(ended.into_iter().map(|(seq, attempt)| row::holding(seq, attempt)).collect())
}

fn note(states: &mut [Option<Result<State>>], endings: &[Ending], done: &[Holding]) {
    let done: std::collections::HashSet<&Holding> = done.iter().collect();
    for (state, ending) in states.iter_mut().zip(endings) {
        if done.contains(&ending.holding) && simply_done(ending).is_some() {
            *state = Some(Ok(State::Done));
        }
    }
}

/// One ending by its steps. The outer error is the database's, the inner one the ending's own: then nothing of it was written.
async fn end(tx: &mut Tx, ending: Ending, now_ms: UnixMs) -> Result<Result<State>> {
    let Ending { holding, outcome } = ending;
    let Some(task) = one(tx, holding.id).await? else { return Ok(Err(step::unknown(holding.id))) };
    if step::said_again(&task, holding.attempt, &outcome) {
        return Ok(Ok(task.state));
    }
    let rows = sql(text::POLICY).bind(&task.queue).bind(&task.task_type).rows(&mut *tx).await?;
    let policy = rows.first().map_or_else(|| Ok(Policy::default()), |row| row::policy(row, 0))?;
    let then = match &outcome {
        Outcome::Done { then, .. } => then.clone(),
        _ => Vec::new(),
    };
    let after = match step::end(task, holding.attempt, outcome, &policy, now_ms) {
        Ok(after) => after,
        Err(late) => return Ok(Err(late)),
    };
    if !then.is_empty() {
        tx.mark().await?;
        let inserted = insert(tx, &then, Some(holding.id), now_ms, NO_MOST).await;
        if let Err(refused) = inserted {
            if !matches!(refused.code, Code::Conflict | Code::TooLarge) {
                return Err(refused);
            }
            tx.back().await?;
            return Ok(Err(refused));
        }
    }
    write(tx, &after).await?;
    Ok(Ok(after.state))
}
