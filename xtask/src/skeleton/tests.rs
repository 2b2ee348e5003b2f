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
"#;

fn refusal(outcome: Result<(String, String)>) -> String {
    outcome.unwrap_err().in_one_line()
}

#[test]
fn the_catalog_marks_what_it_has_and_gives_a_port_to_what_it_has_not() {
    let (marked, about) = in_catalog(CATALOG_TEXT, "beta", None).unwrap();
    assert_eq!(about, "second, said to be false by some");
    assert_eq!(marked, CATALOG_TEXT.replacen("        false,", "        true,", 1));
    let (grown, _) = in_catalog(CATALOG_TEXT, "gamma", Some("fourth")).unwrap();
    assert!(grown.contains("    ),\n    server(\"gamma\", 4002, \"fourth\", true),\n    agent("), "{grown}");
}

#[test]
fn the_catalog_refuses_what_is_built_or_says_nothing_of_itself() {
    assert_eq!(refusal(in_catalog(CATALOG_TEXT, "alpha", None)), "the server `alpha` is built already");
    assert!(refusal(in_catalog(CATALOG_TEXT, "gamma", None)).contains("--about"));
    assert!(refusal(in_catalog(CATALOG_TEXT, "gamma", Some("a \"b\""))).contains("quotes"));
}

#[test]
fn the_table_stays_in_order() {
    let table = "//! Servers.\n\npub mod b;\n#[cfg(test)]\nmod d;\n\nservers! {\n    b: B,\n    d: D,\n}\n";
    let with = |module, kind| in_table(table, module, kind).unwrap();
    assert!(with("a", "A").contains("pub mod a;\npub mod b;\n"));
    assert!(with("c", "C").contains("pub mod b;\npub mod c;\n#[cfg(test)]\nmod d;\n"));
    assert!(with("e", "E").ends_with("mod d;\npub mod e;\n\nservers! {\n    b: B,\n    d: D,\n    e: E,\n}\n"));
}

#[test]
fn a_bad_name_is_refused() {
    for name in ["", "Tide", "tide--tables", "-tide", "tide-", "4tides", "tide_tables", "tide/tables"] {
        let refused = new_server(Path::new("nowhere"), name, None).unwrap_err().in_one_line();
        assert!(refused.contains("no name for a server"), "{name}: {refused}");
    }
}

/// In a copy of the workspace with another version number: cargo then shares what it built of other people's packages, and
/// mixes up nothing of ours.
#[test]
fn a_new_server_compiles_without_a_warning_and_its_tests_pass() {
    let repo = repo::Repo::find().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut git = Command::new("git");
    git.current_dir(&repo.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    for path in command::output(&mut git).unwrap().split_terminator('\0') {
        let (from, to) = (repo.root.join(path), copy.path().join(path));
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
    }
    let manifest = fs::read_to_string(copy.path().join("Cargo.toml")).unwrap();
    let renamed = manifest.replacen("version = \"", "version = \"9", 1);
    fs::write(copy.path().join("Cargo.toml"), renamed).unwrap();

    new_server(copy.path(), "tide-tables", Some("tides and currents by harbour")).unwrap();

    let mut metadata = cargo::cargo(&repo);
    let metadata = command::output(metadata.args(["metadata", "--no-deps", "--format-version=1"])).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let mut test = cargo::cargo(&repo);
    test.current_dir(copy.path()).env("CARGO_TARGET_DIR", metadata["target_directory"].as_str().unwrap());
    test.args(["test", "--offline", "--package", "servers", "--lib", "tide_tables::"]);
    let output = test.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed") && !said.contains("warning"), "{said}");
}
