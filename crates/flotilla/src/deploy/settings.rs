//! What the container system is told: the variables of `.env`, and the secrets that `flotilla init` makes from them.
//!
//! Names are the original's. No value is a password: those are made at random, by [`Settings::complete`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kernel::{catalog, ids};

/// How long a password is, in random bytes.
const PASSWORD_BYTES: usize = 24;

/// Where a variable's value comes from when nobody gave one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// This.
    Text(&'static str),
    /// Chance.
    Random,
    /// Nowhere: what needs it says so.
    Nobody,
}

use Origin::{Nobody, Random, Text};

/// A variable: its name, what it is, where its value comes from, and the service without which it means nothing.
struct Variable(&'static str, &'static str, Origin, Option<&'static str>);

const VARIABLES: &[Variable] = &[
    Variable(
        "COMPOSE_PROFILES",
        "What starts: full, minimal or dev; and beside it exporters, alerts.",
        Text("full"),
        None,
    ),
    Variable("POSTGRES_USER", "PostgreSQL.", Text("mcp_user"), None),
    Variable("POSTGRES_PASSWORD", "", Random, None),
    Variable("POSTGRES_DB", "", Text("mcp_system"), None),
    Variable("REDIS_PASSWORD", "Redis.", Random, None),
    Variable("RABBITMQ_DEFAULT_USER", "RabbitMQ.", Text("mcp_admin"), None),
    Variable("RABBITMQ_DEFAULT_PASS", "", Random, None),
    Variable("GRAFANA_ADMIN_PASSWORD", "Grafana's user admin.", Random, None),
    Variable(
        "ETHEREUM_RPC_URL",
        "EVM nodes, parted by commas. What needs a chain says so until one is given.",
        Nobody,
        None,
    ),
    Variable(
        "FLOTILLA_HOSTS",
        "Names under which the fleet is reached from outside, parted by commas.",
        Text("localhost"),
        None,
    ),
    Variable("FLOTILLA_PUBLISH", "The address of this machine on which ports are published.", Text("127.0.0.1"), None),
    Variable("OPENAI_API_KEY", "Language models: docs/models.md.", Nobody, Some("ai-integration")),
    Variable("ANTHROPIC_API_KEY", "", Nobody, Some("ai-integration")),
    Variable(
        "DISCORD_BOT_TOKEN",
        "The Discord bot: its token, and the ids of its channels. docs/discord.md says how to make one.",
        Nobody,
        Some("agent:discord"),
    ),
    Variable("DISCORD_METRICS_CHANNEL_ID", "", Nobody, Some("agent:discord")),
    Variable("DISCORD_ALERTS_CHANNEL_ID", "", Nobody, Some("agent:discord")),
    Variable("DISCORD_LOGS_CHANNEL_ID", "", Nobody, Some("agent:discord")),
];

/// The variables that mean something to what is built.
fn variables() -> impl Iterator<Item = &'static Variable> {
    let built = |role: &str| catalog::SERVICES.iter().any(|service| service.built && service.role() == role);
    VARIABLES.iter().filter(move |variable| variable.3.is_none_or(built))
}

/// The example: every variable, and no password.
pub fn example() -> String {
    let blank = Settings { values: BTreeMap::new() };
    format!(
        "# {}\n# `flotilla init` writes .env like this one, with passwords made at random, and docker/secrets from it. Copied by hand, it wants\n\
         # `flotilla init` all the same: it makes the secrets, and passwords for those left empty here.\n{}",
        super::MADE,
        blank.text()
    )
}

