//! Containers of one Compose project on a Docker engine: listed, started, stopped, started anew.

use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use kernel::fleet::{Containers, Kind};
use kernel::{Fault, Result};
use serde::Deserialize;
use serde_json::json;

use super::host;
use super::http::{Answer, Ask, Door};

/// How long a container may take to stop before it is killed: what the fleet takes at most, and some.
const STOP_SECONDS: u32 = 30;
/// How long an answer may take: a container is stopped and started within one.
const ANSWER_TIME: Duration = Duration::from_secs(STOP_SECONDS as u64 + 15);
/// The oldest engine that is known to do, by its API's version.
const OLDEST: (u32, u32) = (1, 40);
/// What is wanted of whoever stands between us and the engine.
const ALLOW: &str =
    "the proxy must let through GET /_ping and /containers/json, and POST /containers/ID/start, stop and restart";

/// The label with the project's name, and those with the service's and the copy's number in it.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";
/// Says that it is no copy but somebody's `docker compose run`.
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// See the module.
pub(super) struct Docker {
    door: Door,
    project: String,
}

/// A container as a list has it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    state: String,
    #[serde(default)]
    labels: std::collections::HashMap<String, String>,
}

impl Listed {
    fn runs(&self) -> bool {
        matches!(self.state.as_str(), "running" | "restarting" | "paused")
    }

    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// A service's containers, the first copy first.
struct Copies {
    /// What paths begin with: the engine's own version of its API.
    version: String,
    name: String,
    all: Vec<Listed>,
}

impl Docker {
    pub(super) fn new(address: &str, project: &str) -> Result<Self> {
        if address.starts_with("https://") {
            return Err(Fault::invalid("containers.docker is asked without TLS")
                .hint("http:// of a proxy on a network of its own, or unix://"));
        }
        Ok(Self { door: Door::new("Docker", address, ANSWER_TIME, None)?, project: project.into() })
    }

    /// The version that this engine speaks.
    async fn version(&self) -> Result<String> {
        let answer = self.door.ask(Ask::new(Method::GET, "/_ping")).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refusal(&answer, "a sign of life"));
        }
        let version = answer.header("api-version").unwrap_or_default().to_owned();
        let numbers =
            version.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match numbers {
            Some(numbers) if numbers >= OLDEST => Ok(format!("/v{version}")),
            _ => Err(Fault::unsupported(format!(
                "{} speaks version `{}` of its API",
                self.door.name,
                version.escape_debug()
            ))
            .hint(format!("{}.{} or later", OLDEST.0, OLDEST.1))),
        }
    }

    async fn copies(&self, kind: Kind, service: &str) -> Result<Copies> {
        let (version, name) = (self.version().await?, host(kind, service));
        let labels = [(PROJECT, &*self.project), (SERVICE, &name), (ONE_OFF, "False")];
        let filters = json!({ "label": labels.map(|(label, value)| format!("{label}={value}")) }).to_string();
        let filters: String = filters.bytes().map(escaped).collect();
        let path = format!("{version}/containers/json?all=true&filters={filters}");
        let answer = self.door.ask(Ask::new(Method::GET, &path)).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refusal(&answer, &name));
        }
        let mut all: Vec<Listed> = answer.read(&self.door)?;
        // Whoever answers might not look at filters.
        all.retain(|one| labels.iter().all(|(label, value)| one.label(label).eq_ignore_ascii_case(value)));
        if let Some(odd) = all.iter().find(|one| !one.id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(Fault::unavailable(format!("{} has a container `{}`", self.door.name, odd.id.escape_debug())));
        }
        all.sort_by_key(|one| one.label(NUMBER).parse::<u32>().unwrap_or(u32::MAX));
        if all.is_empty() {
            return Err(Fault::not_found(format!(
                "{} has no container of {name} in the project {}",
                self.door.name, self.project
            ))
            .hint("containers.project names the Compose project; `docker compose ps -a` shows its services"));
        }
        Ok(Copies { version, name, all })
    }

    /// Does something to a container; that it is so already is well too.
    async fn act(&self, copies: &Copies, one: &Listed, what: &str) -> Result<()> {
        let path = format!("{}/containers/{}/{what}", copies.version, one.id);
        let answer = self.door.ask(Ask::new(Method::POST, &path)).await?;
        match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Ok(()),
            _ => Err(self.refusal(&answer, &copies.name)),
        }
    }

    fn refusal(&self, answer: &Answer, what: &str) -> Fault {
        self.door.refusal(answer, what, ALLOW)
    }
}

/// A byte of a query.
fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

#[async_trait]
impl Containers for Docker {
    fn about(&self) -> &str {
        &self.door.name
    }

    /// One after another, so that those that are left serve meanwhile.
    async fn restart(&self, kind: Kind, service: &str) -> Result<()> {
        let copies = self.copies(kind, service).await?;
        if !copies.all.iter().any(Listed::runs) {
            return Err(Fault::conflict(format!(
                "none of the {} containers of {} runs",
                copies.all.len(),
                copies.name
            ))
            .hint("scale_service starts them"));
        }
        for one in copies.all.iter().filter(|one| one.runs()) {
            self.act(&copies, one, &format!("restart?t={STOP_SECONDS}")).await?;
        }
        Ok(())
    }

    async fn scale(&self, service: &str, replicas: u32) -> Result<()> {
        let copies = self.copies(Kind::Server, service).await?;
        let (wanted, there, name) = (replicas as usize, copies.all.len(), &copies.name);
        if wanted > there {
            return Err(Fault::unsupported(format!("{name} has {there} containers, and more are not made from here"))
                .hint(format!("`docker compose … up -d --no-recreate --scale {name}={wanted}` makes them; then any number up to {wanted} can be asked for")));
        }
        // Those that run stay before others are started; of two alike the first.
        let (mut run, mut rest): (Vec<&Listed>, Vec<&Listed>) = copies.all.iter().partition(|one| one.runs());
        while run.len() > wanted
            && let Some(last) = run.pop()
        {
            self.act(&copies, last, &format!("stop?t={STOP_SECONDS}")).await?;
        }
        rest.truncate(wanted - run.len());
        for one in rest {
            self.act(&copies, one, "start").await?;
        }
        Ok(())
    }
}
