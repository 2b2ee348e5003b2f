//! Definitions: checked, kept, listed, drawn.

use flow::workflow::engine::Stored;
use flow::workflow::playbooks::{self, PLAYBOOKS};
use flow::workflow::{Problem, ToolUse, diagram};
use kernel::UnixMs;
use mcp::prelude::*;

use super::{Orchestration, may_act};

/// What [`VALIDATE_WORKFLOW`](super::VALIDATE_WORKFLOW) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateWorkflowRequest {
    /// The definition: YAML or JSON, at most 256 KiB.
    #[serde(default)]
    pub definition: Option<String>,
    /// A shipped playbook instead, by its name.
    #[serde(default)]
    pub playbook: Option<String>,
}

/// What [`VALIDATE_WORKFLOW`](super::VALIDATE_WORKFLOW) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ValidateWorkflowResponse {
    /// Whether it can be kept and run.
    pub valid: bool,
    /// What is wrong, by line.
    pub problems: Vec<Problem>,
    /// What should be looked at, and arguments that do not fit the tool they are for as it is now: a run that comes to one fails there.
    pub warnings: Vec<Problem>,
    /// The tools it calls by names that stand in it.
    pub tools: Vec<ToolUse>,
    /// Those of them that are not there now. A run that comes to one fails there.
    pub missing_tools: Vec<ToolUse>,
}

/// What [`DEFINE_WORKFLOW`](super::DEFINE_WORKFLOW) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefineWorkflowRequest {
    /// The definition: YAML or JSON, at most 256 KiB. Its document names namespace, name and version.
    #[serde(default)]
    pub definition: Option<String>,
    /// A shipped playbook instead, by its name.
    #[serde(default)]
    pub playbook: Option<String>,
}

/// What [`DEFINE_WORKFLOW`](super::DEFINE_WORKFLOW) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DefineWorkflowResponse {
    /// Whose it is.
    pub namespace: String,
    /// What it is called there.
    pub name: String,
    /// Which version was kept.
    pub version: String,
    /// Whether it is new: the same text again changes nothing.
    pub created: bool,
    /// What of its calls' arguments does not fit the tools.
    pub warnings: Vec<Problem>,
    /// Tools it calls that are not there now.
    pub missing_tools: Vec<ToolUse>,
}

/// What [`LIST_WORKFLOWS`](super::LIST_WORKFLOWS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListWorkflowsRequest {
    /// Only those of this namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Only this one, with the text of each version.
    #[serde(default)]
    pub name: Option<String>,
    /// The playbooks that are shipped instead of what is defined.
    #[serde(default)]
    pub shipped: bool,
}

/// A definition.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowRow {
    /// Whose it is.
    pub namespace: String,
    /// What it is called there.
    pub name: String,
    /// Which version.
    pub version: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Who defined it.
    pub by: String,
    /// When, in milliseconds since the Unix epoch; 0 for what is shipped.
    pub at_ms: UnixMs,
    /// Its text, when one definition was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What [`LIST_WORKFLOWS`](super::LIST_WORKFLOWS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListWorkflowsResponse {
    /// The definitions, by namespace, name and version; at most 1,000.
    pub workflows: Vec<WorkflowRow>,
}

/// What [`DIAGRAM`](super::DIAGRAM) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiagramRequest {
    /// A run.
    #[serde(default)]
    pub run: Option<String>,
    /// A definition instead: `namespace/name`, or `namespace/name/version`.
    #[serde(default)]
    pub workflow: Option<String>,
}

/// What [`DIAGRAM`](super::DIAGRAM) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiagramResponse {
    /// The flowchart, in Mermaid.
    pub mermaid: String,
}

/// A definition's text, given or shipped.
fn text_of(definition: Option<String>, playbook: Option<&str>) -> Result<String, Fault> {
    match (definition, playbook) {
        (Some(text), None) => Ok(text),
        (None, Some(name)) => playbooks::named(name).map(str::to_owned),
        _ => Err(Fault::invalid("neither or both of definition and playbook").hint("give one of them")),
    }
}

/// `namespace/name`, or `namespace/name/version`; without a namespace it is `default`.
pub(super) fn parts_of(workflow: &str) -> Result<(&str, &str, Option<&str>), Fault> {
    let parts: Vec<&str> = workflow.split('/').collect();
    match parts.as_slice() {
        [name] => Ok(("default", name, None)),
        [namespace, name] => Ok((namespace, name, None)),
        [namespace, name, version] => Ok((namespace, name, Some(version))),
        _ => {
            Err(Fault::invalid(format!("`{workflow}` names no workflow"))
                .hint("namespace/name, or namespace/name/version"))
        }
    }
}

