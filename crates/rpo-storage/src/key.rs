//! Names of objects.

use std::fmt;

/// Longest key, bytes: what every store and file system takes.
pub const KEY_BYTES_MAX: usize = 512;

/// Name of an object: parts of `a-z 0-9 . _ -` joined by `/`. Ordered by bytes, as stores list them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no object key: parts of a-z, 0-9, `.`, `_`, `-` joined by `/`, no part empty or beginning with `.`, at most {KEY_BYTES_MAX} bytes")]
pub struct KeyError(String);

impl Key {
    /// Checks and takes the key. A key can never leave the store's root.
    ///
    /// # Errors
    /// Says what a key may look like.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        let part_ok = |p: &str| !p.is_empty() && !p.starts_with('.') && p.bytes().all(allowed);
        if text.len() <= KEY_BYTES_MAX && text.split('/').all(part_ok) { Ok(Self(text)) } else { Err(KeyError(text)) }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
