//! What the bot says, within what Discord takes: an embed, an embed with pages, or a file. Nothing in it pings or is markup.
//!
//! Discord refuses a message of more than 2,000 characters, an embed of more than 6,000 in all, a title of more than 256 and a description of more
//! than 4,096; it counts as JavaScript does, in UTF-16 units.

use bytes::Bytes;
use kernel::{Code, Fault};
use serde_json::{Value, json};

use super::rest::Body;

/// Longest page, in UTF-16 units: a description, less its code fence.
const PAGE_UNITS: usize = 4_000;
/// Most pages that are turned; more becomes a file.
pub(super) const PAGES_MAX: usize = 10;
/// Largest file, in bytes; what is longer is cut, and says so.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Longest title, and longest note below, in UTF-16 units.
const TITLE_UNITS: usize = 200;
const NOTE_UNITS: usize = 1_000;
/// Longest text where there may be no embed, in UTF-16 units.
const PLAIN_UNITS: usize = 1_900;
/// What a message that only its reader sees is marked with.
const EPHEMERAL: u64 = 1 << 6;

/// How it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Plain,
    Warning,
    Bad,
}

impl Tone {
    fn colour(self) -> u32 {
        match self {
            Self::Good => 0x2e_a0_43,
            Self::Plain => 0x3b_82_f6,
            Self::Warning => 0xd2_99_22,
            Self::Bad => 0xda_36_33,
        }
    }

    /// Beside the colour, for who does not see it.
    fn mark(self) -> &'static str {
        match self {
            Self::Good => "✅ ",
            Self::Plain => "",
            Self::Warning => "⚠️ ",
            Self::Bad => "❌ ",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) tone: Tone,
    pub(super) title: String,
    /// Its lines, shown as they are.
    pub(super) text: String,
    /// A line below.
    pub(super) note: String,
}

/// A button: its name, what stands on it, and its style (1 blurple, 2 grey, 3 green, 4 red).
pub(super) struct Button<'a>(pub(super) String, pub(super) &'a str, pub(super) u8);

impl Answer {
    pub(super) fn new(tone: Tone, title: impl Into<String>, text: impl Into<String>) -> Self {
        Self { tone, title: title.into(), text: text.into(), note: String::new() }
    }

    #[must_use]
    pub(super) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// A refusal or a failure, in words.
    pub(super) fn of_fault(title: &str, fault: &Fault) -> Self {
        let tone = if fault.code == Code::Internal { Tone::Bad } else { Tone::Warning };
        let hint = fault.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
        Self::new(tone, title, format!("{}: {}{hint}", fault.code, fault.message))
    }

    /// Its pages; at least one, which may be empty.
    pub(super) fn pages(&self) -> Vec<String> {
        pages(&inert(&self.text))
    }

    /// The message with one page of it.
    pub(super) fn page(&self, pages: &[String], at: usize, buttons: &[Button<'_>]) -> Value {
        let count = if pages.len() > 1 { format!("page {} of {}", at + 1, pages.len()) } else { String::new() };
        let note: Vec<&str> = [count.as_str(), &self.note].into_iter().filter(|part| !part.is_empty()).collect();
        let text = pages.get(at).map_or("", String::as_str);
        let mut embed = json!({ "title": self.headline(), "color": self.tone.colour() });
        if !text.is_empty() {
            embed["description"] = format!("```\n{text}\n```").into();
        }
        if !note.is_empty() {
            embed["footer"] = json!({ "text": cut(&inert(&note.join(" · ")), NOTE_UNITS) });
        }
        message(json!({ "embeds": [embed], "components": row(buttons) }))
    }

    fn headline(&self) -> String {
        cut(&format!("{}{}", self.tone.mark(), escaped(&inert(&self.title))), TITLE_UNITS)
    }

    /// The message when it has too many pages to turn: its beginning, and all of it as a file.
    pub(super) fn file(&self, pages: &[String]) -> Body {
        let mut text = inert(&self.text);
        let cut_off = text.len() > FILE_BYTES_MAX;
        if cut_off {
            let end = (0..=FILE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.push_str("\n… and more, which did not fit\n");
        }
        let all =
            format!("{} lines, all in the file{}", self.text.lines().count(), if cut_off { " that fit" } else { "" });
        let note = if self.note.is_empty() { all } else { format!("{all} · {}", self.note) };
        let mut message = Self { note, ..self.clone() }.page(&pages[..1], 0, &[]);
        message["attachments"] = json!([{ "id": 0, "filename": "answer.txt" }]);
        Body::File { message, name: "answer.txt".into(), bytes: Bytes::from(text) }
    }

    /// The message where the bot may send neither embeds nor files: its beginning, and why it is no more.
    pub(super) fn plain(&self) -> Value {
        let why = "(the bot may not send embeds and files here: this is the beginning)";
        let head = format!("**{}**\n```\n", self.headline());
        let room = PLAIN_UNITS - units(&head) - units(why) - 8;
        message(json!({ "content": format!("{head}{}\n```\n{why}", cut(&inert(&self.text), room)), "components": [] }))
    }
}

/// A message for one reader alone.
pub(super) fn private(answer: &Answer) -> Value {
    let mut message = answer.page(&answer.pages()[..1], 0, &[]);
    message["flags"] = EPHEMERAL.into();
    message
}

/// A message that pings nobody, whatever stands in it.
pub(super) fn message(mut message: Value) -> Value {
    message["allowed_mentions"] = json!({ "parse": [], "replied_user": false });
    message
}

fn row(buttons: &[Button<'_>]) -> Value {
    let button = |Button(name, label, style): &Button<'_>| json!({ "type": 2, "custom_id": name, "label": label, "style": style });
    if buttons.is_empty() {
        return json!([]);
    }
    json!([{ "type": 1, "components": buttons.iter().map(button).collect::<Vec<_>>() }])
}

/// A text's length as Discord counts it.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// As much of a text as fits, and a mark where it was cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    if units(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let fits = |c: &char| {
        let fits = c.len_utf16() <= left;
        left = left.saturating_sub(c.len_utf16());
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

/// A text that ends no code fence, pings nobody and writes in no other direction than it seems to.
pub(super) fn inert(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // A mark of no width between them: neither a fence nor a mention.
            '`' | '@' => safe.extend([c, '\u{200b}']),
            '\n' => safe.push(c),
            '\t' => safe.push_str("    "),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
                safe.push('\u{fffd}')
            }
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// A text outside of a code block, where markup would be one.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if "*_~|<>[]()#\\".contains(c) {
            safe.push('\\');
        }
        safe.push(if c == '\n' { ' ' } else { c });
    }
    safe
}

