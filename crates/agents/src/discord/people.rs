//! Who may do what: a person's fleet role, from their Discord roles and their id, as the configuration maps them. Without a mapping: none.

use std::collections::BTreeMap;

use kernel::{Access, Fault, Role};

use super::events::Person;
use super::rest::is_id;

/// Most ids that are mapped.
const MAPPED_MAX: usize = 256;

/// The mapping.
#[derive(Debug, Clone, Default)]
pub(super) struct People {
    /// Whose messages are heard: everybody's, or one Discord server's.
    guild: Option<String>,
    everyone: Option<Role>,
    roles: BTreeMap<String, Role>,
    users: BTreeMap<String, Role>,
}

impl People {
    /// Checks a mapping.
    pub(super) fn new(
        guild: Option<String>,
        everyone: Option<Role>,
        roles: &BTreeMap<String, Role>,
        users: &BTreeMap<String, Role>,
    ) -> Result<Self, Fault> {
        for (place, mapping) in [("roles", roles), ("users", users)] {
            if mapping.len() > MAPPED_MAX {
                return Err(Fault::invalid(format!("agents.discord.{place} has {} entries", mapping.len()))
                    .hint(format!("at most {MAPPED_MAX}")));
            }
            for (id, role) in mapping {
                if !is_id(id) {
                    return Err(Fault::invalid(format!("agents.discord.{place}: `{id}` is no id of Discord's"))
                        .hint("a number: right-click, Copy ID, in Discord's developer mode"));
                }
                if matches!(role, Role::Agent(_)) {
                    return Err(Fault::invalid(format!("agents.discord.{place}: {id} is {role}"))
                        .hint("people are viewer, operator, trader or admin"));
                }
            }
        }
        if everyone.as_ref().is_some_and(|role| *role != Role::Viewer) {
            return Err(Fault::invalid("agents.discord.everyone is more than viewer")
                .hint("map a Discord role or a user to it in agents.discord.roles or agents.discord.users"));
        }
        if everyone.is_some() && guild.is_none() {
            return Err(Fault::invalid("agents.discord.everyone is set and agents.discord.guild is not")
                .hint("name the Discord server whose members may look"));
        }
        Ok(Self { guild, everyone, roles: roles.clone(), users: users.clone() })
    }

    /// Whether what comes from this Discord server (or from none) is heard.
    pub(super) fn hears(&self, guild: Option<&str>) -> bool {
        self.guild.as_deref().is_none_or(|ours| guild.is_none_or(|guild| guild == ours))
    }

    /// A person's role: of all that are theirs the one that may do most.
    pub(super) fn role_of(&self, person: &Person, guild: Option<&str>) -> Option<Role> {
        let member = guild.is_some() && self.hears(guild);
        let of_roles = person.roles.iter().filter(|_| member).filter_map(|role| self.roles.get(role));
        let everyone = self.everyone.as_ref().filter(|_| member);
        let mut all: Vec<&Role> = of_roles.chain(self.users.get(&person.id)).chain(everyone).collect();
        all.sort_by_key(|role| {
            [Access::Admin, Access::Operate, Access::Trade].map(|access| u8::from(role.allows(access)))
        });
        all.pop().cloned()
    }
}

/// How the audit trail names somebody: by their id, which stays, and their name, which people know.
pub(super) fn name_of(person: &Person) -> String {
    format!("discord:{}:{}", person.id, person.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(everyone: Option<Role>) -> People {
        let roles = [("10", Role::Viewer), ("11", Role::Operator), ("12", Role::Trader)];
        let roles = roles.map(|(id, role)| (id.to_owned(), role)).into();
        let users = [("4".to_owned(), Role::Admin)].into();
        People::new(Some("3".into()), everyone, &roles, &users).unwrap()
    }

    #[track_caller]
    fn check(id: &str, roles: &[&str], guild: Option<&str>, want: Option<&str>) {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let person = Person { id: id.into(), name: "x".into(), roles };
        assert_eq!(people(None).role_of(&person, guild).map(|role| role.to_string()).as_deref(), want);
    }

    #[test]
    fn nobody_is_anything_unless_mapped() {
        check("1", &[], Some("3"), None);
        check("1", &["99"], Some("3"), None);
        check("1", &["10"], Some("3"), Some("viewer"));
        check("1", &["11", "10"], Some("3"), Some("operator"));
        check("1", &["12", "11"], Some("3"), Some("operator"));
        check("4", &["10"], Some("3"), Some("admin"));
        check("4", &[], None, Some("admin"));
        check("1", &["11"], None, None);
        check("1", &["11"], Some("7"), None);
        let person = Person { id: "1".into(), name: "x".into(), roles: vec![] };
        assert_eq!(people(Some(Role::Viewer)).role_of(&person, Some("3")), Some(Role::Viewer));
        assert_eq!(people(Some(Role::Viewer)).role_of(&person, None), None);
        assert!(people(None).hears(Some("3")) && people(None).hears(None) && !people(None).hears(Some("7")));
        assert_eq!(People::default().role_of(&person, Some("3")), None);
    }

    #[test]
    fn a_mapping_that_gives_too_much_is_refused() {
        let none = BTreeMap::new();
        let refused = |everyone, guild: Option<&str>, roles: &BTreeMap<String, Role>| {
            People::new(guild.map(ToOwned::to_owned), everyone, roles, &none).map(|_| ()).unwrap_err().message
        };
        assert_eq!(refused(Some(Role::Operator), Some("3"), &none), "agents.discord.everyone is more than viewer");
        assert!(refused(Some(Role::Viewer), None, &none).contains("agents.discord.guild is not"));
        assert!(refused(None, None, &[("ops".to_owned(), Role::Viewer)].into()).contains("`ops` is no id"));
        let agent = [("1".to_owned(), Role::Agent("risk".into()))].into();
        assert!(refused(None, None, &agent).contains("1 is agent:risk"));
    }
}
