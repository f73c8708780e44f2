//! Why an operation on checkpoints failed.

use std::fmt;
use std::io;

use rpo_core::ports::{RestoreError, SourceError};
use rpo_core::{CheckpointId, ConfigError, ErrorKind, SourceId};
use rpo_crypto::CryptoError;
use rpo_repository::RepositoryError;
use rpo_storage::StorageError;

use crate::damage::Damage;
use crate::manifest::ManifestError;

/// Why an operation on checkpoints failed. The variant says where; [`CheckpointError::kind`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The repository or its store failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An object could not be sealed or opened.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// What is to be captured could not be read.
    #[error("the source cannot be captured: {0}")]
    Source(#[from] SourceError),
    /// The checkpoint that this one builds on cannot be read.
    #[error("the parent cannot be read: {source}")]
    Parent {
        /// Why.
        source: Box<CheckpointError>,
    },
    /// What is being restored could not be written.
    #[error("cannot restore: {0}")]
    Restore(#[from] RestoreError),
    /// An object was opened and makes no sense.
    #[error("{object}: {what}")]
    Object {
        /// Key of the object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// There is no such checkpoint.
    #[error("there is no checkpoint {id}: `list` names those there are")]
    NoCheckpoint {
        /// The one asked for.
        id: CheckpointId,
    },
    /// A checkpoint builds on one that is gone.
    #[error(
        "{id} builds on {parent}, which is not there: restore {parent}'s manifest from another copy, or use an older checkpoint"
    )]
    BrokenChain {
        /// The one asked for.
        id: CheckpointId,
        /// The one missing.
        parent: CheckpointId,
    },
    /// Stored data is missing or damaged. Everything else was handled.
    #[error("{0}")]
    Damaged(Damage),
    /// Another writer or a collector ended this session; nothing was committed.
    #[error("session {number} of {owner} was ended by someone else: nothing was committed, start again")]
    Fenced {
        /// Whose session.
        owner: SourceId,
        /// Its number.
        number: u64,
    },
    /// A checkpoint of one kind of source, a restorer of another.
    #[error("{id} is of a `{found}`, the restorer rebuilds a `{expected}`")]
    WrongKind {
        /// The checkpoint.
        id: CheckpointId,
        /// What it is of.
        found: String,
        /// What the restorer takes.
        expected: String,
    },
    /// Options that contradict themselves.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A source broke its contract.
    #[error("the source broke its contract: {0}")]
    SourceContract(String),
    /// The compressor failed or gave back other bytes than it took: memory or library at fault, nothing was stored.
    #[error("compression failed, nothing of it was stored: {source}")]
    Compressor {
        /// What it said.
        source: io::Error,
    },
    /// A worker panicked.
    #[error("a worker stopped unexpectedly: {0}")]
    Worker(String),
    /// Somebody asked to stop.
    #[error("stopped on request; nothing was committed")]
    Cancelled,
}

impl CheckpointError {
    /// The stable part of the API: programs match on this, people read the rest.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Repository(error) => error.kind(),
            Self::Storage(error) => error.kind(),
            Self::Crypto(error) => error.kind(),
            Self::Source(error) => error.kind(),
            Self::Parent { source } => source.kind(),
            Self::Restore(error) => error.kind(),
            Self::Object { .. } => ErrorKind::Corrupt,
            Self::NoCheckpoint { .. } | Self::BrokenChain { .. } => ErrorKind::NotFound,
            Self::Damaged(damage) => damage.kind(),
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::WrongKind { .. } => ErrorKind::Refused,
            Self::Config(error) => error.kind(),
            Self::Invalid(_) | Self::SourceContract(_) => ErrorKind::Invalid,
            Self::Compressor { .. } => ErrorKind::Corrupt,
            Self::Worker(_) => ErrorKind::Unknown,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// Whether an object is missing or is not what was stored, so that other objects can still be used.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Key | ErrorKind::Invalid)
            || matches!(self, Self::Crypto(_))
    }

    pub(crate) fn object(object: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::Object { object: object.to_string(), what: what.to_string() }
    }
}

impl From<ManifestError> for CheckpointError {
    fn from(error: ManifestError) -> Self {
        Self::Invalid(error.to_string()) // only while writing; readers name the object
    }
}
