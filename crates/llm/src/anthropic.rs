//! Anthropic's Messages API, of 2023-06-01: <https://docs.anthropic.com/en/api/messages>.

use http::{HeaderMap, HeaderName, HeaderValue};
use kernel::models::{Message, Stop, Wish};
use kernel::{Fault, Result, Secret};
use serde_json::{Value, json};

use crate::retry::Trouble;
use crate::wire::{ANSWER, Folded, News, named_trouble, unreadable};

pub(crate) const CHAT: &str = "/v1/messages";
pub(crate) const MODELS: &str = "/v1/models?limit=1000";

pub(crate) fn headers(key: Option<&Secret>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
    if let Some(key) = key {
        let mut value =
            HeaderValue::from_str(key.expose()).map_err(|_| Fault::invalid("its key holds what is in no key"))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static("x-api-key"), value);
    }
    Ok(headers)
}

pub(crate) fn request(model: &str, wish: &Wish) -> Value {
    let messages: Vec<Value> = wish.messages.iter().map(message).collect();
    let mut body = json!({
        "model": model,
        "max_tokens": wish.tokens_max,
        "messages": messages,
        "stream": true,
    });
    if !wish.system.is_empty() {
        body["system"] = wish.system.as_str().into();
    }
    if let Some(percent) = wish.temperature_percent {
        // Its scale ends at one.
        body["temperature"] = (f64::from(percent.min(100)) / 100.0).into();
    }
    let tool =
        |name: &str, about: &str, takes: &Value| json!({ "name": name, "description": about, "input_schema": takes });
    let mut tools: Vec<Value> = wish.tools.iter().map(|offer| tool(&offer.name, &offer.about, &offer.takes)).collect();
    if let Some(schema) = &wish.schema {
        tools.push(tool(ANSWER, "Gives the final answer.", schema));
        body["tool_choice"] =
            if wish.tools.is_empty() { json!({ "type": "tool", "name": ANSWER }) } else { json!({ "type": "any" }) };
    }
    if !tools.is_empty() {
        body["tools"] = tools.into();
    }
    body
}

fn message(message: &Message) -> Value {
    match message {
        Message::User { text } => json!({ "role": "user", "content": text }),
        Message::Model { text, calls } => {
            let mut content = Vec::new();
            if !text.is_empty() {
                content.push(json!({ "type": "text", "text": text }));
            }
            for call in calls {
                // What was no object has been refused by then; the provider takes nothing else.
                let input = serde_json::from_str::<Value>(&call.arguments).ok().filter(Value::is_object);
                let input = input.unwrap_or_else(|| json!({}));
                content.push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input }));
            }
            json!({ "role": "assistant", "content": content })
        }
        Message::Results { results } => {
            let content: Vec<Value> = results
                .iter()
                .map(|result| {
                    json!({ "type": "tool_result", "tool_use_id": result.id, "content": result.text, "is_error": result.failed })
                })
                .collect();
            json!({ "role": "user", "content": content })
        }
    }
}

/// Takes the next event in.
pub(crate) fn event(folded: &mut Folded, event: &Value) -> Result<News, Trouble> {
    match event["type"].as_str().unwrap_or_default() {
        // What is written is counted at the end: what breaks off has no count.
        "message_start" => input(folded, &event["message"]["usage"]),
        "content_block_start" => {
            let block = &event["content_block"];
            match block["type"].as_str() {
                Some("tool_use") => {
                    let (id, name) = (block["id"].as_str(), block["name"].as_str());
                    let (Some(id), Some(name)) = (id, name) else { return Err(unreadable(&"a call without a name")) };
                    let place = folded.call(id, name)?;
                    folded.open = Some((event["index"].as_u64().unwrap_or_default(), place));
                }
                Some("text") => return folded.say(block["text"].as_str().unwrap_or_default()),
                _ => {}
            }
        }
        "content_block_delta" => {
            let delta = &event["delta"];
            if let Some(words) = delta["text"].as_str() {
                return folded.say(words);
            }
            if let (Some(piece), Some((index, place))) = (delta["partial_json"].as_str(), folded.open)
                && event["index"].as_u64() == Some(index)
            {
                return folded.argue(place, piece);
            }
        }
        "message_delta" => {
            input(folded, &event["usage"]);
            folded.usage.output_tokens = event["usage"]["output_tokens"].as_u64().or(folded.usage.output_tokens);
            folded.stop = event["delta"]["stop_reason"].as_str().map(stop).or(folded.stop);
        }
        "message_stop" => folded.whole = true,
        "error" => {
            let error = &event["error"];
            let word = |key: &str| error[key].as_str().unwrap_or("no reason given").to_owned();
            return Err(named_trouble(&word("type"), &word("message")));
        }
        // Pings, ends of blocks, and what may yet be added.
        _ => {}
    }
    Ok(News::default())
}

fn stop(reason: &str) -> Stop {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "tool_use" => Stop::Tools,
        "refusal" => Stop::Refusal,
        _ => Stop::End,
    }
}

/// What was read is told at the start, and by some again at the end.
fn input(folded: &mut Folded, told: &Value) {
    let count = |name: &str| told[name].as_u64();
    if let Some(fresh) = count("input_tokens") {
        let cached = count("cache_read_input_tokens").unwrap_or(0);
        let written = count("cache_creation_input_tokens").unwrap_or(0);
        folded.usage.input_tokens = Some(fresh.saturating_add(cached).saturating_add(written));
        folded.usage.cached_tokens = cached;
    }
}

/// A call without arguments has no pieces of them.
pub(crate) fn close(folded: &mut Folded) {
    for call in folded.calls.iter_mut().filter(|call| call.arguments.is_empty()) {
        call.arguments.push_str("{}");
    }
}
