//! Event logs: finding and decoding them.

use std::collections::BTreeMap;

use kernel::chain::{Address, BlockId, Data, DecodedLog, Hash, LOGS_MAX, Log, LogFilter, Signature};
use mcp::prelude::*;
use serde_json::Value;

use super::BlockchainIntegration;

/// Logs shown when the request does not say how many.
const SHOWN: usize = 100;
/// Most logs shown.
const SHOWN_MAX: usize = 1_000;

/// What [`GET_LOGS`](super::GET_LOGS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetLogs {
    /// The first block; the newest when absent.
    #[serde(default)]
    pub from_block: BlockId,
    /// The last block, itself included; the newest when absent.
    #[serde(default)]
    pub to_block: BlockId,
    /// Logs of any of these contracts; of every contract when absent.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// The event's signature: `event Transfer(address indexed from, address indexed to, uint256 value)`. Every event when absent.
    #[serde(default)]
    pub event: Option<String>,
    /// Values that indexed parameters must have, by their names in the signature.
    #[serde(default)]
    pub indexed: BTreeMap<String, Value>,
    /// Instead of a signature: for each topic's place, the values it may have; any value where the list is empty.
    #[serde(default)]
    pub topics: Vec<Vec<Hash>>,
    /// How many logs to show, at most 1000; 100 when absent.
    #[serde(default = "shown")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: usize,
}

fn shown() -> usize {
    SHOWN
}

/// A log, and what it says.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogView {
    /// The log.
    #[serde(flatten)]
    pub log: Log,
    /// The event and its values; absent where the signature is not known.
    pub decoded: Option<DecodedLog>,
}

/// What [`GET_LOGS`](super::GET_LOGS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogsAnswer {
    /// How many logs match.
    pub total: usize,
    /// How many of them are left out here.
    pub omitted: usize,
    /// The logs, oldest first.
    pub logs: Vec<LogView>,
}

/// What [`DECODE_LOG`](super::DECODE_LOG) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeLog {
    /// The log's topics.
    pub topics: Vec<Hash>,
    /// The log's data.
    #[serde(default)]
    pub data: Data,
    /// The event's signature; the widely known ones are tried when absent.
    #[serde(default)]
    pub event: Option<String>,
}

impl BlockchainIntegration {
    /// A log with what it says, if its event is widely known.
    pub(super) fn view(&self, log: Log) -> LogView {
        LogView { decoded: self.known().read_log(self.abi.as_ref(), &log), log }
    }

    pub(super) async fn get_logs(&self, request: GetLogs) -> Result<LogsAnswer, Fault> {
        if !(1..=SHOWN_MAX).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint(format!("1 to {SHOWN_MAX}")));
        }
        let topics = self.topics(&request)?;
        let filter = LogFilter { from: request.from_block, to: request.to_block, addresses: request.addresses, topics };
        let logs = self.chain.logs(&filter).await?;
        debug_assert!(logs.len() <= LOGS_MAX, "the port bounds its answer");
        let total = logs.len();
        let logs: Vec<_> =
            logs.into_iter().take(request.limit).map(|log| self.view_as(request.event.as_deref(), log)).collect();
        Ok(LogsAnswer { total, omitted: total - logs.len(), logs })
    }

    fn view_as(&self, event: Option<&str>, log: Log) -> LogView {
        // A log of the same topic may still be laid out otherwise: then it is shown as it is.
        let decoded = event.and_then(|event| self.abi.decode_log(event, &log.topics, &log.data).ok());
        match decoded {
            Some(decoded) => LogView { log, decoded: Some(decoded) },
            None => self.view(log),
        }
    }

    fn topics(&self, request: &GetLogs) -> Result<Vec<Vec<Hash>>, Fault> {
        let Some(event) = &request.event else {
            if request.indexed.is_empty() {
                return Ok(request.topics.clone());
            }
            return Err(Fault::invalid("indexed values without the event's signature")
                .hint("give `event`, or `topics` instead"));
        };
        if !request.topics.is_empty() {
            return Err(Fault::invalid("both an event and topics").hint("give one of them"));
        }
        let event = event.trim();
        let event = if event.starts_with("event ") { event.to_owned() } else { format!("event {event}") };
        let signature = self.abi.signature(&event)?;
        let mut topics = vec![vec![signature.hash]];
        for input in signature.inputs.iter().filter(|input| input.indexed) {
            let wanted = request.indexed.get(&input.name).filter(|_| !input.name.is_empty());
            let wanted = wanted.map(|value| self.topic(&input.ty, value).map_err(|fault| fault.context(&input.name)));
            topics.push(wanted.transpose()?.into_iter().collect());
        }
        if let Some(stray) = request.indexed.keys().find(|name| !is_indexed(&signature, name)) {
            return Err(Fault::invalid(format!("{} has no indexed parameter {stray:?}", signature.canonical))
                .hint("mark and name the parameter in the signature: `address indexed from`"));
        }
        while topics.last().is_some_and(Vec::is_empty) {
            topics.pop();
        }
        Ok(topics)
    }

    /// A value as it stands in a topic.
    fn topic(&self, ty: &str, value: &Value) -> Result<Hash, Fault> {
        let log = self.abi.encode_log(&format!("event E({ty} indexed value)"), std::slice::from_ref(value))?;
        log.topics.get(1).copied().ok_or_else(|| Fault::internal("an indexed value made no topic"))
    }

    pub(super) fn decode_log(&self, request: DecodeLog) -> Result<DecodedLog, Fault> {
        let DecodeLog { topics, data, event } = request;
        match event {
            Some(event) => self.abi.decode_log(&event, &topics, &data),
            None => self.known().log(self.abi.as_ref(), &topics, &data).ok_or_else(|| {
                let first = topics.first().map_or("none".to_owned(), ToString::to_string);
                Fault::not_found(format!("no widely known event fits the log, whose first topic is {first}"))
                    .hint("give the event's signature")
            }),
        }
    }
}

fn is_indexed(signature: &Signature, name: &str) -> bool {
    signature.inputs.iter().any(|input| input.indexed && input.name == name && !name.is_empty())
}
