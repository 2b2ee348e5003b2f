//! Each tool through the protocol, on the real analysers and test runners, in the real sandbox; and what is refused before any of them.

mod tried;

use std::path::{Path, PathBuf};

use evm::Toolset;
use expect_test::{Expect, expect};
use kernel::fake::World;
use mcp::service::Service;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::testing::{Bench, admin, operator, sandbox, shared, viewer};

/// Keys that open nothing. They are put together here, so that nobody's scanner takes this file for a leak.
const KEY: [&str; 2] = ["8f2a55949038a9610f50fb23b5883af3", "b4ecb3c3bb792cbcefbd1542c692be63"];
const TOKEN: [&str; 2] = ["AKIAQ7Z5", "JX3LMNOPRSTU"];

/// A server with a folder of its own.
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

/// One that has the project `project` of the fixtures, on these tools.
fn place(project: &str, tools: PathBuf, programs: Programs, change: impl FnOnce(&mut Config)) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/quality/tests");
    copy(&fixtures.join(project), &folder.path().join("root").join(project));
    let world = World::default();
    let places = evm::Places { endpoints: Vec::new(), tools, data: data.clone() };
    let ports = MarketPorts {
        jail: Arc::new(backends::jail::Namespaces::default()),
        foundry: Arc::new(Toolset::new(&places, &world.tasks)),
        projects: Some(data.join("foundry")),
        programs,
        ..MarketPorts::without_pools(world.ports())
    };
    let mut config = Config { roots: vec![folder.path().join("root")], ..Config::default() };
    change(&mut config);
    let service = Service::build::<Quality>(&ports, config, shared(&world)).unwrap();
    let place = Place { bench: Bench::of(world, service), folder };
    if project == "seeded" {
        let (key, token) = (KEY.concat(), TOKEN.concat());
        place.write(
            "seeded/config/deploy.env",
            &format!(
                "RPC=https://user:s3cr3tpassw0rd@node.example.com/v3\nDEPLOYER_PRIVATE_KEY=0x{key}\nAWS={token}\nPASSWORD=changeme\n"
            ),
        );
    }
    place
}

/// One without any tool.
fn bare(project: &str) -> Place {
    place(project, PathBuf::from("/nonexistent"), Programs::default(), |_| ())
}

/// One on the tools that were fetched and the Rust that tests are built with; `None`, said aloud, where they are not.
fn real(project: &str) -> Option<Place> {
    let tools = sandbox::tools()?;
    let programs = sandbox::programs(&tools)?;
    Some(place(project, tools, programs, |_| ()))
}

impl Place {
    fn file(&self, inside: &str) -> PathBuf {
        self.folder.path().join("root").join(inside)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::create_dir_all(self.file(file).parent().unwrap()).unwrap();
        std::fs::write(self.file(file), text).unwrap();
    }

    /// Replaces words in a file.
    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file(file)).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        self.write(file, &text.replace(from, to));
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

    /// Runs git in a project.
    fn git(&self, project: &str, words: &[&str]) -> String {
        let mut git = std::process::Command::new("git");
        git.args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "commit.gpgsign=false",
        ]);
        let done = git.current_dir(self.file(project)).args(words).output().unwrap();
        assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

/// The findings of an answer as `file:line rule`.
fn places(answer: &Value, field: &str) -> Vec<String> {
    let place =
        |one: &Value| format!("{}:{} {}", one["file"].as_str().unwrap(), one["line"], one["rule"].as_str().unwrap());
    answer[field].as_array().unwrap_or_else(|| panic!("{answer:#}")).iter().map(place).collect()
}

