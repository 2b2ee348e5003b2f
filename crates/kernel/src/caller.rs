//! Who calls, and what a role may do. Deny is the default; a role never widens on the way.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Fault;

/// What a tool asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Looks, changes nothing.
    Read,
    /// Changes the fleet's work: restarts, messages, alerts, keys and values.
    Operate,
    /// Moves or risks funds.
    Trade,
    /// Changes who may do what, or what the fleet trusts.
    Admin,
}

/// What an agent may do beyond reading and operating, by its name: the whole table. The risk agent is not in it: pulling the kill switch and
/// tightening are an operator's, and what loosens is nobody's but a person's ([`Caller::require_person`]), whatever stands here. The build agent
/// deploys contracts for whoever may trade, and has no duty of its own in which it could.
const GRANTS: &[(&str, Access)] = &[("build", Access::Trade), ("execution", Access::Trade)];

/// A named set of permissions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and operates.
    Operator,
    /// Reads and trades.
    Trader,
    /// Everything.
    Admin,
    /// One of the fleet's agents, by name: reads and operates; `execution` and `build` trade too.
    Agent(String),
}

impl Role {
    /// Whether this role may use what asks for `access`.
    pub fn allows(&self, access: Access) -> bool {
        match self {
            Self::Viewer => access == Access::Read,
            Self::Operator => matches!(access, Access::Read | Access::Operate),
            Self::Agent(name) => {
                matches!(access, Access::Read | Access::Operate) || GRANTS.contains(&(name.as_str(), access))
            }
            Self::Trader => matches!(access, Access::Read | Access::Trade),
            Self::Admin => true,
        }
    }

    /// The role that allows what both allow, and no more. Where both allow the same it is this one, so that an agent stays one.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        const ALL: [Access; 4] = [Access::Read, Access::Operate, Access::Trade, Access::Admin];
        let fits = |one: &&Self| {
            ALL.iter().all(|access| one.allows(*access) == (self.allows(*access) && other.allows(*access)))
        };
        [self, other].into_iter().find(fits).cloned().unwrap_or(Self::Viewer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Viewer => f.write_str("viewer"),
            Self::Operator => f.write_str("operator"),
            Self::Trader => f.write_str("trader"),
            Self::Admin => f.write_str("admin"),
            Self::Agent(name) => write!(f, "agent:{name}"),
        }
    }
}

impl FromStr for Role {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "trader" => Ok(Self::Trader),
            "admin" => Ok(Self::Admin),
            _ => match text.strip_prefix("agent:") {
                Some(name) if !name.is_empty() => Ok(Self::Agent(name.to_owned())),
                _ => Err(Fault::invalid(format!("unknown role `{text}`"))
                    .hint("one of viewer, operator, trader, admin, agent:NAME")),
            },
        }
    }
}

impl Serialize for Role {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Who made a request: the name of a key (never the key) and its role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// The key's name, unique among keys.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whether the fleet calls itself, over and over, in its standing work, or for a page of its dashboard that is open. Such a caller's
    /// looks that succeed are counted and not recorded: they say nothing of what anybody did, and would bury what does. No key makes such a
    /// caller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standing: bool,
    /// For whom an agent acts, when somebody gave it a task: what it does then, both roles must allow. It travels with the caller, so a task
    /// never widens what its submitter may do, through however many agents, workflows and processes it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Role>,
}

impl Caller {
    /// Names a caller.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self { name: name.into(), role, standing: false, within: None }
    }

    /// The same, acting for somebody of this role: it may do what both may.
    #[must_use]
    pub fn within(self, role: Role) -> Self {
        Self { within: Some(role), ..self }
    }

    /// Whether it may use what asks for `access`.
    pub fn allows(&self, access: Access) -> bool {
        self.role.allows(access) && self.within.as_ref().is_none_or(|within| within.allows(access))
    }

    /// What it may do, as one role: what is done for it later is done under no more.
    pub fn rights(&self) -> Role {
        self.within.as_ref().map_or_else(|| self.role.clone(), |within| self.role.meet(within))
    }

    /// The fleet itself in its standing work, under `role`.
    pub fn standing(name: impl Into<String>, role: Role) -> Self {
        Self { standing: true, ..Self::new(name, role) }
    }

    /// Refuses when the role does not allow `access` to `what`.
    pub fn require(&self, access: Access, what: &str) -> Result<(), Fault> {
        if self.allows(access) {
            return Ok(());
        }
        if let (true, Some(within)) = (self.role.allows(access), &self.within) {
            return Err(Fault::denied(format!("`{}` may not use {what} for role {within}", self.name))
                .hint("a task is done with no more rights than its submitter has"));
        }
        let needed = match access {
            Access::Read => "viewer",
            Access::Operate => "operator",
            Access::Trade => "trader",
            Access::Admin => "admin",
        };
        Err(Fault::denied(format!("role {} may not use {what}", self.role))
            .hint(format!("needs a key with role {needed}: `flotilla token create NAME --role {needed}`")))
    }

    /// Refuses an agent. For what lets more be risked than before: an agent may stop and tighten, and people decide what goes on.
    pub fn require_person(&self, what: &str) -> Result<(), Fault> {
        match self.role {
            Role::Agent(_) => Err(Fault::denied(format!("role {} may not use {what}", self.role))
                .hint("it lets more be risked than before: a person decides that")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_do_what_its_line_says_and_no_more() {
        let all = [Access::Read, Access::Operate, Access::Trade, Access::Admin];
        for (role, may) in [
            ("viewer", "1000"),
            ("operator", "1100"),
            ("trader", "1010"),
            ("admin", "1111"),
            ("agent:monitoring", "1100"),
            ("agent:risk", "1100"),
            ("agent:execution", "1110"),
            ("agent:build", "1110"),
            ("agent:executions", "1100"),
        ] {
            let parsed: Role = role.parse().unwrap();
            let allowed: String = all.map(|access| if parsed.allows(access) { '1' } else { '0' }).iter().collect();
            assert_eq!((allowed.as_str(), parsed.to_string().as_str()), (may, role));
            let person = Caller::new("x", parsed).require_person("production.resume").is_ok();
            assert_eq!(person, !role.starts_with("agent:"), "{role}");
        }
    }

    #[test]
    fn what_two_roles_allow_together_is_one_role() {
        for (one, other, both) in [
            ("admin", "operator", "operator"),
            ("operator", "admin", "operator"),
            ("operator", "trader", "viewer"),
            ("agent:execution", "operator", "operator"),
            ("agent:execution", "trader", "trader"),
            ("agent:execution", "admin", "agent:execution"),
            ("agent:risk", "operator", "agent:risk"),
            ("agent:risk", "agent:execution", "agent:risk"),
            ("agent:risk", "trader", "viewer"),
            ("viewer", "admin", "viewer"),
        ] {
            let (one, other): (Role, Role) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(one.meet(&other).to_string(), both, "{one} and {other}");
            let caller = Caller::new("x", one).within(other);
            for access in [Access::Read, Access::Operate, Access::Trade, Access::Admin] {
                assert_eq!(caller.allows(access), caller.rights().allows(access), "{caller:?} {access:?}");
                assert_eq!(caller.allows(access), caller.require(access, "t").is_ok(), "{caller:?} {access:?}");
            }
        }
    }
}
