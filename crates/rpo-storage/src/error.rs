//! Why an operation on a store failed.

use rpo_core::ErrorKind;

use crate::Key;

/// Why an operation on a store failed. The variant says where; [`StorageError::kind`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// `create` found the key taken; the stored bytes are untouched.
    #[error("{store}: {key} exists already")]
    AlreadyExists {
        /// The store, without credentials.
        store: String,
        /// The key.
        key: Key,
    },
    /// There is no such object.
    #[error("{store}: {key} is not there")]
    NotFound {
        /// The store, without credentials.
        store: String,
        /// The key.
        key: Key,
    },
    /// The range asked for reaches past the end.
    #[error("{store}: {key} has {len} bytes, asked for {start}..{end}")]
    RangeNotSatisfied {
        /// The store, without credentials.
        store: String,
        /// The key.
        key: Key,
        /// Length of the object, bytes.
        len: u64,
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
    },
    /// The operation failed; `kind` says whether it may have happened.
    #[error("{store}: {op} {key} failed: {message}")]
    Failed {
        /// The store, without credentials.
        store: String,
        /// What was being done.
        op: &'static str,
        /// The key or prefix.
        key: String,
        /// `Retry` (certainly did not happen), `Unknown` (look first), `NoSpace`, `Refused`, …
        kind: ErrorKind,
        /// What the store said.
        message: String,
        /// The underlying error, if there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// This store cannot do that.
    #[error("{store}: {what} is not supported")]
    Unsupported {
        /// The store, without credentials.
        store: String,
        /// What was asked for.
        what: String,
    },
    /// The URL or its parameters make no sense.
    #[error("{url}: {why}")]
    Url {
        /// The URL, without credentials.
        url: String,
        /// What is wrong and what would be accepted.
        why: String,
    },
}

impl StorageError {
    /// A failure of `op` on `key` (or prefix) with what is to be done about it; `store` is a URL without credentials.
    pub fn failed(
        store: impl Into<String>,
        op: &'static str,
        key: impl std::fmt::Display,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self::Failed {
            store: store.into(),
            op,
            key: key.to_string(),
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::AlreadyExists { .. } => ErrorKind::Exists,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::RangeNotSatisfied { .. } | Self::Url { .. } => ErrorKind::Invalid,
            Self::Failed { kind, .. } => *kind,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
        }
    }
}
