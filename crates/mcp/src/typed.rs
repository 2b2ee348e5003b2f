//! JSON text as a type; what does not fit is named by its path.
//!
//! Types are read by serde_json alone, which says where in the text it stopped; the path is worked out from there, and only when something
//! did not fit. Packages that keep the path while they read need every type compiled a second time.

use std::fmt;

use kernel::Fault;
use serde::de::DeserializeOwned;

/// What did not fit, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The value's path from the outermost value on, `a.b[0]`; empty for the outermost itself.
    pub path: String,
    /// What was wrong with it.
    pub message: String,
}

impl Misfit {
    /// The path as it follows the name of the whole: `.a.b`, `[0]` or nothing.
    pub fn place(&self) -> String {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        format!("{dot}{}", self.path)
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.message)
    }
}

/// Reads `text` as a `T`.
///
/// # Errors
/// The first value that does not fit.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Misfit> {
    parse(text).map_err(|error| misfit(text, &error, &|part| parse::<T>(part).err()))
}

// Once for each type, and not once for each of its callers.
#[inline(never)]
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}

/// The same as a fault, which begins with `what` the text is.
///
/// # Errors
/// `invalid_argument`, with the path of what does not fit.
pub fn read_as<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Fault> {
    read(text).map_err(|misfit| Fault::invalid(format!("{what}{misfit}")))
}

/// What `error` is about. `again` reads a part of the text.
fn misfit(text: &str, error: &serde_json::Error, again: &dyn Fn(&str) -> Option<serde_json::Error>) -> Misfit {
    let message = without_place(error);
    let stop = offset(text, error.line(), error.column());
    let (mut path, mut end) = at(text, stop);
    // A value that was well formed and then refused is told of where what it stands in ends, when it is the last there. Then the same is
    // said of the text without that end; of a field that is missing it is not.
    while error.is_data()
        && let Some(inner) = without_end(&text[..end])
        && again(inner).is_some_and(|error| without_place(&error) == message)
    {
        (path, end) = at(text, inner.len());
    }
    Misfit { path, message }
}

/// Without serde_json's line and column: they point into text that the caller may never have seen in this form.
fn without_place(error: &serde_json::Error) -> String {
    let mut message = error.to_string();
    if let Some(place) = message.rfind(" at line ") {
        message.truncate(place);
    }
    message
}

/// The byte that serde_json means by a line and a column, which counts bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (start + column).min(text.len())
}

/// A text that ends with the end of an object or list that has something in it, without that end.
fn without_end(text: &str) -> Option<&str> {
    let inner = text.strip_suffix(['}', ']'])?.trim_end_matches(SPACE);
    (!inner.ends_with(['{', '['])).then_some(inner)
}

/// What JSON takes for white space.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// An object or a list on the way to a value.
struct Open {
    /// How long the path to it is.
    path_len: usize,
    /// The number of the element that comes next; `None` in an object.
    index: Option<usize>,
    /// Whether a key comes next.
    key: bool,
}

/// Of JSON text that is known to be well formed: the path of the innermost value or key that byte `stop` is in or at the end of, or with nothing but white
/// space between, and where that value ends. For an object or a list that begins at `stop`, where it begins.
fn at(text: &str, stop: usize) -> (String, usize) {
    let begins = text.as_bytes().get(stop).is_some_and(|byte| matches!(byte, b'{' | b'['));
    let stop = if begins { stop } else { text[..text.floor_char_boundary(stop)].trim_end_matches(SPACE).len() };
    let (mut path, mut open) = (String::new(), Vec::<Open>::new());
    let mut start = 0;
    while let Some(&byte) = text.as_bytes().get(start) {
        let end = token_end(text, start);
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b':' => {}
            b',' => open.last_mut().into_iter().for_each(|open| match &mut open.index {
                Some(index) => *index += 1,
                None => open.key = true,
            }),
            b'}' | b']' => {
                path.truncate(open.pop().map_or(0, |open| open.path_len));
                if stop <= end {
                    return (path, end);
                }
            }
            _ => {
                step(&mut path, open.last_mut(), &text[start..end]);
                let opens = matches!(byte, b'{' | b'[');
                if start == stop || (!opens && start < stop && stop <= end) {
                    return (path, if opens { start } else { end });
                }
                if opens {
                    let index = (byte == b'[').then_some(0);
                    open.push(Open { path_len: path.len(), index, key: index.is_none() });
                }
            }
        }
        start = end;
    }
    (String::new(), text.len())
}

/// Makes `path` that of the key or value `token`, which stands in `within`.
fn step(path: &mut String, within: Option<&mut Open>, token: &str) {
    let Some(within) = within else { return };
    if let Some(index) = within.index {
        path.truncate(within.path_len);
        path.push_str(&format!("[{index}]"));
    } else if within.key {
        path.truncate(within.path_len);
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&serde_json::from_str::<String>(token).unwrap_or_default());
        within.key = false;
    }
}

/// Where the token that begins at `start` ends.
fn token_end(text: &str, start: usize) -> usize {
    let bytes = &text.as_bytes()[start..];
    let len = match bytes[0] {
        b'"' => {
            let mut escaped = false;
            let ends = |byte: &u8| {
                let ends = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                ends
            };
            bytes[1..].iter().position(ends).map_or(bytes.len(), |at| at + 2)
        }
        b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => 1,
        _ => bytes.iter().position(|byte| b"{}[],: \t\n\r\"".contains(byte)).unwrap_or(bytes.len()),
    };
    start + len
}

#[cfg(test)]
mod tests;
