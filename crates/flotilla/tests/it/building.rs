//! Projects built by the build agent on the real fleet, in the real sandbox: what it says of artefacts is what is there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Fleet, Home, tools, wait_for};

/// How long a build may take on a machine that does much else.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

fn write(home: &Home, file: &str, text: &str) {
    let path = home.path(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A fleet whose scripts may read projects in `work`, with the toolchain that builds these tests.
fn fleet() -> Option<Fleet> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim());
    let home = Home::new("");
    let config = format!(
        "[servers.scripts]\nroots = [{:?}]\nrust_dir = {:?}\n[servers.foundry-integration]\nroots = [{:?}]\n",
        home.path("work"),
        sysroot,
        home.path("work")
    );
    home.configure(&config);
    std::fs::create_dir_all(home.path("work")).unwrap();
    let process = home.start(&["up", "--no-sandbox"]);
    Some(Fleet { process, home })
}

fn task(fleet: &Fleet, task_type: &str, payload: &Value) -> Value {
    let asked = fleet.cli(&["agent", "submit", "build", task_type, &payload.to_string(), "--json"]).json();
    let id = asked["id"].as_str().unwrap().to_owned();
    wait_for("the build ends", BUILD_LIMIT, || {
        let row = fleet.cli(&["task", "get", &id, "--json"]).json();
        ["done", "dead"].iter().any(|state| row["state"] == *state).then_some(row)
    })
}

fn built(fleet: &Fleet, task_type: &str, payload: Value) -> Value {
    let done = task(fleet, task_type, &payload);
    assert_eq!(done["state"], "done", "{done:#}");
    done["result"].clone()
}

fn sha256(file: &Path) -> String {
    let said = Command::new("sha256sum").arg(file).output().unwrap();
    assert!(said.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// Holds every artefact that was told of to the file that is there, and the papers to both.
fn holds(result: &Value) -> Vec<(String, PathBuf)> {
    let folder = PathBuf::from(result["kept_in"].as_str().unwrap());
    let mut found = Vec::new();
    for artefact in result["artefacts"].as_array().unwrap() {
        let name = artefact["name"].as_str().unwrap();
        let file = folder.join(name);
        assert_eq!(artefact["sha256"], sha256(&file), "{name}");
        assert_eq!(artefact["bytes"], std::fs::metadata(&file).unwrap().len(), "{name}");
        let subjects = result["provenance"]["subject"].as_array().unwrap();
        let subject = subjects.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(subject["digest"]["sha256"], artefact["sha256"]);
        found.push((name.to_owned(), file));
    }
    for paper in ["provenance", "sbom"] {
        let kept = std::fs::read_to_string(folder.join(format!("{paper}.json"))).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), result[paper], "{paper}");
    }
    found
}

#[test]
fn cargos_and_npms_projects_are_built_shut_in_and_their_checksums_are_those_of_the_files() {
    let Some(fleet) = fleet() else { return };
    let home = &fleet.home;
    write(
        home,
        "work/hello/Cargo.toml",
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
    );
    write(home, "work/hello/src/main.rs", "fn main() { println!(\"hello from the sandbox\"); }\n");
    let made = built(&fleet, "compile", json!({ "project": "hello", "profile": "dev" }));
    assert_eq!(made["kind"], "cargo");
    let files = holds(&made);
    let (_, program) = files.iter().find(|(name, _)| name == "hello").unwrap();
    let said = Command::new(program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "hello from the sandbox\n");
    assert!(made["toolchain"].as_str().unwrap().starts_with("cargo "), "{made}");
    assert!(made["sbom"].to_string().contains("pkg:cargo/hello@0.1.0"), "{made}");
    assert!(
        !home.path("work/hello/target").exists() && !home.path("work/hello/Cargo.lock").exists(),
        "the project is only read"
    );

    // What a build script would do, it does shut in.
    let key = home.path("data/keys/cli.key");
    write(home, "work/hello/build.rs", &format!("fn main() {{ std::fs::read({key:?}).unwrap(); }}\n"));
    let failed = task(&fleet, "compile", &json!({ "project": "hello", "profile": "dev" }));
    assert_eq!(failed["state"], "dead", "{failed}");
    let why = failed["failure"]["message"].as_str().unwrap();
    assert!(why.contains("cargo failed (exit code 1)") && why.contains("NotFound"), "{why}");
    std::fs::remove_file(home.path("work/hello/build.rs")).unwrap();

    let package = json!({ "name": "page", "version": "1.2.3", "scripts": { "build": "node make.js" } });
    write(home, "work/page/package.json", &package.to_string());
    write(
        home,
        "work/page/make.js",
        "require('fs').mkdirSync('dist'); require('fs').writeFileSync('dist/index.js', 'built()\\n');\n",
    );
    let made = built(&fleet, "compile", json!({ "project": "page" }));
    let files = holds(&made);
    let (name, file) = &files[0];
    assert_eq!((name.as_str(), std::fs::read_to_string(file).unwrap().as_str()), ("dist/index.js", "built()\n"));
    let packed = built(&fleet, "package", json!({ "project": "page", "kind": "npm" }));
    assert_eq!(holds(&packed)[0].0, "page-1.2.3.tgz");
    let again = built(&fleet, "package", json!({ "project": "page", "kind": "npm" }));
    assert_eq!(again["artefacts"], packed["artefacts"], "the same sources make the same package");
    assert!(!home.path("work/page/dist").exists(), "the project is only read");

    let outside = task(&fleet, "compile", &json!({ "project": "/etc", "kind": "cargo" }));
    assert!(outside["failure"]["message"].as_str().unwrap().contains("outside the roots"), "{outside}");
    let image = task(&fleet, "compile", &json!({ "project": "page", "kind": "image" }));
    assert_eq!(image["failure"]["code"], "unsupported", "{image}");
}

#[test]
fn forges_contracts_are_built_and_their_checksums_are_those_of_their_code() {
    let Some(()) = tools::anvil() else { return };
    let Some(fleet) = fleet() else { return };
    fleet.call("foundry-integration__new_project", json!({ "name": "counter" }));
    let made = built(&fleet, "compile", json!({ "project": "counter" }));
    assert_eq!(made["kind"], "forge", "{made}");
    let artefact = &made["artefacts"][0];
    assert_eq!(artefact["name"], "src/Counter.sol:Counter");
    let code = json!({ "project": "counter", "contract": artefact["name"], "field": "bytecode" });
    let code = fleet.call("foundry-integration__inspect", code)["value"].clone();
    let hash = fleet.call("utilities__hash", json!({ "data": code, "encoding": "hex" }))["hash"].clone();
    assert_eq!(hash, format!("0x{}", artefact["sha256"].as_str().unwrap()));
    let packed = built(&fleet, "package", json!({ "project": "counter", "kind": "forge" }));
    let bundle = packed["bundle"].as_str().unwrap();
    let hash = fleet.call("utilities__hash", json!({ "data": bundle }))["hash"].clone();
    assert_eq!(hash, format!("0x{}", packed["artefacts"][0]["sha256"].as_str().unwrap()));
    let bundle: Value = serde_json::from_str(bundle).unwrap();
    assert_eq!(bundle["contracts"][0]["bytecode"], code);
    assert!(packed["sbom"].to_string().contains("pkg:generic/solc@"), "{packed}");
}
