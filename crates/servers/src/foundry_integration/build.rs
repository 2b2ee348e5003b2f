//! `build`: what the compiler says, by file and line, and what came of it.

use kernel::Result;
use mcp::prelude::*;
use serde_json::Value;

use super::artefacts::{self, Artefact};
use super::run::{Chore, cut, refused};
use super::{FoundryIntegration, check_profile};
use crate::workshop::places::{Kept, Places, Project};

/// How much forge may write of a build, in bytes: all that it compiled, as JSON.
const OUTPUT_BYTES_MAX: usize = 128 << 20;
/// The most messages of the compiler that are answered; errors come first.
const MESSAGES_MAX: usize = 200;
/// The longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// The most contracts that are listed.
const CONTRACTS_MAX: usize = 1_000;
/// What forge says of a build.
const BUILD: &str = r#"exec "$FORGE" build --json"#;

/// What [`BUILD`](super::BUILD) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
    /// A profile of the project's foundry.toml; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether to forget what was built before, and build all of it.
    #[serde(default)]
    pub clean: bool,
    /// How long it may take, in seconds: 1 to 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What [`BUILD`](super::BUILD) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BuildResponse {
    /// The project's folder.
    pub project: String,
    /// Whether all of it compiles.
    pub success: bool,
    /// What the compiler says, errors first. Of what did not change since the last build, warnings are not said again.
    pub messages: Vec<Message>,
    /// How many more messages there are.
    pub messages_left_out: usize,
    /// The project's own contracts, by file and name; those of its libraries are not listed.
    pub contracts: Vec<ContractRow>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does not compile.
    Error,
    /// It compiles, and may not be what is meant.
    Warning,
    /// Something to know.
    Info,
}

/// A message of the compiler.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// How bad it is.
    pub severity: Severity,
    /// The compiler's code for it.
    pub code: Option<String>,
    /// What it says.
    pub message: String,
    /// The file, from the project's folder on.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
}

/// A contract that was built.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ContractRow {
    /// Its name.
    pub name: String,
    /// Its file, from the project's folder on.
    pub file: String,
    /// The size of what is deployed, in bytes; the chain takes 24,576 at most. 0 for interfaces and abstract contracts.
    pub runtime_bytes: usize,
    /// The size of what deploys it, without constructor arguments, in bytes.
    pub creation_bytes: usize,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    errors: Vec<Said>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    severity: String,
    error_code: Option<String>,
    message: String,
    formatted_message: Option<String>,
    source_location: Option<Location>,
}

#[derive(Deserialize)]
struct Location {
    file: String,
}

/// A build that went well or not.
pub(super) struct Built {
    pub(super) messages: Vec<Message>,
}

impl Built {
    /// The errors as one fault, if there are any.
    pub(super) fn check(&self) -> Result<()> {
        let errors: Vec<&Message> =
            self.messages.iter().filter(|message| message.severity == Severity::Error).take(MESSAGES_MAX).collect();
        let Some(first) = errors.first() else { return Ok(()) };
        let place = match (&first.file, first.line) {
            (Some(file), Some(line)) => format!("{file}:{line}: "),
            (Some(file), None) => format!("{file}: "),
            _ => String::new(),
        };
        let data = serde_json::to_value(&errors).unwrap_or(Value::Null);
        Err(Fault::invalid(format!("the project does not compile: {place}{}", first.message))
            .hint("build tells all errors with file and line")
            .data(data))
    }
}

impl FoundryIntegration {
    pub(super) async fn build(&self, request: BuildRequest, ctx: Ctx) -> Result<BuildResponse> {
        check_profile(request.profile.as_deref())?;
        let project = self.places.project(&request.project)?;
        let kept = self.places.keep(&project).await?;
        if request.clean {
            Places::forget(&kept)?;
        }
        let options = (request.profile, request.time_limit_seconds);
        let mut built = self.built(&project, &kept, options, &ctx).await?;
        ctx.progress(1.0, Some(2.0), Some("reading what was built")).await;
        let success = built.check().is_ok();
        built.messages.sort_by_key(|message| message.severity);
        let messages_left_out = built.messages.len().saturating_sub(MESSAGES_MAX);
        built.messages.truncate(MESSAGES_MAX);
        let mut contracts: Vec<ContractRow> = Vec::new();
        if success {
            artefacts::each(&kept.folder, |artefact| {
                if let Some(row) = row(&artefact) {
                    contracts.push(row);
                }
                contracts.len() < CONTRACTS_MAX
            })?;
        }
        contracts.sort_by(|one, other| (&one.file, &one.name).cmp(&(&other.file, &other.name)));
        Ok(BuildResponse {
            project: project.path.display().to_string(),
            success,
            messages: built.messages,
            messages_left_out,
            contracts,
        })
    }

    /// Builds a project, or makes sure that it is built.
    pub(super) async fn built(
        &self,
        project: &Project,
        kept: &Kept,
        (profile, seconds): (Option<String>, Option<u32>),
        ctx: &Ctx,
    ) -> Result<Built> {
        ctx.progress(0.0, None, Some("compiling")).await;
        let chore = Chore {
            text: BUILD,
            arguments: Vec::new(),
            stdin: String::new(),
            stdout_bytes: OUTPUT_BYTES_MAX,
            seconds,
            profile,
        };
        let ran = self.run(project, kept, chore, ctx).await?;
        let Ok(output) = serde_json::from_str::<Output>(&ran.stdout) else { return Err(refused(&ran)) };
        Ok(Built { messages: output.errors.into_iter().map(Said::message).collect() })
    }
}

fn row(artefact: &Artefact) -> Option<ContractRow> {
    let (file, name) = artefact.target()?;
    let own = !file.starts_with('/') && !file.starts_with("lib/") && !file.starts_with("node_modules/");
    own.then(|| ContractRow {
        name: name.to_owned(),
        file: file.to_owned(),
        runtime_bytes: artefact.deployed_bytecode.bytes(),
        creation_bytes: artefact.bytecode.bytes(),
    })
}

impl Said {
    fn message(self) -> Message {
        let severity = match self.severity.as_str() {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        };
        let (line, column) = self.formatted_message.as_deref().and_then(place).unzip();
        let message = cut(crate::scripts::cleaned(&self.message), MESSAGE_BYTES_MAX);
        let file = self.source_location.map(|location| relative(&location.file));
        Message { severity, code: self.error_code, message, file, line, column }
    }
}

/// The line and the column in `… --> file:line:column:`.
fn place(formatted: &str) -> Option<(u32, u32)> {
    let (_, after) = formatted.split_once("--> ")?;
    let mut parts = after.lines().next()?.trim_end_matches(':').rsplit(':');
    let column = parts.next()?.parse().ok()?;
    Some((parts.next()?.parse().ok()?, column))
}

/// A file from the project's folder on.
pub(super) fn relative(file: &str) -> String {
    file.strip_prefix("/project/").unwrap_or(file).to_owned()
}
