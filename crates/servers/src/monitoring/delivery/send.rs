//! Tells one sink what is due, and keeps what came of it.

use std::time::Duration;

use http::StatusCode;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use kernel::backoff::Backoff;
use kernel::store::Store;
use kernel::{Clock, Fault, UnixMs};

use super::due::{Due, Seen, beginning, due};
use super::message::message;
use super::tools::Delivery;
use super::{Told, keep, load};
use crate::monitoring::sinks::Sink;
use crate::outbound::{Ask, Reach, Told as Answer, fetch};

/// How long one telling may take.
const TELL_TIME: Duration = Duration::from_secs(10);
/// How long who tells keeps others from it, in milliseconds: longer than telling may take.
const TAKEN_MS: i64 = 15_000;
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How tries spread out.
const TRIES: Backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(300) };
/// Longest that a sink may ask to be left alone, in seconds.
const RETRY_AFTER_MAX: i64 = 3_600;

/// Why a sink took nothing, and how long it wants to be left alone.
struct Refusal {
    why: String,
    wait_ms: Option<i64>,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { why: fault.to_string(), wait_ms: None }
    }
}

/// Tells a sink what is due. `None` when nothing is, or somebody else is telling it.
pub(super) async fn deliver(
    store: &dyn Store,
    clock: &Clock,
    name: &str,
    sink: &Sink,
    seen: &Seen,
) -> Result<Option<Delivery>, Fault> {
    let (mut revision, mut told) = load(store, name).await?;
    if revision.is_none() {
        told = beginning(seen);
        revision = keep(store, name, None, &told).await?;
        if revision.is_none() {
            return Ok(None);
        }
    }
    let now_ms = clock.now_ms();
    let Some(due) = due(sink, &told, seen, now_ms) else { return Ok(None) };
    let taken = Told { next_ms: now_ms.saturating_add(TAKEN_MS), ..told.clone() };
    let Some(revision) = keep(store, name, revision, &taken).await? else { return Ok(None) };
    let outcome = tell(name, sink, &due, now_ms).await;
    let (after, error) = match outcome {
        Ok(()) => (due.after, None),
        Err(refusal) => {
            let after = failed(&told, &refusal, clock.now_ms());
            tracing::warn!(sink = name, why = refusal.why, failures = after.failures, "a sink took no alerts");
            (after, Some(refusal.why))
        }
    };
    keep(store, name, Some(revision), &after).await?;
    Ok(Some(Delivery { sink: name.to_owned(), alerts: due.alerts.len() as u64, repeated: due.repeated, error }))
}

/// The sink after it took nothing.
fn failed(told: &Told, refusal: &Refusal, now_ms: UnixMs) -> Told {
    let failures = told.failures.saturating_add(1);
    let wait_ms = i64::try_from(TRIES.wait(failures).as_millis()).unwrap_or(TAKEN_MS);
    let wait_ms = wait_ms.max(refusal.wait_ms.unwrap_or_default());
    Told { failures, next_ms: now_ms.saturating_add(wait_ms), error: Some(refusal.why.clone()), ..told.clone() }
}

async fn tell(name: &str, sink: &Sink, due: &Due, now_ms: UnixMs) -> Result<(), Refusal> {
    let (url, token, key) = (sink.target().await?, sink.token().await?, sink.key().await?);
    let message = message(name, sink, url, key.as_deref(), due, now_ms)?;
    let mut headers = message.headers;
    headers.extend(token.map(|token| (AUTHORIZATION, token)));
    let ask = Ask {
        method: message.method,
        url: message.url,
        headers,
        body: message.body,
        time: TELL_TIME,
        bytes_max: ANSWER_BYTES_MAX,
    };
    // Where it goes stands in the configuration, which may name any address.
    let answer = fetch(&Reach::ANYWHERE, ask).await?;
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    let reason = StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason());
    let why = format!("answered with {} {}", answer.status, reason.unwrap_or_default());
    Err(Refusal { why: why.trim_end().to_owned(), wait_ms: retry_after(&answer) })
}

fn retry_after(answer: &Answer) -> Option<i64> {
    let seconds: i64 = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    (seconds > 0).then(|| seconds.min(RETRY_AFTER_MAX) * 1_000)
}
