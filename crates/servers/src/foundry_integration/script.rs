//! `script`: runs a Solidity script in forge's own machine, shut in: what it would do, told, and nothing sent.

use std::collections::BTreeMap;

use kernel::Result;
use mcp::prelude::*;
use serde_json::Value;

use super::run::{Chore, cut, refused};
use super::{FoundryIntegration, check_profile, text_argument};

/// How much forge may write of it, in bytes.
const OUTPUT_BYTES_MAX: usize = 32 << 20;
/// How much is answered of what it logs, in bytes.
const LOG_BYTES_MAX: usize = 16 << 10;
/// The most arguments, and the most values that are answered.
const VALUES_MAX: usize = 32;
const SCRIPT: &str = r#"exec "$FORGE" script --json "$@""#;

/// What [`SCRIPT`](super::SCRIPT) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
    /// The script's file, from the project's folder on, or `script/Deploy.s.sol:Deploy` where the file has several.
    pub script: String,
    /// The function; `run()` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Its arguments, as forge reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// A profile of the project's foundry.toml; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How long it may take, in seconds: 1 to 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What [`SCRIPT`](super::SCRIPT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScriptResponse {
    /// Whether it ran to its end.
    pub success: bool,
    /// What it logged: foreign text.
    pub logs: String,
    /// What it returned, by name: type and value.
    pub returned: BTreeMap<String, Returned>,
    /// Gas it used.
    pub gas_used: Option<u64>,
}

/// A value that a script returned.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Returned {
    /// Its type.
    #[serde(alias = "internal_type")]
    pub solidity_type: String,
    /// Its value, as forge writes it.
    pub value: String,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    logs: Vec<String>,
    #[serde(default)]
    returns: BTreeMap<String, Returned>,
    success: bool,
    gas_used: Option<Value>,
}

impl FoundryIntegration {
    pub(super) async fn script(&self, request: ScriptRequest, ctx: Ctx) -> Result<ScriptResponse> {
        check_profile(request.profile.as_deref())?;
        let arguments = arguments(&request)?;
        let project = self.places.project(&request.project)?;
        let kept = self.places.keep(&project).await?;
        let options = (request.profile.clone(), request.time_limit_seconds);
        self.built(&project, &kept, options, &ctx).await?.check()?;
        ctx.progress(1.0, None, Some("running the script")).await;
        let chore = Chore {
            text: SCRIPT,
            arguments,
            stdin: String::new(),
            stdout_bytes: OUTPUT_BYTES_MAX,
            seconds: request.time_limit_seconds,
            profile: request.profile,
        };
        let ran = self.run(&project, &kept, chore, &ctx).await?;
        let said = ran.stdout.lines().find_map(|line| serde_json::from_str::<Said>(line).ok());
        let Some(said) = said else { return Err(refused(&ran)) };
        Ok(ScriptResponse {
            success: said.success,
            logs: cut(crate::scripts::cleaned(&said.logs.join("\n")), LOG_BYTES_MAX),
            returned: said.returns.into_iter().take(VALUES_MAX).collect(),
            gas_used: said.gas_used.and_then(|gas| gas.as_u64()),
        })
    }
}

fn arguments(request: &ScriptRequest) -> Result<Vec<String>> {
    let function = request.function.as_deref().unwrap_or("run()");
    text_argument("function", function)?;
    text_argument("script", &request.script)?;
    if request.script.starts_with('-') || !request.script.contains(".sol") {
        return Err(Fault::invalid("script names no Solidity file").hint("like script/Deploy.s.sol"));
    }
    if request.arguments.len() > VALUES_MAX {
        return Err(Fault::too_large(format!("{} arguments", request.arguments.len())).hint("at most 32"));
    }
    for argument in &request.arguments {
        text_argument("an argument", argument)?;
    }
    let mut arguments = vec![format!("--sig={function}"), "--".into(), request.script.clone()];
    arguments.extend(request.arguments.iter().cloned());
    Ok(arguments)
}
