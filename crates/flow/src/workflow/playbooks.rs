//! Workflows that are shipped: to be defined as they are, or to begin one's own with.

use kernel::{Fault, Result};

/// The playbooks, by name.
pub const PLAYBOOKS: &[(&str, &str)] = &[
    ("deploy-contract", include_str!("../../playbooks/deploy-contract.yaml")),
    ("flash-arbitrage", include_str!("../../playbooks/flash-arbitrage.yaml")),
    ("incident-response", include_str!("../../playbooks/incident-response.yaml")),
    ("nightly-report", include_str!("../../playbooks/nightly-report.yaml")),
    ("rotate-executor", include_str!("../../playbooks/rotate-executor.yaml")),
];

/// The namespace that is theirs alone.
pub const NAMESPACE: &str = "playbooks";

/// Whether a text is that of a playbook.
pub fn is_shipped(text: &str) -> bool {
    PLAYBOOKS.iter().any(|(_, shipped)| *shipped == text)
}

/// The text of a playbook.
///
/// # Errors
/// `not_found`; the hint has the names.
pub fn named(name: &str) -> Result<&'static str> {
    let found = PLAYBOOKS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    found.ok_or_else(|| {
        let names: Vec<&str> = PLAYBOOKS.iter().map(|(name, _)| *name).collect();
        Fault::not_found(format!("no playbook `{name}`")).hint(format!("one of {}", names.join(", ")))
    })
}
