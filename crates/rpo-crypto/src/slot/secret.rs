//! What a person or a machine has to open a slot.

use std::fmt;

use rpo_core::Entropy;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{CryptoError, digest};

/// Fewest characters of a passphrase for a new slot.
pub const PASSPHRASE_CHARS_MIN: usize = 8;

const KEY_FILE_PREFIX: &str = "rpo-key-0:";

/// A passphrase; wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// Takes the passphrase.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn chars(&self) -> usize {
        self.0.chars().count()
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// What opens a key slot; wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[non_exhaustive]
pub enum Secret {
    /// Something a person remembers.
    Passphrase(SecretText),
    /// 256 random bits from a file.
    KeyFile([u8; 32]),
}

impl Secret {
    /// A passphrase.
    pub fn passphrase(text: impl Into<String>) -> Self {
        Self::Passphrase(SecretText::new(text))
    }

    /// The 256 random bits of a key file.
    pub const fn key_file(bytes: [u8; 32]) -> Self {
        Self::KeyFile(bytes)
    }

    /// A fresh key file: the secret and the text to be stored.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn new_key_file(entropy: &dyn Entropy) -> Result<(Self, Zeroizing<String>), CryptoError> {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut *key)?;
        let digits = Zeroizing::new(hex::encode(*key));
        let text = Zeroizing::new([KEY_FILE_PREFIX, digits.as_str(), "\n"].concat());
        Ok((Self::KeyFile(*key), text))
    }

    /// Reads a key file: the text [`new_key_file`](Self::new_key_file) gives, or 32 raw bytes.
    ///
    /// # Errors
    /// `Invalid` says how a key file looks; it does not repeat what was read.
    pub fn parse_key_file(file: &[u8]) -> Result<Self, CryptoError> {
        if let Ok(raw) = file.try_into() {
            return Ok(Self::KeyFile(raw));
        }
        let text = std::str::from_utf8(file).unwrap_or_default().trim();
        let key = text.strip_prefix(KEY_FILE_PREFIX).and_then(digest::from_hex);
        let why =
            || format!("expected `{KEY_FILE_PREFIX}` and 64 lower-case hexadecimal digits, or 32 raw bytes");
        key.map(Self::KeyFile).ok_or_else(|| CryptoError::Invalid { what: "key file", why: why() })
    }

    /// Refuses what is too weak for a new slot.
    ///
    /// # Errors
    /// `Invalid` says what is asked for.
    pub fn check_strength(&self) -> Result<(), CryptoError> {
        match self {
            Self::Passphrase(text) if text.chars() < PASSPHRASE_CHARS_MIN => Err(CryptoError::Invalid {
                what: "passphrase",
                why: format!("use at least {PASSPHRASE_CHARS_MIN} characters, better several words"),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase(…)",
            Self::KeyFile(_) => "KeyFile(…)",
        })
    }
}
