//! `toolchain`: what is installed, and where projects are.

use kernel::Result;
use kernel::foundry::Program;
use mcp::prelude::*;

use super::FoundryIntegration;

/// The most projects that are listed.
const PROJECTS_MAX: usize = 200;

/// What [`TOOLCHAIN`](super::TOOLCHAIN) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolchainRequest {}

/// What [`TOOLCHAIN`](super::TOOLCHAIN) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolchainResponse {
    /// forge's version.
    pub forge: String,
    /// anvil's version.
    pub anvil: String,
    /// cast's version.
    pub cast: String,
    /// The versions of the Solidity compilers, the oldest first. Others are not downloaded.
    pub compilers: Vec<String>,
    /// Whether forge's standard library is there for projects that do not have it.
    pub library: bool,
    /// The folders that projects may be in.
    pub roots: Vec<String>,
    /// The folder of projects that new_project makes.
    pub workspace: String,
    /// The projects right under the roots.
    pub projects: Vec<String>,
    /// How long a build or a test run may take that does not say otherwise, in seconds.
    pub time_seconds: u32,
    /// How much memory it may have, in MiB.
    pub memory_mib: u32,
}

impl FoundryIntegration {
    pub(super) async fn toolchain(&self) -> Result<ToolchainResponse> {
        let kit = self.foundry.kit()?;
        let texts = |paths: Vec<std::path::PathBuf>| paths.iter().map(|path| path.display().to_string()).collect();
        Ok(ToolchainResponse {
            forge: self.version(Program::Forge).await?,
            anvil: self.version(Program::Anvil).await?,
            cast: self.version(Program::Cast).await?,
            compilers: kit.compilers,
            library: kit.library.is_some(),
            roots: texts(self.places.roots()),
            workspace: self.places.workspace()?.display().to_string(),
            projects: texts(self.places.projects(PROJECTS_MAX)),
            time_seconds: self.config.time_seconds,
            memory_mib: self.config.memory_mib,
        })
    }

    async fn version(&self, program: Program) -> Result<String> {
        let said = self.foundry.answer(program, &["--version".to_owned()]).await?;
        // `forge Version: 1.7.1` and more lines.
        let first = said.lines().next().unwrap_or_default();
        Ok(first.rsplit_once(' ').map_or(first, |(_, version)| version).to_owned())
    }
}
