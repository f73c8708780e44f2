//! What a log holds, once decoded: commits and markers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::time::ClockAnomaly;
use crate::{CheckpointId, Epoch, Lsn, PointName, Position, Sequence, Timestamp, TransactionId};

/// One record of a commit. The log does not look into the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where its encoded bytes begin.
    pub lsn: Lsn,
    /// The program's own bytes.
    pub payload: Bytes,
}

/// One or more records that become visible together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The writer's generation.
    pub epoch: Epoch,
    /// Where its first record begins.
    pub lsn: Lsn,
    /// Where its last record ends (excluded).
    pub end: Lsn,
    /// Its dense number, from 1.
    pub sequence: Sequence,
    /// When it was committed; never decreasing along LSNs.
    pub time: Timestamp,
    /// The program's own transaction number, if it gave one.
    pub transaction: Option<TransactionId>,
    /// Who or what caused it, if the program said so.
    pub context: Option<Bytes>,
    /// Its records, in order; at least one.
    pub records: Vec<Record>,
}

impl Commit {
    /// Where the history stands once this commit is included.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, lsn: self.end, sequence: Some(self.sequence) }
    }
}

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MarkerKind {
    /// Nothing but "the pipe works" and the witness its frame carries.
    Heartbeat,
    /// Somebody named this moment.
    RestorePoint(PointName),
    /// This checkpoint holds the state as of here.
    Checkpoint(CheckpointId),
    /// A new writer took over from `parent`.
    EpochStart {
        /// The generation it took over from; none for the first.
        parent: Option<Epoch>,
        /// Where the parent's history ends within this one.
        fork: Lsn,
    },
    /// The wall clock stepped.
    ClockAnomaly(ClockAnomaly),
    /// The segment is full; the next record is in the next one.
    Seal,
}

/// A record that takes an LSN and no sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The writer's generation.
    pub epoch: Epoch,
    /// Where it begins.
    pub lsn: Lsn,
    /// Where it ends (excluded).
    pub end: Lsn,
    /// Commits before it.
    pub sequence: Sequence,
    /// When it was written; never decreasing along LSNs.
    pub time: Timestamp,
    /// What it says.
    pub kind: MarkerKind,
}

impl Marker {
    /// Where the history stands once this marker is included.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, lsn: self.end, sequence: Some(self.sequence) }
    }
}

/// What replay yields, in LSN order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEntry {
    /// Records that belong together.
    Commit(Commit),
    /// A record about the log itself.
    Marker(Marker),
}

impl LogEntry {
    /// Where it begins.
    pub fn lsn(&self) -> Lsn {
        match self {
            Self::Commit(commit) => commit.lsn,
            Self::Marker(marker) => marker.lsn,
        }
    }

    /// When it was written; never decreasing along LSNs.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Commit(commit) => commit.time,
            Self::Marker(marker) => marker.time,
        }
    }

    /// Where the history stands once it is included.
    pub fn position(&self) -> Position {
        match self {
            Self::Commit(commit) => commit.position(),
            Self::Marker(marker) => marker.position(),
        }
    }
}
