//! The fuzz targets, for a moment on every run: on arbitrary bytes, and on bytes that look like what the parsers read.

#[path = "../../../fuzz/targets.rs"]
mod targets;

use proptest::prelude::*;

/// Pieces of messages, schemas, events and headers, in any order.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u0000",
        "\n",
        "\r\n",
        "\n\n",
        " ",
        "null",
        "true",
        "-1",
        "1e999",
        "2.0",
        "é",
        "\"jsonrpc\":\"2.0\"",
        "\"id\":1",
        "\"id\":\"x\"",
        "\"method\":\"tools/call\"",
        "\"params\":{",
        "\"name\":\"x\"",
        "\"arguments\":{",
        "\"_meta\":{",
        "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"",
        "\"result\":{}",
        "\"error\":{\"code\":1,\"message\":\"m\"}",
        "\"properties\":{",
        "\"type\":\"string\"",
        "\"x-mcp-header\":\"A\"",
        "data: ",
        "data",
        "event: message\n",
        "id: 7\n",
        "retry: 10\n",
        ":",
        "\u{feff}",
        "=?base64?",
        "?=",
        "SGVsbG8=",
        "00-",
        "0af7651916cd43dd8448eb211c80319c",
        "-b7ad6b7169203331",
        "-01",
        "ff",
    ];
    let piece = prop_oneof![
        8 => prop::sample::select(pieces.as_slice().to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// A well-formed request with something foreign in it.
fn request() -> impl Strategy<Value = Vec<u8>> {
    (any::<i64>(), ".*", ".*").prop_map(|(id, method, name)| {
        let params =
            serde_json::json!({ "name": name, "arguments": { "x": method }, "_meta": { "progressToken": id } });
        serde_json::json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string().into_bytes()
    })
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => likely(), 1 => request(), 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wire(bytes in any_bytes()) {
        targets::wire(&bytes);
    }

    #[test]
    fn params(bytes in any_bytes()) {
        targets::params(&bytes);
    }

    #[test]
    fn events(bytes in any_bytes()) {
        targets::events(&bytes);
    }

    #[test]
    fn sealed(bytes in any_bytes()) {
        targets::sealed(&bytes);
    }

    #[test]
    fn traceparent(bytes in any_bytes()) {
        targets::traceparent(&bytes);
    }

    #[test]
    fn mirrored(bytes in any_bytes()) {
        targets::mirrored(&bytes);
    }
}
