//! What an upstream can announce, what to ask it to announce, and what it announced.

use serde_json::{Value, json};

use crate::handler::Change;
use crate::wire::Notification;

/// The filter for changes of the lists a server announces; `None` when it announces none.
pub(super) fn lists(capabilities: &Value) -> Option<Value> {
    let mut filter = json!({});
    for (kind, field) in
        [("tools", "toolsListChanged"), ("prompts", "promptsListChanged"), ("resources", "resourcesListChanged")]
    {
        if capabilities[kind]["listChanged"] == true {
            filter[field] = true.into();
        }
    }
    (filter != json!({})).then_some(filter)
}

/// The filter for changes of one resource.
pub(super) fn resource(uri: &str) -> Value {
    json!({ "resourceSubscriptions": [uri] })
}

/// The changes a filter lets through, for when some may have been missed.
pub(super) fn all(filter: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    for (field, change) in [
        ("toolsListChanged", Change::Tools),
        ("promptsListChanged", Change::Prompts),
        ("resourcesListChanged", Change::Resources),
    ] {
        if filter[field] == true {
            changes.push(change);
        }
    }
    let uris = filter["resourceSubscriptions"].as_array().into_iter().flatten().filter_map(Value::as_str);
    changes.extend(uris.map(|uri| Change::Resource(uri.into())));
    changes
}

/// The change a notification tells of.
pub(super) fn change_of(notification: &Notification) -> Option<Change> {
    Some(match notification.method.as_str() {
        "notifications/tools/list_changed" => Change::Tools,
        "notifications/prompts/list_changed" => Change::Prompts,
        "notifications/resources/list_changed" => Change::Resources,
        "notifications/resources/updated" => Change::Resource(notification.params.uri.clone()?),
        _ => return None,
    })
}
