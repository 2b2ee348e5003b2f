//! The metrics channel: one message, kept up to date.

use kernel::Fault;
use kernel::clock::timestamp;
use serde::{Deserialize, Serialize};

use super::super::does;
use super::super::rest::Rest;
use super::show;
use crate::hands::Hands;

/// Where the figures are shown.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Shown {
    channel: String,
    message: Option<String>,
    /// How many messages there have been.
    count: u64,
}

/// Shows the figures as they are now.
pub(in super::super) async fn update(rest: &Rest, channel: &str, hands: &Hands) -> Result<String, Fault> {
    let mut note = hands.notes().read::<Shown>("metrics").await?;
    if note.value.channel != channel {
        note.value = Shown { channel: channel.to_owned(), message: None, count: note.value.count };
    }
    let answer = does::metrics(hands).await?.note(format!("as of {}", timestamp(hands.now_ms())));
    let body = answer.page(&answer.pages(), 0, &[]);
    let nonce = format!("metrics {channel} {}", note.value.count);
    let message = show(rest, channel, note.value.message.as_deref(), &nonce, body).await?;
    if note.value.message.as_ref() != Some(&message) {
        (note.value.message, note.value.count) = (Some(message), note.value.count + 1);
        hands.notes().write("metrics", &mut note).await?;
    }
    Ok("the figures are shown".into())
}
