//! Ethereum key files, version 3 (the Web3 secret storage definition): a key under a password.

use std::num::NonZeroU32;
use std::path::Path;

use aes::Aes128;
use alloy_primitives::{Bytes, keccak256_uncached};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use kernel::{Fault, Result, Secret};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::KeyBytes;

/// Longest key file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Most memory that opening one may take, in bytes: four times what wallets ask for.
const SCRYPT_BYTES_MAX: u64 = 1 << 30;
/// Most passes over the password: a hundred times what wallets ask for.
const ROUNDS_MAX: u32 = 30_000_000;

#[derive(Deserialize)]
struct File {
    version: u64,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Deserialize)]
struct KdfParams {
    dklen: usize,
    salt: String,
    n: Option<u64>,
    r: Option<u32>,
    p: Option<u32>,
    c: Option<u32>,
    prf: Option<String>,
}

/// The key in the file at `path`.
pub(super) fn open(path: &Path, password: &Secret) -> Result<KeyBytes> {
    let fault = |what: String| Fault::invalid(format!("key file {}: {what}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(fault(format!("{size} bytes, past {FILE_BYTES_MAX}")).hint("is it a key file"));
    }
    let text = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    decrypt(&text, password.expose().as_bytes()).map_err(|fault| fault.context(format!("key file {}", path.display())))
}

fn decrypt(text: &[u8], password: &[u8]) -> Result<KeyBytes> {
    let shape = |what: &str| {
        Fault::invalid(what.to_owned()).hint("an Ethereum key file of version 3, as geth and foundry write it")
    };
    // What serde says of a wrong shape could repeat the file's content.
    let file: File = serde_json::from_slice(text).map_err(|_| shape("not a key file"))?;
    let crypto = file.crypto;
    if file.version != 3 || crypto.cipher != "aes-128-ctr" {
        return Err(shape("a version or a cipher that is not read here"));
    }
    let bytes = |field: &str| {
        let digits = field.strip_prefix("0x").unwrap_or(field);
        alloy_primitives::hex::decode(digits).map(Bytes::from).map_err(|_| shape("a field that is not hexadecimal"))
    };
    let (iv, ciphertext, mac) = (bytes(&crypto.cipherparams.iv)?, bytes(&crypto.ciphertext)?, bytes(&crypto.mac)?);
    let derived = derive(&crypto.kdf, &crypto.kdfparams, &bytes(&crypto.kdfparams.salt)?, password)?;
    let mut proof = derived[16..].to_vec();
    proof.extend_from_slice(&ciphertext);
    // What is hashed is half of the key's key: it stays nowhere.
    if keccak256_uncached(proof).as_slice() != mac.as_ref() {
        return Err(Fault::invalid("the password is not the key's, or the file is damaged"));
    }
    let mut key = KeyBytes::default();
    if ciphertext.len() != key.len() || iv.len() != 16 {
        return Err(shape("a key or a start value of a wrong length"));
    }
    key.copy_from_slice(&ciphertext);
    let cipher = Ctr128BE::<Aes128>::new_from_slices(&derived[..16], &iv);
    cipher.map_err(|_| shape("a start value of a wrong length"))?.apply_keystream(key.as_mut());
    Ok(key)
}

fn derive(kdf: &str, params: &KdfParams, salt: &[u8], password: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let beyond = || {
        Fault::invalid(format!("figures for {kdf} that are not read here"))
            .hint("32 bytes derived, at most a gibibyte of memory, at most 30 million rounds")
    };
    let mut derived = Zeroizing::new([0; 32]);
    if params.dklen != derived.len() {
        return Err(beyond());
    }
    match (kdf, params) {
        ("scrypt", KdfParams { n: Some(n), r: Some(r), p: Some(p), .. }) => {
            let memory = n.checked_mul(u64::from(*r)).and_then(|blocks| blocks.checked_mul(128)).ok_or_else(beyond)?;
            if !n.is_power_of_two() || memory > SCRYPT_BYTES_MAX || *p > 64 {
                return Err(beyond());
            }
            let params = scrypt::Params::new(n.trailing_zeros() as u8, *r, *p, derived.len()).map_err(|_| beyond())?;
            scrypt::scrypt(password, salt, &params, derived.as_mut()).map_err(|_| beyond())?;
        }
        ("pbkdf2", KdfParams { c: Some(rounds), prf: Some(prf), .. }) if prf == "hmac-sha256" => {
            let rounds = NonZeroU32::new(*rounds).filter(|rounds| rounds.get() <= ROUNDS_MAX).ok_or_else(beyond)?;
            ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password, derived.as_mut());
        }
        _ => {
            return Err(
                Fault::invalid("a key derivation that is not read here").hint("scrypt, or pbkdf2 with hmac-sha256")
            );
        }
    }
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    /// As foundry writes one. The definition's own example has figures that RFC 7914 does not allow and no wallet writes.
    fn scrypt() -> Value {
        json!({
            "crypto": {
                "cipher": "aes-128-ctr",
                "cipherparams": { "iv": "f0a4238b231af6ca893ce2f4c7d0a8b3" },
                "ciphertext": "a07f8b0a41f1f8a0adc406e4b8a5d5a32f1f7245f37c76b51edc2257e24d47f1",
                "kdf": "scrypt",
                "kdfparams": { "dklen": 32, "n": 8192, "p": 1, "r": 8,
                    "salt": "4d9d1ab5bc91fa9a2ef0ff0d123efd0b7094a9760c96452588506ece35e7e111" },
                "mac": "9d5eeef9a0ec8a05b781da77506311c004dd74b4818c9cb9959cc55836edba7c"
            },
            "id": "b3128b1b-11ba-4999-a721-c0d33347662a", "version": 3
        })
    }

    /// The definition's own example; both passwords are `testpassword`.
    fn pbkdf2() -> Value {
        json!({
            "crypto": {
                "cipher": "aes-128-ctr",
                "cipherparams": { "iv": "6087dab2f9fdbbfaddc31a909735c1e6" },
                "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
                "kdf": "pbkdf2",
                "kdfparams": { "c": 262144, "dklen": 32, "prf": "hmac-sha256",
                    "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd" },
                "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"
            },
            "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3
        })
    }

    fn opened(file: &Value, password: &str) -> Result<String, String> {
        let key = decrypt(file.to_string().as_bytes(), password.as_bytes());
        key.map(|key| hex::encode(key.as_slice())).map_err(|fault| fault.message)
    }

    #[test]
    fn key_files_open_with_their_password_only() {
        assert_eq!(opened(&scrypt(), "testpassword").as_deref(), Ok(KEY));
        assert_eq!(opened(&pbkdf2(), "testpassword").as_deref(), Ok(KEY));
        assert!(opened(&pbkdf2(), "testpasswore").unwrap_err().starts_with("the password is not"));
    }

    #[test]
    fn files_that_ask_too_much_or_are_none_are_refused() {
        let changed = |path: &str, value: Value| {
            let mut file = if path.ends_with('c') { pbkdf2() } else { scrypt() };
            *file.pointer_mut(path).unwrap() = value;
            opened(&file, "testpassword").unwrap_err()
        };
        for (path, value, why) in [
            ("/version", json!(1), "a version"),
            ("/crypto/cipher", json!("aes-256-gcm"), "a version or a cipher"),
            ("/crypto/kdf", json!("argon2"), "a key derivation"),
            ("/crypto/kdfparams/n", json!(1u64 << 60), "figures"),
            ("/crypto/kdfparams/n", json!(262_143), "figures"),
            ("/crypto/kdfparams/p", json!(1_000), "figures"),
            ("/crypto/kdfparams/dklen", json!(64), "figures"),
            ("/crypto/mac", json!("xyz"), "a field that is not hexadecimal"),
            ("/crypto/mac", json!(7), "not a key file"),
        ] {
            assert!(changed(path, value.clone()).starts_with(why), "{path} {value}");
        }
        let mut file = pbkdf2();
        file["crypto"]["kdfparams"]["c"] = json!(0);
        assert!(opened(&file, "testpassword").unwrap_err().starts_with("figures"));
        assert!(decrypt(b"{", b"").is_err());
        assert!(open(Path::new("/nowhere/key.json"), &Secret::new("")).unwrap_err().message.contains("/nowhere"));
    }
}
