//! What an upstream is: a command to start, or a URL; and how it is treated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use kernel::mask::is_secret_name;
use kernel::{Fault, Secret, catalog};
use mcp::client::http::{Target, guard};
use mcp::client::stdio::Program;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names;

/// Longest time limit of a call, in seconds.
const TIMEOUT_SECONDS_MAX: u32 = 3_600;

/// An upstream as it is added and kept. It holds no secret: values of `env` and `headers` that are secret name where the secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSpec {
    /// Its name here, the first part of its tools' names: a lower-case letter, then lower-case letters, digits and `-`.
    #[serde(default)]
    pub name: String,
    /// The program to start, for one that speaks over its standard streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The program's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The program's environment, beside PATH, HOME and LANG. A value `env:NAME` or `file:PATH` stands for what is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The folder the program starts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The endpoint, for one that speaks HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headers of every request. A value that ends in `env:NAME` or `file:PATH`, as in `Bearer env:TOKEN`, stands for what is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Whether the URL may be on this machine or its own network.
    #[serde(default)]
    pub allow_private: bool,
    /// How long it may be silent on a call, in seconds.
    #[serde(default = "default_timeout_seconds")]
    pub timeout_seconds: u32,
    /// Toolsets its tools belong to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub toolsets: BTreeSet<String>,
    /// Whether its own word that a tool only reads is believed: then viewers may call that tool.
    #[serde(default)]
    pub trust_annotations: bool,
}

fn default_timeout_seconds() -> u32 {
    60
}

/// Finds secrets by reference.
pub trait Secrets: Send + Sync {
    /// What stands at `env:NAME` or `file:PATH`.
    ///
    /// # Errors
    /// When nothing does, or it may not be read.
    fn resolve(&self, reference: &str) -> Result<Secret, Fault>;
}

/// How an upstream is reached, secrets and all.
pub(super) enum Means {
    /// A program to start.
    Program(Program),
    /// An endpoint.
    Http(Target),
}

impl UpstreamSpec {
    /// Refuses what cannot work or would keep a secret in clear.
    pub fn check(&self) -> Result<(), Fault> {
        names::check_part(&self.name)?;
        if catalog::SERVICES.iter().any(|service| service.name == self.name) {
            return Err(Fault::already_exists(format!("`{}` names a server of the fleet", self.name))
                .hint("give the upstream another name"));
        }
        if !(1..=TIMEOUT_SECONDS_MAX).contains(&self.timeout_seconds) {
            return Err(Fault::invalid(format!("timeout_seconds must be 1 to {TIMEOUT_SECONDS_MAX}")));
        }
        match (&self.command, &self.url) {
            (Some(_), None) if !self.headers.is_empty() => Err(Fault::invalid("headers belong to a url")),
            (None, Some(_)) if !(self.args.is_empty() && self.env.is_empty() && self.folder.is_none()) => {
                Err(Fault::invalid("args, env and folder belong to a command"))
            }
            (Some(command), None) if command.is_empty() => Err(Fault::invalid("the command is empty")),
            (Some(_), None) => self.check_args().and_then(|()| self.check_values(&self.env)),
            (None, Some(url)) => self.check_url(url),
            _ => Err(Fault::invalid("an upstream has either a command or a url")),
        }
    }

