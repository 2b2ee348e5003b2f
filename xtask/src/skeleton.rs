//! `cargo xtask new-server NAME`: a server that runs and is tested, to be turned into the one wanted.
//!
//! One file and its tests, two lines in the table of `crates/servers/src/lib.rs`, and its line in the catalog: made new with the
//! next free port, or marked as built where the catalog has the name already.

use std::fs;
use std::path::Path;

use crate::problem::{Problem, Result};
use crate::say;

const SERVER: &str = include_str!("skeleton/server.rs.txt");
const TESTS: &str = include_str!("skeleton/tests.rs.txt");
const TABLE: &str = "crates/servers/src/lib.rs";
const CATALOG: &str = "crates/kernel/src/catalog.rs";

/// Writes the server `name` into the checkout at `root`. `about` is what it is for, in a few words; a name that the catalog has
/// brings its own.
///
/// # Errors
/// The name is not usable or taken, there is nothing to say what it is for, or the table or the catalog has lost its shape.
pub(crate) fn new_server(root: &Path, name: &str, about: Option<&str>) -> Result {
    let words: Vec<&str> = name.split('-').collect();
    let usable = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    if !words.iter().all(usable) {
        return Err(Problem::new(format!("`{name}` is no name for a server"))
            .fix("lower-case words joined by `-`, each beginning with a letter, such as `tide-tables`"));
    }
    let module = words.join("_");
    let kind: String = words.iter().map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();

    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(Problem::io(path));
    let (catalog, about) = in_catalog(&read(CATALOG)?, name, about)?;
    let table = in_table(&read(TABLE)?, &module, &kind)?;
    let fill =
        |template: &str| template.replace("{{name}}", name).replace("{{Type}}", &kind).replace("{{about}}", &about);
    let server = format!("crates/servers/src/{module}.rs");
    if root.join(&server).exists() || root.join(&server).with_extension("").exists() {
        return Err(Problem::new(format!("{server} is there already")));
    }
    let tests = format!("crates/servers/src/{module}/tests.rs");
    let folder = root.join("crates/servers/src").join(&module);
    fs::create_dir_all(&folder).map_err(Problem::io(folder.display()))?;
    for (path, text) in
        [(&server, fill(SERVER)), (&tests, fill(TESTS)), (&TABLE.into(), table), (&CATALOG.into(), catalog)]
    {
        fs::write(root.join(path), text).map_err(Problem::io(path))?;
        say::line(&format!("wrote {path}"));
    }
    say::line(&format!("next: put the server's own tools in, `cargo test -p servers {module}::`, `cargo xtask gen`"));
    Ok(())
}

/// The table with the server's two lines.
fn in_table(text: &str, module: &str, kind: &str) -> Result<String> {
    let lost = || Problem::new(format!("{TABLE} has no `pub mod` lines or no `servers! {{` table"));
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
    let open = lines.iter().position(|line| line == "servers! {").ok_or_else(lost)?;
    let close = lines[open..].iter().position(|line| line == "}").ok_or_else(lost)?;
    lines.insert(open + close, format!("    {module}: {kind},"));
    Ok(lines.join("\n") + "\n")
}

/// The catalog with the server in it and built, and what it is for.
fn in_catalog(text: &str, name: &str, about: Option<&str>) -> Result<(String, String)> {
    let lost = || Problem::new(format!("{CATALOG} has lost its shape: lines of `server(name, port, about, built),`"));
    // rustfmt breaks long entries over lines, so an entry is read by its words, not its lines.
    for (at, _) in text.match_indices("server(") {
        let entry = &text[at..at + text[at..].find("),").or_else(|| text[at..].find(')')).ok_or_else(lost)?];
        let mut quoted = entry.split('"');
        if quoted.nth(1) != Some(name) {
            continue;
        }
        let about = quoted.nth(1).ok_or_else(lost)?;
        let built =
            at + entry.rfind("false").ok_or_else(|| Problem::new(format!("the server `{name}` is built already")))?;
        return Ok((format!("{}true{}", &text[..built], &text[built + "false".len()..]), about.to_owned()));
    }
    let about = about.ok_or_else(|| {
        Problem::new(format!("`{name}` is not in the catalog, so nothing says what it is for"))
            .fix(format!("cargo xtask new-server {name} --about \"tides and currents by harbour\""))
    })?;
    if about.contains(['"', '\\', '\n']) || about.ends_with('.') {
        return Err(Problem::new("--about is a few words without quotes, backslashes or a full stop at the end"));
    }
    let end = text.find("    agent(").ok_or_else(lost)?;
    let numbers = text[..end].split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u16>().ok());
    let port = numbers.filter(|number| (4_000..5_000).contains(number)).max().ok_or_else(lost)? + 1;
    let entry = format!("    server(\"{name}\", {port}, \"{about}\", true),\n");
    Ok((format!("{}{entry}{}", &text[..end], &text[end..]), about.to_owned()))
}

#[cfg(test)]
mod tests;
