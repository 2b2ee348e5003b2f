//! What went wrong and how to put it right: the one error of these chores.

use std::fmt;

/// A failed chore: one sentence on what is wrong and, where there is one, the fix.
#[derive(Debug)]
pub(crate) struct Problem {
    what: String,
    fix: Option<String>,
}

/// What a chore comes to.
pub(crate) type Result<T = ()> = std::result::Result<T, Problem>;

impl Problem {
    /// A problem with no fix of its own.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), fix: None }
    }

    /// The same problem with its fix.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Its first line and its fix.
    pub(crate) fn in_one_line(&self) -> String {
        let what = self.what.lines().next().unwrap_or_default();
        self.fix.as_ref().map_or_else(|| what.to_owned(), |fix| format!("{what} ({fix})"))
    }

    /// For `map_err`: an I/O error during `what`.
    pub(crate) fn io<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::new(format!("{what}: {error}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.fix {
            Some(fix) => write!(f, "\n  fix: {fix}"),
            None => Ok(()),
        }
    }
}
