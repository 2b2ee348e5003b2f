//! Text that must not be shown.

use std::fmt;

use serde::Deserialize;
use zeroize::ZeroizeOnDrop;

/// A secret. Prints as `***`, is never serialised, is read only where [`Secret::expose`] is called, and is wiped from memory in the end.
#[derive(ZeroizeOnDrop, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
