//! Hides secrets in arguments and log fields before they are kept or shown.

use serde_json::Value;

/// What a hidden value reads as.
pub const MASK: &str = "***";

/// Parts of a field's name that mark its value as secret.
const SECRET_NAMES: [&str; 11] = [
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "privatekey",
    "mnemonic",
    "authorization",
    "credential",
];

/// Names that contain one of the above, but hold no secret.
const PLAIN_NAMES: [&str; 11] = [
    "token_in",
    "token_out",
    "tokens",
    "token_address",
    "progresstoken",
    "fencing_token",
    "token0",
    "token1",
    "max_tokens",
    "tokenin",
    "tokenout",
];

/// Whether a field of this name holds a secret. `token` itself counts as plain when its value is a chain address.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    !PLAIN_NAMES.contains(&name.as_str()) && SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// `value` with every secret field's value replaced by [`MASK`], at any depth.
pub fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| {
                    let hide = is_secret_name(name) && !value.is_null() && !value.as_str().is_some_and(is_address);
                    (name.clone(), if hide { Value::from(MASK) } else { masked(value) })
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        other => other.clone(),
    }
}

fn is_address(text: &str) -> bool {
    text.len() == 42 && text.starts_with("0x") && text[2..].bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_by_name_at_any_depth() {
        let given = serde_json::json!({"a": [{"api_key": "x", "n": 1}], "Password": {"deep": 1}, "token_in": "0xabc"});
        let want = serde_json::json!({"a": [{"api_key": "***", "n": 1}], "Password": "***", "token_in": "0xabc"});
        assert_eq!(masked(&given), want);
    }

    #[test]
    fn a_token_that_is_an_address_stays() {
        let address = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
        assert_eq!(masked(&serde_json::json!({"token": address}))["token"], address);
        assert_eq!(masked(&serde_json::json!({"token": "flt_abc"}))["token"], "***");
    }
}
