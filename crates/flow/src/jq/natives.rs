//! The filters that are not written in jq: those of the standard library that only compute, and ours where its own could run away or
//! would look at the machine (environment, files, clock, time zone).

use std::rc::Rc;
use std::sync::Arc;

use jaq_core::box_iter::box_once;
use jaq_core::data::HasLut;
use jaq_core::native::{Fun, bome, run, unary, v};
use jaq_core::{Cv, DataT, Error, Exn, Lut, Native, RunPtr, ValX, ValXs};
use jaq_json::Num;
use jaq_std::ValT as _;

use super::access::places_of;
use super::meter::{look, refused, step};
use super::patterns;
use super::text::{json, read_all};
use super::value::{Fields, Val, float};

/// What programs run over.
pub(super) struct Kind;

/// What every filter can see.
pub(super) struct Shared {
    pub(super) lut: Arc<Lut<Kind>>,
    /// Seconds since the Unix epoch.
    pub(super) now: f64,
}

impl DataT for Kind {
    type V<'a> = Val;
    type Data<'a> = &'a Shared;
}

impl<'a> HasLut<'a, Kind> for &'a Shared {
    fn lut(&self) -> &'a Lut<Kind> {
        &self.lut
    }
}

/// The names of the filters that [`super::metered`] puts into programs. Nobody can write them.
pub(super) const STEP: &str = "step!";
pub(super) const LOOK: &str = "look!";

/// Filters of the standard library that are left out: they look at the machine, write to its log, or run for as long as a number says.
const LEFT_OUT: [&str; 14] = [
    "range",
    "env",
    "now",
    "localtime",
    "strflocaltime",
    "debug_empty",
    "stderr_empty",
    "jn",
    "yn",
    "matches",
    "split_matches",
    "split_",
    "implode",
    "halt",
];

/// All filters.
pub(super) fn all() -> impl Iterator<Item = Fun<Kind>> {
    let theirs = jaq_core::funs::<Kind>().chain(jaq_std::funs::<Kind>());
    let theirs = theirs.filter(|(name, ..)| !LEFT_OUT.contains(name));
    theirs.chain(metering()).chain(ours().chain(patterns::all()).map(run::<Kind>))
}

/// The end of a program that may not go on: nothing in a program catches it.
fn end<'a, T: 'a>() -> jaq_core::box_iter::BoxIter<'a, ValX<'a, T, Val>> {
    box_once(Err(Exn::halt(0)))
}

/// Identities that count.
fn metering() -> [Fun<Kind>; 2] {
    let step = Native::<Kind>::new(|cv| if step() { box_once(Ok(cv.1)) } else { end() })
        .with_paths(|cv| if step() { box_once(Ok(cv.1)) } else { end() })
        .with_update(|cv, f| if step() { f(cv.1) } else { end() });
    let look = Native::<Kind>::new(|cv| if look() { box_once(Ok(cv.1)) } else { end() })
        .with_paths(|cv| if look() { box_once(Ok(cv.1)) } else { end() })
        .with_update(|cv, f| if look() { f(cv.1) } else { end() });
    [(STEP, v(0), step), (LOOK, v(0), look)]
}

type Ours = (&'static str, Box<[jaq_core::Bind]>, RunPtr<Kind>);

fn ours() -> impl Iterator<Item = Ours> {
    let filters: [Ours; 15] = [
        ("range", v(3), |mut cv| {
            let by = cv.0.pop_var();
            let to = cv.0.pop_var();
            Box::new(range(cv.0.pop_var(), to, by))
        }),
        ("now", v(0), |cv| box_once(Ok(Val::from(cv.0.data().now)))),
        ("halt", v(1), |_| end()),
        ("debug_empty", v(0), |_| Box::new(std::iter::empty())),
        ("stderr_empty", v(0), |_| Box::new(std::iter::empty())),
        ("tojson", v(0), |cv| box_once(Ok(Val::text(json(&cv.1))))),
        ("fromjson", v(0), from_json),
        ("length", v(0), |cv| bome(length(&cv.1))),
        ("implode", v(0), |cv| bome(implode(&cv.1))),
        ("contains", v(1), |cv| unary(cv, |whole, part| Ok(Val::Bool(contains(&whole, &part)?)))),
        ("has", v(1), |cv| unary(cv, |value, key| has(value, &key))),
        ("indices", v(1), |cv| unary(cv, |whole, part| indices(&whole, &part))),
        ("bsearch", v(1), |cv| {
            unary(cv, |items, wanted| match &items {
                Val::Arr(items) => {
                    Ok(Val::from(items.it.binary_search(&wanted).map_or_else(|at| -1 - at as isize, |at| at as isize)))
                }
                other => Err(Error::typ(other.clone(), "array")),
            })
        }),
        ("trimstr", v(1), |cv| {
            unary(cv, |text, part| {
                let (Val::Str(whole), Val::Str(part)) = (&text, &part) else { return Ok(text) };
                let rest = whole.it.strip_prefix(&part.it).unwrap_or(&whole.it);
                Ok(Val::text(rest.strip_suffix(&part.it).unwrap_or(rest)))
            })
        }),
        ("tostream_leaf", v(0), |cv| box_once(Ok(Val::Bool(is_leaf(&cv.1))))),
    ];
    filters.into_iter()
}

fn is_leaf(value: &Val) -> bool {
    match value {
        Val::Arr(items) => items.it.is_empty(),
        Val::Obj(fields) => fields.it.is_empty(),
        _ => true,
    }
}

fn range<'a>(from: Val, to: Val, by: Val) -> impl Iterator<Item = ValX<'a, Val>> {
    let up = by > Val::from(0isize);
    let still = by == Val::from(0isize);
    let mut next = Some(from);
    std::iter::from_fn(move || {
        let value = next.take()?;
        let inside = if still {
            value != to
        } else if up {
            value < to
        } else {
            value > to
        };
        if !inside {
            return None;
        }
        if !look() {
            return Some(Err(Exn::halt(0)));
        }
        match value.clone() + by.clone() {
            Ok(following) => next = Some(following),
            Err(error) => return Some(Err(error.into())),
        }
        Some(Ok(value))
    })
}

fn from_json<'a>(cv: Cv<'a, Kind>) -> ValXs<'a, Val> {
    let Val::Str(text) = &cv.1 else { return bome(Err(Error::typ(cv.1, "text"))) };
    match read_all(&text.it) {
        Ok(values) => Box::new(values.into_iter().map(Ok)),
        Err(fault) => bome(Err(Error::str(format_args!("cannot read {} as JSON: {}", cv.1, fault.message)))),
    }
}

