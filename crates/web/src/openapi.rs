//! The OpenAPI 3.1 document of the coordinator's REST, and a page to browse it.

use std::collections::HashMap;

use flow::remote::{Finish, Heartbeat, Lease, Leave, Register};
use maud::{DOCTYPE, html};
use serde_json::{Map, Value, json};

/// One documented operation.
struct Operation {
    path: &'static str,
    method: &'static str,
    about: &'static str,
    body: Option<Value>,
    stream: bool,
}

/// The schema of a body of ours.
fn body<T: schemars::JsonSchema>() -> Value {
    mcp::schema::input::<T>()
}

fn operations() -> Vec<Operation> {
    let get = |path, about| Operation { path, method: "get", about, body: None, stream: false };
    let post = |path, about, body| Operation { path, method: "post", about, body: Some(body), stream: false };
    let text = json!({ "type": "string" });
    let reason = json!({ "type": "object", "additionalProperties": false, "properties": { "reason": text } });
    vec![
        get("/status", "The whole system: mode, services, infrastructure, alerts"),
        get("/servers", "Every MCP server: port, URL, state, instances, tools"),
        get("/agents", "Every agent: port, URL, state, instances, task types"),
        get("/upstreams", "Every third party's server: state, tools, what is held, last error"),
        get("/health", "The coordinator's own health; 503 when it cannot serve"),
        get("/health/live", "Whether the process lives"),
        get("/health/ready", "Whether calls may be sent here"),
        get("/metrics", "Figures in the Prometheus text format"),
        Operation {
            path: "/events",
            method: "get",
            about: "The fleet's events as they come (SSE); `after` or Last-Event-ID resumes",
            body: None,
            stream: true,
        },
        post(
            "/command",
            "Runs a command on one service, a list, a label or `all`; an answer per target",
            json!({
                "type": "object", "required": ["target", "command"], "additionalProperties": false,
                "properties": {
                "target": { "type": ["string", "array"], "items": text },
                "command": text,
                "args": { "type": ["object", "array"] },
                "time_limit_ms": { "type": "integer", "minimum": 1, "maximum": 300_000 },
            },
            }),
        ),
        post("/servers/{name}/restart", "Restarts a server", reason.clone()),
        post("/agents/{name}/restart", "Restarts an agent", reason),
        post(
            "/agents/{name}/tasks",
            "Submits a task to a known agent, of a type that it does; with a key, submitting again gives the same task",
            json!({
                "type": "object", "required": ["task_type"], "additionalProperties": false,
                "properties": {
                    "task_type": text, "payload": {}, "key": text,
                    "priority": { "type": "integer", "minimum": 0, "maximum": 9 },
                    "delay_seconds": { "type": "integer", "minimum": 0, "maximum": 31_536_000 },
                    "attempts_max": { "type": "integer", "minimum": 1, "maximum": 100 },
                },
            }),
        ),
        post("/agents/{name}/register", "Makes a worker in another program known", body::<Register>()),
        post("/agents/{name}/lease", "Hands a worker tasks, waiting for one as long as it likes", body::<Lease>()),
        post("/agents/{name}/heartbeat", "A worker's sign of life; says what to stop", body::<Heartbeat>()),
        post("/agents/{name}/finish", "Ends tasks that a worker holds, fenced by `attempt`", body::<Finish>()),
        post("/agents/{name}/leave", "Takes a worker out of the registry", body::<Leave>()),
        post(
            "/sign-in-links",
            "A link that signs in at the dashboard with this request's key: once, within two minutes",
            json!({ "type": "object", "additionalProperties": false }),
        ),
        get("/tasks/{name}", "How a task stands and what came of it"),
        post(
            "/execute",
            "The v1 form: runs one of the coordinator's own tools",
            json!({
                "type": "object", "required": ["command"], "additionalProperties": false,
                "properties": { "command": text, "args": { "type": "object" } },
            }),
        ),
    ]
}

/// The document. `schemas` are the answers' schemas, by path.
pub fn document(schemas: &HashMap<&'static str, Value>) -> Value {
    let (mut paths, mut shared) = (Map::new(), Map::new());
    for operation in operations() {
        let kind = if operation.stream {
            "text/event-stream"
        } else if operation.path == "/metrics" {
            "text/plain"
        } else {
            "application/json"
        };
        let mut schema = schemas.get(operation.path).cloned().unwrap_or_else(|| json!({}));
        hoist(&mut schema, &mut shared);
        let mut entry = json!({
            "summary": operation.about,
            "responses": {
                "200": { "description": "the answer", "content": { kind: { "schema": schema } } },
                "default": { "$ref": "#/components/responses/Problem" },
            },
        });
        if let Some(mut body) = operation.body {
            hoist(&mut body, &mut shared);
            entry["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body } } });
        }
        if operation.path.contains("{name}") {
            entry["parameters"] =
                json!([{ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } }]);
        }
        paths.entry(operation.path).or_insert_with(|| json!({}))[operation.method] = entry;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Flotilla coordinator", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "MIT", "identifier": "MIT" } },
        "paths": paths,
        "security": [{ "key": [] }, {}],
        "components": {
            "schemas": shared,
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "description": "a key from `flotilla token create`" } },
            "responses": { "Problem": {
                "description": "why not (RFC 9457); `code` is stable",
                "content": { "application/problem+json": { "schema": {
                    "type": "object", "required": ["type", "title", "status", "detail", "code"],
                    "properties": {
                        "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
                        "detail": { "type": "string" }, "code": { "type": "string" }, "hint": { "type": "string" }, "data": {},
                    },
                } } },
            } },
        },
    })
}

/// Moves the definitions of a schema to where the whole document has them, and turns references to them there: in OpenAPI a reference
/// starts at the document's root.
fn hoist(schema: &mut Value, shared: &mut Map<String, Value>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                *reference = reference.replacen("#/$defs/", "#/components/schemas/", 1);
            }
            if let Some(Value::Object(definitions)) = fields.remove("$defs") {
                for (name, mut definition) in definitions {
                    hoist(&mut definition, shared);
                    shared.insert(name, definition);
                }
            }
            fields.values_mut().for_each(|field| hoist(field, shared));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hoist(item, shared)),
        _ => {}
    }
}

/// The same as a page.
pub fn page() -> String {
    let rows = operations();
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Flotilla REST" } style { (crate::plain::STYLE) } }
            body {
                h1 { "Coordinator REST" }
                p { "The machine-readable form is " a href="/openapi.json" { "/openapi.json" } "." }
                table {
                    thead { tr { th { "method" } th { "path" } th { "what it does" } } }
                    tbody { @for row in rows { tr { td { (row.method.to_uppercase()) } td { code { (row.path) } } td { (row.about) } } } }
                }
            }
        }
    }
    .into_string()
}
