//! Signatures and types, read and resolved.

use alloy_dyn_abi::DynSolType;
use alloy_primitives::{hex, keccak256};
use kernel::chain::{Hash, Param, Signature, SignatureKind};
use kernel::{Fault, Result};

use super::parse;

/// A parameter: its type, and the names of a tuple's components.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) ty: DynSolType,
    /// The type as it is hashed.
    pub(super) canonical: String,
    /// The components of the tuple that this is, or is an array of.
    pub(super) fields: Vec<Shape>,
    /// Words that its head takes at least.
    pub(super) words: u64,
    pub(super) indexed: bool,
}

impl Shape {
    /// Reads a type, or a type and a name: `(address to, uint256 amount)[] orders`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        parse::parameter(text)
            .map_err(|fault| hinted(fault, "like `uint256`, `bytes32[]`, `(address to, uint256 amount)[2]`"))
    }

    fn into_param(self) -> Param {
        Param { name: self.name, ty: self.canonical, indexed: self.indexed }
    }
}

/// A signature, resolved.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) kind: SignatureKind,
    pub(super) name: String,
    pub(super) canonical: String,
    pub(super) inputs: Vec<Shape>,
    pub(super) outputs: Vec<Shape>,
    anonymous: bool,
}

impl Item {
    /// Reads a signature; what it describes is its first word, a function when there is none.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let kind = match text.split_whitespace().next() {
            Some("event") => SignatureKind::Event,
            Some("error") => SignatureKind::Error,
            _ => SignatureKind::Function,
        };
        Self::parse_as(kind, text)
    }

    /// Reads the signature of a function, an event or an error; the keyword may be left out.
    pub(super) fn parse_as(kind: SignatureKind, text: &str) -> Result<Self> {
        let (keyword, example) = match kind {
            SignatureKind::Function => ("function", "like `balanceOf(address)(uint256)`"),
            SignatureKind::Event => {
                ("event", "like `event Transfer(address indexed from, address indexed to, uint256 value)`")
            }
            SignatureKind::Error => ("error", "like `error InsufficientBalance(address owner, uint256 needed)`"),
        };
        let parsed = parse::signature(text, keyword).map_err(|fault| hinted(fault, example))?;
        let types = parsed.inputs.iter().map(|shape| shape.canonical.as_str()).collect::<Vec<_>>().join(",");
        let item = Self {
            kind,
            canonical: format!("{}({types})", parsed.name),
            name: parsed.name,
            inputs: parsed.inputs,
            outputs: parsed.outputs,
            anonymous: parsed.anonymous,
        };
        item.check_topics()?;
        Ok(item)
    }

    fn check_topics(&self) -> Result<()> {
        let room = match self.kind {
            SignatureKind::Event => 3 + usize::from(self.anonymous),
            _ => 0,
        };
        let indexed = self.inputs.iter().filter(|shape| shape.indexed).count();
        if indexed > room {
            return Err(Fault::invalid(format!(
                "{} has {indexed} indexed values, there is room for {room}",
                self.canonical
            )));
        }
        Ok(())
    }

    pub(super) fn hash(&self) -> Hash {
        Hash(keccak256(self.canonical.as_bytes()))
    }

    pub(super) fn selector(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.hash().0.0;
        [a, b, c, d]
    }

    /// The first topic of this event's logs; none when it is anonymous.
    pub(super) fn topic(&self) -> Option<Hash> {
        (!self.anonymous).then(|| self.hash())
    }

    /// What follows the selector, which must be this item's.
    pub(super) fn strip_selector<'a>(&self, data: &'a [u8]) -> Result<&'a [u8]> {
        data.strip_prefix(&self.selector()).ok_or_else(|| {
            let begins = hex::encode_prefixed(&data[..data.len().min(4)]);
            let selector = hex::encode_prefixed(self.selector());
            Fault::invalid(format!("the data begins with {begins}, {} with {selector}", self.canonical))
                .hint("give the signature of the function that the data calls")
        })
    }

    pub(super) fn into_signature(self) -> Signature {
        let params = |shapes: Vec<Shape>| shapes.into_iter().map(Shape::into_param).collect();
        Signature {
            kind: self.kind,
            hash: self.hash(),
            name: self.name,
            canonical: self.canonical,
            inputs: params(self.inputs),
            outputs: params(self.outputs),
        }
    }
}

/// Adds an example where the fault has no better hint.
fn hinted(fault: Fault, example: &str) -> Fault {
    if fault.hint.is_some() { fault } else { fault.hint(example) }
}
