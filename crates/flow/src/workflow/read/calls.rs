//! What calls something outside: tools, agents, web services, scripts, other workflows.

use serde_json::{Value, json};

use super::Components;
use super::fields::{Fields, Reader};
use super::parts;
use crate::workflow::FLEET_SCHEME;
use crate::workflow::model::{Call, Expr, Kind, ProcessOutput, SubWorkflow, Template};

/// A `call` of one of the language's own functions. `None` when it is a function of the definition's.
pub(super) fn call(
    reader: &mut Reader<'_>,
    components: &Components<'_>,
    of: &mut Fields<'_>,
    name: &str,
) -> Option<Option<Call>> {
    let at = of.path("with");
    let read = match name {
        "mcp" => mcp,
        "a2a" => a2a,
        "http" => http,
        "openapi" => openapi,
        "grpc" | "asyncapi" => {
            reader.wrong(
                &of.path("call"),
                format!("`call: {name}` is not supported"),
                "one of mcp, a2a, http, openapi, or a function of `use.functions`",
            );
            of.get("with");
            return Some(None);
        }
        _ => return None,
    };
    let Some(value) = of.need(reader, "with", "the call's arguments") else { return Some(None) };
    let Some(mut fields) = Fields::of(reader, value, &at, "the call's arguments") else { return Some(None) };
    let call = read(reader, components, &mut fields);
    fields.done(reader);
    Some(call)
}

fn mcp(reader: &mut Reader<'_>, _: &Components<'_>, fields: &mut Fields<'_>) -> Option<Call> {
    const HINT: &str = "with: { method: tools/call, parameters: { name, arguments }, transport: { http: { endpoint: 'fleet://SERVER' } } }";
    fields.need(reader, "method", HINT);
    if let Some(method) = fields.text(reader, "method")
        && method != "tools/call"
    {
        reader.wrong(&fields.path("method"), format!("`{method}` is not supported"), "tools/call");
    }
    let at = fields.path("parameters");
    let parameters = match fields.need(reader, "parameters", HINT)? {
        Value::String(text) => super::inner(text).map(|text| Template::Expr(Expr(text.to_owned()))),
        value @ Value::Object(_) => {
            let mut named = Fields::of(reader, value, &at, HINT)?;
            named.need(reader, "name", "the tool's name");
            named.text(reader, "name");
            if let Some(arguments) = named.get("arguments") {
                parts::data(reader, arguments, &named.path("arguments"));
            }
            named.done(reader);
            Some(Template::Value(value.clone()))
        }
        _ => None,
    };
    if parameters.is_none() {
        reader.wrong(&at, "parameters that are neither an object nor an expression", HINT);
    }
    let timeout = parts::optional_span(reader, fields.get("timeout"), &fields.path("timeout"));
    fields.get("protocolVersion");
    fields.get("client");
    let transport_at = fields.path("transport");
    let server = fields.get("transport").and_then(|transport| transport_server(reader, transport, &transport_at));
    Some(Call::Mcp { server, parameters: parameters?, timeout })
}

