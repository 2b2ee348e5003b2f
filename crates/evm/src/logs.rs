//! Logs over a bounded range, split where a node answers less at once.

use std::collections::VecDeque;

use kernel::chain::{BlockId, LOGS_MAX, Log, LogFilter};
use kernel::{Code, Fault, Result};
use serde_json::{Map, Value, json};

use crate::node::Node;
use crate::wire::{WireLog, quantity};

pub(crate) async fn read(node: &Node, filter: &LogFilter) -> Result<Vec<Log>> {
    if let BlockId::Hash(hash) = filter.from {
        if filter.to != filter.from {
            return Err(Fault::invalid("a range of blocks by hash").hint("give the same hash twice, or numbers"));
        }
        let mut request = request(filter);
        request.insert("blockHash".into(), json!(hash));
        return ask(node, request).await;
    }
    let head = node.height(BlockId::Latest).await?;
    let (from, to) = (node.height(filter.from).await?, node.height(filter.to).await?);
    check_range(from, to, head, node.log_blocks_max)?;
    let mut logs = Vec::new();
    let mut ranges = VecDeque::from([(from, to)]);
    while let Some((from, to)) = ranges.pop_front() {
        let mut request = request(filter);
        request.insert("fromBlock".into(), quantity(from));
        request.insert("toBlock".into(), quantity(to));
        match ask(node, request).await {
            Ok(some) => logs.extend(some),
            Err(fault) if fault.code == Code::TooLarge && from < to => {
                let middle = from + (to - from) / 2;
                ranges.push_front((middle + 1, to));
                ranges.push_front((from, middle));
            }
            Err(fault) => return Err(fault),
        }
        if logs.len() > LOGS_MAX {
            return Err(Fault::too_large(format!("more than {LOGS_MAX} logs match"))
                .hint("ask for fewer blocks, one contract, or one event's topic"));
        }
    }
    Ok(logs)
}

fn check_range(from: u64, to: u64, head: u64, blocks_max: u64) -> Result<()> {
    if from > to {
        return Err(Fault::invalid(format!("the range ends before it begins: {from} to {to}")));
    }
    if to > head {
        return Err(Fault::invalid(format!("block {to} is not there yet")).hint(format!("the newest block is {head}")));
    }
    let blocks = to - from + 1;
    if blocks > blocks_max {
        return Err(Fault::too_large(format!("a range of {blocks} blocks, at most {blocks_max} at once"))
            .hint(format!("ask for {from} to {} first", from + blocks_max - 1)));
    }
    Ok(())
}

fn request(filter: &LogFilter) -> Map<String, Value> {
    let mut request = Map::new();
    if !filter.addresses.is_empty() {
        request.insert("address".into(), json!(filter.addresses));
    }
    if !filter.topics.is_empty() {
        let topics = filter.topics.iter().map(|any| if any.is_empty() { Value::Null } else { json!(any) });
        request.insert("topics".into(), topics.collect());
    }
    request
}

async fn ask(node: &Node, request: Map<String, Value>) -> Result<Vec<Log>> {
    let logs: Vec<WireLog> = node.rpc.read("eth_getLogs", json!([request])).await?;
    Ok(logs.into_iter().map(Log::from).collect())
}
