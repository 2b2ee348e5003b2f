//! JSON values to ABI values and back.

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{B256, Function, I256, Sign, U256, hex};
use kernel::chain::{Address, EXACT_INTEGER_MAX};
use kernel::{Fault, Result};
use serde_json::{Map, Value};

use super::shape::Shape;

/// A list of values as the tuple of these shapes. `at` names the list in messages.
pub(super) fn encode_all(shapes: &[Shape], values: &[Value], at: &str) -> Result<DynSolValue> {
    if shapes.len() != values.len() {
        let expected = shapes.iter().map(described).collect::<Vec<_>>().join(", ");
        return Err(Fault::invalid(format!("{at}: {} values for {} parameters", values.len(), shapes.len()))
            .hint(format!("expected ({expected})")));
    }
    let one = |(i, (shape, value)): (usize, (&Shape, &Value))| {
        encode(&shape.ty, &shape.fields, value, &place(at, i, &shape.name))
    };
    shapes.iter().zip(values).enumerate().map(one).collect::<Result<_>>().map(DynSolValue::Tuple)
}

fn described(shape: &Shape) -> String {
    if shape.name.is_empty() { shape.canonical.clone() } else { format!("{} {}", shape.canonical, shape.name) }
}

fn place(at: &str, index: usize, name: &str) -> String {
    if name.is_empty() { format!("{at}[{index}]") } else { format!("{at}[{index}] ({name})") }
}

fn encode(ty: &DynSolType, fields: &[Shape], value: &Value, at: &str) -> Result<DynSolValue> {
    let mismatch = |hint: &str| {
        let mut got = value.to_string();
        if got.chars().count() > 80 {
            got = got.chars().take(80).chain(['…']).collect();
        }
        Fault::invalid(format!("{at}: {got} is not of type {ty}")).hint(hint)
    };
    Ok(match ty {
        DynSolType::Bool => match value {
            Value::Bool(truth) => DynSolValue::Bool(*truth),
            _ => return Err(mismatch("true or false")),
        },
        DynSolType::Uint(bits) => match integer(value) {
            Some((Sign::Positive, size)) if size.bit_len() <= *bits => DynSolValue::Uint(size, *bits),
            _ => return Err(mismatch(&integer_hint(*bits, false))),
        },
        DynSolType::Int(bits) => match integer(value).and_then(|(sign, size)| signed(sign, size, *bits)) {
            Some(number) => DynSolValue::Int(number, *bits),
            None => return Err(mismatch(&integer_hint(*bits, true))),
        },
        DynSolType::Address => {
            let text = value.as_str().ok_or_else(|| mismatch("0x and 40 hexadecimal digits, as text"))?;
            DynSolValue::Address(text.parse::<Address>().map_err(|fault| fault.context(at))?.0)
        }
        DynSolType::String => DynSolValue::String(value.as_str().ok_or_else(|| mismatch("text"))?.into()),
        DynSolType::Bytes => {
            DynSolValue::Bytes(bytes(value).ok_or_else(|| mismatch("0x and an even number of digits"))?)
        }
        DynSolType::FixedBytes(size) => {
            let given = bytes(value).filter(|given| given.len() == *size);
            let given = given.ok_or_else(|| mismatch(&format!("0x and {} hexadecimal digits", size * 2)))?;
            DynSolValue::FixedBytes(B256::right_padding_from(&given), *size)
        }
        DynSolType::Function => {
            let given = bytes(value).and_then(|given| Function::try_from(given.as_slice()).ok());
            DynSolValue::Function(given.ok_or_else(|| mismatch("0x and 48 hexadecimal digits"))?)
        }
        DynSolType::Array(item) => DynSolValue::Array(items(item, fields, value, None, at, mismatch)?),
        DynSolType::FixedArray(item, size) => {
            DynSolValue::FixedArray(items(item, fields, value, Some(*size), at, mismatch)?)
        }
        DynSolType::Tuple(types) => DynSolValue::Tuple(tuple(types, fields, value, at, mismatch)?),
    })
}

fn items(
    item: &DynSolType,
    fields: &[Shape],
    value: &Value,
    size: Option<usize>,
    at: &str,
    mismatch: impl Fn(&str) -> Fault,
) -> Result<Vec<DynSolValue>> {
    let given = value.as_array().ok_or_else(|| mismatch("an array"))?;
    if let Some(size) = size.filter(|size| *size != given.len()) {
        return Err(mismatch(&format!("an array of {size}, not of {}", given.len())));
    }
    given.iter().enumerate().map(|(i, value)| encode(item, fields, value, &format!("{at}[{i}]"))).collect()
}

