//! What can be captured, and how it is read.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use super::entry::{Entry, EntryPath};
use crate::{ErrorKind, Position};

/// A thing whose state can be captured: a directory, a database, a program's own state.
pub trait Source: Debug + Send + Sync {
    /// What sort of source it is, as written in manifests: `directory`, `ledger`, …
    fn kind(&self) -> &str;
    /// Begins to capture the state as of now.
    ///
    /// `parent` yields the entries of the checkpoint this one builds on, in path order; without it everything is new.
    ///
    /// # Errors
    /// The source is not there or cannot be read at all.
    fn capture(&self, parent: Option<Box<dyn EntryStream>>) -> Result<Box<dyn Capture>, SourceError>;
}

/// Entries in path order.
pub trait EntryStream: Send {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// The entries cannot be read further.
    fn next(&mut self) -> Result<Option<Entry>, SourceError>;
}

/// A capture under way. Entries come in path order, each once.
pub trait Capture: Send {
    /// The position in the source's own log that the captured state corresponds to, if it has a log.
    fn position(&self) -> Option<Position>;
    /// The next finding; `None` at the end.
    ///
    /// # Errors
    /// The source as a whole cannot be read further; single unreadable entries are [`Captured::Skipped`].
    fn next(&mut self) -> Result<Option<Captured>, SourceError>;
    /// Reads contents; shared by the workers that do.
    fn reader(&self) -> Arc<dyn ContentReader>;
    /// Ends the capture.
    ///
    /// # Errors
    /// What was captured cannot be relied on as a whole.
    fn finish(self: Box<Self>) -> Result<CaptureReport, SourceError>;
}

/// One finding of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Captured {
    /// An entry that is there.
    Entry(Entry, Change),
    /// An entry of the parent that is no longer there.
    Removed(EntryPath),
    /// Something that is there and was left out.
    Skipped(Skipped),
}

/// How an entry compares with the parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Recognised without reading: content and metadata are the parent's.
    Unchanged,
    /// The content is the parent's, the metadata is not.
    Metadata,
    /// New, or its content must be read.
    Content,
}

/// Something left out of a capture, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is.
    pub path: EntryPath,
    /// Why, for people.
    pub reason: String,
    /// False if it was never meant to be captured (a socket), true if it should have been and could not.
    pub loss: bool,
}

/// Opens contents; may be used by many threads at once.
pub trait ContentReader: Send + Sync {
    /// Opens the content of a file entry.
    ///
    /// # Errors
    /// `NotFound` or `Gone` if it is no longer the entry that was found.
    fn open(&self, entry: &Entry) -> Result<Box<dyn Content>, SourceError>;
}

/// The content of one entry.
pub trait Content: Send {
    /// The entry as found when it was opened: length, extents and fingerprint may be newer than the capture's.
    fn entry(&self) -> &Entry;
    /// Fills `buffer` from `offset`; returns the bytes read, fewer only at the end.
    ///
    /// # Errors
    /// Of the device.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError>;
    /// Ends reading and tells whether it held still.
    ///
    /// # Errors
    /// Of the device.
    fn finish(self: Box<Self>) -> Result<Stability, SourceError>;
}

/// Whether an entry held still while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// What was read is the content at one moment.
    Stable,
    /// It changed under the reader: read again, or store it marked.
    Changed,
}

/// What a capture says at its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaptureReport {
    /// Entries found.
    pub entries: u64,
    /// Entries recognised as unchanged without reading them.
    pub unchanged: u64,
    /// Entries left out that should have been captured.
    pub lost: u64,
}

/// Why a source could not be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
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
    /// It is no longer what was found.
    #[error("{path}: {what}")]
    Gone {
        /// Which file, as people write it.
        path: String,
        /// What it is now.
        what: String,
    },
    /// The source cannot do this.
    #[error("not supported by this source: {0}")]
    Unsupported(String),
    /// The parent's entries could not be read, or were not in order.
    #[error("the parent's entries cannot be used: {0}")]
    Parent(String),
}

impl SourceError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Gone { .. } => ErrorKind::NotFound,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Parent(_) => ErrorKind::Corrupt,
        }
    }
}
