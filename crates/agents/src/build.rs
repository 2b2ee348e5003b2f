//! `build`: makes programs and contracts of projects: compiled, packaged, deployed.
//!
//! Everything is built in the sandbox, by tools: forge by foundry-integration, cargo and npm by a script of scripts that is given the project to
//! read and a folder to write. What is built is told with its SHA-256, where it came from (an in-toto statement with SLSA provenance) and what is in
//! it (CycloneDX), and these papers are kept beside it. It has no standing duty: it builds when it is asked to. A contract goes to the chain through
//! foundry-integration's deploy, which execution signs, for whoever may trade.

mod papers;
mod shut_in;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kernel::chain::Amount;
use kernel::{Access, Code, Fault, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servers::foundry_integration::{
    BUILD, BuildRequest, DEPLOY, DeployRequest, DeployResponse, Field, INSPECT, InspectRequest, Severity, VERIFY,
    VerifyRequest,
};
use servers::utilities::{Algorithm, Encoding, HASH, HashRequest};

use crate::agent::{Agent, Duties};
use crate::hands::Hands;
use crate::jobs::{Job, Jobs};

/// How long a build may take, in seconds, unless its task says otherwise.
const SECONDS: u32 = 600;
/// The longest.
const SECONDS_MAX: u32 = 900;
/// What a task may take beside its build: to be looked at, to write its papers.
const SPARE: Duration = Duration::from_secs(300);
/// Most contracts of one project: each is one or two calls.
const CONTRACTS_MAX: usize = 20;
/// Largest bundle of contracts that is a task's result, in bytes.
const BUNDLE_BYTES_MAX: usize = 128 << 10;
/// Longest message of a compiler that a refusal repeats, in characters, and how many.
const MESSAGE_CHARS_MAX: usize = 300;
const MESSAGES_MAX: usize = 5;

/// `[agents.build]` in `flotilla.toml`: nothing to set; scripts and foundry-integration have the folders and the bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

/// The agent.
pub struct Build;

/// What builds a project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Whatever the project's files say.
    #[default]
    Auto,
    /// Cargo, for Rust.
    Cargo,
    /// npm, for JavaScript.
    Npm,
    /// Foundry's forge, for Solidity.
    Forge,
    /// A container image.
    Image,
}

/// What `compile` and `package` take.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The project's folder: an absolute path, or one from a root on. Roots are servers.scripts.roots for cargo and npm, those that toolchain of
    /// foundry-integration tells for forge.
    pub project: String,
    /// auto (unless given), cargo, npm, forge or image.
    #[serde(default)]
    pub kind: Kind,
    /// Cargo's profile (release unless given), npm's script (build unless given), or a profile of foundry.toml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How long the build may take, in seconds: 1 to 900, 600 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What `deploy` takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// The Foundry project: an absolute path, or one from a root on.
    pub project: String,
    /// The contract: `Vault`, or `src/Vault.sol:Vault` where several have that name.
    pub contract: String,
    /// The constructor's arguments in order. Large integers as decimal text.
    #[serde(default)]
    pub constructor_arguments: Vec<Value>,
    /// Native coin that the constructor is paid, in wei.
    #[serde(default)]
    pub value_wei: Amount,
    /// A profile of the project's foundry.toml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// Something that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artefact {
    /// Its name: a file's in the folder of artefacts, or a contract's.
    pub name: String,
    /// How large it is, in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// What `compile` and `package` give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Built {
    /// What built it.
    pub kind: Kind,
    /// The compiler, in its own words.
    pub toolchain: String,
    /// What was built, by name.
    pub artefacts: Vec<Artefact>,
    /// The folder with the artefacts and their papers, on the machine that built them; of forge, foundry-integration keeps what is built.
    pub kept_in: Option<String>,
    /// An in-toto statement: what was built, of which sources, by whom, when.
    pub provenance: Value,
    /// What is in it, as CycloneDX.
    pub sbom: Value,
    /// The artefact itself, where it is small and no file: contracts with their ABI and code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
}

