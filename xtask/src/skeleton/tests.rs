use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::{cargo, command, repo};

const CATALOG_TEXT: &str = r#"const fn server(name: &'static str, built: bool) {}
    server("alpha", 4000, "first", true),
    server(
        "beta",
        4001,
        "second, said to be false by some",
        false,
    ),
    agent("beta", 5001, "third", false),
];
"#;

fn refusal(outcome: Result<(String, String)>) -> String {
    outcome.unwrap_err().in_one_line()
}

#[test]
fn the_catalog_marks_what_it_has_and_gives_a_port_to_what_it_has_not() {
    let (marked, about) = in_catalog(CATALOG_TEXT, &SERVER, "beta", None).unwrap();
    assert_eq!(about, "second, said to be false by some");
    assert_eq!(marked, CATALOG_TEXT.replacen("        false,", "        true,", 1));
    let (marked, about) = in_catalog(CATALOG_TEXT, &AGENT, "beta", None).unwrap();
    assert_eq!((about.as_str(), marked), ("third", CATALOG_TEXT.replace("\"third\", false", "\"third\", true")));
    let (grown, _) = in_catalog(CATALOG_TEXT, &SERVER, "gamma", Some("fourth")).unwrap();
    assert!(grown.contains("    ),\n    server(\"gamma\", 4002, \"fourth\", true),\n    agent("), "{grown}");
    let (grown, _) = in_catalog(CATALOG_TEXT, &AGENT, "gamma", Some("fourth")).unwrap();
    assert!(grown.ends_with("false),\n    agent(\"gamma\", 5002, \"fourth\", true),\n];\n"), "{grown}");
}

#[test]
fn the_catalog_refuses_what_is_built_or_says_nothing_of_itself() {
    assert_eq!(refusal(in_catalog(CATALOG_TEXT, &SERVER, "alpha", None)), "the server `alpha` is built already");
    assert!(refusal(in_catalog(CATALOG_TEXT, &SERVER, "gamma", None)).contains("new-server gamma --about"));
    assert!(refusal(in_catalog(CATALOG_TEXT, &AGENT, "gamma", None)).contains("new-agent gamma --about"));
    assert!(refusal(in_catalog(CATALOG_TEXT, &SERVER, "gamma", Some("a \"b\""))).contains("quotes"));
}

#[test]
fn the_table_stays_in_order() {
    let table = "//! Servers.\n\npub mod b;\n#[cfg(test)]\nmod d;\n\nservers! {\n    b: B,\n    d: D,\n}\n";
    let with = |module, title| in_table(table, "servers", module, title).unwrap();
    assert!(with("a", "A").contains("pub mod a;\npub mod b;\n"));
    assert!(with("c", "C").contains("pub mod b;\npub mod c;\n#[cfg(test)]\nmod d;\n"));
    assert!(with("e", "E").ends_with("mod d;\npub mod e;\n\nservers! {\n    b: B,\n    d: D,\n    e: E,\n}\n"));
}

#[test]
fn a_bad_name_is_refused() {
    for name in ["", "Tide", "tide--tables", "-tide", "tide-", "4tides", "tide_tables", "tide/tables"] {
        let refused = write(Path::new("nowhere"), &SERVER, name, None).unwrap_err().in_one_line();
        assert!(refused.contains("cannot name a service"), "{name}: {refused}");
    }
}

/// In a copy of the workspace with another version number: cargo then shares what it built of other people's packages, and
/// mixes up nothing of ours. The copy is kept beside what is built of it, so that the next run builds only what has changed.
#[test]
fn a_new_server_and_a_new_agent_compile_without_a_warning_and_their_tests_pass() {
    let repo = repo::Repo::find().unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let fresh = fresh.path();
    let mut git = Command::new("git");
    git.current_dir(&repo.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    for path in command::output(&mut git).unwrap().split_terminator('\0') {
        if repo.root.join(path).is_file() {
            copy(&repo.root.join(path), &fresh.join(path));
        }
    }
    let manifest = fs::read_to_string(fresh.join("Cargo.toml")).unwrap();
    let renamed = manifest.replacen("version = \"", "version = \"9", 1);
    fs::write(fresh.join("Cargo.toml"), renamed).unwrap();
    write(fresh, &SERVER, "tide-tables", Some("tides and currents by harbour")).unwrap();
    write(fresh, &AGENT, "tide-watch", Some("tells when the tide turns")).unwrap();

    let mut metadata = cargo::cargo(&repo);
    let metadata = command::output(metadata.args(["metadata", "--no-deps", "--format-version=1"])).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let target = metadata["target_directory"].as_str().unwrap();
    let kept = Path::new(target).join("xtask/skeletons");
    mirror(fresh, &kept);
    let mut test = cargo::cargo(&repo);
    test.current_dir(&kept).env("CARGO_TARGET_DIR", target);
    test.args(["test", "--offline", "--package", "servers", "--package", "agents", "--lib", "tide_"]);
    let output = test.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    let passed = said.matches("test result: ok. 1 passed").count();
    assert!(output.status.success() && passed == 2 && !said.contains("warning"), "{said}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

/// Every file under `folder`, from there.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found
}

/// Makes `to` what `from` is, and leaves files alone that are the same: cargo goes by when a file was written.
fn mirror(from: &Path, to: &Path) {
    let wanted = files(from);
    for gone in files(to).difference(&wanted) {
        fs::remove_file(to.join(gone)).unwrap();
    }
    for path in wanted {
        let (from, to) = (from.join(&path), to.join(&path));
        if fs::read(&to).ok() != Some(fs::read(&from).unwrap()) {
            copy(&from, &to);
        }
    }
}
