//! Why a log operation failed.

use std::io;
use std::path::PathBuf;

use rpo_core::frame::FrameError;
use rpo_core::{ByteSize, ConfigError, Epoch, ErrorKind, LogId, Lsn};

use crate::format::FormatError;

/// Why a log operation failed. The variant says where; [`WalError::kind`] says what to do next.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// Another process, or another handle of this one, has the log open.
    #[error("log {}: already open elsewhere: stop the other process, then open again", dir.display())]
    Busy {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// A setting breaks its rule.
    #[error("log configuration: {0}")]
    Config(#[from] ConfigError),
    /// A file's header cannot be read.
    #[error("{}: {source}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// Bytes that were once whole are not. (A torn tail is no error: recovery cuts it and reports it.)
    #[error("{}: corrupt at lsn {lsn}, offset {offset}: {what}; restore this range from a copy", file.display())]
    Corrupt {
        /// The segment file.
        file: PathBuf,
        /// LSN of the frame that is damaged or missing.
        lsn: Lsn,
        /// Where in the file, bytes.
        offset: u64,
        /// What was found, and why it is no torn write.
        what: String,
    },
    /// A witness says that more was durable than is there.
    #[error("log {}: ends at lsn {end}, but {witness} was durable: acknowledged data is lost; restore it from a copy", dir.display())]
    DurableLost {
        /// Directory of the log.
        dir: PathBuf,
        /// Where the readable log ends.
        end: Lsn,
        /// Where it must reach.
        witness: Lsn,
    },
    /// A segment is not there.
    #[error("log {}: nothing holds lsn {from} to {to}: a segment is missing; restore it from a copy", dir.display())]
    MissingSegment {
        /// Directory of the log.
        dir: PathBuf,
        /// First missing LSN.
        from: Lsn,
        /// Where the next segment begins.
        to: Lsn,
    },
    /// A file belongs to another log.
    #[error("{}: belongs to log {found}, not {expected}: move it away", file.display())]
    ForeignFile {
        /// The file.
        file: PathBuf,
        /// The log opened.
        expected: LogId,
        /// The log the file belongs to.
        found: LogId,
    },
    /// The device failed or the system refused, outside the path of commits: nothing that was acknowledged is in doubt.
    #[error("{}: {op} failed: {}", path.display(), cause.text)]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        cause: IoCause,
    },
    /// A write or sync failed after this commit was accepted: it may or may not survive. Open the log again and look.
    #[error("lsn {lsn} to {end}: may or may not survive: {cause}; open the log again and look for it")]
    Indeterminate {
        /// Where the commit begins.
        lsn: Lsn,
        /// Where it ends.
        end: Lsn,
        /// The failure.
        cause: String,
    },
    /// A write or sync failed before: the log takes nothing more, and reads what was durable.
    #[error("log refuses writes since a failure: {cause}; open it again")]
    Poisoned {
        /// The failure.
        cause: String,
    },
    /// The disk is full: this commit was refused before anything of it was written. Appends go on once there is room.
    #[error("log {}: no room to prepare the next segment of {segment_bytes}: free some space, then append again", dir.display())]
    NoSpace {
        /// Directory of the log.
        dir: PathBuf,
        /// Room that is needed.
        segment_bytes: ByteSize,
    },
    /// Too much is under way: this commit was refused before anything of it was written.
    #[error("{pending_bytes} bytes wait to be written, the limit is {limit}: try again")]
    Full {
        /// Bytes that wait.
        pending_bytes: u64,
        /// `pending_bytes_max`.
        limit: u64,
    },
    /// The next segment is still being prepared: this commit was refused before anything of it was written.
    #[error("the next segment is still being prepared: try again")]
    NotReady,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The commit cannot be written as it is.
    #[error("commit: {0}")]
    Draft(FrameError),
    /// The commit is larger than what fits in a segment.
    #[error(
        "commit of {bytes} bytes: at most {limit} fit in a segment of this log: split it, or raise segment-bytes"
    )]
    TooLarge {
        /// Bytes of the commit, with record heads.
        bytes: u64,
        /// Bytes that fit.
        limit: u64,
    },
    /// This log cannot give that promise: the crate above can.
    #[error("level `{level}` is not given by a local log: wait for the copies after appending")]
    Level {
        /// The level asked for.
        level: String,
    },
    /// The position asked for was released from the local log.
    #[error("lsn {from} is no longer here: the log begins at {start}; read older parts from the archive")]
    Released {
        /// The position asked for.
        from: Lsn,
        /// Where the log begins now.
        start: Lsn,
    },
    /// The position asked for is past what is durable.
    #[error("lsn {from} is past what is durable: {durable}")]
    Ahead {
        /// The position asked for.
        from: Lsn,
        /// Where the durable part ends.
        durable: Lsn,
    },
    /// A newer epoch has written here.
    #[error("log {}: epoch {found} has taken over, epoch {asked} is fenced: stop this writer", dir.display())]
    Fenced {
        /// Directory of the log.
        dir: PathBuf,
        /// The epoch asked for.
        asked: Epoch,
        /// The epoch found.
        found: Epoch,
    },
    /// What was found in the directory is not what a takeover needs.
    #[error("log {}: cannot take over as epoch {epoch}: {why}", dir.display())]
    Takeover {
        /// Directory of the log.
        dir: PathBuf,
        /// The epoch asked for.
        epoch: Epoch,
        /// What is in the way, and what to do.
        why: String,
    },
}

/// What the system said; an [`io::Error`] that can be told to several waiters.
#[derive(Debug, Clone)]
pub struct IoCause {
    /// The error's class.
    pub kind: io::ErrorKind,
    /// The error's text.
    pub text: String,
}

impl From<io::Error> for IoCause {
    fn from(error: io::Error) -> Self {
        Self { kind: error.kind(), text: error.to_string() }
    }
}

impl WalError {
    /// The stable part of the API: programs match on this, people read the rest.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Config(_) | Self::Draft(_) | Self::TooLarge { .. } | Self::Ahead { .. } => {
                ErrorKind::Invalid
            }
            Self::Format { source, .. } => source.kind(),
            Self::Corrupt { .. }
            | Self::DurableLost { .. }
            | Self::MissingSegment { .. }
            | Self::ForeignFile { .. } => ErrorKind::Corrupt,
            Self::Io { cause, .. } => ErrorKind::of_io(&cause.kind.into()),
            Self::Indeterminate { .. } => ErrorKind::Unknown,
            Self::Poisoned { .. } | Self::Closed | Self::Takeover { .. } => ErrorKind::Refused,
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::Full { .. } | Self::NotReady => ErrorKind::Retry,
            Self::Level { .. } => ErrorKind::Unsupported,
            Self::Released { .. } => ErrorKind::NotFound,
            Self::Fenced { .. } => ErrorKind::Fenced,
        }
    }

    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Io { op, path: path.into(), cause: error.into() }
    }
}
