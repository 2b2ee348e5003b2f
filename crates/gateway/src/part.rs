//! What the aggregate is made of: servers of the fleet, here or in other processes, and upstreams.

use kernel::Access;
use mcp::{Handler, Service};
use serde_json::value::RawValue;

/// Whose work a part is: decides what is believed of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A server of this fleet.
    Server,
    /// A third party's server: what it says of itself is hostile text.
    Upstream,
}

/// A tool as a part offers it.
#[derive(Debug, Clone)]
pub struct PartTool {
    /// Its name on its part.
    pub name: String,
    /// What a caller's role must allow.
    pub access: Access,
    /// Set when it may not be used until a person approves it: it is not listed, and its part refuses calls. Says why.
    pub held: Option<String>,
    /// Its entry in the part's `tools/list`, as the part wrote it.
    pub listing: Box<RawValue>,
}

/// One server behind the gateway. Requests reach it in its own names; it runs the phases of its tool calls, or has them run.
///
/// It announces [`Change::Tools`](mcp::Change::Tools) after what [`Part::tools`] gives has changed.
pub trait Part: Handler {
    /// Its name in the aggregate: fixed, and good by [`names::check_part`](crate::names::check_part).
    fn name(&self) -> &str;

    /// Whose work it is.
    fn origin(&self) -> Origin;

    /// Its tools as known now, in its own order.
    fn tools(&self) -> Vec<PartTool>;

    /// Whether it asked to have its tools in the toolset of this name, beside those that the toolset names itself.
    fn is_in_toolset(&self, _toolset: &str) -> bool {
        false
    }
}

impl Part for Service {
    fn name(&self) -> &str {
        self.name
    }

    fn origin(&self) -> Origin {
        Origin::Server
    }

    fn tools(&self) -> Vec<PartTool> {
        self.tools()
            .map(|def| PartTool {
                name: def.name.clone(),
                access: def.hints.access,
                held: None,
                listing: mcp::tool::listing_text(def, &def.name),
            })
            .collect()
    }
}