#[tokio::test]
async fn secrets_are_told_and_not_shown() {
    let place = bare("seeded");
    let told = place.call("secrets_scan", json!({ "path": "seeded" })).await;
    expect![[r#"
        [
            "config/deploy.env:1 secret-in-url",
            "config/deploy.env:2 secret-private-key",
            "config/deploy.env:3 secret-token",
        ]
    "#]]
    .assert_debug_eq(&places(&told, "findings"));
    let text = told.to_string();
    for secret in [KEY[0], KEY[1], TOKEN[1], "s3cr3tpassw0rd"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn functions_are_told_by_how_many_ways_there_are_through_them() {
    let place = bare("seeded");
    let told = place.call("complexity", json!({ "path": "seeded", "at_least": 2, "limit": 2 })).await;
    expect![[r#"[{"file":"rust/src/lib.rs","line":15,"name":"grade","complexity":14,"lines":17},{"file":"scripts/report.py","line":15,"name":"read","complexity":2,"lines":5}]"#]]
        .assert_eq(&told["rows"].to_string());
    assert!(told["functions"].as_u64() > Some(20), "{told:#}");
}

#[tokio::test]
async fn a_suppression_has_a_reason_and_an_end() {
    let place = bare("seeded");
    let suppress = |reason: &str, expires: &str| {
        let one = json!({ "rule": "secret-token", "file": "config/*", "reason": reason, "expires": expires });
        place.write("seeded/.flotilla-quality.json", &json!({ "suppressions": [one] }).to_string());
    };
    suppress("a key of the test network", "2999-01-01");
    let told = place.call("secrets_scan", json!({ "path": "seeded" })).await;
    assert_eq!((&told["counts"]["high"], &told["counts"]["suppressed"]), (&json!(2), &json!(1)), "{told:#}");
    assert_eq!(told["findings"][2]["suppressed"], "a key of the test network");
    suppress("a key of the test network", "1970-01-01");
    place.bench.world.clock.advance_ms(86_400_000);
    let told = place.call("secrets_scan", json!({ "path": "seeded" })).await;
    assert_eq!(told["counts"]["high"], 3, "{told:#}");
    assert_eq!(told["notes"], json!(["suppression of secret-token in config/* ended on 1970-01-01"]));
    suppress(" ", "2999-01-01");
    let shown = place.bench.shown(&admin(), "secrets_scan", json!({ "path": "seeded" })).await;
    assert!(shown.contains("suppression of secret-token in config/* has no reason"), "{shown}");
}

#[tokio::test]
async fn only_what_is_new_against_a_baseline_is_told() {
    let place = bare("seeded");
    let compare =
        async |save: bool| place.call("compare", json!({ "path": "seeded", "tools": ["secrets"], "save": save })).await;
    let first = compare(true).await;
    assert_eq!((&first["compared_with"], first["new"].as_array().unwrap().len()), (&json!("nothing"), 3));
    // A line that moves is the same finding.
    place.edit("seeded/config/deploy.env", "RPC=", "\n\nRPC=");
    let again = compare(false).await;
    assert_eq!((&again["new"], &again["gone"], &again["unchanged"]), (&json!([]), &json!([]), &json!(3)), "{again:#}");
    let line = format!("\nGITHUB=ghp_{}", "Zz19".repeat(10));
    place.edit("seeded/config/deploy.env", "\nPASSWORD=changeme", &line);
    place.edit("seeded/config/deploy.env", "AWS=", "NONE=x");
    let more = compare(false).await;
    assert_eq!(places(&more, "new"), ["config/deploy.env:6 secret-token"]);
    assert_eq!(more["gone"].as_array().unwrap().len(), 1, "{more:#}");
    place
        .refused(
            "gate",
            json!({ "path": "seeded", "baseline": "other" }),
            expect!["not_found: no baseline `other` of this project (compare with save keeps one)"],
        )
        .await;
}

#[tokio::test]
async fn rules_are_explained_by_any_of_their_names() {
    let place = bare("seeded");
    for rule in ["tx-origin", "solhint:avoid-tx-origin", "avoid-tx-origin"] {
        let told = place.call("explain_rule", json!({ "rule": rule })).await;
        assert_eq!(told["rule"], "tx-origin", "{rule}");
        assert!(told["advice"].as_str().unwrap().contains("compare msg.sender"), "{told:#}");
    }
    let clippy = place.call("explain_rule", json!({ "rule": "clippy:ptr_arg" })).await;
    assert_eq!(clippy["documentation"], "https://rust-lang.github.io/rust-clippy/stable/index.html#ptr_arg");
    place
        .refused(
            "explain_rule",
            json!({ "rule": "tx-orign" }),
            expect!["not_found: no rule `tx-orign` (did you mean tx-origin?)"],
        )
        .await;
}

#[tokio::test]
async fn what_is_no_project_of_ours_is_refused() {
    let place = bare("seeded");
    let outside = place.folder.path().join("outside");
    copy(&place.file("seeded"), &outside);
    std::os::unix::fs::symlink(&outside, place.file("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.file("seeded/passwd.env")).unwrap();
    for (path, said) in [
        (
            "nope",
            expect![
                "not_found: no folder `nope` under the roots (a folder under servers.quality.roots, or a project that foundry-integration made)"
            ],
        ),
        (
            "../outside",
            expect![
                "invalid_argument: `../outside` is no path of a project (an absolute path, or one from a root on, without ..)"
            ],
        ),
        (
            "/etc",
            expect![
                "permission_denied: `/etc` is outside the roots (servers.quality.roots has the folders that projects may be in)"
            ],
        ),
        (
            "link",
            expect![
                "permission_denied: `link` is outside the roots (servers.quality.roots has the folders that projects may be in)"
            ],
        ),
    ] {
        place.refused("secrets_scan", json!({ "path": path }), said).await;
    }
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused_with_what_would_be_right() {
    let place = bare("seeded");
    for (tool, arguments, said) in [
        (
            "changes",
            json!({ "path": "seeded", "from": "main" }),
            expect![
                "invalid_argument: `seeded` is no git repository (a folder with a .git folder of its own; a linked work tree has none)"
            ],
        ),
        (
            "analyze",
            json!({ "path": "seeded", "revision": "--upload-pack=x" }),
            expect![
                "invalid_argument: `seeded` is no git repository (a folder with a .git folder of its own; a linked work tree has none)"
            ],
        ),
        (
            "run_tests",
            json!({ "path": "seeded", "suite": "npm", "filter": "x" }),
            expect!["invalid_argument: npm has no filter (all its tests run)"],
        ),
        (
            "run_tests",
            json!({ "path": "seeded", "filter": "--x" }),
            expect![
                "invalid_argument: filter is no part of a test's name (1 to 200 bytes of one line, not beginning with -)"
            ],
        ),
        ("complexity", json!({ "path": "seeded", "limit": 501 }), expect!["invalid_argument: limit is 501 (1 to 500)"]),
        (
            "compare",
            json!({ "path": "seeded", "baseline": "A" }),
            expect!["invalid_argument: baseline is no name of one (1 to 64 characters of a-z 0-9 - _)"],
        ),
        (
            "audit_dependencies",
            json!({ "path": "seeded" }),
            expect![[
                r#"not_configured: nothing to hold dependencies against (servers.quality.advisories_url = "https://api.osv.dev" asks OSV, which is told names and versions; servers.quality.advisories names a folder of OSV's JSON files)"#
            ]],
        ),
    ] {
        place.refused(tool, arguments, said).await;
    }
    let shown = place.bench.shown(&viewer("eve"), "analyze", json!({ "path": "seeded" })).await;
    assert!(shown.starts_with("permission_denied"), "{shown}");
}

#[test]
fn what_is_configured_wrongly_is_refused() {
    for (config, said) in [
        (Config { roots: vec!["here".into()], ..Config::default() }, "servers.quality.roots has `here`"),
        (Config { advisories_url: "osv".into(), ..Config::default() }, "neither http nor https"),
        (Config { memory_mib: 1, ..Config::default() }, "servers.quality.memory_mib is 1"),
    ] {
        let ports = MarketPorts::without_pools(World::default().ports());
        let fault = Quality::new(&ports, config).err().unwrap().to_string();
        assert!(fault.contains(said), "{fault}");
    }
}
