//! Requests to Discord's REST interface, version 10.
//!
//! Invariants:
//! - The bot's token goes to the configured host and nowhere else: a redirect is an error. It is in no message of ours, and neither is what an
//!   interaction answers with (its token), because routes are named by their patterns.
//! - Every request is bounded in time, size and tries, and waits for its bucket first.
//! - A token that was refused once is not shown again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Uri};
use kernel::backoff::Backoff;
use kernel::{Code, Fault, Secret};
use parking_lot::Mutex;
use serde_json::{Value, json};
use servers::outbound::{Ask, Reach, Told, fetch, host_port};
use tokio::time::{Instant, sleep};

use super::limits::{Limits, seconds};

/// How long one request may take.
const TIME: Duration = Duration::from_secs(15);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Most tries of one request.
const TRIES_MAX: u32 = 5;
/// Longest wait for a limit; who must wait for longer is told so.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How tries after a failure spread out.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(8) };
/// Who asks, in the form that Discord wants.
const AGENT: &str = concat!("DiscordBot (flotilla, ", env!("CARGO_PKG_VERSION"), ")");
/// Longest id that Discord gives.
const ID_MAX: usize = 20;
/// Longest token of an interaction.
const TOKEN_MAX: usize = 1_024;

/// Whether a text is an id of Discord's: a number, in digits.
pub(super) fn is_id(text: &str) -> bool {
    (1..=ID_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text can be the token of an interaction.
pub(super) fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=TOKEN_MAX).contains(&text.len()) && text.bytes().all(fits)
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub(super) struct Route {
    method: Method,
    /// The path with its ids left out: what limits and messages name.
    pattern: &'static str,
    path: String,
    /// What has limits of its own: a channel, an interaction.
    about: String,
    /// Whether the bot says who it is; an interaction's own token says enough.
    signed: bool,
}

impl Route {
    fn new(method: Method, pattern: &'static str, path: String, about: &str) -> Self {
        Self { method, pattern, path, about: about.to_owned(), signed: true }
    }

    pub(super) fn gateway() -> Self {
        Self::new(Method::GET, "get gateway", "/gateway/bot".into(), "")
    }

    pub(super) fn post(channel: &str) -> Self {
        Self::new(Method::POST, "post message", format!("/channels/{channel}/messages"), channel)
    }

    pub(super) fn edit(channel: &str, message: &str) -> Self {
        Self::new(Method::PATCH, "edit message", format!("/channels/{channel}/messages/{message}"), channel)
    }

    pub(super) fn commands(application: &str, guild: Option<&str>) -> Self {
        let place = guild.map(|guild| format!("guilds/{guild}/")).unwrap_or_default();
        Self::new(Method::PUT, "put commands", format!("/applications/{application}/{place}commands"), application)
    }

    pub(super) fn callback(interaction: &str, token: &str) -> Self {
        let path = format!("/interactions/{interaction}/{token}/callback");
        Self { signed: false, ..Self::new(Method::POST, "answer interaction", path, interaction) }
    }

    pub(super) fn original(application: &str, token: &str) -> Self {
        let path = format!("/webhooks/{application}/{token}/messages/@original");
        Self { signed: false, ..Self::new(Method::PATCH, "edit answer", path, token) }
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub(super) enum Body {
    None,
    Json(Value),
    /// A message with a file.
    File {
        message: Value,
        name: String,
        bytes: Bytes,
    },
}

/// The client.
pub(super) struct Rest {
    base: String,
    token: HeaderValue,
    limits: Mutex<Limits>,
    refused: AtomicBool,
}

impl Rest {
    /// A client of the interface at `base` (`https://discord.com/api/v10`).
    pub(super) fn new(base: &str, token: &Secret) -> Result<Self, Fault> {
        let mut token = HeaderValue::from_str(&format!("Bot {}", token.expose()))
            .map_err(|_| Fault::invalid("DISCORD_BOT_TOKEN holds what is in no token"))?;
        token.set_sensitive(true);
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { base, token, limits: Mutex::default(), refused: AtomicBool::new(false) })
    }

    /// The interface's own address.
    pub(super) fn base(&self) -> Result<Uri, Fault> {
        self.base.parse().map_err(|_| Fault::invalid("agents.discord.api is no address"))
    }

    /// Makes a request and gives its answer, `null` when it is empty.
    ///
    /// # Errors
    /// What Discord refuses, with its own words and, in the data, its code; `rate_limited`, `timeout` or `unavailable`.
    pub(super) async fn call(&self, route: &Route, body: Body) -> Result<Value, Fault> {
        let mut failures = 0;
        loop {
            if route.signed && self.refused.load(Ordering::Acquire) {
                return Err(Fault::unauthenticated("Discord has refused the bot's token")
                    .hint("set DISCORD_BOT_TOKEN anew and restart agent:discord"));
            }
            self.wait_for_place(route).await?;
            let ended = self.once(route, &body).await;
            failures += 1;
            match ended {
                Ok(told) => match self.outcome(route, &told) {
                    Outcome::Done(value) => return Ok(value),
                    Outcome::Failed(fault) => return Err(fault),
                    Outcome::Again(fault) if failures >= TRIES_MAX => return Err(fault),
                    Outcome::Again(_) => {}
                    Outcome::Later(fault) if failures >= TRIES_MAX => return Err(fault),
                    Outcome::Later(_) => sleep(AGAIN.wait(failures)).await,
                },
                // What was under way may have been done: only what can be done twice is.
                Err(fault) if failures >= TRIES_MAX || route.method == Method::POST => return Err(fault),
                Err(_) => sleep(AGAIN.wait(failures)).await,
            }
        }
    }

    async fn wait_for_place(&self, route: &Route) -> Result<(), Fault> {
        let until = Instant::now() + WAIT_MAX;
        loop {
            let now = Instant::now();
            let place = self.limits.lock().take(route.pattern, &route.about, now);
            match place {
                Ok(()) => return Ok(()),
                Err(wait) if now + wait > until => return Err(limited(route, wait)),
                Err(wait) => sleep(wait).await,
            }
        }
    }

    async fn once(&self, route: &Route, body: &Body) -> Result<Told, Fault> {
        let url = format!("{}{}", self.base, route.path)
            .parse()
            .map_err(|_| Fault::internal(format!("discord: {}: no address", route.pattern)))?;
        let mut headers = vec![(USER_AGENT, HeaderValue::from_static(AGENT))];
        if route.signed {
            headers.push((AUTHORIZATION, self.token.clone()));
        }
        let (kind, bytes) = written(body)?;
        headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        let ask =
            Ask { method: route.method.clone(), url, headers, body: bytes, time: TIME, bytes_max: ANSWER_BYTES_MAX };
        // Where it goes stands in the configuration.
        fetch(&Reach::ANYWHERE, ask).await.map_err(|fault| fault.context(format!("discord: {}", route.pattern)))
    }

    fn outcome(&self, route: &Route, told: &Told) -> Outcome {
        let now = Instant::now();
        self.limits.lock().learn(route.pattern, &route.about, &told.headers, now);
        let said: Value = serde_json::from_slice(&told.body).unwrap_or(Value::Null);
        match told.status {
            200..300 => Outcome::Done(said),
            300..400 => Outcome::Failed(
                Fault::upstream(format!("discord: {}: answered with a redirect, which is not followed", route.pattern))
                    .hint("agents.discord.api must be the interface's own address"),
            ),
            429 => {
                let wait = wait_of(&said, told);
                let global = said["global"] == true || told.headers.contains_key("x-ratelimit-global");
                self.limits.lock().refused(route.pattern, &route.about, wait, global, now);
                Outcome::Again(limited(route, wait))
            }
            500.. => Outcome::Later(refusal(route, told.status, &said)),
            status => {
                if status == 401 && route.signed {
                    self.refused.store(true, Ordering::Release);
                }
                Outcome::Failed(refusal(route, status, &said))
            }
        }
    }
}

/// What came of a try.
enum Outcome {
    Done(Value),
    Failed(Fault),
    /// At once, as soon as its bucket has room.
    Again(Fault),
    Later(Fault),
}

fn wait_of(said: &Value, told: &Told) -> Duration {
    let header = || told.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(seconds);
    said["retry_after"].as_f64().and_then(|wait| seconds(&wait.to_string())).or_else(header).unwrap_or(AGAIN.first)
}

fn limited(route: &Route, wait: Duration) -> Fault {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Fault::new(Code::RateLimited, format!("discord: {}: rate limited for {wait_ms} ms", route.pattern))
        .data(json!({ "retry_after_ms": wait_ms }))
}

/// What Discord refuses, in its own words, which are bounded here.
fn refusal(route: &Route, status: u16, said: &Value) -> Fault {
    let code = match status {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        413 => Code::TooLarge,
        500.. => Code::Unavailable,
        _ => Code::Upstream,
    };
    let words: String = said["message"].as_str().unwrap_or("no reason given").chars().take(200).collect();
    let number = said["code"].as_i64();
    let told = number.map(|number| format!(" ({number})")).unwrap_or_default();
    Fault::new(code, format!("discord: {}: {status} {words}{told}", route.pattern))
        .data(json!({ "status": status, "discord": number }))
}

/// A body as bytes, and what it is.
fn written(body: &Body) -> Result<(Option<HeaderValue>, Bytes), Fault> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    match body {
        Body::None => Ok((None, Bytes::new())),
        Body::Json(value) => Ok((Some(JSON), Bytes::from(value.to_string()))),
        Body::File { message, name, bytes } => {
            let mark = kernel::ids::random_token(18);
            let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={mark}"))
                .map_err(|error| Fault::internal(format!("multipart: {error}")))?;
            let mut all = format!(
                "--{mark}\r\ncontent-disposition: form-data; name=\"payload_json\"\r\ncontent-type: application/json\r\n\r\n{message}\r\n\
                 --{mark}\r\ncontent-disposition: form-data; name=\"files[0]\"; filename=\"{name}\"\r\ncontent-type: text/plain; charset=utf-8\r\n\r\n"
            )
            .into_bytes();
            all.extend_from_slice(bytes);
            all.extend_from_slice(format!("\r\n--{mark}--\r\n").as_bytes());
            Ok((Some(kind), all.into()))
        }
    }
}

/// Discord's own code of a refusal.
pub(super) fn code_of(fault: &Fault) -> Option<i64> {
    fault.data.as_ref().and_then(|data| data["discord"].as_i64())
}

/// Whether the token may go to the gateway at `url`: Discord's own, over TLS; of another interface, the same host.
///
/// # Errors
/// [`Code::PermissionDenied`] otherwise.
pub(super) fn check_gateway(api: &Uri, url: &Uri) -> Result<(), Fault> {
    let (api_host, _) = host_port(api)?;
    let host = url.host().unwrap_or_default().to_lowercase();
    let plain = url.scheme_str() == Some("ws") && api.scheme_str() == Some("http");
    let scheme = url.scheme_str() == Some("wss") || plain;
    let discord = api_host == "discord.com" || api_host.ends_with(".discord.com");
    let same = if discord { host == "discord.gg" || host.ends_with(".discord.gg") } else { host == api_host };
    if scheme && same && !url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Ok(());
    }
    Err(Fault::denied(format!("the gateway's address is at another host ({host}), which is not told the bot's token")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_discord_or_to_the_configured_host() {
        let check = |api: &str, url: &str| check_gateway(&api.parse().unwrap(), &url.parse().unwrap()).is_ok();
        let api = "https://discord.com/api/v10";
        assert!(check(api, "wss://gateway.discord.gg") && check(api, "wss://gateway-us-east1-b.discord.gg/x"));
        for bad in [
            "ws://gateway.discord.gg",
            "wss://gateway.discord.gg.example.com",
            "wss://evildiscord.gg",
            "wss://discord.com",
            "wss://discord.gg@evil.example",
            "https://gateway.discord.gg",
        ] {
            assert!(!check(api, bad), "{bad}");
        }
        assert!(check("http://127.0.0.1:9/api", "ws://127.0.0.1:8/gw"));
        assert!(!check("https://proxy.example/api", "ws://proxy.example/gw"), "never in the open");
        assert!(!check("http://127.0.0.1:9/api", "ws://localhost:8/gw"));
    }

    #[test]
    fn what_goes_into_a_path_is_an_id_or_a_token() {
        for (text, id, token) in [
            ("1300000000000000000", true, true),
            ("", false, false),
            ("1/2", false, false),
            ("../x", false, false),
            ("aW50.x-_", false, true),
            ("a b", false, false),
            ("1?x", false, false),
        ] {
            assert_eq!((is_id(text), is_token(text)), (id, token), "{text}");
        }
    }

    #[test]
    fn a_secret_is_in_no_message() {
        let rest = Rest::new("http://127.0.0.1:1", &Secret::new("s3cret")).unwrap();
        assert!(!format!("{:?}", rest.token).contains("s3cret"));
        let route = Route::callback("1", "t0ken");
        let fault = refusal(&route, 403, &json!({ "message": "Missing Access", "code": 50_001 }));
        assert_eq!(
            fault.to_string(),
            "permission_denied: discord: answer interaction: 403 Missing Access (50001)",
            "and not the interaction's token"
        );
        assert_eq!(code_of(&fault), Some(50_001));
    }
}
