//! `utilities`: what every fleet needs and no one should write twice: units, hashes, encodings, exact arithmetic, JSON, tables, text.
//!
//! Keeps nothing and reaches nothing: every answer follows from the request (and, for `uuid` and `timestamp`, from randomness and the
//! clock). Invariants: amounts and numbers are never floating point; every input and answer is bounded; what may compute for long does
//! so on a thread of its own, within a time limit that it keeps itself ([`flow::bounded`]).

mod abi;
mod calculate;
mod decimal;
mod encodings;
mod hashes;
mod ids;
mod jq;
mod schemas;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod units;

use std::time::Duration;

use kernel::Clock;
use kernel::chain::Abi;
use mcp::prelude::*;

pub use abi::{
    AbiDecodeRequest, AbiDecodeResponse, AbiEncodeRequest, AbiEncodeResponse, ChecksumAddressRequest,
    ChecksumAddressResponse, SelectorRequest, SelectorResponse,
};
pub use calculate::{CalculateRequest, CalculateResponse, ResultKind};
pub use encodings::{DecodeRequest, EncodeRequest, Encoding, Recoded};
pub use hashes::{Algorithm, HashRequest, HashResponse, Keccak256Request};
pub use ids::{UuidRequest, UuidResponse, UuidVersion};
pub use jq::{Exact, QueryJsonRequest, QueryJsonResponse};
pub use schemas::{SchemaError, ValidateJsonSchemaRequest, ValidateJsonSchemaResponse};
pub use tables::{CsvToJsonRequest, CsvToJsonResponse, JsonToCsvRequest, JsonToCsvResponse};
pub(crate) use text::compare;
pub use text::{DiffRequest, DiffResponse, RegexMatch, RegexOperation, RegexRequest, RegexResponse};
pub use time::{Distance, TimestampRequest, TimestampResponse, UnixUnit};
pub use units::{ConvertUnitsRequest, ConvertUnitsResponse, Unit};

use flow::bounded::Gate;

/// `[servers.utilities]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many computations (queries, schemas, expressions, …) may run at once; more wait for their turn.
    pub computations: usize,
    /// How long one of them may take, in seconds.
    pub computation_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { computations: 4, computation_seconds: 5 }
    }
}

/// The server.
pub struct Utilities {
    clock: Clock,
    abi: Arc<dyn Abi>,
    gate: Gate,
}

impl McpServer for Utilities {
    const NAME: &'static str = "utilities";
    const INSTRUCTIONS: &'static str = "Small exact helpers; nothing here reaches a network or keeps anything. Use them instead of \
        working things out by hand: amounts (convert_units) and arithmetic (calculate) are exact to the last digit, so pass numbers as \
        text. Bytes are hexadecimal with 0x; tools that take text or bytes have an `encoding`. query_json runs jq programs.";
    type Config = Config;
    type Ports = kernel::Ports;

    fn new(ports: &Ports, config: Config) -> Result<Self, Fault> {
        if !(1..=64).contains(&config.computations) {
            return Err(
                Fault::invalid(format!("servers.utilities.computations is {}", config.computations)).hint("1 to 64")
            );
        }
        if !(1..=50).contains(&config.computation_seconds) {
            let text = format!("servers.utilities.computation_seconds is {}", config.computation_seconds);
            return Err(Fault::invalid(text).hint("1 to 50"));
        }
        let time = Duration::from_secs(config.computation_seconds);
        let gate = Gate::new(ports.tasks.clone(), config.computations, time);
        Ok(Self { clock: ports.clock.clone(), abi: Arc::clone(&ports.abi), gate })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add_pure(CONVERT_UNITS, Self::convert_units);
        set.add(CALCULATE, Self::calculate);
        set.add_pure(KECCAK256, Self::keccak256);
        set.add_pure(HASH, Self::hash);
        set.add_pure(ENCODE, Self::encode);
        set.add_pure(DECODE, Self::decode);
        set.add(ABI_ENCODE, Self::abi_encode);
        set.add(ABI_DECODE, Self::abi_decode);
        set.add_pure(SELECTOR, Self::selector);
        set.add_pure(CHECKSUM_ADDRESS, Self::checksum_address);
        set.add_pure(TIMESTAMP, Self::timestamp);
        set.add_pure(UUID, Self::uuid);
        set.add(QUERY_JSON, Self::query_json);
        set.add(CSV_TO_JSON, Self::csv_to_json);
        set.add(JSON_TO_CSV, Self::json_to_csv);
        set.add(VALIDATE_JSON_SCHEMA, Self::validate_json_schema);
        set.add(DIFF, Self::diff);
        set.add(REGEX, Self::regex);
    }
}