/// Which server a transport leads to: one of the fleet's, own or joined. Nothing else is connected to.
fn transport_server(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<String> {
    let hint = format!(
        "http: {{ endpoint: '{FLEET_SCHEME}SERVER' }}; other servers join the fleet first (add_upstream), where they are supervised and their tools pinned"
    );
    let mut fields = Fields::of(reader, value, at, &hint)?;
    if fields.get("stdio").is_some() {
        reader.wrong(&fields.path("stdio"), "a program to be started", &hint);
    }
    fields.get("options");
    let http = fields.get("http");
    let mut found = None;
    if let Some(http) = http {
        let mut inside = Fields::of(reader, http, &format!("{at}/http"), &hint)?;
        inside.get("headers");
        let endpoint = inside.need(reader, "endpoint", &hint);
        let uri = endpoint.and_then(|endpoint| endpoint.as_str().or_else(|| endpoint["uri"].as_str()));
        found =
            uri.and_then(|uri| uri.strip_prefix(FLEET_SCHEME)).map(|server| server.trim_end_matches('/').to_owned());
        if endpoint.is_some() && found.is_none() {
            reader.wrong(&format!("{at}/http/endpoint"), "an MCP server outside the fleet", &hint);
        }
        inside.done(reader);
    }
    fields.done(reader);
    found
}

fn a2a(reader: &mut Reader<'_>, components: &Components<'_>, fields: &mut Fields<'_>) -> Option<Call> {
    const METHODS: [&str; 11] = [
        "message/send",
        "message/stream",
        "tasks/get",
        "tasks/list",
        "tasks/cancel",
        "tasks/resubscribe",
        "tasks/pushNotificationConfig/set",
        "tasks/pushNotificationConfig/get",
        "tasks/pushNotificationConfig/list",
        "tasks/pushNotificationConfig/delete",
        "agent/getAuthenticatedExtendedCard",
    ];
    fields.need(reader, "method", "one of the methods of A2A: message/send");
    let method = fields.word(reader, "method", &METHODS);
    let card = fields.get("agentCard").and_then(|value| resource(reader, components, value, &fields.path("agentCard")));
    let server =
        fields.get("server").and_then(|value| parts::endpoint(reader, components, value, &fields.path("server")));
    if card.is_none() && server.is_none() {
        reader.wrong(
            &fields.at,
            "neither `agentCard` nor `server`",
            "say which agent: server: 'fleet://agent:monitoring'",
        );
    }
    let parameters = fields.get("parameters");
    if let Some(parameters) = parameters {
        parts::data(reader, parameters, &fields.path("parameters"));
    }
    Some(Call::A2a(json!({ "method": method, "agentCard": card, "server": server, "parameters": parameters })))
}

fn output_words(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> (&'static str, bool) {
    (fields.word(reader, "output", &["content", "raw", "response"]), fields.flag(reader, "redirect", false))
}

fn http(reader: &mut Reader<'_>, components: &Components<'_>, fields: &mut Fields<'_>) -> Option<Call> {
    const HINT: &str = "with: { method: get, endpoint: https://… }";
    fields.need(reader, "method", HINT);
    let method = fields.text(reader, "method");
    let endpoint = fields
        .need(reader, "endpoint", HINT)
        .and_then(|value| parts::endpoint(reader, components, value, &fields.path("endpoint")));
    for named in ["headers", "query"] {
        if let Some(value) = fields.get(named) {
            parts::data(reader, value, &fields.path(named));
        }
    }
    let (headers, query, body) = (fields.get("headers"), fields.get("query"), fields.get("body"));
    let (output, redirect) = output_words(reader, fields);
    Some(Call::Http(json!({
        "method": method?, "endpoint": endpoint?, "headers": headers, "query": query, "body": body, "output": output, "redirect": redirect,
    })))
}

fn openapi(reader: &mut Reader<'_>, components: &Components<'_>, fields: &mut Fields<'_>) -> Option<Call> {
    const HINT: &str = "with: { document: { endpoint: https://… }, operationId, parameters }";
    let document = fields
        .need(reader, "document", HINT)
        .and_then(|value| resource(reader, components, value, &fields.path("document")));
    fields.need(reader, "operationId", HINT);
    let operation = fields.text(reader, "operationId");
    let parameters = fields.get("parameters");
    if let Some(parameters) = parameters {
        parts::data(reader, parameters, &fields.path("parameters"));
    }
    let authentication = fields.get("authentication").map(|policy| {
        parts::authentication(reader, policy, &fields.path("authentication"), Some(components));
        policy["use"].as_str().and_then(|name| components.authentications.get(name)).unwrap_or(policy).clone()
    });
    let (output, redirect) = output_words(reader, fields);
    Some(Call::OpenApi(json!({
        "document": document?, "operationId": operation?, "parameters": parameters, "authentication": authentication,
        "output": output, "redirect": redirect,
    })))
}

/// An external resource: `{ endpoint }`.
fn resource(reader: &mut Reader<'_>, components: &Components<'_>, value: &Value, at: &str) -> Option<Value> {
    let mut fields = Fields::of(reader, value, at, "{ endpoint: https://… }")?;
    fields.text(reader, "name");
    let endpoint = fields.need(reader, "endpoint", "{ endpoint: https://… }");
    let endpoint = endpoint.and_then(|value| parts::endpoint(reader, components, value, &format!("{at}/endpoint")));
    fields.done(reader);
    endpoint
}

/// A `run` task.
pub(super) fn run(reader: &mut Reader<'_>, components: &Components<'_>, value: &Value, at: &str) -> Option<Kind> {
    const HINT: &str = "one of script and workflow";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    let wait = fields.flag(reader, "await", true);
    let gives = match fields.word(reader, "return", &["stdout", "stderr", "code", "all", "none"]) {
        "stderr" => ProcessOutput::Stderr,
        "code" => ProcessOutput::Code,
        "all" => ProcessOutput::All,
        "none" => ProcessOutput::None,
        _ => ProcessOutput::Stdout,
    };
    for (process, why) in [
        ("container", "programs run as scripts in the sandbox: run.script"),
        ("shell", "programs run as scripts in the sandbox: run.script with language sh"),
    ] {
        if fields.get(process).is_some() {
            reader.wrong(&fields.path(process), format!("`run.{process}` is not supported"), why);
        }
    }
    let script = fields.get("script").and_then(|value| script(reader, components, value, &format!("{at}/script")));
    let workflow =
        fields.get("workflow").and_then(|value| workflow(reader, value, &format!("{at}/workflow"), wait, gives));
    if !["container", "shell", "script", "workflow"].iter().any(|process| fields.has(process)) {
        reader.wrong(at, "nothing to run", HINT);
    }
    fields.done(reader);
    script.map(|script| Kind::Call(Call::Script { script, wait, gives })).or(workflow.map(Kind::Workflow))
}

fn script(reader: &mut Reader<'_>, components: &Components<'_>, value: &Value, at: &str) -> Option<Value> {
    const HINT: &str = "script: { language: python, code }";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    fields.need(reader, "language", HINT);
    let language = fields.word(reader, "language", &["python", "javascript", "js", "sh", "jq"]);
    let code = fields.text(reader, "code");
    if let Some(source) = fields.get("source") {
        resource(reader, components, source, &fields.path("source"));
        reader.wrong(&fields.path("source"), "a script from elsewhere", "put the script itself into `code`");
    } else if code.is_none() {
        reader.wrong(at, "`code` is missing", HINT);
    }
    if let Some(environment) = fields.get("environment") {
        parts::data(reader, environment, &fields.path("environment"));
    }
    let (stdin, arguments, environment) = (fields.get("stdin"), fields.get("arguments"), fields.get("environment"));
    fields.done(reader);
    Some(
        json!({ "language": language, "code": code?, "stdin": stdin, "arguments": arguments, "environment": environment }),
    )
}

fn workflow(reader: &mut Reader<'_>, value: &Value, at: &str, wait: bool, gives: ProcessOutput) -> Option<SubWorkflow> {
    const HINT: &str = "workflow: { namespace, name, version, input }";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    for field in ["namespace", "name", "version"] {
        fields.need(reader, field, HINT);
    }
    let (namespace, name) = (fields.text(reader, "namespace"), fields.text(reader, "name"));
    let version = fields.text(reader, "version").filter(|version| version != "latest");
    let input = fields.get("input").cloned();
    fields.done(reader);
    Some(SubWorkflow { namespace: namespace?, name: name?, version, input, wait, gives })
}
