//! `contracts/` under forge: its own tests, and the committed artefact against a fresh compile.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::world::tools;
use market::executor;

fn contracts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts").canonicalize().unwrap()
}

/// forge with the pinned compiler and forge-std, its output in `out`; `None`, said aloud, where the tools are not fetched.
fn forge(chore: &str, out: &Path) -> Option<Command> {
    let npm = tools()?.join("npm").canonicalize().unwrap();
    let packages = npm.join("node_modules");
    let shipped = std::fs::read_dir(packages.join("@foundry-rs")).unwrap().map(|entry| entry.unwrap().path());
    let binary = shipped.map(|package| package.join("bin/forge")).find(|binary| binary.is_file()).expect("forge");
    let std = packages.join("@uniswap/v4-core/lib/forge-std/src");
    let mut forge = Command::new(binary);
    forge.arg(chore).arg("--root").arg(contracts()).arg("--use").arg(npm.join("solc-0.8.26"));
    forge.arg("--remappings").arg(format!("forge-std/={}/", std.display()));
    forge.arg("--out").arg(out.join("out")).arg("--cache-path").arg(out.join("cache"));
    Some(forge)
}

/// Its output when it went well.
fn run(mut forge: Command) -> String {
    let ran = forge.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
    said
}

#[test]
fn the_contracts_unit_fuzz_and_invariant_tests_pass() {
    let out = tempfile::tempdir().unwrap();
    let Some(forge) = forge("test", out.path()) else { return };
    let said = run(forge);
    assert!(said.contains(" tests passed, 0 failed, 0 skipped") && said.contains("[PASS] invariant_"), "{said}");
}

#[test]
fn the_artefact_is_what_the_sources_compile_to() {
    let out = tempfile::tempdir().unwrap();
    let Some(mut forge) = forge("build", out.path()) else { return };
    forge.args(["--skip", "test"]);
    run(forge);
    let compiled = std::fs::read(out.path().join("out/FlashExecutor.sol/FlashExecutor.json")).unwrap();
    let compiled: Value = serde_json::from_slice(&compiled).unwrap();
    let fresh = json!({ "abi": compiled["abi"], "bytecode": compiled["bytecode"]["object"] });
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let text = serde_json::to_string_pretty(&fresh).unwrap() + "\n";
        std::fs::write(contracts().join("FlashExecutor.json"), text).unwrap();
        return;
    }
    let committed: Value = serde_json::from_str(executor::ARTEFACT).unwrap();
    assert_eq!(committed["abi"], fresh["abi"], "run this test with UPDATE_EXPECT=1 and commit what it writes");
    assert!(committed["bytecode"] == fresh["bytecode"], "the bytecode differs: the same command writes it anew");
}

#[test]
fn the_errors_that_are_read_are_those_of_the_interface() {
    let artefact: Value = serde_json::from_str(executor::ARTEFACT).unwrap();
    let errors = artefact["abi"].as_array().unwrap().iter().filter(|item| item["type"] == "error");
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let mut declared: Vec<String> = errors
        .map(|error| {
            let inputs = error["inputs"].as_array().unwrap().iter();
            let inputs: Vec<_> = inputs.map(|input| word(&input["type"]) + " " + &word(&input["name"])).collect();
            format!("{}({})", word(&error["name"]), inputs.join(", "))
        })
        .collect();
    declared.sort();
    assert_eq!(declared, executor::ERRORS);
}
