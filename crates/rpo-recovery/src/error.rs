//! Why something cannot be restored, and what could be instead.

use std::fmt;

use rpo_core::ErrorKind;
use rpo_core::ports::RestoreError;
use rpo_core::target::RestorePoint;
use rpo_core::{Epoch, StreamId};
use serde::Serialize;

/// A target that cannot be restored, with the nearest that can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Refusal {
    /// What was asked for.
    pub target: String,
    /// Why it cannot be had.
    pub reason: String,
    /// The nearest restorable point before it.
    pub nearest_before: Option<Box<RestorePoint>>,
    /// The nearest restorable point after it.
    pub nearest_after: Option<Box<RestorePoint>>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be restored: {}", self.target, self.reason)?;
        match (&self.nearest_before, &self.nearest_after) {
            (None, None) => f.write_str("; nothing else can be restored either"),
            (Some(newest), None) if !self.has_place() => {
                write!(f, "; the newest that can be restored is {newest}")
            }
            (Some(before), None) => write!(f, "; the nearest before it is {before}"),
            (None, Some(after)) => write!(f, "; the nearest after it is {after}"),
            (Some(before), Some(after)) => write!(f, "; the nearest are {before} and {after}"),
        }
    }
}

impl Refusal {
    /// Whether what was asked for lies somewhere, so that something can be before it: an unknown name does not.
    fn has_place(&self) -> bool {
        !["latest", "tag:", "txn:"].iter().any(|form| self.target.starts_with(form))
    }
}

/// Why a catalogue, a plan or a restore failed. The variant says where; [`RecoveryError::kind`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The target cannot be restored.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Checkpoints could not be listed or read.
    #[error(transparent)]
    Checkpoint(#[from] rpo_checkpoint::CheckpointError),
    /// The archive of the log could not be read.
    #[error(transparent)]
    Archive(#[from] rpo_replication::ReplicationError),
    /// The archive holds no history of that name.
    #[error("no history of {stream} ends with epoch {epoch}; there are: {known}")]
    NoHistory {
        /// Which stream.
        stream: StreamId,
        /// What was asked for.
        epoch: Epoch,
        /// The epochs that name a history, the one that goes on first.
        known: String,
    },
    /// The restorer could not go on.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The checkpoint holds another sort of thing than the restorer can rebuild.
    #[error("{checkpoint} holds a {found}, but this restores a {expected}")]
    WrongKind {
        /// The checkpoint.
        checkpoint: String,
        /// What it holds.
        found: String,
        /// What the restorer rebuilds.
        expected: String,
    },
    /// The restored state is not the one that was planned: nothing was put in place.
    #[error("the restore stopped at {found}, the plan said {planned}: nothing was put in place")]
    Short {
        /// Where the plan ends.
        planned: String,
        /// Where the state stands.
        found: String,
    },
    /// The restored state breaks the thing's own rules: nothing was put in place.
    #[error("the restored state is not valid, nothing was put in place: {0}")]
    NotValid(String),
    /// Not possible for this sort of thing: nothing was put in place.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// Somebody asked to stop: nothing was put in place.
    #[error("stopped on request: nothing was put in place, and what was built is removed")]
    Cancelled,
}

impl RecoveryError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(_) | Self::NoHistory { .. } => ErrorKind::NotFound,
            Self::Checkpoint(error) => error.kind(),
            Self::Archive(error) => error.kind(),
            Self::Restore(error) => error.kind(),
            Self::WrongKind { .. } => ErrorKind::Invalid,
            Self::Short { .. } | Self::NotValid(_) => ErrorKind::Corrupt,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}
