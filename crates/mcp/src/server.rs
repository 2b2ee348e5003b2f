//! The two traits a server file implements: what it is, and what it has beside tools.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::health::Check;
use kernel::{Fault, Ports};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;

use crate::ctx::Ctx;
use crate::error::ToolError;
use crate::handler::Change;
use crate::prompt::{Arguments, Message, Prompt};
use crate::resource::{Contents, Resource, Template};
use crate::tool::ToolSet;

/// One MCP server of the fleet.
pub trait McpServer: Features + Sized {
    /// Its name in the catalog, in tool names, URLs, metrics and its table in `flotilla.toml`.
    const NAME: &'static str;

    /// What a model should know before it uses the tools.
    const INSTRUCTIONS: &'static str;

    /// Its table in `flotilla.toml`: `#[serde(default, deny_unknown_fields)]`, every field documented.
    type Config: Default + Clone + Send + Sync + Serialize + DeserializeOwned + JsonSchema;

    /// What it is built from: [`Ports`], unless it stands on more than the kernel knows of.
    type Ports;

    /// Builds the server. Does no I/O.
    fn new(ports: &Self::Ports, config: Self::Config) -> Result<Self, Fault>;

    /// Its tools.
    fn tools(set: &mut ToolSet<Self>);
}

/// What a server has beside tools. Every method has a default: nothing.
#[async_trait]
pub trait Features: Send + Sync + 'static {
    /// Starts its standing work, under `ports.tasks`. Called once; an error is a failed start.
    async fn start(self: Arc<Self>, _ports: Ports) -> Result<(), Fault> {
        Ok(())
    }

    /// Where it announces changes of its lists and resources, if it has such: subscribers hear of them.
    fn changes(&self) -> Option<broadcast::Sender<Change>> {
        None
    }

    /// How what it depends on stands.
    async fn health(&self) -> Vec<Check> {
        Vec::new()
    }

    /// Resources beside its own documentation, which every server has.
    async fn resources(&self, _ctx: &Ctx) -> Result<Vec<Resource>, Fault> {
        Ok(Vec::new())
    }

    /// Families of resources.
    fn resource_templates(&self) -> Vec<Template> {
        Vec::new()
    }

    /// Reads a resource; `None` when there is no such.
    async fn read_resource(&self, _uri: &str, _ctx: &Ctx) -> Result<Option<Vec<Contents>>, ToolError> {
        Ok(None)
    }

    /// Its prompts.
    fn prompts(&self) -> Vec<Prompt> {
        Vec::new()
    }

    /// Makes a prompt. Called for names from [`Features::prompts`], with every required argument given.
    async fn prompt(&self, name: &str, _arguments: Arguments, _ctx: &Ctx) -> Result<Vec<Message>, ToolError> {
        Err(Fault::not_found(format!("no prompt `{name}`")).into())
    }

    /// Values that complete `typed` for an argument of a prompt or a template (`reference` is its name or URI template).
    async fn complete(&self, _reference: &str, _argument: &str, _typed: &str) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }
}
