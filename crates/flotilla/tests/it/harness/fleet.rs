//! A fleet of one process, which is what most tests need.

use serde_json::Value;

use super::http::{self, Answer};
use super::{Home, Mcp, Process, Ran};

/// The fleet.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Its folder. Declared after the process, which must end first.
    pub(crate) process: Process,
    /// Where it lives.
    pub(crate) home: Home,
}

impl Fleet {
    /// `flotilla up ARGUMENTS` with this `flotilla.toml`.
    pub(crate) fn start(arguments: &[&str], config: &str) -> Self {
        let home = Home::new(config);
        let process = home.start(&[&["up"], arguments].concat());
        Self { process, home }
    }

    /// Every service, no local chain.
    pub(crate) fn plain() -> Self {
        Self::start(&["--no-sandbox"], "")
    }

    /// The coordinator's URL.
    pub(crate) fn url(&self) -> &str {
        self.process.screen["coordinator"].as_str().unwrap()
    }

    /// The URL of one service; an agent is `agent:NAME`.
    pub(crate) fn url_of(&self, service: &str) -> String {
        let (family, service) = service.strip_prefix("agent:").map_or(("services", service), |name| ("agents", name));
        let services = self.process.screen[family].as_array().unwrap();
        let found = services.iter().find(|row| row["service"] == service);
        found.unwrap_or_else(|| panic!("no {service} in {services:?}"))["url"].as_str().unwrap().to_owned()
    }

    /// A request to the coordinator with the command line's key, which may do everything.
    pub(crate) fn rest(&self, method: &str, path: &str, body: &str) -> Answer {
        let key = format!("Bearer {}", self.home.key());
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        http::send(method, &format!("{}{path}", self.url()), &headers, body.as_bytes())
    }

    /// `GET path` without a key.
    pub(crate) fn get(&self, path: &str) -> Answer {
        http::send("GET", &format!("{}{path}", self.url()), &[], b"")
    }

    /// The whole fleet's MCP endpoint, or with `/mcp/NAME` one server's, with the command line's key.
    pub(crate) fn mcp(&self, path: &str) -> Mcp {
        Mcp::new(&format!("{}{path}", self.url()), Some(self.home.key()))
    }

    /// Calls a tool of the whole fleet and expects a result.
    #[track_caller]
    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Value {
        self.mcp("/mcp").call(tool, arguments).unwrap_or_else(|refused| panic!("{tool}: {refused}"))
    }

    /// Runs a command of the command line.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Ran {
        self.home.cli(arguments)
    }
}