fn tuple(
    types: &[DynSolType],
    fields: &[Shape],
    value: &Value,
    at: &str,
    mismatch: impl Fn(&str) -> Fault,
) -> Result<Vec<DynSolValue>> {
    match value {
        Value::Array(given) if given.len() == types.len() => {
            let sub = |i: usize| fields.get(i).map_or(&[][..], |field| &field.fields);
            let each = types.iter().zip(given).enumerate();
            each.map(|(i, (ty, value))| encode(ty, sub(i), value, &format!("{at}[{i}]"))).collect()
        }
        Value::Object(given) if all_named(fields) => {
            if let Some(stray) = given.keys().find(|key| fields.iter().all(|field| field.name != **key)) {
                return Err(mismatch(&format!("it has no component {stray:?}")));
            }
            let each = fields.iter().map(|field| {
                let value = given
                    .get(&field.name)
                    .ok_or_else(|| mismatch(&format!("component {:?} is missing", field.name)))?;
                encode(&field.ty, &field.fields, value, &format!("{at}.{}", field.name))
            });
            each.collect()
        }
        Value::Object(_) => Err(mismatch("an array: its components have no names here")),
        _ => Err(mismatch(&format!("an array of {} values, or an object where the components are named", types.len()))),
    }
}

fn all_named(fields: &[Shape]) -> bool {
    let distinct = |(i, field): (usize, &Shape)| {
        !field.name.is_empty() && fields[..i].iter().all(|before| before.name != field.name)
    };
    !fields.is_empty() && fields.iter().enumerate().all(distinct)
}

/// A sign and a size from a JSON integer or from decimal or hexadecimal text.
fn integer(value: &Value) -> Option<(Sign, U256)> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let (sign, digits) = text.strip_prefix('-').map_or((Sign::Positive, text.as_str()), |rest| (Sign::Negative, rest));
    let size = digits.parse::<kernel::chain::Amount>().ok()?.0;
    Some((if size.is_zero() { Sign::Positive } else { sign }, size))
}

fn signed(sign: Sign, size: U256, bits: usize) -> Option<I256> {
    let edge = U256::ONE << (bits - 1);
    let fits = if sign.is_negative() { size <= edge } else { size < edge };
    fits.then(|| I256::checked_from_sign_and_abs(sign, size)).flatten()
}

fn integer_hint(bits: usize, with_sign: bool) -> String {
    let range = if with_sign { format!("-2^{0} to 2^{0} - 1", bits - 1) } else { format!("0 to 2^{bits} - 1") };
    format!("a whole number from {range}; write large ones as decimal text")
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}

/// An ABI value as JSON. `fields` are the components of the tuple that it is or is made of.
pub(super) fn decode(fields: &[Shape], value: &DynSolValue) -> Value {
    let list = |items: &[DynSolValue]| Value::Array(items.iter().map(|item| decode(fields, item)).collect());
    match value {
        DynSolValue::Bool(truth) => Value::Bool(*truth),
        DynSolValue::Uint(size, bits) => number(Sign::Positive, *size, *bits),
        DynSolValue::Int(number_, bits) => {
            let (sign, size) = number_.into_sign_and_abs();
            number(sign, size, *bits)
        }
        DynSolValue::Address(address) => Value::String(Address(*address).to_string()),
        DynSolValue::String(text) => Value::String(text.clone()),
        DynSolValue::Bytes(bytes) => Value::String(hex::encode_prefixed(bytes)),
        DynSolValue::FixedBytes(word, size) => Value::String(hex::encode_prefixed(&word[..*size])),
        DynSolValue::Function(function) => Value::String(hex::encode_prefixed(function)),
        DynSolValue::Array(items) | DynSolValue::FixedArray(items) => list(items),
        DynSolValue::Tuple(values) => {
            let sub = |i: usize| fields.get(i).map_or(&[][..], |field| &field.fields);
            let mut each = values.iter().enumerate().map(|(i, value)| decode(sub(i), value));
            if all_named(fields) && fields.len() == values.len() {
                let names = fields.iter().map(|field| field.name.clone());
                return Value::Object(names.zip(each).collect::<Map<_, _>>());
            }
            Value::Array(each.by_ref().collect())
        }
    }
}

/// The widest integers that are JSON numbers, in bits: any value of theirs survives every reader.
const NUMBER_BITS_MAX: usize = EXACT_INTEGER_MAX.count_ones() as usize;

/// By the type and never by the value, so that a field does not change its kind from one answer to the next.
fn number(sign: Sign, size: U256, bits: usize) -> Value {
    let small = i64::try_from(size).ok().filter(|_| bits <= NUMBER_BITS_MAX);
    match (small, sign) {
        (Some(small), Sign::Positive) => small.into(),
        (Some(small), Sign::Negative) => (-small).into(),
        (None, Sign::Positive) => Value::String(size.to_string()),
        (None, Sign::Negative) => Value::String(format!("-{size}")),
    }
}
