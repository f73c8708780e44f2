//! Why an operation on a repository failed.

use rpo_core::{ErrorKind, RepositoryId, SourceId};
use rpo_crypto::CryptoError;
use rpo_storage::{Key, StorageError};

/// Why an operation on a repository failed. `store` is its URL without credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are what the texts say they are
pub enum RepositoryError {
    /// There is no config.
    #[error("{store}: there is no repository here: check the address, or make one with init")]
    Absent { store: String },
    /// Init found a repository; it is untouched.
    #[error("{store}: there is a repository here already: open it, or choose another place")]
    Exists { store: String },
    /// An encrypted repository was opened without a secret.
    #[error("{store}: the repository is encrypted: give its passphrase or key file")]
    SecretNeeded { store: String },
    /// The secret opens none of the key slots.
    #[error("{store}: the passphrase or key file opens none of the {slots} key slots")]
    WrongKey { store: String, slots: usize },
    /// A secret was given, but the config says "not encrypted": perhaps somebody replaced it.
    #[error(
        "{store}: a passphrase or key file was given, but this repository says it is not encrypted: if that is right, \
         open it without one; if not, its config was replaced"
    )]
    NotEncrypted { store: String },
    /// A stored object is not what was written.
    #[error("{store}: {key} is damaged: {why}: restore it from another copy")]
    Damaged { store: String, key: Key, why: String },
    /// Needs a newer rpo.
    #[error("{store}: {what} needs rpo with {role} version {needed}, this one has {found}: use a newer rpo")]
    TooOld { store: String, what: String, role: &'static str, needed: u32, found: u32 },
    /// Another repository than the one expected.
    #[error("{store}: holds repository {found}, expected {expected}: check the address")]
    OtherRepository { store: String, expected: RepositoryId, found: RepositoryId },
    /// The store does not keep what a repository needs.
    #[error("{store}: cannot hold a repository: {why}")]
    StoreRefused { store: String, why: String },
    /// Other bytes are under this name; they are untouched.
    #[error("{store}: {key} exists with other content, which was left as it is")]
    Conflict { store: String, key: Key },
    /// The answer was lost, and so were those of the attempts to find out.
    #[error("{store}: {key}: no certain answer in {attempts} attempts, it may be stored: look again later")]
    Lost { store: String, key: Key, attempts: u32, source: Box<StorageError> },
    /// Somebody ended this session with a fence; nothing was committed.
    #[error("session {number} of {source_id} was fenced: begin a new one and check again what it reuses")]
    Fenced { source_id: SourceId, number: u64 },
    /// Opened for reading only.
    #[error("{store}: opened for reading only: {key} was not written")]
    ReadOnly { store: String, key: String },
    /// The call makes no sense.
    #[error("{what}: {why}")]
    Invalid { what: &'static str, why: String },
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An object could not be sealed or opened.
    #[error("{store}: {source}")]
    Crypto { store: String, source: CryptoError },
    /// The system has no randomness to give.
    #[error("no randomness from the system; nothing was written")]
    Entropy(#[from] std::io::Error),
}

impl RepositoryError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Absent { .. } => ErrorKind::NotFound,
            Self::Exists { .. } | Self::Conflict { .. } => ErrorKind::Exists,
            Self::SecretNeeded { .. } | Self::WrongKey { .. } => ErrorKind::Key,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::TooOld { .. } => ErrorKind::Unsupported,
            Self::StoreRefused { .. } | Self::ReadOnly { .. } | Self::NotEncrypted { .. } => {
                ErrorKind::Refused
            }
            Self::OtherRepository { .. } | Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Lost { .. } => ErrorKind::Unknown,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Storage(error) => error.kind(),
            Self::Crypto { source, .. } => source.kind(),
            Self::Entropy(_) => ErrorKind::Retry,
        }
    }

    /// A clear document under `key` that could not be read: damage, unless its version is the trouble.
    pub(crate) fn of_document(store: &str, key: &Key, error: CryptoError) -> Self {
        let store = store.to_owned();
        match error {
            CryptoError::Document { why, .. } => Self::Damaged { store, key: key.clone(), why },
            source => Self::Crypto { store, source },
        }
    }
}
