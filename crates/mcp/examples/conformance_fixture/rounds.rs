//! Tools that ask: elicitation, sampling and roots, one by one, together and in rounds.

use std::collections::BTreeMap;

use mcp::ctx::Question;
use mcp::{Ctx, Hints, McpServer, Outcome, ToolError, ToolSet, tools};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::content::text;
use crate::{Everything, Nothing};

/// What [`SAMPLING`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Prompt {
    /// What to ask the model.
    pub prompt: String,
}

/// What [`ELICITATION`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// What to ask the user.
    pub message: String,
}

tools! { Everything::NAME;
    /// Asks the client's model.
    SAMPLING = "test_sampling": fn(Prompt) -> (), Hints::READ;
    /// Asks the user.
    ELICITATION = "test_elicitation": fn(Message) -> (), Hints::READ;
    /// Asks with defaults of every primitive type.
    DEFAULTS = "test_elicitation_sep1034_defaults": fn(Nothing) -> (), Hints::READ;
    /// Asks with every kind of choice.
    ENUMS = "test_elicitation_sep1330_enums": fn(Nothing) -> (), Hints::READ;
    /// Reports progress, then asks.
    STREAMING = "test_streaming_elicitation": fn(Nothing) -> (), Hints::READ;
    /// Needs a client that can sample.
    CAPABILITY = "test_missing_capability": fn(Nothing) -> (), Hints::READ;
    /// Asks for a name.
    ROUND_ELICITATION = "test_input_required_result_elicitation": fn(Nothing) -> (), Hints::READ;
    /// Asks the client's model for a capital.
    ROUND_SAMPLING = "test_input_required_result_sampling": fn(Nothing) -> (), Hints::READ;
    /// Asks for the client's roots.
    ROUND_ROOTS = "test_input_required_result_list_roots": fn(Nothing) -> (), Hints::READ;
    /// Asks, and keeps state meanwhile.
    ROUND_STATE = "test_input_required_result_request_state": fn(Nothing) -> (), Hints::READ;
    /// Asks three things at once.
    ROUND_MULTIPLE = "test_input_required_result_multiple_inputs": fn(Nothing) -> (), Hints::READ;
    /// Asks twice, one after the other.
    ROUND_TWICE = "test_input_required_result_multi_round": fn(Nothing) -> (), Hints::READ;
    /// Asks, and holds the client to its state.
    ROUND_TAMPERED = "test_input_required_result_tampered_state": fn(Nothing) -> (), Hints::READ;
    /// Asks what the client can answer.
    ROUND_CAPABILITIES = "test_input_required_result_capabilities": fn(Nothing) -> (), Hints::READ;
}

/// A form with one required field.
pub fn form(message: &str, field: &str, kind: &str) -> Question {
    Question::form(message, json!({ "type": "object", "properties": { field: { "type": kind } }, "required": [field] }))
}

fn sample(prompt: &str) -> Question {
    let message = json!({ "role": "user", "content": { "type": "text", "text": prompt } });
    Question { method: "sampling/createMessage".into(), params: json!({ "messages": [message], "maxTokens": 100 }) }
}

fn roots() -> Question {
    Question { method: "roots/list".into(), params: json!({}) }
}

/// A field of a form that was filled in.
pub fn field<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer["content"][name].as_str().unwrap_or("unknown")
}

/// Adds them.
pub fn add(set: &mut ToolSet<Everything>) {
    set.add_content(SAMPLING, |_, Prompt { prompt }, ctx| async move {
        let answer = ctx.ask("sample", sample(&prompt)).await?;
        text(format!("LLM response: {}", answer["content"]["text"].as_str().unwrap_or("none")))
    });
    set.add_content(ELICITATION, |_, Message { message }, ctx| async move {
        reviewed(&ctx, form(&message, "response", "string")).await
    });
    set.add_content(DEFAULTS, |_, _, ctx| async move {
        reviewed(&ctx, Question::form("Please review the form fields with defaults", defaults())).await
    });
    set.add_content(ENUMS, |_, _, ctx| async move {
        reviewed(&ctx, Question::form("Please select options from the enum fields", enums())).await
    });
    set.add_content(STREAMING, |_, _, ctx| async move {
        ctx.progress(50.0, Some(100.0), None).await;
        reviewed(&ctx, form("Please confirm", "ok", "boolean")).await
    });
    set.add_content(CAPABILITY, |_, _, ctx| async move {
        ctx.need("sampling")?;
        text("Success")
    });
    add_rounds(set);
}

