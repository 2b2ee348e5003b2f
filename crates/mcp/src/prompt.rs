//! Prompts: jobs a person picks in a client.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::reply::Content;

/// A prompt in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prompt {
    /// Its name.
    pub name: String,
    /// What it does, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it takes.
    pub arguments: Vec<Argument>,
}

/// One argument of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it must be given.
    pub required: bool,
}

/// A prompt's arguments as given.
pub type Arguments = BTreeMap<String, String>;

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// `user` or `assistant`.
    pub role: &'static str,
    /// What is said.
    pub content: Content,
}

impl Message {
    /// Said by the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: "user", content: Content::text(text) }
    }
}