/// What `deploy` gives.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Deployed {
    /// The deployment.
    #[serde(flatten)]
    pub deployed: DeployResponse,
    /// Whether the code there was read back and is what the project compiles to.
    pub verified: bool,
    /// Why it is not known to be, otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A build, before its papers are made.
struct Outcome {
    kind: Kind,
    toolchain: String,
    artefacts: Vec<Artefact>,
    components: papers::Components,
    source_sha256: Option<String>,
    bundle: Option<String>,
    kept_in: Option<String>,
}

impl Agent for Build {
    const NAME: &'static str = "build";
    type Config = Config;

    fn new(_config: Config) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn duties(&self, _set: &mut Duties<Self>) {}

    fn jobs(&self, set: &mut Jobs<Self>) {
        let time = Duration::from_secs(SECONDS_MAX.into()) + SPARE;
        let compile = Job::new(
            "compile",
            "Compiles a project in the sandbox with cargo, npm or forge; tells what was built with checksums, provenance and a bill of materials.",
            Access::Operate,
        );
        set.add(compile.text("project").within(time), Self::compile);
        let package = Job::new(
            "package",
            "Compiles a project and packages it: an archive of programs, npm's package, or a bundle of contracts.",
            Access::Operate,
        );
        set.add(package.text("project").within(time), Self::package);
        let deploy = Job::new(
            "deploy",
            "Deploys a contract of a Foundry project to the fleet's chain, signed by execution, once for each task, and reads its code back.",
            Access::Trade,
        );
        set.add(deploy.within(time), Self::deploy);
    }
}

impl Build {
    async fn compile(self: Arc<Self>, order: Order, hands: Hands) -> Result<Built, Fault> {
        built(order, &hands, false).await
    }

    async fn package(self: Arc<Self>, order: Order, hands: Hands) -> Result<Built, Fault> {
        built(order, &hands, true).await
    }

    async fn deploy(self: Arc<Self>, asked: Deploy, hands: Hands) -> Result<Deployed, Fault> {
        let Deploy { project, contract, constructor_arguments, value_wei, profile } = asked;
        hands.progress(0.1, format!("deploying {contract}"));
        let request = DeployRequest {
            project: project.clone(),
            contract: contract.clone(),
            constructor_arguments,
            value_wei,
            // The task's own: another attempt waits for the same deployment.
            idempotency_key: format!("build-{}", hands.key()),
            profile: profile.clone(),
        };
        let deployed = hands.call(DEPLOY, &request).await?;
        let verify = VerifyRequest { project, contract, address: deployed.address, node: None, profile };
        let why = hands.call(VERIFY, &verify).await.err().map(|fault| fault.to_string());
        Ok(Deployed { deployed, verified: why.is_none(), why })
    }
}

async fn built(order: Order, hands: &Hands, package: bool) -> Result<Built, Fault> {
    let seconds = order.time_limit_seconds.unwrap_or(SECONDS);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Fault::invalid(format!("time_limit_seconds is {seconds}")).hint(format!("1 to {SECONDS_MAX}")));
    }
    let began_ms = hands.now_ms();
    let kind = match order.kind {
        Kind::Auto => shut_in::kind_of(&order.project, hands).await?,
        kind => kind,
    };
    hands.progress(0.1, format!("building {}", order.project));
    let outcome = match kind {
        Kind::Forge => contracts(&order, seconds, hands, package).await?,
        Kind::Image => return Err(no_images()),
        kind => shut_in::program(kind, &order, seconds, hands, package).await?,
    };
    let papers = papers::Papers::of(&order, &outcome, &hands.key(), (began_ms, hands.now_ms()));
    if outcome.kept_in.is_some() {
        hands.progress(0.9, "writing its papers");
        shut_in::write(&order.project, "provenance.json", &papers.provenance, hands).await?;
        shut_in::write(&order.project, "sbom.json", &papers.sbom, hands).await?;
    }
    let Outcome { kind, toolchain, artefacts, bundle, kept_in, .. } = outcome;
    let kept_in = kept_in.map(|folder| format!("{folder}/artefacts"));
    Ok(Built { kind, toolchain, artefacts, kept_in, provenance: papers.provenance, sbom: papers.sbom, bundle })
}

