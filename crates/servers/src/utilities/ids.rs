//! UUIDs.

use mcp::prelude::*;

use super::Utilities;

/// What [`UUID`](super::UUID) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UuidRequest {
    /// How many, 1 to 1,000.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
    /// Which kind.
    #[serde(default)]
    pub version: UuidVersion,
}

fn one() -> u32 {
    1
}

/// A kind of UUID (RFC 9562).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UuidVersion {
    /// Random.
    #[default]
    V4,
    /// The time in milliseconds, then random: sorts by when it was made.
    V7,
}

/// What [`UUID`](super::UUID) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UuidResponse {
    /// The UUIDs, in lower case with hyphens.
    pub uuids: Vec<String>,
}

impl Utilities {
    pub(super) fn uuid(&self, request: UuidRequest) -> Result<UuidResponse, Fault> {
        if !(1..=1_000).contains(&request.count) {
            return Err(Fault::invalid(format!("count is {}", request.count)).hint("1 to 1,000"));
        }
        let now_ms = self.clock.now_ms();
        Ok(UuidResponse { uuids: (0..request.count).map(|_| uuid(request.version, now_ms)).collect() })
    }
}

fn uuid(version: UuidVersion, now_ms: kernel::UnixMs) -> String {
    let mut bytes: [u8; 16] = kernel::ids::random_bytes();
    let digit = match version {
        UuidVersion::V4 => 0x40,
        UuidVersion::V7 => {
            bytes[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
            0x70
        }
    };
    bytes[6] = bytes[6] & 0x0f | digit;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = kernel::audit::hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
