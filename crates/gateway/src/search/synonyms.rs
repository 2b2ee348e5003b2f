//! Words of like meaning in this trade. Written as people write them; compared as stems.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::words::words;

/// Each line is one meaning.
const MEANINGS: &[&str] = &[
    "transaction tx txn",
    "compile build",
    "address addr account wallet",
    "find search lookup locate query scan which",
    "delete remove drop erase",
    "create add new make generate define register",
    "show display get list view read fetch print which",
    "send publish emit broadcast dispatch post",
    "stop kill halt terminate shutdown",
    "restart reboot bounce relaunch",
    "error failure fault problem exception wrong",
    "health status alive condition unhealthy ok state",
    "convert translate transform",
    "time date timestamp clock hour day minute period",
    "lock mutex exclusive acquire",
    "leader election elect campaign",
    "token erc20 coin",
    "ether eth wei gwei native",
    "fee cost charge price",
    "line message",
    "message event",
    "alarm alert notification",
    "mute silence suppress",
    "kv key",
    "acknowledge ack confirm",
    "objective slo availability budget",
    "compare diff difference",
    "random uuid guid",
    "hash digest checksum sha md5 keccak",
    "compute calculate evaluate math arithmetic",
    "topic channel stream",
    "server service",
    "rename alias",
    "latest newest recent",
    "current now today",
    "frequent common often",
    "export download save",
    "write say",
    "info metadata detail information",
    "why reason cause",
    "whole everything overall entire all",
    "broadcast all",
    "replica copy instance",
    "upstream third party external",
    "trust approve accept allow",
    "renew extend prolong",
    "store put set save",
    "resign step",
    "bounded range",
    "deprecated legacy obsolete old",
    "schema parameter argument",
    "repeat periodic schedule",
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
