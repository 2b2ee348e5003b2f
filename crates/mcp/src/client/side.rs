//! What an upstream says while it works on a call, on its way to whoever made the call.

use kernel::logs::Level;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::outgoing;
use crate::ctx::Ctx;
use crate::wire::{Notification, notification_text};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    progress_token: Value,
}

#[derive(Deserialize)]
struct Log {
    level: String,
}

/// Passes a notification about the call with this token on to the call's client, if it wants such. Waits while the client is slow.
pub(super) async fn pass_on(notification: &Notification, token: i64, ctx: &Ctx) {
    let params = notification.params.raw.as_deref();
    let text = match notification.method.as_str() {
        "notifications/progress" => progress(params, token, ctx),
        "notifications/message" => wanted(params, ctx).then(|| notification_text(&notification.method, params)),
        method => {
            tracing::debug!(method, "an upstream's notification about a call has no meaning here");
            None
        }
    };
    if let Some(text) = text {
        ctx.peer.send_text(text).await;
    }
}

fn progress(params: Option<&RawValue>, token: i64, ctx: &Ctx) -> Option<String> {
    let (params, theirs) = (params?, ctx.progress_token.as_ref()?);
    let told: Progress = serde_json::from_str(params.get()).ok()?;
    if told.progress_token != token {
        return None;
    }
    let params = outgoing::with_token(params, theirs).ok()?;
    Some(notification_text("notifications/progress", Some(&params)))
}

fn wanted(params: Option<&RawValue>, ctx: &Ctx) -> bool {
    let Some(floor) = ctx.log_level else { return false };
    let level = params.and_then(|params| serde_json::from_str::<Log>(params.get()).ok());
    level.is_some_and(|log| weight(&log.level) >= floor)
}

/// A level of the protocol as one of ours.
fn weight(level: &str) -> Level {
    match level {
        "debug" => Level::Debug,
        "info" => Level::Info,
        "notice" | "warning" => Level::Warn,
        _ => Level::Error,
    }
}

/// Which call a progress notification belongs to.
pub(super) fn token_of(notification: &Notification) -> Option<i64> {
    let told: Progress = serde_json::from_str(notification.params.raw.as_deref()?.get()).ok()?;
    told.progress_token.as_i64()
}
