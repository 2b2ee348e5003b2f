//! JSON values that know how much they are.
//!
//! Values share their parts, so a few steps can make one that is small in memory and endless to walk (`[., .]`, forty times). Every array,
//! object and string therefore knows the weight and the depth of the whole tree below it, and none is made past the limits.

use std::cmp::Ordering;
use std::rc::Rc;

use indexmap::IndexMap;
use jaq_json::Num;
use kernel::Fault;

use super::meter::{hold, look, refuse, refused, release};

/// Heaviest value: about so many numbers, or eight times as many bytes of text.
pub(super) const WEIGHT_MAX: u64 = 2_000_000;
/// Deepest value.
pub(super) const DEPTH_MAX: u32 = 500;
/// Integers of more bits become floating-point numbers.
const INTEGER_BITS_MAX: u64 = 4_096;

/// An object's fields, in the order they were given.
pub(super) type Fields = IndexMap<Rc<str>, Val>;

/// A value.
#[derive(Debug, Clone, Default)]
pub(super) enum Val {
    #[default]
    Null,
    Bool(bool),
    Num(Num),
    Str(Rc<Kept<String>>),
    Arr(Rc<Kept<Vec<Val>>>),
    Obj(Rc<Kept<Fields>>),
}

/// Something of known size, in memory that is counted.
#[derive(Debug)]
pub(super) struct Kept<T> {
    pub(super) it: T,
    size: Size,
    bytes: usize,
}

/// How much a value is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    weight: u64,
    depth: u32,
}

impl Size {
    /// With one more part in it.
    fn and(self, part: Self) -> Self {
        Self { weight: self.weight + part.weight, depth: self.depth.max(part.depth) }
    }

    /// Without a part. The depth stays: what remains may be as deep.
    fn without(self, part: Self) -> Self {
        Self { weight: self.weight.saturating_sub(part.weight), depth: self.depth }
    }

    /// Of a container of this content.
    fn contained(self) -> Self {
        Self { weight: self.weight + 1, depth: self.depth + 1 }
    }
}

impl<T> Kept<T> {
    fn new(it: T, size: Size, bytes: usize) -> Rc<Self> {
        hold(bytes);
        if size.weight > WEIGHT_MAX {
            refuse(
                Fault::too_large("the program makes a value that is too large")
                    .hint("at most 2,000,000 numbers, or 16 MB of text"),
            );
        }
        if size.depth > DEPTH_MAX {
            refuse(
                Fault::too_large("the program makes a value that is nested too deep")
                    .hint(format!("at most {DEPTH_MAX} levels")),
            );
        }
        Rc::new(Self { it, size, bytes })
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        release(self.bytes);
    }
}

/// The content and its size, without a copy where nobody else holds it.
fn take<T: Clone + Default>(mut kept: Rc<Kept<T>>) -> (T, Size) {
    match Rc::get_mut(&mut kept) {
        Some(own) => (std::mem::take(&mut own.it), own.size),
        None => (kept.it.clone(), kept.size),
    }
}

impl Val {
    /// How much it is.
    pub(super) fn size(&self) -> Size {
        match self {
            Self::Null | Self::Bool(_) => Size { weight: 1, depth: 0 },
            Self::Num(Num::BigInt(number)) => Size { weight: 1 + number.bits() / 64, depth: 0 },
            Self::Num(Num::Dec(digits)) => Size { weight: 1 + digits.len() as u64 / 8, depth: 0 },
            Self::Num(_) => Size { weight: 1, depth: 0 },
            Self::Str(text) => text.size,
            Self::Arr(items) => items.size,
            Self::Obj(fields) => fields.size,
        }
    }

