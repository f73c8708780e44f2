//! Stories about the log as a whole, on a disk in memory that tells *written* from *durable*.

mod append;
mod clock;
pub(crate) mod disk;
mod events;
mod flips;
mod follow;
mod poison;
mod rotation;
mod seek;
mod space;
mod table;
mod takeover;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{Clock, Disk, Entropy, HumanDuration, LogEntry, Lsn, Monotonic, Timestamp};

use crate::tests::disk::TestDisk;
use crate::{Appended, Drive, Log, LogParts, OpenAs, RecoveryReport, WalConfig, WalError};

/// A clock that is moved by hand.
#[derive(Debug)]
pub(crate) struct TestClock(Mutex<(Timestamp, Duration)>);

impl TestClock {
    fn new() -> Self {
        Self(Mutex::new((Timestamp::from_micros(1_772_000_000_000_000), Duration::ZERO)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = (now.0.saturating_add(by), now.1 + by);
    }

    /// Only the wall clock steps.
    pub(crate) fn step_wall(&self, to: Timestamp) {
        self.0.lock().unwrap().0 = to;
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(self.0.lock().unwrap().1)
    }
}

/// Numbers that are never zero, and never the same within a run.
#[derive(Debug, Default)]
struct TestEntropy;

static DRAWN: Mutex<u64> = Mutex::new(0);

impl Entropy for TestEntropy {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        let mut n = DRAWN.lock().unwrap();
        for byte in out {
            *n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (*n >> 33) as u8 | 1;
        }
        Ok(())
    }
}

/// A machine with one log on it.
pub(crate) struct Site {
    pub(crate) disk: Arc<TestDisk>,
    pub(crate) clock: Arc<TestClock>,
    entropy: Arc<TestEntropy>,
    pub(crate) config: WalConfig,
    pub(crate) drive: Drive,
}

pub(crate) const DIR: &str = "/log";

/// Small segments, so that a few commits fill one.
pub(crate) fn small() -> WalConfig {
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = "16KiB".parse().unwrap();
    config.pending_bytes_max = "64KiB".parse().unwrap();
    config.frame_bytes_max = "4KiB".parse().unwrap();
    config.spares = 1;
    config.heartbeat_after = HumanDuration::ZERO;
    config
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(small())
    }

    pub(crate) fn with(config: WalConfig) -> Self {
        let clock = Arc::new(TestClock::new());
        let entropy = Arc::default();
        Self { disk: Arc::new(TestDisk::new()), clock, entropy, config, drive: Drive::Manual }
    }

    pub(crate) fn parts(&self) -> LogParts {
        let disk: Arc<dyn Disk> = Arc::clone(&self.disk) as _;
        LogParts { disk, clock: Arc::clone(&self.clock) as _, entropy: Arc::clone(&self.entropy) as _ }
    }

    pub(crate) fn try_open_as(&self, open_as: OpenAs) -> Result<(Log, RecoveryReport), WalError> {
        Log::open(Path::new(DIR), self.config.clone(), self.parts(), self.drive, open_as)
    }

    pub(crate) fn try_open(&self) -> Result<(Log, RecoveryReport), WalError> {
        self.try_open_as(OpenAs::Continue)
    }

    pub(crate) fn open(&self) -> Log {
        self.try_open().expect("the log opens").0
    }

    /// The one bound segment, or the last of several.
    pub(crate) fn newest_segment(&self) -> PathBuf {
        let names = self.disk.list(Path::new(DIR)).unwrap();
        let newest = names.iter().rev().find(|e| e.name.to_str().unwrap().ends_with(".rwal"));
        Path::new(DIR).join(&newest.expect("a segment").name)
    }
}

/// A payload without zero bytes, different for each number.
pub(crate) fn payload(number: u64) -> String {
    format!("commit {number:06} {}", "x".repeat((number % 40) as usize))
}

pub(crate) fn append(log: &Log, number: u64) -> Appended {
    log.append(CommitDraft::one(payload(number)), AckLevel::Durable).expect("appends")
}

pub(crate) fn append_all(log: &Log, numbers: std::ops::Range<u64>) {
    for number in numbers {
        append(log, number);
    }
}

/// Lets the log do all its background work.
pub(crate) fn settle(log: &Log) {
    while matches!(log.step(), crate::Step::Flushed | crate::Step::Kept) {}
}

/// The payloads of all commits, in order.
pub(crate) fn payloads(log: &Log) -> Result<Vec<String>, WalError> {
    let mut found = Vec::new();
    for entry in log.replay(log.start().lsn) {
        if let LogEntry::Commit(commit) = entry? {
            let text = |r: &rpo_core::Record| String::from_utf8_lossy(&r.payload).into_owned();
            found.extend(commit.records.iter().map(text));
        }
    }
    Ok(found)
}

pub(crate) fn expected(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(payload).collect()
}

pub(crate) fn lsn(log: &Log) -> Lsn {
    log.durable().lsn
}
