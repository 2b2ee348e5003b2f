//! What is built by a script: cargo's and npm's projects, in the sandbox, through the tools of scripts.

use kernel::Fault;
use serde_json::Value;
use servers::scripts::{
    CANCEL_RUN, CancelRunRequest, Language, RUN_INLINE, RUN_OUTPUT, RunInlineRequest, RunOutputRequest, ScriptRun,
};

use super::papers::Components;
use super::{Artefact, Kind, Order, Outcome, is_not_there};
use crate::hands::Hands;

/// What both scripts begin with: sources, and where things go.
const BEGIN: &str = include_str!("begin.sh");
const CARGO: &str = include_str!("cargo.sh");
const NPM: &str = include_str!("npm.sh");
/// What both end with: the list of what was built.
const END: &str = include_str!("end.sh");
/// How long one call waits for a run, in seconds.
const WAIT_SECONDS: u64 = 45;
/// How long what only looks or writes may take, in seconds.
const SHORT_SECONDS: u32 = 60;
/// Most artefacts of one build.
const ARTEFACTS_MAX: usize = 300;
/// How much of a paper is written at once, in bytes: what a script reads has a bound.
const PIECE_BYTES: usize = 48 << 10;

/// One run of a script.
struct Step<'a> {
    /// Its name among those of the task.
    name: &'a str,
    code: String,
    arguments: Vec<String>,
    stdin: String,
    seconds: u32,
}

/// Runs a step to its end, whatever that is. Another attempt of the task finds the same run.
async fn run(project: &str, step: Step<'_>, hands: &Hands) -> Result<ScriptRun, Fault> {
    let request = RunInlineRequest {
        language: Language::Sh,
        code: step.code,
        arguments: step.arguments,
        environment: Default::default(),
        stdin: step.stdin,
        time_limit_seconds: Some(step.seconds),
        wait_seconds: WAIT_SECONDS,
        idempotency_key: Some(format!("{}:{}", hands.key(), step.name)),
        project: Some(project.to_owned()),
    };
    let mut run = hands.call(RUN_INLINE, &request).await?;
    while !run.state.is_ended() {
        let request = RunOutputRequest { run: run.run.to_string(), wait_seconds: WAIT_SECONDS };
        run = tokio::select! {
            run = hands.call(RUN_OUTPUT, &request) => run?,
            () = hands.cancelled() => {
                hands.call(CANCEL_RUN, &CancelRunRequest { run: run.run.to_string() }).await?;
                return Err(Fault::cancelled("the build was asked to stop, and its processes were ended"));
            }
        };
    }
    if let Some(failure) = run.failure {
        return Err(Fault::new(failure.code, failure.message));
    }
    Ok(run)
}

/// The output of a run that ended well.
fn output(run: &ScriptRun, what: &str) -> Result<String, Fault> {
    if run.exit_code == Some(0) {
        return Ok(run.stdout.clone().unwrap_or_default());
    }
    let said = run.stderr.as_deref().unwrap_or_default().trim();
    // The end of it: what went wrong stands there.
    let skipped = said.chars().count().saturating_sub(4_000);
    let said: String = said.chars().skip(skipped).collect();
    let end = run.end.and_then(|end| serde_json::to_value(end).ok());
    let how = match run.exit_code {
        Some(code) => format!("exit code {code}"),
        None => end.as_ref().and_then(Value::as_str).unwrap_or("no end").to_owned(),
    };
    Err(Fault::invalid(format!("{what} failed ({how}): {said}"))
        .hint("the sandbox has no network and changes nothing in the project"))
}

/// What builds a project, by the files it has.
pub(super) async fn kind_of(project: &str, hands: &Hands) -> Result<Kind, Fault> {
    let code = "cd /project; for file in Cargo.toml foundry.toml package.json Dockerfile; do if [ -f \"$file\" ]; then echo \"$file\"; fi; done";
    let step =
        Step { name: "kind", code: code.into(), arguments: Vec::new(), stdin: String::new(), seconds: SHORT_SECONDS };
    let found = match run(project, step, hands).await {
        Ok(run) => output(&run, "a look at the project")?,
        // It may be under the roots of Foundry's projects, which tell by themselves whether it is.
        Err(fault) if is_not_there(&fault) => return Ok(Kind::Forge),
        Err(fault) => return Err(fault),
    };
    match found.lines().next() {
        Some("Cargo.toml") => Ok(Kind::Cargo),
        Some("foundry.toml") => Ok(Kind::Forge),
        Some("package.json") => Ok(Kind::Npm),
        Some("Dockerfile") => Ok(Kind::Image),
        _ => Err(Fault::invalid(format!("`{project}` has no Cargo.toml, foundry.toml, package.json or Dockerfile"))
            .hint("the project's own folder, or say kind")),
    }
}

