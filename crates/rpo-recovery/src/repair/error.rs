//! Why a log could not be mended.

use std::path::PathBuf;

use rpo_core::ErrorKind;
use rpo_wal::WalError;

/// Why a repair failed. The variant says where; [`RepairError::kind`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The local log could not be read or written.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The archive failed while frames were fetched that it had when the plan was made.
    #[error(transparent)]
    Archive(#[from] rpo_replication::ReplicationError),
    /// There is nothing to mend.
    #[error("{}: there is no log here", .0.display())]
    NoLog(PathBuf),
    /// Records would be lost, and nobody accepted that.
    #[error(
        "{0}; nothing was changed; next: ask another copy (--from), or give these records up for good with --accept-loss"
    )]
    LossNotAccepted(String),
    /// The log is not what the plan was made for.
    #[error("{}: changed since the plan was made; nothing was changed by this repair; next: the same command again", .0.display())]
    Changed(PathBuf),
    /// No place is left between two segments for a new one.
    #[error(
        "{dir}: no ordinal is free between the segments around lsn {lsn}: restore the log's thing from a checkpoint instead"
    )]
    NoOrdinal {
        /// Directory of the log.
        dir: String,
        /// Where the new segment would begin.
        lsn: rpo_core::Lsn,
    },
    /// What was built is not whole: nothing acknowledged was lost by it, the old files are there.
    #[error("the repaired log is not whole: {0}; the damaged files are kept; next: the same command again")]
    NotWhole(String),
    /// The record of repairs could not be written.
    #[error("{}: {op} failed: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What was tried.
        op: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl RepairError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Log(error) => error.kind(),
            Self::Archive(error) => error.kind(),
            Self::NoLog(_) => ErrorKind::NotFound,
            Self::LossNotAccepted(_) | Self::NoOrdinal { .. } => ErrorKind::Refused,
            Self::Changed(_) => ErrorKind::Busy,
            Self::NotWhole(_) => ErrorKind::Corrupt,
            Self::Record { source, .. } => ErrorKind::of_io(source),
        }
    }
}
