//! Each tool through the protocol, on the real forge, anvil and cast, in the real sandbox; and what is refused before any of them.

use std::path::{Path, PathBuf};

use evm::{Encodings, Toolset};
use expect_test::{Expect, expect};
use kernel::fake::World;
use mcp::service::Service;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::testing::{Bench, admin, operator, sandbox, shared, viewer};

/// A server with a folder of its own, which has the project `vault`.
struct Place {
    bench: Bench,
    folder: TempDir,
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn place(tools: PathBuf, change: impl FnOnce(&mut Config)) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/foundry_integration/tests/vault"),
        &folder.path().join("root/vault"),
    );
    let world = World::default().abi(Arc::new(Encodings));
    let places = evm::Places { endpoints: Vec::new(), tools, data: data.clone() };
    let ports = MarketPorts {
        jail: Arc::new(backends::jail::Namespaces::default()),
        foundry: Arc::new(Toolset::new(&places, &world.tasks)),
        projects: Some(data.join("foundry")),
        ..MarketPorts::without_pools(world.ports())
    };
    let mut config = Config { roots: vec![folder.path().join("root")], ..Config::default() };
    change(&mut config);
    let service = Service::build::<FoundryIntegration>(&ports, config, shared(&world)).unwrap();
    Place { bench: Bench::of(world, service), folder }
}

/// One on the tools that were fetched; `None`, said aloud, where they are not.
fn real() -> Option<Place> {
    Some(place(sandbox::tools()?, |_| ()))
}

impl Place {
    fn file(&self, inside: &str) -> PathBuf {
        self.folder.path().join("root/vault").join(inside)
    }

    /// Replaces words in a file of the project.
    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file(file)).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        std::fs::write(self.file(file), text.replace(from, to)).unwrap();
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let shown = self.bench.shown(&operator("ann"), tool, arguments).await;
        serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{tool}: {shown}"))
    }

    /// What a call is refused with; the place's own folder is called HERE.
    async fn refused(&self, tool: &str, arguments: Value, expected: Expect) {
        let shown = self.bench.shown(&operator("ann"), tool, arguments).await;
        expected.assert_eq(&shown.replace(&self.folder.path().display().to_string(), "HERE"));
    }
}

/// A test's row, by its name.
fn row<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let mut rows = answer["tests"].as_array().unwrap().iter();
    rows.find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {answer:#}"))
}

#[tokio::test]
async fn a_project_is_built_and_its_contracts_are_told() {
    let Some(place) = real() else { return };
    let built = place.call("build", json!({ "project": "vault" })).await;
    assert_eq!(built["success"], true, "{built:#}");
    let contract = built["contracts"].as_array().unwrap().iter().find(|row| row["name"] == "Vault").unwrap();
    assert_eq!(contract["file"], "src/Vault.sol");
    assert!(contract["runtime_bytes"].as_u64() > Some(100), "{contract}");
    let inspect = async |contract: &str, field: &str| {
        place.call("inspect", json!({ "project": "vault", "contract": contract, "field": field })).await
    };
    let methods = inspect("src/Vault.sol:Vault", "methods").await;
    assert_eq!(methods["value"]["total()"], "2ddbd13a");
    assert_eq!(methods["contract"], "src/Vault.sol:Vault");
    let layout = inspect("Vault", "storage_layout").await;
    let labels: Vec<&Value> = layout["value"]["storage"].as_array().unwrap().iter().map(|one| &one["label"]).collect();
    assert_eq!(labels, ["total", "held"]);
    assert!(inspect("Vault", "abi").await["value"].as_array().unwrap().len() > 4);
    assert!(inspect("Vault", "bytecode").await["value"].as_str().unwrap().starts_with("0x60"));
    let unknown = json!({ "project": "vault", "contract": "Nope", "field": "abi" });
    let shown = place.bench.shown(&admin(), "inspect", unknown).await;
    assert!(shown.starts_with("not_found: no contract `Nope` in what was built (there are "), "{shown}");
    assert!(shown.contains("src/Vault.sol:Vault"), "{shown}");
}

#[tokio::test]
async fn what_does_not_compile_is_told_with_file_and_line() {
    let Some(place) = real() else { return };
    place.edit("src/Vault.sol", "total += amount;", "total += \"x\";");
    let built = place.call("build", json!({ "project": "vault" })).await;
    let message = &built["messages"][0];
    assert_eq!(
        (&built["success"], &message["severity"], &message["file"], &message["line"], &message["column"]),
        (&json!(false), &json!("error"), &json!("src/Vault.sol"), &json!(18), &json!(9)),
        "{built:#}"
    );
    place
        .refused(
            "test",
            json!({ "project": "vault" }),
            expect![[
                r#"invalid_argument: the project does not compile: src/Vault.sol:18: Operator += not compatible with types uint256 and literal_string "x". (build tells all errors with file and line)"#
            ]],
        )
        .await;
    place.edit("src/Vault.sol", "pragma solidity ^0.8.20;", "pragma solidity 0.8.3;");
    let shown = place.bench.shown(&admin(), "build", json!({ "project": "vault" })).await;
    assert!(shown.contains("toolchain tells which compilers there are; nothing is downloaded"), "{shown}");
}

