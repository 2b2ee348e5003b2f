//! `inspect`: what the compiler made of a contract.

use kernel::Result;
use mcp::prelude::*;
use serde_json::{Value, json};

use super::{FoundryIntegration, artefacts, check_profile};

/// What [`INSPECT`](super::INSPECT) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
    /// The contract: `Vault`, or `src/Vault.sol:Vault` where several have that name.
    pub contract: String,
    /// What to tell of it.
    pub field: Field,
    /// A profile of the project's foundry.toml; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// What can be told of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Its interface, as JSON.
    Abi,
    /// The code that deploys it, without constructor arguments.
    Bytecode,
    /// The code that is deployed; immutable values are zero in it.
    DeployedBytecode,
    /// Where its variables are in storage.
    StorageLayout,
    /// Its functions and their selectors.
    Methods,
}

/// What [`INSPECT`](super::INSPECT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct InspectResponse {
    /// The contract, by file and name.
    pub contract: String,
    /// The compiler that made it.
    pub compiler: Option<String>,
    /// What was asked for.
    pub value: Value,
}

impl FoundryIntegration {
    pub(super) async fn inspect(&self, request: InspectRequest, ctx: Ctx) -> Result<InspectResponse> {
        check_profile(request.profile.as_deref())?;
        let project = self.places.project(&request.project)?;
        let kept = self.places.keep(&project).await?;
        self.built(&project, &kept, (request.profile, None), &ctx).await?.check()?;
        let artefact = artefacts::find(&kept.folder, &request.contract)?;
        let (file, name) = artefact.target().unwrap_or_default();
        let (contract, compiler) = (format!("{file}:{name}"), artefact.compiler().map(str::to_owned));
        let value = match request.field {
            Field::Abi => artefact.abi,
            Field::Bytecode => json!(artefact.bytecode.object),
            Field::DeployedBytecode => json!(artefact.deployed_bytecode.object),
            Field::StorageLayout => artefact.storage_layout.unwrap_or(Value::Null),
            Field::Methods => json!(artefact.method_identifiers),
        };
        Ok(InspectResponse { contract, compiler, value })
    }
}
