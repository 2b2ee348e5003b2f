//! What etcd's JSON gateway says and hears: numbers are texts, keys and values are base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kernel::{Fault, Result, UnixMs};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A key in base64.
pub(super) fn key64(key: &str) -> String {
    STANDARD.encode(key)
}

/// The end of the range of keys that begin with `prefix`, in base64. No prefix of ours ends with the largest byte, which no UTF-8 has.
pub(super) fn end_of(prefix: &str) -> String {
    let mut end = prefix.as_bytes().to_owned();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    STANDARD.encode(end)
}

/// What an entry is stored as.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) value: String,
    pub(super) updated_ms: UnixMs,
    pub(super) expires_ms: Option<UnixMs>,
}

impl Kept {
    /// What is stored under a key; `None`, which is said, of what is nobody's of the fleet.
    pub(super) fn of(kv: &Kv) -> Option<Self> {
        let read = STANDARD.decode(&kv.value).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if read.is_none() {
            tracing::warn!(key = kv.key, "an entry on etcd cannot be read");
        }
        read
    }

    pub(super) fn encoded(&self) -> Result<String> {
        let text = serde_json::to_vec(self).map_err(|error| Fault::internal(format!("entry: {error}")))?;
        Ok(STANDARD.encode(text))
    }
}

/// A key and its value.
#[derive(Deserialize)]
pub(super) struct Kv {
    #[serde(deserialize_with = "text")]
    pub(super) key: String,
    /// In base64.
    #[serde(default)]
    value: String,
    #[serde(default, deserialize_with = "number")]
    pub(super) mod_revision: u64,
}

/// What every answer has.
#[derive(Default, Deserialize)]
pub(super) struct Header {
    #[serde(default, deserialize_with = "number")]
    pub(super) revision: u64,
}

/// The answer of `kv/range`.
#[derive(Default, Deserialize)]
pub(super) struct Ranged {
    #[serde(default)]
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<Kv>,
    #[serde(default)]
    pub(super) more: bool,
}

/// The answer of `kv/txn`.
#[derive(Deserialize)]
pub(super) struct Txn {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
    #[serde(default)]
    pub(super) responses: Vec<Response>,
}

/// The answer of one part of it.
#[derive(Deserialize)]
pub(super) struct Response {
    #[serde(default)]
    response_range: Ranged,
}

impl Response {
    /// What a range of one key found.
    pub(super) fn one(self) -> Option<Kv> {
        self.response_range.kvs.into_iter().next()
    }
}

/// The answer of `lease/grant`.
#[derive(Deserialize)]
pub(super) struct Granted {
    #[serde(rename = "ID")]
    pub(super) id: String,
}

/// The answer of `maintenance/status`.
#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) version: String,
}

/// A line of `watch`.
#[derive(Deserialize)]
pub(super) struct Watched {
    /// Absent where there is an error instead.
    pub(super) result: Option<Told>,
}

/// What a watch tells.
#[derive(Deserialize)]
pub(super) struct Told {
    #[serde(default)]
    pub(super) created: bool,
    #[serde(default)]
    pub(super) canceled: bool,
    #[serde(default)]
    pub(super) events: Vec<Event>,
}

/// A change.
#[derive(Deserialize)]
pub(super) struct Event {
    /// `DELETE`, or absent for a put.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) kv: Kv,
}

/// A refusal.
#[derive(Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) error: String,
    /// As gRPC counts them.
    #[serde(default)]
    pub(super) code: u32,
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let bytes = STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)?;
    String::from_utf8(bytes).map_err(D::Error::custom)
}
