//! The values of expressions.

use std::collections::BTreeMap;

use kernel::Fault;
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::PLACES_MAX;
use super::parse::{Comparison, Expression, Operation};
use crate::utilities::decimal::power_of_ten;
use flow::bounded::check;

/// Most bits of a numerator or a denominator: about 30,000 digits.
const BITS_MAX: u64 = 100_000;
/// Most bits of what is raised to a power by a modulus.
const MODULAR_BITS_MAX: u64 = 8_192;
/// The greatest number whose factorial is computed.
const FACTORIAL_MAX: u32 = 5_000;
/// The functions, for a message.
const FUNCTIONS: [&str; 16] = [
    "abs",
    "ceil",
    "factorial",
    "floor",
    "gcd",
    "lcm",
    "max",
    "mean",
    "min",
    "powmod",
    "root",
    "round",
    "sign",
    "sqrt",
    "sum",
    "trunc",
];

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Number(BigRational),
    Truth(bool),
}

/// Evaluates with given variables; remembers whether anything was cut off.
pub(super) struct Evaluator<'a> {
    variables: &'a BTreeMap<&'a str, BigRational>,
    pub(super) exact: bool,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(variables: &'a BTreeMap<&'a str, BigRational>) -> Self {
        Self { variables, exact: true }
    }

    pub(super) fn answer(&mut self, expression: &Expression) -> Result<Answer, Fault> {
        let Expression::Comparison(comparison, left, right) = expression else {
            return self.number(expression).map(Answer::Number);
        };
        let (left, right) = (self.number(left)?, self.number(right)?);
        Ok(Answer::Truth(match comparison {
            Comparison::Equal => left == right,
            Comparison::Unequal => left != right,
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
        }))
    }

    fn number(&mut self, expression: &Expression) -> Result<BigRational, Fault> {
        check()?;
        let number = match expression {
            Expression::Number(number) => number.clone(),
            Expression::Variable(name) => self.variable(name)?,
            Expression::Negative(inner) => -self.number(inner)?,
            Expression::Operation(operation, left, right) => {
                let (left, right) = (self.number(left)?, self.number(right)?);
                operate(*operation, left, right)?
            }
            Expression::Comparison(..) => {
                return Err(
                    Fault::invalid("a comparison inside an expression").hint("compare at the outermost level only")
                );
            }
            Expression::Call(name, arguments) => self.call(name, arguments)?,
        };
        check_bits(number.numer().bits().max(number.denom().bits()))?;
        Ok(number)
    }

    fn variable(&self, name: &str) -> Result<BigRational, Fault> {
        self.variables.get(name).cloned().ok_or_else(|| {
            let hint = if FUNCTIONS.contains(&name) {
                "a function is called with parentheses"
            } else {
                "give it in variables"
            };
            Fault::invalid(format!("unknown variable `{name}`")).hint(hint)
        })
    }

    fn call(&mut self, name: &str, arguments: &[Expression]) -> Result<BigRational, Fault> {
        let numbers: Vec<BigRational> = arguments.iter().map(|each| self.number(each)).collect::<Result<_, _>>()?;
        let whole = |number: &BigRational| whole(name, number);
        match (name, numbers.as_slice()) {
            ("abs", [x]) => Ok(x.abs()),
            ("sign", [x]) => Ok(x.signum()),
            ("floor", [x]) => Ok(x.floor()),
            ("ceil", [x]) => Ok(x.ceil()),
            ("trunc", [x]) => Ok(x.trunc()),
            ("round", [x]) => Ok(x.round()),
            ("round", [x, places]) => {
                let scale = BigRational::from(power_of_ten(small(name, places)?));
                Ok((x * &scale).round() / scale)
            }
            ("sqrt", [x]) => self.root(name, x, 2, 0),
            ("sqrt", [x, places]) => self.root(name, x, 2, small(name, places)?),
            ("root", [x, n]) => self.root(name, x, small(name, n)?, 0),
            ("root", [x, n, places]) => self.root(name, x, small(name, n)?, small(name, places)?),
            ("factorial", [n]) => factorial(&whole(n)?),
            ("powmod", [base, exponent, modulus]) => powmod(&whole(base)?, &whole(exponent)?, &whole(modulus)?),
            ("min" | "max" | "sum" | "mean" | "gcd" | "lcm", [first, rest @ ..]) => fold(name, first, rest),
            _ if FUNCTIONS.contains(&name) => {
                Err(Fault::invalid(format!("{name} does not take {} numbers", numbers.len()))
                    .hint("round(x, places), sqrt(x, places), root(x, n, places), powmod(base, exponent, modulus); one number otherwise"))
            }
            _ => {
                let near = kernel::limits::nearest(name, &FUNCTIONS).map(|near| format!("did you mean {near}? "));
                Err(Fault::invalid(format!("unknown function `{name}`"))
                    .hint(format!("{}there are {}", near.unwrap_or_default(), FUNCTIONS.join(", "))))
            }
        }
    }

    /// The `n`th root, exact if it is a fraction; otherwise cut off after `places`.
    fn root(&mut self, name: &str, x: &BigRational, n: u32, places: u32) -> Result<BigRational, Fault> {
        if n == 0 {
            return Err(Fault::invalid("root: n is 0").hint("1 or more"));
        }
        if x.is_negative() && n.is_even() {
            return Err(Fault::invalid(format!("{name} of a negative number")).hint("a number of zero or more"));
        }
        let (numerator, denominator) = (x.numer().nth_root(n), x.denom().nth_root(n));
        if numerator.pow(n) == *x.numer() && denominator.pow(n) == *x.denom() {
            return Ok(BigRational::new(numerator, denominator));
        }
        self.exact = false;
        let places_bits = u64::from(places) * u64::from(n) * 10 / 3;
        check_bits(x.numer().bits() + places_bits)?;
        let scaled = x.numer() * power_of_ten(places * n) / x.denom();
        Ok(BigRational::new(scaled.nth_root(n), power_of_ten(places)))
    }
}

