//! What is measured: engine, work, place, size; and what came of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// A loop of write and fdatasync at the end of a file that grows.
    BareGrowing,
    /// The same over blocks that were written before.
    BarePrewritten,
    /// The limit of group commit: one thread, a record of every writer per write, one fdatasync, over written blocks.
    Batch,
    /// The limit of buffered appends: a buffer of 64 KiB with CRC32C, over written blocks.
    UserBuffer,
    /// The limit of replay: reads of 1 MiB with CRC32C.
    BareRead,
    /// The reference group commit, of the module `group`.
    Group,
    /// Ours.
    Rpo,
    /// raft-engine as it comes.
    RaftEngine,
    /// raft-engine with files written ahead at opening, which it can be told to do.
    RaftEnginePrefilled,
    /// okaywal.
    Okaywal,
    /// wal-db.
    WalDb,
}

impl Engine {
    /// The engines of others.
    pub const PEERS: [Self; 3] = [Self::RaftEngine, Self::Okaywal, Self::WalDb];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::BareGrowing => "bare loop, growing file",
            Self::BarePrewritten => "bare loop, pre-written",
            Self::Batch => "batch limit",
            Self::UserBuffer => "user buffer limit",
            Self::BareRead => "bare read + CRC32C",
            Self::Group => "reference group commit",
            Self::Rpo => "rpo-wal",
            Self::RaftEngine => "raft-engine",
            Self::RaftEnginePrefilled => "raft-engine, prefilled",
            Self::Okaywal => "okaywal",
            Self::WalDb => "wal-db",
        }
    }

    /// Whether the peers' program measures it.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::RaftEngine | Self::RaftEnginePrefilled | Self::Okaywal | Self::WalDb)
    }
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// A closed loop of threads: each appends, waits until that is durable, repeats.
    Durable,
    /// The same with futures, all on one thread.
    Async,
    /// One thread appends without waiting for the disk, until the system has it all.
    Buffered,
    /// Writes what [`Work::Replay`] reads; not a measurement.
    Prepare,
    /// Opens and reads everything, its files in the cache.
    Replay,
    /// 20 MB/s are offered, with the archive off or on.
    Paced {
        /// Whether a shipper copies the log meanwhile.
        archive: bool,
    },
    /// As [`Work::Durable`], with the archive on: what it keeps up with.
    Saturated,
}

impl Work {
    /// Whether every record of it is to be durable before the next of its writer.
    pub fn is_durable(self) -> bool {
        matches!(self, Self::Durable | Self::Async)
    }
}

/// Where its files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On the disk.
    Disk,
    /// In memory; a sync costs nothing.
    Memory,
    /// In memory; a sync takes 1 ms.
    FixedSync,
}

/// One thing to be measured; the same in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Case {
    /// Who.
    pub engine: Engine,
    /// Does what.
    pub work: Work,
    /// Where.
    pub place: Place,
    /// For how many writers.
    pub writers: u32,
    /// With records of this size.
    pub record_bytes: u32,
}

impl Case {
    /// Durable appends in a closed loop.
    pub fn durable(engine: Engine, place: Place, writers: u32, record_bytes: u32) -> Self {
        Self { engine, work: Work::Durable, place, writers, record_bytes }
    }
}

/// How long and how much.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Scale {
    /// Time that is not counted, before.
    pub warm_ms: u64,
    /// Time that is counted.
    pub run_ms: u64,
    /// Size of a segment, for engines that have them.
    pub segment_mib: u32,
    /// Size of the file that bare loops go round in.
    pub prewritten_mib: u32,
    /// Payload of one burst of buffered appends.
    pub burst_mib: u32,
    /// Number of bursts.
    pub bursts: u32,
    /// Payload that is replayed.
    pub replay_mib: u32,
    /// Time between two shipments.
    pub ship_ms: u64,
}

/// An order to a measuring process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub case: Case,
    /// How long and how much.
    pub scale: Scale,
    /// Directory of the place; what lies in it stays from one order to the next.
    pub home: PathBuf,
}

impl Order {
    /// Directory of this order alone, empty when it begins.
    pub fn scratch(&self) -> PathBuf {
        self.home.join("scratch")
    }

    /// The file that was written before.
    pub fn prewritten(&self) -> PathBuf {
        self.home.join("prewritten")
    }

    /// What this engine replays.
    pub fn replayed(&self) -> PathBuf {
        self.home.join(format!("replay-{}", serde_name(self.case.engine)))
    }
}

fn serde_name(engine: Engine) -> String {
    serde_json::to_value(engine).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What came of an order. Fields that its work does not have are zero or none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Records acknowledged, appended or read.
    pub records: u64,
    /// Time that took.
    pub seconds: f64,
    /// Time from the call to the acknowledgement.
    pub p50_us: f64,
    /// The slowest of 100.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// Processor time of the process, user and system.
    pub cpu_us_per_record: f64,
    /// Syncs by all of the process meanwhile, counted by the shim.
    pub syncs: u64,
    /// Bytes read over bytes of payload.
    pub passes: Option<f64>,
    /// Longest time from when a commit was acknowledged until the archive had it, in intervals between shipments.
    pub lag_intervals: Option<f64>,
    /// Payload that reached the archive, MB/s.
    pub shipped_mb_s: Option<f64>,
    /// Steps of the shipper that failed; the next step tries again.
    pub ship_failures: Option<u32>,
}

impl Measured {
    /// Records per second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.records as f64 / self.seconds } else { 0.0 }
    }
}
