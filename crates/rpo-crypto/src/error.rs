//! Why something could not be sealed, opened or unlocked.

use rpo_core::{ErrorKind, RepositoryId};

use crate::ObjectType;

/// Why something could not be sealed, opened or unlocked. No variant holds a secret or plain bytes.
///
/// `object` is the logical name the caller gave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are what the texts say they are
pub enum CryptoError {
    /// The key does not belong to this; nothing was decrypted.
    #[error("{object}: the key does not open it: give the passphrase or key file of this repository")]
    WrongKey { object: String },
    /// Too short to be an object, or it does not begin like one.
    #[error("{object}: not an rpo object: restore it from another copy")]
    NotAnObject { object: String },
    /// Written by a newer rpo.
    #[error("{object}: envelope version {found} is not known here: use a newer rpo")]
    Version { object: String, found: u16 },
    /// A type this rpo has not heard of.
    #[error("{object}: object type {found} is not known here: use a newer rpo")]
    UnknownType { object: String, found: u8 },
    /// An object of one type where another was expected.
    #[error("{object}: holds a {found}, expected a {expected}: objects were mixed up in the store")]
    WrongType { object: String, expected: ObjectType, found: ObjectType },
    /// An algorithm this rpo has not heard of.
    #[error("{object}: algorithm {found} is not known here: use a newer rpo")]
    UnknownAlgorithm { object: String, found: u8 },
    /// A plain object in an encrypted repository, or the reverse.
    #[error(
        "{object}: sealed with algorithm {found}, this repository uses {expected}: it was not written by its owner"
    )]
    WrongAlgorithm { object: String, expected: u8, found: u8 },
    /// An object of another repository.
    #[error("{object}: belongs to repository {found}, not {expected}: objects were mixed up in the store")]
    WrongRepository { object: String, expected: RepositoryId, found: RepositoryId },
    /// Sealed under a key generation later than this key ring knows.
    #[error("{object}: key generation {found} is later than {newest}: open the repository again")]
    UnknownGeneration { object: String, found: u32, newest: u32 },
    /// The bytes end before the frame that says it is the last.
    #[error("{object}: cut off, its last frame is missing: restore it from another copy")]
    Truncated { object: String },
    /// There are bytes behind the last frame and the digest.
    #[error("{object}: {extra} bytes were added behind its end: restore it from another copy")]
    Appended { object: String, extra: u64 },
    /// A frame is longer than allowed, or not as long as its head says.
    #[error("{object}: frame {frame} has a wrong length ({len} bytes): restore the object from another copy")]
    FrameLength { object: String, frame: u64, len: u64 },
    /// A frame is not what was sealed: altered, or moved from elsewhere.
    #[error("{object}: frame {frame} was altered or moved: restore the object from another copy")]
    Frame { object: String, frame: u64 },
    /// The first frame is not what was sealed under this name.
    #[error(
        "{object}: sealed under another name, or its beginning was altered: restore it from another copy"
    )]
    Misplaced { object: String },
    /// The bytes do not match the digest at their end.
    #[error("{object}: its SHA-256 does not match: restore it from another copy")]
    Digest { object: String },
    /// The caller asked for an object without frames, or for frames after the last.
    #[error("{object}: {why}")]
    Misuse { object: String, why: &'static str },
    /// A clear document (config, key slot, bill) is not what was written.
    #[error("{what} is damaged: {why}: restore it from another copy")]
    Document { what: String, why: String },
    /// A passphrase that is too weak, or parameters out of bounds.
    #[error("{what}: {why}")]
    Invalid { what: &'static str, why: String },
    /// The system has no randomness to give; nothing was sealed.
    #[error("no randomness from the system; nothing was sealed")]
    Entropy(#[from] std::io::Error),
}

impl CryptoError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongKey { .. } => ErrorKind::Key,
            Self::Version { .. }
            | Self::UnknownType { .. }
            | Self::UnknownAlgorithm { .. }
            | Self::UnknownGeneration { .. } => ErrorKind::Unsupported,
            Self::Misuse { .. } | Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Entropy(_) => ErrorKind::Retry,
            _ => ErrorKind::Corrupt,
        }
    }
}