fn check_bits(bits: u64) -> Result<(), Fault> {
    if bits <= BITS_MAX {
        return Ok(());
    }
    Err(Fault::too_large("a number on the way has more than about 30,000 digits")
        .hint("stay below; powmod keeps powers small"))
}

fn whole(name: &str, number: &BigRational) -> Result<BigInt, Fault> {
    if number.is_integer() {
        return Ok(number.numer().clone());
    }
    Err(Fault::invalid(format!("{name} of a number that is not whole")).hint("floor, ceil, trunc or round it first"))
}

/// A count: of places, or which root.
fn small(name: &str, number: &BigRational) -> Result<u32, Fault> {
    let count = number.is_integer().then(|| number.numer().to_u32()).flatten();
    count.filter(|count| *count <= PLACES_MAX).ok_or_else(|| {
        Fault::invalid(format!("{name}: places and n are whole numbers")).hint(format!("0 to {PLACES_MAX}"))
    })
}

fn operate(operation: Operation, left: BigRational, right: BigRational) -> Result<BigRational, Fault> {
    let divides = matches!(operation, Operation::Divide | Operation::DivideFloor | Operation::Remainder);
    if divides && right.is_zero() {
        return Err(Fault::invalid("division by zero").hint("the right side of /, // and % must not be 0"));
    }
    Ok(match operation {
        Operation::Add => left + right,
        Operation::Subtract => left - right,
        Operation::Multiply => left * right,
        Operation::Divide => left / right,
        Operation::DivideFloor => (left / right).floor(),
        Operation::Remainder => left % right,
        Operation::Power => return power(&left, &right),
    })
}

fn power(base: &BigRational, exponent: &BigRational) -> Result<BigRational, Fault> {
    if !exponent.is_integer() {
        return Err(Fault::invalid("the exponent is not a whole number").hint("for roots use sqrt(x) or root(x, n)"));
    }
    let negative = exponent.is_negative();
    if base.is_zero() && negative {
        return Err(Fault::invalid("0 to a negative power").hint("that is a division by zero"));
    }
    if base.is_zero() || base.abs().is_one() {
        let stays = base.is_positive() || (base.is_negative() && exponent.numer().is_odd());
        let one = BigRational::one();
        return Ok(if exponent.is_zero() || (base.is_negative() && !stays) { one } else { base.clone() });
    }
    let times = exponent.numer().magnitude().to_u32().unwrap_or(u32::MAX);
    // At least so many bits come out, since the base is not ±1.
    let bits = base.numer().bits().max(base.denom().bits()).saturating_sub(1).max(1);
    check_bits(bits.saturating_mul(u64::from(times)))?;
    let (numerator, denominator) = (base.numer().pow(times), base.denom().pow(times));
    Ok(if negative { BigRational::new(denominator, numerator) } else { BigRational::new(numerator, denominator) })
}

fn factorial(n: &BigInt) -> Result<BigRational, Fault> {
    let n = n.to_u32().filter(|n| *n <= FACTORIAL_MAX).ok_or_else(|| {
        Fault::invalid("factorial of a negative or too great a number").hint(format!("0 to {FACTORIAL_MAX}"))
    })?;
    Ok(BigRational::from((1..=n).map(BigInt::from).product::<BigInt>()))
}

fn powmod(base: &BigInt, exponent: &BigInt, modulus: &BigInt) -> Result<BigRational, Fault> {
    if !modulus.is_positive() || exponent.is_negative() {
        return Err(Fault::invalid("powmod: a negative exponent, or a modulus below 1")
            .hint("exponent 0 or more, modulus 1 or more"));
    }
    if base.bits().max(exponent.bits()).max(modulus.bits()) > MODULAR_BITS_MAX {
        return Err(
            Fault::too_large(format!("powmod: a number of more than {MODULAR_BITS_MAX} bits")).hint("smaller ones")
        );
    }
    Ok(BigRational::from(base.mod_floor(modulus).modpow(exponent, modulus)))
}

fn fold(name: &str, first: &BigRational, rest: &[BigRational]) -> Result<BigRational, Fault> {
    let mut sum = first.clone();
    for next in rest {
        check()?;
        sum = match name {
            "min" => sum.min(next.clone()),
            "max" => sum.max(next.clone()),
            "gcd" => BigRational::from(whole(name, &sum)?.gcd(&whole(name, next)?)),
            "lcm" => BigRational::from(whole(name, &sum)?.lcm(&whole(name, next)?)),
            _ => sum + next,
        };
        check_bits(sum.numer().bits().max(sum.denom().bits()))?;
    }
    match name {
        "mean" => Ok(sum / BigRational::from(BigInt::from(rest.len() + 1))),
        "gcd" | "lcm" => Ok(BigRational::from(whole(name, &sum)?.abs())),
        _ => Ok(sum),
    }
}
