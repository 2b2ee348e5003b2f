//! Hashes of text and bytes.

use blake2::{Blake2b512, Blake2s256};
use mcp::prelude::*;
use md5::Md5;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use ripemd::Ripemd160;
use sha3::{Digest, Keccak256, Sha3_256, Sha3_512};

use super::Utilities;
use super::encodings::{Encoding, read_bytes};

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Ethereum's Keccak-256.
    Keccak256,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA3-256 (FIPS 202; not Keccak-256).
    #[serde(rename = "sha3-256")]
    Sha3_256,
    /// SHA3-512 (FIPS 202).
    #[serde(rename = "sha3-512")]
    Sha3_512,
    /// BLAKE2b with 512 bits.
    Blake2b,
    /// BLAKE2s with 256 bits.
    Blake2s,
    /// RIPEMD-160.
    Ripemd160,
    /// SHA-1: broken, for old formats only.
    Sha1,
    /// MD5: broken, for old formats only.
    Md5,
}

/// What [`HASH`](super::HASH) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashRequest {
    /// What to hash, at most 1 MiB.
    pub data: String,
    /// How `data` is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// The hash function.
    #[serde(default = "sha256")]
    pub algorithm: Algorithm,
}

fn sha256() -> Algorithm {
    Algorithm::Sha256
}

/// What [`KECCAK256`](super::KECCAK256) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keccak256Request {
    /// What to hash, at most 1 MiB.
    pub data: String,
    /// How `data` is written. For bytes say `hex`: `0x…` under `utf8` is hashed as text.
    #[serde(default)]
    pub encoding: Encoding,
}

/// A hash.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HashResponse {
    /// Which function.
    pub algorithm: Algorithm,
    /// The hash in hexadecimal, with `0x`.
    pub hash: String,
    /// How many bytes were hashed.
    pub bytes: usize,
}

impl Utilities {
    pub(super) fn hash(&self, request: HashRequest) -> Result<HashResponse, Fault> {
        let data = read_bytes("data", &request.data, request.encoding)?;
        let hash = digest(request.algorithm, &data);
        let hash = format!("0x{}", kernel::audit::hex(&hash));
        Ok(HashResponse { algorithm: request.algorithm, hash, bytes: data.len() })
    }

    pub(super) fn keccak256(&self, request: Keccak256Request) -> Result<HashResponse, Fault> {
        let Keccak256Request { data, encoding } = request;
        self.hash(HashRequest { data, encoding, algorithm: Algorithm::Keccak256 })
    }
}

fn digest(algorithm: Algorithm, data: &[u8]) -> Vec<u8> {
    let ring = |which| ring::digest::digest(which, data).as_ref().to_vec();
    match algorithm {
        Algorithm::Keccak256 => Keccak256::digest(data).to_vec(),
        Algorithm::Sha256 => ring(&SHA256),
        Algorithm::Sha384 => ring(&SHA384),
        Algorithm::Sha512 => ring(&SHA512),
        Algorithm::Sha3_256 => Sha3_256::digest(data).to_vec(),
        Algorithm::Sha3_512 => Sha3_512::digest(data).to_vec(),
        Algorithm::Blake2b => Blake2b512::digest(data).to_vec(),
        Algorithm::Blake2s => Blake2s256::digest(data).to_vec(),
        Algorithm::Ripemd160 => Ripemd160::digest(data).to_vec(),
        Algorithm::Sha1 => ring(&SHA1_FOR_LEGACY_USE_ONLY),
        Algorithm::Md5 => Md5::digest(data).to_vec(),
    }
}
