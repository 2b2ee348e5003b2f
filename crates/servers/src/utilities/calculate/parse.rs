//! The grammar of expressions, from the loosest to the tightest: comparison, sum, product, sign, power, value.

use kernel::Fault;
use num_bigint::BigInt;
use num_rational::BigRational;

use crate::utilities::decimal::{Decimal, power_of_ten};
use flow::bounded::check;

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideFloor,
    Remainder,
    Power,
}

/// A question about two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Number(BigRational),
    Variable(String),
    Negative(Box<Expression>),
    Operation(Operation, Box<Expression>, Box<Expression>),
    Comparison(Comparison, Box<Expression>, Box<Expression>),
    Call(String, Vec<Expression>),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// Longer operators first, where one begins another.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// Reads a whole expression.
pub(super) fn parse(text: &str) -> Result<Expression, Fault> {
    let mut parser = Parser { text, at: 0 };
    let expression = parser.comparison()?;
    if !parser.rest().is_empty() {
        return Err(parser.unexpected("an operator, or the end"));
    }
    Ok(expression)
}

impl<'a> Parser<'a> {
    /// What is left, white space skipped.
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn unexpected(&mut self, wanted: &str) -> Fault {
        let found = match self.rest().chars().next() {
            Some('^') => return Fault::invalid(format!("expression at {}: `^`", self.at)).hint("a power is **"),
            Some(found) => format!("`{found}`"),
            None => "the end".into(),
        };
        Fault::invalid(format!("expression at {}: {found} where {wanted} should be", self.at))
            .hint("like (1.5 + 2) * 3 ** 2, or sqrt(2, 18) > 1.4")
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.rest().starts_with(token);
        if taken {
            self.at += token.len();
        }
        taken
    }

    fn comparison(&mut self) -> Result<Expression, Fault> {
        check()?;
        let left = self.sum()?;
        let found = COMPARISONS.into_iter().find(|(token, _)| self.take(token));
        let Some((_, comparison)) = found else { return Ok(left) };
        Ok(Expression::Comparison(comparison, Box::new(left), Box::new(self.sum()?)))
    }

    fn sum(&mut self) -> Result<Expression, Fault> {
        let mut left = self.product()?;
        loop {
            let operation = match () {
                () if self.take("+") => Operation::Add,
                () if self.take("-") => Operation::Subtract,
                () => return Ok(left),
            };
            left = Expression::Operation(operation, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expression, Fault> {
        let mut left = self.signed()?;
        loop {
            let operation = match () {
                () if self.take("*") => Operation::Multiply,
                () if self.take("//") => Operation::DivideFloor,
                () if self.take("/") => Operation::Divide,
                () if self.take("%") => Operation::Remainder,
                () => return Ok(left),
            };
            left = Expression::Operation(operation, Box::new(left), Box::new(self.signed()?));
        }
    }

    /// A sign is looser than a power: −2 ** 2 is −4.
    fn signed(&mut self) -> Result<Expression, Fault> {
        check()?;
        if self.take("-") {
            return Ok(Expression::Negative(Box::new(self.signed()?)));
        }
        if self.take("+") {
            return self.signed();
        }
        let base = self.value()?;
        if !self.take("**") {
            return Ok(base);
        }
        Ok(Expression::Operation(Operation::Power, Box::new(base), Box::new(self.signed()?)))
    }

    fn value(&mut self) -> Result<Expression, Fault> {
        if self.take("(") {
            let inner = self.comparison()?;
            return if self.take(")") { Ok(inner) } else { Err(self.unexpected("`)`")) };
        }
        let rest = self.rest();
        match rest.chars().next() {
            Some(first) if first.is_ascii_digit() || first == '.' => self.number(rest),
            Some(first) if first.is_ascii_alphabetic() || first == '_' => self.named(rest),
            _ => Err(self.unexpected("a number, a name or `(`")),
        }
    }

    fn number(&mut self, rest: &str) -> Result<Expression, Fault> {
        let mut end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_').unwrap_or(rest.len());
        let hexadecimal = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
        // The sign in 1e-9 belongs to the number.
        if hexadecimal.is_none() && rest[..end].ends_with(['e', 'E']) && rest[end..].starts_with(['+', '-']) {
            let more = &rest[end + 1..];
            end += 1 + more.find(|c: char| !c.is_ascii_digit()).unwrap_or(more.len());
        }
        let text = &rest[..end];
        let in_context = |fault: Fault| fault.context(format!("expression at {}", self.at));
        let bad = || Fault::invalid(format!("not a number: `{text}`")).hint("like 12, 0.5, 1e18, 1_000 or 0xff");
        let plain = ungrouped(text).ok_or_else(bad).map_err(in_context)?;
        let number = match hexadecimal {
            Some(_) => {
                let digits = BigInt::parse_bytes(&plain.as_bytes()[2..], 16);
                BigRational::from(digits.ok_or_else(bad).map_err(in_context)?)
            }
            None => {
                let decimal = Decimal::parse(&plain).map_err(in_context)?;
                BigRational::new(decimal.digits, power_of_ten(decimal.places))
            }
        };
        self.at += end;
        Ok(Expression::Number(number))
    }

    fn named(&mut self, rest: &str) -> Result<Expression, Fault> {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        self.at += end;
        if !self.take("(") {
            return Ok(Expression::Variable(name));
        }
        let mut arguments = vec![self.comparison()?];
        while self.take(",") {
            arguments.push(self.comparison()?);
        }
        if self.take(")") { Ok(Expression::Call(name, arguments)) } else { Err(self.unexpected("`,` or `)`")) }
    }
}

/// Without the underscores between digits; `None` when one stands elsewhere.
fn ungrouped(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_hexdigit);
    let misplaced = |at: usize| bytes[at] == b'_' && !(digit(at.checked_sub(1)) && digit(Some(at + 1)));
    (0..bytes.len()).all(|at| !misplaced(at)).then(|| text.replace('_', ""))
}