/// Builds a project of cargo's or npm's.
pub(super) async fn program(
    kind: Kind,
    order: &Order,
    seconds: u32,
    hands: &Hands,
    package: bool,
) -> Result<Outcome, Fault> {
    let (text, usual, what) = match kind {
        Kind::Npm => (NPM, "build", "npm"),
        _ => (CARGO, "release", "cargo"),
    };
    let profile = order.profile.as_deref().unwrap_or(usual);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte);
    if !(1..=64).contains(&profile.len()) || profile.starts_with('-') || !profile.bytes().all(fits) {
        return Err(Fault::invalid("profile is no name").hint("letters, digits and - _ : ., a - not first"));
    }
    let name = order.project.rsplit('/').find(|part| !part.is_empty()).unwrap_or("project");
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(60).collect();
    let step = Step {
        name: "build",
        code: format!("{BEGIN}{text}{END}"),
        arguments: vec![profile.to_owned(), if package { "package" } else { "compile" }.into(), name],
        stdin: String::new(),
        seconds,
    };
    let ran = run(&order.project, step, hands).await?;
    let told = output(&ran, what)?;
    let mut outcome = read(kind, &told)?;
    outcome.kept_in = ran.kept_in;
    if outcome.artefacts.is_empty() {
        return Err(Fault::invalid(format!("{what} built nothing that can be taken away"))
            .hint("cargo: a binary or a library; npm: files in dist, build or out, or package it"));
    }
    Ok(outcome)
}

/// What the script told of what it built.
fn read(kind: Kind, told: &str) -> Result<Outcome, Fault> {
    let damaged = || Fault::upstream("the script told of its build what cannot be read");
    let (mut toolchain, mut source_sha256, mut artefacts) = (String::new(), None, Vec::new());
    let is_sha256 = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for line in told.lines() {
        match line.split_once(' ') {
            Some(("toolchain", version)) => toolchain = version.to_owned(),
            Some(("source", sha256)) if is_sha256(sha256) => source_sha256 = Some(sha256.to_owned()),
            Some(("artefact", rest)) => {
                let mut words = rest.splitn(3, ' ');
                let (Some(sha256), Some(bytes), Some(name)) = (words.next(), words.next(), words.next()) else {
                    return Err(damaged());
                };
                let bytes = bytes.parse().map_err(|_| damaged())?;
                if !is_sha256(sha256) || artefacts.len() >= ARTEFACTS_MAX {
                    return Err(Fault::too_large(format!(
                        "more than {ARTEFACTS_MAX} artefacts, or one without a name"
                    ))
                    .hint("package them: one archive is one artefact"));
                }
                artefacts.push(Artefact { name: name.to_owned(), bytes, sha256: sha256.to_owned() });
            }
            _ => {}
        }
    }
    let components = Components::read(told);
    Ok(Outcome { kind, toolchain, artefacts, components, source_sha256, bundle: None, kept_in: None })
}

/// Writes a paper beside the artefacts, piece by piece.
pub(super) async fn write(project: &str, file: &str, paper: &Value, hands: &Hands) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(paper).map_err(|error| Fault::internal(format!("{file}: {error}")))?;
    let (mut rest, mut at) = (text.as_str(), 0);
    while !rest.is_empty() || at == 0 {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        // Written at its place, so that a step that is done again changes nothing.
        let code = "set -eu; file=/keep/artefacts/$1; [ \"$2\" != 0 ] || : >\"$file\"; cat >>\"$file\"";
        let name = format!("{file}-{at}");
        let step = Step {
            name: &name,
            code: code.into(),
            arguments: vec![file.to_owned(), at.to_string()],
            stdin: piece.to_owned(),
            seconds: SHORT_SECONDS,
        };
        output(&run(project, step, hands).await?, "writing a paper")?;
        (rest, at) = (more, at + 1);
    }
    Ok(())
}