    /// Arguments are kept as they are, and every process of the machine can read them: no place for secrets.
    fn check_args(&self) -> Result<(), Fault> {
        let names_secret = |flag: &str| {
            let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
            // A file or a variable that holds one is none.
            let elsewhere = ["file", "path", "env", "name"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
            flag.starts_with('-') && is_secret_name(name) && !elsewhere
        };
        let followed = |at: usize| self.args.get(at + 1).is_some_and(|next| !next.starts_with('-'));
        let secret =
            self.args.iter().enumerate().find(|(at, arg)| names_secret(arg) && (arg.contains('=') || followed(*at)));
        match secret {
            Some((_, arg)) => {
                let flag = arg.split('=').next().unwrap_or_default();
                Err(Fault::invalid(format!("args: {flag}: a secret in clear"))
                    .hint("give it to the program through `env`, as `env:NAME` or `file:PATH`"))
            }
            None => Ok(()),
        }
    }

    fn check_url(&self, url: &str) -> Result<(), Fault> {
        let uri: Uri = url.parse().map_err(|error| Fault::invalid(format!("url: {error}")))?;
        let host = uri.host().filter(|_| matches!(uri.scheme_str(), Some("http" | "https")));
        let host = host.ok_or_else(|| Fault::invalid("url must be like https://example.com/mcp"))?;
        let secret = |pair: &str| is_secret_name(pair.split('=').next().unwrap_or_default());
        if url.contains('@') || uri.query().is_some_and(|query| query.split('&').any(secret)) {
            return Err(
                Fault::invalid("url: a secret in clear").hint("put it into `headers`, as `env:NAME` or `file:PATH`")
            );
        }
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let private = address.map_or(host.eq_ignore_ascii_case("localhost"), guard::is_private);
        if private && !self.allow_private {
            return Err(Fault::denied(format!("{host} is on this machine or its own network"))
                .hint("set `allow_private` to true if that is meant"));
        }
        for name in self.headers.keys() {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Fault::invalid(format!("headers: `{name}` names no header")))?;
        }
        self.check_values(&self.headers)
    }

    fn check_values(&self, values: &BTreeMap<String, String>) -> Result<(), Fault> {
        let holds_secret =
            |name: &str| is_secret_name(name) || ["cookie", "x-api-key"].contains(&name.to_ascii_lowercase().as_str());
        match values.iter().find(|(name, value)| holds_secret(name) && reference_in(value).is_none()) {
            Some((name, _)) => Err(Fault::invalid(format!("{name}: a secret in clear"))
                .hint("say where it is: `env:NAME` or `file:PATH`, after a scheme if there is one: `Bearer env:NAME`")),
            None => Ok(()),
        }
    }

    /// How to reach it; `inherited` is the environment every program gets.
    pub(super) fn means(&self, secrets: &dyn Secrets, inherited: &BTreeMap<String, String>) -> Result<Means, Fault> {
        self.check()?;
        if let Some(command) = &self.command {
            let mut env = inherited.clone();
            for (name, value) in &self.env {
                env.insert(name.clone(), resolved(value, secrets)?);
            }
            let (args, folder) = (self.args.clone(), self.folder.clone());
            return Ok(Means::Program(Program { command: command.clone(), args, env, folder }));
        }
        let url = self.url.as_deref().unwrap_or_default();
        let url: Uri = url.parse().map_err(|error| Fault::invalid(format!("url: {error}")))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let bad = |_| Fault::invalid(format!("headers: {name}: not the value of a header"));
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Fault::invalid(format!("`{name}` names no header")))?;
            let mut value = HeaderValue::from_str(&resolved(value, secrets)?).map_err(bad)?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let (allow_private, timeout) = (self.allow_private, self.timeout());
        Ok(Means::Http(Target { url, headers, allow_private, timeout, credentials: None }))
    }

    /// How long it may be silent on a call.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.into())
    }

    /// Where it is, for people: the program or the URL.
    pub fn place(&self) -> String {
        match (&self.url, &self.command) {
            (Some(url), _) => url.clone(),
            (None, Some(command)) => [std::slice::from_ref(command), &self.args].concat().join(" "),
            (None, None) => String::new(),
        }
    }
}

/// The reference a value ends in, and what stands before it.
fn reference_in(value: &str) -> Option<(&str, &str)> {
    let at = value.rfind(' ').map_or(0, |at| at + 1);
    let (before, last) = value.split_at(at);
    (last.starts_with("env:") || last.starts_with("file:")).then_some((before, last))
}

