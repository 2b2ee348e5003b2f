//! Percent-encoding, as in the queries of URLs and in forms (RFC 3986).

use kernel::Fault;

/// `text` with everything but letters, digits and `-._~` as `%` and two hexadecimal digits.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The text behind it; `+` is a blank.
///
/// # Errors
/// When a `%` is not followed by two hexadecimal digits, or the bytes are no UTF-8.
pub(crate) fn decode(text: &str) -> Result<String, Fault> {
    let bad = || Fault::invalid(format!("`{text}` is not percent-encoded")).hint("% and two hexadecimal digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
                (high * 16 + low) as u8
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn goes_there_and_back(text in ".{0,40}") {
            let encoded = encode(&text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded).unwrap(), text);
        }

        #[test]
        fn no_text_breaks_it(text in "(%|[0-9a-f]|é|\\+){0,12}") {
            let _ = decode(&text);
        }
    }
}
