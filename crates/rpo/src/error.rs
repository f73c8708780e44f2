//! Why something the manager was asked for failed.

use rpo_core::{CheckpointId, CopyName, ErrorKind, PointName, RepositoryId, SourceId};

use rpo_checkpoint::CheckpointError;
use rpo_recovery::RecoveryError;
use rpo_repository::RepositoryError;
use rpo_storage::StorageError;

use crate::config::ConfigFileError;

/// Why something the manager was asked for failed. The variant says where; [`Error::kind`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    /// The configuration breaks rules.
    #[error(transparent)]
    Rules(#[from] rpo_core::ConfigError),
    /// There is no such system in the configuration.
    #[error("there is no system `{name}`; the configuration has: {known}")]
    NoSystem {
        /// What was asked for.
        name: SourceId,
        /// What there is.
        known: String,
    },
    /// There is no such copy in the configuration.
    #[error("there is no copy `{name}`; the configuration has: {known}")]
    NoCopy {
        /// What was asked for.
        name: CopyName,
        /// What there is.
        known: String,
    },
    /// A copy cannot be used.
    #[error("copy {copy}: {source}")]
    Copy {
        /// Which one.
        copy: CopyName,
        /// Why.
        source: Box<Error>,
    },
    /// A copy could not be opened earlier.
    #[error("copy {copy}: {why}")]
    CopyUnusable {
        /// Which one.
        copy: CopyName,
        /// What to do about it.
        kind: ErrorKind,
        /// Why.
        why: String,
    },
    /// No copy can be used.
    #[error("no copy can be used: {why}")]
    NoCopies {
        /// Each copy with its reason.
        why: String,
        /// What to do about it; `NotFound` where the reasons differ.
        kind: ErrorKind,
    },
    /// Home holds no repository, and another copy does: making a new one would part them for good.
    #[error(
        "copy {home} is home and holds no repository, but copy {holder} holds {repository}: nothing was made; next: bring \
         {home} back, or let {holder} be home (role = \"home\" there, role = \"mirror\" for {home}), then rpo init"
    )]
    HomeLost {
        /// Home.
        home: CopyName,
        /// A copy that holds the repository.
        holder: CopyName,
        /// Which one.
        repository: RepositoryId,
    },
    /// A copy holds another repository than home.
    #[error(
        "copy {copy} holds repository {found}, home holds {expected}: they are no copies of each other; next: give {copy} a \
         place of its own"
    )]
    NotACopy {
        /// The copy.
        copy: CopyName,
        /// What it holds.
        found: RepositoryId,
        /// What home holds.
        expected: RepositoryId,
    },
    /// The name is taken by another moment.
    #[error("the name `{name}` is taken by {taken}; next: choose another")]
    NameTaken {
        /// The name.
        name: PointName,
        /// What has it.
        taken: CheckpointId,
    },
    /// A store failed.
    #[error(transparent)]
    Storage(#[from] rpo_storage::StorageError),
    /// A repository failed.
    #[error(transparent)]
    Repository(#[from] rpo_repository::RepositoryError),
    /// A checkpoint failed.
    #[error(transparent)]
    Checkpoint(#[from] rpo_checkpoint::CheckpointError),
    /// Shipping or mirroring failed.
    #[error(transparent)]
    Replication(#[from] rpo_replication::ReplicationError),
    /// A log failed.
    #[error(transparent)]
    Log(#[from] rpo_wal::WalError),
    /// A restore failed.
    #[error(transparent)]
    Recovery(Box<rpo_recovery::RecoveryError>),
    /// A log could not be mended.
    #[error(transparent)]
    Repair(#[from] rpo_recovery::repair::RepairError),
    /// A restorer failed.
    #[error(transparent)]
    Restore(#[from] rpo_core::ports::RestoreError),
    /// The state directory cannot be used.
    #[error("{path}: {op} failed: {source}")]
    State {
        /// Which file.
        path: String,
        /// What was being done.
        op: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The state directory remembers another repository.
    #[error(
        "{path}: this state directory belongs to repository {found}, home is {expected}; next: give each configuration a \
         state-dir of its own, or remove it if that repository is gone for good"
    )]
    StateOfAnother {
        /// The state directory.
        path: String,
        /// Whose it is.
        found: RepositoryId,
        /// What home holds.
        expected: RepositoryId,
    },
    /// The directory that a copy's directory is to be made in is not there.
    #[error(
        "copy {copy}: {parent} is not there, so nothing was made in it: a disk may not be mounted; next: mount it, or make the \
         directory if it is meant to be new (mkdir -p {parent})"
    )]
    NoParent {
        /// The copy.
        copy: CopyName,
        /// The directory.
        parent: String,
    },
    /// Waiting for protection ended without it.
    #[error("not protected: {0}")]
    NotProtected(String),
    /// Not built, or not possible here.
    #[error("not supported: {0}")]
    Unsupported(String),
}

impl From<rpo_recovery::RecoveryError> for Error {
    fn from(error: rpo_recovery::RecoveryError) -> Self {
        Self::Recovery(Box::new(error))
    }
}

impl Error {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(error) => error.kind(),
            Self::Rules(error) => error.kind(),
            Self::NoSystem { .. } | Self::NoCopy { .. } => ErrorKind::NotFound,
            Self::NoCopies { kind, .. } => *kind,
            Self::HomeLost { .. } | Self::NotACopy { .. } | Self::StateOfAnother { .. } => ErrorKind::Refused,
            Self::NoParent { .. } => ErrorKind::Refused,
            Self::NameTaken { .. } => ErrorKind::Exists,
            Self::Copy { source, .. } => source.kind(),
            Self::CopyUnusable { kind, .. } => *kind,
            Self::Storage(error) => error.kind(),
            Self::Repository(error) => error.kind(),
            Self::Checkpoint(error) if lacks_object(error) => ErrorKind::Corrupt,
            Self::Checkpoint(error) => error.kind(),
            Self::Replication(error) => error.kind(),
            Self::Log(error) => error.kind(),
            Self::Recovery(error) => match error.as_ref() {
                RecoveryError::Checkpoint(error) if lacks_object(error) => ErrorKind::Corrupt,
                error => error.kind(),
            },
            Self::Repair(error) => error.kind(),
            Self::Restore(error) => error.kind(),
            Self::State { source, .. } => ErrorKind::of_io(source),
            Self::NotProtected(_) => ErrorKind::Unknown,
            Self::Unsupported(_) => ErrorKind::Unsupported,
        }
    }

    /// Whether it is about the configuration: `13` rather than `1` as an exit code.
    pub fn is_config(&self) -> bool {
        match self {
            Self::Config(error) => error.kind() == ErrorKind::Invalid,
            Self::Rules(_)
            | Self::Storage(StorageError::Url { .. })
            | Self::Repository(RepositoryError::Storage(StorageError::Url { .. }))
            | Self::Checkpoint(CheckpointError::Config(_)) => true,
            Self::Copy { source, .. } => source.is_config(),
            _ => false,
        }
    }
}

/// An object that stored checkpoints need and that is not there: damage, not a wrong address.
fn lacks_object(error: &CheckpointError) -> bool {
    match error {
        CheckpointError::Storage(StorageError::NotFound { .. })
        | CheckpointError::Repository(RepositoryError::Storage(StorageError::NotFound { .. }))
        | CheckpointError::BrokenChain { .. }
        | CheckpointError::Damaged(_) => true,
        CheckpointError::Parent { source } => lacks_object(source),
        _ => false,
    }
}