fn resolved(value: &str, secrets: &dyn Secrets) -> Result<String, Fault> {
    match reference_in(value) {
        Some((before, reference)) => Ok(format!("{before}{}", secrets.resolve(reference)?.expose().trim_end())),
        None => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::*;

    struct Fixed;

    impl Secrets for Fixed {
        fn resolve(&self, reference: &str) -> Result<Secret, Fault> {
            Ok(Secret::new(format!("<{reference}>\n")))
        }
    }

    fn check(mut spec: Value, expected: Expect) {
        spec["name"] = "files".into();
        let seen = match serde_json::from_value::<UpstreamSpec>(spec) {
            Err(error) => format!("unreadable: {error}"),
            Ok(spec) => match spec.check() {
                Ok(()) => format!("fine: {}", spec.place()),
                Err(fault) => fault.to_string(),
            },
        };
        expected.assert_eq(&seen);
    }

    #[test]
    fn says_what_is_wrong() {
        check(json!({ "command": "npx", "args": ["-y", "x"] }), expect!["fine: npx -y x"]);
        check(json!({ "url": "https://example.com/mcp" }), expect!["fine: https://example.com/mcp"]);
        check(json!({}), expect!["invalid_argument: an upstream has either a command or a url"]);
        check(
            json!({ "command": "a", "url": "https://b" }),
            expect!["invalid_argument: an upstream has either a command or a url"],
        );
        check(
            json!({ "command": "a", "comand": "b" }),
            expect![
                "unreadable: unknown field `comand`, expected one of `name`, `command`, `args`, `env`, `folder`, `url`, `headers`, `allow_private`, `timeout_seconds`, `toolsets`, `trust_annotations`"
            ],
        );
        check(json!({ "command": "a", "headers": { "x": "y" } }), expect!["invalid_argument: headers belong to a url"]);
        check(
            json!({ "url": "ftp://example.com" }),
            expect!["invalid_argument: url must be like https://example.com/mcp"],
        );
        for private in ["http://127.0.0.1:9", "http://[::1]/", "http://localhost/x", "http://169.254.169.254/latest"] {
            let spec =
                UpstreamSpec { url: Some(private.into()), ..serde_json::from_value(json!({ "name": "x" })).unwrap() };
            assert_eq!(spec.check().unwrap_err().code, kernel::Code::PermissionDenied, "{private}");
            assert!(UpstreamSpec { allow_private: true, ..spec }.check().is_ok(), "{private}");
        }
    }

    #[test]
    fn no_secret_is_kept_in_clear() {
        check(
            json!({ "url": "https://example.com", "headers": { "Authorization": "Bearer abc" } }),
            expect![
                "invalid_argument: Authorization: a secret in clear (say where it is: `env:NAME` or `file:PATH`, after a scheme if there is one: `Bearer env:NAME`)"
            ],
        );
        check(
            json!({ "command": "a", "env": { "API_KEY": "abc" } }),
            expect![
                "invalid_argument: API_KEY: a secret in clear (say where it is: `env:NAME` or `file:PATH`, after a scheme if there is one: `Bearer env:NAME`)"
            ],
        );
        for (args, fine) in [
            (json!(["--token", "abc"]), false),
            (json!(["--api-key=abc"]), false),
            (json!(["--token-file", "/run/token"]), true),
            (json!(["--max-tokens", "5", "--token"]), true),
        ] {
            let spec = json!({ "name": "x", "command": "a", "args": args });
            assert_eq!(serde_json::from_value::<UpstreamSpec>(spec).unwrap().check().is_ok(), fine, "{args}");
        }
        check(
            json!({ "url": "https://example.com/?api_key=1" }),
            expect!["invalid_argument: url: a secret in clear (put it into `headers`, as `env:NAME` or `file:PATH`)"],
        );
        check(
            json!({ "url": "https://me:pw@example.com/" }),
            expect!["invalid_argument: url: a secret in clear (put it into `headers`, as `env:NAME` or `file:PATH`)"],
        );
        let spec: UpstreamSpec = serde_json::from_value(json!({
            "name": "x", "url": "https://example.com", "headers": { "Authorization": "Bearer env:TOKEN", "X-Plain": "v" },
        }))
        .unwrap();
        let Ok(Means::Http(target)) = spec.means(&Fixed, &BTreeMap::new()) else { panic!("a target") };
        assert_eq!(target.headers["authorization"], "Bearer <env:TOKEN>");
        assert!(target.headers["authorization"].is_sensitive());
        assert_eq!(target.headers["x-plain"], "v");
    }
}
