//! The logs channel: warnings and errors, some at a time. What is too much is counted, and that is said.

use kernel::Fault;
use kernel::logs::{Level, Line};
use serde::{Deserialize, Serialize};
use servers::logging::{TAIL, TailRequest};

use super::super::answer::{Answer, Tone, cut};
use super::super::does::line_of;
use super::super::rest::Rest;
use super::post;
use crate::hands::Hands;

/// Most lines of one message; the newest are told.
const LINES_MAX: usize = 20;
/// Longest line that is told, in UTF-16 units.
const LINE_UNITS: usize = 180;
/// Lines read at once, and how often in one go.
const READ: u32 = 500;
const READS_MAX: usize = 10;

/// Up to where lines were told.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Place {
    after: Option<u64>,
}

/// Tells what was logged since the last time.
pub(in super::super) async fn update(rest: &Rest, channel: &str, hands: &Hands) -> Result<String, Fault> {
    let mut note = hands.notes().read::<Place>("logs").await?;
    let (mut lines, mut omitted, mut after) = (Vec::new(), 0, note.value.after);
    for _ in 0..READS_MAX {
        // Who begins, begins with what comes.
        let first = after.is_none().then_some(0);
        let asked =
            TailRequest { level: Some(Level::Warn), after, lines: first, limit: Some(READ), ..TailRequest::default() };
        let told = hands.call(TAIL, &asked).await?;
        let more = told.lines.len() >= READ as usize;
        lines.extend(told.lines.into_iter().filter(|line| !own(line)));
        let surplus = lines.len().saturating_sub(LINES_MAX);
        omitted += lines.drain(..surplus).count();
        after = Some(told.cursor);
        if !more {
            break;
        }
    }
    if !lines.is_empty() {
        let nonce = format!("logs {channel} {after:?}");
        let answer = message(&lines, omitted);
        post(rest, channel, &nonce, answer.page(&answer.pages(), 0, &[])).await?;
    }
    if note.value.after != after {
        note.value.after = after;
        hands.notes().write("logs", &mut note).await?;
    }
    Ok(match (lines.len(), omitted) {
        (0, _) => "nothing to tell".into(),
        (_, 0) => "lines are told".into(),
        _ => "lines are told, and how many more there are".into(),
    })
}

/// What the bot itself says is told by its health: each message that fails would make the next.
fn own(line: &Line) -> bool {
    line.message.starts_with("discord:") || line.fields["agent"] == "discord"
}

fn message(lines: &[Line], omitted: usize) -> Answer {
    let errors = lines.iter().filter(|line| line.level >= Level::Error).count();
    let tone = if errors > 0 { Tone::Bad } else { Tone::Warning };
    let text = lines.iter().map(|line| cut(&line_of(line, true), LINE_UNITS)).collect::<Vec<_>>().join("\n");
    let title = format!("{} warnings and errors", lines.len() + omitted);
    let answer = Answer::new(tone, title, text);
    match omitted {
        0 => answer,
        more => {
            answer.note(format!("{more} more came before these and are not shown; !logs and the dashboard have them"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line(message: &str, fields: Value) -> Line {
        Line {
            seq: 1,
            at_ms: 0,
            level: Level::Error,
            service: "risk".into(),
            message: message.into(),
            trace_id: None,
            fields,
        }
    }

    #[test]
    fn what_is_left_out_is_counted_and_the_bot_does_not_hear_itself() {
        let told = message(&[line("it broke", Value::Null)], 7);
        assert_eq!(told.text, "1970-01-01T00:00:00.000Z error risk it broke");
        assert_eq!(told.title, "8 warnings and errors");
        assert!(told.note.starts_with("7 more"), "{}", told.note);
        assert!(own(&line("discord: x", Value::Null)) && own(&line("duty not done", json!({ "agent": "discord" }))));
        assert!(!own(&line("duty not done", json!({ "agent": "risk" }))));
        let many: Vec<Line> = (0..LINES_MAX).map(|_| line(&"w".repeat(9_000), Value::Null)).collect();
        assert_eq!(message(&many, 0).pages().len(), 1, "one message takes them all");
    }
}
