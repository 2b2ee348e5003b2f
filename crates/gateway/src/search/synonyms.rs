//! Words of like meaning in this trade. Written as people write them; compared as stems.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::words::words;

/// Each line is one meaning.
const MEANINGS: [&str; 30] = [
    "transaction tx txn",
    "address addr account wallet",
    "find search lookup locate query",
    "delete remove drop erase",
    "create add new make generate define register",
    "show display get list view read fetch print",
    "send publish emit broadcast dispatch post",
    "stop kill halt terminate shutdown",
    "restart reboot bounce relaunch",
    "error failure fault problem exception",
    "health status alive condition",
    "convert translate transform",
    "time date timestamp clock",
    "mutex lock exclusive",
    "leader election elect primary",
    "token erc20 coin",
    "ether eth wei gwei",
    "fee cost charge price",
    "log line message",
    "alarm alert notification",
    "mute silence suppress",
    "acknowledge ack confirm accept",
    "objective slo availability",
    "compare diff difference",
    "random uuid guid",
    "hash digest keccak sha checksum",
    "compute calculate evaluate math arithmetic",
    "topic channel stream queue",
    "server service",
    "rename alias",
];

static GROUPS: LazyLock<HashMap<String, Vec<String>>> = LazyLock::new(|| {
    let mut groups: HashMap<String, Vec<String>> = HashMap::new();
    for line in MEANINGS {
        let stems: Vec<String> = line.split(' ').filter_map(|word| words(word).pop()).collect();
        for stem in &stems {
            groups.entry(stem.clone()).or_default().extend(stems.iter().filter(|other| *other != stem).cloned());
        }
    }
    groups
});

/// The stems that mean what `stem` does.
pub(super) fn of(stem: &str) -> &'static [String] {
    GROUPS.get(stem).map_or(&[], Vec::as_slice)
}
