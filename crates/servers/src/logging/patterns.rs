//! Similar lines, found by what stays the same in them.
//!
//! First what surely varies is masked (times, numbers, addresses, hexadecimal, UUIDs, quoted text); then lines of equally many words
//! that share most of them become one template, where the words that differ read `<*>`. Everything is bounded: how much of a line is
//! looked at, how many words, how many templates.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use kernel::UnixMs;
use kernel::logs::Line;
use regex::{Captures, Regex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of a message is looked at, in bytes.
const TEXT_BYTES: usize = 1_024;
/// Most words of a template; what follows is left away.
const WORDS_MAX: usize = 48;
/// Most templates held; lines that would need one more are counted together.
const TEMPLATES_MAX: usize = 1_000;
/// Of the words of two lines, how many must be the same for them to be of one kind.
const SAME: f64 = 0.7;
/// What stands where words differ.
const ANY: &str = "<*>";
/// Traces remembered of each kind.
const TRACES_MAX: usize = 3;

/// Lines of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pattern {
    /// What they have in common; `<num>`, `<hex>`, `<uuid>`, `<ip>`, `<time>`, `<text>` and `<*>` stand for what varies.
    pub template: String,
    /// How many.
    pub count: u64,
    /// The oldest one's time, in milliseconds since the Unix epoch.
    pub first_ms: UnixMs,
    /// The newest one's time, in milliseconds since the Unix epoch.
    pub last_ms: UnixMs,
    /// How many of each level.
    pub levels: BTreeMap<String, u64>,
    /// How many of each service.
    pub services: BTreeMap<String, u64>,
    /// One of them, as it was said.
    pub example: String,
    /// Traces that some of them belong to.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub traces: Vec<String>,
}

/// What varies for sure, most particular first.
static VARYING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)"#,
        r"|(?P<uuid>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)",
        r"|(?P<time>\b\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?|\b\d\d:\d\d:\d\d(?:[.,]\d+)?)",
        r"|(?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b)",
        r"|(?P<hex>\b0x[0-9a-fA-F]+\b|\b[0-9a-fA-F]{8,}\b)",
        r"|(?P<num>\b\d+(?:[.,]\d+)*)",
    ))
    .inspect_err(|error| tracing::error!(%error, "the pattern of what varies is not a pattern"))
    .ok()
});

/// The message with what varies masked.
pub fn masked(message: &str) -> Cow<'_, str> {
    let head = &message[..message.floor_char_boundary(TEXT_BYTES)];
    let Some(varying) = VARYING.as_ref() else { return Cow::Borrowed(head) };
    varying.replace_all(head, |found: &Captures<'_>| {
        // A word of the letters a to f alone is a word.
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic());
        match ["text", "uuid", "time", "ip", "hex", "num"].into_iter().find(|name| found.name(name).is_some()) {
            Some("hex") if is_word(&found[0]) => found[0].to_owned(),
            Some(name) => format!("<{name}>"),
            None => found[0].to_owned(),
        }
    })
}

/// Groups lines as they come.
#[derive(Debug, Default)]
pub struct Miner {
    kinds: Vec<Kind>,
    /// Kinds by their number of words and their first word.
    index: HashMap<(usize, String), Vec<usize>>,
    /// Lines beyond the limit of kinds.
    uncounted: u64,
}

#[derive(Debug)]
struct Kind {
    words: Vec<String>,
    pattern: Pattern,
}

impl Miner {
    /// Adds a line to the kind it is most like, or starts a kind with it.
    pub fn add(&mut self, line: &Line) {
        let masked = masked(&line.message);
        let words: Vec<&str> = masked.split_whitespace().take(WORDS_MAX).collect();
        let first = words.first().copied().unwrap_or_default().to_owned();
        let places = self.index.entry((words.len(), first)).or_default();
        let like = |place: &usize| (*place, likeness(&self.kinds[*place].words, &words));
        let best = places.iter().map(like).filter(|(_, same)| *same >= SAME).max_by(|a, b| a.1.total_cmp(&b.1));
        match best {
            Some((place, _)) => self.kinds[place].take(&words, line),
            None if self.kinds.len() < TEMPLATES_MAX => {
                places.push(self.kinds.len());
                let words = words.into_iter().map(ToOwned::to_owned).collect();
                self.kinds.push(Kind { words, pattern: started(line) });
            }
            None => self.uncounted += 1,
        }
    }

    /// The kinds, most frequent first, at most `limit`; and how many lines are in none of these.
    pub fn top(self, limit: usize) -> (Vec<Pattern>, u64) {
        let mut patterns: Vec<Pattern> = self.kinds.into_iter().map(Kind::finish).collect();
        patterns.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| b.last_ms.cmp(&a.last_ms)));
        let others: u64 = patterns.iter().skip(limit).map(|pattern| pattern.count).sum();
        patterns.truncate(limit);
        (patterns, others + self.uncounted)
    }
}

