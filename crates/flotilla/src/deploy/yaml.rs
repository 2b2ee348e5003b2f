//! YAML as people would write it, from JSON values: block style, quotes only where they are needed.

use serde_json::Value;

/// The widest a list stays on one line, in characters.
const LINE_MAX: usize = 110;

/// A document: what it is, as comments, and `value`.
pub fn document(about: &[&str], value: &Value) -> String {
    let mut text: String = about.iter().map(|line| format!("# {line}\n")).collect();
    block(&mut text, value, 0);
    text
}

/// Writes a mapping or a list in lines of their own, each indented by `depth`.
fn block(text: &mut String, value: &Value, depth: usize) {
    let pad = " ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                text.push_str(&format!("{pad}{}:", scalar(name)));
                after(text, value, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                // An item's first line stands behind its dash.
                let mut inner = String::new();
                if one_line(item).is_some() {
                    after(&mut inner, item, depth);
                    text.push_str(&format!("{pad}-{inner}"));
                } else {
                    block(&mut inner, item, depth + 2);
                    text.push_str(&format!("{pad}- {}", &inner[depth + 2..]));
                }
            }
        }
        other => text.push_str(&format!("{pad}{}\n", one_line(other).unwrap_or_default())),
    }
}

/// Writes a value behind its name or dash: on the same line where it fits, otherwise below.
fn after(text: &mut String, value: &Value, depth: usize) {
    let lines = value.as_str().filter(|value| value.contains('\n'));
    if let Some(lines) = lines {
        text.push_str(if lines.ends_with('\n') { " |\n" } else { " |-\n" });
        for line in lines.trim_end_matches('\n').lines() {
            let pad = if line.is_empty() { String::new() } else { " ".repeat(depth + 2) };
            text.push_str(&format!("{pad}{line}\n"));
        }
    } else if let Some(line) = one_line(value) {
        text.push_str(&format!(" {line}\n"));
    } else {
        text.push('\n');
        block(text, value, depth + 2);
    }
}

/// A value that fits on the line where it begins.
fn one_line(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(scalar(text)),
        Value::Object(fields) => fields.is_empty().then(|| "{}".to_owned()),
        Value::Array(items) => {
            let words: Option<Vec<String>> = items
                .iter()
                .map(|item| (!item.is_object() && !item.is_array()).then(|| one_line(item)).flatten())
                .collect();
            Some(format!("[{}]", words?.join(", "))).filter(|line| line.len() <= LINE_MAX)
        }
        other => Some(other.to_string()),
    }
}

/// Text, in quotes where YAML would take it for something else.
fn scalar(text: &str) -> String {
    const RESERVED: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || " _./-+$".contains(c));
    let reserved = RESERVED.contains(&text.to_ascii_lowercase().as_str());
    if begins && plain && !reserved && !text.ends_with(' ') {
        text.to_owned()
    } else {
        // A JSON string is a double-quoted YAML string.
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_yaml_would_take_for_something_else_is_quoted_and_the_rest_is_not() {
        let value = json!({
            "plain": "unless-stopped", "no": "no", "port": "4000:4000", "number": 5, "text number": "5", "empty": {},
            "nothing": [], "list": ["a", "b, c"], "hash": "a #b", "null": null, "script": "one\n\ntwo\n",
            "long": ["x".repeat(60), "y".repeat(60)],
            "rules": [{ "alert": "Down", "expr": "up == 0", "labels": { "severity": "critical" } }, { "deep": [{ "a": [1] }] }, "word"],
        });
        let text = document(&["About."], &value);
        expect![[r#"
            # About.
            plain: unless-stopped
            "no": "no"
            port: "4000:4000"
            number: 5
            text number: "5"
            empty: {}
            nothing: []
            list: [a, "b, c"]
            hash: "a #b"
            "null": null
            script: |
              one

              two
            long:
              - xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
              - yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
            rules:
              - alert: Down
                expr: "up == 0"
                labels:
                  severity: critical
              - deep:
                  - a: [1]
              - word
        "#]]
        .assert_eq(&text);
    }
}