/// Pages of whole lines; a line that is longer than a page goes on on the next.
fn pages(text: &str) -> Vec<String> {
    let (mut pages, mut page, mut used) = (Vec::new(), String::new(), 0);
    for line in text.lines() {
        let size = units(line) + 1;
        if used + size > PAGE_UNITS && used > 0 {
            pages.push(std::mem::take(&mut page));
            used = 0;
        }
        for c in line.chars().chain(['\n']) {
            if used + c.len_utf16() > PAGE_UNITS {
                pages.push(std::mem::take(&mut page));
                used = 0;
            }
            page.push(c);
            used += c.len_utf16();
        }
    }
    pages.push(page);
    pages.iter_mut().for_each(|page| page.truncate(page.trim_end().len()));
    if pages.len() > 1 {
        pages.retain(|page| !page.is_empty());
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Discord would say of an embed or a message.
    fn taken(message: &Value) -> bool {
        let embed = &message["embeds"][0];
        let size = |value: &Value| units(value.as_str().unwrap_or_default());
        let (title, text, note) = (size(&embed["title"]), size(&embed["description"]), size(&embed["footer"]["text"]));
        title <= 256
            && text <= 4_096
            && note <= 2_048
            && title + text + note <= 6_000
            && size(&message["content"]) <= 2_000
    }

    #[test]
    fn whatever_is_said_discord_takes() {
        for text in
            [String::new(), "x".repeat(50_000), "é\n".repeat(9_000), "😀".repeat(9_001), "```@everyone\n".repeat(999)]
        {
            let answer = Answer::new(Tone::Good, "😀".repeat(400), text.clone()).note("n".repeat(5_000));
            let pages = answer.pages();
            for at in 0..pages.len() {
                assert!(taken(&answer.page(&pages, at, &[])), "{} of {}", at, pages.len());
            }
            assert!(taken(&answer.plain()) && taken(&private(&answer)));
            let together: String = pages.concat().split_whitespace().collect();
            let whole: String = inert(&text).split_whitespace().collect();
            assert_eq!(together, whole, "and nothing is lost");
        }
    }

    #[test]
    fn nothing_said_is_a_mention_a_fence_or_markup() {
        let hostile = "```\n@everyone <@1> <@&2> @here `x` \u{202e}evil\u{7} **b** [a](http://x)";
        let answer = Answer::new(Tone::Bad, hostile, hostile).note(hostile);
        let message = answer.page(&answer.pages(), 0, &[]);
        let embed = &message["embeds"][0];
        let text = embed["description"].as_str().unwrap().strip_prefix("```\n").unwrap().strip_suffix("\n```").unwrap();
        for said in [text, embed["title"].as_str().unwrap(), embed["footer"]["text"].as_str().unwrap()] {
            for bad in ["```", "@everyone", "@here", "<@1", "<@&", "\u{202e}", "\u{7}"] {
                assert!(!said.contains(bad), "{bad:?} in {said:?}");
            }
        }
        assert!(!embed["title"].as_str().unwrap().contains("](http"), "{embed}");
        assert_eq!(message["allowed_mentions"]["parse"], json!([]));
        assert_eq!(answer.plain()["allowed_mentions"]["parse"], json!([]));
    }

    #[test]
    fn lines_stay_whole_where_they_fit() {
        let line = "a".repeat(1_500);
        assert_eq!(pages(&format!("{line}\n{line}\n{line}\n")), [format!("{line}\n{line}"), line]);
        assert_eq!(pages(""), [""]);
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("😀😀", 3), "😀…");
    }
}
