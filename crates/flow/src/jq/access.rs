//! What the language does with values: indices, slices, iteration, updates.

use std::ops::Range;
use std::rc::Rc;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::path::Opt;
use jaq_core::val::{Range as ValRange, ValT, ValX};
use jaq_core::{Error, Exn, ValR};
use jaq_json::Num;
use kernel::Fault;
use num_traits::ToPrimitive;

use super::meter::{look, refuse};
use super::text::{json, number};
use super::value::{Fields, Kept, Val, float};

impl From<bool> for Val {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<isize> for Val {
    fn from(number: isize) -> Self {
        Self::Num(Num::Int(number))
    }
}

impl From<usize> for Val {
    fn from(number: usize) -> Self {
        Self::Num(Num::from_integral(number))
    }
}

impl From<f64> for Val {
    fn from(number: f64) -> Self {
        Self::Num(Num::Float(number))
    }
}

impl From<String> for Val {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<ValRange<Val>> for Val {
    fn from(range: ValRange<Self>) -> Self {
        let ends = [("start", range.start), ("end", range.end)];
        Self::object(ends.into_iter().filter_map(|(name, end)| Some((name.into(), end?))).collect())
    }
}

/// A place counted from the beginning, or from the end when negative; fractions are cut off towards the beginning.
fn place(index: &Val) -> Option<i64> {
    match index {
        Val::Num(Num::Int(place)) => Some(*place as i64),
        Val::Num(Num::BigInt(place)) => place.to_i64(),
        Val::Num(other) => Some(float(other).floor()).filter(|place| !place.is_nan()).map(|place| place as i64),
        _ => None,
    }
}

/// The place in something of length `len`; `None` when it lies before the beginning.
fn from_start(place: i64, len: usize) -> Option<usize> {
    let place = if place < 0 { place.checked_add(len as i64)? } else { place };
    usize::try_from(place).ok()
}

/// A slice's ends in something of length `len`.
fn ends(range: ValRange<&Val>, len: usize) -> Result<Range<usize>, Error<Val>> {
    let end = |end: Option<&Val>, default: usize, up: bool| match end {
        None | Some(Val::Null) => Ok(default),
        Some(Val::Num(number @ (Num::Float(_) | Num::Dec(_)))) if up => {
            Ok(float(number).ceil() as i64).map(|it| clipped(it, len))
        }
        Some(other) => place(other).map(|it| clipped(it, len)).ok_or_else(|| Error::typ(other.clone(), "number")),
    };
    let start = end(range.start, 0, false)?;
    Ok(start..end(range.end, len, true)?.max(start))
}

fn clipped(place: i64, len: usize) -> usize {
    from_start(place, len).unwrap_or(0).min(len)
}

/// The bytes that the characters in `range` take.
fn bytes_of(text: &str, range: &Range<usize>) -> Range<usize> {
    let at = |nth: usize| text.char_indices().nth(nth).map_or(text.len(), |(at, _)| at);
    at(range.start)..at(range.end)
}

/// The ends in `{"start": …, "end": …}`.
fn range_in(fields: &Fields) -> ValRange<&Val> {
    fields.get("start")..fields.get("end")
}

/// Where `part` begins in `whole`.
pub(super) fn places_of(whole: &[Val], part: &[Val]) -> Vec<Val> {
    if part.is_empty() {
        return Vec::new();
    }
    let places = whole.windows(part.len()).enumerate().filter(|(_, window)| look() && *window == part);
    places.map(|(at, _)| Val::from(at)).collect()
}

impl Val {
    /// The value at an index, if there is one.
    pub(super) fn at(self, index: &Self) -> Result<Option<Self>, Error<Self>> {
        Ok(match (self, index) {
            (Self::Obj(fields), Self::Str(name)) => fields.it.get(name.it.as_str()).cloned(),
            (Self::Arr(items), Self::Num(_)) => {
                let place = place(index).and_then(|place| from_start(place, items.it.len()));
                place.and_then(|place| items.it.get(place).cloned())
            }
            (Self::Arr(items), Self::Arr(part)) => Some(Self::array(places_of(&items.it, &part.it))),
            (Self::Null, Self::Str(_) | Self::Num(_) | Self::Null) => None,
            (whole @ (Self::Arr(_) | Self::Str(_) | Self::Null), Self::Obj(range)) => {
                Some(whole.range(range_in(&range.it))?)
            }
            (other, index) => return Err(Error::index(other, index.clone())),
        })
    }
}

impl ValT for Val {
    fn from_num(digits: &str) -> ValR<Self> {
        Ok(Self::number(number(digits)))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(iter: I) -> ValR<Self> {
        let mut fields = Fields::new();
        for (name, value) in iter {
            let Self::Str(name) = name else { return Err(Error::typ(name, "text, to name a field")) };
            fields.insert(name.it.as_str().into(), value);
        }
        Ok(Self::object(fields))
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        match self {
            Self::Arr(items) => {
                Box::new(Self::take_items(items).into_iter().enumerate().map(|(at, item)| Ok((at.into(), item))))
            }
            Self::Obj(fields) => {
                let fields = Self::take_fields(fields).into_iter();
                Box::new(fields.map(|(name, value)| Ok((Self::text(&*name), value))))
            }
            other => box_once(Err(Error::typ(other, "array or object"))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        match self {
            Self::Arr(items) => Box::new(Self::take_items(items).into_iter().map(Ok)),
            Self::Obj(fields) => Box::new(Self::take_fields(fields).into_values().map(Ok)),
            other => box_once(Err(Error::typ(other, "array or object"))),
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        Ok(self.at(index)?.unwrap_or_default())
    }

    fn range(self, range: ValRange<&Self>) -> ValR<Self> {
        match self {
            Self::Null => Ok(Self::Null),
            Self::Arr(items) => Ok(Self::array(items.it[ends(range, items.it.len())?].to_vec())),
            Self::Str(text) => {
                let range = ends(range, text.it.chars().count())?;
                Ok(Self::text(&text.it[bytes_of(&text.it, &range)]))
            }
            other => Err(Error::typ(other, "array or text")),
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(self, opt: Opt, f: impl Fn(Self) -> I) -> ValX<'a, Self> {
        match self {
            Self::Arr(items) => Self::take_items(items).into_iter().flat_map(f).collect(),
            Self::Obj(fields) => {
                let mut changed = Fields::new();
                for (name, value) in Self::take_fields(fields) {
                    if let Some(value) = f(value).next().transpose()? {
                        changed.insert(name, value);
                    }
                }
                Ok(Self::object(changed))
            }
            other => opt.fail(other, |other| Exn::from(Error::typ(other, "array or object"))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let change = |value| f(value).next().transpose();
        match (self, index) {
            (whole, Self::Obj(range)) if matches!(whole, Self::Arr(_) | Self::Str(_) | Self::Null) => {
                whole.map_range(range_in(&range.it), opt, f)
            }
            (Self::Obj(fields), Self::Str(name)) => Self::with_field(fields, &name.it.as_str().into(), change),
            (Self::Null, Self::Str(name)) => Self::with_field(empty_object(), &name.it.as_str().into(), change),
            (whole @ (Self::Arr(_) | Self::Null), Self::Num(_)) => {
                let items = match whole {
                    Self::Arr(items) => items,
                    _ => empty_array(),
                };
                match place(index).and_then(|place| from_start(place, items.it.len())) {
                    Some(place) => Self::with_item(items, place, change),
                    None => opt.fail(Self::Arr(items), |_| {
                        Exn::from(Error::str(format_args!("index {index} lies before the beginning")))
                    }),
                }
            }
            (other, index) => opt.fail(other, |other| Exn::from(Error::index(other, index.clone()))),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: ValRange<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let change = |value| f(value).next().transpose();
        match self {
            Self::Arr(items) => {
                let range = ends(range, items.it.len())?;
                let part = Self::array(items.it[range.clone()].to_vec());
                let new = match change(part)? {
                    Some(Self::Arr(new)) => Self::take_items(new),
                    None => Vec::new(),
                    Some(other) => return Err(Error::typ(other, "array").into()),
                };
                let mut items = Self::take_items(items);
                items.splice(range, new);
                Ok(Self::array(items))
            }
            Self::Str(text) => {
                let range = bytes_of(&text.it, &ends(range, text.it.chars().count())?);
                let new = match change(Self::text(&text.it[range.clone()]))? {
                    Some(Self::Str(new)) => new.it.clone(),
                    None => String::new(),
                    Some(other) => return Err(Error::typ(other, "text").into()),
                };
                Ok(Self::text([&text.it[..range.start], &new, &text.it[range.end..]].concat()))
            }
            Self::Null => Self::Arr(empty_array()).map_range(range, opt, f),
            other => opt.fail(other, |other| Exn::from(Error::typ(other, "array or text"))),
        }
    }

    fn as_bool(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    fn into_string(self) -> Self {
        match self {
            Self::Str(_) => self,
            other => Self::text(json(&other)),
        }
    }
}

fn empty_array() -> Rc<Kept<Vec<Val>>> {
    match Val::array(Vec::new()) {
        Val::Arr(items) => items,
        _ => unreachable!("an array is an array"),
    }
}

fn empty_object() -> Rc<Kept<Fields>> {
    match Val::object(Fields::new()) {
        Val::Obj(fields) => fields,
        _ => unreachable!("an object is an object"),
    }
}

impl jaq_std::ValT for Val {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Self::Arr(items) => Ok(Self::take_items(items).into_iter().collect()),
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        matches!(self, Self::Num(Num::Int(_) | Num::BigInt(_)))
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Self::Num(number) => number.as_isize(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Num(number) => Some(float(number)),
            _ => None,
        }
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Str(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Str(text) => Some(text.it.as_bytes()),
            _ => None,
        }
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self::text(String::from_utf8_lossy(part))
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::text(String::from_utf8_lossy(bytes.as_ref()))
    }
}

/// A text `times` times over; null for less than once.
pub(super) fn repeated(text: &str, times: f64) -> Val {
    if times <= 0.0 || times.is_nan() {
        return Val::Null;
    }
    let times = times.max(1.0) as usize;
    if text.len().saturating_mul(times) > super::value::WEIGHT_MAX as usize * 8 {
        refuse(Fault::too_large("the program makes a text that is too long").hint("at most 16 MB"));
        return Val::Null;
    }
    Val::text(text.repeat(times))
}
