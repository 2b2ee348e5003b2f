//! House rules that neither the compiler nor clippy holds, as functions from the tree to its breaches. `cargo xtask tidy` prints
//! what they find; this crate's tests fail on it.

mod layers;
mod links;
mod manifests;
mod sources;
mod tree;

pub(crate) use tree::Tree;

use crate::problem::{Problem, Result};
use crate::repo::Repo;
use crate::say;

/// One place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    /// Path from the root.
    pub(crate) path: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// What is wrong and how to put it right.
    pub(crate) what: String,
}

impl Breach {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A rule: finds its breaches in a tree.
pub(crate) type Rule = fn(&Tree) -> Vec<Breach>;

/// Every rule by name.
pub(crate) const RULES: [(&str, Rule); 10] = [
    ("layers", layers::layers),
    ("fences", layers::fences),
    ("banned packages", layers::banned),
    ("versions in the root manifest", manifests::versions),
    ("workspace lints", manifests::lints),
    ("file length", sources::length),
    ("module docs", sources::module_docs),
    ("unfinished work", sources::unfinished),
    ("foreign addresses", sources::addresses),
    ("links", links::links),
];

/// Checks the checkout against every rule and prints the breaches.
pub(crate) fn tidy(repo: &Repo) -> Result {
    let tree = Tree::read(&repo.root)?;
    let breaches: Vec<_> = RULES.iter().flat_map(|(_, rule)| rule(&tree)).collect();
    for breach in &breaches {
        say::line(&breach.to_string());
    }
    match breaches.len() {
        0 => {
            say::line(&format!("tidy: {} files, {} rules", tree.files.len(), RULES.len()));
            Ok(())
        }
        count => Err(Problem::new(format!("{count} breaches of the house rules"))),
    }
}

#[cfg(test)]
mod tests;
