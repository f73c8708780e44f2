//! Why shipping, taking over, mirroring or reading an archive failed.

use std::path::PathBuf;

use rpo_core::{CopyName, Epoch, ErrorKind, Lsn, Position, StreamId};
use rpo_storage::{Key, StorageError};

use crate::batch::{Digest, FormatError};

/// Why an operation of this crate failed. The variant says where; [`ReplicationError::kind`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicationError {
    /// A store failed.
    #[error("copy {copy}: {source}")]
    Storage {
        /// Which copy.
        copy: CopyName,
        /// What the store said.
        source: Box<StorageError>,
    },
    /// A repository failed.
    #[error("copy {copy}: {source}")]
    Repository {
        /// Which copy.
        copy: CopyName,
        /// What the repository said.
        source: Box<rpo_repository::RepositoryError>,
    },
    /// An object could not be sealed or opened.
    #[error("{key}: {source}")]
    Envelope {
        /// Which object.
        key: String,
        /// What the envelope said.
        source: rpo_crypto::CryptoError,
    },
    /// An opened object is not in its format.
    #[error("{key}: {source}")]
    Format {
        /// Which object.
        key: String,
        /// Which field, and what it may hold.
        source: FormatError,
    },
    /// An object is well-formed and does not belong where it stands.
    #[error("{key}: {why}: the archive is damaged here; read another copy")]
    Misplaced {
        /// Which object.
        key: Key,
        /// What does not fit.
        why: String,
    },
    /// An object does not name the one before it as it is stored.
    #[error(
        "{key}: names {named} as the object before it, found {found}: the archive was altered; read another copy"
    )]
    ChainBroken {
        /// The object that names its predecessor.
        key: Key,
        /// The digest it names.
        named: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// Objects are missing in the middle.
    #[error("{stream}: object {number} of epoch {epoch} is missing while later ones exist: {hint}")]
    Gap {
        /// Which stream.
        stream: StreamId,
        /// Which epoch.
        epoch: Epoch,
        /// The first missing number.
        number: u64,
        /// What can be done.
        hint: &'static str,
    },
    /// What was asked for was lost, and recorded as lost.
    #[error(
        "{stream}: everything from {} to {} is lost (object {} of epoch {}; {} accepted it: {}); the nearest points are {}, and from {} on with a checkpoint taken there or later",
        .gap.from, .gap.to, .gap.number, .gap.epoch, .gap.record.who, .gap.record.why, .gap.from, .gap.to
    )]
    InsideGap {
        /// Which stream.
        stream: StreamId,
        /// What is lost, why, and who accepted it.
        gap: Box<crate::gap::GapSpan>,
    },
    /// A history goes on past what can be read of it.
    #[error("{stream}: readable up to {end}; object {number} of epoch {epoch} would follow: {why}")]
    CutShort {
        /// Which stream.
        stream: StreamId,
        /// The end of what can be read.
        end: Position,
        /// The epoch of what would follow.
        epoch: Epoch,
        /// Its number.
        number: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The local log could not be read, or gave what does not follow on what it gave before.
    #[error("log of {stream}: {why}")]
    Log {
        /// Which stream.
        stream: StreamId,
        /// What happened.
        why: String,
        /// What to do about it.
        kind: ErrorKind,
    },
    /// The spool directory could not be used.
    #[error("spool: {} {} failed: {source}", .op, .path.display())]
    Spool {
        /// Which file.
        path: PathBuf,
        /// What was being done.
        op: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A spooled file is not what was written.
    #[error("spool: {}: {why}; take over with a new epoch to go on from what the copies hold", .path.display())]
    SpoolDamaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer writer owns the stream: this one is finished for good.
    #[error(
        "{stream}: epoch {epoch} was fenced by epoch {by} (copy {copy}, object {number}): stop this writer; its unshipped commits stay in its log and spool"
    )]
    Fenced {
        /// Which stream.
        stream: StreamId,
        /// The generation that ended.
        epoch: Epoch,
        /// The generation that took over.
        by: Epoch,
        /// Where the fence was met.
        copy: CopyName,
        /// The number at which it stands there.
        number: u64,
    },
    /// The log ends before what was already archived from it.
    #[error(
        "{stream}: the log ends at {log} and the archive already holds {archive}: the log lost what was shipped; take over with a new epoch that forks at {log}"
    )]
    Rewound {
        /// Which stream.
        stream: StreamId,
        /// Where the log ends.
        log: Position,
        /// What the archive holds.
        archive: Position,
    },
    /// A copy holds another object where ours belongs.
    #[error(
        "copy {copy}: {key} holds other bytes than ours: another writer used this epoch, or this copy belongs to another history; take over with a new epoch"
    )]
    Conflict {
        /// Which copy.
        copy: CopyName,
        /// Which object.
        key: Key,
    },
    /// An object has other bytes than its bill says.
    #[error("copy {copy}: {key} {why}: do not use this object; repair it from another copy")]
    MirrorDigest {
        /// Which copy.
        copy: CopyName,
        /// Which object.
        key: Key,
        /// What was found, and what the bill says.
        why: String,
    },
    /// The spool is full: what is appended now could not be sealed until a copy takes batches. Nothing was appended.
    #[error(
        "{stream}: the spool holds {bytes} of at most {bytes_max} bytes and no copy takes more: bring a copy back or raise spool-bytes-max, then append again"
    )]
    SpoolFull {
        /// Which stream.
        stream: StreamId,
        /// Bytes spooled.
        bytes: u64,
        /// The bound, `spool-bytes-max`.
        bytes_max: u64,
    },
    /// Too few copies took part for a takeover.
    #[error(
        "{stream}: a takeover needs {needed} copies and {reached} took part ({missing}): bring them back, or declare them lost"
    )]
    TooFewCopies {
        /// Which stream.
        stream: StreamId,
        /// Copies needed: n − k + 1, and more than half.
        needed: usize,
        /// Copies that took part.
        reached: usize,
        /// Each missing copy and why.
        missing: String,
    },
    /// Another takeover is under way.
    #[error(
        "{stream}: epoch {epoch} is being claimed by another takeover (copy {copy}): let one of them finish, then try again"
    )]
    Contended {
        /// Which stream.
        stream: StreamId,
        /// The generation both wanted.
        epoch: Epoch,
        /// Where they met.
        copy: CopyName,
    },
    /// The archive ends before what was asked for.
    #[error("{stream}: the archive covers up to {end}, asked for lsn {asked}")]
    EndsBefore {
        /// Which stream.
        stream: StreamId,
        /// Where it ends.
        end: Position,
        /// What was asked for.
        asked: Lsn,
    },
    /// The archive begins after what was asked for.
    #[error("{stream}: the archive covers from {start} on, asked for lsn {asked}")]
    BeginsAfter {
        /// Which stream.
        stream: StreamId,
        /// Where it begins.
        start: Position,
        /// What was asked for.
        asked: Lsn,
    },
    /// There is no such stream, epoch or history.
    #[error("{0}")]
    NotFound(String),
    /// The call or the configuration makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Not built, or not possible with these stores.
    #[error("not supported: {0}")]
    Unsupported(String),
}

impl ReplicationError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Storage { source, .. } => source.kind(),
            Self::Repository { source, .. } => source.kind(),
            Self::Envelope { source, .. } => source.kind(),
            Self::Format { source, .. } => source.kind(),
            Self::Misplaced { .. }
            | Self::ChainBroken { .. }
            | Self::Gap { .. }
            | Self::CutShort { .. }
            | Self::SpoolDamaged { .. }
            | Self::MirrorDigest { .. } => ErrorKind::Corrupt,
            Self::Log { kind, .. } => *kind,
            Self::Spool { source, .. } => ErrorKind::of_io(source),
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Rewound { .. } | Self::Conflict { .. } | Self::TooFewCopies { .. } => ErrorKind::Refused,
            Self::Contended { .. } | Self::SpoolFull { .. } => ErrorKind::Busy,
            Self::InsideGap { .. }
            | Self::EndsBefore { .. }
            | Self::BeginsAfter { .. }
            | Self::NotFound(_) => ErrorKind::NotFound,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Unsupported(_) => ErrorKind::Unsupported,
        }
    }
}
