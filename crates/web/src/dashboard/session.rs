//! Who is at the dashboard: a cookie that seals the caller's key, or names a visitor who has none.
//!
//! Nothing is kept on the server, so any process can serve the next request; and because it is the key that travels, a key that is revoked,
//! ends or changes its role does so for its sessions too.

use http::{HeaderMap, HeaderValue, header};
use kernel::{Fault, Secret, ids};
use mcp::seal::{Binding, Sealer};
use serde_json::{Value, json};

/// How long somebody stays signed in, in milliseconds: a long shift.
pub const SESSION_MS: i64 = 12 * 3_600_000;
/// How long the outcome of an act may wait to be shown, in milliseconds.
const SAID_MS: i64 = 60_000;
/// How long a chosen theme is remembered, in seconds.
const THEME_SECONDS: i64 = 365 * 86_400;
/// Longest outcome that is shown, in characters: cookies have 4 KiB in all.
const SAID_CHARS_MAX: usize = 1_200;

const SESSION: &str = "flotilla_session";
const VISIT: &str = "flotilla_visit";
const SAID: &str = "flotilla_said";
const THEME: &str = "flotilla_theme";

/// Whose browser this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Somebody who signed in with this key.
    Key(Secret),
    /// Somebody who did not; the secret ties this browser to the forms it was given.
    Visitor(Secret),
}

impl Holder {
    /// A visitor nobody has seen before.
    pub fn visitor() -> Self {
        Self::Visitor(Secret::new(ids::random_token(16)))
    }

    fn secret(&self) -> &Secret {
        match self {
            Self::Key(secret) | Self::Visitor(secret) => secret,
        }
    }

    /// What every form of this browser carries, and a page of another site cannot know.
    pub fn form_token(&self) -> String {
        let half =
            |what: &str| ids::digest(format!("flotilla dashboard {what}\n{}", self.secret().expose()).as_bytes());
        half("form") + &half("forms")
    }

    /// The headers that a client of REST would send as this holder; a visitor's own, as they came.
    pub fn credentials(&self, own: &HeaderMap) -> Result<HeaderMap, Fault> {
        let Self::Key(key) = self else { return Ok(own.clone()) };
        bearer(key)
    }
}

/// A key as a request's only credential.
pub fn bearer(key: &Secret) -> Result<HeaderMap, Fault> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
        .map_err(|_| Fault::unauthenticated("the key has characters that none has"))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
}

/// How the outcome of an act is told on the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it was done.
    pub done: bool,
    /// In words.
    pub text: String,
}

/// Light or dark, where somebody chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// As the system has it.
    Auto,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// The theme of this name.
    pub fn named(name: &str) -> Self {
        [Self::Light, Self::Dark].into_iter().find(|theme| theme.as_str() == name).unwrap_or(Self::Auto)
    }
}

/// Makes and reads the cookies.
#[derive(Clone)]
pub struct Cookies {
    sealer: Sealer,
    /// Whether the dashboard itself is served over TLS.
    secure: bool,
}

impl Cookies {
    /// Cookies sealed by the fleet's key.
    pub fn new(sealer: Sealer, secure: bool) -> Self {
        Self { sealer, secure }
    }

    /// Who this browser belongs to; nobody that is known when it sends no cookie of ours that holds.
    pub fn holder(&self, headers: &HeaderMap) -> Option<Holder> {
        let kept = |name: &'static str| self.open(headers, name)?.as_str().map(Secret::new);
        kept(SESSION).map(Holder::Key).or_else(|| kept(VISIT).map(Holder::Visitor))
    }

    /// Keeps `holder` in this browser.
    pub fn keep(&self, headers: &HeaderMap, holder: &Holder) -> Result<HeaderValue, Fault> {
        let name = if matches!(holder, Holder::Key(_)) { SESSION } else { VISIT };
        let sealed = self.sealer.seal(binding(name), SESSION_MS, json!(holder.secret().expose()))?;
        self.cookie(headers, name, &sealed, SESSION_MS / 1_000)
    }

    /// Signs this browser out.
    pub fn forget(&self, headers: &HeaderMap) -> Result<HeaderValue, Fault> {
        self.cookie(headers, SESSION, "", 0)
    }

    /// Has the next page tell how an act went.
    pub fn say(&self, headers: &HeaderMap, said: &Said) -> Result<HeaderValue, Fault> {
        let text: String = said.text.chars().take(SAID_CHARS_MAX).collect();
        let sealed = self.sealer.seal(binding(SAID), SAID_MS, json!([said.done, text]))?;
        self.cookie(headers, SAID, &sealed, SAID_MS / 1_000)
    }

