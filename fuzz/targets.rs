//! Every parser of bytes that come from elsewhere, and what must hold of it whatever comes. Each target panics when it does not hold.
//!
//! Run by the fuzzer (`fuzz_targets/`) and, for a moment, by the tests of `mcp`.

use kernel::{Clock, Trace};
use mcp::client::sse::Reader;
use mcp::mirror;
use mcp::seal::{Binding, Sealer};
use mcp::splice;
use mcp::wire::{self, Message, Params};

/// A message: what can be read can be written and read again as the same.
pub(crate) fn wire(bytes: &[u8]) {
    let Ok(Message::Request(request)) = Message::parse(bytes) else { return };
    let again = wire::request_text(&request.id, &request.method, request.params.raw.as_deref());
    let Ok(Message::Request(twice)) = Message::parse(again.as_bytes()) else { panic!("not read again: {again}") };
    assert_eq!((twice.id, twice.method), (request.id, request.method));
    assert_eq!(twice.params.name, request.params.name);
}

/// A message's parameters: bounded depth, kept whole.
pub(crate) fn params(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if wire::check_depth(bytes, kernel::limits::JSON_DEPTH_MAX).is_err() {
        return;
    }
    let Ok(raw) = serde_json::from_str::<&serde_json::value::RawValue>(text) else { return };
    if let Ok(mut params) = Params::parse(Some(raw))
        && let Some(kept) = params.raw.take()
    {
        assert_eq!(kept.get(), raw.get());
        // Another name changes the name and nothing else.
        if let Ok(named) = splice::set_raw(&kept, &[("name", r#""n""#)]) {
            let text = |raw: &Option<Box<serde_json::value::RawValue>>| raw.as_ref().map(|raw| raw.get().to_owned());
            let Ok(again) = Params::parse(Some(&named)) else { panic!("not read again: {named}") };
            assert_eq!((again.name.as_deref(), again.uri, again.cursor), (Some("n"), params.uri, params.cursor));
            assert_eq!(text(&again.arguments), text(&params.arguments));
        }
        assert!(!wire::one_line(kept.get().to_owned()).contains(['\n', '\r']));
    }
}

/// A stream of events: the same events however it is cut into pieces. The first byte says where.
pub(crate) fn events(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else { return };
    let read = |pieces: &[&[u8]]| {
        let mut reader = Reader::new(1 << 12);
        let mut seen = Vec::new();
        for piece in pieces {
            if reader.push(piece).is_err() {
                return None;
            }
            while let Some(event) = reader.next_event() {
                seen.push((event.name, event.data));
            }
        }
        Some((seen, reader.last_id().map(ToOwned::to_owned), reader.retry()))
    };
    let (first, rest) = stream.split_at(usize::from(*cut).min(stream.len()));
    let whole = read(&[stream]);
    let cut = read(&[first, rest]);
    // What is too large may be found out later when it comes in pieces; what is not must be the same.
    if let (Some(whole), Some(cut)) = (whole, cut) {
        assert_eq!(whole, cut);
    }
}

/// Sealed state: nobody who lacks the key makes any.
pub(crate) fn sealed(bytes: &[u8]) {
    let sealer = Sealer::new(&[9; 32], Clock::manual(0));
    let binding = Binding { caller: "ann", purpose: "fuzz", subject: "" };
    assert!(sealer.open(binding, &String::from_utf8_lossy(bytes)).is_err());
}

/// A trace's place: what is read is written as it was, up to its flags.
pub(crate) fn traceparent(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(trace) = text.parse::<Trace>() {
        // The version before it and the flags behind it may be others.
        let ids = |text: &str| text.split('-').skip(1).take(2).map(str::to_ascii_lowercase).collect::<Vec<_>>();
        assert_eq!(ids(&trace.to_string()), ids(text.trim()));
    }
}

/// Headers that repeat arguments: what is written is read as it was; an input schema is read or refused.
pub(crate) fn mirrored(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let encoded = mirror::encode(&text).into_owned();
    assert!(encoded.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')), "{encoded:?} is no header's value");
    assert_eq!(mirror::decode(&encoded).as_deref(), Ok(&*text));
    if wire::check_depth(bytes, kernel::limits::JSON_DEPTH_MAX).is_ok()
        && let Ok(schema) = serde_json::from_slice(bytes)
    {
        // Read or refused: either is right for what a fuzzer makes.
        drop(mirror::mirrored(&schema));
    }
}
