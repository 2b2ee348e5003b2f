//! Resources, templates, prompts and completions.

use async_trait::async_trait;
use kernel::Fault;
use mcp::prompt::{Argument, Arguments, Message, Prompt};
use mcp::resource::{Body, Contents, Resource, Template};
use mcp::{Change, Content, Ctx, Features, ToolError};
use serde_json::json;
use tokio::sync::broadcast;

use crate::Everything;
use crate::content::PNG;
use crate::rounds::{field, form};

fn resource(uri: &str, name: &str, mime_type: &str) -> Resource {
    Resource {
        uri: uri.into(),
        name: name.into(),
        description: Some(format!("{name}, for testing")),
        mime_type: Some(mime_type.into()),
    }
}

fn prompt(name: &str, arguments: &[&str]) -> Prompt {
    let argument =
        |name: &&str| Argument { name: (*name).into(), description: Some("for testing".into()), required: true };
    Prompt {
        name: name.into(),
        description: Some("a prompt for testing".into()),
        arguments: arguments.iter().map(argument).collect(),
    }
}

fn said(content: Content) -> Message {
    Message { role: "user", content }
}

#[async_trait]
impl Features for Everything {
    fn changes(&self) -> Option<broadcast::Sender<Change>> {
        Some(self.changes.clone())
    }

    async fn resources(&self, _ctx: &Ctx) -> Result<Vec<Resource>, Fault> {
        Ok(vec![
            resource("test://static-text", "static text", "text/plain"),
            resource("test://static-binary", "static binary", "image/png"),
            resource("test://watched-resource", "watched resource", "text/plain"),
        ])
    }

    fn resource_templates(&self) -> Vec<Template> {
        vec![Template {
            uri_template: "test://template/{id}/data".into(),
            name: "template".into(),
            description: Some("a resource template, for testing".into()),
            mime_type: Some("application/json".into()),
        }]
    }

    async fn read_resource(&self, uri: &str, _ctx: &Ctx) -> Result<Option<Vec<Contents>>, ToolError> {
        let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let contents = match (uri, id) {
            ("test://static-text", _) => {
                Contents::text(uri, "text/plain", "This is the content of the static text resource.")
            }
            ("test://watched-resource", _) => Contents::text(uri, "text/plain", "Watched resource content"),
            ("test://static-binary", _) => Contents {
                uri: uri.into(),
                mime_type: Some("image/png".into()),
                body: Body::Blob(PNG.into()),
                meta: None,
            },
            (_, Some(id)) => {
                let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
                Contents::text(uri, "application/json", data.to_string())
            }
            _ => return Ok(None),
        };
        Ok(Some(vec![contents]))
    }

    fn prompts(&self) -> Vec<Prompt> {
        vec![
            prompt("test_simple_prompt", &[]),
            prompt("test_prompt_with_arguments", &["arg1", "arg2"]),
            prompt("test_prompt_with_embedded_resource", &["resourceUri"]),
            prompt("test_prompt_with_image", &[]),
            prompt("test_input_required_result_prompt", &[]),
        ]
    }

    async fn prompt(&self, name: &str, arguments: Arguments, ctx: &Ctx) -> Result<Vec<Message>, ToolError> {
        let argument = |name: &str| arguments.get(name).cloned().unwrap_or_default();
        Ok(match name {
            "test_prompt_with_arguments" => {
                let (arg1, arg2) = (argument("arg1"), argument("arg2"));
                vec![Message::user(format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]
            }
            "test_prompt_with_embedded_resource" => {
                let text = "Embedded resource content for testing.";
                let resource = json!({ "uri": argument("resourceUri"), "mimeType": "text/plain", "text": text });
                vec![said(Content::Resource { resource }), Message::user("Please process the embedded resource above.")]
            }
            "test_prompt_with_image" => vec![
                said(Content::Image { data: PNG.into(), mime_type: "image/png".into() }),
                Message::user("Please analyze the image above."),
            ],
            "test_input_required_result_prompt" => {
                let question = form("What context should the prompt use?", "context", "string");
                let answer = ctx.ask("user_context", question).await?;
                vec![Message::user(format!("Prompt with context: {}", field(&answer, "context")))]
            }
            _ => vec![Message::user("This is a simple prompt for testing.")],
        })
    }

    async fn complete(&self, _reference: &str, _argument: &str, typed: &str) -> Result<Vec<String>, Fault> {
        let all = ["paris", "park", "party"];
        Ok(all.iter().filter(|value| value.starts_with(typed)).map(|value| (*value).to_owned()).collect())
    }
}
