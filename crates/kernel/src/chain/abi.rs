//! Contract encodings: pure functions between JSON values and the ABI's bytes.
//!
//! JSON values: integers of at most 48 bits (`uint48`, `int24`) are JSON numbers, wider ones (`uint56` to `uint256`) decimal text,
//! whatever their value (both are read for either, and hexadecimal text too); addresses are checksummed; bytes are hexadecimal; arrays
//! are arrays; a tuple is an object when all its components have names, otherwise an array (both are read).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Address, Data, Hash};
use crate::{Code, Fault, Result};

/// What a signature describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureKind {
    /// A function.
    Function,
    /// An event.
    Event,
    /// A custom error.
    Error,
}

/// A parsed human-readable signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signature {
    /// What it describes.
    pub kind: SignatureKind,
    /// Its name.
    pub name: String,
    /// The form that is hashed: `transfer(address,uint256)`.
    pub canonical: String,
    /// The hash of that form: an event's first topic, and its first 4 bytes the selector of a function or an error.
    pub hash: Hash,
    /// What goes in: arguments, an event's values, an error's particulars.
    pub inputs: Vec<Param>,
    /// What a function returns.
    pub outputs: Vec<Param>,
}

impl Signature {
    /// The first 4 bytes of the hash: what calldata and custom errors begin with.
    pub fn selector(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.hash.0.0;
        [a, b, c, d]
    }
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Param {
    /// Its name; empty when it has none.
    pub name: String,
    /// Its type in canonical form, tuples spelled out: `(address,uint256)[]`.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether an event's value is a topic.
    pub indexed: bool,
}

/// A decoded value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AbiValue {
    /// The parameter's name; empty when it has none.
    pub name: String,
    /// Its type in canonical form.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its value; for an indexed value of dynamic type, the hash that the log has in its place.
    pub value: Value,
}

/// Calldata, decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecodedCall {
    /// The function in canonical form.
    pub function: String,
    /// The arguments.
    pub args: Vec<AbiValue>,
}

/// A log, decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecodedLog {
    /// The event in canonical form.
    pub event: String,
    /// Its values, in the order declared.
    pub args: Vec<AbiValue>,
}

/// A log's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EncodedLog {
    /// The topics.
    pub topics: Vec<Hash>,
    /// The data.
    pub data: Data,
}

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevertKind {
    /// `revert("…")` or `require(…, "…")`.
    Message,
    /// The compiler's own check: an assertion, an overflow, an index out of bounds.
    Panic,
    /// A custom error whose signature was given.
    Custom,
    /// A custom error whose signature was not given, or data that follows no convention.
    Unknown,
    /// A revert that says nothing.
    Empty,
    /// It did not revert: it ran out of gas.
    OutOfGas,
    /// It did not revert: the machine stopped it (invalid opcode, stack, a write in a static call).
    Halt,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revert {
    /// How.
    pub kind: RevertKind,
    /// The reason, for people: the contract's own words where it gave any.
    pub reason: String,
    /// The custom error's canonical form, or the selector when its signature is not known.
    pub error: Option<String>,
    /// The custom error's values.
    pub args: Vec<AbiValue>,
    /// The bytes it reverted with.
    pub data: Data,
}

impl Revert {
    /// A failure that left no bytes.
    pub fn without_data(kind: RevertKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), error: None, args: Vec::new(), data: Data::default() }
    }

    /// The fault that a failed execution is where success was needed. It carries this as its data.
    pub fn into_fault(self) -> Fault {
        let hint = match self.kind {
            RevertKind::OutOfGas => "give it more gas",
            RevertKind::Unknown => "give the contract's custom errors, if you know them, to decode it",
            RevertKind::Empty => {
                "a call of a function that is not there reverts so, and so do contracts that give no reasons"
            }
            _ => "simulate_transaction shows what happened before it",
        };
        let fault = Fault::new(Code::Reverted, format!("execution failed: {}", self.reason)).hint(hint);
        fault.data(serde_json::json!({ "revert": self }))
    }

    /// The failed execution that a fault carries, if it is one.
    pub fn of(fault: &Fault) -> Option<Self> {
        let carried = fault.data.as_ref().filter(|_| fault.code == Code::Reverted)?.get("revert")?;
        Self::deserialize(carried).ok()
    }
}

/// The port. Every method is a pure function; a wrong input is `InvalidArgument` and says where.
///
/// Signatures are human-readable: `balanceOf(address)(uint256)`, `function transfer(address to, uint256 amount) returns (bool)`,
/// `event Transfer(address indexed from, address indexed to, uint256 value)`, `error Paused(uint256 until)`. Without a keyword it is a function.
pub trait Abi: Send + Sync {
    /// Reads a signature.
    fn signature(&self, text: &str) -> Result<Signature>;

    /// Encodes values of these types, as `abi.encode` does.
    fn encode(&self, types: &[String], values: &[Value]) -> Result<Data>;

    /// Decodes what `abi.encode` made of values of these types.
    fn decode(&self, types: &[String], data: &[u8]) -> Result<Vec<AbiValue>>;

    /// The calldata of a call.
    fn encode_call(&self, function: &str, args: &[Value]) -> Result<Data>;

    /// The arguments in calldata; the selector must be the function's.
    fn decode_call(&self, function: &str, data: &[u8]) -> Result<DecodedCall>;

    /// What a function returned; the signature must say its outputs.
    fn decode_output(&self, function: &str, data: &[u8]) -> Result<Vec<AbiValue>>;

    /// A log's topics and data; values in the order declared. An indexed value of dynamic type becomes its hash.
    fn encode_log(&self, event: &str, values: &[Value]) -> Result<EncodedLog>;

    /// The values in a log; its first topic must be the event's.
    fn decode_log(&self, event: &str, topics: &[Hash], data: &[u8]) -> Result<DecodedLog>;

    /// Why a call reverted with these bytes. `errors` are the custom errors that it may be.
    fn decode_revert(&self, data: &[u8], errors: &[String]) -> Result<Revert>;

    /// The Keccak-256 hash.
    fn keccak256(&self, data: &[u8]) -> Hash {
        Hash(alloy_primitives::keccak256_uncached(data))
    }

    /// An address with its EIP-55 checksum; one with a wrong checksum is refused.
    fn checksum(&self, address: &str) -> Result<Address> {
        address.parse()
    }
}
