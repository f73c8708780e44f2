//! What is known of a checkpoint without reading its entries.

use std::collections::BTreeMap;
use std::fmt;

use rpo_core::{CheckpointId, Position, Timestamp};
use serde::{Deserialize, Serialize};

use crate::CutterName;

/// What a checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CheckpointKind {
    /// Every entry: needs no other manifest.
    Full,
    /// What changed or went since its parent, of any kind.
    Incremental,
    /// What changed or went since the last full checkpoint or snapshot.
    Differential,
    /// Every entry, merged from a chain without reading data: the same state as its origin.
    Snapshot,
}

impl CheckpointKind {
    /// Whether its manifest holds every entry.
    pub fn is_self_contained(self) -> bool {
        matches!(self, Self::Full | Self::Snapshot)
    }
}

impl fmt::Display for CheckpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Differential => "differential",
            Self::Snapshot => "snapshot",
        })
    }
}

/// What making a checkpoint counted. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Statistics {
    /// Entries of the whole state.
    pub entries: u64,
    /// Files among them.
    pub files: u64,
    /// Content of the whole state, without holes.
    pub bytes: u64,
    /// Entries recognised as unchanged, without reading them.
    pub unchanged: u64,
    /// Entries that are new or changed.
    pub changed: u64,
    /// Entries of the parent that are gone.
    pub removed: u64,
    /// Left out, and never meant to be captured (sockets and the like).
    pub skipped: u64,
    /// Left out although they should have been captured: unreadable. Named in [`CheckpointInfo::lost`].
    pub lost: u64,
    /// Found by the scan and gone before they could be read.
    pub vanished: u64,
    /// Stored with a mark, because they changed while they were read, twice.
    pub changed_while_read: u64,
    /// Content read from the source.
    pub read_bytes: u64,
    /// Chunks stored for the first time.
    pub added_chunks: u64,
    /// Their bytes before compression.
    pub added_raw_bytes: u64,
    /// All bytes put into the store: packs and indexes, sealed.
    pub added_bytes: u64,
    /// Objects put into the store before the manifest.
    pub added_objects: u64,
}

/// Something that should have been captured and could not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Where it is, as people write it.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// What is known of a checkpoint without reading its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Its name.
    pub id: CheckpointId,
    /// What its manifest holds.
    pub kind: CheckpointKind,
    /// The checkpoint its manifest builds on; absent if self-contained.
    pub parent: Option<CheckpointId>,
    /// For a snapshot: the checkpoint whose state this is.
    pub origin: Option<CheckpointId>,
    /// What sort of source it is of: only a restorer of the same kind takes it.
    pub source_kind: String,
    /// When the scan began: for a source without commits, everything acknowledged before this moment is in it.
    #[serde(with = "moment")]
    pub started: Timestamp,
    /// When the last content had been read: nothing in it is newer.
    #[serde(with = "moment")]
    pub finished: Timestamp,
    /// When this manifest was written; later than `finished` for snapshots.
    #[serde(with = "moment")]
    pub written: Timestamp,
    /// The position in the source's own log that the state corresponds to, if it has a log.
    pub position: Option<Position>,
    /// How files were cut.
    pub cutter: CutterName,
    /// Counts.
    pub statistics: Statistics,
    /// What could not be captured: the first [`LOST_NAMED_MAX`].
    pub lost: Vec<Lost>,
    /// Free words to find it by.
    pub tags: Vec<String>,
    /// Free-form pairs, for whoever made it.
    pub metadata: BTreeMap<String, String>,
}

/// How many lost entries are named; all are counted.
pub const LOST_NAMED_MAX: usize = 1_000;

impl CheckpointInfo {
    /// The moment the state stands for: the beginning of its scan.
    pub fn time(&self) -> Timestamp {
        self.started
    }

    /// Whether something that should have been captured is not in it.
    pub fn is_partial(&self) -> bool {
        self.statistics.lost > 0
    }

    /// What a listing says of a partial checkpoint, and of no other: `partial: 3 left out`.
    pub fn partial(&self) -> Option<String> {
        self.is_partial().then(|| format!("partial: {} left out", self.statistics.lost))
    }
}

/// Times as text for people and programs, as microseconds in manifests: a clock may be outside the calendar.
pub(crate) mod moment {
    use super::{Deserialize, Serialize, Timestamp};
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            time.serialize(serializer)
        } else {
            serializer.serialize_i64(time.as_micros())
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        if deserializer.is_human_readable() {
            Timestamp::deserialize(deserializer)
        } else {
            i64::deserialize(deserializer).map(Timestamp::from_micros)
        }
    }
}
