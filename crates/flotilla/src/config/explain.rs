//! What the configuration is, and why.

use kernel::limits::nearest;
use kernel::mask::{MASK, masked};
use kernel::{Fault, Result};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::layers::Origin;
use super::{Config, Loaded};

/// The whole configuration with secrets masked.
pub fn show(loaded: &Loaded) -> Value {
    let mut value = masked(&loaded.value);
    for name in loaded.secrets.keys() {
        value["secrets"][*name] = MASK.into();
    }
    value
}

/// One key: its value, where it came from, and what it means.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// The dotted key.
    pub key: String,
    /// Its value, secrets masked.
    pub value: Value,
    /// Where the value came from.
    pub origin: String,
    /// What the key means.
    pub about: String,
}

/// Explains `key`, a value or a whole table.
pub fn explain(loaded: &Loaded, key: &str) -> Result<Explained> {
    let value = show(loaded);
    let place = if loaded.secrets.contains_key(key) { format!("secrets.{key}") } else { key.to_owned() };
    let pointer = format!("/{}", place.replace('.', "/"));
    let Some(found) = value.pointer(&pointer) else {
        let mut keys = Vec::new();
        leaves("", &value, &mut keys);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let fault = Fault::not_found(format!("no configuration key `{key}`"));
        return Err(match nearest(key, &keys) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("`flotilla config default` shows them all"),
        });
    };
    let origin = loaded.origins.get(key).cloned().unwrap_or(Origin::Default);
    let origin = if found.is_object() { "several, see its keys".to_owned() } else { origin.to_string() };
    Ok(Explained { key: key.into(), value: found.clone(), origin, about: about(key) })
}

/// Every value in effect with its origin, by key, secrets masked.
pub fn settings(loaded: &Loaded) -> Vec<gateway::coordinator::Setting> {
    let value = show(loaded);
    let mut keys = Vec::new();
    leaves("", &value, &mut keys);
    let found = keys.into_iter().filter_map(|key| {
        let value = value.pointer(&format!("/{}", key.replace('.', "/")))?;
        // A table is its keys; one without any says that there is nothing.
        if value.as_object().is_some_and(|fields| !fields.is_empty()) {
            return None;
        }
        let key = key.strip_prefix("secrets.").map_or(key.clone(), ToOwned::to_owned);
        let origin = loaded.origins.get(&key).unwrap_or(&Origin::Default).to_string();
        Some(gateway::coordinator::Setting { key, value: value.to_string(), origin })
    });
    found.collect()
}

fn leaves(path: &str, value: &Value, keys: &mut Vec<String>) {
    if let Value::Object(fields) = value {
        for (name, value) in fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            keys.push(path.clone());
            leaves(&path, value, keys);
        }
    }
}

/// The doc comment of a key's field.
fn about(key: &str) -> String {
    let root = schema::<Config>();
    let mut here = &root;
    for part in key.split('.') {
        let table = resolve(&root, here);
        here = &table["properties"][part];
    }
    here["description"].as_str().or_else(|| resolve(&root, here)["description"].as_str()).unwrap_or_default().to_owned()
}

/// The JSON Schema of the configuration.
pub(super) fn schema<T: JsonSchema>() -> Value {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

/// Follows a `$ref` into `$defs`.
pub(super) fn resolve<'a>(root: &'a Value, here: &'a Value) -> &'a Value {
    match here["$ref"].as_str().and_then(|reference| root.pointer(reference.trim_start_matches('#'))) {
        Some(target) => target,
        None => here,
    }
}
