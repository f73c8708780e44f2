#![doc = include_str!("document.md")]

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{CryptoError, digest, sha256};

/// Longest document, bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;

const MAC_LINE: &str = "hmac-sha256 ";
const SUM_LINE: &str = "sha256 ";
const DIGITS: usize = 64;

/// Computes the MAC of a document's JSON.
pub type MacOf<'a> = &'a dyn Fn(&[u8]) -> [u8; 32];

/// Writes `content` as a clear document; with a MAC line if `mac` is given.
///
/// # Errors
/// `Invalid` if it would be longer than [`DOCUMENT_BYTES_MAX`].
pub fn encode<T: Serialize>(
    what: &'static str,
    content: &T,
    mac: Option<MacOf<'_>>,
) -> Result<Vec<u8>, CryptoError> {
    let invalid = |why: String| CryptoError::Invalid { what, why };
    let mut text = serde_json::to_string_pretty(content).map_err(|error| invalid(error.to_string()))?;
    text.push('\n');
    if let Some(mac) = mac {
        let line = format!("{MAC_LINE}{}\n", hex::encode(mac(text.as_bytes())));
        text.push_str(&line);
    }
    let line = format!("{SUM_LINE}{}\n", hex::encode(sha256(text.as_bytes())));
    text.push_str(&line);
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(invalid(format!("{} bytes, at most {DOCUMENT_BYTES_MAX} fit", text.len())));
    }
    Ok(text.into_bytes())
}

/// A document whose SHA-256 line is right. Its MAC, if it has one, is still to be checked by who has the key.
#[derive(Clone, Copy)]
pub struct Document<'a> {
    what: &'a str,
    json: &'a str,
    mac: Option<[u8; 32]>,
}

impl<'a> Document<'a> {
    /// Checks length, lines and SHA-256 of `bytes`; `what` names it in errors.
    ///
    /// # Errors
    /// [`CryptoError::Document`] says what is wrong.
    pub fn decode(what: &'a str, bytes: &'a [u8]) -> Result<Self, CryptoError> {
        let damaged = |why: &str| CryptoError::Document { what: what.to_owned(), why: why.to_owned() };
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(damaged("it is longer than any document"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
        let (rest, sum) = last_line(text, SUM_LINE).ok_or_else(|| damaged("its last line is no SHA-256"))?;
        if sha256(rest.as_bytes()) != sum {
            return Err(damaged("its SHA-256 does not match"));
        }
        match last_line(rest, MAC_LINE) {
            Some((json, mac)) => Ok(Self { what, json, mac: Some(mac) }),
            None => Ok(Self { what, json: rest, mac: None }),
        }
    }

    /// The JSON with its last line feed: what the MAC is over.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// The MAC line's value.
    pub fn mac(&self) -> Option<[u8; 32]> {
        self.mac
    }

    /// `"format"` and `"version"`, whatever else the document holds.
    ///
    /// # Errors
    /// [`CryptoError::Document`] if it has none.
    pub fn head(&self) -> Result<DocumentHead, CryptoError> {
        self.lenient()
    }

    /// The fields of `T`, whatever else the document holds.
    ///
    /// # Errors
    /// [`CryptoError::Document`] if it is not the JSON of such a thing.
    pub fn lenient<T: DeserializeOwned>(&self) -> Result<T, CryptoError> {
        serde_json::from_str(self.json)
            .map_err(|error| CryptoError::Document { what: self.what.to_owned(), why: error.to_string() })
    }
}

impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({}, {} bytes)", self.what, self.json.len())
    }
}

/// What every document begins with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DocumentHead {
    /// What it is: `rpo-config`, `rpo-key-slot`, `rpo-bill`.
    pub format: String,
    /// Version of that format.
    pub version: u32,
}

/// Splits `text` before its last line, which must be `<name><64 digits>\n`.
fn last_line<'a>(text: &'a str, name: &str) -> Option<(&'a str, [u8; 32])> {
    let at = text.len().checked_sub(name.len() + DIGITS + 1)?;
    let line = text.get(at..)?.strip_prefix(name)?.strip_suffix('\n')?;
    let before = &text[..at];
    (before.ends_with('\n')).then_some(())?;
    Some((before, digest::from_hex(line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_limits_are_the_ones_in_the_spec() {
        let spec = include_str!("document.md");
        for line in [MAC_LINE, SUM_LINE] {
            let shown = format!("{line}<{DIGITS} lower-case hexadecimal digits>");
            assert!(spec.contains(&shown), "document.md lacks: {shown}");
        }
        assert!(spec.contains("at most 16 MiB") && DOCUMENT_BYTES_MAX == 16 << 20);
    }

    fn sample() -> Vec<u8> {
        encode("a thing", &serde_json::json!({"format": "x", "version": 3, "rest": 1}), Some(&|_| [0xcd; 32]))
            .unwrap()
    }

    #[test]
    fn a_document_reads_back_and_its_head_is_found_first() {
        let bytes = sample();
        let document = Document::decode("a thing", &bytes).unwrap();
        assert_eq!(document.head().unwrap(), DocumentHead { format: "x".into(), version: 3 });
        assert_eq!(document.mac(), Some([0xcd; 32]));
        assert!(document.json().starts_with('{') && document.json().ends_with("}\n"));
    }

    #[test]
    fn every_single_byte_flip_is_refused() {
        let bytes = sample();
        for at in 0..bytes.len() {
            for bit in [0x01, 0x20, 0x80] {
                let mut bad = bytes.clone();
                bad[at] ^= bit;
                assert!(Document::decode("a thing", &bad).is_err(), "byte {at} ^ {bit:#x}");
            }
        }
        for end in 0..bytes.len() {
            assert!(Document::decode("a thing", &bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(Document::decode("a thing", &[&bytes[..], b"\n"].concat()).is_err());
    }

    #[test]
    fn a_document_that_is_too_long_is_neither_written_nor_read() {
        let long = "x".repeat(DOCUMENT_BYTES_MAX);
        assert!(encode("a thing", &long, None).is_err());
        assert!(Document::decode("a thing", long.as_bytes()).is_err());
    }
}
