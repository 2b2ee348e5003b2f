//! The fleet's wallet: whose transactions it sends, and how.

use std::sync::Arc;
use std::time::Duration;

use evm::KeySource;
use kernel::Result;
use kernel::chain::{Relay, Signer};

use crate::config::{Loaded, RELAY_KEY, RELAY_URL, RPC_URL, WALLET_KEY, WALLET_PASSWORD};

/// A key and where it comes from.
pub struct Key {
    /// The key.
    pub signer: Option<Arc<dyn Signer>>,
    /// For people.
    pub origin: &'static str,
}

impl Key {
    /// The key that is configured; on the sandbox, where none is, one of its own, which everybody knows.
    ///
    /// # Errors
    /// When there are two keys, or one that cannot be read or opened.
    pub fn open(loaded: &Loaded) -> Result<Self> {
        let source = KeySource {
            private_key: loaded.secrets.get(WALLET_KEY).cloned(),
            keystore: loaded.config.wallet.keystore.clone(),
            password: loaded.secrets.get(WALLET_PASSWORD).cloned(),
        };
        let origin = if source.keystore.is_some() { "key file" } else { "private key" };
        if let Some(signer) = evm::open_signer(&source).map_err(|fault| fault.context("the wallet's key"))? {
            return Ok(Self { signer: Some(signer), origin });
        }
        let sandbox = !loaded.secrets.contains_key(RPC_URL) && loaded.config.chain.sandbox.enabled;
        match sandbox {
            true => Ok(Self { signer: Some(evm::sandbox_signer()?), origin: "sandbox" }),
            false => Ok(Self { signer: None, origin: "none" }),
        }
    }
}

/// The private relay that is configured. Who asks it is known to it by a key of its own; a new one each start when none is configured.
///
/// # Errors
/// When its URL or key cannot be read.
pub fn relay(loaded: &Loaded) -> Result<Option<Arc<dyn Relay>>> {
    let Some(url) = loaded.secrets.get(RELAY_URL) else { return Ok(None) };
    let source = KeySource { private_key: loaded.secrets.get(RELAY_KEY).cloned(), ..KeySource::default() };
    let signer = match evm::open_signer(&source).map_err(|fault| fault.context("the relay's key"))? {
        Some(signer) => signer,
        None => evm::new_signer()?,
    };
    let request_time = Duration::from_millis(loaded.config.chain.request_time_ms);
    Ok(Some(Arc::new(evm::HttpRelay::new(url, signer, request_time)?)))
}