/// What containers are built with is not the fleet's: what restarts and copies them is asked for nothing else.
fn no_images() -> Fault {
    Fault::unsupported("no builder of container images is given to this fleet: its way to containers only restarts and copies them")
        .hint("package the project here, and build the image from that with `docker buildx build` or BuildKit where it may run")
}

/// Builds contracts with forge, and hashes what deploys each.
async fn contracts(order: &Order, seconds: u32, hands: &Hands, package: bool) -> Result<Outcome, Fault> {
    let request = BuildRequest {
        project: order.project.clone(),
        profile: order.profile.clone(),
        clean: false,
        time_limit_seconds: Some(seconds),
    };
    let build = hands.call(BUILD, &request).await?;
    if !build.success {
        let wrong = build.messages.iter().filter(|message| message.severity == Severity::Error).take(MESSAGES_MAX);
        let said = wrong.map(|one| {
            let place = one.file.as_ref().map(|file| format!("{file}:{} ", one.line.unwrap_or_default()));
            format!("{}{}", place.unwrap_or_default(), one.message)
        });
        let said: Vec<String> = said.map(|text| text.chars().take(MESSAGE_CHARS_MAX).collect()).collect();
        return Err(Fault::invalid(format!("{} does not compile: {}", order.project, said.join("; "))));
    }
    let made: Vec<_> = build.contracts.into_iter().filter(|row| row.creation_bytes > 0).collect();
    if made.len() > CONTRACTS_MAX {
        return Err(Fault::too_large(format!("{} contracts", made.len()))
            .hint(format!("at most {CONTRACTS_MAX} in one project: split it, or inspect them one by one")));
    }
    let (mut artefacts, mut bundle, mut compiler) = (Vec::new(), Vec::new(), None);
    for row in made {
        let contract = format!("{}:{}", row.file, row.name);
        let ask = |field| InspectRequest {
            project: order.project.clone(),
            contract: contract.clone(),
            field,
            profile: order.profile.clone(),
        };
        let code = hands.call(INSPECT, &ask(Field::Bytecode)).await?;
        compiler = compiler.or(code.compiler);
        let text = code.value.as_str().unwrap_or_default().to_owned();
        if package {
            let abi = hands.call(INSPECT, &ask(Field::Abi)).await?.value;
            bundle.push(json!({ "contract": contract, "abi": abi, "bytecode": text }));
        } else {
            artefacts.push(hashed(hands, contract, text, Encoding::Hex).await?);
        }
    }
    let bundle = match package {
        false => None,
        true => {
            let text = json!({ "contracts": bundle }).to_string();
            if text.len() > BUNDLE_BYTES_MAX {
                return Err(Fault::too_large(format!("the contracts take {} bytes together", text.len()))
                    .hint(format!("at most {BUNDLE_BYTES_MAX} in a result: inspect of foundry-integration has each")));
            }
            artefacts.push(hashed(hands, "contracts.json".into(), text.clone(), Encoding::Utf8).await?);
            Some(text)
        }
    };
    let toolchain = compiler.map_or_else(|| "solc".to_owned(), |version| format!("solc {version}"));
    let components = papers::Components::compiler(&toolchain);
    Ok(Outcome { kind: Kind::Forge, toolchain, artefacts, components, source_sha256: None, bundle, kept_in: None })
}

async fn hashed(hands: &Hands, name: String, data: String, encoding: Encoding) -> Result<Artefact, Fault> {
    let hash = hands.call(HASH, &HashRequest { data, encoding, algorithm: Algorithm::Sha256 }).await?;
    let sha256 = hash.hash.trim_start_matches("0x").to_owned();
    Ok(Artefact { name, bytes: hash.bytes as u64, sha256 })
}

/// The moments between which something was built.
type Span = (UnixMs, UnixMs);

/// Whether there simply is nothing of that name there.
fn is_not_there(fault: &Fault) -> bool {
    fault.code == Code::NotFound
}
