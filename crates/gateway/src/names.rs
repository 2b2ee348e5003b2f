//! Names in the aggregate: `{part}__{tool}`.
//!
//! - A part (a server of the fleet or an upstream) is named by us, never by what it says of itself: `[a-z][a-z0-9-]*`, at most
//!   [`PART_MAX`] characters. It cannot contain `__`, so the first `__` always ends it and two parts cannot collide.
//! - A tool keeps its own name where that fits. One with other characters, or too long for [`NAME_MAX`] in all, is cut to fit and ends in
//!   eight hexadecimal digits of the SHA-256 of its whole name: the same after every restart and on every replica.

use kernel::Fault;
use kernel::audit::hex;
pub use kernel::pattern::matches;
use ring::digest::{SHA256, digest};

/// Longest name of a tool in the aggregate, in characters: what the strictest clients take.
pub const NAME_MAX: usize = 64;
/// Longest name of a part, in characters.
pub const PART_MAX: usize = 32;
/// What stands between a part's name and its tool's.
pub const SEPARATOR: &str = "__";
/// Hexadecimal digits that tell cut names apart.
const TAIL: usize = 8;

/// Refuses what cannot name a part.
pub fn check_part(name: &str) -> Result<(), Fault> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if starts && rest && name.len() <= PART_MAX {
        return Ok(());
    }
    Err(Fault::invalid(format!("`{name}` cannot name a server"))
        .hint(format!("a lower-case letter, then lower-case letters, digits and `-`; at most {PART_MAX} characters")))
}

/// The name of `tool` of `part` in the aggregate.
pub fn tool(part: &str, tool: &str) -> String {
    let plain: String = tool.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let room = NAME_MAX - part.len() - SEPARATOR.len();
    if plain == tool && tool.len() <= room && !tool.is_empty() {
        return format!("{part}{SEPARATOR}{tool}");
    }
    let tail = &hex(digest(&SHA256, tool.as_bytes()).as_ref())[..TAIL];
    // Every character is ASCII by now, so cutting at a byte is cutting at a character.
    let head = &plain[..plain.len().min(room - TAIL - 1)];
    format!("{part}{SEPARATOR}{head}_{tail}")
}

/// The name of a prompt in the aggregate. Prompts have no limit to keep, so nothing is cut.
pub fn prompt(part: &str, prompt: &str) -> String {
    format!("{part}{SEPARATOR}{prompt}")
}

/// A name of the aggregate as part and rest.
pub fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once(SEPARATOR)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_stay_and_do_not_collide() {
        for (part, name, want) in [
            ("utilities", "uuid", "utilities__uuid"),
            ("up", "a__b", "up__a__b"),
            ("up", "a.b", "up__a_b_2e7336dc"),
            ("up", "a/b", "up__a_b_c14cddc0"),
            ("up", "a_b", "up__a_b"),
            ("up", "", "up___e3b0c442"),
            ("up", "größe", "up__gr__e_d353a267"),
        ] {
            assert_eq!(tool(part, name), want);
        }
        let part = "p".repeat(PART_MAX);
        let long = tool(&part, &"x".repeat(200));
        assert_eq!(long.len(), NAME_MAX);
        assert_ne!(long, tool(&part, &"x".repeat(201)));
        assert!(long.chars().all(is_plain));
    }

    #[test]
    fn a_part_is_named_strictly() {
        for good in ["a", "master-coordinator", "x9", "a--b"] {
            assert!(check_part(good).is_ok(), "{good}");
        }
        for bad in ["", "9a", "-a", "A", "a_b", "a.b", "a__b", "ä", &"a".repeat(PART_MAX + 1)] {
            assert!(check_part(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("a__b", "a__b", true),
            ("a__b", "a__bc", false),
            ("a__*", "a__b", true),
            ("*", "", true),
            ("*__get_*", "x__get_y", true),
            ("*__get_*", "x__put_y", false),
            ("a*a", "a", false),
            ("a*b*c", "a1b2b3c", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
