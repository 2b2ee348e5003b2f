//! What a person sees when the fleet is up.

use std::path::{Path, PathBuf};

use kernel::Role;
use kernel::catalog::role;
use kernel::fleet::{Instance, Kind};
use kernel::health::Status;
use serde::Serialize;

use crate::data::RunNote;

/// The facts.
#[derive(Debug, Serialize)]
pub struct Screen {
    /// The mode.
    pub mode: String,
    /// The coordinator.
    pub coordinator: Option<String>,
    /// The dashboard.
    pub dashboard: Option<String>,
    /// The chain in use.
    pub chain: String,
    /// What the database is.
    pub storage: String,
    /// The data folder.
    pub data: PathBuf,
    /// Every server of this process.
    pub services: Vec<Instance>,
    /// Every agent of this process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<Instance>,
    /// The role of callers without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Role>,
}

impl Screen {
    /// The facts of a running process.
    pub fn of(
        note: &RunNote,
        mode: &str,
        data: &Path,
        chain: String,
        storage: String,
        instances: Vec<Instance>,
        anonymous: Option<&Role>,
    ) -> Self {
        // Other processes may run copies of the same services.
        let own = |instance: &Instance| {
            note.services.get(&role(instance.kind, &instance.service)).is_some_and(|url| *url == instance.url)
        };
        let (services, agents) = instances.into_iter().filter(own).partition(|instance| instance.kind == Kind::Server);
        Self {
            mode: mode.to_owned(),
            coordinator: note.coordinator.clone(),
            dashboard: note.dashboard.clone(),
            chain,
            storage,
            data: data.to_owned(),
            services,
            agents,
            anonymous: anonymous.cloned(),
        }
    }

    /// The facts as text.
    pub fn text(&self) -> String {
        let all = || self.services.iter().chain(&self.agents);
        let healthy = all().filter(|service| service.status == Status::Healthy).count();
        let mut text = format!("Flotilla {} is up: {healthy} of {} services healthy\n", crate::VERSION, all().count());
        let mut row = |name: &str, value: &str| text.push_str(&format!("  {name:<12} {value}\n"));
        if let Some(coordinator) = &self.coordinator {
            row("MCP", &format!("{coordinator}/mcp"));
            row("REST", &format!("{coordinator}/docs"));
        }
        if let Some(dashboard) = &self.dashboard {
            row("dashboard", dashboard);
        }
        row("mode", &self.mode);
        row("chain", &self.chain);
        row("storage", &self.storage);
        row("data, keys", &self.data.display().to_string());
        if let Some(role) = &self.anonymous {
            row("WARNING", &format!("callers without a key are let in as {role} (auth.anonymous_role)"));
        }
        text.push_str("\n  service                  port   state\n");
        for service in all() {
            let port = service.url.rsplit(':').next().unwrap_or_default();
            let state = format!("{:?}", service.status).to_lowercase();
            let why = service.last_error.as_deref().filter(|_| service.status != Status::Healthy);
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            text.push_str(&format!("  {:<24} {port:<6} {state}{why}\n", role(service.kind, &service.service)));
        }
        if self.coordinator.is_some() {
            text.push_str("\n  open a browser     flotilla open\n");
            text.push_str("  connect a client   flotilla connect claude|claude-code|cursor|vscode\n");
            text.push_str("  call a tool        flotilla tool call utilities__keccak256 data=hello\n");
            text.push_str("  stop               Ctrl-C, or flotilla down\n");
        }
        text
    }
}
