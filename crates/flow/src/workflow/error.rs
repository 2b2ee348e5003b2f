//! Errors as the language has them: problem details (RFC 9457) that name the part of the definition they come from.

use kernel::{Code, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the language's own error types begin with.
const STANDARD: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/";
/// Longest text of an error, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// An error of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Error {
    /// What kind: a URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// As of HTTP.
    pub status: u16,
    /// In a few words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// What happened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// Which task: a JSON Pointer into the definition.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub instance: Option<String>,
}

impl Error {
    /// One of the language's own: `configuration`, `validation`, `expression`, `authentication`, `authorization`, `timeout`,
    /// `communication`, `runtime`.
    pub fn standard(name: &str, status: u16, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{STANDARD}{name}"),
            status,
            title: Some(shortened(title.into())),
            detail: Some(shortened(detail.into())),
            instance: None,
        }
    }

    /// It took too long.
    pub fn timeout(detail: impl Into<String>) -> Self {
        Self::standard("timeout", 408, "timeout", detail)
    }

    /// What evaluating an expression ended with.
    pub fn of_expression(fault: &Fault) -> Self {
        match fault.code {
            Code::PermissionDenied => Self::standard("authorization", 403, fault.code.as_str(), fault.to_string()),
            _ => Self::standard("expression", 400, fault.code.as_str(), fault.to_string()),
        }
    }

    /// What something outside ended with; `name` is the language's word for failures of that kind of call.
    pub fn of_call(fault: &Fault, name: &str) -> Self {
        let name = match fault.code {
            Code::PermissionDenied | Code::Quarantined => "authorization",
            Code::Unauthenticated => "authentication",
            Code::Timeout => return Self::timeout(fault.to_string()),
            Code::NotConfigured | Code::Unsupported => "configuration",
            _ => name,
        };
        Self::standard(name, fault.code.http_status(), fault.code.as_str(), fault.to_string())
    }

    /// It comes from this task, unless it says otherwise.
    #[must_use]
    pub fn at(mut self, instance: &str) -> Self {
        self.instance.get_or_insert_with(|| instance.to_owned());
        self
    }

    /// As data.
    pub fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Whether every attribute that a filter names is so.
    pub fn fits(&self, filter: &Map<String, Value>) -> bool {
        let own = self.value();
        filter.iter().all(|(name, wanted)| own.get(if name == "details" { "detail" } else { name }) == Some(wanted))
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.kind.strip_prefix(STANDARD).unwrap_or(&self.kind), self.status)?;
        for part in [&self.title, &self.detail].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        self.instance.as_ref().map_or(Ok(()), |instance| write!(f, ", at {instance}"))
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let mut end = TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
