//! OpenAI's chat completions, as others serve them too: <https://platform.openai.com/docs/api-reference/chat>.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use kernel::models::{Message, Stop, Usage, Wish};
use kernel::{Fault, Result, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::retry::Trouble;
use crate::wire::{Folded, News, named_trouble};

pub(crate) const CHAT: &str = "/chat/completions";
pub(crate) const EMBED: &str = "/embeddings";
pub(crate) const MODELS: &str = "/models";

pub(crate) fn headers(key: Option<&Secret>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let value = format!("Bearer {}", key.expose());
        let mut value = HeaderValue::try_from(value).map_err(|_| Fault::invalid("its key holds what is in no key"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// `newest` is OpenAI's own word for the bound, which others do not know yet.
pub(crate) fn request(model: &str, wish: &Wish, newest: bool) -> Value {
    let mut messages = Vec::new();
    if !wish.system.is_empty() {
        messages.push(json!({ "role": "system", "content": wish.system }));
    }
    wish.messages.iter().for_each(|message| push(&mut messages, message));
    let mut body = json!({
        "model": model,
        "messages": messages,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    body[if newest { "max_completion_tokens" } else { "max_tokens" }] = wish.tokens_max.into();
    if let Some(percent) = wish.temperature_percent {
        body["temperature"] = (f64::from(percent.min(200)) / 100.0).into();
    }
    if let Some(schema) = &wish.schema {
        // Not strict: that takes only some schemas. Whether the answer fits is looked at here.
        body["response_format"] =
            json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema, "strict": false } });
    }
    if !wish.tools.is_empty() {
        let tool = |offer: &kernel::models::Offer| {
            let function = json!({ "name": offer.name, "description": offer.about, "parameters": offer.takes });
            json!({ "type": "function", "function": function })
        };
        body["tools"] = wish.tools.iter().map(tool).collect();
    }
    body
}

fn push(messages: &mut Vec<Value>, message: &Message) {
    match message {
        Message::User { text } => messages.push(json!({ "role": "user", "content": text })),
        Message::Model { text, calls } => {
            let mut said = json!({ "role": "assistant", "content": text });
            if !calls.is_empty() {
                let call = |call: &kernel::models::ToolCall| {
                    let function = json!({ "name": call.name, "arguments": call.arguments });
                    json!({ "id": call.id, "type": "function", "function": function })
                };
                said["tool_calls"] = calls.iter().map(call).collect();
            }
            messages.push(said);
        }
        Message::Results { results } => messages.extend(
            results.iter().map(|result| json!({ "role": "tool", "tool_call_id": result.id, "content": result.text })),
        ),
    }
}

/// Takes the next event in.
pub(crate) fn event(folded: &mut Folded, event: &Value) -> Result<News, Trouble> {
    if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
        let word = |key: &str| error[key].as_str().map(ToOwned::to_owned);
        let kind = word("type").or_else(|| word("code")).unwrap_or_else(|| "error".into());
        return Err(named_trouble(&kind, &word("message").unwrap_or_else(|| "no reason given".into())));
    }
    if let Some(told) = event.get("usage").filter(|told| told.is_object()) {
        folded.usage = usage(told);
    }
    let choice = &event["choices"][0];
    for piece in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
        call(folded, piece)?;
    }
    if let Some(reason) = choice["finish_reason"].as_str() {
        folded.stop = Some(match reason {
            "length" => Stop::Length,
            "tool_calls" | "function_call" => Stop::Tools,
            "content_filter" => Stop::Refusal,
            _ => Stop::End,
        });
        folded.whole = true;
    }
    let refusal = choice["delta"]["refusal"].as_str().filter(|words| !words.is_empty());
    if refusal.is_some() {
        folded.stop = Some(Stop::Refusal);
    }
    match choice["delta"]["content"].as_str().filter(|words| !words.is_empty()).or(refusal) {
        Some(words) => folded.say(words),
        None => Ok(News::default()),
    }
}

/// A piece of a call: the first names it.
fn call(folded: &mut Folded, piece: &Value) -> Result<(), Trouble> {
    let function = &piece["function"];
    let index = piece["index"].as_u64();
    let place = match (folded.open, index) {
        (Some((open, place)), Some(index)) if open == index => place,
        (Some((_, place)), None) if piece["id"].as_str().is_none() => place,
        _ => {
            let own = format!("call_{}", folded.calls.len());
            let id = piece["id"].as_str().filter(|id| !id.is_empty()).unwrap_or(&own);
            let place = folded.call(id, function["name"].as_str().unwrap_or_default())?;
            folded.open = Some((index.unwrap_or(place as u64), place));
            place
        }
    };
    folded.argue(place, function["arguments"].as_str().unwrap_or_default()).map(|_| ())
}

fn usage(told: &Value) -> Usage {
    Usage {
        input_tokens: told["prompt_tokens"].as_u64(),
        cached_tokens: told["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0),
        // Embeddings write nothing.
        output_tokens: told["completion_tokens"].as_u64(),
    }
}

/// Embeddings, as they are answered.
#[derive(Deserialize)]
struct Answered {
    data: Vec<Row>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Row {
    index: usize,
    embedding: Vec<f32>,
}

/// The vectors of `count` texts, in their order.
pub(crate) fn vectors(body: &[u8], count: usize) -> Result<(Vec<Vec<f32>>, Usage)> {
    let bad = |what: &dyn std::fmt::Display| Fault::upstream(format!("the embeddings cannot be read: {what}"));
    let mut answered: Answered = serde_json::from_slice(body).map_err(|error| bad(&error))?;
    answered.data.sort_by_key(|row| row.index);
    let whole = answered.data.len() == count && answered.data.iter().enumerate().all(|(at, row)| at == row.index);
    if !whole {
        return Err(bad(&format!("{} vectors for {count} texts", answered.data.len())));
    }
    let usage = Usage { output_tokens: Some(0), ..usage(&answered.usage) };
    Ok((answered.data.into_iter().map(|row| row.embedding).collect(), usage))
}
