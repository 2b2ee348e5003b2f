//! JSON that looks at the limits each time a validator looks at it.
//!
//! The validator has no way to be stopped, and a small schema can make it work for ages. So whatever it reads of a document goes through
//! here, and [`Stop`] travels up through it when the limits are reached.

use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, Node, NodeIdentity, Object};
use kernel::Fault;
use serde_json::{Map, Number, Value};

use crate::bounded::check;

/// Why a validation was stopped.
pub(super) enum Stop {
    /// The limits of the computation.
    Limit(Fault),
    /// It looked more often than [`within`] allows.
    Looks,
}

thread_local! {
    static LOOKS_LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// Runs `work`, which may look `looks` times.
pub(super) fn within<T>(looks: u64, work: impl FnOnce() -> T) -> Result<T, Stop> {
    LOOKS_LEFT.set(looks);
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| match panic.downcast::<Stop>() {
        Ok(stop) => *stop,
        Err(other) => resume_unwind(other),
    })
}

/// Counts one look; unwinds when there are none left, or when the limits are reached.
pub(super) fn look() {
    let left = LOOKS_LEFT.get();
    if left == 0 {
        resume_unwind(Box::new(Stop::Looks));
    }
    LOOKS_LEFT.set(left - 1);
    if let Err(fault) = check() {
        resume_unwind(Box::new(Stop::Limit(fault)));
    }
}

/// The representation.
pub(super) struct Metered;

/// A value.
#[derive(Clone, Copy)]
pub(super) struct Item<'a>(pub(super) &'a Value);

/// An object.
pub(super) struct Fields<'a>(&'a Map<String, Value>);

/// An array.
pub(super) struct Items<'a>(&'a [Value]);

impl Json for Metered {
    type Node<'a> = Item<'a>;
    type PreparedKey = String;
    type StringBuffer = ();
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(Item<'_>) -> T) -> T {
        look();
        f(Item(&Value::String(string.to_owned())))
    }
}

impl<'a> Node<'a, Metered> for Item<'a> {
    type Object = Fields<'a>;
    type Array = Items<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Fields<'a>> {
        look();
        self.0.as_object().map(Fields)
    }

    fn as_array(&self) -> Option<Items<'a>> {
        look();
        self.0.as_array().map(|items| Items(items))
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        look();
        self.0.as_str().map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a Number> {
        look();
        self.0.as_number()
    }

    fn as_boolean(&self) -> Option<bool> {
        look();
        self.0.as_bool()
    }

    fn is_null(&self) -> bool {
        look();
        self.0.is_null()
    }

    fn json_type(&self) -> JsonType {
        look();
        match self.0 {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        look();
        Cow::Borrowed(self.0)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.0).addr()))
    }
}

impl<'a> Object<'a, Metered> for Fields<'a> {
    type Node = Item<'a>;
    type MemberName = &'a str;
    type MembersIter = Box<dyn Iterator<Item = (&'a str, Item<'a>)> + 'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, key: &String) -> Option<Item<'a>> {
        self.0.get(key).map(Item)
    }

    fn members(&self) -> Self::MembersIter {
        Box::new(self.0.iter().map(|(name, value)| {
            look();
            (name.as_str(), Item(value))
        }))
    }
}

impl<'a> Array<'a, Metered> for Items<'a> {
    type Node = Item<'a>;
    type ElementsIter = Box<dyn Iterator<Item = Item<'a>> + 'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn elements(&self) -> Self::ElementsIter {
        Box::new(self.0.iter().map(|value| {
            look();
            Item(value)
        }))
    }
}
