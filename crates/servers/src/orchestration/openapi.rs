//! `call: openapi`: an operation of a service that describes itself (OpenAPI 3, or Swagger 2).

use flow::workflow::error::Error;
use http::Uri;
use kernel::Fault;
use serde_json::{Map, Value};

use super::http::{Request, encoded, plain, send, shown};
use crate::outbound::Reach;

/// Methods that operations stand under.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
/// How often a reference inside a document is followed.
const REFERENCES_MAX: usize = 8;

fn wrong(what: impl Into<String>, hint: &str) -> Error {
    Error::of_call(&Fault::invalid(what).hint(hint), "configuration")
}

/// Makes the request of an effect.
pub(super) async fn perform(reach: &Reach, call: &Value, key: &str) -> Result<Value, Error> {
    let document_uri = call["document"]["uri"].as_str().unwrap_or_default();
    let document = Request {
        method: "get".into(),
        uri: document_uri.into(),
        authentication: call["document"].get("authentication"),
        headers: Map::new(),
        query: Map::new(),
        body: Value::Null,
    };
    let told = send(reach, &document, key).await?;
    let content = shown(&document, &told, &Value::Null)?;
    let described = match content {
        Value::String(text) => serde_json::from_str(&text).map_err(|_| {
            wrong(format!("{document_uri} is not an OpenAPI document in JSON"), "give the address of its JSON form")
        })?,
        other => other,
    };
    let request = request(&described, document_uri, call)?;
    let told = send(reach, &request, key).await?;
    shown(&request, &told, call)
}

/// The request that an operation with these parameters is.
fn request<'c>(document: &Value, document_uri: &str, call: &'c Value) -> Result<Request<'c>, Error> {
    let wanted = call["operationId"].as_str().unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations =
        paths.flat_map(|(path, item)| METHODS.iter().map(move |method| (path, *method, item, &item[*method])));
    let found = operations.into_iter().find(|(.., operation)| operation["operationId"] == wanted);
    let (path, method, item, operation) = found
        .ok_or_else(|| wrong(format!("the document has no operation `{wanted}`"), "an operationId of the document"))?;
    let given = call["parameters"].as_object().cloned().unwrap_or_default();
    let mut left = given.clone();
    let (mut path, mut query, mut headers) = (path.clone(), Map::new(), Map::new());
    let mut body = Value::Null;
    let declared = [item, operation].into_iter().flat_map(|of| of["parameters"].as_array().into_iter().flatten());
    for parameter in declared {
        let parameter = resolved(document, parameter);
        let name = parameter["name"].as_str().unwrap_or_default();
        let Some(value) = given.get(name).cloned() else {
            if parameter["required"] == true {
                return Err(wrong(
                    format!("parameter `{name}` of `{wanted}` is missing"),
                    "give it under `parameters`",
                ));
            }
            continue;
        };
        left.remove(name);
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{name}}}"), &encoded(&plain(&value))),
            Some("query") => drop(query.insert(name.to_owned(), value)),
            Some("header") => drop(headers.insert(name.to_owned(), value)),
            Some("body") => body = value,
            _ => {
                return Err(wrong(
                    format!("parameter `{name}` is in `{}`", parameter["in"]),
                    "path, query, header and body are known",
                ));
            }
        }
    }
    if operation["requestBody"].is_object() {
        // `body` is the whole body; otherwise what no parameter took is.
        body = match left.remove("body") {
            Some(whole) => whole,
            None if left.is_empty() => Value::Null,
            None => Value::Object(std::mem::take(&mut left)),
        };
    }
    if let Some((name, _)) = left.iter().next() {
        return Err(wrong(format!("`{wanted}` has no parameter `{name}`"), "the parameters of the operation"));
    }
    let uri = format!("{}{path}", base(document, document_uri)?.trim_end_matches('/'));
    Ok(Request {
        method: method.into(),
        uri,
        authentication: call.get("authentication").filter(|policy| !policy.is_null()),
        headers,
        query,
        body,
    })
}

/// What a reference inside the document leads to.
fn resolved<'d>(document: &'d Value, mut value: &'d Value) -> &'d Value {
    for _ in 0..REFERENCES_MAX {
        let Some(target) = value["$ref"].as_str().and_then(|target| target.strip_prefix('#')) else { break };
        match document.pointer(target) {
            Some(found) => value = found,
            None => break,
        }
    }
    value
}

/// Where the service answers.
fn base(document: &Value, document_uri: &str) -> Result<String, Error> {
    let own: Uri = document_uri
        .parse()
        .map_err(|_| wrong(format!("`{document_uri}` is no URL"), "https://example.com/openapi.json"))?;
    let (scheme, authority) =
        (own.scheme_str().unwrap_or("https"), own.authority().map(ToString::to_string).unwrap_or_default());
    if document["swagger"].is_string() {
        let scheme = document["schemes"][0].as_str().unwrap_or(scheme);
        let host = document["host"].as_str().unwrap_or(&authority);
        return Ok(format!("{scheme}://{host}{}", document["basePath"].as_str().unwrap_or_default()));
    }
    let server = &document["servers"][0];
    let mut url = server["url"].as_str().unwrap_or("/").to_owned();
    for (name, variable) in server["variables"].as_object().into_iter().flatten() {
        url = url.replace(&format!("{{{name}}}"), variable["default"].as_str().unwrap_or_default());
    }
    Ok(if url.contains("://") { url } else { format!("{scheme}://{authority}/{}", url.trim_start_matches('/')) })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(operation: &str, parameters: Value, expected: Expect) {
        let document = json!({
            "openapi": "3.0.0",
            "servers": [{ "url": "/v2" }],
            "paths": {
                "/pets/{id}": {
                    "parameters": [{ "$ref": "#/components/parameters/id" }],
                    "get": { "operationId": "get", "parameters": [{ "name": "full", "in": "query" }] },
                    "put": { "operationId": "put", "requestBody": {} },
                },
            },
            "components": { "parameters": { "id": { "name": "id", "in": "path", "required": true } } },
        });
        let call = json!({ "operationId": operation, "parameters": parameters });
        let made = request(&document, "https://e.com/docs/openapi.json", &call);
        let told = made.map(|made| format!("{} {} {} {}", made.method, made.uri, Value::Object(made.query), made.body));
        expected.assert_eq(&told.unwrap_or_else(|error| error.to_string()));
    }

    #[test]
    fn parameters_go_where_the_document_says() {
        check(
            "get",
            json!({ "id": "a b", "full": true }),
            expect![[r#"get https://e.com/v2/pets/a%20b {"full":true} null"#]],
        );
        check("put", json!({ "id": 1, "name": "x" }), expect![[r#"put https://e.com/v2/pets/1 {} {"name":"x"}"#]]);
        check("put", json!({ "id": 1, "body": [1] }), expect!["put https://e.com/v2/pets/1 {} [1]"]);
        check(
            "get",
            json!({}),
            expect![
                "configuration (400): invalid_argument: invalid_argument: parameter `id` of `get` is missing (give it under `parameters`)"
            ],
        );
        check(
            "get",
            json!({ "id": 1, "x": 1 }),
            expect![
                "configuration (400): invalid_argument: invalid_argument: `get` has no parameter `x` (the parameters of the operation)"
            ],
        );
        check(
            "gone",
            json!({}),
            expect![
                "configuration (400): invalid_argument: invalid_argument: the document has no operation `gone` (an operationId of the document)"
            ],
        );
    }
}
