//! What opening a log found.

use std::path::PathBuf;

use rpo_core::{LogId, Lsn, Position};

/// What opening a log found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Identity of the log.
    pub log: LogId,
    /// Whether there was no log before.
    pub fresh: bool,
    /// Where the local log begins: what is before was released.
    pub start: Position,
    /// Where it ends: everything before is durable now.
    pub end: Position,
    /// Live segments found.
    pub segments: u64,
    /// Frames read and checked.
    pub frames: u64,
    /// Commits in them.
    pub commits: u64,
    /// The highest LSN that was known to be durable before.
    pub proven: Lsn,
    /// Bytes of the file whose durability was not proven, and which were written and synced again.
    pub repersisted_bytes: u64,
    /// How the log ended.
    pub tail: Tail,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// How a log ended. What was cut is still in its file, as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tail {
    /// After a whole frame.
    Clean,
    /// In a write that a crash cut short before it was synced: it was never acknowledged as durable.
    Torn {
        /// The segment file.
        file: PathBuf,
        /// Where the log ends now.
        lsn: Lsn,
        /// Where in the file that is.
        offset: u64,
        /// Bytes cut.
        bytes: u64,
    },
    /// In a hole before frames of the same unsynced window, whose writes reached the disk out of order.
    Unordered {
        /// The segment file.
        file: PathBuf,
        /// Where the log ends now.
        lsn: Lsn,
        /// Where in the file that is.
        offset: u64,
        /// Bytes cut.
        bytes: u64,
        /// Whole frames among them.
        frames: u64,
    },
}
