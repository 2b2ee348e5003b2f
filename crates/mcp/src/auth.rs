//! Who is at the door: keys, another process of the fleet speaking for its caller, or (on loopback, where allowed) nobody in particular.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use kernel::{Caller, Fault, Role};

use crate::assertion::{CALLER, Listener};
use crate::seal::Sealer;

/// Carries the caller's key, for clients that cannot set `Authorization`.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Tells who makes a request.
#[async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// The caller.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`](kernel::Code::Unauthenticated) when there are no credentials, or ones that do not verify.
    async fn authenticate(&self, headers: &HeaderMap, remote: IpAddr) -> Result<Caller, Fault>;
}

/// The keys in force.
#[async_trait]
pub trait Keys: Send + Sync + 'static {
    /// Whose key this is; `None` when it is nobody's, or no longer.
    async fn caller_of(&self, key: &str) -> Result<Option<Caller>, Fault>;
}

#[async_trait]
impl Keys for kernel::keys::Keys {
    async fn caller_of(&self, key: &str) -> Result<Option<Caller>, Fault> {
        Self::caller_of(self, key).await
    }
}

/// The gate of a normal door: an assertion of this fleet, or a key, or (where allowed) an anonymous caller.
///
/// Credentials that do not verify are refused even where none are needed.
pub struct Gate {
    keys: Arc<dyn Keys>,
    fleet: Listener,
    anonymous: Option<Anonymous>,
}

impl Gate {
    /// A gate for holders of `keys` and for processes that share `sealer`'s key.
    pub fn new(keys: Arc<dyn Keys>, sealer: Sealer) -> Self {
        Self { keys, fleet: Listener::new(sealer), anonymous: None }
    }

    /// Lets callers without credentials in.
    #[must_use]
    pub fn or_anonymous(mut self, anonymous: Anonymous) -> Self {
        self.anonymous = Some(anonymous);
        self
    }
}

#[async_trait]
impl Authenticate for Gate {
    async fn authenticate(&self, headers: &HeaderMap, remote: IpAddr) -> Result<Caller, Fault> {
        if let Some(assertion) = headers.get(CALLER) {
            return self.fleet.hear(assertion);
        }
        match (key_of(headers)?, &self.anonymous) {
            (Some(key), _) => self.keys.caller_of(key).await?.ok_or_else(|| {
                Fault::unauthenticated("unknown key")
                    .hint("it may have been revoked: `flotilla token list` shows the keys in force")
            }),
            (None, Some(anonymous)) => anonymous.authenticate(headers, remote).await,
            (None, None) => Err(Fault::unauthenticated("no key given").hint(
                "send `Authorization: Bearer flt_…` or `X-API-Key: flt_…`; `flotilla token create NAME --role ROLE` makes one",
            )),
        }
    }
}

/// Gives every caller one role. For tools that cannot send a key; only on loopback.
#[derive(Debug, Clone)]
pub struct Anonymous(Caller);

impl Anonymous {
    /// Callers of the door at `listener` get `role`.
    ///
    /// # Errors
    /// When others than this machine could reach the door.
    pub fn on(listener: IpAddr, role: Role) -> Result<Self, Fault> {
        if listener.is_loopback() {
            Ok(Self(Caller::new("anonymous", role)))
        } else {
            Err(Fault::invalid(format!("callers without a key would get role {role} at {listener}"))
                .hint("this is possible on a loopback address only, such as 127.0.0.1"))
        }
    }
}

#[async_trait]
impl Authenticate for Anonymous {
    async fn authenticate(&self, _headers: &HeaderMap, remote: IpAddr) -> Result<Caller, Fault> {
        if remote.is_loopback() {
            Ok(self.0.clone())
        } else {
            Err(Fault::unauthenticated(format!("callers from {remote} need a key")))
        }
    }
}

/// Whether a request carries credentials of any kind.
pub fn has_credentials(headers: &HeaderMap) -> bool {
    [AUTHORIZATION, API_KEY, CALLER].iter().any(|name| headers.contains_key(name))
}

/// The key a request carries.
///
/// # Errors
/// When its header is malformed.
pub fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let malformed =
        |what: &str| Fault::unauthenticated(format!("malformed {what} header")).hint("`Authorization: Bearer flt_…`");
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, key) =
            value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(|| malformed("Authorization"))?;
        return if scheme.eq_ignore_ascii_case("bearer") {
            Ok(Some(key.trim()))
        } else {
            Err(malformed("Authorization"))
        };
    }
    headers.get(API_KEY).map(|value| value.to_str().map(str::trim).map_err(|_| malformed("X-API-Key"))).transpose()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use kernel::{Clock, Code};

    use super::*;
    use crate::assertion::Speaker;

    struct OneKey;

    #[async_trait]
    impl Keys for OneKey {
        async fn caller_of(&self, key: &str) -> Result<Option<Caller>, Fault> {
            Ok((key == "flt_good").then(|| Caller::new("ann", Role::Operator)))
        }
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn enter(gate: &Gate, headers: &[(HeaderName, &str)]) -> Result<String, Code> {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
        gate.authenticate(&headers, HERE).await.map(|caller| caller.name).map_err(|fault| fault.code)
    }

    #[tokio::test]
    async fn keys_assertions_and_nobody() {
        let clock = Clock::manual(0);
        let sealer = Sealer::new(&[1; 32], clock.clone());
        let gate = Gate::new(Arc::new(OneKey), sealer.clone());
        let denied = Err(Code::Unauthenticated);
        assert_eq!(enter(&gate, &[(AUTHORIZATION, "Bearer flt_good")]).await.as_deref(), Ok("ann"));
        assert_eq!(enter(&gate, &[(AUTHORIZATION, "bearer  flt_good")]).await.as_deref(), Ok("ann"));
        assert_eq!(enter(&gate, &[(API_KEY, "flt_good")]).await.as_deref(), Ok("ann"));
        for bad in ["Bearer flt_bad", "Basic eDp5", "flt_good", ""] {
            assert_eq!(enter(&gate, &[(AUTHORIZATION, bad)]).await, denied, "{bad}");
        }
        assert_eq!(enter(&gate, &[]).await, denied);

        let bob = Speaker::new(sealer).say(&Caller::new("bob", Role::Viewer)).unwrap();
        assert_eq!(enter(&gate, &[(CALLER, bob.to_str().unwrap())]).await.as_deref(), Ok("bob"));
        let strangers = Speaker::new(Sealer::new(&[2; 32], clock.clone()));
        let strangers = strangers.say(&Caller::new("eve", Role::Admin)).unwrap();
        assert_eq!(enter(&gate, &[(CALLER, strangers.to_str().unwrap())]).await, denied);
        clock.advance_ms(60_001);
        assert_eq!(enter(&gate, &[(CALLER, bob.to_str().unwrap())]).await, denied);

        let open = gate.or_anonymous(Anonymous::on(HERE, Role::Viewer).unwrap());
        assert_eq!(enter(&open, &[]).await.as_deref(), Ok("anonymous"));
        assert_eq!(enter(&open, &[(API_KEY, "flt_bad")]).await, denied, "a wrong key is refused even so");
        assert!(open.authenticate(&HeaderMap::new(), [10, 0, 0, 1].into()).await.is_err());
        assert!(Anonymous::on([0, 0, 0, 0].into(), Role::Viewer).is_err());
    }
}
