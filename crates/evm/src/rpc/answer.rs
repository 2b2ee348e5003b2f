//! JSON-RPC bodies: making a request, reading an answer, and judging an error: is the endpoint ill, does it not know, or is this the answer?

use alloy_primitives::hex;
use kernel::chain::{Abi, Revert, RevertKind};
use kernel::{Code, Fault};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Encodings;

/// Why an endpoint gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The endpoint is ill: another may be asked, and this one is left alone for a while.
    Endpoint(Fault),
    /// It answered that it does not know or cannot: another may.
    Elsewhere(Fault),
    /// This is the answer, whoever is asked.
    Final(Fault),
}

impl Failure {
    /// Of an exchange without an answer. One that is too long is no illness of the endpoint's: the question was too wide.
    pub(crate) fn of_exchange(fault: Fault) -> Self {
        if fault.code == Code::TooLarge { Self::Final(fault) } else { Self::Endpoint(fault) }
    }

    pub(crate) fn fault(&self) -> &Fault {
        let (Self::Endpoint(fault) | Self::Elsewhere(fault) | Self::Final(fault)) = self;
        fault
    }

    /// The same, its words passed through `scrub`.
    pub(crate) fn scrubbed(mut self, scrub: impl Fn(&str) -> String) -> Self {
        let (Self::Endpoint(fault) | Self::Elsewhere(fault) | Self::Final(fault)) = &mut self;
        fault.message = scrub(&fault.message);
        self
    }

    pub(crate) fn into_fault(self) -> Fault {
        let (Self::Endpoint(fault) | Self::Elsewhere(fault) | Self::Final(fault)) = self;
        fault
    }
}

/// What is asked: a method, and its parameters.
pub(crate) type Question = (&'static str, Value);

pub(crate) fn request(method: &str, params: &Value) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string().into_bytes()
}

/// Many questions in one body; each one's number is its place.
pub(crate) fn requests(questions: &[Question]) -> Vec<u8> {
    let request = |(place, (method, params)): (usize, &Question)| json!({ "jsonrpc": "2.0", "id": place, "method": method, "params": params });
    Value::Array(questions.iter().enumerate().map(request).collect()).to_string().into_bytes()
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    id: Value,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    error: Option<Error>,
}

/// A `null` result is a result.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Error {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    data: Option<Value>,
}

/// Reads an answer to `method` as a `T`.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8], label: &str, method: &str) -> Result<T, Failure> {
    let answer = serde_json::from_slice(body).map_err(|error| garbage(label, method, &error.to_string()))?;
    read(answer, label, method)
}

