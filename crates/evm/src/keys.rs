//! Keys: where they come from, and signing with one in this process.
//!
//! Invariants: a key comes from a secret or from a key file and its password, and leaves only as signatures; it is wiped from memory when its
//! signer goes; no fault, log or `Debug` shows any of it. Another kind of signer (hardware, a service) is another implementation of the port.

mod keystore;
mod local;
mod rlp;

use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::hex;
use kernel::chain::Signer;
use kernel::{Fault, Result, Secret};
use zeroize::Zeroizing;

use local::Local;

/// The last of the ten accounts that a sandbox funds. Everybody knows its key.
const SANDBOX_KEY: &str = "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6";

/// Where a wallet's key is.
#[derive(Debug, Clone, Default)]
pub struct KeySource {
    /// The key itself, 64 hexadecimal digits.
    pub private_key: Option<Secret>,
    /// An Ethereum key file (version 3).
    pub keystore: Option<PathBuf>,
    /// The key file's password.
    pub password: Option<Secret>,
}

/// A key's 32 bytes.
type KeyBytes = Zeroizing<[u8; 32]>;

/// The signer that `source` tells of; `None` when it tells of none. Opening a key file takes a second of computing, by its design.
///
/// # Errors
/// [`Code::InvalidArgument`](kernel::Code::InvalidArgument) when there are two keys, or one that cannot be read or opened.
pub fn open_signer(source: &KeySource) -> Result<Option<Arc<dyn Signer>>> {
    let key = match (&source.private_key, &source.keystore) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Fault::invalid("a private key and a key file are both given")
                .hint("give one of them, so that it is clear which wallet is meant"));
        }
        (Some(key), None) => raw(key)?,
        (None, Some(path)) => {
            let password = source.password.as_ref().ok_or_else(|| {
                Fault::invalid(format!("key file {} has no password given", path.display()))
                    .hint("name a file that holds it, by the variable that ends in _FILE")
            })?;
            keystore::open(path, password)?
        }
    };
    Ok(Some(Arc::new(Local::new(&key)?)))
}

/// A signer for the sandbox, with money on it: the last of its funded accounts. Worth nothing anywhere else.
///
/// # Errors
/// None; the key is a valid one.
pub fn sandbox_signer() -> Result<Arc<dyn Signer>> {
    Ok(Arc::new(Local::new(&raw(&Secret::new(SANDBOX_KEY))?)?))
}

/// A signer with a key nobody knows, for identities that need not last: a relay's searcher, say.
///
/// # Errors
/// [`Code::Internal`](kernel::Code::Internal) when the system has no randomness.
pub fn new_signer() -> Result<Arc<dyn Signer>> {
    let random = ring::rand::SystemRandom::new();
    // A random number is no key once in 2^128 times; a few more tries are as sure as can be.
    for _ in 0..3 {
        let mut key = KeyBytes::default();
        ring::rand::SecureRandom::fill(&random, key.as_mut())
            .map_err(|_| Fault::internal("the system gives no random numbers"))?;
        if let Ok(signer) = Local::new(&key) {
            return Ok(Arc::new(signer));
        }
    }
    Err(Fault::internal("the system's random numbers are none"))
}

fn raw(key: &Secret) -> Result<KeyBytes> {
    let text = key.expose().trim();
    let mut bytes = KeyBytes::default();
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), bytes.as_mut()).map_err(|_| {
        Fault::invalid("the private key cannot be read").hint("64 hexadecimal digits, with or without 0x")
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(key: &str) -> KeySource {
        KeySource { private_key: Some(Secret::new(key)), ..KeySource::default() }
    }

    #[test]
    fn keys_that_are_none_are_refused_without_being_shown() {
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        for bad in ["", "0x", "12", &"g".repeat(64), &"0".repeat(64), order, &format!("{SANDBOX_KEY}00")] {
            let fault = open_signer(&source(bad)).err().unwrap();
            assert!(fault.message.contains("private key"), "{fault}");
            assert!(bad.len() < 4 || !fault.to_string().contains(bad), "{fault}");
        }
        assert!(open_signer(&KeySource::default()).unwrap().is_none());
        let both = KeySource { keystore: Some("key.json".into()), ..source(SANDBOX_KEY) };
        assert!(open_signer(&both).err().unwrap().message.contains("both"));
        assert!(!format!("{:?}", source(SANDBOX_KEY)).contains("2a87"));
    }

    #[tokio::test]
    async fn a_message_is_signed_as_wallets_sign_it() {
        // The example in web3.js's documentation of `eth.accounts.sign`.
        let key = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318\n";
        let signer = open_signer(&source(key)).unwrap().unwrap();
        assert_eq!(signer.address().to_string(), "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23");
        let signature = signer.sign_message(b"Some data").await.unwrap();
        assert_eq!(
            signature.to_string(),
            "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
        );
        assert_ne!(new_signer().unwrap().address(), new_signer().unwrap().address());
    }
}
