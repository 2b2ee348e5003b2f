//! Regular expressions in queries, by an engine whose searches take linear time.

use jaq_core::native::bome;
use jaq_core::{Bind, Cv, Error, RunPtr};
use regex::{Regex, RegexBuilder};

use super::meter::look;
use super::natives::{Kind, object};
use super::value::Val;

/// Longest pattern, and most of a compiled one, in bytes.
const PATTERN_MAX: usize = 4 << 10;
const COMPILED_MAX: usize = 1 << 20;
/// Most groups.
const GROUPS_MAX: usize = 100;

type Filter = (&'static str, Box<[Bind]>, RunPtr<Kind>);

/// What the library's definitions stand on: matches, matches with what lies between, and only what lies between.
pub(super) fn all() -> impl Iterator<Item = Filter> {
    let arguments = || Box::from([Bind::Var(()), Bind::Var(())]);
    let filters: [Filter; 3] = [
        ("matches", arguments(), |cv| bome(searched(cv, false, true))),
        ("split_matches", arguments(), |cv| bome(searched(cv, true, true))),
        ("split_", arguments(), |cv| bome(searched(cv, true, false))),
    ];
    filters.into_iter()
}

#[derive(Default)]
struct Flags {
    global: bool,
    no_empty: bool,
}

fn compiled(pattern: &str, flags: &str) -> Result<(Regex, Flags), Error<Val>> {
    if pattern.len() > PATTERN_MAX {
        return Err(Error::str(format_args!("the pattern has more than {PATTERN_MAX} bytes")));
    }
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(COMPILED_MAX).dfa_size_limit(COMPILED_MAX).nest_limit(100);
    let mut ours = Flags::default();
    for flag in flags.chars() {
        match flag {
            'g' => ours.global = true,
            'n' => ours.no_empty = true,
            'i' => drop(builder.case_insensitive(true)),
            'm' => drop(builder.multi_line(true)),
            's' => drop(builder.dot_matches_new_line(true)),
            'l' => drop(builder.swap_greed(true)),
            'x' => drop(builder.ignore_whitespace(true)),
            'p' => drop(builder.multi_line(true).dot_matches_new_line(true)),
            other => {
                return Err(Error::str(format_args!("unknown flag `{other}`: there are g, n, i, m, s, l, x and p")));
            }
        }
    }
    let regex = builder.build().map_err(|error| {
        Error::str(format_args!("the pattern cannot be read: {}", error.to_string().lines().last().unwrap_or_default()))
    })?;
    if regex.captures_len() > GROUPS_MAX + 1 {
        return Err(Error::str(format_args!("the pattern has more than {GROUPS_MAX} groups")));
    }
    Ok((regex, ours))
}

fn searched(mut cv: Cv<'_, Kind>, between: bool, found: bool) -> Result<Val, Error<Val>> {
    let (flags, pattern) = (cv.0.pop_var(), cv.0.pop_var());
    let (Val::Str(pattern), Val::Str(flags), Val::Str(text)) = (&pattern, &flags, &cv.1) else {
        return Err(Error::str("text, pattern and flags must be text"));
    };
    let (regex, flags) = compiled(&pattern.it, &flags.it)?;
    let text = text.it.as_str();
    let mut parts = Vec::new();
    let mut counted = Counted { text, bytes: 0, characters: 0 };
    let mut end = 0;
    for captures in regex.captures_iter(text) {
        if !look() {
            break;
        }
        let whole = captures.get_match();
        if flags.no_empty && whole.is_empty() {
            continue;
        }
        if between {
            parts.push(Val::text(&text[end..whole.start()]));
            end = whole.end();
        }
        if found {
            counted.to(whole.start());
            let groups = captures.iter().zip(regex.capture_names());
            parts.push(groups.map(|(group, name)| shaped(group, name, &counted)).collect());
        }
        if !flags.global {
            break;
        }
    }
    if between {
        parts.push(Val::text(&text[end..]));
    }
    Ok(Val::array(parts))
}

/// How many characters lie before a place, counted on from the last one.
struct Counted<'t> {
    text: &'t str,
    bytes: usize,
    characters: usize,
}

impl Counted<'_> {
    fn to(&mut self, bytes: usize) {
        self.characters += self.text[self.bytes..bytes].chars().count();
        self.bytes = bytes;
    }

    /// A place after the last one.
    fn place(&self, bytes: usize) -> usize {
        self.characters + self.text[self.bytes..bytes].chars().count()
    }
}

/// One group; one that took no part has no text and lies nowhere.
fn shaped(group: Option<regex::Match<'_>>, name: Option<&str>, counted: &Counted<'_>) -> Val {
    let mut fields = match group {
        Some(group) => vec![
            ("offset", Val::from(counted.place(group.start()))),
            ("length", Val::from(group.as_str().chars().count())),
            ("string", Val::text(group.as_str())),
        ],
        None => vec![("offset", Val::from(-1isize)), ("length", Val::from(0isize)), ("string", Val::Null)],
    };
    if let Some(name) = name {
        fields.push(("name", Val::text(name)));
    }
    object(fields)
}