impl Features for Utilities {}

tools! { Utilities::NAME;
    /// Converts an amount between wei, gwei, ether, or any token's decimals, exactly.
    CONVERT_UNITS = "convert_units": fn(ConvertUnitsRequest) -> ConvertUnitsResponse, Hints::READ;
    /// Calculates with whole numbers, decimals and fractions of any size, without rounding.
    CALCULATE = "calculate": fn(CalculateRequest) -> CalculateResponse, Hints::READ;
    /// Hashes text or bytes with Ethereum's Keccak-256.
    KECCAK256 = "keccak256": fn(Keccak256Request) -> HashResponse, Hints::READ;
    /// Hashes text or bytes with SHA-2, SHA-3, Keccak, BLAKE2, RIPEMD-160, SHA-1 or MD5.
    HASH = "hash": fn(HashRequest) -> HashResponse, Hints::READ;
    /// Writes text or bytes as hex, Base64, Base58 or percent-encoding.
    ENCODE = "encode": fn(EncodeRequest) -> Recoded, Hints::READ;
    /// Reads hex, Base64, Base58 or percent-encoding back as text or as bytes in another encoding.
    DECODE = "decode": fn(DecodeRequest) -> Recoded, Hints::READ;
    /// Encodes values by Solidity types, or a function's calldata.
    ABI_ENCODE = "abi_encode": fn(AbiEncodeRequest) -> AbiEncodeResponse, Hints::READ;
    /// Decodes ABI-encoded bytes by Solidity types, or a function's calldata.
    ABI_DECODE = "abi_decode": fn(AbiDecodeRequest) -> AbiDecodeResponse, Hints::READ;
    /// Gives the selector of a function or custom error, or the topic of an event, from its signature.
    SELECTOR = "selector": fn(SelectorRequest) -> SelectorResponse, Hints::READ;
    /// Writes an address with its EIP-55 checksum, and refuses one whose checksum does not hold.
    CHECKSUM_ADDRESS = "checksum_address": fn(ChecksumAddressRequest) -> ChecksumAddressResponse, Hints::READ;
    /// Gives the time now, or any instant, in every form (RFC 3339, Unix, zones), moved by a span, or its distance from another.
    TIMESTAMP = "timestamp": fn(TimestampRequest) -> TimestampResponse, Hints::READ;
    /// Makes UUIDs, random (version 4) or sorted by time (version 7).
    UUID = "uuid": fn(UuidRequest) -> UuidResponse, Hints { idempotent: false, ..Hints::READ };
    /// Runs a jq program over JSON: select, transform, group, count.
    QUERY_JSON = "query_json": fn(QueryJsonRequest) -> QueryJsonResponse, Hints::READ;
    /// Reads CSV as JSON rows.
    CSV_TO_JSON = "csv_to_json": fn(CsvToJsonRequest) -> CsvToJsonResponse, Hints::READ;
    /// Writes JSON rows as CSV.
    JSON_TO_CSV = "json_to_csv": fn(JsonToCsvRequest) -> JsonToCsvResponse, Hints::READ;
    /// Holds a JSON document to a JSON Schema (2020-12) and names each place that does not fit.
    VALIDATE_JSON_SCHEMA = "validate_json_schema": fn(ValidateJsonSchemaRequest) -> ValidateJsonSchemaResponse, Hints::READ;
    /// Compares two texts line by line and gives a unified diff.
    DIFF = "diff": fn(DiffRequest) -> DiffResponse, Hints::READ;
    /// Finds, replaces or splits by a regular expression.
    REGEX = "regex": fn(RegexRequest) -> RegexResponse, Hints::READ;
}
