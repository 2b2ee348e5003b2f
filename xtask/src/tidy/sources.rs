//! Text: length, module docs, what is unfinished, and addresses of machines and registries.

use super::{Breach, Tree};

/// The longest a file may be, in lines.
const LONGEST: usize = 500;
/// What people write in a programming language, by extension.
const CODE: [&str; 7] = ["rs", "sol", "py", "js", "css", "sh", "html"];
/// What people write.
const TEXT: [&str; 13] = ["rs", "sol", "py", "js", "css", "sh", "html", "toml", "md", "yml", "yaml", "json", "conf"];

// The needles are written in pieces, so that this file does not break its own rules.
const UNFINISHED: [&str; 5] = [
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("#[ig", "nore"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];
const REGISTRIES: [&str; 8] = [
    concat!("crates", ".io"),
    concat!("npm", "js."),
    concat!("registry.yarn", "pkg."),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("deb.deb", "ian.org"),
    concat!("proxy.go", "lang.org"),
    concat!("repo.maven.", "apache.org"),
];
const MACHINE_FOLDERS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
/// The one person whose home may be shown in examples.
const ANYONE: &str = "you/";

/// No file is longer than anyone would read.
pub(super) fn length(tree: &Tree) -> Vec<Breach> {
    let written = tree.files.iter().filter(|file| file.is(&CODE) && !file.generated());
    let long = written.filter(|file| file.text.lines().count() > LONGEST);
    long.map(|file| {
        let lines = file.text.lines().count();
        Breach::new(&file.path, LONGEST + 1, format!("{lines} lines: split it, {LONGEST} are the most"))
    })
    .collect()
}

/// Every module says what it is. Tests beside their module need not.
pub(super) fn module_docs(tree: &Tree) -> Vec<Breach> {
    let modules = tree.files.iter().filter(|file| file.is(&["rs"]) && !file.generated());
    modules
        .filter(|file| !file.path.ends_with("/tests.rs") && !file.text.starts_with("//!"))
        .map(|file| Breach::new(&file.path, 1, "no module docs: begin with `//!` and what the module is for"))
        .collect()
}

/// The other half of a test that needs a second process: it runs, started by the test that names it.
const HALF_OF_A_TEST: &str = "= \"started by the tests below\"]";

/// Nothing is left for later.
pub(super) fn unfinished(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in tree.files.iter().filter(|file| file.is(&TEXT) && !file.generated()) {
        for (number, line) in file.lines().filter(|(_, line)| !line.ends_with(HALF_OF_A_TEST)) {
            if let Some(word) = UNFINISHED.iter().find(|word| stands_alone(line, word)) {
                breaches.push(Breach::new(&file.path, number, format!("`{word}`: finish it, or take it out")));
            }
        }
    }
    breaches
}

/// No package registry's host and no path of one particular machine.
pub(super) fn addresses(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    // Cargo writes its index's address into its own lock file.
    for file in tree.files.iter().filter(|file| file.path != "Cargo.lock") {
        for (number, line) in file.lines() {
            if let Some(host) = REGISTRIES.iter().find(|host| line.contains(*host)) {
                let what =
                    format!("`{host}` is a package registry's host: say `the registry`, clients know where it is");
                breaches.push(Breach::new(&file.path, number, what));
            }
            if let Some(folder) = MACHINE_FOLDERS.iter().find(|folder| names_machine_folder(line, folder)) {
                let what =
                    format!("`{folder}…` is a path of one machine: make it relative, or take it from the environment");
                breaches.push(Breach::new(&file.path, number, what));
            }
        }
    }
    breaches
}

/// Whether the word is there without letters or digits on either side.
fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let word_like = |c: char| c.is_alphanumeric() || c == '_';
        !line[..at].ends_with(word_like) && !line[at + word.len()..].starts_with(word_like)
    })
}

/// Whether an absolute path into this folder begins on the line.
fn names_machine_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let inside_a_longer_path = line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~}$/".contains(c));
        let rest = &line[at + folder.len()..];
        !inside_a_longer_path
            && rest.starts_with(|c: char| c.is_alphanumeric() || c == '.')
            && !rest.starts_with(ANYONE)
    })
}