/// Which part of the words is the same, place by place; the template's `<*>` is like anything, but says little.
fn likeness(template: &[String], words: &[&str]) -> f64 {
    let same = template.iter().zip(words).filter(|(a, b)| a == *b).count() as f64;
    let any = template.iter().filter(|word| *word == ANY).count() as f64;
    if words.is_empty() { 1.0 } else { (same + any * 0.9) / words.len() as f64 }
}

fn started(line: &Line) -> Pattern {
    let mut pattern = Pattern {
        template: String::new(),
        count: 0,
        first_ms: line.at_ms,
        last_ms: line.at_ms,
        levels: BTreeMap::new(),
        services: BTreeMap::new(),
        example: line.message[..line.message.floor_char_boundary(TEXT_BYTES)].to_owned(),
        traces: Vec::new(),
    };
    count(&mut pattern, line);
    pattern
}

fn count(pattern: &mut Pattern, line: &Line) {
    pattern.count += 1;
    pattern.first_ms = pattern.first_ms.min(line.at_ms);
    pattern.last_ms = pattern.last_ms.max(line.at_ms);
    *pattern.levels.entry(line.level.as_str().to_owned()).or_default() += 1;
    *pattern.services.entry(line.service.clone()).or_default() += 1;
    if let Some(trace) = &line.trace_id
        && pattern.traces.len() < TRACES_MAX
        && !pattern.traces.contains(trace)
    {
        pattern.traces.push(trace.clone());
    }
}

impl Kind {
    fn take(&mut self, words: &[&str], line: &Line) {
        for (known, word) in self.words.iter_mut().zip(words) {
            if known != word {
                ANY.clone_into(known);
            }
        }
        count(&mut self.pattern, line);
    }

    fn finish(self) -> Pattern {
        Pattern { template: self.words.join(" "), ..self.pattern }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use kernel::logs::Level;
    use serde_json::Value;

    use super::*;

    fn line(message: &str) -> Line {
        let (level, service) = (Level::Info, "a".to_owned());
        Line { seq: 0, at_ms: 0, level, service, message: message.into(), trace_id: None, fields: Value::Null }
    }

    fn check(messages: &str, want: Expect) {
        let mut miner = Miner::default();
        messages.lines().map(str::trim).filter(|text| !text.is_empty()).for_each(|text| miner.add(&line(text)));
        let (patterns, others) = miner.top(20);
        let shown: String = patterns.iter().map(|one| format!("{}x {}\n", one.count, one.template)).collect();
        want.assert_eq(&format!("{shown}{others} others\n"));
    }

    #[test]
    fn masks_what_varies() {
        for (message, want) in [
            ("took 12ms, 3.5 s and 1,024 bytes", "took <num>ms, <num> s and <num> bytes"),
            ("tx 0xdeadBEEF in block 0x1", "tx <hex> in block <hex>"),
            ("id 550e8400-e29b-41d4-a716-446655440000 gone", "id <uuid> gone"),
            ("peer 10.0.0.1:8545 left at 2026-11-15T08:00:00.123Z", "peer <ip> left at <time>"),
            (r#"no table "users" for `ann`, it's gone"#, "no table <text> for <text>, it's gone"),
            (r#"an "escaped \" quote" and an "open"#, r#"an <text> and an "open"#),
            ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit <hex>"),
            ("sha256 and utf8 of v2 stay, deadbeef too", "sha256 and utf8 of v2 stay, deadbeef too"),
            ("at 08:15:00 in /var/run/42/x", "at <time> in /var/run/<num>/x"),
            ("", ""),
        ] {
            assert_eq!(masked(message), want);
        }
    }

    #[test]
    fn groups_lines_of_one_kind() {
        check(
            "
            connected to node alpha in 12 ms
            connected to node beta in 7 ms
            connected to node gamma in 9 ms
            connection to node alpha lost
            started
            stopped
            started
            user ann logged in from 10.0.0.1
            user bob logged in from 10.0.0.2
            queue depth is 4
            queue depth is 17
            ",
            expect![[r#"
                3x connected to node <*> in <num> ms
                2x started
                2x user <*> logged in from <ip>
                2x queue depth is <num>
                1x connection to node alpha lost
                1x stopped
                0 others
            "#]],
        );
    }

    #[test]
    fn short_lines_and_different_lines_stay_apart() {
        check(
            "a b\na c\nread failed\nwrite failed\nserver a up\nserver a down",
            expect![[r#"
            1x a b
            1x a c
            1x read failed
            1x write failed
            1x server a up
            1x server a down
            0 others
        "#]],
        );
    }

    #[test]
    fn stays_within_its_limits() {
        let mut miner = Miner::default();
        for n in 0..TEMPLATES_MAX + 500 {
            // Letters only, so that nothing is masked.
            let word: String = n.to_string().bytes().map(|digit| (b'g' + digit - b'0') as char).collect();
            miner.add(&line(&format!("{word} {word}")));
        }
        miner.add(&line(&"é ".repeat(100_000)));
        let (patterns, others) = miner.top(10);
        assert_eq!((patterns.len(), others), (10, (TEMPLATES_MAX + 500 + 1 - 10) as u64));
    }
}
