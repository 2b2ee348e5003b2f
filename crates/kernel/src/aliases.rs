//! Names that services and tools used to have, and what they are called now.
//!
//! A service's alias is a plain name (`mcp-logging` → `logging`), a tool's has both parts (`utilities__keccak` → `utilities__keccak256`).
//! Some are built in (the names of the original system); others are kept in the store. Only a name that nothing has is looked up, so an
//! alias can never hide what exists.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::{COORDINATOR, SERVICES};
use crate::fleet::Kind;
use crate::store::{Expect, LIST_MAX, Store, Write};
use crate::{Clock, Code, Fault, Result, UnixMs};

/// Where aliases are kept in the store, by old name.
pub const SPACE: &str = "aliases";
/// What stands between a service and its tool.
pub const SEPARATOR: &str = "__";
/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most aliases kept.
const ALIASES_MAX: usize = LIST_MAX;
/// How many renamings of one thing are followed.
const STEPS_MAX: usize = 8;
/// How long what other processes changed may stay unnoticed, in milliseconds.
const FRESH_MS: i64 = 1_000;

/// An old name and the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alias {
    /// The old name: a service, or `service__tool`.
    pub name: String,
    /// The new name, of the same kind.
    pub target: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// Who added it; `built in` for those that came with the system.
    pub by: String,
    /// Since when, in milliseconds since the Unix epoch; 0 for those that came with the system.
    pub since_ms: UnixMs,
}

/// Who added what came with the system.
pub const BUILT_IN: &str = "built in";

/// What the coordinator's commands of the original system are called now.
const COMMANDS: [(&str, &str); 8] = [
    ("status", "master-coordinator__system_status"),
    ("servers", "master-coordinator__list_services"),
    ("agents", "master-coordinator__list_agents"),
    ("execute", "master-coordinator__route_command"),
    ("restart", "master-coordinator__restart_service"),
    ("logs", "logging__search"),
    ("metrics", "monitoring__health"),
    ("alert", "monitoring__test_alert"),
];

/// The aliases that came with the system, by name: container names (`mcp-execution`) and the coordinator's commands.
pub fn built_in() -> impl Iterator<Item = Alias> {
    let servers = SERVICES.iter().filter(|service| service.kind == Kind::Server);
    let containers =
        servers.map(|service| (format!("mcp-{}", service.name), service.name, "the original container's name"));
    let commands = COMMANDS.iter().map(|(command, target)| {
        (format!("{COORDINATOR}{SEPARATOR}{command}"), *target, "a command of the original coordinator")
    });
    containers.chain(commands).map(|(name, target, note)| Alias {
        name,
        target: target.into(),
        note: Some(note.into()),
        by: BUILT_IN.into(),
        since_ms: 0,
    })
}

type Known = Arc<BTreeMap<String, Alias>>;

/// The aliases. Cloning shares them.
#[derive(Clone)]
pub struct Aliases {
    store: Arc<dyn Store>,
    clock: Clock,
    cache: Arc<Mutex<Option<(UnixMs, Known)>>>,
}

impl Aliases {
    /// The aliases in `store`, and the built-in ones.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, cache: Arc::default() }
    }

    /// What `name` is called now; `None` when it is no alias. A tool's name is looked up whole first, then its service's; renamings of
    /// renamings are followed.
    pub async fn resolve(&self, name: &str) -> Result<Option<String>> {
        Ok(follow(&*self.known().await?, name))
    }

    /// All, by name.
    pub async fn list(&self) -> Result<Vec<Alias>> {
        Ok(self.known().await?.values().cloned().collect())
    }

    /// Adds an alias, or replaces the one of this name.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when a name is malformed, the two are of different kinds, the old one is a service's real name, or
    /// following it would not end.
    pub async fn add(&self, name: &str, target: &str, note: Option<String>, by: &str) -> Result<Alias> {
        check(name)?;
        check(target)?;
        if name.contains(SEPARATOR) != target.contains(SEPARATOR) {
            return Err(Fault::invalid(format!("`{name}` and `{target}` are not of one kind"))
                .hint("a service for a service, service__tool for service__tool"));
        }
        if SERVICES.iter().any(|service| service.name == name) {
            return Err(Fault::invalid(format!("`{name}` is a service's name")).hint("an alias is an old name"));
        }
        let mut known = BTreeMap::clone(&*self.fresh().await?);
        let alias =
            Alias { name: name.into(), target: target.into(), note, by: by.into(), since_ms: self.clock.now_ms() };
        known.insert(name.into(), alias.clone());
        if follow(&known, name).is_none_or(|end| known.contains_key(&end)) {
            return Err(Fault::invalid(format!("`{name}` would lead back to itself"))
                .hint("remove_alias the other one first, or give the newest name as the target"));
        }
        if known.len() > ALIASES_MAX {
            return Err(Fault::too_large(format!("more than {ALIASES_MAX} aliases")).hint("remove_alias old ones"));
        }
        let value = serde_json::to_string(&alias).map_err(|error| Fault::internal(format!("alias: {error}")))?;
        self.store.commit(vec![Write::put(SPACE, name, value)]).await?;
        *self.cache.lock() = None;
        Ok(alias)
    }

    /// Removes an added alias and returns it. A built-in one of the same name takes its place again.
    ///
    /// # Errors
    /// [`Code::NotFound`] when there is none; [`Code::Unsupported`] when it is built in.
    pub async fn remove(&self, name: &str) -> Result<Alias> {
        let Some(entry) = self.store.get(SPACE, name).await? else {
            return Err(match built_in().find(|alias| alias.name == name) {
                Some(_) => Fault::unsupported(format!("the alias `{name}` is built in"))
                    .hint("add_alias with this name replaces it"),
                None => Fault::not_found(format!("no alias `{name}`")).hint("list_aliases names them"),
            });
        };
        let write = Write::delete(SPACE, name).expecting(Expect::Revision(entry.revision));
        self.store.commit(vec![write]).await?;
        *self.cache.lock() = None;
        serde_json::from_str(&entry.value).map_err(|error| Fault::internal(format!("stored alias `{name}`: {error}")))
    }

    async fn known(&self) -> Result<Known> {
        let now_ms = self.clock.now_ms();
        let cached = self.cache.lock().clone();
        match cached {
            Some((at_ms, known)) if (at_ms..at_ms + FRESH_MS).contains(&now_ms) => Ok(known),
            _ => self.fresh().await,
        }
    }

    async fn fresh(&self) -> Result<Known> {
        let now_ms = self.clock.now_ms();
        let mut known: BTreeMap<String, Alias> = built_in().map(|alias| (alias.name.clone(), alias)).collect();
        for entry in self.store.list(SPACE, "", None, LIST_MAX).await? {
            match serde_json::from_str::<Alias>(&entry.value) {
                Ok(alias) => {
                    known.insert(entry.key, alias);
                }
                // Another version's words; the other aliases still count.
                Err(error) => tracing::warn!(%error, name = entry.key, "stored alias cannot be read"),
            }
        }
        let known = Arc::new(known);
        *self.cache.lock() = Some((now_ms, Arc::clone(&known)));
        Ok(known)
    }
}