/// Values by variable.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Those of a `.env`.
    pub fn of(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: values.into_iter().filter(|(_, value)| !value.is_empty()).collect() }
    }

    /// The same with what is missing: defaults, and passwords made at random.
    #[must_use]
    pub fn complete(mut self) -> Self {
        for Variable(name, _, from, _) in variables() {
            let value = match from {
                Text(text) => (*text).to_owned(),
                Random => ids::random_token(PASSWORD_BYTES),
                Nobody => continue,
            };
            self.values.entry((*name).to_owned()).or_insert(value);
        }
        self
    }

    /// The same with the passwords of secrets that were made before, where `.env` has none.
    #[must_use]
    pub fn or_made(mut self, secret: impl Fn(&str) -> Option<String>) -> Self {
        let rabbit = secret("rabbitmq.conf")
            .and_then(|text| text.lines().find_map(|line| Some(line.strip_prefix("default_pass = ")?.to_owned())));
        let made = [
            ("POSTGRES_PASSWORD", secret("postgres_password")),
            ("REDIS_PASSWORD", secret("redis_password")),
            ("RABBITMQ_DEFAULT_PASS", rabbit),
            ("GRAFANA_ADMIN_PASSWORD", secret("grafana_password")),
        ];
        for (name, password) in made {
            if let Some(password) = password.filter(|password| !password.is_empty()) {
                self.values.entry(name.to_owned()).or_insert(password);
            }
        }
        self
    }

    /// A value, or nothing.
    pub fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// As a `.env`, in groups.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Variable(name, about, from, _) in variables() {
            if !about.is_empty() {
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "\n# {about}");
            }
            let default = if let Text(default) = from { *default } else { "" };
            let value = Some(self.get(name)).filter(|value| !value.is_empty()).unwrap_or(default);
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }

    /// The secrets as files: what of the fleet and of others reads each is in `compose.rs`.
    pub fn secrets(&self) -> Vec<(&'static str, String)> {
        let (user, password) = (self.get("POSTGRES_USER"), self.get("POSTGRES_PASSWORD"));
        let (rabbit, secret) = (self.get("RABBITMQ_DEFAULT_USER"), self.get("RABBITMQ_DEFAULT_PASS"));
        let redis = self.get("REDIS_PASSWORD");
        let database = self.get("POSTGRES_DB");
        vec![
            ("postgres_user", user.to_owned()),
            ("postgres_db", database.to_owned()),
            ("postgres_password", password.to_owned()),
            ("redis_password", redis.to_owned()),
            // What the exporter of Redis' figures reads: passwords by address.
            ("redis_passwords", serde_json::json!({ "redis://redis:6379": redis }).to_string()),
            ("rabbitmq.conf", format!("default_user = {rabbit}\ndefault_pass = {secret}\n")),
            ("grafana_password", self.get("GRAFANA_ADMIN_PASSWORD").to_owned()),
            (
                "database_url",
                format!("postgres://{}:{}@postgres:5432/{}", escaped(user), escaped(password), escaped(database)),
            ),
            ("redis_url", format!("redis://:{}@redis:6379/0", escaped(redis))),
            ("rabbitmq_url", format!("amqp://{}:{}@rabbitmq:5672/%2f", escaped(rabbit), escaped(secret))),
            ("ethereum_rpc_url", self.get("ETHEREUM_RPC_URL").to_owned()),
            ("wallet_private_key", String::new()),
            ("discord_bot_token", self.get("DISCORD_BOT_TOKEN").to_owned()),
            ("anthropic_api_key", self.get("ANTHROPIC_API_KEY").to_owned()),
            ("openai_api_key", self.get("OPENAI_API_KEY").to_owned()),
        ]
    }
}

/// Text inside a URL: a password may hold anything.
fn escaped(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_kept_and_passwords_are_never_the_same_twice() {
        let given = || Settings::of([("POSTGRES_PASSWORD".to_owned(), "p@ss/word".to_owned())]).complete();
        let (first, second) = (given(), given());
        assert_eq!(first.get("POSTGRES_PASSWORD"), "p@ss/word");
        assert_ne!(first.get("REDIS_PASSWORD"), second.get("REDIS_PASSWORD"));
        let secrets: BTreeMap<_, _> = first.secrets().into_iter().collect();
        assert_eq!(secrets["database_url"], "postgres://mcp_user:p%40ss%2Fword@postgres:5432/mcp_system");
    }

    #[test]
    fn the_example_has_no_password_and_nothing_of_what_is_not_built() {
        let example = example();
        assert!(example.contains("\nPOSTGRES_PASSWORD=\n") && example.contains("\nREDIS_PASSWORD=\n"), "{example}");
        let discord = catalog::agents().any(|agent| agent.name == "discord");
        assert_eq!(example.contains("DISCORD_BOT_TOKEN"), discord, "{example}");
    }
}