fn length(value: &Val) -> Result<Val, Error<Val>> {
    match value {
        Val::Null => Ok(Val::from(0isize)),
        Val::Bool(_) => Err(Error::str(format_args!("{value} has no length"))),
        Val::Num(number) if *number < Num::Int(0) => -value.clone(),
        Val::Num(_) => Ok(value.clone()),
        Val::Str(text) => Ok(Val::from(text.it.chars().count())),
        Val::Arr(items) => Ok(Val::from(items.it.len())),
        Val::Obj(fields) => Ok(Val::from(fields.it.len())),
    }
}

fn implode(value: &Val) -> Result<Val, Error<Val>> {
    let Val::Arr(items) = value else { return Err(Error::typ(value.clone(), "array")) };
    let character = |item: &Val| item.as_isize().and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32);
    let text: Option<String> = items.it.iter().map(character).collect();
    text.map(Val::text).ok_or_else(|| Error::str(format_args!("{value} are not all characters")))
}

/// jq's containment: text in text, every item in some item, every field in its field; otherwise equality.
fn contains(whole: &Val, part: &Val) -> Result<bool, Error<Val>> {
    if !look() {
        return Err(Error::str("refused"));
    }
    match (whole, part) {
        (Val::Str(whole), Val::Str(part)) => Ok(whole.it.contains(part.it.as_str())),
        (Val::Arr(whole), Val::Arr(part)) => {
            for part in &part.it {
                let mut found = false;
                for whole in &whole.it {
                    found = found || same_kind(whole, part) && contains(whole, part)?;
                }
                if !found {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Val::Obj(whole), Val::Obj(part)) => contains_fields(&whole.it, &part.it),
        (whole, part) if same_kind(whole, part) => Ok(whole == part),
        (whole, part) => Err(Error::str(format_args!("{whole} and {part} cannot have their containment checked"))),
    }
}

fn contains_fields(whole: &Fields, part: &Fields) -> Result<bool, Error<Val>> {
    for (name, part) in part {
        match whole.get(name) {
            Some(whole) if same_kind(whole, part) && contains(whole, part)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn same_kind(a: &Val, b: &Val) -> bool {
    let truth = |value: &Val| matches!(value, Val::Bool(_));
    truth(a) && truth(b) || std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn has(value: Val, key: &Val) -> Result<Val, Error<Val>> {
    match (&value, key) {
        (Val::Obj(_), Val::Str(_)) => Ok(Val::Bool(value.at(key)?.is_some())),
        (Val::Arr(items), Val::Num(place)) => {
            let place = float(place);
            Ok(Val::Bool(place >= 0.0 && place < items.it.len() as f64))
        }
        _ => Err(Error::str(format_args!("cannot check whether {value} has {key}"))),
    }
}

fn indices(whole: &Val, part: &Val) -> Result<Val, Error<Val>> {
    match (whole, part) {
        (Val::Null, _) => Ok(Val::Null),
        (Val::Str(whole), Val::Str(part)) => Ok(Val::array(text_places(&whole.it, &part.it))),
        (Val::Arr(whole), Val::Arr(part)) => Ok(Val::array(places_of(&whole.it, &part.it))),
        (Val::Arr(whole), part) => Ok(Val::array(places_of(&whole.it, std::slice::from_ref(part)))),
        (whole, part) => Err(Error::index(whole.clone(), part.clone())),
    }
}

/// Where `part` begins, in characters; occurrences may overlap.
fn text_places(whole: &str, part: &str) -> Vec<Val> {
    let mut places = Vec::new();
    let (mut at, mut characters) = (0, 0usize);
    while !part.is_empty() && !refused() && look() {
        let Some(found) = whole[at..].find(part) else { break };
        characters += whole[at..at + found].chars().count();
        places.push(Val::from(characters));
        // The next occurrence may begin at the very next character.
        let next = whole[at + found..].chars().next().map_or(1, char::len_utf8);
        characters += 1;
        at += found + next;
    }
    places
}

/// Fields made here.
pub(super) fn object(fields: impl IntoIterator<Item = (&'static str, Val)>) -> Val {
    Val::object(fields.into_iter().map(|(name, value)| (Rc::from(name), value)).collect())
}
