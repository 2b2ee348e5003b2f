//! The revisions of MCP and what each demands.

use mcp::Revision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// As on the wire.
    pub revision: String,
    /// `current`, `served` (older, on the same address) or `deprecated` (on its way out).
    pub status: String,
    /// Where it is served.
    pub transports: Vec<String>,
    /// How a client starts.
    pub start: String,
    /// What it demands of a client.
    pub demands: Vec<String>,
    /// What it does not have that newer ones have, or what was removed since.
    pub differs: Vec<String>,
}

/// What is particular to a revision.
struct Facts {
    status: &'static str,
    transports: &'static [&'static str],
    start: &'static str,
    demands: &'static [&'static str],
    differs: &'static [&'static str],
}

const STREAMABLE: &[&str] =
    &["Streamable HTTP: POST /mcp, with GET for the server's messages and DELETE to end", "stdio: flotilla mcp"];
const HANDSHAKE: &str = "initialize, then notifications/initialized; the session's id comes back in Mcp-Session-Id";

/// A match, so that a new revision cannot be forgotten.
fn facts(revision: Revision) -> Facts {
    match revision {
        Revision::V2026_07_28 => Facts {
            status: "current",
            transports: &["Streamable HTTP: POST /mcp", "stdio: flotilla mcp"],
            start: "no handshake: every request stands alone; server/discover says what there is",
            demands: &[
                "_meta of every request: io.modelcontextprotocol/protocolVersion and io.modelcontextprotocol/clientCapabilities",
                "headers MCP-Protocol-Version and Mcp-Method on every POST, Mcp-Name on tools/call, prompts/get and resources/read, equal to the body",
                "inputRequests of an answer are met by the same request again, with inputResponses and the requestState as it came",
                "resultType of every result is read: complete, input_required or task",
            ],
            differs: &[
                "removed: initialize, sessions, ping, logging/setLevel, resources/subscribe, GET streams, resumption",
                "changes come by subscriptions/listen",
                "lists and reads say how long they stay good (ttlMs, cacheScope)",
            ],
        },
        Revision::V2025_11_25 => Facts {
            status: "served",
            transports: STREAMABLE,
            start: HANDSHAKE,
            demands: &[
                "header MCP-Protocol-Version after initialize",
                "one message a POST",
                "answers to the server's own requests (elicitation, sampling, roots)",
            ],
            differs: &["the last with a handshake", "tasks are part of the protocol itself, not an extension"],
        },
        Revision::V2025_06_18 => Facts {
            status: "served",
            transports: STREAMABLE,
            start: HANDSHAKE,
            demands: &["header MCP-Protocol-Version after initialize", "one message a POST"],
            differs: &["has elicitation and structured output; no tasks, no elicitation by URL"],
        },
        Revision::V2025_03_26 => Facts {
            status: "served",
            transports: STREAMABLE,
            start: HANDSHAKE,
            demands: &[
                "nothing beyond the handshake; a request without MCP-Protocol-Version is taken for this revision",
            ],
            differs: &["the only one with JSON-RPC batches", "no structured output, no elicitation"],
        },
        Revision::V2024_11_05 => Facts {
            status: "deprecated",
            transports: &[
                "HTTP+SSE: GET /sse, then POST to the address that the first event names",
                "stdio: flotilla mcp",
            ],
            start: "initialize, then notifications/initialized",
            demands: &["the event stream stays open: answers come by it, not by the POST"],
            differs: &["no Streamable HTTP", "no annotations of tools, no audio, no completions capability"],
        },
    }
}

/// All revisions, newest first.
pub(super) fn versions() -> Vec<Version> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let version = |revision: Revision| {
        let facts = facts(revision);
        Version {
            revision: revision.to_string(),
            status: facts.status.into(),
            transports: owned(facts.transports),
            start: facts.start.into(),
            demands: owned(facts.demands),
            differs: owned(facts.differs),
        }
    };
    Revision::ALL.into_iter().map(version).collect()
}
