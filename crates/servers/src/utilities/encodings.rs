//! Bytes as text and back: UTF-8, hexadecimal, Base64, Base58, percent-encoding.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use kernel::fault::lower;
use mcp::prelude::*;

use super::Utilities;
use flow::bounded::check_size;

/// Most bytes of text one call takes.
pub(crate) const TEXT_MAX: usize = 1 << 20;
/// Most bytes of Base58: its arithmetic grows with the square.
const BASE58_MAX: usize = 4 << 10;

const RELAXED: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, RELAXED);
const BASE64URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, RELAXED.with_encode_padding(false));

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// The text itself, as UTF-8.
    #[default]
    Utf8,
    /// Hexadecimal; `0x` in front is fine.
    Hex,
    /// Base64 (RFC 4648), padding optional when read.
    Base64,
    /// Base64 for URLs and JWTs, without padding.
    Base64url,
    /// Base58 with Bitcoin's alphabet, without a checksum; at most 4,096 characters.
    Base58,
    /// Percent-encoding (RFC 3986): everything but letters, digits and `-._~` is escaped.
    Url,
}

impl Encoding {
    /// As it is named in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64url => "base64url",
            Self::Base58 => "base58",
            Self::Url => "url",
        }
    }
}

/// What [`ENCODE`](super::ENCODE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodeRequest {
    /// What to encode, at most 1 MiB.
    pub data: String,
    /// How `data` is written now.
    #[serde(default)]
    pub from: Encoding,
    /// How to write it.
    pub to: Encoding,
}

/// What [`DECODE`](super::DECODE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeRequest {
    /// What to decode, at most 1 MiB.
    pub data: String,
    /// How `data` is written now.
    pub from: Encoding,
    /// How to write the bytes: `hex` for those that are not text.
    #[serde(default)]
    pub to: Encoding,
}

/// The same bytes, written otherwise.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Recoded {
    /// The text.
    pub data: String,
    /// How it is written.
    pub encoding: Encoding,
    /// How many bytes it stands for.
    pub bytes: usize,
}

impl Utilities {
    pub(super) fn encode(&self, request: EncodeRequest) -> Result<Recoded, Fault> {
        let bytes = read_bytes("data", &request.data, request.from)?;
        let data = write_bytes(&bytes, request.to)?;
        Ok(Recoded { data, encoding: request.to, bytes: bytes.len() })
    }

    pub(super) fn decode(&self, request: DecodeRequest) -> Result<Recoded, Fault> {
        let DecodeRequest { data, from, to } = request;
        self.encode(EncodeRequest { data, from, to })
    }
}

/// The bytes that `text` stands for; `what` names it in a refusal.
pub(crate) fn read_bytes(what: &str, text: &str, encoding: Encoding) -> Result<Vec<u8>, Fault> {
    let max = if encoding == Encoding::Base58 { BASE58_MAX } else { TEXT_MAX };
    check_size(what, text, max)?;
    let bad = |reason: String| Fault::invalid(format!("{what} is not {}: {reason}", encoding.name()));
    match encoding {
        Encoding::Utf8 => Ok(text.as_bytes().to_vec()),
        Encoding::Hex => read_hex(text).map_err(bad),
        Encoding::Base64 => BASE64
            .decode(text)
            .map_err(|error| bad(lower(&error.to_string())).hint("for text with - and _ use base64url")),
        Encoding::Base64url => BASE64URL
            .decode(text)
            .map_err(|error| bad(lower(&error.to_string())).hint("for text with + and / use base64")),
        Encoding::Base58 => bs58::decode(text).into_vec().map_err(|error| bad(error.to_string())),
        Encoding::Url => read_url(text).map_err(bad),
    }
}

fn write_bytes(bytes: &[u8], encoding: Encoding) -> Result<String, Fault> {
    match encoding {
        Encoding::Utf8 => String::from_utf8(bytes.to_vec()).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Fault::invalid(format!("the bytes are not UTF-8 text from byte {at} on"))
                .hint("write them as hex or base64")
        }),
        Encoding::Hex => Ok(format!("0x{}", kernel::audit::hex(bytes))),
        Encoding::Base64 => Ok(BASE64.encode(bytes)),
        Encoding::Base64url => Ok(BASE64URL.encode(bytes)),
        Encoding::Base58 if bytes.len() > BASE58_MAX * 3 / 4 => {
            let text = format!("{} bytes are too many for base58", bytes.len());
            Err(Fault::too_large(text).hint(format!("at most {}; base64 has no such limit", BASE58_MAX * 3 / 4)))
        }
        Encoding::Base58 => Ok(bs58::encode(bytes).into_string()),
        Encoding::Url => Ok(write_url(bytes)),
    }
}

fn read_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if let Some((at, odd)) = digits.char_indices().find(|(_, c)| !c.is_ascii_hexdigit()) {
        return Err(format!("`{odd}` at {}", at + text.len() - digits.len()));
    }
    if digits.len() % 2 == 1 {
        return Err("an odd number of digits".into());
    }
    let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
    Ok(digits.as_bytes().chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect())
}

fn read_url(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|pair| read_hex(pair).ok());
        let Some([byte]) = pair.as_deref() else {
            return Err(format!("`%` at {} is not followed by two hexadecimal digits", text.len() - tail.len() - 1));
        };
        bytes.push(*byte);
        rest = &tail[2..];
    }
    Ok(bytes)
}

fn write_url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(*byte as char),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