/// Where `name` leads; `None` when it is no alias.
fn follow(known: &BTreeMap<String, Alias>, name: &str) -> Option<String> {
    let mut current = name.to_owned();
    for _ in 0..STEPS_MAX {
        let next = match known.get(&current) {
            Some(alias) => alias.target.clone(),
            None => {
                let renamed = current.split_once(SEPARATOR).and_then(|(service, tool)| {
                    known.get(service).map(|alias| format!("{}{SEPARATOR}{tool}", alias.target))
                });
                match renamed {
                    Some(renamed) => renamed,
                    None => break,
                }
            }
        };
        current = next;
    }
    (current != name).then_some(current)
}

fn check(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let parts: Vec<&str> = name.splitn(2, SEPARATOR).collect();
    let good = name.len() <= NAME_BYTES_MAX && name.bytes().all(fits) && parts.iter().all(|part| !part.is_empty());
    if good {
        return Ok(());
    }
    Err(Fault::new(Code::InvalidArgument, format!("`{name}` cannot be a name"))
        .hint(format!("a service, or service__tool: A-Z a-z 0-9 . _ -, at most {NAME_BYTES_MAX} characters")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::World;

    fn aliases(world: &World) -> Aliases {
        Aliases::new(world.store.clone(), world.clock.clone())
    }

    async fn check(aliases: &Aliases, name: &str, want: Option<&str>) {
        assert_eq!(aliases.resolve(name).await.unwrap().as_deref(), want, "{name}");
    }

    #[tokio::test]
    async fn the_original_names_lead_to_todays() {
        let aliases = aliases(&World::default());
        check(&aliases, "mcp-execution", Some("execution")).await;
        check(&aliases, "mcp-logging__tail", Some("logging__tail")).await;
        check(&aliases, "master-coordinator__logs", Some("logging__search")).await;
        check(&aliases, "mcp-master-coordinator__status", Some("master-coordinator__system_status")).await;
        for name in ["execution", "mcp-", "logging__tail", "", "__", "unheard__of"] {
            check(&aliases, name, None).await;
        }
    }

    #[tokio::test]
    async fn added_ones_are_seen_at_once_here_and_soon_elsewhere() {
        let world = World::default();
        let (here, there) = (aliases(&world), aliases(&world));
        check(&there, "utilities__keccak", None).await;
        here.add("utilities__keccak", "utilities__keccak256", None, "ann").await.unwrap();
        check(&here, "utilities__keccak", Some("utilities__keccak256")).await;
        world.clock.advance_ms(FRESH_MS);
        check(&there, "utilities__keccak", Some("utilities__keccak256")).await;
        here.add("utilities__sha3", "utilities__keccak", None, "ann").await.unwrap();
        here.add("tools", "utilities", None, "ann").await.unwrap();
        check(&here, "tools__sha3", Some("utilities__keccak256")).await;
        assert_eq!(here.remove("utilities__keccak").await.unwrap().by, "ann");
        check(&here, "tools__sha3", Some("utilities__keccak")).await;
    }

    #[tokio::test]
    async fn refuses_circles_kinds_and_names() {
        let aliases = aliases(&World::default());
        aliases.add("a", "b", None, "ann").await.unwrap();
        aliases.add("b", "c", None, "ann").await.unwrap();
        let code = async |name: &str, target: &str| aliases.add(name, target, None, "ann").await.unwrap_err().code;
        assert_eq!(code("c", "a").await, Code::InvalidArgument);
        assert_eq!(code("d", "d").await, Code::InvalidArgument);
        assert_eq!(code("d", "e__f").await, Code::InvalidArgument);
        assert_eq!(code("logging", "utilities").await, Code::InvalidArgument);
        assert_eq!(code("a b", "c").await, Code::InvalidArgument);
        assert_eq!(code("__x", "c__d").await, Code::InvalidArgument);
        assert_eq!(aliases.remove("mcp-logging").await.unwrap_err().code, Code::Unsupported);
        assert_eq!(aliases.remove("nothing").await.unwrap_err().code, Code::NotFound);
        // A built-in one is replaced, and comes back.
        aliases.add("mcp-logging", "utilities", None, "ann").await.unwrap();
        check(&aliases, "mcp-logging", Some("utilities")).await;
        aliases.remove("mcp-logging").await.unwrap();
        check(&aliases, "mcp-logging", Some("logging")).await;
    }
}
