//! Messages of MCP revisions with a handshake.

use kernel::Fault;
use kernel::aliases::Aliases;
use mcp::Revision;
use serde_json::{Map, Value, json};

use super::{Step, Translated, request};

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// What becomes of a message: the steps, and why.
type Outcome = (Vec<Step>, Vec<String>);

/// Translates one JSON-RPC message.
pub(super) async fn message(aliases: &Aliases, fields: &Map<String, Value>) -> Result<Translated, Fault> {
    let params = match fields.get("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params.clone(),
        Some(_) => return Err(Fault::invalid("params is not an object").hint("MCP has named parameters only")),
    };
    let Some(method) = fields.get("method").and_then(Value::as_str) else {
        return Ok(era(answered(fields)));
    };
    let version = params.get("_meta").and_then(|meta| meta.get(META_VERSION)).and_then(Value::as_str);
    if version == Some(Revision::CURRENT.as_str()) {
        let explanation = vec![format!("this is a message of {} already", Revision::CURRENT)];
        let step = plain(fields, method, params);
        return Ok(Translated { understood_as: "mcp-current".into(), steps: vec![step], explanation });
    }
    let id = fields.get("id").cloned().unwrap_or_else(|| 1.into());
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    Ok(era(match method {
        "initialize" => initialize(id, &params),
        "notifications/initialized" => nothing("there is no handshake any more, so nothing follows it"),
        "ping" => {
            nothing("ping was removed: GET /health/live says whether the server lives, any request whether it works")
        }
        "notifications/roots/list_changed" => {
            nothing("removed: where roots matter, the server asks for them in the call itself (inputRequests)")
        }
        "logging/setLevel" => log_level(text("level")),
        "resources/subscribe" => listen(id, text("uri")),
        "resources/unsubscribe" => {
            nothing("end the subscriptions/listen request that named the resource: close its stream")
        }
        "notifications/cancelled" => nothing(
            "over HTTP, close the stream of the request's own response; over stdio the message is the same as before",
        ),
        "tasks/list" | "tasks/result" => nothing(
            "tasks are an extension: tasks/get with the taskId says how a task stands and, once it is over, its result; there is no list",
        ),
        "elicitation/create" | "sampling/createMessage" | "roots/list" => nothing(
            "a server does not ask by requests of its own any more: its answer has resultType input_required with inputRequests; send the same \
             request again with inputResponses and the requestState as it came",
        ),
        _ if method.starts_with("notifications/") => nothing("notifications of the server stay as they are"),
        _ => same(aliases, id, method, params).await?,
    }))
}

fn era((steps, explanation): Outcome) -> Translated {
    Translated { understood_as: "mcp-handshake-era".into(), steps, explanation }
}

fn nothing(why: &str) -> Outcome {
    (Vec::new(), vec![why.to_owned()])
}

/// A message as it is, with the headers that its revision asks for.
fn plain(fields: &Map<String, Value>, method: &str, params: Map<String, Value>) -> Step {
    let name = params.get("name").or_else(|| params.get("uri")).and_then(Value::as_str).map(ToOwned::to_owned);
    let mut step = request(Value::Null, method, name.as_deref(), params);
    step.body = Value::Object(fields.clone());
    step
}

fn initialize(id: Value, params: &Map<String, Value>) -> Outcome {
    let mut meta = Map::new();
    for (old, new) in [("capabilities", "clientCapabilities"), ("clientInfo", "clientInfo")] {
        if let Some(value) = params.get(old) {
            meta.insert(format!("io.modelcontextprotocol/{new}"), value.clone());
        }
    }
    let params = Map::from_iter([("_meta".to_owned(), Value::Object(meta))]);
    let explanation = vec![
        "there is no handshake and no session: what initialize said goes into _meta of every request".to_owned(),
        "server/discover says what the server can do; it may be left out".to_owned(),
        "do not send Mcp-Session-Id".to_owned(),
    ];
    (vec![request(id, "server/discover", None, params)], explanation)
}

fn log_level(level: Option<&str>) -> Outcome {
    let level = level.unwrap_or("info");
    let why = format!(
        "the level goes with each request that wants log messages: _meta[\"io.modelcontextprotocol/logLevel\"] = \"{level}\""
    );
    nothing(&why)
}

fn listen(id: Value, uri: Option<&str>) -> Outcome {
    let uris: Vec<&str> = uri.into_iter().collect();
    let params = Map::from_iter([("notifications".to_owned(), json!({ "resourceSubscriptions": uris }))]);
    let explanation = vec![
        "one long request carries all notifications wanted: its stream starts with an acknowledgement and stays open"
            .to_owned(),
        "toolsListChanged, promptsListChanged and resourcesListChanged can be asked for in the same request".to_owned(),
    ];
    (vec![request(id, "subscriptions/listen", None, params)], explanation)
}

/// An answer to a request of the server's.
fn answered(fields: &Map<String, Value>) -> Outcome {
    let what = if fields.contains_key("error") {
        "a refusal is an inputResponse too"
    } else {
        "its result is the inputResponse"
    };
    let why = format!(
        "an answer to the server travels in the request that it asked about: send that request again with inputResponses under the key of \
         the question ({what}) and the requestState as it came"
    );
    nothing(&why)
}

/// A request that is still there: it only says more about itself.
async fn same(aliases: &Aliases, id: Value, method: &str, mut params: Map<String, Value>) -> Result<Outcome, Fault> {
    const KNOWN: [&str; 8] = [
        "tools/list",
        "tools/call",
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "completion/complete",
    ];
    if !KNOWN.contains(&method) && !method.starts_with("tasks/") {
        let hint = format!("one of {}, or a method of an older revision", KNOWN.join(", "));
        return Err(Fault::invalid(format!("no revision has the method `{method}`")).hint(hint));
    }
    let mut explanation = vec![
        "every request names its revision and the client's capabilities in _meta".to_owned(),
        "headers repeat what the body says, so that it can be routed without being read; they must agree".to_owned(),
    ];
    let mut name = params.get("name").or_else(|| params.get("uri")).or_else(|| params.get("taskId"));
    let today = match name.and_then(Value::as_str) {
        Some(old) if method == "tools/call" => {
            aliases.resolve(old).await?.inspect(|today| explanation.push(format!("`{old}` is called `{today}` today")))
        }
        _ => None,
    };
    if let Some(today) = today {
        params.insert("name".into(), today.into());
        name = params.get("name");
    }
    let name = name.and_then(Value::as_str).map(ToOwned::to_owned);
    Ok((vec![request(id, method, name.as_deref(), params)], explanation))
}
