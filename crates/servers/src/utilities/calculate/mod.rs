//! Arithmetic without rounding: integers and fractions of any size up to a bound.

mod evaluate;
mod parse;

use std::collections::BTreeMap;

use mcp::prelude::*;
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::One;

use self::evaluate::{Answer, Evaluator};
use super::Utilities;
use super::decimal::{Decimal, power_of_ten};
use flow::bounded::{STACK, check_size};

/// Longest expression, in bytes.
const EXPRESSION_MAX: usize = 4 << 10;
/// Most variables, and the longest value of one.
const VARIABLES_MAX: usize = 100;
/// Most places after the point.
const PLACES_MAX: u32 = 1_000;

/// What [`CALCULATE`](super::CALCULATE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalculateRequest {
    /// The expression: `+ - * / // % **`, parentheses, one of `== != < <= > >=`, numbers like `12`, `0.1`, `1e18`, `0xff`,
    /// variables, and the functions abs, sign, min, max, sum, mean, gcd, lcm, floor, ceil, trunc, round(x, places), sqrt(x, places),
    /// root(x, n, places), powmod(base, exponent, modulus), factorial. `//` rounds down; `%` has the sign of its left side.
    pub expression: String,
    /// Values of variables, as decimal text.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Places of `approximation`, at most 1,000.
    #[serde(default = "twenty")]
    #[schemars(range(max = 1000))]
    pub places: u32,
}

fn twenty() -> u32 {
    20
}

/// What kind of value a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultKind {
    /// A whole number.
    Integer,
    /// A number whose decimal form ends.
    Decimal,
    /// A number whose decimal form does not end, or is very long.
    Fraction,
    /// The outcome of a comparison.
    Boolean,
}

/// What [`CALCULATE`](super::CALCULATE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CalculateResponse {
    /// The value: whole number, decimal, fraction in lowest terms (`1/3`), `true` or `false`. Not rounded.
    pub result: String,
    /// What it is.
    pub kind: ResultKind,
    /// Whether it is the expression's mathematical value: false when a root was cut off to the places asked for.
    pub exact: bool,
    /// For a fraction: its decimal form, rounded half to even.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approximation: Option<String>,
}

impl Utilities {
    pub(super) async fn calculate(
        self: Arc<Self>,
        request: CalculateRequest,
        _ctx: Ctx,
    ) -> Result<CalculateResponse, ToolError> {
        Ok(self.gate.run("calculate", STACK, move || calculate(&request)).await?)
    }
}

fn calculate(request: &CalculateRequest) -> Result<CalculateResponse, Fault> {
    check_size("expression", &request.expression, EXPRESSION_MAX)?;
    if request.places > PLACES_MAX {
        return Err(Fault::invalid(format!("places is {}", request.places)).hint(format!("at most {PLACES_MAX}")));
    }
    if request.variables.len() > VARIABLES_MAX {
        let text = format!("{} variables", request.variables.len());
        return Err(Fault::too_large(text).hint(format!("at most {VARIABLES_MAX}")));
    }
    let mut variables = BTreeMap::new();
    for (name, value) in &request.variables {
        let what = format!("variables.{name}");
        check_size(&what, value, EXPRESSION_MAX)?;
        let value = Decimal::parse(value).map_err(|fault| fault.context(what))?;
        variables.insert(name.as_str(), BigRational::new(value.digits, power_of_ten(value.places)));
    }
    let expression = parse::parse(&request.expression)?;
    let mut evaluator = Evaluator::new(&variables);
    let answer = evaluator.answer(&expression)?;
    Ok(written(&answer, evaluator.exact, request.places))
}

fn written(answer: &Answer, exact: bool, places: u32) -> CalculateResponse {
    let number = match answer {
        Answer::Truth(truth) => {
            return CalculateResponse {
                result: truth.to_string(),
                kind: ResultKind::Boolean,
                exact,
                approximation: None,
            };
        }
        Answer::Number(number) => number,
    };
    if number.is_integer() {
        let result = number.numer().to_string();
        return CalculateResponse { result, kind: ResultKind::Integer, exact, approximation: None };
    }
    if let Some(ends) = places_needed(number.denom()) {
        let digits = number.numer() * power_of_ten(ends) / number.denom();
        let result = Decimal { digits, places: ends }.to_string();
        return CalculateResponse { result, kind: ResultKind::Decimal, exact, approximation: None };
    }
    let result = format!("{}/{}", number.numer(), number.denom());
    let approximation = Some(Decimal { digits: rounded_half_even(number, places), places }.to_string());
    CalculateResponse { result, kind: ResultKind::Fraction, exact, approximation }
}

/// How many places the decimal form of 1/`denominator` has, when it ends within [`PLACES_MAX`].
fn places_needed(denominator: &BigInt) -> Option<u32> {
    let mut rest = denominator.clone();
    let mut count = |factor: u32| {
        let factor = BigInt::from(factor);
        let mut times = 0;
        while times <= PLACES_MAX && rest.is_multiple_of(&factor) {
            rest /= &factor;
            times += 1;
        }
        times
    };
    let places = count(2).max(count(5));
    (rest.is_one() && places <= PLACES_MAX).then_some(places)
}

/// `number` × 10^`places`, rounded to the nearest whole number, halves to the even one.
fn rounded_half_even(number: &BigRational, places: u32) -> BigInt {
    let scaled = number.numer() * power_of_ten(places);
    let (floor, rest) = scaled.div_mod_floor(number.denom());
    let twice: BigInt = rest * 2;
    let up = match twice.cmp(number.denom()) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => floor.is_odd(),
    };
    if up { floor + BigInt::one() } else { floor }
}
