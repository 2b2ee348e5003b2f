//! Puts the layers together and remembers where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use gateway::upstream::Secrets as _;
use kernel::limits::nearest;
use kernel::{Code, Fault, Result, Secret};
use mcp::typed::{self, Misfit};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Config, References};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// A line of `.env`.
    DotEnv(String),
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(&'static str),
}

impl Loaded {
    /// Where the fleet's PostgreSQL is, if it has one.
    pub fn postgres(&self) -> Option<backends::postgres::Place<'_>> {
        let url = self.secrets.get(DATABASE_URL)?.expose();
        Some(backends::postgres::Place { url, password: self.secrets.get(DATABASE_PASSWORD).map(Secret::expose) })
    }

    /// Where the fleet's Redis is, if it has one.
    pub fn redis(&self) -> Option<backends::redis::Place<'_>> {
        let url = self.secrets.get(REDIS_URL)?.expose();
        Some(backends::redis::Place { url, password: self.secrets.get(REDIS_PASSWORD).map(Secret::expose) })
    }

    /// Where the fleet's RabbitMQ is, if it has one.
    pub fn rabbitmq(&self) -> Option<backends::rabbitmq::Place<'_>> {
        Some(backends::rabbitmq::Place { url: self.secrets.get(RABBITMQ_URL)?.expose() })
    }

    /// What agents are given that stands in no file of ours.
    pub fn of_agents(&self) -> agents::Secrets {
        agents::Secrets { discord_token: self.secrets.get(DISCORD_TOKEN).cloned() }
    }

    /// The keys of those who serve language models, by their names in the configuration: as far as they are there.
    ///
    /// # Errors
    /// When one is named that cannot be read.
    pub fn model_keys(&self) -> Result<BTreeMap<String, Secret>> {
        let mut keys = BTreeMap::new();
        for (name, provider) in &self.config.models.providers {
            let Some(reference) = &provider.key else { continue };
            let known = reference.strip_prefix("env:").and_then(|variable| self.secrets.get(variable));
            match known.cloned().map_or_else(|| References.resolve(reference), Ok) {
                Ok(key) if !key.expose().is_empty() => drop(keys.insert(name.clone(), key)),
                // It is said when a model of theirs is asked for.
                Ok(_) => {}
                Err(fault) if fault.code == Code::NotConfigured => {}
                Err(fault) => return Err(fault.context(format!("models.providers.{name}.key"))),
            }
        }
        Ok(keys)
    }

    /// Where the fleet's etcd is, if it has one.
    pub fn etcd(&self) -> Option<backends::etcd::Place<'_>> {
        Some(backends::etcd::Place { endpoints: self.secrets.get(ETCD_ENDPOINTS)?.expose() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::DotEnv(name) => write!(f, "{name} in .env"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Where configuration is looked for.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`; `flotilla.toml` in the current folder when absent.
    pub file: Option<PathBuf>,
    /// Values from flags, by dotted key.
    pub flags: Vec<(&'static str, &'static str, Value)>,
}

/// The configuration and where its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The same as JSON, secrets and all: mask before showing.
    pub value: Value,
    /// What no file of ours holds, by the variable that gave it.
    pub secrets: BTreeMap<&'static str, Secret>,
    /// The origin of every value that is not a default, by dotted key.
    pub origins: BTreeMap<String, Origin>,
}

/// Variables with names of their own, and the keys they set.
const VARIABLES: [(&str, &str); 9] = [
    ("FLOTILLA_DATA_DIR", "fleet.data_dir"),
    ("FLOTILLA_TOOLS_DIR", "fleet.tools_dir"),
    ("FLOTILLA_MODE", "fleet.mode"),
    ("FLOTILLA_LOG", "logs.level"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("WALLET_KEYSTORE", "wallet.keystore"),
    ("DISCORD_METRICS_CHANNEL_ID", "agents.discord.metrics_channel"),
    ("DISCORD_ALERTS_CHANNEL_ID", "agents.discord.alerts_channel"),
    ("DISCORD_LOGS_CHANNEL_ID", "agents.discord.logs_channel"),
];

/// Keys of before, and what says it now.
const MOVED: [(&str, &str); 3] = [
    ("servers.market-analysis.currency", "market.currency"),
    ("servers.production.currency", "market.currency"),
    ("servers.risk-management.currency", "market.currency"),
];

/// Variables that hold secrets: from the environment, `.env` or a file (`NAME_FILE`), never from `flotilla.toml`.
const SECRETS: [&str; 15] = [
    DATABASE_URL,
    DATABASE_PASSWORD,
    REDIS_URL,
    REDIS_PASSWORD,
    RABBITMQ_URL,
    ETCD_ENDPOINTS,
    FLEET_KEY,
    RPC_URL,
    WALLET_KEY,
    WALLET_PASSWORD,
    RELAY_URL,
    RELAY_KEY,
    DISCORD_TOKEN,
    ANTHROPIC_KEY,
    OPENAI_KEY,
];

/// Where the fleet's PostgreSQL is; without one it keeps its things in the data folder.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// The password of that, when the URL has none.
pub const DATABASE_PASSWORD: &str = "POSTGRES_PASSWORD";
/// Where the Redis is by which the fleet's processes keep to limits together and tell each other news; without one each keeps to them alone.
const REDIS_URL: &str = "REDIS_URL";
/// The password of that, when the URL has none.
const REDIS_PASSWORD: &str = "REDIS_PASSWORD";
/// Where the RabbitMQ is by which programs outside the fleet get its events, and by which its processes tell each other news where there is no Redis.
const RABBITMQ_URL: &str = "RABBITMQ_URL";
/// Where the etcd is on which the fleet's processes find each other, lock and elect; without one they do in the database.
const ETCD_ENDPOINTS: &str = "ETCD_ENDPOINTS";
/// The key that the processes of a fleet know each other by, 32 bytes in base64url; what the data folder or the database has when absent.
pub const FLEET_KEY: &str = "FLOTILLA_FLEET_KEY";
/// The EVM nodes' URLs, parted by commas: they often carry a key.
pub const RPC_URL: &str = "ETHEREUM_RPC_URL";
/// The wallet's private key, 64 hexadecimal digits.
pub const WALLET_KEY: &str = "WALLET_PRIVATE_KEY";
/// The password of the wallet's key file.
pub const WALLET_PASSWORD: &str = "WALLET_PASSWORD";
/// The private relay's URL.
pub const RELAY_URL: &str = "RELAY_URL";
/// The key by which the relay knows who asks; no wallet's.
pub const RELAY_KEY: &str = "RELAY_PRIVATE_KEY";
/// The Discord bot's token.
const DISCORD_TOKEN: &str = "DISCORD_BOT_TOKEN";
/// Anthropic's key.
const ANTHROPIC_KEY: &str = "ANTHROPIC_API_KEY";
/// OpenAI's key.
const OPENAI_KEY: &str = "OPENAI_API_KEY";

/// Any key: `FLOTILLA_HTTP__BIND` sets `http.bind`.
const PREFIX: &str = "FLOTILLA_";

/// Reads every layer.
///
/// # Errors
/// When a file cannot be read, a key is unknown or a value is of the wrong type; the fault names the place and what would be right.
pub fn load(sources: &Sources) -> Result<Loaded> {
    let defaults = serde_json::to_value(Config::default()).map_err(|error| Fault::internal(error.to_string()))?;
    let mut layers = Layers { value: defaults, origins: BTreeMap::new(), secrets: BTreeMap::new() };
    layers.file(sources.file.as_deref())?;
    for (name, value) in dot_env(Path::new(".env"))? {
        layers.variable(&name, &value, Origin::DotEnv(name.clone()))?;
    }
    for (name, value) in environment() {
        layers.variable(&name, &value, Origin::Environment(name.clone()))?;
    }
    for (key, flag, value) in &sources.flags {
        layers.set(key, value.clone(), Origin::Flag(flag));
    }
    let config = layers.read::<Config>()?;
    config.check()?;
    Ok(Loaded { config, value: layers.value, secrets: layers.secrets, origins: layers.origins })
}

/// The environment, in a fixed order. A variable that is not UTF-8 is nobody's we know.
fn environment() -> Vec<(String, String)> {
    let readable =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut all: Vec<_> = readable.collect();
    all.sort();
    all
}

struct Layers {
    value: Value,
    origins: BTreeMap<String, Origin>,
    secrets: BTreeMap<&'static str, Secret>,
}

impl Layers {
    fn file(&mut self, chosen: Option<&Path>) -> Result<()> {
        let path = chosen.unwrap_or(Path::new("flotilla.toml"));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && chosen.is_none() => return Ok(()),
            Err(error) => return Err(Fault::invalid(format!("{} cannot be read: {error}", path.display()))),
        };
        let table: toml::Table = toml::from_str(&text).map_err(|error| {
            Fault::invalid(format!("{} is not TOML: {}", path.display(), error.to_string().trim_end()))
        })?;
        let value = serde_json::to_value(table).map_err(|error| Fault::invalid(error.to_string()))?;
        self.merge(String::new(), value, &Origin::File(path.into()));
        Ok(())
    }

    /// Lays `value` over what is at `key`: tables are merged, everything else is replaced.
    fn merge(&mut self, key: String, value: Value, origin: &Origin) {
        match value {
            Value::Object(fields) => {
                if !fields.is_empty() || slot(&mut self.value, &key).is_null() {
                    ensure_object(slot(&mut self.value, &key));
                }
                if fields.is_empty() {
                    self.origins.insert(key.clone(), origin.clone());
                }
                for (name, value) in fields {
                    let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                    self.merge(key, value, origin);
                }
            }
            value => self.set(&key, value, origin.clone()),
        }
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) {
        *slot(&mut self.value, key) = value;
        self.origins.insert(key.to_owned(), origin);
    }

    /// Takes a variable that is ours; lets all others be. `NAME_FILE` names a file that holds the value of `NAME`.
    fn variable(&mut self, name: &str, text: &str, origin: Origin) -> Result<()> {
        let ours = |bare: &&str| SECRETS.contains(bare) || self.key_of(bare).is_some();
        let (name, text) = match name.strip_suffix("_FILE").filter(ours) {
            Some(bare) => {
                let text = std::fs::read_to_string(text)
                    .map_err(|error| Fault::invalid(format!("{name} names {text}, which cannot be read: {error}")))?;
                (bare, text.trim_end().to_owned())
            }
            None => (name, text.to_owned()),
        };
        if let Some(secret) = SECRETS.into_iter().find(|secret| *secret == name) {
            if !text.is_empty() {
                self.secrets.insert(secret, Secret::new(text));
                self.origins.insert(secret.to_owned(), origin);
            }
        } else if let Some(key) = self.key_of(name) {
            let value = self.typed(&key, &text);
            self.set(&key, value, origin);
        }
        Ok(())
    }

    fn key_of(&self, name: &str) -> Option<String> {
        if let Some((_, key)) = VARIABLES.iter().find(|(variable, _)| *variable == name) {
            return Some((*key).to_owned());
        }
        let path = name.strip_prefix(PREFIX)?;
        // One level has no key of its own: `FLOTILLA_URL` and the like belong to the CLI.
        path.contains("__").then(|| {
            let mut here = &self.value;
            let mut key = Vec::new();
            for part in path.to_ascii_lowercase().split("__") {
                let spelled =
                    here.as_object().and_then(|fields| fields.keys().find(|known| known.replace('-', "_") == part));
                let part = spelled.cloned().unwrap_or_else(|| part.to_owned());
                here = &here[&part];
                key.push(part);
            }
            key.join(".")
        })
    }

    /// A variable's text as a value of the type that the key has now.
    fn typed(&self, key: &str, text: &str) -> Value {
        let here = key.split('.').try_fold(&self.value, |here, part| here.get(part));
        match here {
            Some(Value::Array(_)) if !text.trim_start().starts_with('[') => {
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
            }
            Some(Value::String(_)) => Value::from(text),
            _ => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T> {
        for (old, new) in MOVED {
            if let Some(origin) = self.origins.get(old) {
                let moved = Fault::invalid(format!("{old}: the key is {new} now (from {origin})"));
                return Err(moved.hint(format!("set {new}, once for the whole fleet, and take {old} out")));
            }
        }
        typed::read(&self.value.to_string()).map_err(|Misfit { path, message }| {
            let origin = self.origin_of(&path, &message);
            let mut fault = Fault::invalid(format!("{path}: {message} (from {origin})"));
            if let Some(meant) = meant(&message) {
                fault = fault.hint(format!("did you mean `{meant}`?"));
            }
            fault
        })
    }

    /// The layer that set `path`, or something in it that the message names.
    fn origin_of(&self, path: &str, message: &str) -> Origin {
        let field = message.split('`').nth(1).unwrap_or_default();
        let inner = format!("{path}.{field}");
        let named = |key: &&String| **key == path || **key == inner || key.starts_with(&format!("{inner}."));
        let key = self.origins.keys().find(named).or_else(|| self.origins.keys().find(|key| key.starts_with(path)));
        key.and_then(|key| self.origins.get(key)).cloned().unwrap_or(Origin::Default)
    }
}

/// What an unknown key was meant to be, out of serde's list of the known ones.
fn meant(message: &str) -> Option<String> {
    let mut words = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    nearest(unknown, &words.collect::<Vec<_>>()).map(ToOwned::to_owned)
}

/// The place of a dotted key, made where it is not there yet.
fn slot<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    key.split('.').filter(|part| !part.is_empty()).fold(value, |here, part| {
        ensure_object(here);
        &mut here[part]
    })
}

fn ensure_object(value: &mut Value) {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
}

/// The lines of a `.env` file: `NAME=value`, optional `export`, quotes around the value, `#` comments.
pub fn dot_env(path: &Path) -> Result<Vec<(String, String)>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Fault::invalid(format!("{} cannot be read: {error}", path.display()))),
    };
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches("export ").trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(Fault::invalid(format!("{}:{}: not NAME=value", path.display(), number + 1)));
        };
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let bare = value.split(" #").next().unwrap_or_default().trim();
        lines.push((name.trim().to_owned(), quoted.unwrap_or(bare).to_owned()));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
