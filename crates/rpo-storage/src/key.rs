//! Names of objects.

use std::fmt;

/// Longest key, bytes: what every store and file system takes.
pub const KEY_BYTES_MAX: usize = 512;

/// Longest part of a key, bytes: what every file system takes as one name.
pub const KEY_PART_BYTES_MAX: usize = 255;

/// Name of an object: parts of `a-z 0-9 . _ -` joined by `/`. Ordered by bytes, as stores list them.
///
/// A key that is the beginning of another up to a `/` (`a` beside `a/b`) is legal here and fine in an object store, but a
/// file system cannot hold both: `LocalStorage` refuses the second as `Invalid`. Formats give each prefix one meaning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no object key: parts of a-z, 0-9, `.`, `_`, `-` joined by `/`, no part empty or beginning with `.`, at most {KEY_BYTES_MAX} bytes in all and {KEY_PART_BYTES_MAX} in a part"
)]
pub struct KeyError(String);

impl Key {
    /// Checks and takes the key. A key can never leave the store's root.
    ///
    /// # Errors
    /// Says what a key may look like.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        let part_ok = |p: &str| {
            !p.is_empty() && p.len() <= KEY_PART_BYTES_MAX && !p.starts_with('.') && p.bytes().all(allowed)
        };
        if text.len() <= KEY_BYTES_MAX && text.split('/').all(part_ok) {
            Ok(Self(text))
        } else {
            Err(KeyError(text))
        }
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

impl std::str::FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_root_or_hide_in_it() {
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".hidden", "a/.b", "A", "a b", "a\\b",
            "a\0", "é",
        ] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "0", "-", "_", "a..b", "a/b/c", "packs/0f/0123", "con", "a.", "a-b_c.d"] {
            assert_eq!(Key::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_key_has_bounds_that_every_store_can_keep() {
        let longest = format!("{}/{}", "a".repeat(255), "b".repeat(255));
        assert!(Key::new(longest.as_str()).is_ok());
        assert!(Key::new("a".repeat(256)).is_err());
        assert!(Key::new(format!("{longest}/cc")).is_err());
    }
}