    /// A text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        let (weight, bytes) = (1 + text.len() as u64 / 8, 64 + text.capacity());
        Self::Str(Kept::new(text, Size { weight, depth: 0 }, bytes))
    }

    /// An array of these items.
    pub(super) fn array(items: Vec<Self>) -> Self {
        let content = items.iter().fold(Size::default(), |size, item| size.and(item.size()));
        Self::array_of(items, content)
    }

    fn array_of(items: Vec<Self>, content: Size) -> Self {
        let bytes = 64 + items.capacity() * size_of::<Self>();
        Self::Arr(Kept::new(items, content.contained(), bytes))
    }

    /// An object of these fields.
    pub(super) fn object(fields: Fields) -> Self {
        let content = fields.iter().fold(Size::default(), |size, (name, value)| size.and(field_size(name, value)));
        Self::object_of(fields, content)
    }

    fn object_of(fields: Fields, content: Size) -> Self {
        // The names are counted by their weight, which is an eighth of their bytes at least.
        let bytes = 128 + fields.capacity() * 64 + content.weight.min(1 << 24) as usize;
        Self::Obj(Kept::new(fields, content.contained(), bytes))
    }

    /// A number; integers past the bound become floating-point.
    pub(super) fn number(number: Num) -> Self {
        match number {
            Num::BigInt(big) if big.bits() > INTEGER_BITS_MAX => Self::Num(Num::Float(float(&Num::BigInt(big)))),
            other => Self::Num(other),
        }
    }

    /// The items.
    pub(super) fn take_items(items: Rc<Kept<Vec<Self>>>) -> Vec<Self> {
        take(items).0
    }

    /// The fields.
    pub(super) fn take_fields(fields: Rc<Kept<Fields>>) -> Fields {
        take(fields).0
    }

    /// This text with more at its end.
    pub(super) fn append(text: Rc<Kept<String>>, more: &str) -> Self {
        if text.it.len() + more.len() > WEIGHT_MAX as usize * 8 {
            refuse(Fault::too_large("the program makes a text that is too long").hint("at most 16 MB"));
            return Self::Null;
        }
        let (mut text, _) = take(text);
        text.push_str(more);
        Self::text(text)
    }

    /// These items with more at their end.
    pub(super) fn extend(items: Rc<Kept<Vec<Self>>>, more: &Kept<Vec<Self>>) -> Self {
        let (mut items, size) = take(items);
        items.extend(more.it.iter().cloned());
        Self::array_of(items, uncontained(size).and(uncontained(more.size)))
    }

    /// This object with `name` set to what `change` makes of its value; taken out when that is nothing.
    pub(super) fn with_field<E>(
        fields: Rc<Kept<Fields>>,
        name: &Rc<str>,
        change: impl FnOnce(Self) -> Result<Option<Self>, E>,
    ) -> Result<Self, E> {
        let (mut fields, size) = take(fields);
        let mut content = uncontained(size);
        let old = match fields.get_mut(name) {
            Some(value) => {
                content = content.without(field_size(name, value));
                Some(std::mem::take(value))
            }
            None => None,
        };
        let was = old.is_some();
        match change(old.unwrap_or_default())? {
            Some(value) => {
                content = content.and(field_size(name, &value));
                fields.insert(Rc::clone(name), value);
            }
            None if was => {
                fields.shift_remove(name);
            }
            None => {}
        }
        Ok(Self::object_of(fields, content))
    }

    /// This array with the item at `place` set to what `change` makes of it; taken out when that is nothing. An array that is too short
    /// is filled up with nulls.
    pub(super) fn with_item<E>(
        items: Rc<Kept<Vec<Self>>>,
        place: usize,
        change: impl FnOnce(Self) -> Result<Option<Self>, E>,
    ) -> Result<Self, E> {
        let (mut items, size) = take(items);
        let mut content = uncontained(size);
        let old = match items.get_mut(place) {
            Some(item) => {
                content = content.without(item.size());
                Some(std::mem::take(item))
            }
            None => None,
        };
        let was = old.is_some();
        match change(old.unwrap_or_default())? {
            Some(item) if was => {
                content = content.and(item.size());
                items[place] = item;
            }
            Some(item) => {
                content.weight += (place - items.len()) as u64;
                content = content.and(item.size());
                // Far past the end: refused by its weight, and never made.
                if content.weight <= WEIGHT_MAX {
                    items.resize(place, Self::Null);
                    items.push(item);
                }
            }
            None if was => {
                items.remove(place);
            }
            None => {}
        }
        Ok(Self::array_of(items, content))
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(false) => 1,
            Self::Bool(true) => 2,
            Self::Num(_) => 3,
            Self::Str(_) => 4,
            Self::Arr(_) => 5,
            Self::Obj(_) => 6,
        }
    }
}

fn uncontained(size: Size) -> Size {
    Size { weight: size.weight.saturating_sub(1), depth: size.depth.saturating_sub(1) }
}

fn field_size(name: &str, value: &Val) -> Size {
    let value = value.size();
    Size { weight: value.weight + 1 + name.len() as u64 / 8, depth: value.depth }
}

/// The number as a floating-point number; infinite when it is too great.
pub(super) fn float(number: &Num) -> f64 {
    match number {
        Num::Int(number) => *number as f64,
        Num::Float(number) => *number,
        Num::BigInt(number) => num_traits::ToPrimitive::to_f64(&**number).unwrap_or(f64::NAN),
        Num::Dec(digits) => digits.parse().unwrap_or(f64::NAN),
    }
}

impl FromIterator<Val> for Val {
    fn from_iter<I: IntoIterator<Item = Self>>(iter: I) -> Self {
        let mut items = Vec::new();
        let mut content = Size::default();
        for item in iter {
            // What is generated may have no end of its own.
            if !look() || content.weight > WEIGHT_MAX {
                break;
            }
            content = content.and(item.size());
            items.push(item);
        }
        Self::array_of(items, content)
    }
}

impl PartialEq for Val {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Val {}

impl PartialOrd for Val {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// jq's order: null, false, true, numbers, text, arrays, objects (by their sorted names, then by values).
impl Ord for Val {
    fn cmp(&self, other: &Self) -> Ordering {
        if refused() {
            return Ordering::Equal;
        }
        match (self, other) {
            (Self::Num(a), Self::Num(b)) => a.cmp(b),
            (Self::Str(a), Self::Str(b)) => a.it.cmp(&b.it),
            (Self::Arr(a), Self::Arr(b)) => a.it.cmp(&b.it),
            (Self::Obj(a), Self::Obj(b)) => {
                let (a, b) = (sorted(&a.it), sorted(&b.it));
                let names = a.iter().map(|(name, _)| name).cmp(b.iter().map(|(name, _)| name));
                names.then_with(|| a.iter().map(|(_, value)| value).cmp(b.iter().map(|(_, value)| value)))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

fn sorted(fields: &Fields) -> Vec<(&Rc<str>, &Val)> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    sorted
}
