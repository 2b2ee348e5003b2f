//! `+ - * / %` on values. Whole numbers stay whole and exact wherever the outcome is.

use std::collections::BTreeSet;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::rc::Rc;

use jaq_core::ops::Math;
use jaq_core::{Error, ValR};
use jaq_json::Num;

use super::access::repeated;
use super::meter::look;
use super::value::{Fields, Kept, Val, float};

impl Add for Val {
    type Output = ValR<Self>;

    fn add(self, other: Self) -> ValR<Self> {
        match (self, other) {
            (Self::Null, value) | (value, Self::Null) => Ok(value),
            (Self::Num(a), Self::Num(b)) => Ok(Self::number(a + b)),
            (Self::Str(a), Self::Str(b)) => Ok(Self::append(a, &b.it)),
            (Self::Arr(a), Self::Arr(b)) => Ok(Self::extend(a, &b)),
            (Self::Obj(a), Self::Obj(b)) => {
                let mut fields = Self::take_fields(a);
                fields.extend(Self::take_fields(b));
                Ok(Self::object(fields))
            }
            (a, b) => Err(Error::math(a, Math::Add, b)),
        }
    }
}

impl Sub for Val {
    type Output = ValR<Self>;

    fn sub(self, other: Self) -> ValR<Self> {
        match (self, other) {
            (Self::Num(a), Self::Num(b)) => Ok(Self::number(a - b)),
            (Self::Arr(a), Self::Arr(b)) => {
                let without: BTreeSet<&Self> = b.it.iter().collect();
                let mut items = Self::take_items(a);
                items.retain(|item| look() && !without.contains(item));
                Ok(Self::array(items))
            }
            (a, b) => Err(Error::math(a, Math::Sub, b)),
        }
    }
}

impl Mul for Val {
    type Output = ValR<Self>;

    fn mul(self, other: Self) -> ValR<Self> {
        match (self, other) {
            (Self::Num(a), Self::Num(b)) => Ok(Self::number(a * b)),
            (Self::Str(text), Self::Num(times)) | (Self::Num(times), Self::Str(text)) => {
                Ok(repeated(&text.it, float(&times)))
            }
            (Self::Obj(a), Self::Obj(b)) => Ok(merged(a, b)),
            (a, b) => Err(Error::math(a, Math::Mul, b)),
        }
    }
}

/// Both objects' fields; where both have an object under a name, those merged, otherwise the right one's. As deep as values are.
fn merged(a: Rc<Kept<Fields>>, b: Rc<Kept<Fields>>) -> Val {
    let mut fields = Val::take_fields(a);
    for (name, right) in Val::take_fields(b) {
        let left = fields.get_mut(&name).map(std::mem::take);
        let value = match (left, right) {
            (Some(Val::Obj(left)), Val::Obj(right)) => merged(left, right),
            (_, right) => right,
        };
        fields.insert(name, value);
    }
    Val::object(fields)
}

impl Div for Val {
    type Output = ValR<Self>;

    fn div(self, other: Self) -> ValR<Self> {
        match (self, other) {
            (Self::Num(a), Self::Num(b)) => Ok(Self::number(divided(a, b))),
            (Self::Str(text), Self::Str(separator)) => Ok(Self::array(split(&text.it, &separator.it))),
            (a, b) => Err(Error::math(a, Math::Div, b)),
        }
    }
}

/// Whole when it comes out even; floating-point otherwise, so that 1 / 0 is infinite.
fn divided(a: Num, b: Num) -> Num {
    let whole = |number: &Num| matches!(number, Num::Int(_) | Num::BigInt(_));
    if whole(&a) && whole(&b) && b != Num::Int(0) && a.clone() % b.clone() == Num::Int(0) {
        return quotient(&a, &b);
    }
    a / b
}

fn quotient(a: &Num, b: &Num) -> Num {
    let big = |number: &Num| match number {
        Num::BigInt(big) => (**big).clone(),
        other => other.as_isize().unwrap_or_default().into(),
    };
    let quotient = big(a) / big(b);
    match isize::try_from(&quotient) {
        Ok(small) => Num::Int(small),
        Err(_) => Num::big_int(quotient),
    }
}

fn split(text: &str, separator: &str) -> Vec<Val> {
    match (text, separator) {
        ("", _) => Vec::new(),
        (text, "") => text.chars().map(|c| Val::text(c.to_string())).collect(),
        (text, separator) => text.split(separator).map(Val::text).collect(),
    }
}

impl Rem for Val {
    type Output = ValR<Self>;

    fn rem(self, other: Self) -> ValR<Self> {
        match (self, other) {
            (Self::Num(a), Self::Num(b)) if b != Num::Int(0) => Ok(Self::number(a % b)),
            (a, b) => Err(Error::math(a, Math::Rem, b)),
        }
    }
}

impl Neg for Val {
    type Output = ValR<Self>;

    fn neg(self) -> ValR<Self> {
        match self {
            Self::Num(number) => Ok(Self::number(-number)),
            other => Err(Error::typ(other, "number")),
        }
    }
}
