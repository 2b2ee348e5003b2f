//! Call traces: a node's tree of calls, walked in order without recursion, since a trace may be a thousand deep.

use alloy_primitives::{Address as RawAddress, B256, Bytes, U64, U256};
use kernel::chain::{Address, Amount, Chain, Data, FRAMES_MAX, Frame, Hash, Log, Revert, TransactionTrace};
use kernel::{Code, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::node::Node;
use crate::rpc::{halt, revert};
use crate::wire::bare_log;

/// A call as the node's `callTracer` tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireFrame {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) from: RawAddress,
    pub(crate) to: Option<RawAddress>,
    #[serde(default)]
    pub(crate) value: Option<U256>,
    #[serde(default)]
    gas: U64,
    #[serde(default)]
    pub(crate) gas_used: U64,
    #[serde(default)]
    input: Bytes,
    #[serde(default)]
    pub(crate) output: Bytes,
    error: Option<String>,
    #[serde(default)]
    calls: Vec<WireFrame>,
    #[serde(default)]
    logs: Vec<WireFrameLog>,
}

/// A log within a call.
#[derive(Deserialize)]
struct WireFrameLog {
    address: RawAddress,
    #[serde(default)]
    topics: Vec<B256>,
    #[serde(default)]
    data: Bytes,
    /// Its place among the transaction's logs; newer nodes say it.
    index: Option<U64>,
    /// How many of the call's own calls were made before it.
    #[serde(default)]
    position: U64,
}

/// What makes a node trace calls and their logs.
pub(crate) fn tracer() -> Value {
    json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } })
}

impl WireFrame {
    /// Why the call failed, if it did.
    pub(crate) fn failure(&self) -> Option<Revert> {
        let error = self.error.as_deref()?;
        if error.to_lowercase().contains("revert") {
            return Some(revert(&self.output, error));
        }
        Some(
            halt(error)
                .unwrap_or_else(|| halt(&format!("evm error {error}")).unwrap_or_else(|| revert(&self.output, error))),
        )
    }
}

/// Calls in the order they began, with their depth and whether they, and all that led to them, succeeded.
pub(crate) fn walk(root: &WireFrame) -> impl Iterator<Item = (&WireFrame, u32, bool)> {
    let mut open = vec![(root, 0u32, true)];
    std::iter::from_fn(move || {
        let (frame, depth, before) = open.pop()?;
        let held = before && frame.error.is_none();
        open.extend(frame.calls.iter().rev().map(|call| (call, depth + 1, held)));
        Some((frame, depth, held))
    })
}

/// The logs that remain: those of calls that held, in the order written.
pub(crate) fn logs(root: &WireFrame) -> Vec<Log> {
    let mut logs: Vec<_> = walk(root).filter(|(_, _, held)| *held).flat_map(|(frame, ..)| &frame.logs).collect();
    if logs.iter().all(|log| log.index.is_some()) {
        logs.sort_by_key(|log| log.index);
        return logs.into_iter().map(WireFrameLog::bare).collect();
    }
    in_position(root)
}

/// The order from the places among calls, for nodes that number no logs.
fn in_position(root: &WireFrame) -> Vec<Log> {
    let mut logs = Vec::new();
    // (call, its next call, its next log)
    let mut open = vec![(root, 0, 0)];
    while let Some((frame, call, log)) = open.pop() {
        if frame.error.is_some() {
            continue;
        }
        match (frame.calls.get(call), frame.logs.get(log)) {
            (next, Some(written)) if next.is_none() || written.position.to::<usize>() <= call => {
                logs.push(written.bare());
                open.push((frame, call, log + 1));
            }
            (Some(next), _) => {
                open.push((frame, call + 1, log));
                open.push((next, 0, 0));
            }
            (None, _) => {}
        }
    }
    logs
}

impl WireFrameLog {
    fn bare(&self) -> Log {
        bare_log(self.address, self.topics.clone(), self.data.clone())
    }
}

pub(crate) async fn read(node: &Node, hash: Hash) -> Result<TransactionTrace> {
    // By its receipt: a node may hold one that was mined among those waiting for a moment more.
    node.receipt(hash).await?;
    let root: WireFrame = node.rpc.read("debug_traceTransaction", json!([hash, tracer()])).await.map_err(|fault| {
        if fault.code == Code::Unsupported {
            return fault.hint("tracing needs an endpoint whose node has its debug namespace on");
        }
        fault
    })?;
    let mut frames = Vec::new();
    let mut omitted = 0;
    for (frame, depth, held) in walk(&root) {
        if frames.len() < FRAMES_MAX { frames.push(shown(frame, depth, held)) } else { omitted += 1 }
    }
    Ok(TransactionTrace { transaction_hash: hash, frames, frames_omitted: omitted })
}

fn shown(frame: &WireFrame, depth: u32, held: bool) -> Frame {
    Frame {
        depth,
        kind: frame.kind.clone(),
        from: Address(frame.from),
        to: frame.to.map(Address),
        value_wei: Amount(frame.value.unwrap_or_default()),
        gas: frame.gas.to(),
        gas_used: frame.gas_used.to(),
        input: Data(frame.input.clone()),
        output: Data(frame.output.clone()),
        error: frame.failure().map(|revert| revert.reason),
        logs: if held { frame.logs.iter().map(WireFrameLog::bare).collect() } else { Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(value: Value) -> WireFrame {
        serde_json::from_value(value).unwrap()
    }

    fn log(topic: u8, position: u64, index: Option<u64>) -> Value {
        let mut log = json!({ "address": RawAddress::ZERO, "topics": [B256::with_last_byte(topic)], "data": "0x", "position": format!("{position:#x}") });
        if let Some(index) = index {
            log["index"] = json!(format!("{index:#x}"));
        }
        log
    }

    fn call(logs: Vec<Value>, calls: Vec<Value>) -> Value {
        json!({ "type": "CALL", "from": RawAddress::ZERO, "gas": "0x1", "gasUsed": "0x1", "input": "0x", "logs": logs, "calls": calls })
    }

    fn order(root: &WireFrame) -> Vec<u8> {
        logs(root).iter().map(|log| log.topics[0].0[31]).collect()
    }

    #[test]
    fn logs_keep_their_order_with_and_without_numbers_and_fall_with_their_call() {
        let mut failed = call(vec![log(9, 0, None)], vec![call(vec![log(8, 0, None)], vec![])]);
        failed["error"] = json!("execution reverted");
        let calls = vec![call(vec![log(2, 0, None)], vec![]), failed, call(vec![log(4, 0, None)], vec![])];
        let root = frame(call(vec![log(1, 0, None), log(3, 1, None), log(5, 3, None)], calls));
        assert_eq!(order(&root), [1, 2, 3, 4, 5]);

        let inner = call(vec![log(2, 0, Some(1))], vec![]);
        let root = frame(call(vec![log(1, 0, Some(0)), log(3, 1, Some(2))], vec![inner]));
        assert_eq!(order(&root), [1, 2, 3]);
    }

    #[test]
    fn a_trace_a_thousand_deep_is_walked() {
        let mut deep = call(vec![log(1, 0, None)], vec![]);
        for _ in 0..40 {
            deep = call(vec![], vec![deep]);
        }
        let mut root = frame(deep);
        for _ in 0..1_000 {
            let mut outer = frame(call(vec![], vec![]));
            outer.calls.push(root);
            root = outer;
        }
        assert_eq!((walk(&root).count(), order(&root)), (1_041, vec![1]));
    }
}
