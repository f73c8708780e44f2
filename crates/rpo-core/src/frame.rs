#![doc = include_str!("frame.md")]

mod build;
mod decode;
mod head;
mod record;

pub use build::{CommitDraft, Encoded, EncodedEntry, EncodedRecord, FrameBuilder, FrameFields};
pub use decode::{CommitRef, Entries, EntryRef, EntryRefs, Frame, FrameRef};
pub use head::FrameHead;

use crate::ErrorKind;

/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 64;
/// Bytes of a record's head.
pub const RECORD_HEAD_BYTES: usize = 16;
/// Longest body of a frame, bytes: 64 MiB.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Longest payload of a record, bytes: 16 MiB.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Longest context of a commit, bytes: its length is a `u16`.
pub const CONTEXT_BYTES_MAX: usize = u16::MAX as usize;

/// Why bytes are no frame, or a commit cannot become part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes end inside the frame.
    #[error("frame of {needed} bytes ends after {found}")]
    Short {
        /// Bytes the frame has, as far as is known.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// The head is all zeros: nothing was ever written here.
    #[error("no frame was written here: the head is zero")]
    Unwritten,
    /// The head does not match its checksum.
    #[error("frame head: checksum {found:#010x}, expected {expected:#010x}")]
    HeadCrc {
        /// What the head says.
        expected: u32,
        /// What its bytes give.
        found: u32,
    },
    /// The body does not match its checksum.
    #[error("frame body: checksum {found:#010x}, expected {expected:#010x}")]
    BodyCrc {
        /// What the head says.
        expected: u32,
        /// What the bytes give.
        found: u32,
    },
    /// A record does not match its checksum, though the body does.
    #[error("record at byte {offset} of the frame body: checksum does not match")]
    RecordCrc {
        /// Where in the body.
        offset: usize,
    },
    /// Checksums hold, but the content breaks a rule of the format.
    #[error("frame breaks the format: {rule}")]
    Malformed {
        /// The rule.
        rule: &'static str,
    },
    /// A record kind that this version does not know.
    #[error("record kind {kind} is not known to this version: read the log with a newer rpo")]
    Kind {
        /// The kind found.
        kind: u8,
    },
    /// A commit or marker is larger than the format allows.
    #[error("{what} of {found} is more than the limit of {limit}: make it smaller or split it")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        limit: usize,
    },
    /// A commit without records.
    #[error("a commit needs at least one record")]
    NoRecords,
}

impl FrameError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } | Self::NoRecords => ErrorKind::Invalid,
            Self::Kind { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        }
    }
}

/// `len` rounded up to the frame boundary.
pub const fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

#[cfg(test)]
mod tests;
