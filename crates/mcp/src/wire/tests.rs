use expect_test::{Expect, expect};

use super::*;

fn check(body: &str, expected: Expect) {
    let seen = match Message::parse(body.as_bytes()) {
        Ok(Message::Request(request)) => {
            format!(
                "request {} {} {:?}",
                request.id,
                request.method,
                request.params.arguments.map(|raw| raw.to_string())
            )
        }
        Ok(Message::Notification(notification)) => format!("notification {}", notification.method),
        Ok(Message::Response(response)) => {
            format!("response {:?} {:?}", response.id, response.outcome.map(|raw| raw.to_string()))
        }
        Err(unreadable) => format!("{:?} {}", unreadable.id, unreadable.error),
    };
    expected.assert_eq(&seen);
}

#[test]
fn reads_what_the_protocol_has() {
    check(
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x","arguments":{"n": 1.50, "big":123456789012345678901234567890}}}"#,
        expect![[r#"request a tools/call Some("{\"n\": 1.50, \"big\":123456789012345678901234567890}")"#]],
    );
    check(
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        expect!["notification notifications/initialized"],
    );
    check(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, expect![[r#"response Some(Number(7)) Ok("{}")"#]]);
}

#[test]
fn says_what_is_wrong() {
    check("{", expect!["None not a JSON-RPC message: EOF while parsing an object at line 1 column 1 (-32700)"]);
    check("[]", expect!["None a message must be a JSON object (-32600)"]);
    check(r#"{"id":1,"method":"x"}"#, expect![[r#"Some(Number(1)) jsonrpc must be "2.0" (-32600)"#]]);
    check(r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, expect!["None id must be text or an integer (-32600)"]);
    check(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, expect!["None id must be text or an integer (-32600)"]);
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#,
        expect!["Some(Number(1)) params must be an object (-32602)"],
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"name":3}}"#,
        expect!["Some(Number(1)) params: `name` must be a string (-32602)"],
    );
    check(
        r#"{"jsonrpc":"2.0","id":1}"#,
        expect!["Some(Number(1)) a message has a method, or an id and one of result and error (-32600)"],
    );
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    check(&deep, expect!["None nested deeper than 64 levels (-32600)"]);
}

#[test]
fn brackets_in_text_are_not_nesting() {
    let body = format!(r#"{{"jsonrpc":"2.0","method":"x","params":{{"t":"{}\""}}}}"#, "[".repeat(100));
    check(&body, expect!["notification x"]);
}
