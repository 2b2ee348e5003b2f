//! What a message wants: which skill, and with what.

use std::collections::HashMap;

use a2a::{PartContent, Role, SendMessageRequest};
use kernel::ids::digest;
use kernel::limits::nearest;
use kernel::offers::{Offer, TaskType};
use kernel::{Caller, Fault};
use serde_json::{Map, Value};

use super::Refusal;

/// Most parts of a message.
const PARTS_MAX: usize = 16;
/// Longest id of a message or a context, in bytes.
const ID_BYTES_MAX: usize = 64;
/// What keys of tasks that came from messages begin with.
pub(super) const KEY: &str = "a2a/";

/// A task that a message wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// The type of task: the skill.
    pub task_type: String,
    /// What it is to be done with.
    pub payload: Value,
    /// The idempotency key: whose message, of which conversation.
    pub key: String,
}

impl Wish {
    /// Reads a message. The skill is named by `metadata.skill` of the message or the request, by the first word of a text, or is the only one
    /// that there is; what it gets is the data part, or a text that is a JSON object, or a text where the skill takes one.
    ///
    /// # Errors
    /// When it is not plain what is wanted.
    pub fn read(request: &SendMessageRequest, offer: &Offer, agent: &str, caller: &Caller) -> Result<Self, Refusal> {
        let message = &request.message;
        if message.role == Role::Agent {
            return Err(Fault::invalid("message.role: a message of an agent").hint("ROLE_USER").into());
        }
        check_id("messageId", &message.message_id)?;
        // The same message without a context is of the same conversation.
        let own = format!("ctx-{}", digest(format!("{}\0{}", caller.name, message.message_id).as_bytes()));
        let context = message.context_id.clone().filter(|context| !context.is_empty()).unwrap_or(own);
        check_id("contextId", &context)?;
        let (texts, data) = parts(request)?;
        let text = texts.join("\n");
        let named = skill_of(message.metadata.as_ref()).or_else(|| skill_of(request.metadata.as_ref()));
        let (skill, text) = skill(named, text.trim(), offer, agent)?;
        let payload = payload(skill, text, data)?;
        let key = format!("{KEY}{}/{context}/{}", digest(caller.name.as_bytes()), message.message_id);
        Ok(Self { task_type: skill.name.clone(), payload, key })
    }
}

fn check_id(what: &str, id: &str) -> Result<(), Refusal> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    if (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(fits) {
        return Ok(());
    }
    Err(Fault::invalid(format!("message.{what} has {} bytes, or others than visible ASCII without /", id.len()))
        .hint(format!("1 to {ID_BYTES_MAX}, like a UUID"))
        .into())
}

fn skill_of(metadata: Option<&HashMap<String, Value>>) -> Option<&str> {
    metadata?.get("skill")?.as_str()
}

fn parts(request: &SendMessageRequest) -> Result<(Vec<&str>, Option<&Value>), Refusal> {
    let parts = &request.message.parts;
    if !(1..=PARTS_MAX).contains(&parts.len()) {
        return Err(Fault::invalid(format!("message.parts has {}", parts.len()))
            .hint(format!("1 to {PARTS_MAX}"))
            .into());
    }
    let (mut texts, mut data) = (Vec::new(), None);
    for part in parts {
        match &part.content {
            PartContent::Text(text) => texts.push(text.as_str()),
            PartContent::Data(value) if data.is_none() => data = Some(value),
            PartContent::Data(_) => return Err(Fault::invalid("message.parts: two data parts").hint("one").into()),
            PartContent::Raw(_) | PartContent::Url(_) => {
                let fault = Fault::unsupported("message.parts: a file").hint("text, or one data part");
                return Err(Refusal::content(fault));
            }
        }
    }
    Ok((texts, data))
}

/// Which skill, and what of the text is for it.
fn skill<'a, 't>(
    named: Option<&str>,
    text: &'t str,
    offer: &'a Offer,
    agent: &str,
) -> Result<(&'a TaskType, &'t str), Refusal> {
    let find = |name: &str| offer.types.iter().find(|skill| skill.name == name);
    let names: Vec<&str> = offer.types.iter().map(|skill| &*skill.name).collect();
    if let Some(name) = named {
        let found = find(name).map(|skill| (skill, text));
        let near = || nearest(name, &names).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        return found.ok_or_else(|| {
            Fault::not_found(format!("agent {agent} has no skill `{name}`"))
                .hint(format!("{}it has {}", near(), list(&names)))
                .into()
        });
    }
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if let Some(skill) = find(first) {
        return Ok((skill, rest.trim()));
    }
    match offer.types.as_slice() {
        [only] => Ok((only, text)),
        _ => Err(Fault::invalid(format!("the message names none of the skills of agent {agent}"))
            .hint(format!("metadata: {{\"skill\": …}}, or the skill as the first word; it has {}", list(&names)))
            .into()),
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// What the skill gets.
fn payload(skill: &TaskType, text: &str, data: Option<&Value>) -> Result<Value, Refusal> {
    let both = || {
        Fault::invalid(format!("both a text and data for {}, which takes no text", skill.name))
            .hint("one of them")
            .into()
    };
    match (data, text, &skill.text) {
        (Some(data), "", _) => Ok(data.clone()),
        (Some(Value::Object(fields)), text, Some(field)) if !fields.contains_key(field) => {
            let mut fields = fields.clone();
            fields.insert(field.clone(), text.into());
            Ok(Value::Object(fields))
        }
        (Some(_), _, _) => Err(both()),
        (None, "", _) => Ok(Value::Object(Map::new())),
        (None, text, _) if text.starts_with('{') => serde_json::from_str(text)
            .map_err(|error| Fault::invalid(format!("the text is no JSON object: {error}")).into()),
        (None, text, Some(field)) => Ok(Value::Object(Map::from_iter([(field.clone(), text.into())]))),
        (None, _, None) => Err(Fault::invalid(format!("{} takes no text", skill.name))
            .hint("a data part, or its arguments as a JSON object")
            .into()),
    }
}
