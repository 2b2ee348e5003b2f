//! `utilities`: small shared functions: units, hashes, encodings, JSON, CSV, text.
//!
//! Keeps nothing and reaches nothing: every answer follows from the request (and, for `uuid`, from the system's randomness).

use mcp::prelude::*;

/// `[servers.utilities]` in `flotilla.toml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

/// The server.
pub struct Utilities;

impl McpServer for Utilities {
    const NAME: &'static str = "utilities";
    const INSTRUCTIONS: &'static str =
        "Pure helpers: units, hashes, encodings, JSON and text. Nothing here reaches a network.";
    type Config = Config;

    fn new(_ports: &Ports, _config: Config) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add_pure(UUID, Self::uuid);
    }
}

impl Features for Utilities {}

tools! { Utilities::NAME;
    /// Makes random UUIDs (version 4, RFC 9562).
    UUID = "uuid": fn(UuidRequest) -> UuidResponse, Hints { idempotent: false, ..Hints::READ };
}

/// What [`UUID`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UuidRequest {
    /// How many, 1 to 1,000.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// What [`UUID`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UuidResponse {
    /// The UUIDs, in lower case with hyphens.
    pub uuids: Vec<String>,
}

impl Utilities {
    fn uuid(&self, request: UuidRequest) -> Result<UuidResponse, Fault> {
        if !(1..=1_000).contains(&request.count) {
            return Err(Fault::invalid(format!("count is {}", request.count)).hint("1 to 1,000"));
        }
        Ok(UuidResponse { uuids: (0..request.count).map(|_| uuid_v4()).collect() })
    }
}

fn uuid_v4() -> String {
    let mut bytes: [u8; 16] = kernel::ids::random_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = kernel::audit::hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests;