    /// What is to be told, and the cookie that ends it.
    pub fn said(&self, headers: &HeaderMap) -> Option<(Said, HeaderValue)> {
        let kept = self.open(headers, SAID)?;
        let said = Said { done: kept[0] == true, text: kept[1].as_str()?.to_owned() };
        Some((said, self.cookie(headers, SAID, "", 0).ok()?))
    }

    /// The chosen theme.
    pub fn theme(&self, headers: &HeaderMap) -> Theme {
        Theme::named(find(headers, &name_here(headers, THEME)).unwrap_or_default())
    }

    /// Remembers a theme.
    pub fn choose(&self, headers: &HeaderMap, theme: Theme) -> Result<HeaderValue, Fault> {
        self.cookie(headers, THEME, theme.as_str(), THEME_SECONDS)
    }

    fn open(&self, headers: &HeaderMap, name: &'static str) -> Option<Value> {
        self.sealer.open(binding(name), find(headers, &name_here(headers, name))?).ok()
    }

    fn cookie(&self, headers: &HeaderMap, name: &str, value: &str, seconds: i64) -> Result<HeaderValue, Fault> {
        // What a proxy says of itself can only make the cookie stricter.
        let proxied = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
        let secure = if self.secure || proxied { "; Secure" } else { "" };
        let name = name_here(headers, name);
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        let mut value = HeaderValue::from_str(&text).map_err(|_| Fault::internal("a cookie does not fit a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn binding(purpose: &'static str) -> Binding<'static> {
    Binding { caller: "", purpose, subject: "dashboard" }
}

/// Cookies know no ports: two fleets on one host must not take each other's.
fn name_here(headers: &HeaderMap, name: &str) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
    port.map_or_else(|| name.to_owned(), |port| format!("{name}_{port}"))
}

fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use kernel::Clock;

    use super::*;

    fn sent(host: &'static str, set: &HeaderValue) -> HeaderMap {
        let pair = set.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([
            (header::HOST, HeaderValue::from_static(host)),
            (header::COOKIE, format!("a=b; {pair}").parse().unwrap()),
        ])
    }

    #[test]
    fn a_cookie_is_of_its_fleet_its_port_and_its_time() {
        let clock = Clock::manual(0);
        let cookies = |key: u8| Cookies::new(Sealer::new(&[key; 32], clock.clone()), false);
        let here = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:8080"))]);
        let key = Holder::Key(Secret::new("flt_x"));
        let set = cookies(1).keep(&here, &key).unwrap();
        let text = set.to_str().unwrap();
        for attribute in ["flotilla_session_8080=", "; HttpOnly", "; SameSite=Strict", "; Path=/", "Max-Age=43200"] {
            assert!(text.contains(attribute), "{attribute} in {text}");
        }
        assert!(!text.contains("flt_x") && !text.contains("Secure"), "{text}");
        assert_eq!(cookies(1).holder(&sent("localhost:8080", &set)), Some(key.clone()));
        assert_eq!(cookies(1).holder(&sent("localhost:8081", &set)), None, "another fleet's port");
        assert_eq!(cookies(2).holder(&sent("localhost:8080", &set)), None, "another fleet's key");
        let visit = cookies(1).keep(&here, &Holder::Visitor(Secret::new("flt_x"))).unwrap();
        let as_session = visit.to_str().unwrap().replacen(VISIT, SESSION, 1).parse().unwrap();
        assert_eq!(cookies(1).holder(&sent("localhost:8080", &as_session)), None, "a visitor is no key");
        clock.advance_ms(SESSION_MS + 1);
        assert_eq!(cookies(1).holder(&sent("localhost:8080", &set)), None, "its time is over");
    }

    #[test]
    fn over_tls_a_cookie_never_travels_without() {
        let sealer = Sealer::new(&[1; 32], Clock::manual(0));
        let proxied = HeaderMap::from_iter([("x-forwarded-proto".parse().unwrap(), HeaderValue::from_static("https"))]);
        for (secure, headers) in [(true, HeaderMap::new()), (false, proxied)] {
            let set = Cookies::new(sealer.clone(), secure).keep(&headers, &Holder::visitor()).unwrap();
            assert!(set.to_str().unwrap().ends_with("; Secure"));
        }
    }

    #[test]
    fn a_form_token_is_its_holders_and_says_nothing_of_the_key() {
        let key = Holder::Key(Secret::new("flt_x"));
        assert_eq!(key.form_token(), key.form_token());
        assert_eq!(key.form_token().len(), 32);
        assert_ne!(key.form_token(), Holder::Key(Secret::new("flt_y")).form_token());
        assert_ne!(Holder::visitor().form_token(), Holder::visitor().form_token());
    }
}
