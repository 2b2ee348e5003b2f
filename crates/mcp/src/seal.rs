//! State that travels through a client and must come back unread, unchanged, in time, from the same caller, for the same request.
//!
//! ChaCha20-Poly1305 (RFC 8439) with a random nonce under a key the whole fleet shares, so any replica can open it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::{Clock, Fault, UnixMs};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest sealed text taken back, in bytes.
pub const SEALED_BYTES_MAX: usize = 64 << 10;

/// Seals and opens. Cloning is cheap.
#[derive(Clone)]
pub struct Sealer {
    key: std::sync::Arc<LessSafeKey>,
    clock: Clock,
}

/// What a seal is bound to: a different caller, purpose or request cannot open it.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The caller's name.
    pub caller: &'a str,
    /// What for: a method, `session`, …
    pub purpose: &'a str,
    /// The request's salient parameters, as text.
    pub subject: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    until: UnixMs,
    data: Value,
}

impl Sealer {
    /// A sealer with the fleet's 32-byte key.
    pub fn new(key: &[u8; 32], clock: Clock) -> Self {
        // The length is right by type, so the only error this has cannot happen.
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).unwrap_or_else(|_| unreachable!("a 32-byte key"));
        Self { key: std::sync::Arc::new(LessSafeKey::new(key)), clock }
    }

    /// Seals `data` for `ttl_ms` milliseconds.
    pub fn seal(&self, binding: Binding<'_>, ttl_ms: i64, data: Value) -> Result<String, Fault> {
        let failed = || Fault::internal("sealing failed");
        let sealed = Sealed { until: self.clock.now_ms() + ttl_ms, data };
        let mut bytes = serde_json::to_vec(&sealed).map_err(|_| failed())?;
        let nonce: [u8; NONCE_LEN] = kernel::ids::random_bytes();
        let aad = Aad::from(binding.digest());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes)
            .map_err(|_| failed())?;
        let mut whole = nonce.to_vec();
        whole.append(&mut bytes);
        let text = URL_SAFE_NO_PAD.encode(whole);
        if text.len() > SEALED_BYTES_MAX { Err(Fault::too_large("state to be sealed is too large")) } else { Ok(text) }
    }

    /// The time by which seals end.
    pub(crate) fn now_ms(&self) -> UnixMs {
        self.clock.now_ms()
    }

    /// Opens what [`Sealer::seal`] made under the same binding.
    pub fn open(&self, binding: Binding<'_>, text: &str) -> Result<Value, Fault> {
        self.open_until(binding, text).map(|(data, _)| data)
    }

    /// Opens it, and says until when it can be opened.
    pub(crate) fn open_until(&self, binding: Binding<'_>, text: &str) -> Result<(Value, UnixMs), Fault> {
        let bad = || {
            Fault::invalid("state does not verify")
                .hint("send it back exactly as it was given, by the same caller, for the same request")
        };
        if text.len() > SEALED_BYTES_MAX {
            return Err(bad());
        }
        let mut whole = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        if whole.len() < NONCE_LEN {
            return Err(bad());
        }
        let mut bytes = whole.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&whole).map_err(|_| bad())?;
        let plain = self.key.open_in_place(nonce, Aad::from(binding.digest()), &mut bytes).map_err(|_| bad())?;
        let sealed: Sealed = serde_json::from_slice(plain).map_err(|_| bad())?;
        if sealed.until < self.clock.now_ms() {
            return Err(Fault::invalid("state has expired").hint("start the request again"));
        }
        Ok((sealed.data, sealed.until))
    }
}

impl Binding<'_> {
    fn digest(&self) -> [u8; 32] {
        let mut text = String::new();
        for part in [self.caller, self.purpose, self.subject] {
            text.push_str(&format!("{}:{part};", part.len()));
        }
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_caller_request_and_time_open_it() {
        let clock = Clock::manual(0);
        let sealer = Sealer::new(&[7; 32], clock.clone());
        let binding = Binding { caller: "ann", purpose: "tools/call", subject: "x{}" };
        let text = sealer.seal(binding, 1_000, Value::from("kept")).unwrap();
        assert_eq!(sealer.open(binding, &text).unwrap(), "kept");
        assert!(sealer.open(Binding { caller: "bob", ..binding }, &text).is_err());
        assert!(sealer.open(Binding { subject: "y{}", ..binding }, &text).is_err());
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(sealer.open(binding, std::str::from_utf8(&changed).unwrap()).is_err(), "byte {at}");
        }
        clock.advance_ms(1_001);
        assert_eq!(sealer.open(binding, &text).unwrap_err().message, "state has expired");
    }
}