/// Reads the answers to many questions, in the questions' order, whatever order they come in; `None` when the endpoint does not take many at
/// once, which it says with one answer to all of them.
pub(crate) fn parse_all<T: DeserializeOwned>(
    body: &[u8],
    label: &str,
    questions: &[Question],
) -> Result<Option<Vec<T>>, Failure> {
    const MANY: &str = "many questions";
    if body.trim_ascii_start().first() != Some(&b'[') {
        return match parse::<Value>(body, label, MANY) {
            Err(failure @ Failure::Endpoint(_)) => Err(failure),
            _ => Ok(None),
        };
    }
    let unread = |error: serde_json::Error| garbage(label, MANY, &error.to_string());
    let mut answers: Vec<Answer<'_>> = serde_json::from_slice(body).map_err(unread)?;
    answers.sort_by_key(|answer| answer.id.as_u64());
    let numbered = answers.iter().map(|answer| answer.id.as_u64()).eq((0..questions.len() as u64).map(Some));
    if !numbered {
        return Err(garbage(label, MANY, "there is not one answer to each"));
    }
    answers
        .into_iter()
        .zip(questions)
        .map(|(answer, (method, _))| read(answer, label, method))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn garbage(label: &str, method: &str, why: &str) -> Failure {
    Failure::Endpoint(
        Fault::upstream(format!("endpoint {label} answered {method} with something that is no answer: {why}"))
            .hint("is it a node's JSON-RPC endpoint"),
    )
}

fn read<T: DeserializeOwned>(answer: Answer<'_>, label: &str, method: &str) -> Result<T, Failure> {
    match answer {
        Answer { error: Some(error), .. } => Err(judge(error, label, method)),
        Answer { result: Some(result), .. } => serde_json::from_str(result.get()).map_err(|error| {
            if error.to_string().starts_with("recursion limit") {
                Failure::Final(Fault::too_large(format!("the answer to {method} is nested too deeply to be read")))
            } else if result.get() == "null" {
                Failure::Elsewhere(Fault::not_found(format!("endpoint {label} has nothing to answer {method} with")))
            } else {
                garbage(label, method, &error.to_string())
            }
        }),
        Answer { .. } => Err(garbage(label, method, "neither a result nor an error")),
    }
}

fn judge(error: Error, label: &str, method: &str) -> Failure {
    let text = error.message.to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let said = |code: Code| Fault::new(code, format!("endpoint {label} refused {method}: {}", first_line(&text)));
    if let Some(revert) = reverted(&error, &text) {
        return Failure::Final(revert.into_fault());
    }
    if has(&["insufficient funds", "insufficient balance"]) {
        return Failure::Final(
            said(Code::InvalidArgument).hint("the sender cannot pay: fund it, or override its balance"),
        );
    }
    if error.code == -32601
        || has(&[
            "method not found",
            "not supported",
            "unsupported",
            "does not exist/is not available",
            "not available on",
        ])
    {
        return Failure::Elsewhere(said(Code::Unsupported).hint("another node or plan may have this method"));
    }
    if error.code == 429 || has(&["rate limit", "too many requests", "compute units", "capacity exceeded"]) {
        return Failure::Endpoint(
            said(Code::RateLimited).hint("the provider's limit is reached; add another endpoint"),
        );
    }
    if has(&["more than", "range", "too large", "too many", "limit exceeded", "exceeds"]) && method == "eth_getLogs" {
        return Failure::Final(said(Code::TooLarge).hint("ask for a narrower range"));
    }
    if has(&[
        "header not found",
        "unknown block",
        "missing trie node",
        "block not found",
        "outofrange",
        "not available",
        "pruned",
    ]) {
        return Failure::Elsewhere(
            said(Code::NotFound).hint("the node does not have that block's state; an archive node may"),
        );
    }
    if error.code == -32602 || error.code == -32600 {
        return Failure::Final(said(Code::InvalidArgument));
    }
    Failure::Elsewhere(said(Code::Upstream).data(json!({ "rpc_code": error.code })))
}

/// The failed execution that an error tells of, if it tells of one.
fn reverted(error: &Error, text: &str) -> Option<Revert> {
    let data = error.data.as_ref().and_then(revert_data);
    if error.code == 3 || text.contains("execution reverted") || (text.contains("revert") && data.is_some()) {
        return Some(revert(&data.unwrap_or_default(), &error.message));
    }
    halt(text)
}

/// The bytes of a revert, which nodes put in different places.
fn revert_data(data: &Value) -> Option<Vec<u8>> {
    let text = data.as_str().or_else(|| data.get("data").and_then(Value::as_str))?;
    let digits = text.strip_prefix("Reverted ").unwrap_or(text).strip_prefix("0x")?;
    hex::decode(digits).ok()
}

/// A revert with these bytes; where there are none, the node's own words may hold the reason.
pub(crate) fn revert(data: &[u8], message: &str) -> Revert {
    // No custom errors are given, so there is none that cannot be read.
    let decoded = Encodings.decode_revert(data, &[]);
    let mut revert = decoded.unwrap_or_else(|fault| Revert::without_data(RevertKind::Unknown, fault.message));
    let words = message.split_once("reverted").map(|(_, words)| words.trim_start_matches(':').trim());
    if let Some(words) = words.filter(|words| revert.kind == RevertKind::Empty && !words.is_empty()) {
        (revert.kind, revert.reason) = (RevertKind::Message, words.to_owned());
    }
    revert
}

/// A stop that is no revert, by the words that geth, anvil and others have for it.
pub(crate) fn halt(text: &str) -> Option<Revert> {
    let text = text.to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let gas = has(&["out of gas", "outofgas", "gas required exceeds", "intrinsic gas too low", "out-of-gas"]);
    if gas || (text.contains("evm error") && text.contains("oog")) {
        return Some(Revert::without_data(RevertKind::OutOfGas, "out of gas"));
    }
    let halts = has(&[
        "evm error",
        "invalid opcode",
        "invalidfeopcode",
        "opcodenotfound",
        "stack underflow",
        "stack limit",
        "stackunderflow",
        "stackoverflow",
        "invalid jump",
        "invalidjump",
        "write protection",
        "statechangeduringstaticcall",
        "contract creation code storage",
        "max code size",
        "contract address collision",
        "call depth",
    ]);
    halts.then(|| Revert::without_data(RevertKind::Halt, format!("the machine stopped: {}", first_line(&text))))
}

fn first_line(text: &str) -> &str {
    const SHOWN_BYTES: usize = 300;
    let line = text.lines().next().unwrap_or_default();
    let end = line.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= SHOWN_BYTES).last();
    &line[..end.unwrap_or(0)]
}
