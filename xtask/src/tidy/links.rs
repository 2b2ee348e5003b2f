//! Links in Markdown that stay inside the repository lead somewhere.

use super::tree::TextFile;
use super::{Breach, Tree};

/// Every relative link names a file or folder of the repository and, after `#`, one of its headings.
pub(super) fn links(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in tree.files.iter().filter(|file| file.is(&["md"])) {
        for (number, line) in outside_code(file) {
            for target in targets(line).filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
                if let Err(what) = leads_somewhere(tree, file, target) {
                    breaches.push(Breach::new(&file.path, number, format!("`{target}` {what}: correct the link")));
                }
            }
        }
    }
    breaches
}

/// The lines that are not in a fenced block.
fn outside_code(file: &TextFile) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    file.lines().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// What the line links to: `](target)`, `](target "title")`, `[name]: target`, `src="target"`, `href="target"`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let until = |opening: &'static str, closing: char| {
        line.match_indices(opening).filter_map(move |(at, _)| line[at + opening.len()..].split(closing).next())
    };
    let definition =
        line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
    until("](", ')')
        .chain(definition)
        .filter_map(|target| target.split_whitespace().next())
        .chain(until("src=\"", '"'))
        .chain(until("href=\"", '"'))
        .filter(|target| !target.is_empty())
}

fn leads_somewhere(tree: &Tree, from: &TextFile, target: &str) -> Result<(), &'static str> {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path =
        if path.is_empty() { from.path.clone() } else { resolve(&from.path, path).ok_or("leaves the repository")? };
    let folder = format!("{path}/");
    if !path.is_empty() && !tree.paths.iter().any(|known| *known == path || known.starts_with(&folder)) {
        return Err("is not there");
    }
    match tree.file(&path).filter(|file| !heading.is_empty() && file.is(&["md"])) {
        Some(file) if !headings(file).any(|known| known == heading) => Err("names a heading that is not there"),
        _ => Ok(()),
    }
}

/// The path from the root of `target` as seen from the file at `from`; `None` when it is outside.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

/// The names by which GitHub links to a document's headings.
fn headings(file: &TextFile) -> impl Iterator<Item = String> {
    outside_code(file).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