#[tokio::test]
async fn tests_are_told_one_by_one_with_gas_reasons_and_traces() {
    let Some(place) = real() else { return };
    let told = place.call("test", json!({ "project": "vault", "match_contract": "VaultTest" })).await;
    let counts = (&told["passed"], &told["failed"], &told["skipped"], &told["success"]);
    assert_eq!(counts, (&json!(2), &json!(2), &json!(0), &json!(false)), "{told:#}");
    let wrong = row(&told, "test_countsWrong()");
    assert_eq!((&wrong["outcome"], &wrong["reason"]), (&json!("failed"), &json!("the total: 7 != 8")));
    assert!(wrong["trace"].as_str().unwrap().contains("Vault::put(7)"), "{wrong:#}");
    let passed = row(&told, "test_puts()");
    assert!(passed["gas"].as_u64() > Some(20_000) && passed["trace"].is_null(), "{passed:#}");
    let fuzz = row(&told, "testFuzz_putsWithinTheLimit(uint256)");
    assert_eq!((&fuzz["kind"], &fuzz["runs"]), (&json!("fuzz"), &json!(32)));
    let found = row(&told, "testFuzz_putsAnything(uint256)");
    assert!(found["reason"].as_str().unwrap().starts_with("TooMuch("), "{found:#}");
    assert!(!found["counterexample"].is_null(), "{found:#}");
    let none = place.call("test", json!({ "project": "vault", "match_test": "nothing_is_called_so" })).await;
    assert_eq!((&none["success"], &none["passed"], &none["tests"]), (&json!(false), &json!(0), &json!([])));
}

#[tokio::test]
async fn a_build_that_reads_keys_reaches_out_or_does_not_end_is_denied_and_told_of() {
    let Some(place) = real() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let secret = place.folder.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    place.edit("test/Hostile.t.sol", "SECRET", secret.to_str().unwrap());
    place.edit("test/Hostile.t.sol", "PORT", &listener.local_addr().unwrap().port().to_string());
    let told = place.call("test", json!({ "project": "vault", "match_contract": "HostileTest" })).await;
    for name in ["test_readsAKey()", "test_reachesThePort()", "test_writesToTheProject()"] {
        assert_eq!(row(&told, name)["reason"], "assertion failed: denied != got", "{told:#}");
    }
    assert!(!place.file("new").exists());
    let endless = json!({ "project": "vault", "match_contract": "EndlessTest", "time_limit_seconds": 30 });
    let shown = place.bench.shown(&admin(), "test", endless).await;
    assert!(shown.starts_with("timeout: it did not end within 30 s and was killed"), "{shown}");
}

#[tokio::test]
async fn sources_are_formatted_and_linted() {
    let Some(place) = real() else { return };
    place.edit("src/Vault.sol", "    uint256 public total;", "  uint256   public total;");
    let looked = place.call("format", json!({ "project": "vault" })).await;
    assert_eq!((&looked["files"], &looked["applied"]), (&json!(4), &json!(false)));
    assert_eq!(looked["changed"].as_array().unwrap().len(), 1, "{looked:#}");
    assert!(
        looked["changed"][0]["patch"]
            .as_str()
            .unwrap()
            .contains("-  uint256   public total;\n+    uint256 public total;")
    );
    assert!(std::fs::read_to_string(place.file("src/Vault.sol")).unwrap().contains("uint256   public"));
    place.call("format", json!({ "project": "vault", "apply": true })).await;
    assert!(!std::fs::read_to_string(place.file("src/Vault.sol")).unwrap().contains("uint256   public"));
    let again = place.call("format", json!({ "project": "vault" })).await;
    assert_eq!(again["changed"], json!([]));
    place.edit("foundry.toml", "[fuzz]", "[lint]\nseverity = [\"info\"]\n\n[fuzz]");
    let linted = place.call("lint", json!({ "project": "vault" })).await;
    let found = linted["findings"].as_array().unwrap().iter().find(|one| one["rule"] == "mixed-case-function");
    let found = found.unwrap_or_else(|| panic!("{linted:#}"));
    assert_eq!((&found["file"], &found["line"]), (&json!("src/Vault.sol"), &json!(21)));
}

