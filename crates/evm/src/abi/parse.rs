//! The grammar of human-readable signatures, by hand: names inside tuples are kept, since JSON objects are read by them.
//!
//! ```text
//! signature = ["function" | "event" | "error"] name list {word} [["returns"] list] {word} [";"]
//! list      = "(" [param {"," param}] ")"
//! param     = (word | ["tuple"] list) {"[" [size] "]"} {"indexed" | "memory" | …} [name]
//! ```

use alloy_dyn_abi::DynSolType;
use kernel::{Fault, Result};

use super::shape::Shape;

/// Longest signature or type read, in bytes.
pub(super) const SIGNATURE_BYTES_MAX: usize = 4_096;
/// Deepest nesting of tuples.
const DEPTH_MAX: usize = 16;
/// Most words that a type of fixed size may take: a decoder makes room for all of them before it reads the first.
const WORDS_MAX: u64 = 65_536;
/// Words that say where a value lives, not what it is.
const PLACES: [&str; 4] = ["memory", "calldata", "storage", "payable"];
/// Words between a function's arguments and its results.
const MODIFIERS: [&str; 10] =
    ["external", "public", "internal", "private", "view", "pure", "payable", "nonpayable", "virtual", "override"];

/// A signature's parts as written.
pub(super) struct Parsed {
    pub(super) name: String,
    pub(super) inputs: Vec<Shape>,
    pub(super) outputs: Vec<Shape>,
    pub(super) anonymous: bool,
}

/// Reads a signature; `keyword` may stand in front.
pub(super) fn signature(text: &str, keyword: &str) -> Result<Parsed> {
    let mut parser = Parser::new(text)?;
    let mut name = parser.word("a name")?;
    if name == keyword && parser.peek() != Some("(") {
        name = parser.word("a name")?;
    }
    let inputs = parser.list()?;
    let (mut outputs, mut anonymous) = (Vec::new(), false);
    while let Some(token) = parser.peek() {
        match token {
            "(" if keyword == "function" && outputs.is_empty() => outputs = parser.list()?,
            "returns" if keyword == "function" && outputs.is_empty() => {
                parser.next();
                outputs = parser.list()?;
            }
            "anonymous" if keyword == "event" => {
                parser.next();
                anonymous = true;
            }
            word if keyword == "function" && MODIFIERS.contains(&word) => {
                parser.next();
            }
            ";" if parser.left() == 1 => {
                parser.next();
            }
            _ => return Err(parser.expected("the end")),
        }
    }
    Ok(Parsed { name: name.to_owned(), inputs, outputs, anonymous })
}

/// Reads a type, or a type and a name.
pub(super) fn parameter(text: &str) -> Result<Shape> {
    let mut parser = Parser::new(text)?;
    let shape = parser.param()?;
    if parser.peek().is_some() { Err(parser.expected("the end")) } else { Ok(shape) }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<&'a str>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self> {
        if text.len() > SIGNATURE_BYTES_MAX {
            return Err(Fault::too_large(format!("a signature of {} bytes", text.len()))
                .hint(format!("at most {SIGNATURE_BYTES_MAX} bytes")));
        }
        Ok(Self { text, tokens: tokens(text), at: 0, depth: 0 })
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn left(&self) -> usize {
        self.tokens.len() - self.at
    }

    fn take(&mut self, token: &str) -> bool {
        let there = self.peek() == Some(token);
        self.at += usize::from(there);
        there
    }

    fn expected(&self, what: &str) -> Fault {
        let found = self.peek().map_or("its end".to_owned(), |token| format!("{token:?}"));
        Fault::invalid(format!("cannot read {:?}: expected {what}, found {found}", self.text))
    }

    fn word(&mut self, what: &str) -> Result<&'a str> {
        let word =
            self.peek().filter(|token| token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$'));
        let word = word.ok_or_else(|| self.expected(what))?;
        self.at += 1;
        Ok(word)
    }

    fn list(&mut self) -> Result<Vec<Shape>> {
        if !self.take("(") {
            return Err(self.expected("\"(\""));
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::invalid(format!("tuples nested deeper than {DEPTH_MAX}")));
        }
        let mut shapes = Vec::new();
        while !self.take(")") {
            if !shapes.is_empty() && !self.take(",") {
                return Err(self.expected("\",\" or \")\""));
            }
            shapes.push(self.param()?);
        }
        self.depth -= 1;
        check_words(shapes.iter().fold(0, |sum, shape| sum.saturating_add(shape.words)))?;
        Ok(shapes)
    }

    fn param(&mut self) -> Result<Shape> {
        let (mut ty, fields, mut words) = self.stem()?;
        while self.take("[") {
            let size = self.peek().filter(|token| *token != "]");
            if let Some(size) = size {
                let size = size.parse::<usize>().ok().filter(|size| *size > 0);
                let size = size.ok_or_else(|| self.expected("a size above zero"))?;
                self.at += 1;
                words = words.saturating_mul(size as u64);
                ty = DynSolType::FixedArray(Box::new(ty), size);
            } else {
                words = 1;
                ty = DynSolType::Array(Box::new(ty));
            }
            check_words(words)?;
            if !self.take("]") {
                return Err(self.expected("\"]\""));
            }
        }
        let mut indexed = false;
        while let Some(place) = self.peek().filter(|token| *token == "indexed" || PLACES.contains(token)) {
            indexed |= place == "indexed";
            self.at += 1;
        }
        let name = if matches!(self.peek(), Some("," | ")") | None) { "" } else { self.word("a parameter's name")? };
        Ok(Shape { name: name.into(), canonical: ty.sol_type_name().into_owned(), ty, fields, words, indexed })
    }

    /// A type without its array suffixes, a tuple's components, and how many words it takes.
    fn stem(&mut self) -> Result<(DynSolType, Vec<Shape>, u64)> {
        let tuple =
            self.peek() == Some("(") || (self.peek() == Some("tuple") && self.tokens.get(self.at + 1) == Some(&"("));
        if tuple {
            self.take("tuple");
            let fields = self.list()?;
            if fields.is_empty() {
                // It takes no bytes, so an array of it could claim any length.
                return Err(Fault::invalid("an empty tuple is not a type"));
            }
            let words = fields.iter().fold(0u64, |sum, field| sum.saturating_add(field.words));
            return Ok((DynSolType::Tuple(fields.iter().map(|field| field.ty.clone()).collect()), fields, words));
        }
        let word = self.word("a type")?;
        let ty = DynSolType::parse(word).map_err(|_| {
            Fault::invalid(format!("unknown type {word:?}"))
                .hint("elementary types, arrays and tuples; write a struct as its tuple: (address,uint256)")
        })?;
        Ok((ty, Vec::new(), 1))
    }
}

fn check_words(words: u64) -> Result<()> {
    if words > WORDS_MAX {
        return Err(Fault::invalid(format!("a type of {words} words, at most {WORDS_MAX} are read")));
    }
    Ok(())
}

/// Words and single signs; white space only parts them.
fn tokens(text: &str) -> Vec<&str> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = if in_word(first) { rest.find(|c| !in_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}