async fn reviewed(ctx: &Ctx, question: Question) -> Result<Outcome, ToolError> {
    let answer = ctx.ask("form", question).await?;
    text(format!("Elicitation completed: action={}, content={}", answer["action"], answer["content"]))
}

fn add_rounds(set: &mut ToolSet<Everything>) {
    set.add_content(ROUND_ELICITATION, |_, _, ctx| async move {
        let name = ctx.ask("user_name", form("What is your name?", "name", "string")).await?;
        text(format!("Hello, {}!", field(&name, "name")))
    });
    set.add_content(ROUND_SAMPLING, |_, _, ctx| async move {
        let answer = ctx.ask("sample_request", sample("What is the capital of France?")).await?;
        text(format!("Sampling result: {}", answer["content"]["text"].as_str().unwrap_or("none")))
    });
    set.add_content(ROUND_ROOTS, |_, _, ctx| async move {
        let answer = ctx.ask("roots_request", roots()).await?;
        text(format!("Found {} root(s)", answer["roots"].as_array().map_or(0, Vec::len)))
    });
    set.add_content(ROUND_STATE, |_, _, ctx| async move {
        let questions = BTreeMap::from([("confirm".into(), form("Please confirm", "ok", "boolean"))]);
        ctx.ask_all(questions, json!({ "kind": "request-state" })).await?;
        text(if ctx.answers.state["kind"] == "request-state" { "state-ok: requestState validated" } else { "no state" })
    });
    set.add_content(ROUND_TAMPERED, |_, _, ctx| async move {
        ctx.ask("confirm", form("Please confirm", "ok", "boolean")).await?;
        text("integrity-ok: state verified")
    });
    set.add_content(ROUND_MULTIPLE, |_, _, ctx| async move {
        let questions = BTreeMap::from([
            ("user_name".into(), form("What is your name?", "name", "string")),
            ("greeting".into(), sample("Generate a greeting")),
            ("client_roots".into(), roots()),
        ]);
        let answers = ctx.ask_all(questions, Value::Null).await?;
        let roots = answers["client_roots"]["roots"].as_array().map_or(0, Vec::len);
        let greeting = &answers["greeting"]["content"]["text"];
        text(format!("Name: {}; Greeting: {greeting}; Roots: {roots}", field(&answers["user_name"], "name")))
    });
    set.add_content(ROUND_TWICE, |_, _, ctx| async move {
        let name = ctx.ask("step1", form("Step 1: What is your name?", "name", "string")).await?;
        let color = ctx.ask("step2", form("Step 2: What is your favorite color?", "color", "string")).await?;
        text(format!("Multi-round complete for {} who likes {}", field(&name, "name"), field(&color, "color")))
    });
    set.add_content(ROUND_CAPABILITIES, |_, _, ctx| async move {
        let mut questions = BTreeMap::new();
        if ctx.client.can("elicitation") {
            questions.insert("elicit_input".into(), form("Elicitation input", "value", "string"));
        }
        if ctx.client.can("sampling") {
            questions.insert("sample_input".into(), sample("Sample request"));
        }
        let answers = ctx.ask_all(questions, Value::Null).await?;
        text(format!("capabilities-ok: {} answers", answers.len()))
    });
}

fn defaults() -> Value {
    json!({ "type": "object", "required": [], "properties": {
        "name": { "type": "string", "description": "User name", "default": "John Doe" },
        "age": { "type": "integer", "description": "User age", "default": 30 },
        "score": { "type": "number", "description": "User score", "default": 95.5 },
        "status": { "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" },
        "verified": { "type": "boolean", "description": "Verification status", "default": true },
    } })
}

fn enums() -> Value {
    let titled = |name: &str, title: &str| json!({ "const": name, "title": title });
    json!({ "type": "object", "required": [], "properties": {
        "untitledSingle": { "type": "string", "enum": ["option1", "option2", "option3"] },
        "titledSingle": { "type": "string", "oneOf": [
            titled("value1", "First Option"), titled("value2", "Second Option"), titled("value3", "Third Option"),
        ] },
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array", "minItems": 1, "maxItems": 3,
            "items": { "type": "string", "enum": ["option1", "option2", "option3"] },
        },
        "titledMulti": { "type": "array", "minItems": 1, "maxItems": 3, "items": { "anyOf": [
            titled("value1", "First Choice"), titled("value2", "Second Choice"), titled("value3", "Third Choice"),
        ] } },
    } })
}
