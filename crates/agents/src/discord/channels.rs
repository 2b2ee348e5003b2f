//! The bot's channels, each a duty of its own: alerts, figures, log lines. What was shown where is noted, so that a restart or another copy goes on.

pub(super) mod alerts;
pub(super) mod logs;
pub(super) mod metrics;

use kernel::{Code, Fault};
use serde_json::{Value, json};

use super::rest::{Body, Rest, Route, code_of, is_id};

/// Discord's code for a message that is not there.
const UNKNOWN_MESSAGE: i64 = 10_008;

/// Shows a message in a channel: in place of `before`, or as a new one where that is gone. Returns the message that shows it.
///
/// `nonce` is the same however often this is tried, and Discord makes one message of those that have the same within a few minutes: who died before
/// it could be noted where a message stands makes no second one.
async fn show(rest: &Rest, channel: &str, before: Option<&str>, nonce: &str, body: Value) -> Result<String, Fault> {
    if let Some(message) = before {
        match rest.call(&Route::edit(channel, message), Body::Json(body.clone())).await {
            Ok(_) => return Ok(message.to_owned()),
            Err(fault) if code_of(&fault) == Some(UNKNOWN_MESSAGE) => {}
            Err(fault) => return Err(in_channel(channel, fault)),
        }
    }
    post(rest, channel, nonce, body).await
}

/// Posts a message, once for its nonce.
pub(super) async fn post(rest: &Rest, channel: &str, nonce: &str, mut body: Value) -> Result<String, Fault> {
    // Discord takes up to 25 characters.
    body["nonce"] = json!(kernel::ids::digest(nonce.as_bytes()).chars().take(25).collect::<String>());
    body["enforce_nonce"] = json!(true);
    let made = rest.call(&Route::post(channel), Body::Json(body)).await;
    let made = made.map_err(|fault| in_channel(channel, fault))?;
    let id = made["id"].as_str().filter(|id| is_id(id)).map(ToOwned::to_owned);
    id.ok_or_else(|| Fault::upstream("discord does not say which message it made"))
}

/// Says which channel, and what is missing there.
fn in_channel(channel: &str, fault: Fault) -> Fault {
    let missing = matches!(fault.code, Code::PermissionDenied | Code::NotFound);
    let fault = fault.context(format!("channel {channel}"));
    match missing {
        true => fault.hint("the bot must be in the server, and may View Channel, Send Messages and Embed Links there"),
        false => fault,
    }
}