#[tokio::test]
async fn a_new_project_builds_and_its_tests_pass() {
    let Some(place) = real() else { return };
    let made = place.call("new_project", json!({ "name": "counter" })).await;
    assert_eq!(made["files"], json!(["foundry.toml", "src/Counter.sol", "test/Counter.t.sol"]));
    let told = place.call("test", json!({ "project": "counter" })).await;
    assert_eq!((&told["success"], &told["passed"]), (&json!(true), &json!(2)), "{told:#}");
    let tools = place.call("toolchain", json!({})).await;
    assert_eq!((&tools["forge"], &tools["compilers"]), (&json!("1.7.1"), &json!(["0.6.12", "0.8.26"])), "{tools:#}");
    assert_eq!(tools["projects"].as_array().unwrap().len(), 2, "{tools:#}");
    place
        .refused(
            "new_project",
            json!({ "name": "counter" }),
            expect!["already_exists: there is a project `counter` (another name)"],
        )
        .await;
}

#[tokio::test]
async fn nodes_have_owners_and_limits_and_cast_talks_to_them() {
    let Some(tools) = sandbox::tools() else { return };
    let place = place(tools, |config| config.nodes_per_caller = 1);
    let node = place.call("start_node", json!({ "accounts": 2, "chain_id": 7 })).await;
    let name = node["node"].as_str().unwrap();
    let shown = place.bench.shown(&operator("ann"), "start_node", json!({})).await;
    assert!(shown.starts_with("rate_limited: 1 nodes of yours run already"), "{shown}");
    let (from, to) = ("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    let balance = place.call("cast", json!({ "action": "balance", "node": name, "address": to })).await;
    assert_eq!(balance["wei"], "10000000000000000000000");
    let send = json!({ "action": "send", "node": name, "address": to, "from": from, "value_wei": "5" });
    assert!(place.call("cast", send.clone()).await["transaction"].as_str().unwrap().starts_with("0x"));
    let balance = place.call("cast", json!({ "action": "balance", "node": name, "address": to })).await;
    assert_eq!(balance["wei"], "10000000000000000000005");
    let shown = place.bench.shown(&operator("bob"), "cast", send).await;
    assert!(shown.starts_with("permission_denied: node `"), "{shown}");
    let shown = place.bench.shown(&operator("bob"), "stop_node", json!({ "node": name })).await;
    assert!(shown.starts_with("permission_denied: node `"), "{shown}");
    place.call("stop_node", json!({ "node": name })).await;
    assert_eq!(place.call("list_nodes", json!({})).await["nodes"], json!([]));
    place
        .refused(
            "start_node",
            json!({ "fork": true }),
            expect!["not_configured: there is no chain to fork (set ETHEREUM_RPC_URL; a fresh node needs none)"],
        )
        .await;
}

#[tokio::test]
async fn what_is_no_project_of_ours_is_refused() {
    let place = place(PathBuf::from("/nonexistent"), |_| ());
    let outside = place.folder.path().join("outside");
    copy(&place.file(""), &outside);
    std::os::unix::fs::symlink(&outside, place.folder.path().join("root/link")).unwrap();
    std::fs::create_dir(place.folder.path().join("root/empty")).unwrap();
    for (project, said) in [
        (
            "nope",
            expect![
                "not_found: no folder `nope` under the roots (toolchain tells the roots and projects; new_project makes one)"
            ],
        ),
        (
            "../outside",
            expect![
                "invalid_argument: `../outside` is no path of a project (an absolute path, or one from a root on, without ..)"
            ],
        ),
        (
            "",
            expect![
                "invalid_argument: `` is no path of a project (an absolute path, or one from a root on, without ..)"
            ],
        ),
        (
            "/etc",
            expect![
                "permission_denied: `/etc` is outside the roots (servers.foundry-integration.roots has the folders that projects may be in)"
            ],
        ),
        (
            "link",
            expect![
                "permission_denied: `link` is outside the roots (servers.foundry-integration.roots has the folders that projects may be in)"
            ],
        ),
        (
            "empty",
            expect!["not_found: `empty` has no foundry.toml (a Foundry project's folder; new_project makes one)"],
        ),
        (
            "vault",
            expect![
                "not_configured: Foundry is not at /nonexistent/npm (install Node.js and run `cargo xtask fetch`, or set fleet.tools_dir)"
            ],
        ),
    ] {
        place.refused("build", json!({ "project": project }), said).await;
    }
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused_with_what_would_be_right() {
    let place = place(PathBuf::from("/nonexistent"), |_| ());
    let refused = async |tool: &str, arguments: Value, expected: Expect| place.refused(tool, arguments, expected).await;
    refused(
        "test",
        json!({ "project": "vault", "fuzz_seed": "seven" }),
        expect!["invalid_argument: fuzz_seed is no seed (hexadecimal, like 0x1, up to 64 digits)"],
    )
    .await;
    refused(
        "test",
        json!({ "project": "vault", "fuzz_runs": 0 }),
        expect!["invalid_argument: fuzz_runs is 0 (1 to 1,000,000)"],
    )
    .await;
    refused(
        "build",
        json!({ "project": "vault", "profile": "a b" }),
        expect!["invalid_argument: profile is no name of a profile (letters, digits, - and _)"],
    )
    .await;
    refused(
        "new_project",
        json!({ "name": "../up" }),
        expect!["invalid_argument: `../up` cannot name a project (1 to 64 characters of a-z 0-9 - _)"],
    )
    .await;
    refused("start_node", json!({ "accounts": 0 }), expect!["invalid_argument: accounts is 0 (1 to 100)"]).await;
    refused(
        "start_node",
        json!({ "fork_block": 7 }),
        expect!["invalid_argument: fork_block without fork (fork = true)"],
    )
    .await;
    refused(
        "stop_node",
        json!({ "node": "node_1" }),
        expect!["not_found: no node `node_1` runs here (list_nodes tells which do)"],
    )
    .await;
    refused(
        "cast",
        json!({ "action": "call" }),
        expect!["invalid_argument: function is missing (this action needs `function`)"],
    )
    .await;
    let shown = place.bench.shown(&viewer("eve"), "build", json!({ "project": "vault" })).await;
    assert!(shown.starts_with("permission_denied"), "{shown}");
}

#[tokio::test]
async fn calldata_is_encoded_and_decoded() {
    let place = place(PathBuf::from("/nonexistent"), |_| ());
    let function = "transfer(address to, uint256 amount)(bool)";
    let to = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let encoded = place.call("cast", json!({ "action": "encode", "function": function, "arguments": [to, "7"] })).await;
    let decoded =
        place.call("cast", json!({ "action": "decode", "function": function, "data": encoded["data"] })).await;
    assert_eq!((&decoded["values"][0]["value"], &decoded["values"][1]["value"]), (&json!(to), &json!("7")));
}

#[tokio::test]
async fn gas_is_kept_and_compared() {
    let Some(place) = real() else { return };
    let asked = json!({ "project": "vault", "match_test": "test_puts|testFuzz_putsWithin", "save": true });
    let first = place.call("gas_snapshot", asked).await;
    assert_eq!((&first["saved"], &first["compared_with_ms"]), (&json!(true), &Value::Null), "{first:#}");
    place.edit(
        "src/Vault.sol",
        "total += amount;\n    }\n\n    function Take",
        "total += amount;\n        held[address(1)] = 7;\n    }\n\n    function Take",
    );
    let asked = json!({ "project": "vault", "match_test": "test_puts" });
    let second = place.call("gas_snapshot", asked).await;
    let row = &second["tests"][0];
    assert_eq!(row["test"], "test/Vault.t.sol:VaultTest.test_puts()", "{second:#}");
    assert!(row["change_bps"].as_i64() > Some(1_000), "{second:#}");
    assert_eq!(second["gone"], json!(["test/Vault.t.sol:VaultTest.testFuzz_putsWithinTheLimit(uint256)"]));
}

#[tokio::test]
async fn coverage_tells_the_lines_that_no_test_reaches() {
    let Some(place) = real() else { return };
    let told = place.call("coverage", json!({ "project": "vault", "match_test": "test_puts" })).await;
    let files = told["files"].as_array().unwrap();
    assert_eq!((files.len(), &files[0]["file"]), (1, &json!("src/Vault.sol")), "{told:#}");
    assert_eq!(files[0]["missed"], json!(["21-23"]), "{told:#}");
    assert_eq!((&told["total"]["functions"], &told["total"]["functions_hit"]), (&json!(3), &json!(2)), "{told:#}");
}

#[tokio::test]
async fn a_script_is_run_and_nothing_is_sent() {
    let Some(place) = real() else { return };
    let asked =
        json!({ "project": "vault", "script": "script/Make.s.sol", "function": "run(uint256)", "arguments": ["7"] });
    let told = place.call("script", asked).await;
    assert_eq!((&told["success"], &told["logs"]), (&json!(true), &json!("put 7")), "{told:#}");
    assert_eq!(told["returned"]["total"], json!({ "solidity_type": "uint256", "value": "7" }));
    place
        .refused(
            "script",
            json!({ "project": "vault", "script": "--private-key" }),
            expect!["invalid_argument: script names no Solidity file (like script/Deploy.s.sol)"],
        )
        .await;
}
