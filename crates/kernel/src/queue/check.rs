//! What a queue refuses before it looks at anything it keeps.

use serde_json::json;

use super::{
    CLAIM_MAX, Claim, Ending, KEY_BYTES_MAX, LEASE_MS_MAX, LEASE_MS_MIN, LIST_MAX, NAME_BYTES_MAX, NewTask, Outcome,
    PAYLOAD_BYTES_MAX, PRIORITY_MAX, Policy, Progress, QUEUE_TYPES_MAX, Renew, SUBMIT_MAX, TYPES_MAX,
};
use crate::store::check_size;
use crate::{Code, Fault, Result};

/// Most attempts a task may have.
const ATTEMPTS_MAX: u32 = 100;
/// Longest message of a progress, in bytes.
const MESSAGE_BYTES_MAX: usize = 500;
/// When to come back to a full queue, in milliseconds.
const FULL_RETRY_MS: u64 = 1_000;

/// Refuses what cannot name a `what`: a queue, a task type, a worker.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    Err(Fault::invalid(format!("`{shown}` cannot name a {what}"))
        .hint(format!("1 to {NAME_BYTES_MAX} characters of A-Z a-z 0-9 . _ : -")))
}

/// Refuses a submission past the limits.
pub fn check_submit(tasks: &[NewTask]) -> Result<()> {
    check_size("the number of tasks submitted at once", tasks.len(), SUBMIT_MAX)?;
    tasks.iter().try_for_each(check_task)
}

fn check_task(task: &NewTask) -> Result<()> {
    check_name("queue", &task.queue)?;
    check_name("task type", &task.task_type)?;
    check_size("the size of a payload in bytes", task.payload.to_string().len(), PAYLOAD_BYTES_MAX)?;
    if task.priority > PRIORITY_MAX {
        return Err(Fault::invalid(format!("a priority of {}", task.priority)).hint(format!("0 to {PRIORITY_MAX}")));
    }
    if let Some(attempts) = task.attempts_max {
        check_attempts(attempts)?;
    }
    let texts = [("caller", Some(&task.caller)), ("key", task.key.as_ref()), ("trace id", task.trace_id.as_ref())];
    for (what, text) in texts {
        let Some(text) = text else { continue };
        if text.is_empty() || text.len() > KEY_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Fault::invalid(format!(
                "the {what} of a task has {} bytes, or control characters",
                text.len()
            ))
            .hint(format!("1 to {KEY_BYTES_MAX} bytes of text")));
        }
    }
    Ok(())
}

fn check_attempts(attempts: u32) -> Result<()> {
    if (1..=ATTEMPTS_MAX).contains(&attempts) {
        return Ok(());
    }
    Err(Fault::invalid(format!("{attempts} attempts")).hint(format!("1 to {ATTEMPTS_MAX}")))
}

/// Refuses a policy past the limits.
pub fn check_policy(policy: &Policy) -> Result<()> {
    /// One day.
    const BACKOFF_MS_MAX: u64 = 86_400_000;
    check_attempts(policy.attempts_max)?;
    if policy.backoff_first_ms > policy.backoff_max_ms || policy.backoff_max_ms > BACKOFF_MS_MAX {
        let what = format!("waits from {} to {} ms", policy.backoff_first_ms, policy.backoff_max_ms);
        return Err(
            Fault::invalid(what).hint(format!("the first at most the longest, and that at most {BACKOFF_MS_MAX} ms"))
        );
    }
    if policy.running_max == 0 {
        return Err(Fault::invalid("none may run at once").hint("running_max of 1 or more"));
    }
    Ok(())
}

/// Refuses a claim past the limits.
pub fn check_claim(claim: &Claim) -> Result<()> {
    check_name("queue", &claim.queue)?;
    check_name("worker", &claim.worker)?;
    check_size("the number of task types of a claim", claim.types.len(), TYPES_MAX)?;
    check_size("the number of tasks claimed at once", claim.limit, CLAIM_MAX)?;
    claim.types.iter().try_for_each(|name| check_name("task type", name))?;
    if claim.types.is_empty() || claim.limit == 0 {
        return Err(Fault::invalid("a claim of nothing").hint("at least one task type and a limit of 1 or more"));
    }
    check_lease(claim.lease_ms)
}

/// Refuses a lease past the limits.
fn check_lease(lease_ms: i64) -> Result<()> {
    if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease_ms) {
        return Ok(());
    }
    Err(Fault::invalid(format!("a lease of {lease_ms} ms")).hint(format!("{LEASE_MS_MIN} to {LEASE_MS_MAX} ms")))
}

/// Refuses progress that is none.
fn check_progress(progress: &Progress) -> Result<()> {
    if !(0.0..=1.0).contains(&progress.fraction) {
        return Err(Fault::invalid(format!("a progress of {}", progress.fraction)).hint("0 to 1"));
    }
    check_size("the length of a progress message in bytes", progress.message.len(), MESSAGE_BYTES_MAX)
}

/// Refuses a page larger than [`LIST_MAX`].
pub fn check_page(limit: usize) -> Result<()> {
    check_size("a page's limit", limit, LIST_MAX)
}

/// Refuses renewals past the limits.
pub fn check_renewals(renewals: &[Renew], lease_ms: i64) -> Result<()> {
    check_size("the number of renewals at once", renewals.len(), CLAIM_MAX)?;
    check_lease(lease_ms)?;
    renewals.iter().filter_map(|renew| renew.progress.as_ref()).try_for_each(check_progress)
}

/// Refuses endings past the limits.
pub fn check_endings(endings: &[Ending]) -> Result<()> {
    check_size("the number of endings at once", endings.len(), CLAIM_MAX)?;
    let mut seen = std::collections::HashSet::with_capacity(endings.len());
    for Ending { holding, outcome } in endings {
        if !seen.insert(holding) {
            return Err(Fault::invalid(format!(
                "attempt {} of {} is ended twice in one call",
                holding.attempt, holding.id
            ))
            .hint("once"));
        }
        if let Outcome::Done { result, then } = outcome {
            check_size("the size of a result in bytes", result.to_string().len(), PAYLOAD_BYTES_MAX)?;
            check_submit(then)?;
        }
    }
    Ok(())
}

/// The refusal of one type of task too many.
pub fn many_types() -> Fault {
    Fault::too_large(format!("a queue would have more than {QUEUE_TYPES_MAX} types of task"))
        .hint("what tasks differ in belongs into their payload; a type is forgotten when its last task is")
}

/// The refusal of a full queue.
pub fn full(queue: &str, depth_max: u64) -> Fault {
    Fault::new(Code::RateLimited, format!("queue `{queue}` is full: it holds {depth_max} tasks at most"))
        .hint("submit again when its workers have caught up, or add workers")
        .data(json!({ "queue": queue, "depth_max": depth_max, "retry_after_ms": FULL_RETRY_MS }))
}

/// The refusal of one key for two different tasks of one submission.
pub fn twice(task: &NewTask) -> Fault {
    let key = task.key.as_deref().unwrap_or_default();
    Fault::conflict(format!("key `{key}` of queue `{}` is given to two different tasks", task.queue))
        .hint("a key stands for one type and one payload")
}
