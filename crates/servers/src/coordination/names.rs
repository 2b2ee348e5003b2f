//! Which names there are, whose they are, and who may act under which.

use kernel::{Access, Caller, Fault};

/// Longest name of a topic, in bytes.
pub(super) const TOPIC_MAX: usize = kernel::bus::NAME_BYTES_MAX;
/// Longest name of a lock, an election, a barrier or a key, in bytes.
pub(super) const NAME_MAX: usize = 200;
/// Longest name of a worker under a caller's key, in bytes.
const WORKER_MAX: usize = 64;
/// What names of the fleet itself begin with; `_` is the other such beginning.
const RESERVED: [&str; 2] = [kernel::bus::FLEET_TOPIC, kernel::chain::CHAIN_TOPIC];

/// Refuses what is no name. `what` says of what.
pub(super) fn check(what: &str, name: &str) -> Result<(), Fault> {
    let (max, separators) = if what == "topic" { (TOPIC_MAX, "._:-") } else { (NAME_MAX, "._:/-") };
    let fits = |c: char| c.is_ascii_alphanumeric() || separators.contains(c);
    if (1..=max).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    let hint = format!(
        "1 to {max} characters of A-Z a-z 0-9 {}",
        separators.chars().map(|c| format!("{c} ")).collect::<String>()
    );
    Err(Fault::invalid(format!("`{}` cannot name a {what}", shown(name))).hint(hint.trim_end()))
}

/// The beginning of a text that may be anything, for a message of one line.
fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

/// Refuses what is no name, and names that belong to the fleet.
pub(super) fn check_own(what: &str, name: &str) -> Result<(), Fault> {
    check(what, name)?;
    if !name.starts_with('_') && !RESERVED.iter().any(|reserved| name.starts_with(reserved)) {
        return Ok(());
    }
    Err(Fault::denied(format!("{what} `{name}` belongs to the fleet"))
        .hint("names that begin with fleet, chain or _ can be read, not written"))
}

/// Refuses a prefix of no name. An empty one is that of all.
pub(super) fn check_prefix(what: &str, prefix: &str) -> Result<(), Fault> {
    if prefix.is_empty() { Ok(()) } else { check(what, prefix) }
}

/// Under which name the caller acts: its key's, or a worker's under it. A key's name has no `/`, so nobody can act under another's.
pub(super) fn owner(caller: &Caller, worker: Option<&str>) -> Result<String, Fault> {
    let Some(worker) = worker else { return Ok(caller.name.clone()) };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if (1..=WORKER_MAX).contains(&worker.len()) && worker.bytes().all(fits) {
        return Ok(format!("{}/{worker}", caller.name));
    }
    Err(Fault::invalid(format!("`{}` cannot name a worker", shown(worker)))
        .hint(format!("1 to {WORKER_MAX} characters of A-Z a-z 0-9 . _ : -")))
}

/// Refuses to act on what `owner` holds, unless it is the caller, a worker of the caller, or the caller is an administrator.
pub(super) fn check_owner(caller: &Caller, owner: &str, what: &str) -> Result<(), Fault> {
    let own = owner.strip_prefix(caller.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if own || caller.allows(Access::Admin) {
        return Ok(());
    }
    Err(Fault::denied(format!("{what} is held by `{owner}`, not by `{}`", caller.name))
        .hint("its holder gives it up, or an administrator"))
}
