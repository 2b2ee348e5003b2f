//! The papers of a build: where it comes from, and what is in it. Both are documents that others read: an in-toto statement with SLSA's provenance,
//! and a bill of materials in CycloneDX.

use serde_json::{Value, json};
use servers::ui::rfc3339;

use super::{Artefact, Order, Outcome, Span};

/// Most components that a bill names; that there are more is said in it.
const COMPONENTS_MAX: usize = 600;

/// What something was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Components {
    all: Vec<Component>,
    /// Whether some were left out.
    pub(super) cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Component {
    /// What it is found by: a package URL.
    purl: String,
    name: String,
    version: String,
    /// The name of a hash, and the hash.
    hash: Option<(&'static str, String)>,
}

impl Components {
    /// Those that a script names: `KIND NAME VERSION HASH`, where HASH is `-`, `sha256:…` or `sha512:…`. What is none is passed over: a lock file is
    /// other people's text.
    pub(super) fn read(lines: &str) -> Self {
        let mut all = Vec::new();
        let mut cut = false;
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, name, version, hash] = words[..] else {
                cut |= line == "cut";
                continue;
            };
            let plain = |text: &str| {
                (1..=200).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+@/~".contains(&byte))
            };
            if !matches!(kind, "cargo" | "npm") || !plain(name) || !plain(version) {
                continue;
            }
            let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let hash = match hash.split_once(':') {
                Some(("sha256", hex)) if hex.len() == 64 && is_hex(hex) => Some(("SHA-256", hex.to_owned())),
                Some(("sha512", hex)) if hex.len() == 128 && is_hex(hex) => Some(("SHA-512", hex.to_owned())),
                _ => None,
            };
            let path = name.replace('@', "%40");
            let purl = format!("pkg:{kind}/{path}@{}", version.replace('+', "%2B"));
            all.push(Component { purl, name: name.into(), version: version.into(), hash });
        }
        all.sort_by(|one, other| one.purl.cmp(&other.purl));
        all.dedup_by(|one, other| one.purl == other.purl);
        cut |= all.len() > COMPONENTS_MAX;
        all.truncate(COMPONENTS_MAX);
        Self { all, cut }
    }

    /// A compiler alone.
    pub(super) fn compiler(toolchain: &str) -> Self {
        let (name, version) = toolchain.split_once(' ').unwrap_or((toolchain, ""));
        let purl = format!("pkg:generic/{name}@{}", version.replace('+', "%2B"));
        Self { all: vec![Component { purl, name: name.into(), version: version.into(), hash: None }], cut: false }
    }
}

/// The papers.
pub(super) struct Papers {
    pub(super) provenance: Value,
    pub(super) sbom: Value,
}

impl Papers {
    pub(super) fn of(order: &Order, outcome: &Outcome, task: &str, span: Span) -> Self {
        Self { provenance: provenance(order, outcome, task, span), sbom: sbom(order, outcome, span) }
    }
}

fn provenance(order: &Order, outcome: &Outcome, task: &str, (began_ms, ended_ms): Span) -> Value {
    let subject = |one: &Artefact| json!({ "name": one.name, "digest": { "sha256": one.sha256 } });
    let subjects: Vec<Value> = outcome.artefacts.iter().map(subject).collect();
    let source = outcome.source_sha256.iter().map(|sha256| {
        // The digest of the list of digests of all files of the project.
        json!({ "name": "project", "digest": { "sha256": sha256 } })
    });
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": format!("urn:flotilla:build:{}:v1", kind(outcome)),
                "externalParameters": order,
                "internalParameters": { "toolchain": outcome.toolchain, "sandbox": "no network, read-only project" },
                "resolvedDependencies": source.collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": { "id": "urn:flotilla:agent:build" },
                "metadata": {
                    "invocationId": format!("urn:flotilla:task:{task}"),
                    "startedOn": rfc3339(began_ms),
                    "finishedOn": rfc3339(ended_ms),
                },
            },
        },
    })
}

fn kind(outcome: &Outcome) -> String {
    format!("{:?}", outcome.kind).to_lowercase()
}

fn sbom(order: &Order, outcome: &Outcome, (_, ended_ms): Span) -> Value {
    let component = |one: &Component| {
        let mut entry = json!({
            "type": "library", "bom-ref": one.purl, "name": one.name, "version": one.version, "purl": one.purl,
        });
        if let Some((algorithm, content)) = &one.hash {
            entry["hashes"] = json!([{ "alg": algorithm, "content": content }]);
        }
        entry
    };
    let files = outcome.artefacts.iter().map(|one| {
        let hashes = json!([{ "alg": "SHA-256", "content": one.sha256 }]);
        json!({ "type": "file", "bom-ref": format!("artefact:{}", one.name), "name": one.name, "hashes": hashes })
    });
    let components: Vec<Value> = files.chain(outcome.components.all.iter().map(component)).collect();
    let name = order.project.rsplit('/').find(|part| !part.is_empty()).unwrap_or("project");
    let aggregate = if outcome.components.cut { "incomplete" } else { "complete" };
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(ended_ms),
            "tools": { "components": [{ "type": "application", "name": "flotilla" }] },
            "component": { "type": "application", "bom-ref": "project", "name": name },
        },
        "components": components,
        "compositions": [{ "aggregate": aggregate, "assemblies": ["project"] }],
    })
}