impl Orchestration {
    /// Which tools are not there now, and what of the others' arguments does not fit them.
    async fn held_to_tools(&self, tools: &[ToolUse]) -> Result<(Vec<ToolUse>, Vec<Problem>), Fault> {
        let (mut missing, mut calls) = (Vec::new(), Vec::new());
        for tool in tools {
            match self.router.takes(&tool.server, &tool.tool) {
                Some(Some(takes)) => calls.push((tool.clone(), takes)),
                Some(None) => missing.push(tool.clone()),
                None => {}
            }
        }
        Ok((missing, self.engine.misfits(calls).await?))
    }

    pub(super) async fn validate_workflow(
        self: Arc<Self>,
        request: ValidateWorkflowRequest,
        _ctx: Ctx,
    ) -> Result<ValidateWorkflowResponse, ToolError> {
        let found = self.engine.validate(text_of(request.definition, request.playbook.as_deref())?).await?;
        let (missing_tools, misfits) = self.held_to_tools(&found.tools).await?;
        let mut warnings = found.warnings;
        warnings.extend(misfits);
        warnings.sort_by_key(|problem| (problem.line, problem.column));
        Ok(ValidateWorkflowResponse {
            valid: found.problems.is_empty(),
            missing_tools,
            problems: found.problems,
            warnings,
            tools: found.tools,
        })
    }

    pub(super) async fn define_workflow(
        self: Arc<Self>,
        request: DefineWorkflowRequest,
        ctx: Ctx,
    ) -> Result<DefineWorkflowResponse, ToolError> {
        may_act(&ctx.caller, "define_workflow")?;
        let text = text_of(request.definition, request.playbook.as_deref())?;
        let tools = self.engine.validate(text.clone()).await?.tools;
        let (stored, created) = self.engine.define(text, &ctx.caller).await?;
        let Stored { namespace, name, version, .. } = stored;
        let (missing_tools, warnings) = self.held_to_tools(&tools).await?;
        Ok(DefineWorkflowResponse { namespace, name, version, created, warnings, missing_tools })
    }

    pub(super) async fn list_workflows(
        self: Arc<Self>,
        request: ListWorkflowsRequest,
        _ctx: Ctx,
    ) -> Result<ListWorkflowsResponse, ToolError> {
        let fits = |namespace: &str, name: &str| {
            request.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
                && request.name.as_deref().is_none_or(|wanted| wanted == name)
        };
        let whole = request.name.is_some();
        if request.shipped {
            let mut workflows = Vec::new();
            for (name, text) in PLAYBOOKS {
                let definition = self.engine.validate((*text).to_owned()).await?.into_definition()?;
                if fits(&definition.namespace, name) {
                    workflows.push(WorkflowRow {
                        namespace: definition.namespace,
                        name: definition.name,
                        version: definition.version,
                        title: definition.title,
                        by: "flotilla".into(),
                        at_ms: 0,
                        text: whole.then(|| (*text).to_owned()),
                    });
                }
            }
            return Ok(ListWorkflowsResponse { workflows });
        }
        let all = self.engine.definitions("").await?;
        let rows = all.into_iter().filter(|stored| fits(&stored.namespace, &stored.name)).map(|stored| WorkflowRow {
            namespace: stored.namespace,
            name: stored.name,
            version: stored.version,
            title: stored.title,
            by: stored.by.name,
            at_ms: stored.at_ms,
            text: whole.then_some(stored.text),
        });
        Ok(ListWorkflowsResponse { workflows: rows.collect() })
    }

    pub(super) async fn diagram(
        self: Arc<Self>,
        request: DiagramRequest,
        _ctx: Ctx,
    ) -> Result<DiagramResponse, ToolError> {
        let mermaid = match (&request.run, &request.workflow) {
            (Some(run), None) => {
                let head = self.engine.run(run).await?;
                let definition = self.engine.definition_of(&head).await?;
                diagram::mermaid(&definition, Some(&self.engine.state(run).await?))
            }
            (None, Some(workflow)) => {
                let (namespace, name, version) = parts_of(workflow)?;
                diagram::mermaid(&*self.engine.named(namespace, name, version).await?, None)
            }
            _ => return Err(Fault::invalid("neither or both of run and workflow").hint("give one of them").into()),
        };
        Ok(DiagramResponse { mermaid })
    }
}
