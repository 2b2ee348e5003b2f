//! The port through which runs act: tools, agents, web services, scripts.

use async_trait::async_trait;
use kernel::Caller;
use serde_json::Value;

use crate::workflow::error::Error;
use crate::workflow::history::Effect;

/// For whom something is done, and what it is known by.
#[derive(Debug, Clone)]
pub struct Order {
    /// The run.
    pub run: String,
    /// The same however often it is done: whoever does it may tell by this that it was done before.
    pub key: String,
    /// Who started the run. What is done is done under this role, and no other.
    pub caller: Caller,
}

/// The port. Events and other workflows are the engine's own: they never come here.
#[async_trait]
pub trait Outside: Send + Sync {
    /// Does it, and gives what the language says is its output.
    ///
    /// # Errors
    /// In the language's words.
    async fn perform(&self, effect: &Effect, order: &Order) -> Result<Value, Error>;
}
