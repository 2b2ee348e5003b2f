//! What models cost, out of a file that people keep: prices change, and a wrong one is worse than none.

use std::collections::BTreeMap;
use std::path::Path;

use kernel::models::Price;
use kernel::pattern::matches;
use kernel::{Fault, Result};
use mcp::typed;
use serde::Deserialize;

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file: `{"models": {"claude-example-1*": {"input_nano_usd": 3000, "output_nano_usd": 15000}}}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prices {
    /// When they were looked up, for people.
    #[serde(default)]
    #[expect(dead_code, reason = "people write and read it")]
    as_of: Option<String>,
    /// By model or `provider/model`, `*` for any characters; the longest that fits decides.
    models: BTreeMap<String, Price>,
}

impl Prices {
    pub(crate) fn read(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let unreadable = |error: &dyn std::fmt::Display| {
            Fault::invalid(format!("models.price_file: {}: {error}", file.display())).hint("docs/models.md shows one")
        };
        let size = std::fs::metadata(file).map_err(|error| unreadable(&error))?.len();
        if size > FILE_BYTES_MAX {
            return Err(unreadable(&format!("larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error))?;
        typed::read(&text).map_err(|misfit| unreadable(&misfit))
    }

    pub(crate) fn of(&self, provider: &str, model: &str) -> Option<Price> {
        let whole = format!("{provider}/{model}");
        let fits = |pattern: &&String| matches(pattern, model) || matches(pattern, &whole);
        let best = self.models.keys().filter(fits).max_by_key(|pattern| pattern.len())?;
        self.models.get(best).copied()
    }
}
