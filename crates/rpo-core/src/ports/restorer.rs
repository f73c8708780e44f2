//! What can be rebuilt, and how it is put in place.

use std::fmt::Debug;
use std::io;

use super::entry::{Entry, EntryPath};
use crate::{Commit, ErrorKind, Position};

/// Rebuilds a thing from a checkpoint and its log. Recovery is written once, against this.
///
/// Order of calls: each `entry` before its own extents, otherwise entries and extents in any order and from any thread;
/// then [`finish_base`](Self::finish_base), any number of [`apply`](Self::apply), [`validate`](Self::validate), and at
/// last [`publish`](Self::publish). Until then nothing is visible at the place it is restored to, and
/// [`abandon`](Self::abandon) leaves no trace.
pub trait Restorer: Debug + Send + Sync {
    /// What sort of source it can rebuild; a checkpoint of another kind is refused.
    fn kind(&self) -> &str;
    /// Takes one entry.
    ///
    /// # Errors
    /// It would lie outside the target, or cannot be made.
    fn entry(&self, entry: &Entry) -> Result<(), RestoreError>;
    /// Takes a run of content of a file entry that was given before.
    ///
    /// # Errors
    /// The bytes could not be written.
    fn extent(&self, path: &EntryPath, offset: u64, bytes: &[u8]) -> Result<(), RestoreError>;
    /// Says that no more extents of `path` follow.
    ///
    /// # Errors
    /// Its metadata could not be set.
    fn close(&self, path: &EntryPath) -> Result<(), RestoreError>;
    /// Takes back a file entry that was not closed, since its content cannot be had (`why`), and every further name of it.
    /// Once the result is in place, what is missing from it is written down beside it. Returns the further names.
    ///
    /// # Errors
    /// `Unsupported` for things that are nothing unless they are whole; `Invalid` if there is no such file.
    fn discard(&self, path: &EntryPath, why: &str) -> Result<Vec<EntryPath>, RestoreError> {
        Err(RestoreError::Unsupported(format!("a result without `{path}` ({why})")))
    }
    /// Says that all entries were given: the state is that of the checkpoint, taken at `position` of the log if it has one.
    ///
    /// # Errors
    /// The state is not complete, or could not be made durable.
    fn finish_base(&self, position: Option<Position>) -> Result<(), RestoreError>;
    /// Applies one commit of the log, in order.
    ///
    /// # Errors
    /// `Unsupported` for things without a log; `Invalid` if it does not follow on what is there.
    fn apply(&self, commit: &Commit) -> Result<(), RestoreError>;
    /// Where the restored state stands in its log; `None` without one.
    fn position(&self) -> Option<Position>;
    /// Checks the restored state by the thing's own rules (sums, references, structure).
    ///
    /// # Errors
    /// The check could not be run; what it found is in the result.
    fn validate(&self) -> Result<Validation, RestoreError>;
    /// Puts the restored state in place by one atomic step; durable on `Ok`.
    ///
    /// # Errors
    /// Nothing is in place: the state stays where it was being built.
    fn publish(&self) -> Result<RestoreReport, RestoreError>;
    /// Removes what was built so far.
    ///
    /// # Errors
    /// Something could not be removed; the error names it.
    fn abandon(&self) -> Result<(), RestoreError>;
}

/// What the thing's own rules say about a restored state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validation {
    /// Each check by name, with what it found wrong, if anything.
    pub checks: Vec<(String, Option<String>)>,
}

impl Validation {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|(_, wrong)| wrong.is_none())
    }
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreReport {
    /// Entries put in place.
    pub entries: u64,
    /// Bytes of content written; holes are not counted.
    pub bytes: u64,
    /// Commits applied.
    pub commits: u64,
    /// What could not be kept exactly, each with its path (an owner that only root may set, …).
    pub approximated: Vec<String>,
}

/// Why a restorer could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The system failed.
    #[error("{path}: {op} failed: {source}")]
    Io {
        /// Which file, as people write it.
        path: String,
        /// What was being done.
        op: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The target is in use.
    #[error("{path}: {why}")]
    Target {
        /// The target, as people write it.
        path: String,
        /// Why it is refused and what would be accepted.
        why: String,
    },
    /// What was given makes no sense for what is there.
    #[error("{0}")]
    Invalid(String),
    /// This thing cannot do that.
    #[error("not supported by this restorer: {0}")]
    Unsupported(String),
}

impl RestoreError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Target { .. } => ErrorKind::Refused,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Unsupported(_) => ErrorKind::Unsupported,
        }
    }
}
