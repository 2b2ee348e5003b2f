//! What needs no compiler: what scripts tell and how it is read, papers, refusals. What needs one is built on the real fleet (`it::building`).

use kernel::queue::{NewTask, Queue};
use kernel::{Caller, Role};
use serde_json::json;

use super::papers::{Components, Papers};
use super::*;
use crate::testing::Bench;

const SUM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn papers_say_what_was_built_of_what() {
    let told = format!(
        "cargo serde 1.0.1 sha256:{SUM}\nnpm @scope/x 2.0.0+build -\ncargo <script> 1 -\ncargo a\ncargo serde 1.0.1 sha256:{SUM}\nnpm y 1 sha256:nothex\n"
    );
    let outcome = Outcome {
        kind: Kind::Cargo,
        toolchain: "cargo 1.95.0".into(),
        artefacts: vec![Artefact { name: "hello".into(), bytes: 5, sha256: SUM.into() }],
        components: Components::read(&told),
        source_sha256: Some(SUM.into()),
        bundle: None,
        kept_in: None,
    };
    let order = Order { project: "apps/hello".into(), kind: Kind::Auto, ..Order::default() };
    let papers = Papers::of(&order, &outcome, "task_7", (1_794_729_600_000, 1_794_729_660_000));
    let statement = &papers.provenance;
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["subject"], json!([{ "name": "hello", "digest": { "sha256": SUM } }]));
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], "urn:flotilla:build:cargo:v1");
    assert_eq!(definition["resolvedDependencies"][0]["digest"]["sha256"], SUM);
    let metadata = &statement["predicate"]["runDetails"]["metadata"];
    assert_eq!(
        (&metadata["invocationId"], &metadata["startedOn"]),
        (&json!("urn:flotilla:task:task_7"), &json!("2026-11-15T08:00:00Z"))
    );
    let parts = papers.sbom["components"].as_array().unwrap();
    let purls: Vec<&str> = parts.iter().filter_map(|part| part["purl"].as_str()).collect();
    assert_eq!(purls, ["pkg:cargo/serde@1.0.1", "pkg:npm/%40scope/x@2.0.0%2Bbuild", "pkg:npm/y@1"]);
    assert_eq!(parts[1]["hashes"], json!([{ "alg": "SHA-256", "content": SUM }]));
    assert!(parts[3].get("hashes").is_none());
    assert_eq!(
        (&papers.sbom["specVersion"], &papers.sbom["compositions"][0]["aggregate"]),
        (&json!("1.6"), &json!("complete"))
    );
    let many: String = (0..700).map(|at| format!("cargo c{at} 1.0.0 -\n")).collect();
    assert!(Components::read(&many).cut);
}

async fn failed(bench: &Bench, task_type: &str, payload: Value, role: Role) -> String {
    let task =
        NewTask { attempts_max: Some(1), ..NewTask::new("build", task_type, payload, &Caller::new("ann", role)) };
    let id = bench.world.queue.submit(vec![task]).await.unwrap()[0].id;
    loop {
        let task = bench.world.queue.get(id).await.unwrap().unwrap();
        if task.state.is_ended() {
            let failure = task.failure.unwrap_or_else(|| panic!("{:?}", task.result));
            return format!("{}: {}", failure.code, failure.message);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_built_is_refused_with_what_is_missing() {
    let bench = Bench::new::<Build>(Config {}, &["scripts", "utilities", "foundry-integration"]).await;
    bench.agent.offer().await.unwrap();
    bench.start();
    let image = failed(&bench, "compile", json!({ "project": "x", "kind": "image" }), Role::Operator).await;
    assert!(image.starts_with("unsupported: no builder of container images is given to this fleet"), "{image}");
    let long = failed(
        &bench,
        "compile",
        json!({ "project": "x", "kind": "cargo", "time_limit_seconds": 901 }),
        Role::Operator,
    )
    .await;
    assert!(long.starts_with("invalid_argument: time_limit_seconds is 901"), "{long}");
    let odd =
        failed(&bench, "package", json!({ "project": "x", "kind": "npm", "profile": "--ignore" }), Role::Operator)
            .await;
    assert!(odd.starts_with("invalid_argument: profile is no name"), "{odd}");
    // Nothing is built where nothing can be shut in, and there is no folder to look in here.
    let nowhere = failed(&bench, "compile", json!({ "project": "x", "kind": "cargo" }), Role::Operator).await;
    assert!(nowhere.starts_with("not_found: scripts.run_inline: no folder `x` under the roots"), "{nowhere}");
    let deploy = json!({ "project": "x", "contract": "X" });
    let denied = failed(&bench, "deploy", deploy.clone(), Role::Operator).await;
    assert!(denied.starts_with("permission_denied: role operator may not ask agent:build for deploy"), "{denied}");
    let allowed = failed(&bench, "deploy", deploy, Role::Admin).await;
    assert!(!allowed.starts_with("permission_denied"), "{allowed}");
}
