//! `cargo xtask new-server NAME` and `new-agent NAME`: a service that runs and is tested, to be turned into the one wanted.
//!
//! One file and its tests, two lines in its crate's table, and its line in the catalog: made new with the next free port, or marked as
//! built where the catalog has the name already.

use std::fs;
use std::path::Path;

use crate::problem::{Problem, Result};
use crate::say;

/// A kind of service, and what its skeleton is made of.
pub(crate) struct Kind {
    /// What it is called; also the catalog's word for it.
    word: &'static str,
    /// Its crate, and the macro of its crate's table.
    package: &'static str,
    source: &'static str,
    tests: &'static str,
    /// Its ports: from the first, before the last.
    ports: (u16, u16),
}

/// An MCP server.
pub(crate) const SERVER: Kind = Kind {
    word: "server",
    package: "servers",
    source: include_str!("skeleton/server.rs.txt"),
    tests: include_str!("skeleton/server_tests.rs.txt"),
    ports: (4_000, 5_000),
};

/// An agent.
pub(crate) const AGENT: Kind = Kind {
    word: "agent",
    package: "agents",
    source: include_str!("skeleton/agent.rs.txt"),
    tests: include_str!("skeleton/agent_tests.rs.txt"),
    ports: (5_000, 6_000),
};

const CATALOG: &str = "crates/kernel/src/catalog.rs";

/// Writes the service `name` into the checkout at `root`. `about` is what it is for, in a few words; a name that the catalog has
/// brings its own.
///
/// # Errors
/// The name is not usable or taken, there is nothing to say what it is for, or the table or the catalog has lost its shape.
pub(crate) fn write(root: &Path, kind: &Kind, name: &str, about: Option<&str>) -> Result {
    let Kind { word, package, .. } = kind;
    let words: Vec<&str> = name.split('-').collect();
    let usable = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    if !words.iter().all(usable) {
        return Err(Problem::new(format!("`{name}` cannot name a service"))
            .fix("lower-case words joined by `-`, each beginning with a letter, such as `tide-tables`"));
    }
    let module = words.join("_");
    let title: String = words.iter().map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();

    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(Problem::io(path));
    let (catalog, about) = in_catalog(&read(CATALOG)?, kind, name, about)?;
    let table_path = format!("crates/{package}/src/lib.rs");
    let table = in_table(&read(&table_path)?, package, &module, &title)?;
    let fill =
        |template: &str| template.replace("{{name}}", name).replace("{{Type}}", &title).replace("{{about}}", &about);
    let source = format!("crates/{package}/src/{module}.rs");
    if root.join(&source).exists() || root.join(&source).with_extension("").exists() {
        return Err(Problem::new(format!("{source} is there already")));
    }
    let tests = format!("crates/{package}/src/{module}/tests.rs");
    let folder = root.join(format!("crates/{package}/src/{module}"));
    fs::create_dir_all(&folder).map_err(Problem::io(folder.display()))?;
    for (path, text) in
        [(&source, fill(kind.source)), (&tests, fill(kind.tests)), (&table_path, table), (&CATALOG.to_owned(), catalog)]
    {
        fs::write(root.join(path), text).map_err(Problem::io(path))?;
        say::line(&format!("wrote {path}"));
    }
    say::line(&format!("next: put the {word}'s own work in, `cargo test -p {package} {module}::`, `cargo xtask gen`"));
    Ok(())
}

/// The table with the service's two lines.
fn in_table(text: &str, package: &str, module: &str, title: &str) -> Result<String> {
    let open = format!("{package}! {{");
    let lost = || Problem::new(format!("crates/{package}/src/lib.rs has no `pub mod` lines or no `{open}` table"));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // The declarations are in alphabetical order, and stay so. One's attributes stand before it.
    let declared = |line: &String| {
        let name = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';')?;
        Some(name.to_owned())
    };
    let last = lines.iter().rposition(|line| declared(line).is_some()).ok_or_else(lost)?;
    let later = lines.iter().position(|line| declared(line).is_some_and(|name| name.as_str() > module));
    let mut at = later.unwrap_or(last + 1);
    while later.is_some() && lines[at - 1].starts_with("#[") {
        at -= 1;
    }
    lines.insert(at, format!("pub mod {module};"));
    let open = lines.iter().position(|line| *line == open).ok_or_else(lost)?;
    let close = lines[open..].iter().position(|line| line == "}").ok_or_else(lost)?;
    lines.insert(open + close, format!("    {module}: {title},"));
    Ok(lines.join("\n") + "\n")
}

/// The catalog with the service in it and built, and what it is for.
fn in_catalog(text: &str, kind: &Kind, name: &str, about: Option<&str>) -> Result<(String, String)> {
    let word = kind.word;
    let lost = || Problem::new(format!("{CATALOG} has lost its shape: lines of `{word}(name, port, about, built),`"));
    // rustfmt breaks long entries over lines, so an entry is read by its words, not its lines.
    let begin = format!("    {word}(");
    for (at, _) in text.match_indices(&begin) {
        let entry = &text[at..at + text[at..].find("),").or_else(|| text[at..].find(')')).ok_or_else(lost)?];
        let mut quoted = entry.split('"');
        if quoted.nth(1) != Some(name) {
            continue;
        }
        let about = quoted.nth(1).ok_or_else(lost)?;
        let built =
            at + entry.rfind("false").ok_or_else(|| Problem::new(format!("the {word} `{name}` is built already")))?;
        return Ok((format!("{}true{}", &text[..built], &text[built + "false".len()..]), about.to_owned()));
    }
    let about = about.ok_or_else(|| {
        Problem::new(format!("`{name}` is not in the catalog, so nothing says what it is for"))
            .fix(format!("cargo xtask new-{word} {name} --about \"tides and currents by harbour\""))
    })?;
    if about.contains(['"', '\\', '\n']) || about.ends_with('.') {
        return Err(Problem::new("--about is a few words without quotes, backslashes or a full stop at the end"));
    }
    // After the last of its kind, before the end of the list or the next kind.
    let last = text.rfind(&begin).ok_or_else(lost)?;
    let end = last + text[last..].find("),\n").ok_or_else(lost)? + "),\n".len();
    let numbers = text[..end].split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u16>().ok());
    let port = numbers.filter(|number| (kind.ports.0..kind.ports.1).contains(number)).max().ok_or_else(lost)? + 1;
    let entry = format!("    {word}(\"{name}\", {port}, \"{about}\", true),\n");
    Ok((format!("{}{entry}{}", &text[..end], &text[end..]), about.to_owned()))
}

#[cfg(test)]
mod tests;
